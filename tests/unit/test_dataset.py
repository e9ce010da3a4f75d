"""bpgen.dataset: files in, arrays, labels and scaling out; every mistake is one sentence."""

import csv
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bpgen.dataset import Dataset, load, load_csv, load_npz
from bpgen.errors import BpgenError
from bpgen.scaling import COUNTS_LIMIT, SCALINGS, Scaling

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "data"

# tmp_path is shared by the examples of one property; each example rewrites its file.
shares_tmp_path = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def write(tmp_path, content, name="data.csv"):
    """Write text or bytes as they are, line ends included, and return the path."""
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


def write_npz(tmp_path, **arrays):
    path = tmp_path / "data.npz"
    np.savez(path, **arrays)
    return path


def message(call, *args, **kwargs):
    """Return the sentence of the BpgenError that the call raises."""
    with pytest.raises(BpgenError) as caught:
        call(*args, **kwargs)
    return str(caught.value)


def assert_says(sentence, *parts):
    """Assert that one line of text holds every part."""
    assert "\n" not in sentence
    assert [part for part in parts if part not in sentence] == [], sentence


# --- CSV: what is read ------------------------------------------------------------------


def test_a_text_column_becomes_sorted_classes_and_the_rest_features(tmp_path):
    path = write(tmp_path, "a,kind,b\n1,pear,2.5\n-3,apple,4e1\n.5,pear,+6.\n")

    data = load_csv(path, ["kind"])

    assert data.labels == ("apple", "pear")
    assert data.features == ("a", "b")
    assert data.targets == ("kind",)
    np.testing.assert_array_equal(data.x, [[1, 2.5], [-3, 40], [0.5, 6]])
    np.testing.assert_array_equal(data.t, [[0, 1], [1, 0], [0, 1]])
    np.testing.assert_array_equal(data.classes(), [1, 0, 1])
    assert data.x.dtype == data.t.dtype == np.float64
    assert data.classes().dtype == np.int64
    assert len(data) == 3


@pytest.mark.parametrize(
    ("cells", "labels"),
    [
        pytest.param(["2", "0", "1"], ("0", "1", "2"), id="whole numbers from 0 without a gap"),
        pytest.param(["1.0", "0", "1"], ("0", "1"), id="1.0 and 1 are one class"),
        pytest.param([str(k) for k in range(20)], tuple(map(str, range(20))), id="20 sort by size"),
        pytest.param([str(k) for k in range(21)], (), id="21 are too many"),
        pytest.param(["1", "2", "3"], (), id="1 to 3 is a count"),
        pytest.param(["0", "2"], (), id="a gap"),
        pytest.param(["-1", "0", "1"], (), id="a negative number"),
        pytest.param(["0", "1", "0.5"], (), id="a fraction"),
        pytest.param(["1", "2", "none"], ("1", "2", "none"), id="text beside whole numbers"),
        pytest.param(["b", "B", "a "], ("B", "a ", "b"), id="text keeps case and blanks"),
    ],
)
def test_auto_takes_text_and_small_whole_numbers_for_classes(tmp_path, cells, labels):
    path = write(tmp_path, "x,y\n" + "".join(f"1,{cell}\n" for cell in cells))

    data = load_csv(path, ["y"])

    assert data.labels == labels
    assert data.t.shape == (len(cells), len(labels) or 1)
    if not labels:
        np.testing.assert_array_equal(data.t[:, 0], [float(cell) for cell in cells])


def test_the_task_overrides_what_the_column_looks_like(tmp_path):
    path = write(tmp_path, "x,y\n1,0\n2,1\n")
    fractions = write(tmp_path, "x,y\n1,10.5\n2,9.50\n3,9.5\n4,odd\n", "fractions.csv")

    assert load_csv(path, ["y"], task="regress").labels == ()
    assert load_csv(fractions, ["y"], task="classify").labels == ("10.5", "9.5", "9.50", "odd")


def test_numeric_classes_sort_by_value_and_are_spelt_the_shortest_way(tmp_path):
    path = write(tmp_path, "x,y\n1,10\n2,9.50\n3,9.5\n4,-2\n5,12345678901234567890\n")

    data = load_csv(path, ["y"], task="classify")

    assert data.labels == ("-2", "9.5", "10", "12345678901234567890")


def test_several_target_columns_are_values_in_the_order_asked_for(tmp_path):
    path = write(tmp_path, "u,x,v\n0,5,1\n1,6,0\n")

    data = load_csv(path, ["v", "u"])

    assert data.labels == ()
    assert data.targets == ("v", "u")
    np.testing.assert_array_equal(data.t, [[1, 0], [0, 1]])
    np.testing.assert_array_equal(data.x, [[5], [6]])


def test_features_pick_and_order_columns_and_the_others_may_hold_anything(tmp_path):
    path = write(tmp_path, "id,a,b,y\nfirst,1,2,0.5\n,3,4,0.25\n")

    data = load_csv(path, "y", features=["b", "a"])

    assert data.features == ("b", "a")
    np.testing.assert_array_equal(data.x, [[2, 1], [4, 3]])


def test_labels_of_a_model_keep_their_order_and_need_not_all_occur(tmp_path):
    path = write(tmp_path, "x,y\n1,1.0\n2,one\n")

    data = load_csv(path, ["y"], labels=["one", "two", "1"])

    assert data.labels == ("one", "two", "1")
    np.testing.assert_array_equal(data.classes(), [2, 0])


def test_no_labels_of_a_model_mean_a_regression(tmp_path):
    path = write(tmp_path, "x,y\n1,0\n2,1\n")

    data = load_csv(path, ["y"], labels=())

    assert data.labels == ()
    np.testing.assert_array_equal(data.t, [[0], [1]])


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"\xef\xbb\xbfa,y\n1,0.5\n2,0.25\n", id="byte order mark"),
        pytest.param(b"a,y\r\n1,0.5\r\n2,0.25\r\n", id="CRLF"),
        pytest.param(b"a,y\r1,0.5\r2,0.25", id="CR, and no end to the last line"),
        pytest.param(b'"a","y"\n"1","0.5"\n"2","0.25"\n', id="quoted cells"),
        pytest.param(b"\na, y \n 1,\t0.5 \n\n2,0.25\n\n", id="blank lines and blanks"),
    ],
)
def test_the_usual_dialects_of_csv_read_the_same(tmp_path, content):
    data = load_csv(write(tmp_path, content), ["y"])

    assert data.features == ("a",)
    np.testing.assert_array_equal(data.x, [[1], [2]])
    np.testing.assert_array_equal(data.t, [[0.5], [0.25]])


def test_a_label_may_hold_quotes_commas_newlines_and_backslashes(tmp_path):
    path = write(tmp_path, 'x,y\n1,"a ""b"", \\n\nc"\n2,é\n')

    assert load_csv(path, ["y"]).labels == ('a "b", \\n\nc', "é")


# --- CSV: what is refused ---------------------------------------------------------------

TARGET_Y = {"target_columns": ["y"]}


@pytest.mark.parametrize(
    ("content", "arguments", "parts"),
    [
        pytest.param("", TARGET_Y, ["data.csv", "is empty"], id="empty file"),
        pytest.param("\n \n", TARGET_Y, ["is empty"], id="blank file"),
        pytest.param("x,y\n", TARGET_Y, ["header but no samples"], id="header only"),
        pytest.param("1,2\n3,4\n", TARGET_Y, ["line 1", "header row is missing"], id="no header"),
        pytest.param(
            "5.1,3.5,setosa\n4.9,3.0,setosa\n",
            {"target_columns": ["species"]},
            ["no column 'species'", "add a header row if it is missing"],
            id="no header above a text column",
        ),
        pytest.param(
            "0.2,0.2,a\n0.1,0.3,b\n",
            TARGET_Y,
            ["two columns '0.2'", "add a header row if it is missing"],
            id="no header and equal cells",
        ),
        pytest.param("x;y\n1;2\n", TARGET_Y, ["separated by ';'", "commas"], id="semicolons"),
        pytest.param("x\ty\n1\t2\n", TARGET_Y, ["separated by '\\t'", "commas"], id="tabs"),
        pytest.param(
            ",x,y\n0,1,2\n", TARGET_Y, ["line 1", "column 1 has no name"], id="nameless column"
        ),
        pytest.param(
            "x,y, x\n1,2,3\n", TARGET_Y, ["two columns 'x'", "(1 and 3)"], id="duplicate names"
        ),
        pytest.param(
            "x,y\n1,2\n\n3\n",
            TARGET_Y,
            ["line 4", "1 cells", "header has 2"],
            id="short row after a blank line",
        ),
        pytest.param(
            'x,y\n1,"a\nb"\n3,4,5\n',
            TARGET_Y,
            ["line 4", "3 cells"],
            id="long row after a cell of two lines",
        ),
        pytest.param('x,y\n1,"a\n', TARGET_Y, ["line 2", "not valid CSV"], id="open quote"),
        pytest.param('x,y\n1,"a"b\n', TARGET_Y, ["line 2", "not valid CSV"], id="text after quote"),
        pytest.param(
            "x,y\n1," + "9" * 200_000, TARGET_Y, ["line 2", "not valid CSV"], id="giant cell"
        ),
        pytest.param(b"x,y\n1,\xe9\n", TARGET_Y, ["line 2", "not UTF-8"], id="latin-1"),
        pytest.param("x,y\n1,2\n".encode("utf-16"), TARGET_Y, ["not UTF-8"], id="utf-16"),
        pytest.param("x,y\n1,a\n2,b\n", {"target_columns": []}, ["no target", "'x', 'y'"], id="0"),
        pytest.param(
            "x,species\n1,a\n2,b\n",
            {"target_columns": ["specis"]},
            ["no column 'specis' for the target", "did you mean 'species'?", "'x', 'species'"],
            id="misspelt target",
        ),
        pytest.param(
            ",".join(f"c{i}" for i in range(100)) + "\n" + ",".join("1" * 100) + "\n",
            TARGET_Y,
            ["'c0'", "... 80 more ...", "'c99'"],
            id="unknown target among very many columns",
        ),
        pytest.param(
            "x,y\n1,a\n2,b\n",
            {"target_columns": ["y"], "features": ["z"]},
            ["no column 'z' for the feature"],
            id="unknown feature",
        ),
        pytest.param(
            "x,y\n1,a\n2,b\n",
            {"target_columns": ["y"], "features": ["x", "y"]},
            ["'y'", "asked for twice"],
            id="target as a feature",
        ),
        pytest.param("y\na\nb\n", TARGET_Y, ["no column as an input", "'y'"], id="only a target"),
        pytest.param(
            "x,y\n1,a\n2,b\n",
            {"target_columns": ["y"], "features": []},
            ["no column as an input"],
            id="no features",
        ),
        pytest.param("x,y\n1,a\n2,a\n", TARGET_Y, ["one class only", "'a'", "'y'"], id="one class"),
        pytest.param("x,y\n1,0\n2,0\n", TARGET_Y, ["one class only", "'0'"], id="one number"),
        pytest.param(
            "x,y\n" + "".join(f"1,id{i}\n" for i in range(1001)),
            TARGET_Y,
            ["1001 different classes", "regress"],
            id="an identifier as the target",
        ),
        pytest.param(
            "x,y\n1,a\n,b\n", TARGET_Y, ["line 3", "column 'x'", "empty"], id="empty feature"
        ),
        pytest.param(
            "x,y\n1,a\n2, \n", TARGET_Y, ["line 3", "column 'y'", "empty"], id="empty class"
        ),
        pytest.param(
            'w,x,y\n1,"2,5",a\n3,4,b\n',
            TARGET_Y,
            ["line 2", "column 'x'", "'2,5' is not a number"],
            id="decimal comma",
        ),
        pytest.param(
            "x,y\n1_0,a\n2,b\n", TARGET_Y, ["'1_0' is not a number"], id="python's underscores"
        ),
        pytest.param("x,y\n٣,a\n2,b\n", TARGET_Y, ["is not a number"], id="other digits"),
        pytest.param(
            "x,y\nNaN,a\n2,b\n", TARGET_Y, ["line 2", "'NaN' is not a finite number"], id="NaN"
        ),
        pytest.param("x,y\n-inf,a\n2,b\n", TARGET_Y, ["is not a finite number"], id="infinity"),
        pytest.param("x,y\n1e999,a\n2,b\n", TARGET_Y, ["is not a finite number"], id="overflow"),
        pytest.param(
            "x,y\n1,a\n2,nan\n",
            TARGET_Y,
            ["line 3", "column 'y'", "finite"],
            id="NaN among class names",
        ),
        pytest.param(
            "x,y\n1,1.5\n2,1.O\n",
            TARGET_Y,
            ["line 3", "column 'y'", "'1.O' is not a number", "classify"],
            id="a slip among measured targets",
        ),
        pytest.param(
            "x,y\n1,2\n2,high\n",
            {"target_columns": ["y"], "task": "regress"},
            ["line 3", "'high' is not a number"],
            id="text in a regression",
        ),
        pytest.param(
            "x,y,z\n1,2,a\n2,3,b\n",
            {"target_columns": ["y", "z"]},
            ["line 2", "column 'z'", "'a' is not a number"],
            id="text in one of several targets",
        ),
        pytest.param(
            "x,y\n1,a\n2,pera\n",
            {"target_columns": ["y"], "labels": ["a", "pear"]},
            ["line 3", "class 'pera' is unknown", "did you mean 'pear'?", "'a', 'pear'"],
            id="class unknown to the model",
        ),
        pytest.param(
            "x,y\n1,a\n2,b\n",
            {"target_columns": ["y"], "labels": ["a", "a"]},
            ["'a', 'a'", "repeat"],
            id="repeated labels",
        ),
        pytest.param(
            "x,y\n1,a\n2,b\n",
            {"target_columns": ["y"], "labels": ["a", "b"], "task": "regress"},
            ["2 class labels", "classify"],
            id="labels in a regression",
        ),
        pytest.param(
            "x,y,z\n1,2,3\n",
            {"target_columns": ["y", "z"], "task": "classify"},
            ["one target column, not 2"],
            id="two class columns",
        ),
        pytest.param(
            "x,y\n1,2\n",
            {"target_columns": ["y"], "task": "guess"},
            ["no task 'guess'", "auto, classify, regress"],
            id="unknown task",
        ),
    ],
)
def test_a_csv_mistake_is_one_sentence_that_says_where(tmp_path, content, arguments, parts):
    assert_says(message(load_csv, write(tmp_path, content), **arguments), *parts)


def test_a_message_quotes_control_characters_and_cuts_long_cells(tmp_path):
    path = write(tmp_path, 'x,y\n"\x1b[2J\n' + "z" * 500 + '",a\n2,b\n')

    sentence = message(load_csv, path, ["y"])

    assert_says(sentence, "'\\x1b[2J\\nzzz", "...'")
    assert "\x1b" not in sentence
    assert len(sentence) < 300 + len(str(path))


def test_a_path_that_cannot_be_read_says_why(tmp_path, monkeypatch):
    assert_says(message(load_csv, tmp_path / "no.csv", ["y"]), "there is no file", "no.csv")
    assert_says(message(load_csv, tmp_path, ["y"]), "is a directory")
    assert_says(message(load_csv, tmp_path / ("n" * 300), ["y"]), "cannot be read")
    assert_says(message(load_csv, "a\0b.csv", ["y"]), "is no file name")

    def refuse(self):
        raise PermissionError(13, "Permission denied", str(self))

    path = write(tmp_path, "x,y\n1,a\n2,b\n")
    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert_says(message(load_csv, path, ["y"]), "cannot be read (permission denied)", "data.csv")


# --- NPZ --------------------------------------------------------------------------------


def test_one_hot_rows_of_an_npz_become_classes(tmp_path):
    path = write_npz(tmp_path, x=np.array([[1, 2], [3, 4]]), t=np.eye(2))

    data = load_npz(path)

    assert (data.labels, data.features, data.targets) == (("0", "1"), ("x0", "x1"), ("t",))
    assert data.x.dtype == np.float64
    np.testing.assert_array_equal(data.x, [[1, 2], [3, 4]])
    assert load_npz(path, labels=["no", "yes"]).labels == ("no", "yes")
    assert load_npz(path, task="regress").labels == ()
    assert load_npz(path, labels=()).targets == ("t0", "t1")


def test_other_rows_of_an_npz_are_values_and_names_are_taken_in_order(tmp_path):
    path = write_npz(tmp_path, x=np.ones((3, 1)), t=np.array([[0.5], [1], [0]]))

    data = load(path, ["power"], features=["volts"])

    assert (data.labels, data.features, data.targets) == ((), ("volts",), ("power",))
    np.testing.assert_array_equal(data.t, [[0.5], [1], [0]])


@pytest.mark.parametrize(
    ("arrays", "arguments", "parts"),
    [
        pytest.param({"x": np.ones((1, 1))}, {}, ["no array 't' among 'x'"], id="no t"),
        pytest.param(
            {"x": np.ones(2), "t": np.ones((2, 1))}, {}, ["array x", "1 dimensions"], id="1-D"
        ),
        pytest.param(
            {"x": np.ones((2, 1)), "t": np.ones((3, 1))}, {}, ["2 rows in x but 3 in t"], id="rows"
        ),
        pytest.param(
            {"x": np.ones((0, 1)), "t": np.ones((0, 1))}, {}, ["array x", "empty"], id="no rows"
        ),
        pytest.param(
            {"x": np.array([["a"]]), "t": np.ones((1, 1))}, {}, ["array x", "numbers"], id="text"
        ),
        pytest.param(
            {"x": np.ones((1, 1)), "t": np.ones((1, 1), dtype=complex)},
            {},
            ["array t", "numbers"],
            id="complex",
        ),
        pytest.param(
            {"x": np.array([[1.0, np.nan]]), "t": np.ones((1, 1))},
            {},
            ["array x", "NaN", "row 0, column 1"],
            id="NaN",
        ),
        pytest.param(
            {"x": np.array([[{}]], dtype=object), "t": np.ones((1, 1))},
            {},
            ["not a readable .npz"],
            id="pickle",
        ),
        pytest.param(
            {"x": np.ones((1, 1)), "t": np.ones((1, 2))},
            {"task": "classify"},
            ["not one-hot"],
            id="not one-hot",
        ),
        pytest.param(
            {"x": np.ones((2, 1)), "t": np.eye(2)},
            {"labels": ["a", "b", "c"]},
            ["2 columns for 3 class labels"],
            id="labels",
        ),
        pytest.param(
            {"x": np.ones((2, 1)), "t": np.eye(2)},
            {"features": ["a", "b"]},
            ["array x", "1 columns for 2 feature names"],
            id="feature names",
        ),
        pytest.param(
            {"x": np.ones((2, 1)), "t": np.ones((2, 1))},
            {"target_columns": ["a", "b"]},
            ["array t", "1 columns for 2 target names"],
            id="target names",
        ),
    ],
)
def test_an_npz_mistake_is_one_sentence(tmp_path, arrays, arguments, parts):
    assert_says(message(load_npz, write_npz(tmp_path, **arrays), **arguments), *parts)


def test_a_file_that_is_no_npz_says_so(tmp_path):
    plain = io.BytesIO()
    np.save(plain, np.ones((1, 1)))
    foreign = io.BytesIO()
    with zipfile.ZipFile(foreign, "w") as archive:
        archive.writestr("x", b"hello")
        archive.writestr("t", b"hello")

    assert_says(message(load_npz, write(tmp_path, b"", "a.npz")), "is empty")
    for content in (b"x,y\n1,2\n", b"PK\x03\x04", plain.getvalue()):
        assert_says(message(load_npz, write(tmp_path, content, "a.npz")), "not a readable .npz")
    assert_says(message(load_npz, write(tmp_path, foreign.getvalue(), "a.npz")), "numbers")
    assert_says(message(load_npz, tmp_path / "no.npz"), "there is no file")


def test_load_goes_by_the_suffix_whatever_its_case(tmp_path):
    text = write(tmp_path, "x,y\n1,a\n2,b\n", "a.CSV")
    arrays = write_npz(tmp_path, x=np.ones((2, 1)), t=np.eye(2))

    assert load(text, ["y"]).labels == ("a", "b")
    assert load(str(arrays)).labels == ("0", "1")
    assert_says(message(load, tmp_path / "a.xlsx", ["y"]), "a.xlsx", "neither a .csv nor a .npz")


# --- Splitting --------------------------------------------------------------------------


def numbered(classes, outputs):
    """Return a data set of samples x = 0, 1, ... with these class indices."""
    x = np.arange(len(classes), dtype=np.float64)[:, None]
    labels = tuple(f"c{k}" for k in range(outputs))
    return Dataset(x, np.eye(outputs)[list(classes)], labels, ("x",), ("y",))


@given(
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=5).filter(lambda s: sum(s) > len(s)),
    fraction=st.floats(0.01, 0.99),
    seed=st.integers(0, 2**32),
)
def test_a_split_deals_out_every_sample_once_and_each_class_in_its_share(sizes, fraction, seed):
    classes = np.repeat(np.arange(len(sizes)), sizes)
    data = numbered(classes, len(sizes))

    train, test = data.split(fraction, seed)

    np.testing.assert_array_equal(
        np.sort(np.concatenate([train.x[:, 0], test.x[:, 0]])), np.arange(len(classes))
    )
    for part in (train, test):
        np.testing.assert_array_equal(part.classes(), classes[part.x[:, 0].astype(int)])
        assert (part.labels, part.features, part.targets) == (data.labels, ("x",), ("y",))
    trained = np.bincount(train.classes(), minlength=len(sizes))
    tested = np.bincount(test.classes(), minlength=len(sizes))
    assert trained.min() >= 1
    assert len(test) == min(max(1, round(len(data) * fraction)), len(data) - len(sizes))
    if len(test) == round(len(data) * fraction) and min(sizes) * (1 - fraction) >= 1:
        assert (np.abs(tested - np.array(sizes) * fraction) < 1).all()


def test_a_split_repeats_with_its_seed_and_changes_with_another():
    data = numbered([0, 1] * 20, 2)

    first, again, other = (data.split(0.5, seed)[1].x.ravel().tolist() for seed in (1, 1, 2))

    assert first == again
    assert sorted(first) != sorted(other)
    assert sorted(first) != first


def test_a_fraction_next_to_1_leaves_each_class_a_training_sample():
    train, test = numbered([0] * 5 + [1] * 5, 2).split(float(np.nextafter(1.0, 0.0)))

    np.testing.assert_array_equal(np.sort(train.classes()), [0, 1])
    assert len(test) == 8


def test_a_regression_splits_too():
    data = Dataset(np.arange(8.0)[:, None], np.arange(8.0)[:, None], (), ("x",), ("y",))

    train, test = data.split(0.25)

    assert (len(train), len(test)) == (6, 2)
    np.testing.assert_array_equal(train.x, train.t)


@pytest.mark.parametrize(
    ("data", "arguments", "parts"),
    [
        pytest.param(numbered([0, 1], 2), {}, ["2 samples of 2 classes", "at least 3"], id="few"),
        pytest.param(
            Dataset(np.ones((1, 1)), np.ones((1, 1)), (), ("x",), ("y",)),
            {},
            ["1 sample cannot be split", "at least 2"],
            id="one sample",
        ),
        pytest.param(numbered([0, 0, 2, 2], 3), {}, ["class 'c1'", "no samples"], id="no c1"),
        pytest.param(numbered([0] * 9, 1), {"test_fraction": 0}, ["0 and 1, not 0"], id="zero"),
        pytest.param(numbered([0] * 9, 1), {"test_fraction": 1.0}, ["not 1.0"], id="all"),
        pytest.param(
            numbered([0] * 9, 1), {"test_fraction": float("nan")}, ["not nan"], id="not a number"
        ),
        pytest.param(numbered([0] * 9, 1), {"seed": -1}, ["seed", "-1"], id="negative seed"),
    ],
)
def test_a_split_that_cannot_be_made_says_what_it_needs(data, arguments, parts):
    assert_says(message(data.split, **arguments), *parts)


# --- Scaling ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "decimals"),
    [
        pytest.param([3.0, -7.0], 0, id="whole numbers"),
        pytest.param([0.1, 0.2, 0.3], 1, id="tenths that binary cannot hold"),
        pytest.param([0.1 + 0.2, 1.0], 1, id="a rounding error is no digit"),
        pytest.param([1.5, 2.25, 0.0], 2, id="the longest cell decides"),
        pytest.param([1 / 3, 1.0], 7, id="a long fraction gets what fits 2^24"),
        pytest.param([1 / 3, 100.0], 5, id="less beside a large cell"),
        pytest.param([1 / 3 * 1e-3, 1e-3], 9, id="never more than nine"),
        pytest.param([1.67772149, 0.0], 7, id="2^24 would be reached"),
        pytest.param([COUNTS_LIMIT - 1.0, 0.0], 0, id="the largest count"),
    ],
)
def test_a_column_gets_the_fewest_decimals_that_hold_its_cells(column, decimals):
    scaling = Scaling.fit(np.array(column)[:, None], "minmax")

    assert scaling.decimals == (decimals,)
    assert np.abs(scaling.counts(np.array(column)[:, None])).max() < COUNTS_LIMIT


def test_minmax_maps_each_column_to_the_unit_interval():
    x = np.array([[1.5, -10], [2.0, 0], [3.5, 30]])

    scaling = Scaling.fit(x, "minmax")

    assert scaling == Scaling((1, 0), (15, -10), (1 / 20, 1 / 40))
    np.testing.assert_allclose(scaling.apply(x), [[0, 0], [0.25, 0.25], [1, 1]])


def test_standard_has_deviation_1_and_a_mean_within_half_a_count():
    normal = np.random.default_rng(7).normal(20, 3, (500, 2))
    x = np.column_stack([normal[:, 0].round(2), normal[:, 1].round()])

    scaling = Scaling.fit(x, "standard")
    a0 = scaling.apply(x)

    np.testing.assert_allclose(a0.std(axis=0), 1, rtol=1e-12)
    assert (np.abs(a0.mean(axis=0)) <= 0.5 * np.array(scaling.scale)).all()
    assert scaling.offset == tuple(np.rint(x.mean(axis=0) * [100, 1]).astype(int))


def test_none_leaves_the_cells_as_they_are():
    x = np.array([[1.25, 7], [-0.5, 7]])

    scaling = Scaling.fit(x, "none")

    assert scaling == Scaling((2, 0), (0, 0), (0.01, 1.0))
    np.testing.assert_allclose(scaling.apply(x), x, rtol=1e-15)


@pytest.mark.parametrize("value", [1 / 3, 1e-12, 0.0, -COUNTS_LIMIT + 1.0])
@pytest.mark.parametrize("kind", SCALINGS)
def test_a_constant_column_of_any_value_is_no_mistake(kind, value):
    scaling = Scaling.fit(np.full((3, 1), value), kind)

    assert np.ptp(scaling.apply(np.full((2, 1), value))) == 0


@pytest.mark.parametrize("kind", ["minmax", "standard"])
def test_a_constant_column_becomes_zero(kind):
    x = np.full((5, 1), 2.5)

    scaling = Scaling.fit(x, kind)

    assert scaling == Scaling((1,), (25,), (0.0,))
    np.testing.assert_array_equal(scaling.apply([[2.5], [9.0]]), [[0], [0]])


def test_counts_outside_what_was_fitted_go_on_and_saturate_far_out():
    scaling = Scaling.fit([[0.0], [1.5]], "minmax")

    np.testing.assert_array_equal(
        scaling.counts([[-2.0], [0.25], [0.35], [1e308], [-1e300]]),
        [[-20], [2], [4], [2**53], [-(2**53)]],
    )
    assert scaling.counts([[1.0]]).dtype == np.int64


@pytest.mark.parametrize(
    ("x", "kind", "parts"),
    [
        pytest.param([[1.0]], "minmx", ["no scaling 'minmx'", "did you mean 'minmax'?"], id="kind"),
        pytest.param([1.0, 2.0], "minmax", ["1 dimensions"], id="vector"),
        pytest.param(np.ones((0, 2)), "minmax", ["no samples"], id="no rows"),
        pytest.param([[1.0], [np.inf]], "minmax", ["NaN or infinity"], id="infinity"),
        pytest.param(
            [[2.0**24], [0.0]], "none", ["1.67772e+07", "2^24", "rescale the column"], id="2^24"
        ),
        pytest.param([[-1e300], [0.0]], "none", ["rescale the column"], id="huge"),
        pytest.param([[1e-12], [2e-12]], "minmax", ["varies", "rescale the column"], id="tiny"),
        pytest.param(
            [[16e6 + 0.1], [16e6 + 0.2]], "standard", ["varies", "rescale"], id="hidden by size"
        ),
    ],
)
def test_a_scaling_that_cannot_be_fitted_says_what_to_do(x, kind, parts):
    assert_says(message(Scaling.fit, x, kind), *parts)


def test_a_column_to_rescale_is_named():
    x = [[1.0, 1e9], [2.0, 2e9]]

    assert_says(message(Scaling.fit, x, "minmax", ["volts", "hertz"]), "feature 'hertz'")
    assert_says(message(Scaling.fit, x, "minmax", ["volts"]), "1 feature names for 2 columns")


def test_samples_of_another_width_are_refused():
    scaling = Scaling.fit(np.eye(3), "minmax")

    assert_says(message(scaling.apply, np.ones((1, 2))), "2 features", "fitted to 3")


@pytest.mark.parametrize(
    ("fields", "parts"),
    [
        pytest.param(((), (), ()), ["one entry per feature"], id="empty"),
        pytest.param(((0,), (0, 0), (1.0,)), ["1 decimals, 2 offsets"], id="lengths"),
        pytest.param(((10,), (0,), (1.0,)), ["decimals", "0..9"], id="decimals"),
        pytest.param(((0,), (COUNTS_LIMIT,), (1.0,)), ["offsets"], id="offset"),
        pytest.param(((0,), (0,), (float("nan"),)), ["finite"], id="scale"),
    ],
)
def test_a_scaling_read_from_elsewhere_is_checked(fields, parts):
    assert_says(message(Scaling, *fields), *parts)


@given(
    counts=st.lists(st.integers(1 - COUNTS_LIMIT, COUNTS_LIMIT - 1), min_size=1, max_size=20),
    decimals=st.integers(0, 9),
    kind=st.sampled_from(SCALINGS),
)
def test_integer_counts_survive_the_way_through_cells_and_inputs(counts, decimals, kind):
    """Cells printed with d decimals come back as the counts they were made from."""
    exact = np.array(counts, dtype=np.int64)[:, None]
    x = np.array([[float(f"{count}e-{decimals}")] for count in counts])

    scaling = Scaling.fit(x, kind)
    a0 = scaling.apply(x)

    assert scaling.decimals[0] <= decimals
    np.testing.assert_array_equal(
        scaling.counts(x) * 10 ** (decimals - scaling.decimals[0]),
        exact,
    )
    if scaling.scale[0] > 0:
        back = np.rint(a0 / scaling.scale[0]).astype(np.int64) + scaling.offset[0]
        np.testing.assert_array_equal(back, scaling.counts(x))
    if kind == "minmax":
        assert a0.min() == 0
        assert a0.max() <= 1


# --- Files nobody meant to write --------------------------------------------------------

numbers = st.floats(allow_nan=False, allow_infinity=False)
# csv.writer cannot write surrogates, and a class may not be blank, a number or NaN.
class_names = st.text(
    st.one_of(
        st.sampled_from("\"'\\\n\r,; "), st.characters(codec="utf-8", exclude_characters="\0")
    ),
    min_size=1,
).map(lambda text: "c" + text)


@shares_tmp_path
@given(
    rows=st.lists(st.tuples(numbers, numbers, class_names), min_size=2, max_size=8).filter(
        lambda rows: len({row[2] for row in rows}) >= 2
    )
)
def test_what_csv_writer_writes_loads_back(tmp_path, rows):
    path = tmp_path / "data.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("a", "b", "kind"), *rows])

    data = load_csv(path, ["kind"])

    np.testing.assert_array_equal(data.x, [[row[0], row[1]] for row in rows])
    assert data.labels == tuple(sorted({row[2] for row in rows}))
    assert [data.labels[k] for k in data.classes()] == [row[2] for row in rows]


def attempt(call, *args):
    """Run the call; only BpgenError may come out of it, with one line of text."""
    sentence = ""
    try:
        call(*args)
    except BpgenError as error:
        sentence = str(error)
    assert "\n" not in sentence


@shares_tmp_path
@given(
    head=st.sampled_from([b"", b"a,y\n", b"a,y\n1,2\n", b"\xef\xbb\xbfa,y\r\n"]),
    tail=st.one_of(
        st.binary(max_size=200),
        st.text(alphabet='0123.eE+-,"\n\r\0;\tayNnIif_é', max_size=60).map(str.encode),
    ),
)
def test_no_bytes_in_a_csv_raise_anything_but_bpgenerror(tmp_path, head, tail):
    attempt(load_csv, write(tmp_path, head + tail), ["y"])


@shares_tmp_path
@given(data=st.data())
def test_no_damage_to_an_npz_raises_anything_but_bpgenerror(tmp_path, data):
    good = io.BytesIO()
    np.savez(good, x=np.ones((2, 3)), t=np.eye(2))
    content = bytearray(good.getvalue())
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)))

    attempt(load_npz, write(tmp_path, bytes(content), "a.npz"))
    attempt(load_npz, write(tmp_path, bytes(content[:cut]), "a.npz"))
    attempt(load_npz, write(tmp_path, data.draw(st.binary(max_size=100)), "a.npz"))


# --- The examples that come with the project --------------------------------------------


@pytest.mark.parametrize(
    ("name", "target", "rows", "columns", "labels"),
    [
        ("iris", "species", 150, 4, ("setosa", "versicolor", "virginica")),
        ("wine", "cultivar", 178, 13, ("class_0", "class_1", "class_2")),
        ("breast_cancer", "diagnosis", 569, 30, ("benign", "malignant")),
        ("digits", "digit", 1797, 64, tuple("0123456789")),
    ],
)
def test_an_example_has_its_rows_columns_and_short_numbers(name, target, rows, columns, labels):
    path = EXAMPLES / f"{name}.csv"

    data = load(path, [target])
    train, test = data.split()

    assert data.x.shape == (rows, columns)
    assert data.labels == labels
    assert all(feature.isidentifier() and feature.islower() for feature in data.features)
    assert set(train.classes()) == set(test.classes()) == set(range(len(labels)))
    with path.open(newline="", encoding="utf-8") as file:
        assert max(len(cell) for row in list(csv.reader(file))[1:] for cell in row[:-1]) <= 9
    for kind in SCALINGS:
        assert max(Scaling.fit(data.x, kind, data.features).decimals) <= 7

"""CSV files: what is read, and what is refused in one sentence that says where."""

from pathlib import Path

import numpy as np
import pytest

from bpgen.dataset import load_csv
from tests.unit.dataset_files import assert_says, message, write


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

"""NPZ files: what is read, and what is refused in one sentence."""

import io
import zipfile

import numpy as np
import pytest

from bpgen.dataset import load, load_npz
from tests.unit.dataset_files import assert_says, message, write, write_npz


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
    for content in (b"x,y\n1,2\n", b"PK\x03\x04", plain.getvalue(), foreign.getvalue()):
        assert_says(message(load_npz, write(tmp_path, content, "a.npz")), "not a readable .npz")
    assert_says(message(load_npz, tmp_path / "no.npz"), "there is no file")


def test_load_goes_by_the_suffix_whatever_its_case(tmp_path):
    text = write(tmp_path, "x,y\n1,a\n2,b\n", "a.CSV")
    arrays = write_npz(tmp_path, x=np.ones((2, 1)), t=np.eye(2))

    assert load(text, ["y"]).labels == ("a", "b")
    assert load(str(arrays)).labels == ("0", "1")
    assert_says(message(load, tmp_path / "a.xlsx", ["y"]), "a.xlsx", "neither a .csv nor a .npz")

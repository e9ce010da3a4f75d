"""Parts for training and testing: whole, in their shares, and the same for a seed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpgen.dataset import Dataset
from tests.unit.dataset_files import assert_says, message


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

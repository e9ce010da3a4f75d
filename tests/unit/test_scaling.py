"""From cells to counts to inputs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpgen.scaling import COUNTS_LIMIT, SCALINGS, Scaling
from tests.unit.dataset_files import assert_says, message


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

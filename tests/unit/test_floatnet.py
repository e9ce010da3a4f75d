"""The float network: activations, losses, layers that fit, initial weights."""

import math
import re
import warnings
from typing import Any

import numpy as np
import pytest

from bpgen.errors import BpgenError
from bpgen.floatnet import (
    FloatArray,
    FloatNet,
    SymmetryWarning,
    activate,
    create,
    derivative,
    symmetry_warning,
)
from bpgen.training import Training, train
from tests.unit.float_samples import XOR_T, XOR_X, assert_same_net, data


@pytest.mark.parametrize(
    ("kind", "z", "expected"),
    [
        ("sigmoid", 0.0, 0.5),
        ("sigmoid", 1.0, 1 / (1 + math.exp(-1))),
        ("tanh", 0.5, math.tanh(0.5)),
        ("tanh_opt", 1.5, 1.7159 * math.tanh(1.0)),
        ("relu", 2.5, 2.5),
        ("relu", -2.5, 0.0),
        ("linear", -2.5, -2.5),
    ],
)
def test_an_activation_has_its_textbook_value(kind: str, z: float, expected: float) -> None:
    np.testing.assert_allclose(activate(kind, np.array([[z]])), [[expected]], rtol=1e-15)


def test_tanh_opt_maps_one_to_one() -> None:
    """The point of its two constants, true to the digits in which they are given."""
    np.testing.assert_allclose(activate("tanh_opt", np.array([-1.0, 1.0])), [-1.0, 1.0], atol=1e-5)


def test_the_derivative_of_relu_at_zero_is_zero() -> None:
    assert derivative("relu", np.array([0.0, 1e-300])).tolist() == [0.0, 1.0]


@pytest.mark.parametrize("kind", ["sigmoid", "tanh", "tanh_opt", "softmax"])
def test_a_squashing_activation_survives_huge_sums(kind: str) -> None:
    a = activate(kind, np.array([[-1e6, 0.0, 1e6]]))
    assert np.isfinite(a).all()
    assert np.abs(a).max() <= 1.7159


def test_softmax_sums_to_one_and_ignores_a_common_offset() -> None:
    z = np.array([[0.1, 2.0, -1.0], [3.0, 3.0, 3.0]])
    np.testing.assert_allclose(activate("softmax", z).sum(axis=1), [1.0, 1.0], rtol=1e-15)
    np.testing.assert_allclose(activate("softmax", z + 500), activate("softmax", z), rtol=1e-12)


@pytest.mark.parametrize("kind", ["", "gelu", "Sigmoid"])
def test_an_unknown_activation_is_refused_by_name(kind: str) -> None:
    with pytest.raises(BpgenError, match="choose one of sigmoid, tanh, tanh_opt, relu, linear"):
        activate(kind, np.zeros(1))
    with pytest.raises(BpgenError, match=re.escape(repr(kind))):
        derivative(kind, np.zeros(1))


def test_softmax_has_no_derivative_element_by_element() -> None:
    with pytest.raises(BpgenError, match="'softmax' is no differentiable activation"):
        derivative("softmax", np.zeros(2))


def test_losses_are_per_sample_sums_over_outputs() -> None:
    y = np.array([[0.25, 0.75], [0.5, 0.5]])
    t = np.array([[0.0, 1.0], [1.0, 0.0]])
    squared = create((1, 2)).losses(y, t)
    np.testing.assert_allclose(squared, [0.0625, 0.25], rtol=1e-15)
    softmax = create((1, 2), output="softmax", loss="cross_entropy").losses(y, t)
    np.testing.assert_allclose(softmax, [-math.log(0.75), math.log(2)], rtol=1e-15)
    sigmoid = create((1, 2), output="sigmoid", loss="cross_entropy").losses(y, t)
    np.testing.assert_allclose(sigmoid, [-2 * math.log(0.75), 2 * math.log(2)], rtol=1e-15)


@pytest.mark.parametrize("output", ["sigmoid", "softmax"])
def test_cross_entropy_of_a_wholly_wrong_output_is_finite(output: str) -> None:
    net = create((1, 2), output=output, loss="cross_entropy")
    wrong = net.losses(np.array([[0.0, 1.0]]), np.array([[1.0, 0.0]]))
    outputs_charged = 2 if output == "sigmoid" else 1
    np.testing.assert_allclose(wrong, [outputs_charged * 53 * math.log(2)], rtol=1e-12)
    right = net.losses(np.array([[1.0, 0.0]]), np.array([[1.0, 0.0]]))
    assert 0.0 <= right[0] < 1e-15


def test_one_sample_without_a_batch_axis_gives_the_row_of_the_batch() -> None:
    net = create((3, 5, 4), "tanh", "softmax", "cross_entropy", seed=1)
    x = data(1)[0]
    t = np.eye(4)[[0, 1, 2, 3, 0, 1, 2]]
    batch, single = net.forward(x), net.forward(x[2])
    np.testing.assert_allclose(single.a[-1], batch.a[-1][2], rtol=1e-13)
    both = zip(net.backward(single.a, t[2]), net.backward(batch.a, t), strict=True)
    for dz, rows in both:
        np.testing.assert_allclose(dz, rows[2], rtol=1e-12)


def test_sizes_name_every_layer_from_input_to_output() -> None:
    net = create((3, 5, 2, 4))
    assert net.sizes == (3, 5, 2, 4)
    assert net.n_layers == 3
    assert [w.shape for w in net.w] == [(5, 3), (2, 5), (4, 2)]


def test_a_net_owns_its_parameters() -> None:
    w, b = np.ones((2, 3)), np.ones(2)
    net = FloatNet([w], [b], ("linear",), "squared_error")
    other = net.copy()
    other.w[0] += 1.0
    other.b[0] += 1.0
    assert w.tolist() == net.w[0].tolist() == np.ones((2, 3)).tolist()
    assert b.tolist() == net.b[0].tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("w", "b", "activations", "message"),
    [
        ([], [], (), "needs weights, biases and an activation for each layer"),
        ([np.ones((2, 3))], [np.ones(2)], ("sigmoid", "sigmoid"), "2 activations"),
        ([np.ones(3)], [np.ones(3)], ("sigmoid",), r"w1 has shape \(3,\)"),
        ([np.ones((2, 3))], [np.ones(3)], ("sigmoid",), r"b1 has shape \(3,\), but w1 has 2 rows"),
        (
            [np.ones((2, 3)), np.ones((4, 5))],
            [np.ones(2), np.ones(4)],
            ("sigmoid", "sigmoid"),
            "w2 has 5 columns, but layer 1 has 2 units",
        ),
        ([np.full((1, 1), np.nan)], [np.ones(1)], ("sigmoid",), "w1 or b1 holds a value"),
        (
            [np.ones((1, 1)), np.ones((1, 1))],
            [np.ones(1), np.ones(1)],
            ("softmax", "sigmoid"),
            "'softmax' is no hidden activation",
        ),
        ([np.ones((1, 1))], [np.ones(1)], ("tanh",), "'tanh' is no output activation"),
    ],
)
def test_layers_that_do_not_fit_together_are_refused(
    w: list[FloatArray], b: list[FloatArray], activations: tuple[str, ...], message: str
) -> None:
    with pytest.raises(BpgenError, match=message):
        FloatNet(w, b, activations, "squared_error")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"output": "softmax"}, "softmax output does not go with squared_error"),
        ({"output": "linear", "loss": "cross_entropy"}, "linear output does not go with"),
        ({"loss": "hinge"}, "'hinge' is no loss: choose one of squared_error, cross_entropy"),
        ({"init": "magic"}, "'magic' is no init: choose one of xavier, normal, zeros"),
        ({"hidden": ("tanh",)}, "1 hidden activations are given for 2 hidden layers"),
        ({"sizes": (3,)}, "the layer sizes are 3: give at least an input and an output size"),
        ({"sizes": (3, 0, 2)}, "the layer sizes are 3-0-2"),
        ({"seed": -1}, "the seed is -1: choose 0 or more"),
    ],
)
def test_create_refuses_what_cannot_be_trained(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BpgenError, match=message):
        create(**{"sizes": (3, 5, 2, 4), **changes})


def test_hidden_kinds_can_be_given_once_or_per_layer() -> None:
    assert create((2, 3, 4, 1), "relu").activations == ("relu", "relu", "sigmoid")
    assert create((2, 3, 4, 1), ("relu", "tanh")).activations == ("relu", "tanh", "sigmoid")
    assert create((2, 1), "relu").activations == ("sigmoid",)


def test_xavier_weights_fill_their_interval_and_biases_are_zero() -> None:
    net = create((100, 50, 10), seed=3)
    for w, b in zip(net.w, net.b, strict=True):
        limit = math.sqrt(6 / sum(w.shape))
        assert 0.95 * limit < np.abs(w).max() <= limit
        assert not b.any()


def test_normal_weights_have_mean_zero_and_deviation_one() -> None:
    """20,000 draws: five standard errors are 0.035 for the mean and 0.025 for the deviation."""
    w = create((200, 100), init="normal", seed=4).w[0]
    assert abs(w.mean()) < 0.035
    assert abs(w.std() - 1) < 0.025


@pytest.mark.parametrize("init", ["xavier", "normal"])
def test_the_same_seed_gives_the_same_weights_and_another_seed_others(init: str) -> None:
    first, again, other = (create((3, 4, 2), init=init, seed=seed) for seed in (5, 5, 6))
    assert_same_net(again, first, rtol=0)
    assert np.all(first.w[0] != other.w[0])


def test_initial_weights_do_not_share_a_stream_with_the_order_of_epoch_zero() -> None:
    w = create((5, 1), init="normal", seed=7).w[0]
    assert np.all(w != np.random.default_rng([7, 0]).standard_normal((1, 5)))


def test_zero_weights_warn_that_hidden_units_never_separate() -> None:
    with pytest.warns(SymmetryWarning, match="all 3 units of hidden layer 1") as caught:
        net = create((2, 3, 1), init="zeros")
    assert caught[0].filename == __file__
    assert not net.w[0].any()


def test_the_warning_tells_the_truth() -> None:
    """After a long run the hidden units still are copies of each other, and XOR is not learnt."""
    with pytest.warns(SymmetryWarning):
        net = create((2, 3, 1), init="zeros")
    log = train(net, XOR_X, XOR_T, Training(learning_rate=1.0, epochs=300))
    assert net.w[0].any()
    np.testing.assert_allclose(net.w[0], net.w[0][[1, 2, 0]], rtol=1e-12)
    assert log.loss[-1] > 0.1


def test_symmetry_is_found_in_any_layer_and_only_where_it_is_complete() -> None:
    net = create((2, 3, 4, 2), seed=8)
    assert symmetry_warning(net) is None
    net.w[1][:] = 0.3
    assert symmetry_warning(net) is None, "outgoing weights differ, so the units separate"
    net.w[2][:] = [[0.5], [-0.5]]
    assert "hidden layer 2" in str(symmetry_warning(net))
    net.b[1][0] = 0.1
    assert symmetry_warning(net) is None, "a bias tells the units apart"


def test_a_single_hidden_unit_is_not_symmetric_with_anything() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        create((2, 1, 1), init="zeros")


def test_forward_refuses_the_wrong_number_of_features() -> None:
    with pytest.raises(BpgenError, match="the data has 4 features but layer sizes start with 5"):
        create((5, 3, 2), seed=41).forward(np.ones((1, 4)))

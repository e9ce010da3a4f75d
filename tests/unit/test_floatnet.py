"""The float reference: layers, initial weights, losses, the training loop and its log."""

import math
import re
import warnings
from typing import Any

import numpy as np
import pytest

from bpgen.errors import BpgenError
from bpgen.floatnet import (
    HIDDEN_ACTIVATIONS,
    FloatArray,
    FloatNet,
    Sparsity,
    SymmetryWarning,
    activate,
    create,
    derivative,
    symmetry_warning,
)
from bpgen.training import Training, sample_order, train

SUITE_SEED = 21

XOR_X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
XOR_T = np.array([[0.0], [1.0], [1.0], [0.0]])


def data(case: int, count: int = 7, n_in: int = 3, n_out: int = 2) -> tuple[FloatArray, FloatArray]:
    random = np.random.default_rng([SUITE_SEED, case])
    return random.standard_normal((count, n_in)), random.uniform(0.1, 0.9, (count, n_out))


def parameters(net: FloatNet) -> list[FloatArray]:
    return [*net.w, *net.b]


def assert_same_net(actual: FloatNet, expected: FloatNet, rtol: float = 1e-12) -> None:
    for one, other in zip(parameters(actual), parameters(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=rtol, atol=1e-15)


# Activations and losses


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


# Nets


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


# Initial weights


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


# Order


def test_the_order_of_an_epoch_is_fixed_by_seed_and_epoch() -> None:
    """Twin and C replay this very order, so its definition is part of the contract."""
    order = sample_order(10, epoch=3, seed=9)
    assert order.dtype == np.int64
    assert order.tolist() == np.random.default_rng([9, 3]).permutation(10).tolist()
    assert sorted(order.tolist()) == list(range(10))
    assert order.tolist() != sample_order(10, epoch=4, seed=9).tolist()
    assert order.tolist() != sample_order(10, epoch=3, seed=10).tolist()


def test_without_shuffling_samples_come_in_file_order() -> None:
    assert sample_order(5, epoch=2, seed=1, shuffle=False).tolist() == [0, 1, 2, 3, 4]


# Training


def by_the_book(net: FloatNet, x: FloatArray, t: FloatArray, training: Training) -> None:
    """Gradient descent without any shortcut, for comparison."""
    v = [np.zeros_like(p) for p in parameters(net)]
    size = training.batch_size or len(x)
    for epoch in range(training.epochs):
        rate = training.learning_rate * training.learning_rate_decay**epoch
        order = sample_order(len(x), epoch, training.seed, training.shuffle)
        for start in range(0, len(x), size):
            rows = order[start : start + size]
            gradient = net.gradient(x[rows], t[rows], "sum")
            divisor = size if training.reduction == "mean" else 1
            slopes = [
                dw / divisor + training.l2 * w for dw, w in zip(gradient.dw, net.w, strict=True)
            ]
            slopes += [db / divisor for db in gradient.db]
            v = [training.momentum * u - rate * s for u, s in zip(v, slopes, strict=True)]
            net.w = [w + u for w, u in zip(net.w, v[: net.n_layers], strict=True)]
            net.b = [b + u for b, u in zip(net.b, v[net.n_layers :], strict=True)]


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("batch_size", [1, 3, 7, 20, None])
@pytest.mark.parametrize("l2", [0.0, 0.02], ids=["plain", "l2"])
@pytest.mark.parametrize("momentum", [0.0, 0.9], ids=["still", "momentum"])
def test_training_takes_the_steps_of_plain_gradient_descent(
    momentum: float, l2: float, batch_size: int | None, reduction: Any
) -> None:
    """Seven samples: batches of 3 end with a short one, and 20 is more than there are."""
    x, t = data(10)
    training = Training(
        learning_rate=0.2,
        epochs=4,
        batch_size=batch_size,
        reduction=reduction,
        momentum=momentum,
        l2=l2,
        learning_rate_decay=0.8,
        seed=11,
    )
    net = create((3, 5, 4, 2), ("tanh", "relu"), seed=12)
    expected = net.copy()
    by_the_book(expected, x, t, training)
    train(net, x, t, training)
    assert_same_net(net, expected, rtol=1e-10)


def test_two_steps_with_momentum_match_the_arithmetic() -> None:
    """One weight: slope of 1/2 (w - 1)^2 is w - 1; v = 0.5 v - 0.1 slope."""
    net = FloatNet([np.zeros((1, 1))], [np.zeros(1)], ("linear",), "squared_error")
    training = Training(learning_rate=0.1, epochs=2, momentum=0.5)
    train(net, np.array([[1.0]]), np.array([[1.0]]), training)
    # Step 1: y = 0, v = 0.1, w = b = 0.1. Step 2: y = 0.2, v = 0.05 + 0.08 = 0.13.
    np.testing.assert_allclose(net.w[0], [[0.23]], rtol=1e-14)
    np.testing.assert_allclose(net.b[0], [0.23], rtol=1e-14)


def test_l2_shrinks_weights_but_not_biases() -> None:
    net = FloatNet([np.full((1, 1), 2.0)], [np.full(1, 3.0)], ("linear",), "squared_error")
    training = Training(learning_rate=0.1, epochs=1, l2=0.5)
    train(net, np.array([[1.0]]), np.array([[5.0]]), training)
    np.testing.assert_allclose(net.w[0], [[2.0 - 0.1 * 0.5 * 2.0]], rtol=1e-14)
    assert net.b[0].tolist() == [3.0]


@pytest.mark.parametrize("batch_size", [1, 3])
def test_sparsity_follows_a_running_mean_that_starts_at_the_target(batch_size: int) -> None:
    x, t = data(13)
    sparsity = Sparsity(target=0.1, weight=0.5)
    training = Training(
        learning_rate=0.3, epochs=2, batch_size=batch_size, sparsity=sparsity, shuffle=False
    )
    net = create((3, 5, 4, 2), ("sigmoid", "tanh_opt"), seed=14)
    expected = net.copy()
    p = [np.full(5, 0.1), np.full(4, 0.1)]
    for _ in range(training.epochs):
        for start in range(0, len(x), batch_size):
            rows = slice(start, start + batch_size)
            a = expected.forward(x[rows]).a
            now = [a[1].mean(axis=0), (a[2].mean(axis=0) / 1.7159 + 1) / 2]
            p = [0.99 * u + 0.01 * v for u, v in zip(p, now, strict=True)]
            slopes = [0.5 * (-0.1 / u + 0.9 / (1 - u)) for u in p]
            dz = expected.backward(a, t[rows], [slopes[0], slopes[1] / (2 * 1.7159)])
            for k in range(3):
                expected.w[k] -= 0.3 * dz[k].T @ a[k] / batch_size
                expected.b[k] -= 0.3 * dz[k].sum(axis=0) / batch_size
    train(net, x, t, training)
    assert_same_net(net, expected, rtol=1e-10)


def test_sparsity_brings_mean_activations_to_the_target() -> None:
    x, t = data(15, count=40)
    net = create((3, 6, 2), seed=16)
    before = net.forward(x).a[1].mean(axis=0)
    training = Training(0.2, epochs=300, batch_size=8, sparsity=Sparsity(0.1, 1.0))
    train(net, x, t, training)
    after = net.forward(x).a[1].mean(axis=0)
    assert np.abs(before - 0.1).max() > 0.3
    assert np.abs(after - 0.1).max() < 0.03


@pytest.mark.parametrize("bias", [-800.0, 800.0], ids=["off", "on"])
def test_a_unit_that_never_changes_does_not_make_the_penalty_infinite(bias: float) -> None:
    x, t = data(17)
    net = create((3, 4, 2), seed=18)
    net.b[0][:] = bias
    gradient = net.gradient(x, t, sparsity=Sparsity(0.1, 1.0))
    assert all(np.isfinite(g).all() for g in [*gradient.dw, *gradient.db])


@pytest.mark.parametrize("kind", ["relu", "linear"])
def test_training_refuses_sparsity_on_an_unbounded_layer_before_the_first_step(kind: str) -> None:
    x, t = data(19)
    net = create((3, 4, 2), kind, seed=20)
    before = net.copy()
    with pytest.raises(BpgenError, match=f"hidden layer 1 is {kind}"):
        train(net, x, t, Training(sparsity=Sparsity(0.1, 1.0)))
    assert_same_net(net, before, rtol=0)


@pytest.mark.parametrize(
    ("hidden", "output", "loss"),
    [
        *((kind, "sigmoid", "squared_error") for kind in HIDDEN_ACTIVATIONS if kind != "linear"),
        ("tanh", "sigmoid", "cross_entropy"),
        ("tanh", "softmax", "cross_entropy"),
        ("tanh", "linear", "squared_error"),
    ],
)
def test_xor_is_learnt_by_every_kind_that_can(hidden: str, output: str, loss: str) -> None:
    t = np.hstack([1 - XOR_T, XOR_T]) if output == "softmax" else XOR_T
    net = create((2, 8, t.shape[1]), hidden, output, loss, init="normal", seed=21)
    training = Training(
        learning_rate=0.1 if output == "linear" else 0.5, epochs=4000, stop_loss=(0, 0.01)
    )
    log = train(net, XOR_X, t, training)
    assert log.loss[-1] < 0.01
    assert np.array_equal(net.forward(XOR_X).a[-1] > 0.5, t > 0.5)


def test_the_same_training_twice_gives_the_same_bits() -> None:
    x, t = data(22)
    nets = [create((3, 4, 2), seed=23) for _ in range(2)]
    logs = [train(net, x, t, Training(epochs=5, seed=24)) for net in nets]
    assert logs[0] == logs[1]
    assert_same_net(nets[0], nets[1], rtol=0)


def test_the_log_holds_the_mean_training_loss_after_each_epoch() -> None:
    x, t = data(25)
    net = create((3, 4, 2), seed=26)
    twin = net.copy()
    heard: list[tuple[int, float]] = []
    log = train(net, x, t, Training(epochs=3, seed=27), lambda *news: heard.append(news))
    assert heard == list(enumerate(log.loss))
    for epochs in (1, 2, 3):
        replay = twin.copy()
        train(replay, x, t, Training(epochs=epochs, seed=27))
        expected = replay.losses(replay.forward(x).a[-1], t).mean()
        np.testing.assert_allclose(log.loss[epochs - 1], expected, rtol=1e-15)


def test_the_logged_loss_leaves_penalties_out() -> None:
    x, t = data(28)
    net = create((3, 4, 2), seed=29)
    penalised = Training(epochs=1, l2=0.1, sparsity=Sparsity(0.1, 0.2))
    log = train(net, x, t, penalised)
    assert log.loss == [float(net.losses(net.forward(x).a[-1], t).mean())]


def test_training_stops_when_the_loss_is_inside_the_given_range() -> None:
    x, t = data(30)
    start = create((3, 4, 2), seed=31)
    full = train(start.copy(), x, t, Training(epochs=50)).loss
    low, high = full[20], full[19]
    assert low < high
    first = next(epoch for epoch, loss in enumerate(full) if low <= loss <= high)
    stopped = train(start.copy(), x, t, Training(epochs=50, stop_loss=(low, high))).loss
    assert stopped == full[: first + 1]
    for missed in ((-2.0, -1.0), (1e8, 1e9)):
        assert train(start.copy(), x, t, Training(epochs=50, stop_loss=missed)).loss == full


def test_a_net_that_starts_in_the_range_still_trains_one_epoch() -> None:
    x, t = data(32)
    log = train(create((3, 4, 2), seed=33), x, t, Training(epochs=9, stop_loss=(0.0, 1e9)))
    assert len(log.loss) == 1


# Ranges


def peaks(net: FloatNet, x: FloatArray, t: FloatArray) -> list[list[float]]:
    forward = net.forward(x)
    dz = net.backward(forward.a, t)
    return [
        [float(np.abs(a).max()) for a in forward.a],
        [float(np.abs(z).max()) for z in forward.z],
        [float(max(np.abs(w).max(), np.abs(b).max())) for w, b in zip(net.w, net.b, strict=True)],
        [float(np.abs(d).max()) for d in dz],
    ]


@pytest.mark.parametrize("batch_size", [1, 3, None])
def test_ranges_cover_the_start_and_every_epoch(batch_size: int | None) -> None:
    x, t = data(34)
    start = create((3, 5, 4, 2), ("tanh_opt", "relu"), "linear", seed=35)
    seen = []
    for epochs in range(4):
        net = start.copy()
        log = train(net, x, t, Training(0.2, epochs=epochs, batch_size=batch_size))
        seen.append(peaks(net, x, t))
        expected = [
            [max(values) for values in zip(*tensor, strict=True)]
            for tensor in zip(*seen, strict=True)
        ]
        ranges = log.ranges
        assert [ranges.a, ranges.z, ranges.w, ranges.dz] == expected
        assert ranges.t == np.abs(t).max()
    assert [len(values) for values in expected] == [4, 3, 3, 3]


def test_ranges_are_magnitudes() -> None:
    net = FloatNet([np.full((1, 1), -3.0)], [np.full(1, -4.0)], ("linear",), "squared_error")
    log = train(net, np.array([[2.0]]), np.array([[-50.0]]), Training(epochs=0))
    assert log.loss == []
    assert log.ranges.a == [2.0, 10.0]
    assert log.ranges.z == [10.0]
    assert log.ranges.w == [4.0]
    assert log.ranges.dz == [40.0]
    assert log.ranges.t == 50.0


def test_ranges_of_deltas_include_the_sparsity_term() -> None:
    x, t = data(36)
    plain, sparse = (
        train(
            create((3, 4, 2), seed=37),
            x,
            t,
            Training(learning_rate=1e-6, epochs=50, batch_size=None, sparsity=sparsity),
        ).ranges
        for sparsity in (None, Sparsity(0.01, 5.0))
    )
    assert sparse.dz[0] > 2 * plain.dz[0]
    assert sparse.dz[1] == pytest.approx(plain.dz[1], rel=1e-3)


# What a user can put right


@pytest.mark.parametrize("batch_size", [1, 2])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_a_diverging_run_says_to_lower_the_learning_rate(batch_size: int, momentum: float) -> None:
    x, t = data(38)
    net = create((3, 4, 2), "linear", "linear", seed=39)
    training = Training(50.0, batch_size=batch_size, momentum=momentum)
    with pytest.raises(BpgenError, match=r"learning rate 50 is too large, lower it.* to 5$"):
        train(net, x, t, training)


def test_infinite_weights_are_divergence_even_where_the_loss_looks_fine() -> None:
    """A sigmoid behind infinite sums outputs a perfectly finite 0 or 1."""
    net = FloatNet([np.zeros((1, 1))], [np.zeros(1)], ("sigmoid",), "squared_error")
    x, t = np.array([[1e200]]), np.array([[1.0]])
    with pytest.raises(BpgenError, match="diverged in epoch 1 of 1"):
        train(net, x, t, Training(learning_rate=1e200, epochs=1))
    assert np.isinf(net.w[0]).all()
    with np.errstate(over="ignore"):
        assert net.losses(net.forward(x).a[-1], t).tolist() == [0.0]


@pytest.mark.parametrize(
    ("x", "t", "message"),
    [
        (
            np.ones((4, 4)),
            np.ones((4, 2)),
            re.escape("the data has 4 features but layer sizes start with 5: use --layers 4-..."),
        ),
        (
            np.ones((4, 5)),
            np.ones((4, 3)),
            re.escape(
                "the data has 3 targets per sample but layer sizes end with 2: use --layers ...-3"
            ),
        ),
        (np.ones((4, 5)), np.ones((3, 2)), "4 rows of inputs but 3 of targets"),
        (np.ones((0, 5)), np.ones((0, 2)), "the data has no samples"),
        (np.ones(5), np.ones((1, 2)), r"the inputs have shape \(5,\)"),
        (np.ones((2, 5)), np.ones(2), r"the targets have shape \(2,\)"),
        (
            np.array([[1.0] * 5, [math.nan] * 5]),
            np.ones((2, 2)),
            "the inputs of sample 1, counted from 0, hold a value that is missing",
        ),
        (
            np.ones((2, 5)),
            np.array([[math.inf, 0.0], [0.0, 0.0]]),
            "the targets of sample 0, counted from 0",
        ),
    ],
)
def test_data_that_does_not_fit_is_refused_with_the_cure(
    x: FloatArray, t: FloatArray, message: str
) -> None:
    net = create((5, 3, 2), seed=40)
    with pytest.raises(BpgenError, match=message):
        train(net, x, t, Training())
    with pytest.raises(BpgenError, match=message):
        net.gradient(x, t)


def test_forward_refuses_the_wrong_number_of_features() -> None:
    with pytest.raises(BpgenError, match="the data has 4 features but layer sizes start with 5"):
        create((5, 3, 2), seed=41).forward(np.ones((1, 4)))


def test_softmax_targets_must_be_probabilities() -> None:
    net = create((3, 2), output="softmax", loss="cross_entropy", seed=42)
    x, t = np.ones((2, 3)), np.array([[1.0, 0.0], [1.0, 1.0]])
    with pytest.raises(BpgenError, match="targets of sample 1, counted from 0, sum to 2"):
        train(net, x, t, Training())


def test_integer_data_trains_like_the_same_numbers_in_float() -> None:
    nets = [create((2, 3, 1), seed=43) for _ in range(2)]
    train(nets[0], XOR_X, XOR_T, Training(epochs=2))
    train(nets[1], XOR_X.astype(int), XOR_T.astype(int), Training(epochs=2))
    assert_same_net(nets[0], nets[1], rtol=0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"learning_rate": 0.0}, "the learning rate is 0.0"),
        ({"learning_rate": math.nan}, "the learning rate is nan"),
        ({"epochs": -1}, "epochs is -1"),
        ({"batch_size": 0}, "the batch size is 0"),
        ({"reduction": "max"}, "'max' is no reduction: choose one of mean, sum"),
        ({"momentum": 1.0}, "the momentum is 1.0"),
        ({"l2": -0.1}, "l2 is -0.1"),
        ({"learning_rate_decay": 0.0}, "the learning rate decay is 0.0"),
        ({"stop_loss": (0.2, 0.1)}, "the stopping range 0.2 to 0.1 is empty"),
        ({"seed": -1}, "the seed is -1"),
    ],
    ids=str,
)
def test_a_setting_out_of_range_is_refused_by_name(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(BpgenError, match=re.escape(message)):
        Training(**settings)


@pytest.mark.parametrize(("target", "weight"), [(0.0, 1.0), (1.0, 1.0), (0.1, -1.0)])
def test_a_sparsity_out_of_range_is_refused(target: float, weight: float) -> None:
    with pytest.raises(BpgenError, match=r"the sparsity (target|weight) is"):
        Sparsity(target, weight)

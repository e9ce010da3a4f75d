"""Training in float: order, steps, stopping, ranges, and what a user can put right."""

import math
import re
from typing import Any

import numpy as np
import pytest

from bpgen.errors import BpgenError
from bpgen.floatnet import HIDDEN_ACTIVATIONS, FloatArray, FloatNet, Sparsity, create
from bpgen.training import Training, sample_order, train
from tests.unit.float_samples import XOR_T, XOR_X, assert_same_net, data, parameters


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


@pytest.mark.parametrize("peak", [0, 511, 512, 1023, 1024, 1100])
def test_ranges_and_loss_are_of_every_sample(peak: int) -> None:
    net = FloatNet([np.full((1, 1), 1.0)], [np.zeros(1)], ("linear",), "squared_error")
    x, t = np.zeros((1101, 1)), np.zeros((1101, 1))
    x[peak] = -1.0
    log = train(net, x, t, Training(1e-9, epochs=1, batch_size=None))
    ranges = log.ranges
    assert [ranges.a, ranges.z, ranges.dz] == [[1.0, 1.0], [1.0], [1.0]]
    assert log.loss == pytest.approx([0.5 / 1101])


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

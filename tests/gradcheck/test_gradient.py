"""
The float reference against calculus: central differences, and formulas written out.

Nothing here calls the reference's own objective: losses and penalties are defined again,
in the plainest form, so that a mistake in one place cannot hide in the other.
"""

import functools
import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from bpgen.errors import BpgenError
from bpgen.floatnet import (
    HIDDEN_ACTIVATIONS,
    LOSSES,
    OUTPUT_ACTIVATIONS,
    FloatArray,
    FloatNet,
    Gradient,
    Reduction,
    Sparsity,
    create,
    derivative,
)

# Chosen so that every net with relu passes the two assertions in `problem`.
SUITE_SEED = 9

# With h = cbrt(eps) both errors of a central difference are multiples of h^2: truncation is
# f'''/6 h^2, and rounding eps |f| / h = |f| h^2. The objectives here have |f| and f''' of at
# most a few tens (relu and linear layers with weights and inputs around 1).
STEP = float(np.finfo(np.float64).eps) ** (1.0 / 3.0)
TOLERANCE = 100.0 * STEP**2

# Nearer than this to the corner of relu, a step of STEP in one parameter could cross it.
KINK_MARGIN = 1e-3

OUTPUTS = [
    ("sigmoid", "squared_error"),
    ("sigmoid", "cross_entropy"),
    ("softmax", "cross_entropy"),
    ("linear", "squared_error"),
]
BOUNDED = ("sigmoid", "tanh", "tanh_opt")
SPARSITY = Sparsity(target=0.2, weight=0.7)
EXTRAS: dict[str, tuple[float, Sparsity | None]] = {
    "plain": (0.0, None),
    "l2": (0.03, None),
    "sparsity": (0.0, SPARSITY),
    "l2-sparsity": (0.03, SPARSITY),
}
CASES = [
    (hidden, output, loss, reduction, extra)
    for hidden, (output, loss), reduction, extra in itertools.product(
        HIDDEN_ACTIVATIONS, OUTPUTS, ("mean", "sum"), EXTRAS
    )
    if hidden in BOUNDED or EXTRAS[extra][1] is None
]


def problem(
    case: int, sizes: Sequence[int], hidden: str | Sequence[str], output: str, loss: str
) -> tuple[FloatNet, FloatArray, FloatArray]:
    """A random net and six samples, on both sides of every corner of relu but not near it."""
    random = np.random.default_rng([SUITE_SEED, case])
    net = create(sizes, hidden, output, loss, seed=case)
    net.b = [random.uniform(-0.5, 0.5, b.shape) for b in net.b]
    x = random.standard_normal((6, sizes[0]))
    if output == "softmax":
        t = np.eye(sizes[-1])[random.integers(0, sizes[-1], len(x))]
    else:
        t = random.uniform(0.05, 0.95, (len(x), sizes[-1]))
    for kind, z in zip(net.activations, net.forward(x).z, strict=True):
        if kind == "relu":
            assert np.abs(z).min() > KINK_MARGIN, "too near a corner: choose another seed"
            assert 0 < (z > 0).mean() < 1, "only one side of the corner: choose another seed"
    return net, x, t


def sample_loss(net: FloatNet, y: FloatArray, t: FloatArray) -> float:
    pairs = list(zip(y.tolist(), t.tolist(), strict=True))
    if net.loss == "squared_error":
        return math.fsum(0.5 * (y_i - t_i) ** 2 for y_i, t_i in pairs)
    if net.activations[-1] == "softmax":
        return -math.fsum(t_i * math.log(y_i) for y_i, t_i in pairs)
    return -math.fsum(t_i * math.log(y_i) + (1 - t_i) * math.log(1 - y_i) for y_i, t_i in pairs)


def penalty(net: FloatNet, a: Sequence[FloatArray], sparsity: Sparsity) -> float:
    rho, total = sparsity.target, 0.0
    for kind, layer in zip(net.activations[:-1], a[1:-1], strict=True):
        for mean in layer.mean(axis=0):
            p = {"sigmoid": mean, "tanh": (mean + 1) / 2, "tanh_opt": (mean / 1.7159 + 1) / 2}[kind]
            total += rho * math.log(rho / p) + (1 - rho) * math.log((1 - rho) / (1 - p))
    return sparsity.weight * total


def objective(
    net: FloatNet,
    x: FloatArray,
    t: FloatArray,
    reduction: str = "mean",
    l2: float = 0.0,
    sparsity: Sparsity | None = None,
) -> float:
    a = net.forward(x).a
    total = sum(sample_loss(net, y, row) for y, row in zip(a[-1], t, strict=True))
    if sparsity is not None:
        total += len(x) * penalty(net, a, sparsity)
    if reduction == "mean":
        total /= len(x)
    return total + 0.5 * l2 * sum(float((w**2).sum()) for w in net.w)


def central_differences(parameter: FloatArray, value: Callable[[], float]) -> FloatArray:
    slopes = np.empty_like(parameter)
    for index in np.ndindex(parameter.shape):
        kept = parameter[index]
        parameter[index] = kept + STEP
        above = value()
        parameter[index] = kept - STEP
        below = value()
        parameter[index] = kept
        slopes[index] = (above - below) / (2 * STEP)
    return slopes


def worst_difference(net: FloatNet, gradient: Gradient, value: Callable[[], float]) -> float:
    analytic = [*gradient.dw, *gradient.db]
    parameters = [*net.w, *net.b]
    return max(
        float(np.abs(slopes - central_differences(parameter, value)).max())
        for slopes, parameter in zip(analytic, parameters, strict=True)
    )


@pytest.mark.parametrize(
    ("case", "hidden", "output", "loss", "reduction", "extra"),
    [(case, *rest) for case, rest in enumerate(CASES)],
    ids=[f"case{case}-" + "-".join(rest) for case, rest in enumerate(CASES)],
)
def test_the_gradient_is_the_slope_of_the_objective(
    case: int, hidden: str, output: str, loss: str, reduction: Reduction, extra: str
) -> None:
    l2, sparsity = EXTRAS[extra]
    net, x, t = problem(case, (3, 5, 2, 4), hidden, output, loss)
    gradient = net.gradient(x, t, reduction, l2, sparsity)
    assert [dw.shape for dw in gradient.dw] == [(5, 3), (2, 5), (4, 2)]
    assert [db.shape for db in gradient.db] == [(5,), (2,), (4,)]
    assert (
        worst_difference(net, gradient, lambda: objective(net, x, t, reduction, l2, sparsity))
        < TOLERANCE
    )


def test_the_cases_leave_no_allowed_combination_out() -> None:
    """Each hidden kind has 4 outputs x 2 reductions x 2 extras, and 2 more if it is bounded."""
    assert len(CASES) == 4 * 2 * (2 * len(HIDDEN_ACTIVATIONS) + 2 * len(BOUNDED))
    for output, loss in set(itertools.product(OUTPUT_ACTIVATIONS, LOSSES)) - set(OUTPUTS):
        with pytest.raises(BpgenError, match="does not go with"):
            create((3, 4), output=output, loss=loss)


@pytest.mark.parametrize(("output", "loss"), OUTPUTS, ids=["-".join(pair) for pair in OUTPUTS])
@pytest.mark.parametrize("sizes", [(3, 4), (2, 3, 1), (3, 6, 2, 5, 4, 7)], ids=str)
def test_the_gradient_is_right_at_any_depth(sizes: tuple[int, ...], output: str, loss: str) -> None:
    hidden = ("tanh_opt", "relu", "sigmoid", "tanh")[: len(sizes) - 2]
    net, x, t = problem(700 + len(sizes), sizes, hidden, output, loss)
    assert worst_difference(net, net.gradient(x, t), lambda: objective(net, x, t)) < TOLERANCE


@pytest.mark.parametrize("layer", [1, 2, 3])
def test_the_check_notices_an_error_of_one_part_in_ten_thousand(layer: int) -> None:
    """A tolerance that accepts everything would prove nothing."""
    net, x, t = problem(800, (3, 5, 2, 4), "sigmoid", "linear", "squared_error")
    gradient = net.gradient(x, t, "sum")
    gradient.dw[layer - 1] *= 1.0001
    assert worst_difference(net, gradient, lambda: objective(net, x, t, "sum")) > TOLERANCE


def test_the_check_notices_a_sparsity_term_of_the_wrong_size() -> None:
    net, x, t = problem(801, (3, 5, 2, 4), "tanh_opt", "linear", "squared_error")
    doubled = Sparsity(SPARSITY.target, 2 * SPARSITY.weight)
    gradient = net.gradient(x, t, sparsity=doubled)
    assert (
        worst_difference(net, gradient, lambda: objective(net, x, t, sparsity=SPARSITY))
        > 1000 * TOLERANCE
    )


@pytest.mark.parametrize("kind", ["relu", "linear"])
def test_sparsity_is_refused_for_an_unbounded_activation(kind: str) -> None:
    net, x, t = problem(802, (3, 5, 2, 4), ("sigmoid", kind), "sigmoid", "squared_error")
    with pytest.raises(BpgenError, match=f"hidden layer 2 is {kind}: use sigmoid, tanh"):
        net.gradient(x, t, sparsity=SPARSITY)


@pytest.mark.parametrize(("output", "loss"), OUTPUTS, ids=["-".join(pair) for pair in OUTPUTS])
def test_each_row_of_dz_is_the_slope_of_that_samples_own_loss(output: str, loss: str) -> None:
    """A bias moves exactly one sum, so dz of a sample is the slope along b with it alone."""
    net, x, t = problem(803, (3, 5, 2, 4), ("tanh", "sigmoid"), output, loss)
    dz = net.backward(net.forward(x).a, t)
    for n in range(len(x)):
        value = functools.partial(objective, net, x[n : n + 1], t[n : n + 1])
        for k, b in enumerate(net.b):
            slopes = central_differences(b, value)
            assert np.abs(dz[k][n] - slopes).max() < TOLERANCE


def test_three_layers_agree_with_the_formulas_written_out() -> None:
    """Sigmoid, tanh, linear output and half squared error, one sample, one index at a time."""
    net, x, t = problem(804, (3, 5, 2, 4), ("sigmoid", "tanh"), "linear", "squared_error")
    (w1, w2, w3), (b1, b2, b3) = net.w, net.b
    n0, n1, n2, n3 = map(range, net.sizes)
    a0, target = x[0], t[0]

    a1 = [1 / (1 + math.exp(-(sum(w1[j, i] * a0[i] for i in n0) + b1[j]))) for j in n1]
    a2 = [math.tanh(sum(w2[j, i] * a1[i] for i in n1) + b2[j]) for j in n2]
    y = [sum(w3[j, i] * a2[i] for i in n2) + b3[j] for j in n3]
    dz3 = [y[j] - target[j] for j in n3]
    dz2 = [sum(w3[m, j] * dz3[m] for m in n3) * (1 - a2[j] ** 2) for j in n2]
    dz1 = [sum(w2[m, j] * dz2[m] for m in n2) * a1[j] * (1 - a1[j]) for j in n1]

    gradient = net.gradient(x[:1], t[:1])
    for dz, a, dw, db in zip([dz1, dz2, dz3], [a0, a1, a2], gradient.dw, gradient.db, strict=True):
        np.testing.assert_allclose(dw, np.outer(dz, a), rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(db, dz, rtol=1e-12, atol=1e-15)


def test_five_layers_obey_the_three_layer_formula_at_every_triple() -> None:
    """dz of a layer comes from the layer above; w and a of a layer meet the layer below."""
    hidden = ("tanh", "sigmoid", "tanh_opt", "relu")
    net, x, t = problem(805, (3, 6, 2, 5, 4, 7), hidden, "softmax", "cross_entropy")
    slope: dict[str, Callable[[float], float]] = {
        "tanh": lambda z: 1 / math.cosh(z) ** 2,
        "sigmoid": lambda z: 1 / (2 + 2 * math.cosh(z)),
        "tanh_opt": lambda z: 1.7159 * 2 / 3 / math.cosh(2 * z / 3) ** 2,
        "relu": lambda z: 1.0 if z > 0 else 0.0,
    }
    forward = net.forward(x)
    dz = net.backward(forward.a, t)
    gradient = net.gradient(x, t, "sum")
    assert len(dz) == 5
    np.testing.assert_allclose(dz[4], forward.a[5] - t, rtol=0, atol=0)
    for k in range(4):
        expected = np.array(
            [
                [
                    sum(net.w[k + 1][m, j] * dz[k + 1][n, m] for m in range(net.sizes[k + 2]))
                    * slope[hidden[k]](forward.z[k][n, j])
                    for j in range(net.sizes[k + 1])
                ]
                for n in range(len(x))
            ]
        )
        np.testing.assert_allclose(dz[k], expected, rtol=1e-12, atol=1e-15)
    for k in range(5):
        summed = sum(np.outer(dz[k][n], forward.a[k][n]) for n in range(len(x)))
        np.testing.assert_allclose(gradient.dw[k], summed, rtol=1e-12, atol=1e-15)


def activation_formula(kind: str, z: FloatArray) -> FloatArray:
    formula: dict[str, Callable[[FloatArray], FloatArray]] = {
        "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
        "tanh": np.tanh,
        "tanh_opt": lambda z: 1.7159 * np.tanh(2 * z / 3),
        "relu": lambda z: np.where(z > 0, z, 0.0),
        "linear": lambda z: 1.0 * z,
    }
    return formula[kind](z)


@pytest.mark.parametrize("kind", HIDDEN_ACTIVATIONS)
def test_the_derivative_taken_from_the_output_is_the_slope_at_the_input(kind: str) -> None:
    z = np.array([-3.0, -0.7, -0.1, 0.2, 1.0, 2.5])
    above, below = (activation_formula(kind, z + step) for step in (STEP, -STEP))
    numeric = (above - below) / (2 * STEP)
    assert np.abs(derivative(kind, activation_formula(kind, z)) - numeric).max() < TOLERANCE


def test_the_textbook_two_two_one_net_steps_as_worked_out_by_hand() -> None:
    """
    The usual worked example of back-propagation, one sigmoid net without biases.

    Units 1 and 2 are inputs, 3 and 4 hidden, 5 the output; w13 leads from 1 to 3.
    """
    x1, x2, t, rate = 0.35, 0.9, 0.5, 1.0
    w13, w14, w23, w24, w35, w45 = 0.1, 0.4, 0.8, 0.6, 0.3, 0.9

    z3 = w13 * x1 + w23 * x2
    z4 = w14 * x1 + w24 * x2
    o3 = 1 / (1 + math.exp(-z3))
    o4 = 1 / (1 + math.exp(-z4))
    z5 = w35 * o3 + w45 * o4
    o5 = 1 / (1 + math.exp(-z5))
    error = 0.5 * (o5 - t) ** 2
    dz5 = (o5 - t) * o5 * (1 - o5)
    dz3 = w35 * dz5 * o3 * (1 - o3)
    dz4 = w45 * dz5 * o4 * (1 - o4)
    dw1 = [[dz3 * x1, dz3 * x2], [dz4 * x1, dz4 * x2]]
    dw2 = [[dz5 * o3, dz5 * o4]]

    printed = [z3, z4, o3, o4, z5, o5, error, dz5]
    assert [round(value, 4) for value in printed] == [
        0.755,
        0.68,
        0.6803,
        0.6637,
        0.8014,
        0.6903,
        0.0181,
        0.0407,
    ]

    net = FloatNet(
        w=[np.array([[w13, w23], [w14, w24]]), np.array([[w35, w45]])],
        b=[np.zeros(2), np.zeros(1)],
        activations=("sigmoid", "sigmoid"),
        loss="squared_error",
    )
    inputs, target = np.array([[x1, x2]]), np.array([[t]])
    forward = net.forward(inputs)
    np.testing.assert_allclose(forward.z[0], [[z3, z4]], rtol=1e-14)
    np.testing.assert_allclose(forward.a[1], [[o3, o4]], rtol=1e-14)
    np.testing.assert_allclose(forward.z[1], [[z5]], rtol=1e-14)
    np.testing.assert_allclose(forward.a[2], [[o5]], rtol=1e-14)
    np.testing.assert_allclose(net.losses(forward.a[2], target), [error], rtol=1e-13)

    deltas = net.backward(forward.a, target)
    np.testing.assert_allclose(deltas[1], [[dz5]], rtol=1e-13)
    np.testing.assert_allclose(deltas[0], [[dz3, dz4]], rtol=1e-13)
    gradient = net.gradient(inputs, target)
    np.testing.assert_allclose(gradient.dw[0], dw1, rtol=1e-13)
    np.testing.assert_allclose(gradient.dw[1], dw2, rtol=1e-13)

    stepped = [w - rate * dw for w, dw in zip(net.w, gradient.dw, strict=True)]
    by_hand = [
        [[w13 - rate * dz3 * x1, w23 - rate * dz3 * x2],
         [w14 - rate * dz4 * x1, w24 - rate * dz4 * x2]],
        [[w35 - rate * dz5 * o3, w45 - rate * dz5 * o4]],
    ]  # fmt: skip
    np.testing.assert_allclose(stepped[0], by_hand[0], rtol=1e-14)
    np.testing.assert_allclose(stepped[1], by_hand[1], rtol=1e-14)

"""
The reference: a multi-layer perceptron in float64, forward, backward and its gradient.

Everything integer in bpgen is measured against this module, so it is written to be
read: `FloatNet.forward` and `FloatNet.backward` are the formulas of Rumelhart, Hinton
and Williams, "Learning representations by back-propagating errors", Nature 323 (1986).

Names are the same in Python, JSON, C and on the wire. `a0` is the input. Weight layer
k, counted from 1, has weights `w{k}` [out][in], biases `b{k}`, sums `z{k}` and
activations `a{k}`; `dw{k}`, `db{k}` and `dz{k}` are derivatives of the loss with
respect to them. Lists that begin at layer 1 hold layer k at index k - 1; the list `a`
begins at layer 0.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from bpgen.errors import BpgenError

FloatArray: TypeAlias = npt.NDArray[np.float64]
Reduction: TypeAlias = Literal["mean", "sum"]

HIDDEN_ACTIVATIONS = ("sigmoid", "tanh", "tanh_opt", "relu", "linear")
OUTPUT_ACTIVATIONS = ("sigmoid", "softmax", "linear")
LOSSES = ("squared_error", "cross_entropy")
INITS = ("xavier", "normal", "zeros")
REDUCTIONS = ("mean", "sum")

# LeCun, Bottou, Orr and Müller, "Efficient BackProp" (1998), section 4.4: with these two
# constants f(1) = 1 and f(-1) = -1, and the second derivative is largest at +-1.
TANH_OPT_TOP = 1.7159
TANH_OPT_SLOPE = 2.0 / 3.0

# 1 - 2^-53 is the largest float64 below 1. With y held this far from both 0 and 1 the
# logarithms of cross-entropy are finite: one output costs at most 53 ln 2 = 36.7.
PROBABILITY_FLOOR = 2.0**-53

# The slope of the sparsity penalty is infinite for a unit that is always off or always
# on. One step of a 12-bit activation bounds it, and lies far below any useful target.
MEAN_ACTIVATION_FLOOR = 2.0**-12


class SymmetryWarning(UserWarning):
    """Hidden units start out identical, and no amount of training can tell them apart."""


@dataclass(frozen=True)
class Sparsity:
    """
    Ask each hidden unit to be active only part of the time.

    The penalty is `weight` (beta) times the sum over hidden units of
    KL(rho || p) = rho ln(rho / p) + (1 - rho) ln((1 - rho) / (1 - p)), where rho is
    `target` and p the unit's mean activation on a scale from 0 to 1: the mean itself for
    sigmoid, (mean / top + 1) / 2 for tanh (top 1) and tanh_opt (top 1.7159).
    After Ng, "Sparse autoencoder", CS294A lecture notes, Stanford (2011).

    Raises BpgenError unless 0 < target < 1 and weight >= 0.
    """

    target: float
    weight: float

    def __post_init__(self) -> None:
        require(
            0.0 < self.target < 1.0,
            f"the sparsity target is {self.target}: choose a mean activation between 0 and 1, "
            "for example 0.05",
        )
        require(
            0.0 <= self.weight < math.inf,
            f"the sparsity weight is {self.weight}: choose 0 or more",
        )


@dataclass
class Forward:
    """What a forward pass leaves behind: `z` holds z1..zL and `a` holds a0..aL."""

    z: list[FloatArray]
    a: list[FloatArray]


@dataclass
class Gradient:
    """dw1..dwL, shaped like the weights, and db1..dbL, shaped like the biases."""

    dw: list[FloatArray]
    db: list[FloatArray]


def activate(kind: str, z: FloatArray) -> FloatArray:
    """
    Apply an activation function to sums z of any shape; softmax works along the last axis.

    Raises BpgenError for an unknown kind.
    """
    if kind == "sigmoid":
        with np.errstate(over="ignore"):
            y = np.asarray(np.exp(-z))
        y += 1.0
        np.divide(1.0, y, out=y)
        return y
    if kind == "tanh":
        return np.tanh(z)
    if kind == "tanh_opt":
        return TANH_OPT_TOP * np.tanh(TANH_OPT_SLOPE * z)
    if kind == "relu":
        return np.maximum(z, 0.0)
    if kind == "linear":
        return z
    if kind == "softmax":
        exponential = np.exp(z - z.max(axis=-1, keepdims=True))
        return np.asarray(exponential / exponential.sum(axis=-1, keepdims=True))
    raise BpgenError(_unknown("activation", kind, (*HIDDEN_ACTIVATIONS, "softmax")))


def derivative(kind: str, a: FloatArray) -> FloatArray:
    """
    Give the derivative da/dz in terms of the activation a, element by element.

    The integer code keeps a and not z, hence the argument. The derivative of relu at 0
    is 0. Softmax has no derivative of this form, and needs none: with cross-entropy the
    output's dz is y - t.

    Raises BpgenError for softmax or an unknown kind.
    """
    if kind == "sigmoid":
        return a * (1.0 - a)
    if kind == "tanh":
        return 1.0 - a * a
    if kind == "tanh_opt":
        return (TANH_OPT_SLOPE / TANH_OPT_TOP) * (TANH_OPT_TOP**2 - a * a)
    if kind == "relu":
        return (a > 0.0).astype(np.float64)
    if kind == "linear":
        return np.ones_like(a)
    raise BpgenError(_unknown("differentiable activation", kind, HIDDEN_ACTIVATIONS))


@dataclass(eq=False)
class FloatNet:
    """
    A multi-layer perceptron: parameters, activation of each weight layer, and loss.

    `w[k-1]` is w{k} with shape [n_k][n_(k-1)], `b[k-1]` is b{k} with shape [n_k]. The
    last of `activations` is the output's. Arrays are copied in as float64, so a net owns
    its parameters.

    Losses per sample, y being the output: half squared error 1/2 sum (y - t)^2;
    cross-entropy -sum t ln y behind softmax, and -sum (t ln y + (1 - t) ln(1 - y)) behind
    sigmoid.

    Raises BpgenError when layers do not fit together, a kind is unknown, the output and
    the loss do not go together, or a parameter is not finite.
    """

    w: list[FloatArray]
    b: list[FloatArray]
    activations: tuple[str, ...]
    loss: str

    def __post_init__(self) -> None:
        self.w = [np.array(w, dtype=np.float64, order="C") for w in self.w]
        self.b = [np.array(b, dtype=np.float64, order="C") for b in self.b]
        self.activations = tuple(self.activations)
        _check_layers(self.w, self.b, self.activations)
        _check_kinds(self.activations, self.loss)

    @property
    def n_layers(self) -> int:
        """The number of weight layers, L."""
        return len(self.w)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The number of units per layer, input first: (n0, ..., nL)."""
        return (self.w[0].shape[1], *(w.shape[0] for w in self.w))

    def copy(self) -> "FloatNet":
        """Return a net that shares no array with this one."""
        return FloatNet(self.w, self.b, self.activations, self.loss)

    def forward(self, x: FloatArray) -> Forward:
        """
        Compute every layer's sums and activations for inputs x [batch][n0], or [n0].

        Raises BpgenError when x does not have n0 features.
        """
        _check_features(self, x)
        z: list[FloatArray] = []
        a = [x]
        for w, b, kind in zip(self.w, self.b, self.activations, strict=True):
            z.append(a[-1] @ w.T)
            z[-1] += b
            a.append(activate(kind, z[-1]))
        return Forward(z, a)

    def backward(
        self,
        a: Sequence[FloatArray],
        t: FloatArray,
        sparsity: Sequence[FloatArray] | None = None,
    ) -> list[FloatArray]:
        """
        Back-propagate to dz1..dzL, each [batch][n_k]: derivatives of every sample's own loss.

        `a` is a0..aL from `forward`, `t` the targets [batch][nL]; both may lack the batch
        axis. `sparsity`, if given, holds one [n_k] array per hidden layer, the penalty's
        derivative with respect to a{k}; it joins the back-propagated sum. Behind softmax
        the targets of a sample must sum to 1, else its derivative is not y - t.
        """
        y = a[-1]
        dz = y - t
        if self.loss == "squared_error":
            dz = dz * derivative(self.activations[-1], y)
        deltas = [dz]
        for k in range(self.n_layers - 1, 0, -1):
            da = dz @ self.w[k]
            if sparsity is not None:
                da = da + sparsity[k - 1]
            dz = da * derivative(self.activations[k - 1], a[k])
            deltas.append(dz)
        return deltas[::-1]

    def gradient(
        self,
        x: FloatArray,
        t: FloatArray,
        reduction: Reduction = "mean",
        l2: float = 0.0,
        sparsity: Sparsity | None = None,
    ) -> Gradient:
        """
        Differentiate the objective on one batch, x [batch][n0] and t [batch][nL].

        With the penalty KL of `Sparsity` on mean activations over this batch, and w the
        weights without the biases, the objective is

            mean:  mean(loss) +         weight * sum(KL) + l2 / 2 * ||w||^2
            sum:   sum(loss)  + batch * weight * sum(KL) + l2 / 2 * ||w||^2

        so that every sample's dz is the same in both and only the division by the batch
        differs. A mean activation closer to 0 or 1 than MEAN_ACTIVATION_FLOOR counts as
        that close in the penalty's slope.

        Raises BpgenError when x or t does not fit the net, or a sparse layer is relu or
        linear.
        """
        require_one_of("reduction", reduction, REDUCTIONS)
        x, t = checked_data(self, x, t)
        a = self.forward(x).a
        terms = None
        if sparsity is not None:
            terms = sparsity_terms(self, mean_hidden(a), sparsity)
        dz = self.backward(a, t, terms)
        return fold_gradient(self, a, dz, len(x) if reduction == "mean" else 1, l2)

    def losses(self, y: FloatArray, t: FloatArray) -> FloatArray:
        """
        Give the loss of each sample, [batch], for outputs y and targets t [batch][nL].

        Cross-entropy holds y at least PROBABILITY_FLOOR away from 0 and 1, so it is finite
        for every output; a wholly wrong output then costs 36.7 instead of infinity.
        """
        if self.loss == "squared_error":
            return np.asarray(0.5 * ((y - t) ** 2).sum(axis=-1))
        y = np.clip(y, PROBABILITY_FLOOR, 1.0 - PROBABILITY_FLOOR)
        likelihood = t * np.log(y)
        if self.activations[-1] == "sigmoid":
            likelihood = likelihood + (1.0 - t) * np.log1p(-y)
        return np.asarray(-likelihood.sum(axis=-1))


def create(
    sizes: Sequence[int],
    hidden: str | Sequence[str] = "sigmoid",
    output: str = "sigmoid",
    loss: str = "squared_error",
    init: str = "xavier",
    seed: int = 0,
) -> FloatNet:
    """
    Make an untrained net with layer sizes n0, ..., nL and zero biases.

    `hidden` is one kind for all hidden layers or a sequence with one per hidden layer.
    `init` draws the weights: "xavier" uniformly within sqrt(6 / (n_in + n_out)) of 0
    (Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural
    networks", AISTATS 2010); "normal" from N(0, 1); "zeros" sets them to 0.

    Warns with SymmetryWarning where hidden units start out identical. Raises BpgenError
    for sizes, kinds or a seed that cannot be used.
    """
    sizes = tuple(sizes)
    require(
        len(sizes) >= 2 and all(size >= 1 for size in sizes),
        f"the layer sizes are {_dashed(sizes)}: give at least an input and an output size, "
        "each 1 or more, for example 4-8-3",
    )
    require(seed >= 0, f"the seed is {seed}: choose 0 or more")
    require_one_of("init", init, INITS)
    n_hidden = len(sizes) - 2
    kinds = (hidden,) * n_hidden if isinstance(hidden, str) else tuple(hidden)
    require(
        len(kinds) == n_hidden,
        f"{len(kinds)} hidden activations are given for {n_hidden} hidden layers: "
        "give one per hidden layer, or a single one for all",
    )
    # NumPy pads a seed with zeros, so `seed` alone and [seed, 0], the order of epoch 0,
    # are one stream. The third word keeps weights and order independent.
    random = np.random.default_rng([seed, 0, 1])
    weights = [_initial_weights(init, n_out, n_in, random) for n_in, n_out in pairwise(sizes)]
    biases = [np.zeros(n_out) for n_out in sizes[1:]]
    net = FloatNet(weights, biases, (*kinds, output), loss)
    symmetric = symmetry_warning(net)
    if symmetric is not None:
        warnings.warn(symmetric, SymmetryWarning, stacklevel=2)
    return net


def symmetry_warning(net: FloatNet) -> str | None:
    """
    Say which hidden layer consists of identical units, or None.

    Where two or more units of a layer have equal incoming weights, equal biases and equal
    outgoing weights, they get equal gradients and stay equal: the layer works as if it had
    one unit.
    """
    for k in range(1, net.n_layers):
        incoming, bias, outgoing = net.w[k - 1], net.b[k - 1], net.w[k]
        if (
            len(bias) >= 2
            and np.all(incoming == incoming[0])
            and np.all(bias == bias[0])
            and np.all(outgoing == outgoing[:, :1])
        ):
            return (
                f"all {len(bias)} units of hidden layer {k} start out identical and training "
                "can never separate them: use random initial weights, for example xavier"
            )
    return None


def fold_gradient(
    net: FloatNet, a: Sequence[FloatArray], dz: Sequence[FloatArray], divisor: int, l2: float
) -> Gradient:
    """Sum dw = dz a^T and db = dz over the batch, divide, and add l2 * w."""
    dw = [dz[k].T @ a[k] / divisor for k in range(net.n_layers)]
    db = [np.asarray(dz[k].sum(axis=0)) / divisor for k in range(net.n_layers)]
    if l2:
        dw = [gradient + l2 * w for gradient, w in zip(dw, net.w, strict=True)]
    return Gradient(dw, db)


def mean_hidden(a: Sequence[FloatArray]) -> list[FloatArray]:
    """Average each hidden unit's activation over the batch."""
    return [np.asarray(layer.mean(axis=0)) for layer in a[1:-1]]


def sparsity_terms(
    net: FloatNet, means: Sequence[FloatArray], sparsity: Sparsity
) -> list[FloatArray]:
    """Differentiate weight * KL(target || p) with respect to each hidden unit's mean."""
    terms = []
    for (low, high), mean in zip(hidden_limits(net), means, strict=True):
        p = (mean - low) / (high - low)
        p = np.clip(p, MEAN_ACTIVATION_FLOOR, 1.0 - MEAN_ACTIVATION_FLOOR)
        slope = (1.0 - sparsity.target) / (1.0 - p) - sparsity.target / p
        terms.append(sparsity.weight * slope / (high - low))
    return terms


def hidden_limits(net: FloatNet) -> list[tuple[float, float]]:
    """Give the limits between which each hidden layer's activation lies."""
    limits = {"sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0), "tanh_opt": (-TANH_OPT_TOP, TANH_OPT_TOP)}
    for k, kind in enumerate(net.activations[:-1], start=1):
        if kind not in limits:
            raise BpgenError(
                f"sparsity needs a bounded activation, but hidden layer {k} is {kind}: "
                "use sigmoid, tanh or tanh_opt there, or leave sparsity out"
            )
    return [limits[kind] for kind in net.activations[:-1]]


def _initial_weights(init: str, n_out: int, n_in: int, random: np.random.Generator) -> FloatArray:
    if init == "xavier":
        limit = math.sqrt(6.0 / (n_in + n_out))
        return random.uniform(-limit, limit, (n_out, n_in))
    if init == "normal":
        return random.standard_normal((n_out, n_in))
    return np.zeros((n_out, n_in))


def require(holds: bool, message: str) -> None:
    if not holds:
        raise BpgenError(message)


def require_one_of(what: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise BpgenError(_unknown(what, value, known))


def _unknown(what: str, value: str, known: tuple[str, ...]) -> str:
    return f"{value!r} is no {what}: choose one of {', '.join(known)}"


def _dashed(sizes: Sequence[int]) -> str:
    return "-".join(map(str, sizes))


def _check_layers(
    w: Sequence[FloatArray], b: Sequence[FloatArray], activations: tuple[str, ...]
) -> None:
    require(
        len(w) == len(b) == len(activations) >= 1,
        f"a net needs weights, biases and an activation for each layer, but has {len(w)} "
        f"weight arrays, {len(b)} bias arrays and {len(activations)} activations",
    )
    for k, weights in enumerate(w, start=1):
        require(
            weights.ndim == 2 and weights.size > 0,
            f"w{k} has shape {weights.shape}: weights are a matrix [outputs][inputs] with at "
            "least one of each",
        )
    for k, (weights, biases) in enumerate(zip(w, b, strict=True), start=1):
        require(
            biases.shape == weights.shape[:1],
            f"b{k} has shape {biases.shape}, but w{k} has {weights.shape[0]} rows: "
            "give one bias per row",
        )
        require(
            k == 1 or weights.shape[1] == w[k - 2].shape[0],
            f"w{k} has {weights.shape[1]} columns, but layer {k - 1} has "
            f"{w[k - 2].shape[0]} units: weights are [outputs][inputs], transpose or resize them",
        )
        require(
            bool(np.isfinite(weights).all() and np.isfinite(biases).all()),
            f"w{k} or b{k} holds a value that is not finite: train or export the net again",
        )


def _check_kinds(activations: tuple[str, ...], loss: str) -> None:
    for kind in activations[:-1]:
        require_one_of("hidden activation", kind, HIDDEN_ACTIVATIONS)
    output = activations[-1]
    require_one_of("output activation", output, OUTPUT_ACTIVATIONS)
    require_one_of("loss", loss, LOSSES)
    require(
        output != "softmax" or loss == "cross_entropy",
        f"a softmax output does not go with {loss}: use the loss cross_entropy",
    )
    require(
        output != "linear" or loss == "squared_error",
        f"a linear output does not go with {loss}: use the loss squared_error",
    )


def _check_features(net: FloatNet, x: FloatArray) -> None:
    n0 = net.w[0].shape[1]
    if x.shape[-1] != n0:
        raise BpgenError(
            f"the data has {x.shape[-1]} features but layer sizes start with {n0}: "
            f"use --layers {x.shape[-1]}-..."
        )


def checked_data(net: FloatNet, x: FloatArray, t: FloatArray) -> tuple[FloatArray, FloatArray]:
    x = np.asarray(x, dtype=np.float64)
    t = np.asarray(t, dtype=np.float64)
    for name, values in (("inputs", x), ("targets", t)):
        require(
            values.ndim == 2,
            f"the {name} have shape {values.shape}: give a matrix with one row per sample",
        )
    require(
        len(x) == len(t),
        f"there are {len(x)} rows of inputs but {len(t)} of targets: give one target per sample",
    )
    require(len(x) > 0, "the data has no samples: give at least one")
    _check_features(net, x)
    n_out = net.sizes[-1]
    require(
        t.shape[1] == n_out,
        f"the data has {t.shape[1]} targets per sample but layer sizes end with {n_out}: "
        f"use --layers ...-{t.shape[1]}",
    )
    for name, values in (("inputs", x), ("targets", t)):
        finite = np.isfinite(values).all(axis=1)
        require(
            bool(finite.all()),
            f"the {name} of sample {int(np.argmin(finite))}, counted from 0, hold a value that "
            "is missing or not finite: remove the sample or fill it in",
        )
    if net.activations[-1] == "softmax":
        sums = t.sum(axis=1)
        worst = int(np.abs(sums - 1.0).argmax())
        require(
            abs(float(sums[worst]) - 1.0) <= 1e-6,
            f"the targets of sample {worst}, counted from 0, sum to {sums[worst]:g}: behind "
            "softmax they are probabilities and sum to 1, for example a single 1",
        )
    return x, t

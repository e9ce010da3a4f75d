"""
The reference: a multi-layer perceptron and its training in float64.

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
from collections.abc import Callable, Sequence
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

RUNNING_MEAN_DECAY = 0.99


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
        _require(
            0.0 < self.target < 1.0,
            f"the sparsity target is {self.target}: choose a mean activation between 0 and 1, "
            "for example 0.05",
        )
        _require(
            0.0 <= self.weight < math.inf,
            f"the sparsity weight is {self.weight}: choose 0 or more",
        )


@dataclass(frozen=True)
class Training:
    """
    How to train.

    * learning_rate: step size in epoch 0; epoch e uses
      learning_rate * learning_rate_decay ** e.
    * epochs: passes over the data.
    * batch_size: samples per update; 1 is online training, None the full batch.
    * reduction: whether an update follows the mean or the sum of its samples'
      gradients. The mean divides by batch_size even where the last batch of an epoch is
      shorter, because a microcontroller folds 1 / batch_size into its learning rate.
    * momentum: mu in v = mu v - rate * gradient, w = w + v (Polyak, 1964).
    * l2: adds the gradient of l2 / 2 * ||w||^2 once per update, whatever the reduction.
      Biases are left alone.
    * sparsity: penalty on hidden activations, or None.
    * stop_loss: (low, high); stop after the first epoch whose mean training loss is
      inside, both ends included.
    * seed, shuffle: see `sample_order`.

    Raises BpgenError, naming the setting, when one is out of range.
    """

    learning_rate: float = 0.1
    epochs: int = 100
    batch_size: int | None = 1
    reduction: Reduction = "mean"
    momentum: float = 0.0
    l2: float = 0.0
    sparsity: Sparsity | None = None
    learning_rate_decay: float = 1.0
    stop_loss: tuple[float, float] | None = None
    seed: int = 0
    shuffle: bool = True

    def __post_init__(self) -> None:
        _require(
            0.0 < self.learning_rate < math.inf,
            f"the learning rate is {self.learning_rate}: choose a number above 0, for example 0.1",
        )
        _require(self.epochs >= 0, f"epochs is {self.epochs}: choose 0 or more")
        _require(
            self.batch_size is None or self.batch_size >= 1,
            f"the batch size is {self.batch_size}: choose 1 or more, or none for the full batch",
        )
        _require_one_of("reduction", self.reduction, REDUCTIONS)
        _require(
            0.0 <= self.momentum < 1.0,
            f"the momentum is {self.momentum}: choose a number from 0 up to, but not including, 1",
        )
        _require(0.0 <= self.l2 < math.inf, f"l2 is {self.l2}: choose 0 or more")
        _require(
            0.0 < self.learning_rate_decay < math.inf,
            f"the learning rate decay is {self.learning_rate_decay}: choose a factor above 0; "
            "1 keeps the rate constant",
        )
        if self.stop_loss is not None:
            low, high = self.stop_loss
            _require(
                low <= high,
                f"the stopping range {low} to {high} is empty: give the lower loss first",
            )
        _require(self.seed >= 0, f"the seed is {self.seed}: choose 0 or more")


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


@dataclass
class Ranges:
    """
    The largest magnitude each tensor had at the start of training and after every epoch.

    `a` holds a0..aL; `z`, `w` and `dz` hold layers 1..L; `w` covers weights and biases;
    `dz` is per sample, before any reduction; `t` is the targets. Fixed-point formats are
    chosen from these numbers.
    """

    a: list[float]
    z: list[float]
    w: list[float]
    dz: list[float]
    t: float


@dataclass
class TrainingLog:
    """Mean training loss after each epoch, without penalties, and the ranges of the run."""

    loss: list[float]
    ranges: Ranges


def activate(kind: str, z: FloatArray) -> FloatArray:
    """
    Apply an activation function to sums z of any shape; softmax works along the last axis.

    Raises BpgenError for an unknown kind.
    """
    if kind == "sigmoid":
        with np.errstate(over="ignore"):
            return 1.0 / (1.0 + np.exp(-z))
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
            z.append(a[-1] @ w.T + b)
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
        _require_one_of("reduction", reduction, REDUCTIONS)
        x, t = _checked_data(self, x, t)
        a = self.forward(x).a
        terms = None
        if sparsity is not None:
            terms = _sparsity_terms(self, _mean_hidden(a), sparsity)
        dz = self.backward(a, t, terms)
        return _fold(self, a, dz, len(x) if reduction == "mean" else 1, l2)

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
    _require(
        len(sizes) >= 2 and all(size >= 1 for size in sizes),
        f"the layer sizes are {_dashed(sizes)}: give at least an input and an output size, "
        "each 1 or more, for example 4-8-3",
    )
    _require(seed >= 0, f"the seed is {seed}: choose 0 or more")
    _require_one_of("init", init, INITS)
    n_hidden = len(sizes) - 2
    kinds = (hidden,) * n_hidden if isinstance(hidden, str) else tuple(hidden)
    _require(
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


def sample_order(count: int, epoch: int, seed: int, shuffle: bool = True) -> npt.NDArray[np.int64]:
    """
    Give the order in which an epoch, counted from 0, visits samples 0..count-1.

    Float training, the integer twin and the generated C all use this one order, so that
    their runs can be compared step by step.
    """
    if not shuffle:
        return np.arange(count, dtype=np.int64)
    return np.random.default_rng([seed, epoch]).permutation(count).astype(np.int64)


def train(
    net: FloatNet,
    x: FloatArray,
    t: FloatArray,
    training: Training,
    on_epoch: Callable[[int, float], None] | None = None,
) -> TrainingLog:
    """
    Train a net in place by gradient descent on x [count][n0] and t [count][nL].

    Each epoch visits the samples in `sample_order`, one update per batch. The objective is
    that of `FloatNet.gradient`, except that a sparse unit's mean activation is a running
    one, p = 0.99 p + 0.01 * batch mean before each update, starting at the target, where
    the penalty pulls nowhere. After an epoch one pass over the whole set measures loss and
    ranges, and `on_epoch` is called with the epoch, counted from 0, and its loss.

    Raises BpgenError when the data does not fit the net, a sparse layer is relu or linear,
    or the loss or a weight stops being finite; the net is then left as it was at that
    moment.
    """
    x, t = _checked_data(net, x, t)
    run = _Run(net, x, t, training)
    log = TrainingLog([], Ranges([], [], [], [], 0.0))
    run.measure(log.ranges)
    for epoch in range(training.epochs):
        run.epoch(epoch)
        loss = run.measure(log.ranges)
        if not math.isfinite(loss):
            raise BpgenError(
                f"training diverged in epoch {epoch + 1} of {training.epochs}: the learning rate "
                f"{training.learning_rate:g} is too large, lower it, for example to "
                f"{training.learning_rate / 10:g}"
            )
        log.loss.append(loss)
        if on_epoch is not None:
            on_epoch(epoch, loss)
        if training.stop_loss is not None:
            low, high = training.stop_loss
            if low <= loss <= high:
                break
    return log


class _Run:
    """One training run: the data, the velocities and the running mean activations."""

    def __init__(self, net: FloatNet, x: FloatArray, t: FloatArray, training: Training) -> None:
        self.net = net
        self.x = x
        self.t = t
        self.training = training
        self.batch_size = len(x) if training.batch_size is None else training.batch_size
        self.vw = [np.zeros_like(w) for w in net.w]
        self.vb = [np.zeros_like(b) for b in net.b]
        self.running_means: list[FloatArray] | None = None
        if training.sparsity is not None:
            self.running_means = _target_means(net, training.sparsity)

    # Overflow is how a diverging run looks; `train` reports it after the epoch.
    @np.errstate(over="ignore", invalid="ignore")
    def epoch(self, epoch: int) -> None:
        """Visit every sample once."""
        rate = self.training.learning_rate * self.training.learning_rate_decay**epoch
        order = self._order(epoch)
        if self.batch_size == 1 and self.training.sparsity is None:
            self._visit_one_by_one(order, rate)
        else:
            self._visit_in_batches(order, rate)

    @np.errstate(over="ignore", invalid="ignore")
    def measure(self, ranges: Ranges) -> float:
        """Widen ranges by the state of the run and return the mean loss; nan once diverged."""
        net = self.net
        w = [_peak(w, b) for w, b in zip(net.w, net.b, strict=True)]
        forward = net.forward(self.x)
        dz = net.backward(forward.a, self.t, self._terms())
        ranges.a = _widened(ranges.a, [_peak(a) for a in forward.a])
        ranges.z = _widened(ranges.z, [_peak(z) for z in forward.z])
        ranges.w = _widened(ranges.w, w)
        ranges.dz = _widened(ranges.dz, [_peak(dz) for dz in dz])
        ranges.t = _peak(self.t)
        if not all(map(math.isfinite, w)):
            return math.nan
        return float(net.losses(forward.a[-1], self.t).mean())

    def _order(self, epoch: int) -> npt.NDArray[np.int64]:
        return sample_order(len(self.x), epoch, self.training.seed, self.training.shuffle)

    def _terms(self) -> list[FloatArray] | None:
        if self.training.sparsity is None or self.running_means is None:
            return None
        return _sparsity_terms(self.net, self.running_means, self.training.sparsity)

    def _visit_in_batches(self, order: npt.NDArray[np.int64], rate: float) -> None:
        net, training = self.net, self.training
        divisor = self.batch_size if training.reduction == "mean" else 1
        for start in range(0, len(order), self.batch_size):
            chosen = order[start : start + self.batch_size]
            a = net.forward(self.x[chosen]).a
            self._follow(a)
            dz = net.backward(a, self.t[chosen], self._terms())
            gradient = _fold(net, a, dz, divisor, training.l2)
            for k in range(net.n_layers):
                self.vw[k] = training.momentum * self.vw[k] - rate * gradient.dw[k]
                self.vb[k] = training.momentum * self.vb[k] - rate * gradient.db[k]
                net.w[k] += self.vw[k]
                net.b[k] += self.vb[k]

    def _follow(self, a: Sequence[FloatArray]) -> None:
        if self.running_means is None:
            return
        self.running_means = [
            RUNNING_MEAN_DECAY * running + (1.0 - RUNNING_MEAN_DECAY) * mean
            for running, mean in zip(self.running_means, _mean_hidden(a), strict=True)
        ]

    def _visit_one_by_one(self, order: npt.NDArray[np.int64], rate: float) -> None:
        """
        Do what `_visit_in_batches` does with batches of one, but faster.

        A sample has no batch axis here, and no gradient is stored: the outer product of
        -rate * dz and a goes through one scratch array straight into the weights or the
        velocity.
        """
        net, mu = self.net, self.training.momentum
        shrink = rate * self.training.l2
        scratch = [np.empty_like(w) for w in net.w]
        layers = range(net.n_layers)
        for sample in order.tolist():
            a = net.forward(self.x[sample]).a
            dz = net.backward(a, self.t[sample])
            for k in layers:
                step = -rate * dz[k]
                product = np.multiply(step[:, np.newaxis], a[k], out=scratch[k])
                if mu:
                    self.vw[k] *= mu
                    self.vw[k] += product
                    if shrink:
                        self.vw[k] -= np.multiply(net.w[k], shrink, out=product)
                    self.vb[k] *= mu
                    self.vb[k] += step
                    net.w[k] += self.vw[k]
                    net.b[k] += self.vb[k]
                else:
                    if shrink:
                        net.w[k] *= 1.0 - shrink
                    net.w[k] += product
                    net.b[k] += step


def _fold(
    net: FloatNet, a: Sequence[FloatArray], dz: Sequence[FloatArray], divisor: int, l2: float
) -> Gradient:
    """Sum dw = dz a^T and db = dz over the batch, divide, and add l2 * w."""
    dw = [dz[k].T @ a[k] / divisor for k in range(net.n_layers)]
    db = [np.asarray(dz[k].sum(axis=0)) / divisor for k in range(net.n_layers)]
    if l2:
        dw = [gradient + l2 * w for gradient, w in zip(dw, net.w, strict=True)]
    return Gradient(dw, db)


def _mean_hidden(a: Sequence[FloatArray]) -> list[FloatArray]:
    """Average each hidden unit's activation over the batch."""
    return [np.asarray(layer.mean(axis=0)) for layer in a[1:-1]]


def _sparsity_terms(
    net: FloatNet, means: Sequence[FloatArray], sparsity: Sparsity
) -> list[FloatArray]:
    """Differentiate weight * KL(target || p) with respect to each hidden unit's mean."""
    terms = []
    for (low, high), mean in zip(_hidden_limits(net), means, strict=True):
        p = (mean - low) / (high - low)
        p = np.clip(p, MEAN_ACTIVATION_FLOOR, 1.0 - MEAN_ACTIVATION_FLOOR)
        slope = (1.0 - sparsity.target) / (1.0 - p) - sparsity.target / p
        terms.append(sparsity.weight * slope / (high - low))
    return terms


def _target_means(net: FloatNet, sparsity: Sparsity) -> list[FloatArray]:
    """Give the mean activation of each hidden unit at which the penalty is 0."""
    return [
        np.full(size, low + sparsity.target * (high - low))
        for size, (low, high) in zip(net.sizes[1:-1], _hidden_limits(net), strict=True)
    ]


def _hidden_limits(net: FloatNet) -> list[tuple[float, float]]:
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


def _peak(*tensors: FloatArray) -> float:
    return float(np.max([np.abs(tensor).max() for tensor in tensors]))


def _widened(before: list[float], seen: list[float]) -> list[float]:
    return [max(pair) for pair in zip(before, seen, strict=True)] if before else seen


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise BpgenError(message)


def _require_one_of(what: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise BpgenError(_unknown(what, value, known))


def _unknown(what: str, value: str, known: tuple[str, ...]) -> str:
    return f"{value!r} is no {what}: choose one of {', '.join(known)}"


def _dashed(sizes: Sequence[int]) -> str:
    return "-".join(map(str, sizes))


def _check_layers(
    w: Sequence[FloatArray], b: Sequence[FloatArray], activations: tuple[str, ...]
) -> None:
    _require(
        len(w) == len(b) == len(activations) >= 1,
        f"a net needs weights, biases and an activation for each layer, but has {len(w)} "
        f"weight arrays, {len(b)} bias arrays and {len(activations)} activations",
    )
    for k, (weights, biases) in enumerate(zip(w, b, strict=True), start=1):
        _require(
            weights.ndim == 2 and weights.size > 0,
            f"w{k} has shape {weights.shape}: weights are a matrix [outputs][inputs] with at "
            "least one of each",
        )
        _require(
            biases.shape == weights.shape[:1],
            f"b{k} has shape {biases.shape}, but w{k} has {weights.shape[0]} rows: "
            "give one bias per row",
        )
        _require(
            k == 1 or weights.shape[1] == w[k - 2].shape[0],
            f"w{k} has {weights.shape[1]} columns, but layer {k - 1} has "
            f"{w[k - 2].shape[0]} units: weights are [outputs][inputs], transpose or resize them",
        )
        _require(
            bool(np.isfinite(weights).all() and np.isfinite(biases).all()),
            f"w{k} or b{k} holds a value that is not finite: train or export the net again",
        )


def _check_kinds(activations: tuple[str, ...], loss: str) -> None:
    for kind in activations[:-1]:
        _require_one_of("hidden activation", kind, HIDDEN_ACTIVATIONS)
    output = activations[-1]
    _require_one_of("output activation", output, OUTPUT_ACTIVATIONS)
    _require_one_of("loss", loss, LOSSES)
    _require(
        output != "softmax" or loss == "cross_entropy",
        f"a softmax output does not go with {loss}: use the loss cross_entropy",
    )
    _require(
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


def _checked_data(net: FloatNet, x: FloatArray, t: FloatArray) -> tuple[FloatArray, FloatArray]:
    x = np.asarray(x, dtype=np.float64)
    t = np.asarray(t, dtype=np.float64)
    for name, values in (("inputs", x), ("targets", t)):
        _require(
            values.ndim == 2,
            f"the {name} have shape {values.shape}: give a matrix with one row per sample",
        )
    _require(
        len(x) == len(t),
        f"there are {len(x)} rows of inputs but {len(t)} of targets: give one target per sample",
    )
    _require(len(x) > 0, "the data has no samples: give at least one")
    _check_features(net, x)
    n_out = net.sizes[-1]
    _require(
        t.shape[1] == n_out,
        f"the data has {t.shape[1]} targets per sample but layer sizes end with {n_out}: "
        f"use --layers ...-{t.shape[1]}",
    )
    for name, values in (("inputs", x), ("targets", t)):
        finite = np.isfinite(values).all(axis=1)
        _require(
            bool(finite.all()),
            f"the {name} of sample {int(np.argmin(finite))}, counted from 0, hold a value that "
            "is missing or not finite: remove the sample or fill it in",
        )
    if net.activations[-1] == "softmax":
        sums = t.sum(axis=1)
        worst = int(np.abs(sums - 1.0).argmax())
        _require(
            abs(float(sums[worst]) - 1.0) <= 1e-6,
            f"the targets of sample {worst}, counted from 0, sum to {sums[worst]:g}: behind "
            "softmax they are probabilities and sum to 1, for example a single 1",
        )
    return x, t

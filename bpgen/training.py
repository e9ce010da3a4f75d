"""
Gradient descent on a FloatNet: online, in batches, with momentum, L2, sparsity and early stop.

It decides what the integers will be asked to do: the order of samples, the learning rate of every
epoch, and, in `Ranges`, how large each tensor became, from which the formats are chosen.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bpgen.errors import BpgenError
from bpgen.floatnet import (
    REDUCTIONS,
    FloatArray,
    FloatNet,
    Reduction,
    Sparsity,
    checked_data,
    fold_gradient,
    hidden_limits,
    mean_hidden,
    require,
    require_one_of,
    sparsity_terms,
)

RUNNING_MEAN_DECAY = 0.99

# Samples that are measured at once: what a layer makes of them stays in the processor's cache.
MEASURED_SAMPLES = 512


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
        require(
            0.0 < self.learning_rate < math.inf,
            f"the learning rate is {self.learning_rate}: choose a number above 0, for example 0.1",
        )
        require(self.epochs >= 0, f"epochs is {self.epochs}: choose 0 or more")
        require(
            self.batch_size is None or self.batch_size >= 1,
            f"the batch size is {self.batch_size}: choose 1 or more, or full for the full batch",
        )
        require_one_of("reduction", self.reduction, REDUCTIONS)
        require(
            0.0 <= self.momentum < 1.0,
            f"the momentum is {self.momentum}: choose a number from 0 up to, but not including, 1",
        )
        require(0.0 <= self.l2 < math.inf, f"l2 is {self.l2}: choose 0 or more")
        require(
            0.0 < self.learning_rate_decay < math.inf,
            f"the learning rate decay is {self.learning_rate_decay}: choose a factor above 0; "
            "1 keeps the rate constant",
        )
        if self.stop_loss is not None:
            low, high = self.stop_loss
            require(
                low <= high,
                f"the stopping range {low} to {high} is empty: give the lower loss first",
            )
        require(self.seed >= 0, f"the seed is {self.seed}: choose 0 or more")


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


def decayed(rate: float, decay: float, epoch: int) -> float:
    """
    Give the learning rate of an epoch, counted from 0: rate * decay ** epoch.

    Raises BpgenError where float64 cannot hold it.
    """
    try:
        value = rate * decay**epoch
    except OverflowError:
        value = math.inf
    require(
        math.isfinite(value),
        f"the learning rate decay {decay:g} makes the learning rate of epoch {epoch + 1} too large "
        "for a number: choose a decay of at most 1",
    )
    return value


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
    x, t = checked_data(net, x, t)
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
        self.x_peak, self.t_peak = _peak(x), _peak(t)
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
        rate = decayed(self.training.learning_rate, self.training.learning_rate_decay, epoch)
        order = self._order(epoch)
        if self.batch_size == 1 and self.training.sparsity is None:
            self._visit_one_by_one(order, rate)
        else:
            self._visit_in_batches(order, rate)

    @np.errstate(over="ignore", invalid="ignore")
    def measure(self, ranges: Ranges) -> float:
        """Widen ranges by the state of the run and return the mean loss; nan once diverged."""
        net = self.net
        terms = self._terms()
        losses = np.empty(len(self.x))
        for start in range(0, len(self.x), MEASURED_SAMPLES):
            part = slice(start, start + MEASURED_SAMPLES)
            forward = net.forward(self.x[part])
            dz = net.backward(forward.a, self.t[part], terms)
            ranges.a = _widened(ranges.a, [self.x_peak, *map(_peak, forward.a[1:])])
            ranges.z = _widened(ranges.z, [*map(_peak, forward.z)])
            ranges.dz = _widened(ranges.dz, [*map(_peak, dz)])
            losses[part] = net.losses(forward.a[-1], self.t[part])
        w = [float(np.maximum(_peak(w), _peak(b))) for w, b in zip(net.w, net.b, strict=True)]
        ranges.w = _widened(ranges.w, w)
        ranges.t = self.t_peak
        if not all(map(math.isfinite, w)):
            return math.nan
        return float(losses.mean())

    def _order(self, epoch: int) -> npt.NDArray[np.int64]:
        return sample_order(len(self.x), epoch, self.training.seed, self.training.shuffle)

    def _terms(self) -> list[FloatArray] | None:
        if self.training.sparsity is None or self.running_means is None:
            return None
        return sparsity_terms(self.net, self.running_means, self.training.sparsity)

    def _visit_in_batches(self, order: npt.NDArray[np.int64], rate: float) -> None:
        net, training = self.net, self.training
        divisor = self.batch_size if training.reduction == "mean" else 1
        for start in range(0, len(order), self.batch_size):
            chosen = order[start : start + self.batch_size]
            a = net.forward(self.x[chosen]).a
            self._follow(a)
            dz = net.backward(a, self.t[chosen], self._terms())
            gradient = fold_gradient(net, a, dz, divisor, training.l2)
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
            for running, mean in zip(self.running_means, mean_hidden(a), strict=True)
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


def _target_means(net: FloatNet, sparsity: Sparsity) -> list[FloatArray]:
    """Give the mean activation of each hidden unit at which the penalty is 0."""
    return [
        np.full(size, low + sparsity.target * (high - low))
        for size, (low, high) in zip(net.sizes[1:-1], hidden_limits(net), strict=True)
    ]


def _peak(tensor: FloatArray) -> float:
    return max(float(tensor.max()), -float(tensor.min()))


def _widened(before: list[float], seen: list[float]) -> list[float]:
    return [max(pair) for pair in zip(before, seen, strict=True)] if before else seen

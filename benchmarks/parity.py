"""
Integer training against float64 SGD: same init, same sample order, same held-out samples.

The integer network trains in the compiled C, with its counters, from the float network's initial
weights; its formats come from the ranges of the float run. Its accuracy and loss are those of its
own integer forward pass, the float network's those of float arithmetic, so nothing is hidden.
"""

from __future__ import annotations

import math
import multiprocessing
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from benchmarks.tables import half_interval, progress, table
from benchmarks.tasks import Samples, halves
from bpgen.bounds import dequantized
from bpgen.floatnet import FloatNet, create
from bpgen.model import IntModel
from bpgen.quantization import quantize_network
from bpgen.simulate import OPTIMISED, Simulation
from bpgen.training import Training, TrainingLog, sample_order, train
from bpgen.twin import Counters, Twin

UPDATES = ("residual", "stochastic")
SEEDS = 10
QUICK_SEEDS = 3
PROCESSES = 2

# Online descent on these sets never stops: the loss falls like 1 / epochs. It counts as flat
# when the last fifth of the epochs adds less than this share to the whole descent.
FLAT = 0.01
QUICK_STEPS = 20_000

MAX_GAP = {"residual": 0.1, "stochastic": 0.3}  # points, of the mean
MAX_LOSS = 0.01  # of float's training loss, residual


@dataclass(frozen=True)
class Task:
    """
    A network on a data set.

    `epochs` are as many as make float's training loss flat; where that takes too long daily,
    `short` are fewer.
    """

    name: str
    data: str
    sizes: tuple[int, ...]
    learning_rate: float
    epochs: int
    short: int | None = None

    @property
    def is_deep(self) -> bool:
        """Whether the trajectory is chaotic: rounding alone then changes where training ends."""
        return len(self.sizes) > 3


TASKS = (
    Task("iris 4-8-3 lr 0.2", "iris", (4, 8, 3), 0.2, 300),
    Task("wine 13-8-3 lr 0.1", "wine", (13, 8, 3), 0.1, 200),
    Task("cancer 30-10-2 lr 0.1", "breast_cancer", (30, 10, 2), 0.1, 120),
    Task("digits 64-32-10 lr 0.2", "digits", (64, 32, 10), 0.2, 60),
    Task("digits 64-32-32-10 lr 0.5", "digits", (64, 32, 32, 10), 0.5, 40),
    Task("iris 4-8-3 lr 0.005", "iris", (4, 8, 3), 0.005, 8000),
    Task("wine 13-8-3 lr 0.005", "wine", (13, 8, 3), 0.005, 2200),
    Task("iris 4-8-3 lr 0.001", "iris", (4, 8, 3), 0.001, 40000, 2700),
    Task("wine 13-8-3 lr 0.001", "wine", (13, 8, 3), 0.001, 11000, 2300),
)


@dataclass(frozen=True, eq=False)
class FloatRun:
    """One float training: the network before and after it."""

    train: Samples
    test: Samples
    initial: FloatNet
    net: FloatNet
    training: Training
    log: TrainingLog
    seed: int

    @property
    def steps(self) -> int:
        """Samples visited."""
        return self.training.epochs * len(self.train)


@dataclass(frozen=True)
class Result:
    """One trained network: share of held-out samples it gets right, mean training loss."""

    accuracy: float
    loss: float
    predictions: tuple[int, ...] = field(repr=False)


@dataclass(frozen=True)
class IntegerResult(Result):
    """
    As Result, by the integer forward pass.

    `loss_dequantized` is the loss of the same weights in float arithmetic: what differs from
    `loss` is the forward pass, not what was learnt.
    """

    loss_dequantized: float
    counters: Counters


def float_run(
    data: str, sizes: Sequence[int], learning_rate: float, epochs: int, seed: int
) -> FloatRun:
    """Train in float64; `seed` decides split, initial weights and sample order."""
    train_part, test_part = halves(data, seed)
    initial = create(sizes, seed=seed)
    training = Training(learning_rate, epochs, seed=seed)
    net = initial.copy()
    log = train(net, train_part.inputs, train_part.data.t, training)
    return FloatRun(train_part, test_part, initial, net, training, log, seed)


def float_result(run: FloatRun) -> Result:
    """Accuracy and loss of the float network."""
    y = run.net.forward(run.test.inputs).a[-1]
    return _result(y, run.test, _float_loss(run.net, run.train))


def integer_model(run: FloatRun, update: str) -> IntModel:
    """The integer network before training: the float run's initial weights and logged ranges."""
    data = run.train.data
    return quantize_network(
        run.initial,
        run.training,
        run.log.ranges,
        scaling=run.train.scaling,
        features=data.features,
        targets=data.targets,
        labels=data.labels,
        update=update,
        seed=run.seed,
    )


def integer_result(
    run: FloatRun, model: IntModel, *, flags: Sequence[str] = OPTIMISED
) -> IntegerResult:
    """Train `model` in C on the samples of `run`, in the same order."""
    a0, t = run.train.a0(model), run.train.t(model)
    epochs = range(run.training.epochs)
    order = np.concatenate([sample_order(len(a0), epoch, run.seed) for epoch in epochs])
    with Simulation(model, flags=flags, counters=True) as simulation:
        simulation.train(a0, t, order)
        counters = simulation.counters
        unit = 2.0 ** -(2 * model.output.a_format.frac + 1)
        loss = float(simulation.losses(a0, t).mean()) * unit
        y = simulation.forward(run.test.a0(model))[-1]
        twin = Twin(model)
        twin.set_parameters(simulation.parameters()[np.newaxis])
    net = dequantized(model, [w[0] for w in twin.w], [b[0] for b in twin.b])
    result = _result(y, run.test, loss)
    return IntegerResult(
        result.accuracy, loss, result.predictions, _float_loss(net, run.train), counters
    )


def _float_loss(net: FloatNet, samples: Samples) -> float:
    y = net.forward(samples.inputs).a[-1]
    return float(net.losses(y, samples.data.t).mean())


def _result(y: npt.NDArray[np.generic], test: Samples, loss: float) -> Result:
    predictions = np.argmax(y, axis=1)
    accuracy = float((predictions == test.data.classes()).mean())
    return Result(accuracy, loss, tuple(predictions.tolist()))


def flatness(loss: Sequence[float]) -> float:
    """What the last fifth of the epochs adds, as a share of the whole descent."""
    late = loss[math.ceil(0.8 * len(loss)) - 1]
    return (late - loss[-1]) / (loss[0] - loss[-1])


@dataclass(frozen=True)
class Pair:
    """What one seed of one task gave."""

    task: int
    seed: int
    steps: int
    flatness: float
    reference: Result
    integer: dict[str, IntegerResult]


@dataclass(frozen=True)
class Row:
    """
    A task in one update mode, over all seeds. Accuracies and gaps are in points.

    `gap` and `loss_change` are integer minus float, means over seeds; `*_ci` is half the width of
    the 95% interval. `different` counts held-out samples that the two label differently.
    """

    task: str
    update: str
    seeds: int
    steps: int
    flatness: float
    accuracy_float: float
    accuracy: float
    gap: float
    gap_ci: float
    different: int
    tested: int
    loss_float: float
    loss: float
    loss_change: float
    loss_change_ci: float
    loss_change_median: float
    loss_change_dequantized: float
    clipped_deltas: int
    clipped_weights: int
    clipped_activations: int
    zero_updates: int
    missed: tuple[str, ...]


def _epochs(task: Task, quick: bool, full: bool) -> int:
    epochs = task.epochs if full else task.short or task.epochs
    return min(epochs, max(1, QUICK_STEPS // _count(task))) if quick else epochs


def _count(task: Task) -> int:
    return len(halves(task.data, 0)[0])


def _pair(job: tuple[int, int, int]) -> Pair:
    index, seed, epochs = job
    task = TASKS[index]
    run = float_run(task.data, task.sizes, task.learning_rate, epochs, seed)
    results = {update: integer_result(run, integer_model(run, update)) for update in UPDATES}
    return Pair(index, seed, run.steps, flatness(run.log.loss), float_result(run), results)


def measure(
    *, quick: bool = False, full: bool = False, seeds: int | None = None, only: str = ""
) -> list[Row]:
    """
    Run every task whose name contains `only`, in two processes, with progress on stderr.

    `full` trains the slowest learning rates, too, until float's loss is flat; `quick` is a trial of
    QUICK_STEPS and three seeds, which decides nothing.
    """
    seeds = seeds or (QUICK_SEEDS if quick else SEEDS)
    chosen = [i for i, task in enumerate(TASKS) if only in task.name]
    jobs = [(i, seed, _epochs(TASKS[i], quick, full)) for i in chosen for seed in range(seeds)]
    # The longest first, so that both processes end together.
    jobs.sort(key=lambda job: -job[2] * _count(TASKS[job[0]]))
    pairs: list[Pair] = []
    with multiprocessing.Pool(PROCESSES) as pool:
        for pair in pool.imap_unordered(_pair, jobs):
            pairs.append(pair)
            progress(f"parity: {len(pairs)} of {len(jobs)}, the longest first")
    return list(_rows(chosen, pairs))


def _rows(chosen: Sequence[int], pairs: Sequence[Pair]) -> Iterator[Row]:
    for update in UPDATES:
        for i in chosen:
            yield _row(TASKS[i], update, sorted(_of(pairs, i), key=lambda pair: pair.seed))


def _of(pairs: Sequence[Pair], task: int) -> list[Pair]:
    return [pair for pair in pairs if pair.task == task]


def _row(task: Task, update: str, pairs: Sequence[Pair]) -> Row:
    floats = [pair.reference for pair in pairs]
    integers = [pair.integer[update] for pair in pairs]
    both = list(zip(integers, floats, strict=True))
    gaps = [100 * (integer.accuracy - reference.accuracy) for integer, reference in both]
    changes = [integer.loss / reference.loss - 1 for integer, reference in both]
    different = sum(
        a != b for x, y in both for a, b in zip(x.predictions, y.predictions, strict=True)
    )
    gap, gap_ci = statistics.fmean(gaps), half_interval(gaps)
    change, change_ci = statistics.fmean(changes), half_interval(changes)
    clipped = sum(integer.counters.deltas for integer in integers)
    return Row(
        task=task.name,
        update=update,
        seeds=len(pairs),
        steps=pairs[0].steps,
        flatness=statistics.fmean(pair.flatness for pair in pairs),
        accuracy_float=100 * statistics.fmean(reference.accuracy for reference in floats),
        accuracy=100 * statistics.fmean(integer.accuracy for integer in integers),
        gap=gap,
        gap_ci=gap_ci,
        different=different,
        tested=sum(len(reference.predictions) for reference in floats),
        loss_float=statistics.fmean(reference.loss for reference in floats),
        loss=statistics.fmean(integer.loss for integer in integers),
        loss_change=change,
        loss_change_ci=change_ci,
        loss_change_median=statistics.median(changes),
        loss_change_dequantized=statistics.fmean(
            integer.loss_dequantized / reference.loss - 1 for integer, reference in both
        ),
        clipped_deltas=clipped,
        clipped_weights=sum(integer.counters.weights for integer in integers),
        clipped_activations=sum(integer.counters.activations for integer in integers),
        zero_updates=sum(integer.counters.zero_updates for integer in integers),
        missed=tuple(_missed(task, update, gap, gap_ci, change, change_ci, clipped)),
    )


def _missed(
    task: Task,
    update: str,
    gap: float,
    gap_ci: float,
    change: float,
    change_ci: float,
    clipped: int,
) -> Iterator[str]:
    if abs(gap) > max(MAX_GAP[update], gap_ci if task.is_deep else 0.0):
        yield "gap"
    if update == "residual" and abs(change) > max(MAX_LOSS, change_ci if task.is_deep else 0.0):
        yield "loss"
    if clipped:
        yield "clipped deltas"


def show(rows: Sequence[Row]) -> str:
    """The rows as text, with what the columns mean."""
    header = (
        *("task", "update", "steps", "flat", "float %", "int %", "gap points", "differ"),
        *("loss float", "loss change %", "median", "clipped dz/w", "targets"),
    )
    cells = [
        (
            row.task,
            row.update,
            f"{row.steps}",
            f"{row.flatness:.2%}" + ("" if row.flatness < FLAT else " no"),
            f"{row.accuracy_float:.2f}",
            f"{row.accuracy:.2f}",
            f"{row.gap:+.2f} +-{row.gap_ci:.2f}",
            f"{row.different}/{row.tested}",
            f"{row.loss_float:.6f}",
            f"{100 * row.loss_change:+.2f} +-{100 * row.loss_change_ci:.2f}",
            f"{100 * row.loss_change_median:+.2f}",
            f"{row.clipped_deltas}/{row.clipped_weights}",
            "missed: " + ", ".join(row.missed) if row.missed else "met",
        )
        for row in rows
    ]
    notes = (
        f"means over {rows[0].seeds} seeds, +- half the 95% interval; steps are of one seed\n"
        f"flat: what the last fifth of the epochs added to float's descent, flat below {FLAT:.0%}\n"
        "targets: |gap| <= 0.1 point residual, 0.3 stochastic; |loss change| <= 1% residual;\n"
        "three weight layers: or zero inside the interval; no clipped delta"
    )
    return f"{table(header, cells)}\n\n{notes}"

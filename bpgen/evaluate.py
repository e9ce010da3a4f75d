"""
The three comparisons of a finished model: scores, twin against float, compiled C against twin.

Twin and float are compared by the running bound of `bounds`, twin and C by equality of every bit.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bpgen import dataset, lut
from bpgen.bounds import dequantized, running
from bpgen.checkpoint import Checkpoint
from bpgen.dataset import Dataset
from bpgen.errors import BpgenError
from bpgen.floatnet import FloatArray
from bpgen.model import TABLE_ACTIVATIONS, IntModel, LearningRate
from bpgen.qformat import IntArray
from bpgen.qformat import quantize as raws
from bpgen.ranges import learning_rate as spelled_rate
from bpgen.simulate import Simulation
from bpgen.training import decayed, sample_order
from bpgen.twin import Counters, Twin

# The twin needs about 60 us a step and, beyond 4,000 parameters, 12 ns a parameter: these keep
# the compared part of a run below 15 s. Redo them if the twin's speed changes.
COMPARED_STEPS = 100_000
COMPARED_PARAMETERS = 400_000_000

# Steps between two comparisons of all weights.
CHUNK = 64
# Elements of one gradient tensor that the bound holds at a time, 8 bytes each.
BOUND_ELEMENTS = 2_000_000


def load_model(path: str | Path) -> IntModel:
    """Read a model.json; BpgenError when it is missing, damaged or of another version."""
    try:
        model = IntModel.from_json(Path(path).read_text(encoding="utf-8"), str(path))
        # A text that cannot be encoded can be neither printed nor put into C.
        "".join((*model.labels, *model.targets, *model.input.features)).encode()
    except FileNotFoundError:
        raise BpgenError(f"there is no file {path}: make it with 'bpgen quantize'") from None
    except (UnicodeError, RecursionError):
        raise BpgenError(
            f"{path} is not a model.json, or it is damaged: make it again with 'bpgen quantize'"
        ) from None
    except (OSError, ValueError) as error:
        raise BpgenError(f"{path} cannot be read ({error}): check its name") from None
    return model


def load_samples(path: str | Path, model: IntModel) -> Dataset:
    """Read the samples of a .csv or .npz file by the columns and classes of a model."""
    return dataset.load(path, model.targets, model.input.features, model.labels)


def raw_samples(
    model: IntModel, data: Dataset, twin: Twin | None = None
) -> tuple[IntArray, IntArray]:
    """The integers a0 [n][n0] and t [n][nL] of samples; clipped inputs count in `twin`."""
    if data.t.shape[1] != model.output.outputs:
        raise BpgenError(
            f"the data has {data.t.shape[1]} targets per sample, but the model has "
            f"{model.output.outputs} outputs: use the data it was trained on"
        )
    a0 = (twin or Twin(model)).quantize_input(counts(model, data))
    return a0, raws(data.t, model.output.a_format.frac, -32768, 32767)


def counts(model: IntModel, data: Dataset) -> IntArray:
    """The raw counts [n][n0] of samples, saturated to s32 as firmware would hold them."""
    decimals = np.array([10.0**d for d in model.input.decimals])
    return raws(data.x * decimals, 0, -(2**31), 2**31 - 1)


@dataclass(frozen=True)
class InputFit:
    """
    How samples fit the range of a model's inputs: the share of each column [n0] that is clipped,
    and the inputs [n][n0] in real values as they were before.
    """

    clipped: FloatArray
    x: FloatArray


def input_fit(model: IntModel, data: Dataset) -> InputFit:
    """Scale samples as the integers do, but without clipping; every step is exact in float64."""
    given, top = model.input, model.input.a_top
    scale = np.ldexp(np.array(given.multiplier, dtype=np.float64), -np.array(given.shift))
    a0 = np.floor((counts(model, data) - np.array(given.offset)) * scale + 0.5)
    clipped = (a0 > top) | (a0 < (-top if given.a_format.signed else 0))
    return InputFit(clipped.mean(axis=0), np.ldexp(a0, -given.a_format.frac))


def score(y: FloatArray, data: Dataset) -> float:
    """The share of samples with the right class, or the root mean squared error of values."""
    if data.labels:
        return float((y.argmax(axis=1) == data.classes()).mean())
    return math.sqrt(float(((y - data.t) ** 2).mean()))


def twin_score(model: IntModel, data: Dataset, twin: Twin | None = None) -> float:
    """`score` of the integer network."""
    twin = twin or Twin(model)
    a0, _ = raw_samples(model, data, twin)
    return score(model.output.a_format.to_float(twin.forward(a0)[-1]), data)


@dataclass(frozen=True)
class Deviation:
    """
    How far one tensor of the twin is from float: the largest difference, in real values, and the
    largest share of its bound; `violations` counts the elements outside theirs.
    """

    tensor: str
    largest: float
    bound_share: float
    violations: int


@dataclass(frozen=True)
class TableError:
    """The largest error of a look-up table over all inputs, in units of the last place."""

    function: str
    output: str
    intervals: int
    bytes: int
    largest_error: float


@dataclass(frozen=True)
class FloatComparison:
    """
    Twin against float on the same weights. `clipped` counts the samples where the contract clips
    what float does not, so that no bound holds there. `float_score` is for the inputs that the
    integers get, `unclipped_score` for those before they are clipped.
    """

    samples: int
    clipped: int
    float_score: float
    unclipped_score: float
    twin_score: float
    float_loss: float
    twin_loss: float
    same_class: int
    deviations: tuple[Deviation, ...]
    counters: Counters
    tables: tuple[TableError, ...]

    @property
    def violations(self) -> int:
        """Elements outside their bound; 0 unless an implementation is wrong."""
        return sum(deviation.violations for deviation in self.deviations)


def compare_with_float(
    model: IntModel, data: Dataset, on_batch: Callable[[int], None] | None = None
) -> FloatComparison:
    """
    Run samples through the twin and through float with the same weights.

    The penalty of sparsity depends on earlier samples, so it is left out of both. `on_batch` is
    called with the number of samples that are done.
    """
    model = _without_sparsity(model)
    twin = Twin(model)
    a0, t = raw_samples(model, data, twin)
    w, b = [layer[0] for layer in twin.w], [layer[0] for layer in twin.b]
    net = dequantized(model, w, b)
    x = model.input.a_format.to_float(a0)
    targets = model.output.a_format.to_float(t)
    y_float, y_twin = net.forward(x).a[-1], twin.forward(a0)[-1]
    loss = twin.losses(y_twin, t) * 2.0**-twin.loss_frac
    twin.counters = replace(twin.counters, activations=0)
    gathered = _Deviations()
    clipped = 0
    largest_layer = max(layer.inputs * layer.outputs for layer in model.layers)
    batch = max(1, BOUND_ELEMENTS // largest_layer)
    for start in range(0, len(a0), batch):
        rows = slice(start, start + batch)
        clipped += _compare_batch(twin, (w, b), a0[rows], t[rows], gathered)
        if on_batch is not None:
            on_batch(len(a0[rows]))
    outputs = model.output.a_format.to_float(y_twin)
    return FloatComparison(
        samples=len(a0),
        clipped=clipped,
        float_score=score(y_float, data),
        unclipped_score=score(net.forward(input_fit(model, data).x).a[-1], data),
        twin_score=score(outputs, data),
        float_loss=float(net.losses(y_float, targets).mean()),
        twin_loss=float(loss.mean()),
        same_class=int((y_float.argmax(axis=1) == outputs.argmax(axis=1)).sum()),
        deviations=gathered.finish(),
        counters=twin.counters,
        tables=table_errors(model),
    )


def _without_sparsity(model: IntModel) -> IntModel:
    if model.training is None or model.training.sparsity is None:
        return model
    layers = tuple(replace(layer, sparsity=None) for layer in model.layers)
    return replace(model, layers=layers, training=replace(model.training, sparsity=None))


def _compare_batch(
    twin: Twin,
    parameters: tuple[Sequence[IntArray], Sequence[IntArray]],
    a0: IntArray,
    t: IntArray,
    gathered: _Deviations,
) -> int:
    """Add one batch to `gathered`; returns how many of its samples the contract clips."""
    model = twin.model
    bounds = running(model, *parameters, a0, t)
    valid, reference, limit = bounds.valid, bounds.reference, bounds.limit
    a = twin.forward(a0)
    dz: list[IntArray | None] = [None] * len(model.layers)
    if model.training:
        dz = twin.backward(a, t)
    gradient = twin.gradient(a, dz)
    for k, layer in enumerate(model.layers, start=1):
        real = layer.a_format.to_float(a[k])
        gathered.add(f"a{k}", real, reference.a[k], limit.a[k], valid)
        delta, both = dz[k - 1], gradient[k - 1]
        if delta is None or both is None or layer.dz_frac is None:
            continue
        frac = layer.dz_frac + model.previous(k).a_format.frac
        real = np.ldexp(delta.astype(np.float64), -layer.dz_frac)
        gathered.add(f"dz{k}", real, reference.dz[k - 1], limit.dz[k - 1], valid)
        real = np.ldexp(both[0].astype(np.float64), -frac)
        gathered.add(f"dw{k}", real, reference.dw[k - 1], limit.dw[k - 1], valid)
        real = np.ldexp(both[1].astype(np.float64), -frac)
        gathered.add(f"db{k}", real, reference.db[k - 1], limit.db[k - 1], valid)
    return int((~valid).sum())


class _Deviations:
    """The worst of each tensor over all batches."""

    def __init__(self) -> None:
        self._worst: dict[str, Deviation] = {}

    def add(
        self,
        tensor: str,
        real: FloatArray,
        reference: FloatArray | None,
        limit: FloatArray | None,
        valid: npt.NDArray[np.bool_],
    ) -> None:
        assert reference is not None
        assert limit is not None
        error, limit = np.abs(real - reference)[valid], limit[valid]
        bounded = limit > 0.0
        share = float((error[bounded] / limit[bounded]).max(initial=0.0))
        before = self._worst.get(tensor, Deviation(tensor, 0.0, 0.0, 0))
        self._worst[tensor] = Deviation(
            tensor,
            max(before.largest, float(error.max(initial=0.0))),
            max(before.bound_share, share),
            before.violations + int((error > limit).sum()),
        )

    def finish(self) -> tuple[Deviation, ...]:
        order = ("a", "dz", "dw", "db")
        return tuple(
            sorted(
                self._worst.values(),
                key=lambda d: (order.index(d.tensor.rstrip("0123456789")), d.tensor),
            )
        )


def table_errors(model: IntModel) -> tuple[TableError, ...]:
    """The look-up tables of a model, each once."""
    found: dict[tuple[str, int, int], TableError] = {}
    for layer in model.layers:
        kind, frac = layer.activation, layer.a_format.frac
        if kind in TABLE_ACTIVATIONS:
            table = lut.activation_table(kind, frac)
        elif kind == "softmax":
            table = lut.exponential_table(layer.z_format.frac, frac)
        else:
            continue
        key = (kind, frac, layer.z_format.frac)
        found[key] = TableError(
            kind, str(layer.a_format), 1 << table.bits, 2 * len(table.entries), table.max_error
        )
    return tuple(found.values())


@dataclass
class Differences:
    """How many values of each kind were compared between C and twin, and how many differ."""

    compared: dict[str, int] = field(default_factory=dict)
    different: dict[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return sum(self.different.values())

    def add(self, name: str, c: npt.ArrayLike, twin: npt.ArrayLike) -> None:
        """Compare by equality; arrays of unlike shape differ throughout."""
        one, other = np.asarray(c), np.asarray(twin)
        same = one.shape == other.shape
        wrong = int(np.count_nonzero(one != other)) if same else max(one.size, other.size, 1)
        self.compared[name] = self.compared.get(name, 0) + int(other.size)
        self.different[name] = self.different.get(name, 0) + wrong


@dataclass
class TrainingRun:
    """
    Training in C: the mean loss of each epoch, measured while learning, and its speed.

    The twin repeated the first `compared_steps` steps; `zero_updates` is the share of the
    updates among these that rounded to nothing.
    """

    loss: list[float]
    steps: int
    compared_steps: int
    steps_per_second: float
    zero_updates: float


def compare_inference(
    simulation: Simulation, twin: Twin, data: Dataset, differences: Differences
) -> IntArray:
    """
    Compare inputs, activations, losses and deltas of all samples; returns the C code's outputs.

    With sparsity a delta depends on the samples before it, so deltas are left to the training.
    """
    model = twin.model
    a0, t = raw_samples(model, data)
    differences.add("inputs", simulation.quantize_input(counts(model, data)), a0)
    a, expected = simulation.forward(a0), twin.forward(a0)
    for one, other in zip(a[1:], expected[1:], strict=True):
        differences.add("activations", one, other)
    differences.add("losses", simulation.losses(a0, t), twin.losses(expected[-1], t))
    if model.training is not None and model.training.sparsity is None:
        deltas = twin.backward(expected, t)
        for dz, other_dz in zip(simulation.backward(a0, t), deltas, strict=True):
            if other_dz is not None:
                differences.add("deltas", dz if dz is not None else [], other_dz)
    return a[-1]


def default_compared_steps(model: IntModel) -> int:
    """How many training steps the twin repeats unless told otherwise."""
    return min(COMPARED_STEPS, COMPARED_PARAMETERS // model.parameter_count)


def simulate_training(
    simulation: Simulation,
    twin: Twin,
    data: Dataset,
    differences: Differences,
    *,
    epochs: int,
    learning_rate: float | None = None,
    learning_rate_decay: float = 1.0,
    seed: int = 0,
    compare_steps: int | None = None,
    on_epoch: Callable[[int, float], None] | None = None,
) -> TrainingRun:
    """
    Train the compiled C on samples in `training.sample_order`, and the twin for its first steps.

    All weights, accumulators and the loss are compared every CHUNK steps. Where the twin stopped
    early it takes over the weights of the C code at the end, so that both end in one state.
    The learning rate of epoch e is learning_rate * learning_rate_decay ** e; None is the model's.

    Raises BpgenError for a model that only infers, or a learning rate it cannot use.
    """
    model = twin.model
    training = model.training
    if training is None:
        raise BpgenError(
            "this model can only infer: make one that can learn with 'bpgen quantize', without "
            "--inference-only"
        )
    if epochs < 0:
        raise BpgenError(f"epochs is {epochs}: choose 0 or more")
    a0, t = raw_samples(model, data)
    limit = default_compared_steps(model) if compare_steps is None else compare_steps
    batch = training.batch_size if training.update in ("batch", "momentum") else 1
    run = TrainingRun([], 0, 0, 0.0, 0.0)
    seconds = 0.0
    for epoch in range(epochs):
        if learning_rate is not None or learning_rate_decay != 1.0:
            base = training.learning_rate.value if learning_rate is None else learning_rate
            _set_rate(simulation, twin, decayed(base, learning_rate_decay, epoch))
        order = sample_order(len(a0), epoch, seed)
        total = done = 0
        while done < len(order):
            comparing = run.compared_steps < limit
            size = max(1, CHUNK // batch) * batch if comparing else len(order)
            chunk = order[done : done + size]
            start = time.perf_counter()
            loss = simulation.train(a0, t, chunk, batch)
            seconds += time.perf_counter() - start
            total += loss
            done += len(chunk)
            if comparing:
                differences.add("losses", loss, _train_twin(twin, a0, t, chunk, batch))
                _compare_state(simulation, twin, differences)
                run.compared_steps += len(chunk)
        run.steps += len(order)
        run.loss.append(total / len(order) * 2.0**-twin.loss_frac)
        if on_epoch is not None:
            on_epoch(epoch, run.loss[-1])
    updates = run.compared_steps * _learning_parameters(model)
    run.zero_updates = twin.counters.zero_updates / updates if updates else 0.0
    run.steps_per_second = run.steps / seconds if seconds else 0.0
    if run.compared_steps < run.steps:
        twin.set_parameters(_all_parameters(simulation, twin))
    return run


def _set_rate(simulation: Simulation, twin: Twin, value: float) -> None:
    training = twin.model.training
    assert training is not None
    rate: LearningRate = spelled_rate(value)
    decay = min(32767, math.floor(training.decay * value / training.learning_rate.value + 0.5))
    twin.set_learning_rate(rate)
    twin.decay = decay
    simulation.set_learning_rate(rate, decay)


def _train_twin(twin: Twin, a0: IntArray, t: IntArray, order: IntArray, batch: int) -> int:
    """The same steps as `Simulation.train`, and the same sum of losses."""
    assert twin.model.training is not None
    applies = twin.model.training.update in ("batch", "momentum")
    total = 0
    for i, sample in enumerate(order.tolist(), start=1):
        target = t[[sample]]
        a = twin.forward(a0[[sample]])
        total += int(twin.losses(a[-1], target)[0])
        twin.step(a, twin.backward(a, target))
        if applies and (i % batch == 0 or i == len(order)):
            twin.apply()
    return total


def _learning_parameters(model: IntModel) -> int:
    return sum(layer.count for k, layer in enumerate(model.layers, start=1) if model.learns(k))


def _learning_slices(model: IntModel) -> list[slice]:
    """Where the parameters of each learning layer are among all in canonical order."""
    slices, start = [], 0
    for k, layer in enumerate(model.layers, start=1):
        if model.learns(k):
            slices.append(slice(start, start + layer.count))
        start += layer.count
    return slices


def _all_parameters(simulation: Simulation, twin: Twin) -> IntArray:
    """The masters of the C code, with those of frozen layers from the twin."""
    masters: IntArray = twin.parameters()[0].copy()
    learned = simulation.parameters()
    start = 0
    for part in _learning_slices(twin.model):
        size = part.stop - part.start
        masters[part] = learned[start : start + size]
        start += size
    return masters


def _compare_state(simulation: Simulation, twin: Twin, differences: Differences) -> None:
    masters = twin.parameters()[0]
    expected = np.concatenate([masters[part] for part in _learning_slices(twin.model)])
    differences.add("weights", simulation.parameters(), expected)
    velocities = [
        part[0].ravel()
        for pair in zip(twin.vw, twin.vb, strict=True)
        for part in pair
        if part is not None
    ]
    if velocities:
        differences.add("accumulators", simulation.velocities(), np.concatenate(velocities))
    means = [p[0] for p in twin.p if p is not None]
    if means:
        differences.add("running means", simulation.means(), np.concatenate(means))


def float_score(checkpoint: Checkpoint, data: Dataset) -> float:
    """`score` of a float network."""
    return score(checkpoint.net.forward(checkpoint.scaling.apply(data.x)).a[-1], data)

"""
The repeated part of the examples: one network in float64, in the integer twin, and in C.

`three_ways` makes the integers from a float network, and a twin and compiled C from these;
`learn` also trains all three from the same weights with the samples in the same order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bpgen import qformat
from bpgen.bounds import running
from bpgen.floatnet import FloatArray, FloatNet
from bpgen.model import IntModel
from bpgen.qformat import IntArray
from bpgen.quantization import quantize_network
from bpgen.scaling import Scaling
from bpgen.simulate import Simulation
from bpgen.training import Training, TrainingLog, sample_order, train
from bpgen.twin import Twin

# The bits are the same with every flag; this compiles in a third of the time of -O3 -flto.
FLAGS = ("-O1",)


@dataclass
class ThreeWays:
    """
    A network in float, twin and C, with its samples.

    `x` [n][n0] and `t` [n][nL] are what the float network sees; `a0` and `targets` are the same
    samples as raws. `log` is of the float run whose ranges decided the formats.
    """

    net: FloatNet
    log: TrainingLog
    scaling: Scaling
    model: IntModel
    twin: Twin
    c: Simulation
    x: FloatArray
    t: FloatArray
    a0: IntArray
    targets: IntArray

    def losses(self) -> tuple[float, float, float]:
        """The mean loss over the samples in float, twin and C."""
        outputs = self.net.forward(self.x).a[-1]
        in_twin = self.twin.losses(self.twin.forward(self.a0)[-1], self.targets)
        in_c = self.c.losses(self.a0, self.targets)
        unit = 2.0**-self.twin.loss_frac
        return (
            float(self.net.losses(outputs, self.t).mean()),
            float(in_twin.mean()) * unit,
            float(in_c.mean()) * unit,
        )

    def outputs(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """The outputs [n][nL] in float, twin and C."""
        output = self.model.output.a_format
        return (
            self.net.forward(self.x).a[-1],
            output.to_float(self.twin.forward(self.a0)[-1]),
            output.to_float(self.c.forward(self.a0)[-1]),
        )

    def same_bits(self) -> bool:
        """
        Whether twin and C agree in every bit: outputs, losses, deltas, and what they learned.

        With sparsity the deltas move the running means, so these are compared instead.
        """
        twin, c = self.twin, self.c
        a = twin.forward(self.a0)
        pairs = [
            *zip(a, c.forward(self.a0), strict=True),
            (twin.losses(a[-1], self.targets), c.losses(self.a0, self.targets)),
        ]
        if self.model.training is not None:
            pairs.append((twin.parameters()[0], c.parameters()))
            pairs.append((_velocities(twin), c.velocities()))
            pairs.append((_joined([p[0] for p in twin.p if p is not None]), c.means()))
            if self.model.training.sparsity is None:
                dz = twin.backward(a, self.targets)
                pairs += [
                    (in_twin, in_c)
                    for in_twin, in_c in zip(dz, c.backward(self.a0, self.targets), strict=True)
                    if in_twin is not None and in_c is not None
                ]
        return all(np.array_equal(in_twin, in_c) for in_twin, in_c in pairs)

    def bound_shares(self) -> list[float]:
        """
        For each layer, the largest |twin - float| as a share of its running bound.

        Float means the float formulas on the twin's own weights and inputs. Activations, deltas
        and all gradients are looked at; a share above 1 would be a mistake in bpgen.
        """
        twin, model = self.twin, self.model
        bounds = running(
            model, [w[0] for w in twin.w], [b[0] for b in twin.b], self.a0, self.targets
        )
        a = twin.forward(self.a0)
        deltas: list[IntArray | None] = [None] * len(model.layers)
        if model.training is not None:
            deltas = twin.backward(a, self.targets)
        gradients = twin.gradient(a, deltas)
        reference, limit = bounds.reference, bounds.limit
        shares = []
        for k, layer in enumerate(model.layers):
            found: list[tuple[FloatArray, FloatArray | None, FloatArray | None]] = [
                (layer.a_format.to_float(a[k + 1]), reference.a[k + 1], limit.a[k + 1]),
            ]
            delta, gradient = deltas[k], gradients[k]
            if delta is not None and gradient is not None:
                assert layer.dz_frac is not None
                frac = layer.dz_frac + model.previous(k + 1).a_format.frac
                dw, db = (np.ldexp(raw.astype(np.float64), -frac) for raw in gradient)
                dz = np.ldexp(delta.astype(np.float64), -layer.dz_frac)
                found += [
                    (dz, reference.dz[k], limit.dz[k]),
                    (dw, reference.dw[k], limit.dw[k]),
                    (db, reference.db[k], limit.db[k]),
                ]
            shares.append(max(_share(*three, bounds.valid) for three in found))
        return shares


def _share(
    value: FloatArray,
    exact: FloatArray | None,
    limit: FloatArray | None,
    valid: npt.NDArray[np.bool_],
) -> float:
    """The largest |value - exact| / limit; a limit of 0, as of an input of 0, allows no error."""
    assert exact is not None
    assert limit is not None
    error, limit = np.abs(value - exact)[valid], limit[valid]
    if np.any(error[limit == 0.0]):
        return math.inf
    return float((error[limit > 0.0] / limit[limit > 0.0]).max(initial=0.0))


def three_ways(
    net: FloatNet,
    training: Training | None,
    log: TrainingLog,
    scaling: Scaling,
    x: FloatArray,
    t: FloatArray,
) -> ThreeWays:
    """
    Make the integers of `net`, a twin, and compiled C; the formats follow `log`.

    `x` are raw cells; network and integers get them through `scaling`.
    """
    model = quantize_network(
        net,
        training,
        log.ranges,
        scaling=scaling,
        features=[f"x{i + 1}" for i in range(net.sizes[0])],
        targets=[f"t{j + 1}" for j in range(net.sizes[-1])],
        sample_count=len(x),
    )
    with Simulation(model, flags=FLAGS, counters=True) as c:
        twin = Twin(model)
        a0 = twin.quantize_input(scaling.counts(x))
        # Held like the output they are compared with, and not clipped to its range.
        targets = model.output.a_format.from_float(t)
        return ThreeWays(net, log, scaling, model, twin, c, scaling.apply(x), t, a0, targets)


def learn(
    start: FloatNet,
    x: FloatArray,
    t: FloatArray,
    training: Training,
    *,
    scaling: str = "none",
    on_epoch: Callable[[int, ThreeWays], None] | None = None,
) -> ThreeWays:
    """
    Train float, twin and C from the weights of `start`, in the same order of samples.

    Float comes first, because the formats follow the ranges it has seen. `on_epoch` is called
    after each epoch of the integers, counted from 0; `net` is then already trained.
    """
    rule = Scaling.fit(x, scaling)
    net = start.copy()
    log = train(net, rule.apply(x), t, training)
    ways = three_ways(start, training, log, rule, x, t)
    ways.net = net
    whole = Twin(ways.model, copies=len(x)) if training.batch_size is None else None
    for epoch in range(training.epochs):
        order = sample_order(len(x), epoch, training.seed, training.shuffle)
        if whole is not None:
            _train_whole_batch(ways, whole)
        else:
            _train_one_by_one(ways, order)
        ways.c.train(ways.a0, ways.targets, order, training.batch_size or len(x))
        if on_epoch is not None:
            on_epoch(epoch, ways)
    return ways


def _train_one_by_one(ways: ThreeWays, order: IntArray) -> None:
    twin, training = ways.twin, ways.model.training
    assert training is not None
    in_batches = training.update in ("batch", "momentum")
    for count, sample in enumerate(order.tolist(), start=1):
        twin.train(ways.a0[[sample]], ways.targets[[sample]])
        if in_batches and (count % training.batch_size == 0 or count == len(order)):
            twin.apply()


def _train_whole_batch(ways: ThreeWays, whole: Twin) -> None:
    """
    Train on a full batch with `whole`, a copy of the network for each sample, at once.

    No sample of a batch sees what another one changed, and the accumulators add integers: with
    none of them clipped, the order of adding does not change a bit. This is 100 times faster.
    """
    twin = ways.twin
    whole.set_parameters(twin.parameters()[0])
    for each in (*whole.vw, *whole.vb):
        if each is not None:
            each[...] = 0
    whole.train(ways.a0, ways.targets)
    for total, each in zip((*twin.vw, *twin.vb), (*whole.vw, *whole.vb), strict=True):
        if total is not None and each is not None:
            assert int(np.abs(total).max() + np.abs(each).sum(axis=0).max()) < 2**31
            np.add(total, each.sum(axis=0), out=total)
    twin.apply()


def _velocities(twin: Twin) -> IntArray:
    parts = []
    for vw, vb in zip(twin.vw, twin.vb, strict=True):
        if vw is not None and vb is not None:
            parts += [vw[0].ravel(), vb[0]]
    return _joined(parts)


def _joined(parts: Sequence[IntArray]) -> IntArray:
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)


def to_float(raw: IntArray, frac: int) -> FloatArray:
    """Real values of raws with `frac` fraction bits."""
    return qformat.QFormat(True, 32, frac).to_float(raw)


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Lay out rows under a head: text to the left, numbers to the right with four decimals."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [
        max(len(head[i]), *(len(row[i]) for row in cells)) if cells else len(head[i])
        for i in range(len(head))
    ]
    numeric = [any(_is_number(row[i]) for row in cells) for i in range(len(head))]
    lines = []
    for line in [list(head), ["-" * width for width in widths], *cells]:
        parts = [
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(line, widths, numeric, strict=True)
        ]
        lines.append("  ".join(parts).rstrip())
    return "\n".join(lines)


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "NO"
    if isinstance(value, float):
        return "-" if math.isnan(value) else f"{value:.4f}"
    return str(value)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True

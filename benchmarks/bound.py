"""
The running bound of bpgen.bounds against what the twin really is off by.

Every task trains in the compiled C; before, half-way and after, the twin takes over the weights
and is compared with float arithmetic on those same weights, element by element. Measured errors
above the bound are violations: there must be none. Ratios near 1 say that the bound is not slack.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.tables import progress, table
from benchmarks.tasks import Samples, load, square, xor
from bpgen.bounds import Bounds, running
from bpgen.dataset import Dataset
from bpgen.floatnet import FloatArray, create
from bpgen.qformat import IntArray
from bpgen.quantization import quantize_network
from bpgen.scaling import Scaling
from bpgen.simulate import Simulation
from bpgen.training import Training, sample_order, train
from bpgen.twin import Twin

TENSORS = ("z", "a", "dz", "dw", "db")
QUICK_EPOCHS = 2


@dataclass(frozen=True)
class Task:
    """A network with one hidden layer on a data set."""

    name: str
    data: Callable[[], Dataset]
    hidden: int
    learning_rate: float
    epochs: int


TASKS = (
    Task("xor", xor, 4, 0.5, 3000),
    Task("x^2", square, 10, 0.2, 300),
    Task("iris", lambda: load("iris"), 8, 0.2, 100),
    Task("wine", lambda: load("wine"), 8, 0.1, 50),
    Task("cancer", lambda: load("breast_cancer"), 10, 0.1, 30),
    Task("digits", lambda: load("digits"), 32, 0.2, 10),
)


@dataclass(frozen=True)
class Row:
    """
    One task at one moment: elements compared, violations, and the largest measured / bound.

    `samples` are those whose float reference no clamp cuts, out of `all_samples`.
    """

    task: str
    loss: str
    moment: str
    samples: int
    all_samples: int
    elements: int
    violations: int
    z: float
    a: float
    dz: float
    dw: float
    db: float
    missed: tuple[str, ...]


def measure(*, quick: bool = False) -> list[Row]:
    """All tasks with squared error, and with cross-entropy, at init, mid and end."""
    rows = []
    for loss in ("squared_error", "cross_entropy"):
        for task in TASKS:
            progress(f"bound: {task.name}, {loss}")
            rows += _task(task, loss, quick)
    return rows


def _task(task: Task, loss: str, quick: bool) -> list[Row]:
    data = task.data()
    samples = Samples(data, Scaling.fit(data.x, "minmax"))
    classes = data.t.shape[1]
    entropy = loss == "cross_entropy"
    output = "softmax" if entropy and classes > 1 else "sigmoid"
    epochs = QUICK_EPOCHS if quick else task.epochs
    # Cross-entropy has no factor a(1 - a) in its deltas, so its gradients are some 4 times larger.
    training = Training(task.learning_rate / (4 if entropy else 1), epochs)
    net = create((data.x.shape[1], task.hidden, classes), "sigmoid", output, loss, seed=1)
    log = train(net.copy(), samples.inputs, data.t, training)
    model = quantize_network(
        net,
        training,
        log.ranges,
        scaling=samples.scaling,
        features=data.features,
        targets=data.targets,
        labels=data.labels,
    )
    a0, t = samples.a0(model), samples.t(model)
    order = np.concatenate([sample_order(len(a0), epoch, 0) for epoch in range(epochs)])
    rows = []
    with Simulation(model) as simulation:
        twin = Twin(model)
        for moment, part in zip(
            ("init", "mid", "end"), (order[:0], *np.array_split(order, 2)), strict=True
        ):
            simulation.train(a0, t, part)
            twin.set_parameters(simulation.parameters()[np.newaxis])
            rows.append(_compare(twin, a0, t, (task.name, loss, moment)))
    return rows


class _Tally:
    """Elements compared, violations and the worst ratio by tensor."""

    def __init__(self) -> None:
        self.elements = 0
        self.violations = 0
        self.worst = dict.fromkeys(TENSORS, 0.0)

    def add(
        self, tensor: str, raw: IntArray, frac: int, reference: FloatArray, limit: FloatArray
    ) -> None:
        error = np.abs(np.ldexp(raw.astype(np.float64), -frac) - reference)
        self.elements += error.size
        self.violations += int((error > limit).sum())
        bounded = limit > 0.0
        ratio = float((error[bounded] / limit[bounded]).max(initial=0.0))
        self.worst[tensor] = max(self.worst[tensor], ratio)


def _compare(twin: Twin, a0: IntArray, t: IntArray, name: tuple[str, str, str]) -> Row:
    w, b = [w[0] for w in twin.w], [b[0] for b in twin.b]
    bounds = running(twin.model, w, b, a0, t)
    a = twin.forward(a0)
    dz = twin.backward(a, t)
    gradient = twin.gradient(a, dz)
    tally = _Tally()
    valid = bounds.valid
    for k in range(len(twin.model.layers)):
        both, delta = gradient[k], dz[k]
        assert both is not None
        assert delta is not None
        _add_layer(tally, twin, bounds, valid, k, (twin.z(k + 1, a[k]), a[k + 1], delta, *both))
    return Row(
        task=name[0],
        loss=name[1],
        moment=name[2],
        samples=int(valid.sum()),
        all_samples=len(a0),
        elements=tally.elements,
        violations=tally.violations,
        missed=("violations",) if tally.violations else (),
        **tally.worst,
    )


def _add_layer(
    tally: _Tally,
    twin: Twin,
    bounds: Bounds,
    valid: npt.NDArray[np.bool_],
    k: int,
    raws: tuple[IntArray, ...],
) -> None:
    layer = twin.model.layers[k]
    z, *others = raws
    z_frac = layer.z_format.frac
    # A table's z is cut at the end of the table on purpose, and so is the reference here.
    top = layer.z_top * 2.0**-z_frac
    reference = np.clip(bounds.reference.z[k], -top, top)[valid]
    tally.add("z", z[valid], z_frac, reference, bounds.limit.z[k][valid])
    assert layer.dz_frac is not None
    gradient_frac = layer.dz_frac + twin.model.previous(k + 1).a_format.frac
    fracs = (layer.a_format.frac, layer.dz_frac, gradient_frac, gradient_frac)
    for tensor, raw, frac in zip(TENSORS[1:], others, fracs, strict=True):
        # a counts the input as its layer 0.
        place = k + 1 if tensor == "a" else k
        exact = getattr(bounds.reference, tensor)[place]
        limit = getattr(bounds.limit, tensor)[place]
        tally.add(tensor, raw[valid], frac, exact[valid], limit[valid])


def show(rows: Sequence[Row]) -> str:
    """The rows as text."""
    header = ("task", "loss", "moment", "samples", "elements", "violations", *TENSORS, "targets")
    cells = [
        (
            row.task,
            row.loss.replace("_", " "),
            row.moment,
            f"{row.samples}/{row.all_samples}",
            f"{row.elements}",
            f"{row.violations}",
            *(f"{getattr(row, tensor):.3f}" for tensor in TENSORS),
            "missed: " + ", ".join(row.missed) if row.missed else "met",
        )
        for row in rows
    ]
    worst = max(getattr(row, tensor) for row in rows for tensor in TENSORS)
    notes = (
        f"{sum(row.violations for row in rows)} violations in {sum(row.elements for row in rows)} "
        f"elements; z to db: largest measured / bound, {worst:.3f} over all\n"
        "samples: those whose float reference no clamp of the formats cuts"
    )
    return f"{table(header, cells)}\n\n{notes}"

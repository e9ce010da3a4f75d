"""
What a training step takes in the formats that real data and learning rates lead to.

The other tables are of one learning rate, on data made up for them. Here each network learns a data
set in float at several rates, gets its formats from that run, and then trains on the core.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial

from benchmarks import speed, tasks
from benchmarks.speed import goals, subjects
from benchmarks.speed.cores import CORES, Core
from benchmarks.tables import progress
from bpgen.dataset import Dataset
from bpgen.floatnet import create
from bpgen.model import IntModel
from bpgen.quantization import quantize_network
from bpgen.scaling import Scaling
from bpgen.training import Training, train

RATES = (0.5, 0.05, 0.005)
UPDATES = ("residual", "stochastic")
FLOAT_STEPS = 4000
STEPS = 20


@dataclass(frozen=True, eq=False)
class Task:
    """A network for a data set."""

    name: str
    sizes: tuple[int, ...]
    load: Callable[[], Dataset]


SMALL = (
    Task("XOR", (2, 2, 1), tasks.xor),
    Task("x^2", (1, 10, 1), tasks.square),
    Task("iris", (4, 8, 3), partial(tasks.load, "iris")),
    Task("wine", (13, 8, 3), partial(tasks.load, "wine")),
)
LARGE = (Task("digits", (64, 32, 10), partial(tasks.load, "digits")),)


@dataclass(frozen=True)
class Row:
    """
    A network's step on one board at each of RATES: its mean, and the slowest over the fastest.

    `missed` says "ratio" where that is over the limit, "bits" where outputs are not the twin's.
    """

    board: str
    data: str
    net: str
    update: str
    unit: str
    counts: tuple[float, ...]
    ratio: float
    missed: tuple[str, ...]


def measure(*, quick: bool = False, only: str = "") -> list[Row]:
    """Small networks on the Uno, digits elsewhere, of those with `only` in "board net training"."""
    rows = []
    for core in CORES.values():
        for task in SMALL if core.board == "uno" else LARGE:
            for update in UPDATES[:1] if quick else UPDATES:
                if only in f"{core.board} {speed.name_of(task.sizes)} training, {update}":
                    progress(f"speed: formats of {core.board} {task.name} {update}")
                    rows.append(_row(core, task, update))
    return rows


def _row(core: Core, task: Task, update: str) -> Row:
    made = [_subject(task, update, rate) for rate in RATES]
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        runs = list(threads.map(lambda subject: speed.execute(core, subject)[1], made))
    is_right = all(run.checksum == s.checksum for run, s in zip(runs, made, strict=True))
    counts = tuple(run.counts["net_train"].mean for run in runs)
    ratio = max(counts) / min(counts)
    missed = () if is_right else ("bits",)
    return Row(
        core.board,
        task.name,
        speed.name_of(task.sizes),
        update,
        core.unit,
        counts,
        ratio,
        (*missed, "ratio") if ratio > goals.MAX_RATIO_OF_RATES else missed,
    )


@cache
def _subject(task: Task, update: str, rate: float) -> subjects.Subject:
    model, data = _model(task, update, rate)
    return subjects.on_data(model, f"training, {update}", data, STEPS)


def _model(task: Task, update: str, rate: float) -> tuple[IntModel, tasks.Samples]:
    """The untrained network in the formats of a float run."""
    data = task.load()
    scaling = Scaling.fit(data.x, "minmax")
    net = create(task.sizes, seed=subjects.SEED)
    training = Training(rate, epochs=max(1, FLOAT_STEPS // len(data)), seed=subjects.SEED)
    log = train(net.copy(), scaling.apply(data.x), data.t, training)
    model = quantize_network(
        net,
        training,
        log.ranges,
        scaling=scaling,
        features=data.features,
        targets=data.targets,
        labels=data.labels,
        update=update,
    )
    return model, tasks.Samples(data, scaling)


def table(rows: list[Row]) -> speed.Table:
    """The rows, as `speed.show` takes them."""
    rates = [f"rate {rate:g}" for rate in RATES]
    return ("board", "data", "net", "update", *rates, "slowest / fastest", "goal"), [
        (
            row.board,
            row.data,
            row.net,
            row.update,
            *(f"{count:,.0f}" for count in row.counts),
            f"{row.ratio:.3f}",
            "WRONG BITS" if "bits" in row.missed else "missed" if row.missed else "met",
        )
        for row in rows
    ]

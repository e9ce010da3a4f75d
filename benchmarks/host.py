"""How fast the compiled host simulation trains and infers, on one core."""

from __future__ import annotations

import importlib.util
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.tables import progress, table
from benchmarks.tasks import Samples, load, xor
from bpgen.dataset import Dataset
from bpgen.floatnet import create
from bpgen.quantization import quantize_network
from bpgen.scaling import Scaling
from bpgen.simulate import Simulation
from bpgen.training import Training, train

RUNS = 7
QUICK_RUNS = 3
SECONDS = 0.3  # at least, of one run
MIN_STEPS_PER_SECOND = 100_000  # 64-32-10, online training
MAX_HELP_SECONDS = 0.3

NETS: tuple[tuple[tuple[int, ...], Callable[[], Dataset]], ...] = (
    ((2, 2, 1), xor),
    ((4, 8, 3), lambda: load("iris")),
    ((64, 32, 10), lambda: load("digits")),
)


@dataclass(frozen=True)
class Row:
    """A figure: the median of `runs` runs, and the slowest of them."""

    what: str
    median: float
    worst: float
    unit: str
    runs: int
    target: str
    missed: tuple[str, ...]


def measure(*, quick: bool = False) -> list[Row]:
    """Training and inference of the nets in both online updates, and the start of the command."""
    runs = QUICK_RUNS if quick else RUNS
    rows = []
    for sizes, data in NETS:
        for update in ("residual", "stochastic"):
            progress(f"host: {'-'.join(map(str, sizes))} {update}")
            rows += _net(sizes, data(), update, runs)
    return rows + _help(runs)


def _net(sizes: tuple[int, ...], data: Dataset, update: str, runs: int) -> list[Row]:
    samples = Samples(data, Scaling.fit(data.x, "minmax"))
    net, training = create(sizes, seed=1), Training(0.2, 1)
    ranges = train(net.copy(), samples.inputs, data.t, training).ranges
    model = quantize_network(
        net,
        training,
        ranges,
        scaling=samples.scaling,
        features=data.features,
        targets=data.targets,
        labels=data.labels,
        update=update,
    )
    a0, t = samples.a0(model), samples.t(model)
    name = "-".join(map(str, sizes))
    with Simulation(model) as simulation:

        def train_for(steps: int) -> None:
            simulation.train(a0, t, np.arange(steps) % len(a0))

        def infer_for(steps: int) -> None:
            simulation.forward(np.resize(a0, (steps, a0.shape[1])))

        rows = [_rate(f"{name} training, {update}", train_for, runs)]
        if update == "residual":
            rows.append(_rate(f"{name} inference", infer_for, runs))
    return rows


def _rate(what: str, work: Callable[[int], None], runs: int) -> Row:
    steps = 1000
    while _seconds(work, steps) < SECONDS:
        steps *= 2
    rates = [steps / _seconds(work, steps) for _ in range(runs)]
    median = statistics.median(rates)
    wanted = what.startswith("64-32-10 training")
    return Row(
        what,
        median,
        min(rates),
        "samples/s",
        runs,
        f">= {MIN_STEPS_PER_SECOND}" if wanted else "",
        ("speed",) if wanted and median < MIN_STEPS_PER_SECOND else (),
    )


def _seconds(work: Callable[[int], None], steps: int) -> float:
    start = time.perf_counter()
    work(steps)
    return time.perf_counter() - start


def _help(runs: int) -> list[Row]:
    command = Path(sys.executable).parent / "bpgen"
    if not command.exists() or importlib.util.find_spec("bpgen.cli") is None:
        return []

    def start(_: int) -> None:
        subprocess.run([str(command), "--help"], capture_output=True, check=True)

    start(0)  # the first one reads the disk
    times = [_seconds(start, 1) for _ in range(runs)]
    median = statistics.median(times)
    target = f"<= {MAX_HELP_SECONDS}"
    missed = ("start",) if median > MAX_HELP_SECONDS else ()
    return [Row("bpgen --help", median, max(times), "s", runs, target, missed)]


def show(rows: Sequence[Row]) -> str:
    """The rows as text."""
    header = ("what", "median", "worst", "unit", "runs", "target", "")

    def number(value: float) -> str:
        return f"{value:,.0f}" if value >= 1000 else f"{value:.3f}"

    cells = [
        (
            row.what,
            number(row.median),
            number(row.worst),
            row.unit,
            f"{row.runs}",
            row.target,
            "missed" if row.missed else "met" if row.target else "",
        )
        for row in rows
    ]
    return table(header, cells)

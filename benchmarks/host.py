"""
How fast the compiled host simulation trains and infers, on one core, beside other libraries.

The peers do the same work in the same run: 64-32-10 on the digits from the same first weights,
online, without momentum, half squared error behind sigmoids; or the float trainer's mini-batches.
"""

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

from benchmarks.speed import peers
from benchmarks.speed.peers import Missing, Peer, Problem
from benchmarks.tables import markdown, progress, table
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

LEARNING_RATE = 0.2
PEER_NET = (64, 32, 10)
PEER_EPOCHS = 4  # of a run
FANN_EPOCHS = 60  # so many take it as long as the compiled C's run
# Compiled C, residual, over a peer's online training.
MIN_OVER_TORCH = 5.0
MIN_OVER_FANN = 2.0
# Batch size, epochs, and the least that bpgen's float trainer must be over scikit-learn's. 200 is
# what scikit-learn takes by itself; there the pass that measures ranges after each epoch, which
# scikit-learn does not make, is two fifths of the work, and no goal is set.
BATCHES: tuple[tuple[int, int, float | None], ...] = ((32, 20, 1.0), (200, 50, None))

NETS: tuple[tuple[tuple[int, ...], Callable[[], Dataset]], ...] = (
    ((2, 2, 1), xor),
    ((4, 8, 3), lambda: load("iris")),
    ((64, 32, 10), lambda: load("digits")),
)


@dataclass(frozen=True)
class Row:
    """A figure: the median of `runs` runs, and the slowest of them. No run: a peer is missing."""

    what: str
    median: float
    worst: float
    unit: str
    runs: int
    target: str
    missed: tuple[str, ...]


def measure(*, quick: bool = False) -> list[Row]:
    """Training and inference of the nets in both updates, peers, and the start of the command."""
    runs = QUICK_RUNS if quick else RUNS
    rows = []
    for sizes, data in NETS:
        for update in ("residual", "stochastic"):
            progress(f"host: {'-'.join(map(str, sizes))} {update}")
            rows += _net(sizes, data(), update, runs)
    return rows + _online(runs) + _batches(runs) + _help(runs)


def _problem(output: str, loss: str) -> Problem:
    data = load("digits")
    samples = Samples(data, Scaling.fit(data.x, "minmax"))
    net = create(PEER_NET, output=output, loss=loss, seed=1)
    return Problem(net, samples.inputs, data.t, LEARNING_RATE)


def _online(runs: int) -> list[Row]:
    """Online training by the peers, and how much faster the compiled C is, run in turns with it."""
    problem = _problem("sigmoid", "squared_error")
    name = "-".join(map(str, PEER_NET))
    rows = []
    least: tuple[tuple[Callable[[Problem, int, int], list[Peer] | Missing], int, float | None], ...]
    least = (
        (peers.torch, PEER_EPOCHS, MIN_OVER_TORCH),
        (peers.fann, FANN_EPOCHS, MIN_OVER_FANN),
        (peers.sklearn_online, PEER_EPOCHS, None),
    )
    with Compiled(PEER_NET, load("digits"), "residual") as compiled:
        train_steps = _steps(compiled.train)
        for measure_peer, epochs, factor in least:
            progress(f"host: {measure_peer.__name__}")
            ours: list[float] = []
            theirs: list[Peer] = []
            for _ in range(runs):
                found = measure_peer(problem, 1, epochs * len(problem.x))
                if isinstance(found, Missing):
                    rows.append(_left_out(found))
                    break
                ours.append(train_steps / _seconds(compiled.train, train_steps))
                theirs = [peer.and_rates_of(theirs) for peer in found]
            for peer in theirs:
                rows.append(_of_peer(peer, name))
                if peer.what == "training":
                    what = f"compiled C over {peer.name}, {name} training, in turns"
                    rows.append(_ratio(what, statistics.median(ours) / rows[-1].median, factor))
    return rows


def _of_peer(peer: Peer, net: str) -> Row:
    what = f"{net} {peer.what}, {peer.name} ({peer.right:.1%} right)"
    return Row(
        what, statistics.median(peer.rates), min(peer.rates), "samples/s", len(peer.rates), "", ()
    )


def _ratio(what: str, value: float, least: float | None) -> Row:
    target = "" if least is None else f">= {least:g}"
    missed = ("ratio",) if least is not None and value < least else ()
    return Row(what, value, value, "times", 1, target, missed)


def _left_out(missing: Missing) -> Row:
    return Row(str(missing), 0.0, 0.0, "", 0, "", ())


def _batches(runs: int) -> list[Row]:
    """The float trainer and MLPClassifier on the same mini-batches, softmax and cross-entropy."""
    problem = _problem("softmax", "cross_entropy")
    rows = []
    for batch_size, epochs, least in BATCHES:
        progress(f"host: float trainer, batches of {batch_size}")
        training = Training(LEARNING_RATE, epochs, batch_size=batch_size)
        ours, theirs = [], []
        # In turns, so that both see the same machine.
        for _ in range(runs):
            net = problem.net.copy()
            begin = time.perf_counter()
            train(net, problem.x, problem.t, training)
            ours.append(epochs * len(problem.x) / (time.perf_counter() - begin))
            found = peers.sklearn_batches(problem, batch_size, epochs)
            if isinstance(found, Missing):
                return [_left_out(found)]
            theirs.append(found[0])
        what = f"digits {'-'.join(map(str, PEER_NET))}, batches of {batch_size}"
        for name, rates in (("float trainer", ours), ("scikit-learn MLPClassifier", theirs)):
            median = statistics.median(rates)
            rows.append(Row(f"{what}, {name}", median, min(rates), "samples/s", len(rates), "", ()))
        ratio = statistics.median(ours) / statistics.median(theirs)
        rows.append(_ratio(f"{what}, ratio", ratio, least))
    return rows


class Compiled:
    """A network's compiled C with data, which trains and infers so many samples."""

    def __init__(self, sizes: tuple[int, ...], data: Dataset, update: str) -> None:
        samples = Samples(data, Scaling.fit(data.x, "minmax"))
        net, training = create(sizes, seed=1), Training(LEARNING_RATE, 1)
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
        self._a0, self._t = samples.a0(model), samples.t(model)
        self._simulation = Simulation(model)

    def __enter__(self) -> Compiled:
        return self

    def __exit__(self, *_: object) -> None:
        self._simulation.close()

    def train(self, steps: int) -> None:
        """One sample after the other."""
        self._simulation.train(self._a0, self._t, np.arange(steps) % len(self._a0))

    def infer(self, steps: int) -> None:
        """The same."""
        self._simulation.forward(np.resize(self._a0, (steps, self._a0.shape[1])))


def _net(sizes: tuple[int, ...], data: Dataset, update: str, runs: int) -> list[Row]:
    name = "-".join(map(str, sizes))
    with Compiled(sizes, data, update) as compiled:
        rows = [_rate(f"{name} training, {update}", compiled.train, runs)]
        if update == "residual":
            rows.append(_rate(f"{name} inference", compiled.infer, runs))
    return rows


def _steps(work: Callable[[int], None]) -> int:
    """So many that a run takes its time."""
    steps = 1000
    while _seconds(work, steps) < SECONDS:
        steps *= 2
    return steps


def _rate(what: str, work: Callable[[int], None], runs: int) -> Row:
    steps = _steps(work)
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


def show(rows: Sequence[Row], *, as_markdown: bool = False) -> str:
    """The rows as text, or as docs/speed.md has them; what is left out stands below."""
    header = ("what", "median", "worst", "unit", "runs", "goal", "")

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
            _verdict(row),
        )
        for row in rows
        if row.runs
    ]
    left_out = [row.what for row in rows if not row.runs]
    return "\n\n".join([(markdown if as_markdown else table)(header, cells), *left_out])


def _verdict(row: Row) -> str:
    if not row.target or not row.missed:
        return "met" if row.target else ""
    relation, goal = row.target.split()
    ratio = row.median / float(goal)
    short = 1.0 - ratio if relation == ">=" else ratio - 1.0
    return f"falls short by {short:.1%}"

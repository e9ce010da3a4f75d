"""
How much longer than a typical training step the worst one takes, over a fixed list of corners.

Every corner of the weights (on the rails, zero, alternating) meets every corner of input and
target; two steps each, the second on what the first has taught.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np

from benchmarks import speed
from benchmarks.speed import cores, goals, subjects
from benchmarks.speed.cores import CORES, Core, DoesNotFitError
from benchmarks.tables import progress
from bpgen.model import IntModel
from bpgen.qformat import IntArray
from bpgen_host.simulators import _functions

UPDATES = ("residual", "stochastic")
SAMPLES = 20  # of the typical run
STEPS = 40


@dataclass(frozen=True)
class Row:
    """
    Typical (mean of random steps) and worst step of one network on one board.

    `where` is the corner of the worst, or "typical"; `varies` names the functions that take longer
    in one corner than in another, each with what it calls: net_train where none that it calls does,
    only what is inlined into it.
    """

    board: str
    net: str
    update: str
    unit: str
    typical: float
    worst: int
    where: str
    ratio: float
    varies: tuple[str, ...]
    missed: tuple[str, ...]


def measure(*, quick: bool = False, only: str = "") -> list[Row]:
    """
    The nets that fit their boards, or those with `only` in "board net training, update".

    `quick` takes two nets, and one update.
    """
    rows = []
    nets = speed.QUICK_NETS if quick else speed.NETS
    for core, sizes, update in product(CORES.values(), nets, UPDATES[:1] if quick else UPDATES):
        what = f"{core.board} {speed.name_of(sizes)} training, {update}"
        if only in what and speed.arrays_fit(core, sizes, f"training, {update}"):
            progress(f"speed: corners of {what}")
            with suppress(DoesNotFitError):
                rows.append(_row(core, sizes, f"training, {update}"))
    return rows


def _row(core: Core, sizes: tuple[int, ...], mode: str) -> Row:
    """Raises DoesNotFitError where the board lacks memory."""
    network = subjects.model(sizes, mode)
    runs = {"typical": subjects.integer(sizes, mode, SAMPLES, STEPS)}
    a0, t = _samples(network)
    for name, rail in _weights():
        runs[f"weights {name}"] = subjects.corner(_filled(network, rail), a0, t)

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        found = list(threads.map(lambda subject: _counted(core, subject), runs.values()))
    counted = dict(zip(runs, found, strict=True))
    wrong = [name for name, run in counted.items() if run.checksum != runs[name].checksum]
    steps = {name: run.counts["net_train"] for name, run in counted.items()}
    where = max(steps, key=lambda name: steps[name].most)
    typical, worst = steps["typical"].mean, steps[where].most
    corners = [run.counts for name, run in counted.items() if name != "typical"]
    # Every corner makes the same calls, so what differs between them is the data's doing.
    varies = [
        name.partition(".")[0]  # what the compiler made of it, as .constprop.3, says nothing
        for name in corners[0]
        if len({(c[name].calls, c[name].mean) for c in corners}) > 1
    ]
    varies = [name for name in varies if name != "net_train"] or varies
    ratio = worst / typical
    missed = ("bits",) if wrong else ("ratio",) if ratio > goals.MAX_RATIO else ()
    return Row(
        core.board,
        speed.name_of(sizes),
        mode.removeprefix("training, "),
        core.unit,
        typical,
        worst,
        where,
        ratio,
        tuple(varies),
        missed,
    )


def _counted(core: Core, subject: subjects.Subject) -> cores.Run:
    """A run with every function of the network counted."""
    with tempfile.TemporaryDirectory(prefix="bpgen-corner-") as name:
        image = cores.build(core, subject.program, Path(name))
        names = sorted(n for n in _functions(image.path) if n.startswith(("net_", "bp_")))
        return cores.run(core, image, names)


def _weights() -> Iterator[tuple[str, tuple[int, int]]]:
    """Each corner of the weights: its name, and the values of even and odd indices."""
    yield "at the upper rail", (32767, 32767)
    yield "at the lower rail", (-32768, -32768)
    yield "zero", (0, 0)
    yield "alternating between the rails", (32767, -32768)
    yield "alternating by one", (1, -1)


def _filled(network: IntModel, values: tuple[int, int]) -> IntModel:
    """The network with every weight and bias at these values in turn."""
    layers = []
    for layer in network.layers:
        flat = np.resize(np.array(values), layer.outputs * layer.inputs)
        rows = flat.reshape(layer.outputs, layer.inputs).tolist()
        b = np.resize(np.array(values), layer.outputs).tolist()
        layers.append(replace(layer, w=tuple(tuple(row) for row in rows), b=tuple(b)))
    return replace(network, layers=tuple(layers))


def _samples(network: IntModel) -> tuple[IntArray, IntArray]:
    """Every corner of the input with every corner of the target."""
    top, one = network.input.a_top, 1 << network.output.a_format.frac
    inputs = [(0, 0), (top, top), (-top, -top), (top, -top)]
    targets = [(0, 0), (one, 0), (32767, 32767), (-32768, -32768), (-32768, 32767)]
    pairs = [(a, t) for a in inputs for t in targets]
    a0 = [np.resize(a, network.input.size) for a, _ in pairs]
    t = [np.resize(t, network.output.outputs) for _, t in pairs]
    return np.array(a0), np.array(t)


def table(rows: Sequence[Row]) -> speed.Table:
    """The rows, as `speed.show` takes them."""
    header = ("board", "net", "update", "typical", "worst", "ratio", "goal", "worst at", "varies")
    return header, [
        (
            row.board,
            row.net,
            row.update,
            f"{row.typical:,.0f}",
            f"{row.worst:,}",
            f"{row.ratio:.3f}",
            "WRONG BITS" if "bits" in row.missed else "missed" if row.missed else "met",
            row.where,
            ", ".join(row.varies) or "nothing",
        )
        for row in rows
    ]

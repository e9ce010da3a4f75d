"""
What a sample costs on each core, counted exactly: `python -m benchmarks speed`.

A bare-metal harness without a serial link calls the network on generated samples; the simulator
counts the calls of `net_forward` or `net_train` from their first instruction to their return.
AVR counts are cycles, those of Cortex-M and RISC-V instructions. Each run's outputs are compared
with the twin's, so that what is counted is known to be right.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from benchmarks.speed import cores, goals, subjects
from benchmarks.speed.cores import CORES, Core, DoesNotFitError
from benchmarks.speed.peers import Missing
from benchmarks.speed.subjects import FLOAT_MODES, MODES, Subject
from benchmarks.tables import markdown, progress, table
from bpgen.generation import view_of
from bpgen.targets import AVR_ARRAY_BYTES, ELEMENT_BYTES

Table = tuple[Sequence[str], list[Sequence[str]]]

NETS = ((2, 2, 1), (1, 10, 1), (4, 8, 3), (4, 16, 3), (13, 8, 3), (64, 32, 10), (784, 32, 10))
QUICK_NETS = ((2, 2, 1), (4, 16, 3))
S8_NET = (64, 16, 10)
STEPS = 60
LARGE_STEPS = 20  # of nets with more parameters than LARGE
LARGE = 1000
QUICK_STEPS = 6
SAMPLES = 20
# Samples are in flash beside the network.
LARGE_SAMPLES = 3
LARGE_INPUTS = 200


@dataclass(frozen=True)
class Row:
    """
    One network in one mode on one board.

    `mean` and `most` are cycles or instructions (`unit`) of one sample, forward included in
    training; `per_mac` is the mean over the products of one forward pass, beside `kernel`, that of
    the best known kernel; `prototype` is a whole sample of hand-written code. Memory is that of
    the network alone: `text` code, `rodata` tables and first weights, `state` variables, `stack`
    the deepest below the caller. `steps_per_second` is at the board's clock, exact on AVR, else
    by modelled cycles per instruction. `missed` says "bits" where outputs are not the twin's.
    """

    board: str
    core: str
    net: str
    mode: str
    unit: str
    steps: int
    mean: float
    most: int
    per_mac: float
    kernel: float | None
    prototype: int | None
    text: int
    rodata: int
    state: int
    stack: int
    steps_per_second: float | None
    missed: tuple[str, ...]

    @property
    def flash(self) -> int:
        """All that the network has in flash."""
        return self.text + self.rodata


@dataclass(frozen=True)
class GoalRow:
    """A goal, what was measured for it, and by how much that falls short."""

    what: str
    measured: float
    goal: float
    shortfall: float
    missed: tuple[str, ...]


@dataclass(frozen=True)
class Note:
    """A sentence below the tables."""

    text: str
    missed: tuple[str, ...] = ()


def name_of(sizes: Sequence[int]) -> str:
    """For instance "4-16-3"."""
    return "-".join(map(str, sizes))


def cases(
    nets: Sequence[tuple[int, ...]], only: str
) -> Iterator[tuple[Core, tuple[int, ...], str]]:
    """Board, net and mode of each row; `only` is a text in these three."""
    for core in CORES.values():
        for sizes in (*nets, S8_NET):
            for mode in (*MODES, *FLOAT_MODES):
                if sizes == S8_NET and mode != "inference, s8":
                    continue
                if only in f"{core.board} {name_of(sizes)} {mode}":
                    yield core, sizes, mode


def measure(*, quick: bool = False, only: str = "") -> list[Row]:
    """The rows that fit their boards."""
    chosen = list(cases(QUICK_NETS if quick else NETS, only))
    for _, sizes, _ in chosen:
        subjects.task(sizes)  # once, before the threads

    def row(case: tuple[Core, tuple[int, ...], str]) -> Row | None:
        core, sizes, mode = case
        progress(f"speed: {core.board} {name_of(sizes)} {mode}")
        return count(core, sizes, mode, QUICK_STEPS if quick else None)

    # The compilers and simulators are the work, and they are processes.
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        return [row for row in threads.map(row, chosen) if row is not None]


def count(core: Core, sizes: tuple[int, ...], mode: str, steps: int | None = None) -> Row | None:
    """One row; None where the board lacks memory, or a peer is not installed."""
    parameters = sum(n * (m + 1) for m, n in pairwise(sizes))
    steps = steps or (LARGE_STEPS if parameters > LARGE else STEPS)
    samples = LARGE_SAMPLES if sizes[0] > LARGE_INPUTS else SAMPLES
    if not arrays_fit(core, sizes, mode):
        return None
    make = subjects.floating if mode in FLOAT_MODES else subjects.integer
    subject = make(sizes, mode, samples, steps)
    if subject is None:
        return None
    try:
        image, run = execute(core, subject)
    except DoesNotFitError:
        return None
    counted = run.counts[subject.function]
    macs = sum(m * n for m, n in pairwise(sizes))
    net, clock = name_of(sizes), core.target.clock_hz
    per_instruction = core.cycles_per_instruction[mode in FLOAT_MODES]
    is_right = run.checksum == subject.checksum and counted.calls == steps
    return Row(
        board=core.board,
        core=core.family.core,
        net=net,
        mode=mode,
        unit=core.unit,
        steps=steps,
        mean=counted.mean,
        most=counted.most,
        per_mac=counted.mean / macs,
        kernel=goals.kernel(core.family.core, mode),
        prototype=goals.PROTOTYPES.get((core.board, net, mode)),
        text=image.text,
        rodata=image.rodata + image.initialised,
        state=run.state + image.ram,
        stack=run.stack,
        steps_per_second=clock / (counted.mean * per_instruction) if clock else None,
        missed=() if is_right else ("bits",),
    )


def arrays_fit(core: Core, sizes: tuple[int, ...], mode: str) -> bool:
    """Whether the compiler of an AVR takes the largest array."""
    if not core.is_avr or mode in FLOAT_MODES:
        return not core.is_avr or 4 * sizes[0] * sizes[1] <= AVR_ARRAY_BYTES
    view = view_of(subjects.model(sizes, mode), "net")
    return all(a.length * ELEMENT_BYTES[a.type] <= AVR_ARRAY_BYTES for a in view.rom) and (
        view.state_size <= AVR_ARRAY_BYTES
    )


def execute(
    core: Core, subject: Subject, functions: Sequence[str] = ()
) -> tuple[cores.Image, cores.Run]:
    """Build and run a subject, and count its function, and others."""
    with tempfile.TemporaryDirectory(prefix="bpgen-speed-") as name:
        image = cores.build(core, subject.program, Path(name))
        return image, cores.run(core, image, [subject.function, *functions])


def check_goals(rows: Sequence[Row]) -> list[GoalRow]:
    """The goals that a row was measured for."""
    found = {(row.board, row.net, row.mode): row for row in rows}
    checked = []
    for goal in goals.GOALS:
        row = found.get((goal.board, goal.net, goal.mode))
        if row is None:
            continue
        value = row.mean if goal.figure == "count" else getattr(row, goal.figure)
        what = row.unit if goal.figure == "count" else f"bytes of {goal.figure}"
        short = value / goal.most - 1.0
        checked.append(
            GoalRow(
                f"{goal.board} {goal.net} {goal.mode}, {what}{goal.note}",
                value,
                goal.most,
                max(0.0, short),
                ("goal",) if short > 0.0 else (),
            )
        )
    return checked


def notes() -> list[Note]:
    """Compilers and peers, and peers that are not installed."""
    version = subjects.emlearn_version()
    used = sorted({cores.compiler_version(core.family.command) for core in CORES.values()})
    used += [f"emlearn {version}"] if version else []
    said = [Note(f"Measured with {', '.join(used)}.")]
    if version is None:
        said.append(Note(str(Missing("emlearn", "pip install emlearn"))))
    return said


def verdict(shortfall: float) -> str:
    """How a goal was met."""
    return f"falls short by {math.ceil(shortfall * 1000) / 10:.1f}%" if shortfall else "met"


def speed_tables(rows: Sequence[Row]) -> list[tuple[str, Table]]:
    """Everything, board by board."""
    header = (
        *("net", "what", "mean", "max", "per MAC", "kernel", "/ prototype"),
        *("text", "rodata", "state", "stack", "steps/s"),
    )
    tables: list[tuple[str, Table]] = []
    for core in CORES.values():
        cells: list[Sequence[str]] = [
            (
                row.net,
                row.mode,
                f"{row.mean:,.0f}",
                f"{row.most:,}",
                f"{row.per_mac:.1f}",
                "" if row.kernel is None else f"{row.kernel:.1f}",
                "" if row.prototype is None else f"{row.mean / row.prototype:.2f}",
                f"{row.text:,}",
                f"{row.rodata:,}",
                f"{row.state:,}",
                f"{row.stack:,}",
                _rate(row),
            )
            for row in rows
            if row.board == core.board
        ]
        tables.append((_title(core), (header, cells)))
    return tables


def _title(core: Core) -> str:
    clock = f" at {core.target.clock_hz // 1_000_000} MHz" if core.target.clock_hz else ""
    return f"{core.board}: {core.family.core}{clock}, {core.unit} a sample"


# Columns of the tables of docs/speed.md.
COLUMNS = {
    "inference, residual": "inference",
    "inference, flash": "from flash",
    "inference, s8": "s8",
    "training, residual": "training residual",
    "training, stochastic": "training stochastic",
    "inference, float C": "float inference",
    "training, float C": "float training",
    "inference, emlearn float": "emlearn inference",
}


def _pivot(rows: Sequence[Row], columns: Mapping[str, str], cell: Callable[[Row], str]) -> Table:
    """A line for each board and net, a column for each mode."""
    found = {(row.board, row.net, row.mode): row for row in rows}
    lines = list(dict.fromkeys((row.board, row.net) for row in rows))
    cells: list[Sequence[str]] = [
        (*line, *(cell(found[(*line, m)]) if (*line, m) in found else "" for m in columns))
        for line in lines
    ]
    return ("board", "net", *columns.values()), cells


def summary_tables(rows: Sequence[Row]) -> list[tuple[str, Table]]:
    """The tables of docs/speed.md."""
    memory = {
        "training, residual": "residual",
        "training, residual, small": "residual, smallest",
        "training, stochastic": "stochastic",
        "inference, flash": "inference only",
        "inference, s8": "s8",
        "training, float C": "float training",
        "inference, emlearn float": "emlearn inference",
    }
    near: Table = (
        ("board", "net", "what", "count", "hand-written", "ratio", "per MAC", "kernel alone"),
        [
            (
                row.board,
                row.net,
                row.mode,
                f"{row.mean:,.0f}",
                f"{row.prototype:,}",
                f"{row.mean / row.prototype:.2f}",
                f"{row.per_mac:.1f}",
                "" if row.kernel is None else f"{row.kernel:.1f}",
            )
            for row in rows
            if row.prototype is not None
        ],
    )
    rates = {m: c for m, c in COLUMNS.items() if m.startswith("training")}
    clocked = [row for row in rows if row.mode in rates and row.steps_per_second is not None]
    return [
        ("A sample, in cycles (AVR) or instructions", _pivot(rows, COLUMNS, _mean)),
        ("Training steps a second", _pivot(clocked, rates, _rate)),
        ("Beside the limits", near),
        ("Bytes of flash / state / stack", _pivot(rows, memory, _memory)),
    ]


def _memory(row: Row) -> str:
    return f"{row.flash:,} / {row.state:,} / {row.stack:,}"


def _mean(row: Row) -> str:
    return "WRONG BITS" if row.missed else f"{row.mean:,.0f}"


def _rate(row: Row) -> str:
    if row.missed:
        return "WRONG BITS"
    if row.steps_per_second is None:
        return ""
    return ("" if row.unit == "cycles" else "~") + f"{row.steps_per_second:,.0f}"


def goal_table(rows: Sequence[GoalRow]) -> Table:
    """Goals and whether they are met."""
    return ("figure", "measured", "goal", ""), [
        (row.what, f"{row.measured:,.0f}", f"<= {row.goal:,.0f}", verdict(row.shortfall))
        for row in rows
    ]


def show(tables: Sequence[tuple[str, Table]], *, as_markdown: bool = False) -> str:
    """Titled tables as text, or as docs/speed.md has them."""
    parts = []
    for title, (header, cells) in tables:
        if not cells:
            continue
        if as_markdown:
            parts.append(f"### {title}\n\n{markdown(header, cells)}")
        else:
            parts.append(f"{title}\n\n{table(header, cells)}")
    return "\n\n".join(parts)

"""Where the cycles of one training step go on an AVR, by function: `speed --profile uno`."""

from __future__ import annotations

import re
import subprocess
import tempfile
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import speed
from benchmarks.speed import cores, subjects
from benchmarks.speed.cores import CORES
from bpgen.errors import BpgenError
from bpgen_host import simulators

NET = (4, 16, 3)
STEPS = 20
SMALLEST = 0.005  # share of a row of its own


@dataclass(frozen=True)
class Row:
    """
    Cycles of a step inside one function, inlined or not, without what it calls.

    `phase` is the function of the network that it is inlined into, or else the one that is called.
    """

    phase: str
    function: str
    cycles: float
    share: float
    missed: tuple[str, ...] = ()


def measure(board: str, update: str = "residual", sizes: tuple[int, ...] = NET) -> list[Row]:
    """A training step by function, the most expensive first."""
    core = CORES.get(board)
    if core is None or not core.is_avr:
        raise BpgenError(f"there is no profile of {board}: choose uno or mega2560")
    subject = subjects.integer(sizes, f"training, {update}", STEPS, STEPS)
    # It says which code was inlined from where, and changes no instruction.
    program = replace(subject.program, debug=("-gdwarf-4",))
    with tempfile.TemporaryDirectory(prefix="bpgen-profile-") as name:
        folder = Path(name)
        image = cores.build(core, program, folder)
        address = simulators._functions(image.path)[subject.function][0]
        profiler = folder / "by_function"
        _run("gcc", "-O2", cores.HERE / "by_function.c", "-o", profiler, "-lsimavr", "-lelf")
        part = simulators.AVR_CORES[board]
        said = _run(profiler, part, image.path, f"{address:#x}", f"{STEPS}")
        spent = {int(at, 16): int(n) for at, n in map(str.split, said.splitlines())}
        names = _names(image.path, sorted(spent))
    by_name: Counter[tuple[str, str]] = Counter()
    for at, count in spent.items():
        by_name[names[at]] += count
    total = sum(by_name.values())
    return [Row(*name, n / STEPS, n / total) for name, n in by_name.most_common()]


def _run(*command: str | Path) -> str:
    try:
        run = subprocess.run(
            [str(word) for word in command], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        raise BpgenError(f"{command[0]} is missing: install it") from None
    if run.returncode != 0:
        raise BpgenError(f"{Path(command[0]).name} failed: {run.stderr.strip()[-400:]}")
    return run.stdout


def _names(image: Path, addresses: Sequence[int]) -> dict[int, tuple[str, str]]:
    """Phase and function of each address, in ascending order."""
    symbols = sorted((at, name) for name, (at, _) in _text_symbols(image).items())
    starts = [at for at, _ in symbols]
    names = {}
    said = _run("avr-addr2line", "-f", "-i", "-a", "-e", image, *(f"{at:#x}" for at in addresses))
    for at, lines in zip(addresses, re.split(r"^0x[0-9a-f]+\n", said, flags=re.M)[1:], strict=True):
        symbol = symbols[bisect_right(starts, at) - 1][1]
        chain = [re.sub(r"\..*", "", name) for name in lines.splitlines()[::2]]
        if symbol.startswith("__"):  # libgcc, which has no debug information
            names[at] = ("", symbol)
        else:
            phase = next((name for name in chain if name.startswith("net_")), chain[-1])
            names[at] = (phase, chain[0])
    return names


def _text_symbols(image: Path) -> dict[str, tuple[int, str]]:
    """Name, address and kind of what is in the code."""
    found = {}
    for line in _run("avr-nm", image).splitlines():
        at, kind, name = line.split()
        if kind in "Tt":
            found[name] = (int(at, 16), kind)
    return found


def table(rows: Sequence[Row]) -> speed.Table:
    """The rows, as `speed.show` takes them, the small ones together."""
    cells: list[Sequence[str]] = [
        (
            f"`{row.phase or row.function}`",
            f"`{row.function}`" if row.function != row.phase and row.phase else "",
            f"{row.cycles:,.0f}",
            f"{row.share:.1%}",
        )
        for row in rows
        if row.share >= SMALLEST
    ]
    rest = [row for row in rows if row.share < SMALLEST]
    sums = [("the rest", rest)] if rest else []
    for name, some in (*sums, ("all", rows)):
        cycles, share = sum(row.cycles for row in some), sum(row.share for row in some)
        cells.append((name, "", f"{cycles:,.0f}", f"{share:.1%}"))
    return ("function", "inlined into it", "cycles", "share"), cells

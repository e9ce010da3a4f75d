"""The serial line: exactly-once under faults, power cuts, steps a second, gradients, code size."""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.tables import progress, table
from bpgen import wire
from bpgen.wire import REPLY, Message
from bpgen_host import simulators
from bpgen_host.device import Device, Sample, target_of
from bpgen_host.link import open_port
from tests.host import test_exactly_once as soak
from tests.host import test_store as store
from tests.host.boards import Task, built, task
from tests.host.noise import soak_uno

CLOCK_HZ = 16_000_000
BITS_PER_BYTE = 10
STEPS = 3000
SOAK_STEPS = 2_000_000
MIN_SCENARIOS = 1_000_000
UNO_SOAK_STEPS = 2000
UNO_RESETS = 10
BYTE_FAULTS = 0.01

# baud -> steps/s of a 2-3-1 network, one sample a frame
MIN_STEPS_PER_SECOND = {115_200: 240, 1_000_000: 1200}
MIN_LINE_USE = 0.9

# Of link and store together, beside the network.
MAX_FLASH = 2_662  # 2.6 KB
MAX_RAM = 200
MAX_STACK = 200


@dataclass(frozen=True)
class Row:
    """A figure, what it is measured against, and whether it misses that."""

    what: str
    value: str
    target: str
    missed: tuple[str, ...]


@dataclass(frozen=True)
class Frame:
    """A frame on the line of a simulated board: its type and size, and when it began and ended."""

    type: int
    size: int
    start: int
    end: int


def measure(*, quick: bool = False) -> list[Row]:
    """All rows; `quick` takes a tenth of the steps."""
    rows = []
    for part in (_soak, _uno_soak, _power_cuts, _speed, _gradient, _memory):
        progress(f"wire: {part.__name__.strip('_').replace('_', ' ')}")
        rows += part(10 if quick else 1)
    return rows


def _row(what: str, value: str, target: str, met: bool) -> Row:
    return Row(what, value, target, () if met else (what,))


def _gcc() -> str:
    return shutil.which("gcc") or "gcc"


def _soak(fewer: int) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        soak.write(Path(folder))
        found = soak.run_soak(_gcc(), Path(folder), SOAK_STEPS // fewer)
    faults = sum(found[name] for name in soak.FAULTS)
    text = (
        f"{found['extra']} extra, {found['missing']} missing, {found['wrong']} wrong in "
        f"{found['steps']:,} steps, {found['byte_faults']:,} byte faults, {found['resets']:,} "
        "resets"
    )
    return [_row("exactly once, compiled link", text, "0", faults == 0)]


def _uno_soak(fewer: int) -> list[Row]:
    found = soak_uno(UNO_SOAK_STEPS // fewer, UNO_RESETS, BYTE_FAULTS)
    text = (
        f"{found.wrong} parameters differ after {found.steps:,} steps, {found.byte_faults:,} byte "
        f"faults, {found.restarts} resets"
    )
    return [_row("exactly once, simulated Uno", text, "0", found.wrong == 0)]


def _power_cuts(_: int) -> list[Row]:
    scenarios = lost = garbage = 0
    for memory in store.MEMORIES:
        with tempfile.TemporaryDirectory() as folder:
            store.write(Path(folder), memory)
            saves = "4" if memory == "eeprom" else "9"
            found = store.run_rig(_gcc(), Path(folder), saves)
        scenarios += found["scenarios"]
        lost += found["lost"]
        garbage += found["garbage"]
    text = f"{lost} lost, {garbage} garbage in {scenarios:,} power cuts"
    met = lost == garbage == 0 and scenarios >= MIN_SCENARIOS
    return [_row("store", text, f"0 in >= {MIN_SCENARIOS:,}", met)]


def _speed(fewer: int) -> list[Row]:
    rows = []
    chosen = task((2, 3, 1))
    for baud, least in MIN_STEPS_PER_SECOND.items():
        with traced(chosen, baud) as (device, frames):
            for _ in device.train_many(_samples(chosen, STEPS // fewer)):
                pass
        replies = [frame for frame in frames() if frame.type == Message.TRAIN | REPLY]
        seconds = (replies[-1].end - replies[0].end) / CLOCK_HZ
        rate = (len(replies) - 1) / seconds
        what = f"2-3-1, steps/s at {baud:,} baud"
        rows.append(_row(what, f"{rate:,.0f}", f">= {least:,}", rate >= least))
    return rows


def _gradient(_: int) -> list[Row]:
    """Bytes of the board against what the line carries, from first request to last reply."""
    baud = 115_200
    chosen = task((13, 8, 3))
    with traced(chosen, baud) as (device, frames):
        deltas = device.backward(chosen.a0[0], target_of(chosen.model, chosen.t[0]))
        device.gradient(deltas.tag)
    seen = frames()
    requests = [frame for frame in seen if frame.type == Message.GRADS]
    replies = [frame for frame in seen if frame.type == Message.GRADS | REPLY]
    seconds = (replies[-1].end - requests[0].start) / CLOCK_HZ
    use = sum(frame.size for frame in replies) / (baud / BITS_PER_BYTE) / seconds
    text = f"{use:.1%} of the line, {chosen.model.parameter_count} elements in {seconds:.3f} s"
    return [
        _row("13-8-3, gradient at 115,200", text, f">= {MIN_LINE_USE:.0%}", use >= MIN_LINE_USE)
    ]


def _memory(_: int) -> list[Row]:
    """Link and store with the flags of the project's Makefile, but each object on its own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "firmware"
        built("uno", task((2, 3, 1)), folder)
        sizes = _sizes(folder)
    flash = sum(sizes[part][0] for part in ("link", "store"))
    ram = sum(sizes[part][1] for part in ("link", "store", "port"))
    stack = _stack()
    return [
        _row("link and store, flash", f"{flash:,} B", f"<= {MAX_FLASH:,} B", flash <= MAX_FLASH),
        _row("link, store and port, RAM", f"{ram} B", f"<= {MAX_RAM} B", ram <= MAX_RAM),
        _row("whole firmware, stack", f"{stack} B", f"<= {MAX_STACK} B", stack <= MAX_STACK),
    ]


def _sizes(folder: Path) -> dict[str, tuple[int, int]]:
    """Flash and RAM of an object, by its part of the firmware."""
    makefile = (folder / "Makefile").read_text(encoding="utf-8")
    (optimise,) = re.findall(r"^\$\(SMALL_OBJECTS\): OPTIMISE := (.*)$", makefile, re.MULTILINE)
    flags = ["-std=c99", "-mmcu=atmega328p", *optimise.split(), "-fno-lto"]
    found = {}
    for part in ("link", "store", "port"):
        made = folder / f"{part}.o"
        source = folder / f"bpgen_{part}.c"
        subprocess.run(["avr-gcc", *flags, "-c", source, "-o", made], check=True)
        run = subprocess.run(["avr-size", made], capture_output=True, text=True, check=True)
        text, data, bss = (int(word) for word in run.stdout.splitlines()[1].split()[:3])
        found[part] = (text + data, data + bss)
    return found


def _stack() -> int:
    """The deepest stack of an Uno that trains, reads gradients and saves."""
    chosen = task((2, 3, 1))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "firmware"
        image = built("uno", chosen, folder)
        simulator = simulators.start("uno", image, folder)
        with simulator, Device(open_port(simulator.port)) as device:
            device.hello()
            for _ in device.train_many(_samples(chosen, 100)):
                pass
            deltas = device.backward(chosen.a0[0], target_of(chosen.model, chosen.t[0]))
            device.gradient(deltas.tag)
            device.set_parameters(device.parameters())
            device.save()
        return int(simulator.stats["stack_peak"])


def _samples(chosen: Task, steps: int) -> list[Sample]:
    order = [i % len(chosen.a0) for i in range(steps)]
    return [Sample(chosen.a0[i], target_of(chosen.model, chosen.t[i])) for i in order]


@contextmanager
def traced(chosen: Task, baud: int) -> Iterator[tuple[Device, Callable[[], list[Frame]]]]:
    """
    A simulated Uno held back to real time, greeted; and what tells its frames once it is closed.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "firmware"
        trace = Path(name) / "trace.csv"
        image = built("uno", chosen, folder, baud)
        simulator = simulators.start("uno", image, folder, baud=baud, pace=True, trace=trace)
        with simulator, Device(open_port(simulator.port, baud)) as device:
            device.hello()
            device.reset_model()
            yield device, lambda: frames
        frames = _frames(trace)


def _frames(trace: Path) -> list[Frame]:
    """The frames of a trace that are whole, by the time of their last byte."""
    found = []
    pieces: dict[str, list[tuple[int, int]]] = {"rx": [], "tx": []}
    with trace.open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            piece = pieces[line["direction"]]
            cycle, byte = int(line["cycle"]), int(line["byte"])
            if byte != 0:
                piece.append((cycle, byte))
            elif piece:
                try:
                    frame = wire.decode(bytes(byte for _, byte in piece))
                except wire.FrameError:
                    frame = None
                if frame is not None:
                    found.append(Frame(frame.type, len(piece) + 2, piece[0][0], cycle))
                piece.clear()
    return found


def show(rows: Sequence[Row]) -> str:
    """The rows as text."""
    cells = [(r.what, r.value, r.target, "missed" if r.missed else "met") for r in rows]
    return table(("what", "value", "target", ""), cells)

"""Board against twin, bit for bit, on every simulated board: training, gradients, memory."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.tables import progress, table
from bpgen import targets
from bpgen.generation import view_of
from bpgen.qformat import IntArray
from bpgen.twin import Twin
from bpgen.wire import Capability
from bpgen_host import simulators
from bpgen_host.compare import compare_gradient
from bpgen_host.device import Device, Sample, target_of
from bpgen_host.link import open_port
from tests.host.boards import Task, built, task

BOARDS = ("uno", "mega2560", "stm32f100", "stm32f405", "microbit", "rv32")
NETS = ((2, 2, 1), (4, 8, 3), (3, 5, 2, 4), (64, 32, 10))
STEPS = 1000
QUICK_STEPS = 50
GRADIENTS = 20


@dataclass(frozen=True)
class Row:
    """
    One network on one board.

    `differing_bits` counts over all replies, final parameters and gradients, `gradients` are the
    elements of the latter, and `outside` those beyond the running bound. Memory is in bytes:
    `state` is that of the network, `flash` and `ram` of the whole image without its stack, `stack`
    the deepest seen (None where the emulator cannot see it), `room` what is left of the RAM.
    """

    board: str
    net: str
    update: str
    steps: int
    gradients: int
    differing_bits: int
    outside: int
    worst_share: float
    flash: int
    state: int
    ram: int
    stack: int | None
    room: int | None
    saves: bool
    missed: tuple[str, ...]


def measure(*, quick: bool = False, only: str = "") -> list[Row]:
    """All boards and the networks that fit them, or those whose "board net" has `only` in it."""
    rows = []
    for board in BOARDS:
        for sizes in NETS:
            name = "-".join(map(str, sizes))
            target = targets.target(board)
            update = "residual"
            chosen = task(sizes, update)
            view = view_of(chosen.model, "net")
            if not targets.fits(view, target, firmware=True).fits:
                # 2 bytes a weight in place of 3.
                update = "stochastic"
                chosen = task(sizes, update)
                view = view_of(chosen.model, "net")
            if only in f"{board} {name}" and targets.fits(view, target, firmware=True).fits:
                progress(f"boards: {board} {name}")
                steps = QUICK_STEPS if quick else STEPS
                rows.append(_row(target, name, update, chosen, view.state_size, steps))
    return rows


def _row(
    target: targets.Target, net: str, update: str, chosen: Task, state: int, steps: int
) -> Row:
    with tempfile.TemporaryDirectory(prefix="bpgen-boards-") as name:
        folder = Path(name) / "firmware"
        image = built(target.name, chosen, folder)
        simulator = simulators.start(target.name, image, folder)
        with simulator, Device(open_port(simulator.port)) as device:
            device.hello()
            device.reset_model()
            differing = _train(device, chosen, steps)
            elements, bits, outside, worst = _gradients(device, chosen)
            saves = bool(device.info.capabilities & Capability.STORE)
        stack = simulator.stats.get("stack_peak")
        flash, ram = _size(image, target)
    room = None if target.ram_bytes is None else target.ram_bytes - ram - (stack or 0)
    return Row(
        target.name,
        net,
        update,
        steps,
        elements,
        differing + bits,
        outside,
        worst,
        flash,
        state,
        ram,
        stack,
        room,
        saves,
        ("bits",) if differing + bits or outside else (),
    )


def _size(image: Path, target: targets.Target) -> tuple[int, int]:
    """Bytes of flash and of RAM that an image takes: text and data, data and bss."""
    tool = target.family.command.removesuffix("gcc") + "size"
    run = subprocess.run([tool, str(image)], capture_output=True, text=True, check=True)
    text, data, bss = (int(word) for word in run.stdout.splitlines()[1].split()[:3])
    return text + data, data + bss


def _train(device: Device, chosen: Task, steps: int) -> int:
    """Bits that differ in the replies to `steps` steps and in the parameters behind them."""
    model, a0, t = chosen.model, chosen.a0, chosen.t
    twin, differing = Twin(model), 0
    order = [i % len(a0) for i in range(steps)]
    samples = [Sample(a0[i], target_of(model, t[i])) for i in order]
    for i, reply in zip(order, device.train_many(samples), strict=True):
        y = twin.forward(a0[i : i + 1])[-1]
        if reply.y is not None and reply.loss is not None:
            loss = min(int(twin.losses(y, t[i : i + 1])[0]), 2**32 - 1)
            differing += _bits(reply.y, y[0]) + (reply.loss ^ loss).bit_count()
        twin.train(a0[i : i + 1], t[i : i + 1])
    return differing + _bits(device.parameters(), twin.parameters()[0])


def _gradients(device: Device, chosen: Task) -> tuple[int, int, int, float]:
    """Elements, differing bits, elements outside the bound, and the worst share of it."""
    elements = bits = outside = 0
    worst = 0.0
    for i in range(GRADIENTS):
        result = compare_gradient(device, chosen.model, chosen.a0[i], chosen.t[i])
        elements += len(result.rows)
        device_raws = np.array([row.device for row in result.rows])
        bits += _bits(device_raws, np.array([row.twin for row in result.rows]))
        outside += result.outside
        if result.worst_share is not None:
            worst = max(worst, result.worst_share)
    return elements, bits, outside, worst


def _bits(one: IntArray, other: IntArray) -> int:
    different = np.bitwise_xor(np.asarray(one, np.int64), np.asarray(other, np.int64))
    return sum(int(value & 0xFFFFFFFF).bit_count() for value in different.ravel())


def show(rows: Sequence[Row]) -> str:
    """The rows as text."""
    header = (
        *("board", "net", "update", "steps", "gradient elements", "bits that differ"),
        *("worst / bound", "flash", "state", "RAM", "stack", "RAM left", "SAVE"),
    )

    def number(value: int | None) -> str:
        return "" if value is None else f"{value:,}"

    cells = [
        (
            row.board,
            row.net,
            row.update,
            number(row.steps),
            number(row.gradients),
            number(row.differing_bits),
            f"{row.worst_share:.2f}",
            number(row.flash),
            number(row.state),
            number(row.ram),
            number(row.stack),
            number(row.room),
            "yes" if row.saves else "no",
        )
        for row in rows
    ]
    return table(header, cells)

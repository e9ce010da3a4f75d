"""The boards that the suite of this folder runs on, and the networks they serve."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from bpgen.emit.write import write_folder
from bpgen.floatnet import create
from bpgen.model import IntModel
from bpgen.project import build, flash, project_files
from bpgen.qformat import IntArray
from bpgen.qformat import quantize as raws
from bpgen.quantization import quantize_network
from bpgen.scaling import Scaling
from bpgen.training import Training, sample_order, train
from bpgen.twin import Twin, quantize_input
from bpgen_host import simulators
from bpgen_host.link import Transport, open_port
from bpgen_host.local import LocalTransport

SEED = 7
SAMPLES = 60
IN_PROCESS = "in-process"
SIMULATED = ("posix", "uno", "mega2560", "stm32f100", "stm32f405", "microbit", "rv32")


@dataclass(frozen=True, eq=False)
class Task:
    """A network before its training, and raws a0 [n][n_in] and one-hot t [n][n_out] to learn."""

    model: IntModel
    a0: IntArray
    t: IntArray


@cache
def task(sizes: tuple[int, ...], update: str = "residual") -> Task:
    """Random blobs, one a class: as many features and classes as `sizes` has inputs and outputs."""
    rng = np.random.default_rng([SEED, *sizes])
    classes = np.arange(SAMPLES) % max(2, sizes[-1])
    x = rng.normal(size=(max(2, sizes[-1]), sizes[0]))[classes]
    x = (x + 0.4 * rng.normal(size=x.shape)).round(3)
    t = np.eye(sizes[-1])[classes] if sizes[-1] > 1 else classes[:, np.newaxis].astype(float)
    scaling = Scaling.fit(x, "minmax")
    net, training = create(sizes, seed=SEED), Training(learning_rate=0.2, epochs=10, seed=SEED)
    ranges = train(net.copy(), scaling.apply(x), t, training).ranges
    model = quantize_network(
        net,
        training,
        ranges,
        scaling=scaling,
        features=[f"x{i}" for i in range(sizes[0])],
        targets=["t"],
        labels=[f"class {i}" for i in range(sizes[-1])] if sizes[-1] > 1 else [],
        update=update,
    )
    a0 = quantize_input(model, scaling.counts(x))
    return Task(model, a0, raws(t, model.output.a_format.frac, -32768, 32767))


def trained(chosen: Task, epochs: int, seed: int) -> Twin:
    """The twin after the steps that a session with that plan makes."""
    twin = Twin(chosen.model)
    for epoch in range(epochs):
        for i in sample_order(len(chosen.a0), epoch, seed):
            twin.train(chosen.a0[i : i + 1], chosen.t[i : i + 1])
    return twin


@dataclass(frozen=True, eq=False)
class Dut:
    """
    A board under test that serves the network of `task`.

    `open` gives a new line to it. `press_reset` is its reset button, and None for a board that only
    its line can reset. `saves` is whether what it saves is there after a reset.
    """

    board: str
    task: Task
    open: Callable[[], Transport]
    press_reset: Callable[[], None] | None
    saves: bool


@contextmanager
def in_process(chosen: Task) -> Iterator[Dut]:
    """The firmware compiled into this process."""
    board = LocalTransport(chosen.model)
    try:
        yield Dut(IN_PROCESS, chosen, lambda: board, board.reset, saves=True)
    finally:
        board.close()


def built(board: str, chosen: Task, folder: Path, baud: int = 115_200) -> Path:
    """The board's image, made in `folder` as `bpgen new` and make do."""
    write_folder(folder, project_files(chosen.model, "net", board, baud))
    return build(folder)


@contextmanager
def simulated(board: str, chosen: Task, folder: Path) -> Iterator[Dut]:
    """The board's own image in its simulator."""
    with simulators.start(board, built(board, chosen, folder), folder) as simulator:
        yield Dut(
            board,
            chosen,
            lambda: open_port(simulator.port),
            simulator.reset,
            saves=board in ("posix", "uno", "mega2560", "microbit"),
        )


@contextmanager
def real(board: str, port: str, chosen: Task, folder: Path) -> Iterator[Dut]:
    """A board on the desk, which gets the suite's firmware first."""
    built(board, chosen, folder)
    flash(folder, variables=[f"PORT={port}"])
    yield Dut(board, chosen, lambda: open_port(port), None, saves=True)

"""
A simulated Uno learns iris over its serial line: the last part of `make demo`.

Builds the firmware as `bpgen new` and `make` do, runs the image in the AVR simulator, and trains it
from the host, one sample at a time, with the integer twin beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bpgen.emit.write import write_folder
from bpgen.model import IntModel
from bpgen.project import build, project_files
from bpgen.qformat import IntArray
from bpgen.training import sample_order
from bpgen.twin import Twin
from bpgen_host.device import Device
from bpgen_host.link import open_port
from bpgen_host.session import Plan, Session
from bpgen_host.simulators import start

BOARD = "uno"
BAUD = 1_000_000


@dataclass(frozen=True)
class BoardRun:
    """What the board showed; `loss` is the mean of each epoch, from before each update."""

    steps: int
    seconds: float
    faults: str
    loss: tuple[float, ...]
    differing: int
    parameters: int


def learn(
    model: IntModel, a0: IntArray, t: IntArray, epochs: int, seed: int, folder: Path
) -> BoardRun:
    """
    Let the board learn raws a0 [n][n_in] and t [n][n_out] from scratch.

    The project is written to `folder`, where the board's EEPROM file is as well.
    """
    write_folder(folder, project_files(model, "iris", BOARD, BAUD), force=True)
    image = build(folder)
    with (
        start(BOARD, image, folder, baud=BAUD) as simulator,
        Device(open_port(simulator.port, BAUD)) as device,
    ):
        device.hello()
        with Session(device, model, a0, t, Plan(epochs, seed)) as session:
            outcome = session.run()
        on_board = device.parameters()
        return BoardRun(
            outcome.steps,
            outcome.seconds,
            str(device.faults),
            outcome.loss,
            int((on_board != twin(model, a0, t, epochs, seed)).sum()),
            model.parameter_count,
        )


def twin(model: IntModel, a0: IntArray, t: IntArray, epochs: int, seed: int) -> IntArray:
    """Parameters after the same steps in NumPy."""
    network = Twin(model)
    for epoch in range(epochs):
        for i in sample_order(len(a0), epoch, seed):
            network.train(a0[i : i + 1], t[i : i + 1])
    return network.parameters()[0]

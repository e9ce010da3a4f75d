"""A real image behind a line that damages its bytes and a reset button that somebody presses."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bpgen_host import simulators
from bpgen_host.device import Device, Faults
from bpgen_host.link import Transport, Wrapper, open_port
from bpgen_host.session import Plan, Progress, Session
from tests.host.boards import built, task, trained

SEED = 11


class NoisyLine(Wrapper):
    """A transport to `inner` that flips, drops, doubles or inserts bytes, `rate` of them."""

    def __init__(self, inner: Transport, rate: float, seed: int = SEED) -> None:
        super().__init__(inner)
        self.rate = rate
        self.rng = np.random.default_rng(seed)
        self.faults = 0

    def read(self, timeout: float) -> bytes:
        return self._damaged(super().read(timeout))

    def write(self, data: bytes) -> None:
        super().write(self._damaged(data))

    def _damaged(self, data: bytes) -> bytes:
        out = bytearray()
        for byte, hit in zip(data, self.rng.random(len(data)) < self.rate, strict=True):
            if not hit:
                out.append(byte)
                continue
            self.faults += 1
            kind = self.rng.integers(4)
            if kind == 0:
                out.append(byte ^ 1 << int(self.rng.integers(8)))
            elif kind == 1:
                out += bytes((byte, byte))
            elif kind == 2:
                out += bytes((byte, int(self.rng.integers(256))))
        return bytes(out)


@dataclass(frozen=True)
class Soak:
    """What a run over noise showed; `wrong` counts parameters that are not the twin's."""

    steps: int
    byte_faults: int
    restarts: int
    repeated: int
    wrong: int
    faults: Faults


def soak_uno(steps: int, resets: int, rate: float) -> Soak:
    """
    Train 2-3-1 on a simulated Uno `steps` times over a line that damages `rate` of its bytes.

    Its reset button is pressed `resets` times, evenly spread. The board saves its state now and
    then, so that it goes on from there.
    """
    chosen = task((2, 3, 1))
    epochs = -(-steps // len(chosen.a0))
    total = epochs * len(chosen.a0)
    presses = [total * (i + 1) // (resets + 1) for i in range(resets)]
    with tempfile.TemporaryDirectory(prefix="bpgen-noise-") as name:
        folder = Path(name) / "firmware"
        image = built("uno", chosen, folder)
        with simulators.start("uno", image, folder) as simulator:

            def press(progress: Progress) -> None:
                if presses and progress.step >= presses[0]:
                    presses.pop(0)
                    simulator.reset()

            line = NoisyLine(open_port(simulator.port), rate)
            with Device(line) as device:
                device.hello()
                with Session(
                    device,
                    chosen.model,
                    chosen.a0,
                    chosen.t,
                    Plan(epochs, SEED),
                    check_every=50,
                    save_every=100,
                    group=1,
                    on_progress=press,
                ) as session:
                    outcome = session.run()
                twin = trained(chosen, epochs, SEED)
                wrong = int((device.parameters() != twin.parameters()[0]).sum())
                return Soak(
                    outcome.steps,
                    line.faults,
                    outcome.restarts,
                    outcome.repeated,
                    wrong,
                    device.faults,
                )

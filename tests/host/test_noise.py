"""The real image of an Uno over a line that damages one byte in a hundred, with resets."""

from __future__ import annotations

from collections.abc import Callable

from tests.host.conftest import TOOLS
from tests.host.noise import soak_uno

STEPS = 2000
RESETS = 10


def test_an_uno_does_every_step_once_over_noise_and_resets(tool: Callable[[str], str]) -> None:
    for name in TOOLS["uno"]:
        tool(name)
    found = soak_uno(STEPS, RESETS, 0.01)
    assert found.steps >= STEPS
    assert found.restarts >= RESETS
    assert found.byte_faults > STEPS * 0.2
    assert found.faults.total > 0
    assert found.wrong == 0

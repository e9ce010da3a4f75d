"""The simulator, built once, and a bench for each test."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.sim.avr_bench import FIRMWARE, Bench, Tool


@pytest.fixture(scope="session")
def simulator(tool: Tool, tmp_path_factory: pytest.TempPathFactory) -> Path:
    tool("/usr/include/simavr/sim_avr.h")
    program = tmp_path_factory.mktemp("avr") / "avr_sim"
    # fmt: off
    subprocess.run(
        [tool("gcc"), "-O2", "-Wall", "-Wextra", "-Werror", FIRMWARE / "sim" / "avr.c",
         "-o", program, "-lsimavr", "-lelf"],
        check=True,
    )
    # fmt: on
    return program


@pytest.fixture
def bench(simulator: Path, tool: Tool, tmp_path: Path) -> Bench:
    return Bench(simulator, tool("avr-gcc"), tmp_path)

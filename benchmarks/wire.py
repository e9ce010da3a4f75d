"""The serial line: exactly-once under faults, power cuts, steps a second, gradients, code size."""

from __future__ import annotations

import csv
import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.tables import progress, table
from bpgen import wire
from bpgen.targets import target
from bpgen_host import simulators
from bpgen_host.device import Device, Sample, target_of
from bpgen_host.link import open_port
from tests.host import power_cuts, soak
from tests.host.boards import Task, built, lossy_uno_steps, task

STEPS = 2000
SOAK_STEPS = 2_000_000
UNO_SOAK_STEPS = 2000
UNO_RESETS = 10
BIT_TIMES = 10  # of a byte on the line

MAX_CODE = 2_662  # 2.6 KB
MAX_RAM = 200
MAX_STACK = 200


@dataclass(frozen=True)
class Row:
    """A figure, its bound, and whether it is met."""

    what: str
    value: str
    bound: str
    missed: tuple[str, ...]


def measure(*, quick: bool = False) -> list[Row]:
    """All rows; `quick` with a hundredth of the steps and scenarios."""
    rows = []
    for row in (_soak, _uno_soak, _power_cuts, _slow_line, _fast_line, _gradient):
        progress(f"wire: {row.__name__.strip('_').replace('_', ' ')}")
        rows += row(quick)
    return rows

"""Wherever the power is cut, the store loses nothing and loads no garbage; the rig would see it."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from bpgen.emit.device import BoardConstants
from bpgen_host.local import firmware
from tests.bitexact.build import replaced
from tests.compile.models import trainable

Tool = Callable[[str], str]

RIG = Path(__file__).with_name("power_cuts.c")
STORE = "bpgen_store.c"
MODEL = trainable((2, 3, 1), ("sigmoid", "sigmoid"), "squared_error", "residual")

# Bytes of store, unit, erases: byte-wise EEPROM of two records, and flash whose areas hold three.
MEMORIES = {"eeprom": (256, 1, False), "flash-2": (512, 2, True), "flash-4": (512, 4, True)}
FAULTS = ("lost", "garbage", "failed", "unnoticed", "misuse")


def write(folder: Path, memory: str) -> None:
    """The firmware's sources, for a board with that memory."""
    size, unit, erases = MEMORIES[memory]
    constants = BoardConstants(63, 60, 115_200, 0, size, unit, erases, 10_000)
    for name, text in firmware(MODEL, constants).items():
        (folder / name).write_text(text, encoding="utf-8")


def run_rig(gcc: str, folder: Path, *arguments: str) -> dict[str, int]:
    rig = folder / "power_cuts"
    command = [gcc, "-std=c99", "-O2", "-Wall", "-I", folder, RIG, folder / "bpgen_kernels.c"]
    subprocess.run([*command, "-o", rig], check=True)
    run = subprocess.run([rig, *arguments], capture_output=True, text=True, check=True, timeout=120)
    found: dict[str, int] = json.loads(run.stdout)
    return found


def test_a_million_power_cuts_lose_nothing_and_load_no_garbage(tool: Tool, tmp_path: Path) -> None:
    scenarios = 0
    for memory in MEMORIES:
        folder = tmp_path / memory
        folder.mkdir()
        write(folder, memory)
        # On flash twice through both areas.
        found = run_rig(tool("gcc"), folder, "4" if memory == "eeprom" else "9")
        assert {fault: found[fault] for fault in FAULTS} == dict.fromkeys(FAULTS, 0), found
        scenarios += found["scenarios"]
    assert scenarios >= 1_000_000, scenarios


@pytest.mark.parametrize(
    ("memory", "old", "new", "fault"),
    [
        ("eeprom", "j->crc == record_crc(address)", "1", "garbage"),
        ("flash-2", "j->crc == record_crc(address)", "1", "garbage"),
        ("eeprom", "newest == 0 ? AREA : 0u", "newest & 0u", "lost"),
        ("flash-4", "end == AREA ? AREA : 0u", "end == AREA ? 0u : AREA", "lost"),
        ("eeprom", "(int16_t)(j->sequence - sequence) > 0", "j->sequence > sequence", "failed"),
        ("flash-2", "!is_blank(address)", "0", "failed"),
        (
            "eeprom",
            "job.left == 0 || find_newest(HEAD) == job.address",
            "(job.left = 0) == 0",
            "unnoticed",
        ),
        ("flash-4", "j->crc = record_crc(NONE);", "", "failed"),
        ("flash-4", "j->erase = 1;", "", "failed"),
    ],
    ids=[
        "no-crc",
        "no-crc-on-flash",
        "one-slot",
        "erases-the-newest",
        "unsigned-sequence",
        "writes-over-torn-slots",
        "reads-nothing-back",
        "crc-of-nothing",
        "never-erases",
    ],
)
def test_the_rig_sees_a_store_that_is_not_safe(
    tool: Tool, tmp_path: Path, memory: str, old: str, new: str, fault: str
) -> None:
    write(tmp_path, memory)
    replaced(tmp_path, STORE, old, new)
    assert run_rig(tool("gcc"), tmp_path, "3" if memory == "eeprom" else "5")[fault] > 0


def test_a_restart_of_the_rig_clears_all_variables_of_the_store(tool: Tool, tmp_path: Path) -> None:
    write(tmp_path, "flash-2")
    made = tmp_path / "store.o"
    subprocess.run([tool("gcc"), "-std=c99", "-c", tmp_path / STORE, "-o", made], check=True)
    symbols = subprocess.run(["nm", made], capture_output=True, text=True, check=True).stdout
    assert re.findall(r" [bBdDC] (\w+)", symbols) == ["job"]

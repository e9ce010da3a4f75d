"""Over a bad line and through resets every step is done once; and the soak would see it if not."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from bpgen.emit.device import BoardConstants
from bpgen_host.local import firmware
from tests.bitexact.build import replaced
from tests.compile.models import trainable

Tool = Callable[[str], str]

SOAK = Path(__file__).with_name("soak.c")
MODEL = trainable((2, 3, 1), ("sigmoid", "sigmoid"), "squared_error", "residual")

# An Uno's frames in a window of several, and a store of two records.
BOARD = BoardConstants(191, 60, 115_200, 0, 256, 1, False, 100_000)
FAULTS = ("extra", "missing", "wrong", "unexpected")
SOURCES = ("bpgen_link.c", "bpgen_device.c", "bpgen_kernels.c", "net.c")


def write(folder: Path) -> None:
    for name, text in firmware(MODEL, BOARD).items():
        (folder / name).write_text(text, encoding="utf-8")


def run_soak(gcc: str, folder: Path, steps: int) -> dict[str, int]:
    soak = folder / "soak"
    sources = [folder / name for name in SOURCES]
    command = [gcc, "-std=c99", "-O2", "-Wall", "-I", folder, SOAK, *sources]
    subprocess.run([*command, "-o", soak], check=True)
    run = subprocess.run(
        [soak, str(steps)], capture_output=True, text=True, check=True, timeout=120
    )
    found: dict[str, int] = json.loads(run.stdout)
    return found


def test_two_million_steps_over_a_bad_line_are_each_done_once(tool: Tool, tmp_path: Path) -> None:
    write(tmp_path)
    found = run_soak(tool("gcc"), tmp_path, 2_000_000)
    assert {fault: found[fault] for fault in FAULTS} == dict.fromkeys(FAULTS, 0), found
    assert found["steps"] >= 2_000_000
    assert found["byte_faults"] > 1_000_000
    assert found["resets"] > 1_000
    assert found["saves"] > 1_000


CRC = "is32(state.frame + received - 4, crc_of(FRAME, state.frame + received - 4))"


@pytest.mark.parametrize(
    ("source", "old", "new", "fault"),
    [
        ("bpgen_link.c", "!same(p, &state.gen, 4)", "0", "extra"),
        ("bpgen_link.c", f"!{CRC}", "0", "wrong"),
        ("bpgen_link.c", "type == BP_TRAIN_N ? p[5] : 1u", "1u", "missing"),
        ("bpgen_link.c", "bp_store_load(&state.gen) != 0", "1", "missing"),
        ("bpgen_store.c", "read_record(newest, CRC_AT);", "read_record(newest, HEAD);", "wrong"),
        ("bpgen_store.c", "*gen = job.gen;", "*gen = job.gen - 1;", "missing"),
    ],
    ids=[
        "no-gen",
        "no-crc",
        "gen-counts-requests",
        "loads-nothing",
        "loads-no-weights",
        "loads-another-gen",
    ],
)
def test_the_soak_sees_firmware_that_is_not_safe(
    tool: Tool, tmp_path: Path, source: str, old: str, new: str, fault: str
) -> None:
    write(tmp_path)
    replaced(tmp_path, source, old, new)
    assert run_soak(tool("gcc"), tmp_path, 200_000)[fault] > 0

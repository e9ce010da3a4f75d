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


CRC = "frame_crc(s, (uint8_t)n) == 0xDEBB20E3u"


@pytest.mark.parametrize(
    ("source", "old", "new", "fault"),
    [
        ("bpgen_link.c", "s->frame.is.gen != s->gen", "0", "extra"),
        ("bpgen_link_frames.h", CRC, "1", "wrong"),
        ("bpgen_link.c", "s->gen += n;", "s->gen++;", "missing"),
        ("bpgen_link.c", "(void)bp_store_load(&s->gen);", "", "missing"),
        ("bpgen_store.c", "find_newest(USED)", "find_newest(HEAD)", "wrong"),
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

"""
The ports of this machine and of the boards that QEMU has, with probe.c in the place of the link.

What is held here is what link and store take for granted: no byte is lost or changed, losses are
counted, a reset is noticed, memory keeps what it accepted.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import serial

from bpgen.errors import BpgenError
from bpgen.project import build, project_files
from bpgen.targets import target
from bpgen.wire import ResetCause
from bpgen_host.simulators import Simulator, start
from tests.compile.models import trainable

HERE = Path(__file__).parent
TOOLS = {
    "posix": ("gcc",),
    "stm32f100": ("arm-none-eabi-gcc", "qemu-system-arm"),
    "stm32f405": ("arm-none-eabi-gcc", "qemu-system-arm"),
    "microbit": ("arm-none-eabi-gcc", "qemu-system-arm"),
    "rv32": ("riscv64-unknown-elf-gcc", "qemu-system-riscv32"),
}
ON_QEMU = tuple(board for board in TOOLS if board != "posix")

Images = Callable[[str], Path]


class Probe:
    """The host's end of a line to probe.c."""

    def __init__(self, running: Simulator) -> None:
        self.running = running
        self.port = serial.Serial(running.port, running.baud, timeout=10)
        # What is said before the receiver is on is lost, so ask until there is an answer; then
        # skip all answers but that to a marker.
        for _ in range(50):
            self.port.timeout = 0.2
            self.port.write(b"b")
            if self.port.read_until(b"b").endswith(b"b"):
                break
        self.port.timeout = 10
        marker = bytes(range(200, 232))
        self.port.write(b"e" + u16(len(marker)) + marker)
        assert self.port.read_until(marker).endswith(marker)

    def ask(self, request: bytes, count: int) -> bytes:
        """Send a request, which must be answered by that many bytes."""
        self.port.write(request)
        return self.hear(count)

    def hear(self, count: int) -> bytes:
        heard = self.port.read(count)
        assert len(heard) == count
        return heard

    def boots(self) -> int:
        return int.from_bytes(self.ask(b"b", 4)[1:3], "little")

    def press_reset(self) -> tuple[int, int]:
        """Reset the board; how often it then has started, and why, from what it says at once."""
        self.running.reset()
        said = self.hear(4)
        assert said[:1] == b"B"
        return int.from_bytes(said[1:3], "little"), said[3]

    def read_store(self, first: int, count: int) -> bytes:
        return b"".join(self.ask(b"r" + u16(first + i), 1) for i in range(count))

    def erase(self, area: int) -> int:
        """Erase an area, in as many calls as it takes; 0 or -1."""
        while (result := self.ask(b"x" + bytes([area]), 1)) == b"\1":
            pass
        return int.from_bytes(result, "little", signed=True)

    def write_store(self, address: int, unit: bytes) -> int:
        return int.from_bytes(self.ask(b"w" + u16(address) + unit, 1), "little", signed=True)


def u16(value: int) -> bytes:
    return value.to_bytes(2, "little")


@pytest.fixture(scope="module")
def images(
    tool: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """Build probe.c for a board, with the files and the Makefile of a project; its ELF file."""
    made: dict[str, Path] = {}
    model = trainable((2, 3, 1), ("tanh", "sigmoid"), "squared_error", "residual")

    def image(board: str) -> Path:
        if board not in made:
            for name in TOOLS[board]:
                tool(name)
            folder = tmp_path_factory.mktemp(board)
            files = project_files(model, "net", board)
            files["main.c"] = (HERE / "probe.c").read_text(encoding="utf-8")
            for name, text in files.items():
                (folder / name).write_text(text, encoding="utf-8")
            made[board] = build(folder)
        return made[board]

    return image


@contextmanager
def switched_on(
    board: str, image: Path, folder: Path | None = None, count: tuple[str, ...] = ()
) -> Iterator[Probe]:
    with start(board, image, folder, count=count) as running:
        probe = Probe(running)
        try:
            yield probe
        finally:
            probe.port.close()


@pytest.fixture(scope="module", params=TOOLS)
def probe(request: pytest.FixtureRequest, images: Images) -> Iterator[Probe]:
    with switched_on(request.param, images(request.param)) as on:
        yield on


def test_ten_kilobytes_come_back_as_they_were_sent(probe: Probe) -> None:
    sent = np.random.default_rng(1).bytes(10_240)
    heard = probe.ask(b"e" + u16(len(sent)), 0)
    for at in range(0, len(sent), 256):
        heard += probe.ask(sent[at : at + 256], 256)
    assert heard == sent


def test_what_arrives_while_the_board_computes_waits_up_to_the_window(probe: Probe) -> None:
    port = target(probe.running.board).port
    assert port is not None
    sent = np.random.default_rng(2).bytes(port.constants.window - 3)
    assert probe.ask(b"p" + u16(50) + b"e" + u16(len(sent)) + sent, len(sent)) == sent


def test_a_reset_starts_the_board_again_and_is_counted(probe: Probe) -> None:
    before = probe.boots()
    assert probe.press_reset()[0] == before + 1
    assert probe.press_reset()[0] == before + 2
    assert probe.boots() == before + 2


def test_a_host_may_close_the_port_and_come_back(probe: Probe) -> None:
    before = probe.boots()
    for _ in range(3):
        probe.port.close()
        probe.port.open()
        assert probe.boots() == before


@pytest.mark.parametrize("board", TOOLS)
def test_power_on_is_the_first_start(board: str, images: Images) -> None:
    with switched_on(board, images(board)) as probe:
        said = probe.ask(b"b", 4)
    assert said == b"b" + u16(1) + bytes([ResetCause.POWER_ON])


@pytest.mark.parametrize("board", ON_QEMU)
def test_what_does_not_fit_the_ring_is_lost_and_counted(board: str, images: Images) -> None:
    window, too_many = 511, 20
    sent = np.random.default_rng(3).bytes(window + too_many)
    with switched_on(board, images(board)) as probe:
        heard = probe.ask(b"d" + u16(too_many) + sent, window + 2)
    assert heard[:window] == sent[:window]
    assert heard[window:] == u16(too_many)


def test_the_microbits_flash_keeps_what_was_written_across_a_reset(images: Images) -> None:
    with switched_on("microbit", images("microbit")) as probe:
        assert [probe.erase(area) for area in (0, 1)] == [0, 0]
        assert probe.read_store(0, 8) == probe.read_store(2048, 8) == b"\xff" * 8
        assert probe.write_store(4, b"abcd") == 0
        assert probe.write_store(2048 + 1020, b"efgh") == 0
        probe.press_reset()
        assert probe.read_store(0, 12) == b"\xff" * 4 + b"abcd" + b"\xff" * 4
        assert probe.read_store(2048 + 1020, 8) == b"efgh" + b"\xff" * 4
        # A bit that is 0 becomes 1 by erasing only.
        assert probe.write_store(4, b"bcde") == -1
        assert probe.erase(0) == 0
        assert probe.read_store(4, 4) == b"\xff" * 4
        assert probe.read_store(2048 + 1020, 4) == b"efgh"


def test_the_microbit_erases_every_page_of_an_area_however_blank(images: Images) -> None:
    """What a power cut left half erased may read as blank; one page a call, two an area."""
    erase, write = (b"x\0", b"x\1"), b"w" + u16(0) + b"abcd"
    with switched_on("microbit", images("microbit")) as probe:
        for area in (0, 1, 1, 0, 0):
            assert [probe.ask(erase[area], 1) for _ in range(2)] == [b"\1", b"\0"]
        # One that was given up is not gone on with after the other area's or a write.
        assert [probe.ask(erase[area], 1) for area in (0, 1, 0, 0)] == [b"\1", b"\1", b"\1", b"\0"]
        assert [probe.ask(request, 1) for request in (erase[0], write)] == [b"\1", b"\0"]
        assert [probe.ask(erase[0], 1) for _ in range(2)] == [b"\1", b"\0"]
        assert probe.read_store(0, 4) == b"\xff" * 4


@pytest.mark.parametrize("board", ["stm32f100", "stm32f405"])
def test_a_flash_that_takes_nothing_is_noticed(board: str, images: Images) -> None:
    """QEMU's STM32 have no flash controller: what is written or erased stays as it was."""
    unit = b"abcd"[: 2 if board == "stm32f100" else 4]
    with switched_on(board, images(board)) as probe:
        assert probe.erase(1) == -1
        assert probe.write_store(8, unit) == -1


def test_the_store_of_this_machine_is_a_file(tmp_path: Path, images: Images) -> None:
    with switched_on("posix", images("posix"), tmp_path) as probe:
        assert probe.write_store(32_767, b"z") == 0
        probe.press_reset()
        assert probe.read_store(32_766, 2) == b"\xffz"
    with switched_on("posix", images("posix"), tmp_path) as probe:
        assert probe.read_store(32_766, 2) == b"\xffz"


@pytest.mark.parametrize("board", ON_QEMU)
def test_instructions_are_counted_exactly_whatever_interrupts(board: str, images: Images) -> None:
    """Bytes arrive while a loop runs."""
    loops = (7, 60_000, 60_000)
    seen = []
    for _ in range(2):
        names = ("counted", "jumping", "bp_port_reset")
        with switched_on(board, images(board), count=names) as probe:
            for n in loops:
                probe.ask(b"n" + u16(n), 1)
            assert probe.ask(b"j" + u16(50_000) + b"bb", 9)[:1] == b"j"
        seen.append(probe.running.stats["functions"])
    first, second = seen
    counts = [2 * n + 1 for n in (*loops, 50_000)]
    assert first["counted"] == {
        "calls": 4, "min": min(counts), "max": max(counts), "mean": sum(counts) / 4,
    }  # fmt: skip
    assert first["jumping"] == {
        "calls": 1, "min": 100_002, "max": 100_002, "mean": 100_002.0,
    }  # fmt: skip
    # How often it is asked for its boots until the line is up is not the firmware's choice.
    for run in seen:
        del run["bp_port_reset"]["calls"]
    assert first == second


@pytest.mark.parametrize("board", ["posix", "microbit"])
def test_a_board_is_gone_when_it_is_closed(board: str, images: Images) -> None:
    running = start(board, images(board))
    assert is_running(running.process_id)
    running.close()
    assert not is_running(running.process_id)
    running.close()
    with pytest.raises(BpgenError, match=f"the simulator of {board} does not run: it ended"):
        running.reset()


def test_a_board_ends_with_a_host_that_is_killed(tmp_path: Path, images: Images) -> None:
    image = images("microbit")
    host = subprocess.Popen(
        [
            sys.executable, "-c",
            "import sys, pathlib, time; from bpgen_host.simulators import start\n"
            "running = start('microbit', pathlib.Path(sys.argv[1]))\n"
            "print(running.process_id, flush=True); time.sleep(60)",
            str(image),
        ],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    with host:
        assert host.stdout is not None
        board = int(host.stdout.readline())
        assert is_running(board)
        host.kill()
    for _ in range(100):
        if not is_running(board):
            break
        time.sleep(0.05)
    assert not is_running(board)


def is_running(process: int) -> bool:
    """Whether it is there, and more than an entry that nobody waits for."""
    try:
        os.kill(process, 0)
        state = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(") ")[2]
    except (ProcessLookupError, FileNotFoundError):
        return False
    return state[0] != "Z"


def test_a_simulator_that_ends_at_once_is_quoted(tmp_path: Path) -> None:
    script = tmp_path / "firmware"
    script.write_text("#!/bin/sh\necho no pseudo-terminal: out of them >&2\nexit 1\n")
    script.chmod(0o755)
    with pytest.raises(BpgenError, match="simulator of posix does not run: no pseudo-terminal: "):
        start("posix", script)


def test_a_simulator_that_is_missing_is_named_with_what_installs_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for board, machine, package in (
        ("stm32f100", 40, "qemu-system-arm"),
        ("rv32", 243, "qemu-system-misc"),
        ("uno", 83, "gcc"),
    ):
        image = tmp_path / "net.elf"
        image.write_bytes(b"\x7fELF" + bytes(14) + u16(machine))
        with pytest.raises(BpgenError, match=f"is missing: sudo apt-get install {package}"):
            start(board, image)


def test_what_cannot_be_simulated_is_refused_in_one_sentence(
    tmp_path: Path, images: Images
) -> None:
    with pytest.raises(BpgenError, match="there is no simulator of bluepill: choose one of uno,"):
        start("bluepill", tmp_path)
    with pytest.raises(BpgenError, match=r"there is no firmware .*: build it first"):
        start("posix", tmp_path / "net.elf")
    with pytest.raises(BpgenError, match="is no firmware for uno: build it for this board"):
        start("uno", images("microbit"))
    with pytest.raises(BpgenError, match=r"no function 'countd' \(did you mean 'counted'\?\)"):
        start("microbit", images("microbit"), count=("countd",))
    with pytest.raises(BpgenError, match="nothing is counted on posix"):
        start("posix", images("posix"), count=("counted",))

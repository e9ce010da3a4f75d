"""
Simulated boards: start one with its firmware, and it is a serial port like any other.

AVR boards run on firmware/sim/avr.c (libsimavr), ARM and RISC-V boards on QEMU, posix is a process.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import selectors
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bpgen.data import FIRMWARE
from bpgen.errors import BpgenError, suggestion
from bpgen.targets import target

AVR_CORES = {"uno": "atmega328p", "mega2560": "atmega2560"}

# board -> program, machine and what else QEMU needs to know
QEMU_MACHINES: dict[str, tuple[str, tuple[str, ...]]] = {
    "stm32f100": ("qemu-system-arm", ("-M", "stm32vldiscovery")),
    "stm32f405": ("qemu-system-arm", ("-M", "netduinoplus2")),
    "microbit": ("qemu-system-arm", ("-M", "microbit")),
    # The instruction set of the ESP32-C3, rv32imc.
    "rv32": ("qemu-system-riscv32", ("-M", "virt", "-cpu", "lowrisc-ibex", "-bios", "none")),
}

BOARDS = (*AVR_CORES, *QEMU_MACHINES, "posix")

# e_machine of an ELF file
EM_ARM, EM_AVR, EM_RISCV = 40, 83, 243

PACKAGES = {
    "qemu-system-arm": "qemu-system-arm",
    "qemu-system-riscv32": "qemu-system-misc",
    "gcc": "gcc",
}

# A simulator starts in some 50 ms; a loaded machine takes longer.
START_SECONDS = 20.0
# QEMU and the AVR runner write their counts within milliseconds of a SIGTERM.
END_SECONDS = 5.0


class Simulator:
    """
    A running board. Use as a context manager, or call `close`.

    `port` is the serial port to open, `baud` the rate its firmware was built for. `stats` is what
    the simulator counted, once it is closed: {"functions": {name: {"calls", "min", "max", "mean"}},
    ...} in cycles on AVR, in instructions on QEMU.
    """

    def __init__(self, board: str, baud: int, runner: _Runner) -> None:
        self.board = board
        self.baud = baud
        self.port = runner.port
        self.stats: dict[str, Any] = {}
        self._runner = runner

    def __enter__(self) -> Simulator:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def process_id(self) -> int:
        """The process that is the board."""
        return self._runner.process.pid

    @property
    def running(self) -> bool:
        """Whether the board has not ended by itself."""
        return self._runner.process.poll() is None

    def reset(self) -> None:
        """Press the board's reset button. Raises BpgenError when the simulator has ended."""
        self._runner.reset()

    def close(self) -> None:
        """Switch the board off and fill `stats`. May be called twice."""
        self.stats = self._runner.close() or self.stats


def start(
    board: str,
    image: Path,
    folder: Path | None = None,
    *,
    baud: int = 115200,
    count: Sequence[str] = (),
    pace: bool = False,
    reset_on_open: bool = False,
    boot_ms: int = 0,
    trace: Path | None = None,
) -> Simulator:
    """
    Start a simulated board with the firmware `image`, an ELF file.

    `folder`, made if it is not there, keeps what outlives the power of an AVR or posix board:
    eeprom.bin or store.bin; without it that is lost at the end. `count` names functions of the
    image whose cycles (AVR) or instructions (QEMU) are counted. The rest is for AVR only: `pace`
    holds the board back to real time, `reset_on_open` restarts it when a host opens the port,
    `boot_ms` is how long its boot loader then listens, `trace` is the file for the time of every
    byte.

    The board ends with the thread that starts it, however that ends (on Linux). Raises BpgenError
    when a program is missing, or the simulator ends at once.
    """
    require_simulator(board)
    if os.name != "posix":
        raise BpgenError(
            "simulated boards need Linux or macOS, for their pseudo-terminals: on Windows start "
            "bpgen in WSL"
        )
    _check_image(board, image)
    if board not in AVR_CORES and (pace or reset_on_open or boot_ms or trace):
        raise ValueError(f"pace, reset_on_open, boot_ms and trace are not for {board}")
    if board == "posix" and count:
        raise BpgenError("nothing is counted on posix: choose a board with a simulated core")
    if folder is not None:
        _make(folder)
    scratch = tempfile.TemporaryDirectory(prefix="bpgen-simulator-")
    place = _Place(board, image.resolve(), Path(scratch.name), folder, tuple(count))
    try:
        if board in AVR_CORES:
            runner = _avr(place, pace, reset_on_open, boot_ms, trace)
        elif board in QEMU_MACHINES:
            runner = _qemu(place)
        else:
            runner = _posix(place)
    except BaseException:
        scratch.cleanup()
        raise
    runner.cleanup = scratch.cleanup
    return Simulator(board, baud, runner)


def require_simulator(board: str) -> None:
    """BpgenError, naming those there are, for an unknown board and one that is not simulated."""
    target(board)
    if board not in BOARDS:
        raise BpgenError(f"there is no simulator of {board}: choose one of {', '.join(BOARDS)}")


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BpgenError(
            f"{folder} cannot be made ({error.strerror or error}): choose another folder"
        ) from None


def _check_image(board: str, image: Path) -> None:
    """Refuse what QEMU would take for a raw image, and run."""
    if not image.is_file():
        raise BpgenError(f"there is no firmware {image}: build it first")
    if board == "posix":
        return
    machine = EM_AVR if board in AVR_CORES else EM_RISCV if board == "rv32" else EM_ARM
    with image.open("rb") as file:
        head = file.read(20)
    if head[:4] != b"\x7fELF" or int.from_bytes(head[18:20], "little") != machine:
        raise BpgenError(f"{image} is no firmware for {board}: build it for this board")


@dataclass(frozen=True)
class _Place:
    """What is started, and where: `scratch` is removed at the end, `folder` is the user's."""

    board: str
    image: Path
    scratch: Path
    folder: Path | None
    count: tuple[str, ...]

    @property
    def stats(self) -> Path:
        return self.scratch / "stats.json"

    @property
    def kept(self) -> Path:
        """Where files are that outlive the board's power."""
        return (self.folder or self.scratch).resolve()


class _Runner:
    """The process of a simulator, from the first line it says to its end."""

    def __init__(
        self, place: _Place, command: Sequence[str], environment: dict[str, str] | None = None,
        files: Sequence[int] = (),
    ) -> None:  # fmt: skip
        self.place = place
        self.port = ""
        self.cleanup: Callable[[], None] = lambda: None
        self.press_reset: Callable[[], None] = lambda: self.process.send_signal(signal.SIGUSR1)
        self._complaints = place.scratch / "stderr"
        try:
            with self._complaints.open("wb") as complaints:
                self.process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=complaints,
                    env=environment,
                    pass_fds=files,
                    # A Ctrl-C in the terminal is for us, who then end it.
                    start_new_session=True,
                    preexec_fn=_end_with_parent(),  # noqa: PLW1509 -- it makes one system call
                )
        except OSError as error:
            raise BpgenError(
                f"the simulator of {place.board} cannot be started ({error.strerror}): "
                f"check that {command[0]} is a program for this machine, or make it again"
            ) from None
        self._said = b""
        assert self.process.stdout is not None
        os.set_blocking(self.process.stdout.fileno(), False)

    def line(self) -> str:
        """The next line it says; BpgenError when it ends or stays silent."""
        try:
            return self._line()
        except BaseException:
            self._end()
            raise

    def _line(self) -> str:
        assert self.process.stdout is not None
        deadline = time.monotonic() + START_SECONDS
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._said:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise self.failure(f"it said nothing for {START_SECONDS:.0f} s")
                said = os.read(self.process.stdout.fileno(), 65536)
                if not said:
                    raise self.failure("it ended")
                self._said += said
        line, self._said = self._said.split(b"\n", 1)
        return line.decode(errors="replace").strip()

    def reset(self) -> None:
        if self.process.poll() is not None:
            raise self.failure("it ended")
        self.press_reset()

    def close(self) -> dict[str, Any]:
        """End the process and give what it counted; nothing the second time."""
        self._end()
        try:
            stats = json.loads(self.place.stats.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            stats = {}
        self.cleanup()
        assert isinstance(stats, dict)
        return stats

    def _end(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()

    def failure(self, otherwise: str) -> BpgenError:
        """What to say of a simulator that does not run: its first complaint, if it has any."""
        self._end()
        try:
            said = self._complaints.read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:  # closed
            said = []
        reason = next((line.strip() for line in said if line.strip()), otherwise)
        return BpgenError(f"the simulator of {self.place.board} does not run: {reason}")


def _posix(place: _Place) -> _Runner:
    runner = _Runner(
        place,
        [str(place.image)],
        {**os.environ, "BPGEN_STORE": str(place.kept / "store.bin")},
    )
    runner.port = runner.line()
    return runner


def _avr(
    place: _Place, pace: bool, reset_on_open: bool, boot_ms: int, trace: Path | None
) -> _Runner:
    clock = target(place.board).clock_hz
    link = place.scratch / "port"
    # fmt: off
    command = [
        str(_compiled("avr.c", "avr_sim", libraries=("-lsimavr", "-lelf", "-lutil"))),
        "-m", AVR_CORES[place.board], "-f", str(clock), "--pty", str(link),
        "--eeprom", str(place.kept / "eeprom.bin"), "--stats", str(place.stats),
    ]
    # fmt: on
    command += ["--pace"] if pace else []
    command += ["--reset-on-open"] if reset_on_open else []
    command += ["--boot-ms", str(boot_ms)] if boot_ms else []
    command += ["--trace", str(trace.resolve())] if trace else []
    for name in place.count:
        command += ["--count", name]
    runner = _Runner(place, [*command, str(place.image)])
    # READY PATH -> /dev/pts/N
    runner.port = runner.line().rpartition(" ")[2]
    return runner


def _qemu(place: _Place) -> _Runner:
    """
    QEMU on the far end of a pseudo-terminal that is made here.

    It gets both ends as open files: QEMU's own pty looks for an opener once a second only, and
    reading a terminal whose other end nobody has open fails.
    """
    program, machine = QEMU_MACHINES[place.board]
    far, near = os.openpty()
    try:
        port = os.ttyname(near)
        # fmt: off
        command = [
            _program(program), *machine, "-nodefaults", "-display", "none", "-qmp", "stdio", "-S",
            "-add-fd", f"fd={far},set=1", "-chardev", "serial,id=line,path=/dev/fdset/1",
            "-serial", "chardev:line", "-kernel", str(place.image),
        ]
        # fmt: on
        if place.count:
            command += ["-plugin", _counting(place)]
        runner = _Runner(place, command, files=(far, near))
    finally:
        os.close(far)
        os.close(near)
    runner.port = port
    runner.line()  # the greeting
    _ask(runner, "qmp_capabilities")
    _ask(runner, "cont")
    runner.press_reset = lambda: _ask(runner, "system_reset")
    return runner


def _ask(runner: _Runner, request: str) -> None:
    """Give QEMU a command in its machine protocol (QMP), and wait until it is accepted."""
    assert runner.process.stdin is not None
    try:
        runner.process.stdin.write(json.dumps({"execute": request}).encode() + b"\n")
        runner.process.stdin.flush()
    except BrokenPipeError:
        raise runner.failure("it ended") from None
    answer: dict[str, Any] = {}
    while not {"return", "error"} & answer.keys():  # events come in between
        answer = json.loads(runner.line())


def _counting(place: _Place) -> str:
    """The option that loads the counting plugin; a comma in a value is doubled."""
    symbols = _functions(place.image)
    values = [str(_compiled("count.c", "count.so", flags=("-shared", "-fPIC")))]
    values += [f"out={place.stats}", f"reset={symbols['Reset_Handler'][0]:#x}"]
    values += [
        f"handler={address:#x}+{size:#x}"
        for name, (address, size) in symbols.items()
        if name.endswith("Handler")
    ]
    for name in place.count:
        if name not in symbols:
            raise BpgenError(
                f"the firmware has no function {name!r}{suggestion(name, list(symbols))}: it may "
                "have been inlined, or not be used"
            )
        values.append(f"function={name}@{symbols[name][0]:#x}+{symbols[name][1]:#x}")
    return ",".join(value.replace(",", ",,") for value in values)


def _functions(image: Path) -> dict[str, tuple[int, int]]:
    """Address and size of every function in a 32-bit little-endian ELF file."""
    data = image.read_bytes()
    sections_at, each, n_sections = struct.unpack_from("<I10xHH", data, 32)
    sections = [struct.unpack_from("<10I", data, sections_at + each * i) for i in range(n_sections)]
    found = {}
    for _, kind, _, _, at, size, strings, _, _, _ in sections:
        if kind != 2:  # SHT_SYMTAB
            continue
        names_at = sections[strings][4]
        for name_at, address, length, info, _, _ in struct.iter_unpack(
            "<IIIBBH", data[at : at + size]
        ):
            if info & 15 == 2:  # STT_FUNC
                name = data[names_at + name_at :].split(b"\0", 1)[0].decode()
                found[name] = (address & ~1, length)  # bit 0 says Thumb
    return found


def _compiled(
    source: str, name: str, *, flags: Sequence[str] = (), libraries: Sequence[str] = ()
) -> Path:
    """Compile firmware/sim/`source`, once for each version of it, into the user's cache folder."""
    code = FIRMWARE / "sim" / source
    contents = [path.read_bytes() for path in sorted(code.parent.glob("*.[ch]"))]
    version = hashlib.sha256(b"".join(contents)).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bpgen" / version
    program = cache / name
    if program.is_file():
        return program
    gcc = _program("gcc")
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            made = Path(folder) / name
            run = subprocess.run(
                [gcc, "-O2", *flags, str(code), "-o", str(made), *libraries],
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
            )
            if run.returncode == 0:
                made.replace(program)
    except OSError as error:
        raise BpgenError(
            f"cannot build the simulator in {cache} ({error.strerror}): name another folder in the "
            "variable XDG_CACHE_HOME"
        ) from None
    if run.returncode != 0:
        lines = [line for line in run.stderr.splitlines() if "error" in line or "cannot" in line]
        packages = "gcc libc6-dev" + (" libsimavr-dev libelf-dev" if libraries else "")
        raise BpgenError(
            f"the simulator {source} does not compile ({(lines or ['gcc failed'])[0].strip()}): "
            f"sudo apt-get install {packages}"
        )
    return program


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise BpgenError(f"{name} is missing: sudo apt-get install {PACKAGES[name]}")
    return found


def _end_with_parent() -> Callable[[], None] | None:
    """What a child does so that the kernel kills it when this process ends; only Linux has it."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None).prctl
    kill = ctypes.c_ulong(signal.SIGKILL)
    parent = os.getpid()

    def end_with_parent() -> None:
        prctl(1, kill)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:
            os._exit(1)

    return end_with_parent

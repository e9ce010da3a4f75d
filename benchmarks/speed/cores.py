"""The cores that code is counted on, and how an image is built, measured and run on each."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from bpgen.errors import BpgenError
from bpgen.targets import TARGETS, Family, Target
from bpgen_host import simulators

HERE = Path(__file__).resolve().parent
LANGUAGE = ("-std=c99", "-ffunction-sections", "-fdata-sections")

# Stack that must be left for an image to count as fitting its board.
LEAST_STACK = 128
MAX_CYCLES = 4_000_000_000
MAX_SECONDS = 300

# Of avr-libc, libgcc and the compiler: what starts a program, whatever it does.
STARTUP = re.compile(
    r"harness\.o|start_\w+\.o|crt\w*\.o|\((?:_exit|_copy_data|_clear_bss|_ctors|_dtors)\.o\)"
)


@dataclass(frozen=True)
class Machine:
    """A machine of QEMU, and the memory of it that images use."""

    program: str
    arguments: tuple[str, ...]
    flash_at: int
    flash_bytes: int
    ram_bytes: int

    def link(self) -> list[str]:
        """How the linker learns where memory is."""
        script = "rv32.ld" if self.program.endswith("riscv32") else "cortex_m.ld"
        # fmt: off
        return [
            "-nostartfiles", "-T", str(HERE / script),
            f"-Wl,--defsym=flash_at={self.flash_at:#x}",
            f"-Wl,--defsym=flash_size={self.flash_bytes:#x}",
            f"-Wl,--defsym=ram_size={self.ram_bytes:#x}",
        ]
        # fmt: on

    def command(self, image: Path) -> list[str]:
        """What runs an image, which speaks through semihosting.h, to its end."""
        # fmt: off
        return [
            self.program, *self.arguments, "-nodefaults", "-display", "none",
            "-semihosting-config", "enable=on,target=native", "-kernel", str(image),
        ]
        # fmt: on


MICROBIT = Machine("qemu-system-arm", ("-M", "microbit"), 0, 256 << 10, 16 << 10)
# Cortex-M3 with 4 MB of each. Every instruction of Armv6-M is one of Armv7-M, and counts the same.
MPS2 = Machine("qemu-system-arm", ("-M", "mps2-an385"), 0, 4 << 20, 4 << 20)
NETDUINO = Machine("qemu-system-arm", ("-M", "netduinoplus2"), 0x08000000, 1 << 20, 128 << 10)
VIRT = Machine(
    "qemu-system-riscv32",
    ("-M", "virt", "-cpu", "lowrisc-ibex", "-bios", "none"),
    0x80000000,
    8 << 20,
    4 << 20,
)


@dataclass(frozen=True)
class Core:
    """
    A board whose memory and clock count, and what its code runs on here.

    `machines` are tried in turn until one has the memory; without one the board is an AVR.
    `cycles_per_instruction` are those of integer code and of float code.
    """

    board: str
    machines: tuple[Machine, ...] = ()
    ram_at: int = 0x20000000
    cycles_per_instruction: tuple[float, float] = (1.0, 1.0)

    @property
    def target(self) -> Target:
        return TARGETS[self.board]

    @property
    def family(self) -> Family:
        return self.target.family

    @property
    def is_avr(self) -> bool:
        return not self.machines

    @property
    def start(self) -> Path:
        """The C that starts an image on its machines."""
        return HERE / ("start_rv32.c" if self.board == "rv32" else "start_cortex_m.c")

    @property
    def unit(self) -> str:
        return "cycles" if self.is_avr else "instructions"


# Cycles an instruction takes in flash without wait states, modelled: a training step of 64-32-10
# and a product-sum in float, model cycles over instructions. Redo them when a better model or
# silicon is at hand; real parts with wait states are slower.
CORES = {
    core.board: core
    for core in (
        Core("uno", ram_at=0x800100),
        Core("mega2560", ram_at=0x800200),
        Core("microbit", (MICROBIT,), cycles_per_instruction=(1.41, 1.35)),
        Core("rp2040", (MICROBIT, MPS2), cycles_per_instruction=(1.40, 1.25)),
        Core("bluepill", (MPS2,), cycles_per_instruction=(1.38, 1.17)),
        Core("stm32f405", (NETDUINO,), cycles_per_instruction=(1.41, 1.77)),
        Core("rv32", (VIRT,), ram_at=0x80800000),
    )
}


@dataclass(frozen=True)
class Program:
    """
    C files of a network and of the harness around it.

    `network` is compiled as a project does it, for speed or `small`; `harness` files on their
    own. `debug` is for compiler and linker, `libraries` for the linker.
    """

    network: Mapping[str, str]
    harness: Mapping[str, str]
    libraries: tuple[str, ...] = ()
    small: bool = False
    includes: tuple[Path, ...] = ()
    debug: tuple[str, ...] = ()


@dataclass(frozen=True)
class Image:
    """
    A linked program. In bytes, of the network alone, with what it needs of libraries: `text` its
    code, `rodata` its constants, `ram` its own variables, of which `initialised` are in flash too.
    """

    path: Path
    machine: Machine | None
    text: int
    rodata: int
    ram: int
    initialised: int

    @property
    def flash(self) -> int:
        return self.text + self.rodata + self.initialised


@dataclass(frozen=True)
class Count:
    """The calls of a function: cycles or instructions, what it calls included."""

    calls: int
    mean: float
    most: int


@dataclass(frozen=True)
class Run:
    """What a run of the harness gave."""

    checksum: int
    stack: int
    state: int
    counts: Mapping[str, Count] = field(default_factory=dict)


class DoesNotFitError(Exception):
    """The board does not have the memory."""


@cache
def compiler_version(command: str) -> str:
    """For instance "avr-gcc 5.4.0"."""
    run = subprocess.run([command, "-dumpfullversion"], capture_output=True, text=True, check=False)
    version = run.stdout.strip()
    if run.returncode != 0 or not version:  # before gcc 7
        run = subprocess.run([command, "-dumpversion"], capture_output=True, text=True, check=True)
        version = run.stdout.strip()
    return f"{command} {version}"


def build(core: Core, program: Program, folder: Path) -> Image:
    """
    Compile and link for a core, in a folder that exists.

    Raises DoesNotFitError where the board lacks flash or RAM, BpgenError for anything else.
    """
    family = core.family
    for files in (program.network, program.harness):
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
    common = [family.command, *family.flags, *LANGUAGE, f"-I{folder}", f"-I{HERE}"]
    common += [*(f"-I{path}" for path in program.includes), *program.debug]
    fast = family.small if program.small else family.fast
    objects = []
    for name in program.network:
        if name.endswith((".c", ".S")):
            objects.append(_compile([*common, *fast], folder / name, folder))
    for source in (HERE / "harness.c", *([] if core.is_avr else [core.start])):
        objects.append(_compile([*common, "-O2"], source, folder))
    wanted = core.machines or (None,)
    for machine in wanted:
        try:
            return _link(core, machine, objects, program, fast, folder)
        except DoesNotFitError:
            if machine is wanted[-1]:
                raise
    raise AssertionError


def _compile(command: Sequence[str], source: Path, folder: Path) -> Path:
    made = folder / (source.stem + ".o")
    _run([*command, "-c", str(source), "-o", str(made)])
    return made


def _run(command: Sequence[str]) -> str:
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        package = next(t.family.package for t in TARGETS.values() if t.family.command == command[0])
        raise BpgenError(f"{command[0]} is missing: sudo apt-get install {package}") from None
    if run.returncode != 0:
        if re.search(r"overflowed by|not fit in region|not within region", run.stderr):
            raise DoesNotFitError(run.stderr.splitlines()[-1])
        raise BpgenError(f"{' '.join(command)} failed:\n{run.stderr}")
    return run.stdout


def _link(
    core: Core, machine: Machine | None, objects: Sequence[Path], program: Program,
    fast: Sequence[str], folder: Path,
) -> Image:  # fmt: skip
    image, listing = folder / "image.elf", folder / "image.map"
    command = [core.family.command, *core.family.flags, "-Wl,--gc-sections", f"-Wl,-Map={listing}"]
    if machine is None:
        port = core.target.port
        assert port is not None
        command += port.link
    else:
        command += [*fast, *machine.link()]
    command += program.debug
    _run([*command, "-o", str(image), *map(str, objects), *program.libraries])
    made = _measured(core, machine, image, listing)
    tool = core.family.command.removesuffix("gcc") + "size"
    text, data, bss = (int(word) for word in _run([tool, str(image)]).splitlines()[1].split()[:3])
    target = core.target
    assert target.flash_bytes is not None and target.ram_bytes is not None
    ram = target.ram_bytes if machine is None else min(target.ram_bytes, machine.ram_bytes)
    if text + data > target.flash_bytes or data + bss + LEAST_STACK > ram:
        raise DoesNotFitError(f"{text + data} bytes of flash, {data + bss} of RAM")
    return made


def _measured(core: Core, machine: Machine | None, image: Path, listing: Path) -> Image:
    """Add up the linker's map, without start-up and harness."""
    text = rodata = ram = initialised = 0
    placed = listing.read_text(encoding="utf-8").split("Linker script and memory map")[1]
    # A long name of a section is on a line of its own.
    placed = re.sub(r"^( \S+)\n +(0x)", r"\1 \2", placed, flags=re.MULTILINE)
    for name, at, size, where in re.findall(
        r"^ (\.\S+|COMMON) +0x([0-9a-f]+) +0x([0-9a-f]+) (.+)$", placed, re.MULTILINE
    ):
        count = int(size, 16)
        if STARTUP.search(where) or name.startswith((".debug", ".comment", ".note", ".ARM.attr")):
            continue
        if name.startswith((".init", ".fini", ".vectors", ".riscv", ".stab")) or int(at, 16) == 0:
            continue
        if int(at, 16) >= core.ram_at:
            ram += count
            initialised += 0 if name.startswith((".bss", ".sbss", ".tbss", "COMMON")) else count
        elif name.startswith((".text", ".lowtext")):
            text += count
        else:
            rodata += count
    return Image(image, machine, text, rodata, ram, initialised)


def run(core: Core, image: Image, functions: Sequence[str]) -> Run:
    """Run an image to its end and count those functions. Raises BpgenError when it fails."""
    folder = image.path.parent
    stats = folder / "stats.json"
    if image.machine is None:
        out = folder / "tx.bin"
        simulator = simulators._compiled(
            "avr.c", "avr_sim", libraries=("-lsimavr", "-lelf", "-lutil")
        )
        # fmt: off
        command = [
            str(simulator), "-m", simulators.AVR_CORES[core.board], "-f", str(core.target.clock_hz),
            "--tx", str(out), "--stats", str(stats), "--max-cycles", str(MAX_CYCLES),
        ]
        # fmt: on
        for name in functions:
            command += ["--count", name]
        done = subprocess.run(
            [*command, str(image.path)],
            capture_output=True, text=True, timeout=MAX_SECONDS, check=False,
        )  # fmt: skip
        said = out.read_text(encoding="ascii") if done.returncode == 0 else done.stderr
    else:
        symbols = simulators._functions(image.path)
        plugin = simulators._compiled("count.c", "count.so", flags=("-shared", "-fPIC"))
        counted = [f"{plugin}", f"out={stats}", f"reset={symbols['Reset_Handler'][0]:#x}"]
        counted += [f"function={n}@{symbols[n][0]:#x}+{symbols[n][1]:#x}" for n in functions]
        command = [*image.machine.command(image.path), "-plugin", ",".join(counted)]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=MAX_SECONDS, check=False
        )
        said = done.stdout + done.stderr
    found = re.search(r"^([0-9a-f]{8}) ([0-9a-f]{8}) ([0-9a-f]{8})$", said, re.MULTILINE)
    if done.returncode != 0 or found is None:
        raise BpgenError(
            f"the harness failed on {core.board} with {done.returncode}: {said.strip()}"
        )
    counts = json.loads(stats.read_text(encoding="utf-8"))["functions"]
    checksum, stack, state = (int(digits, 16) for digits in found.groups())
    return Run(
        checksum,
        stack,
        state,
        {n: Count(c["calls"], c["mean"], c["max"]) for n, c in counts.items()},
    )

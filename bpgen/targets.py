"""
Boards as data, and whether a model fits one.

RAM is the exact size of the state plus a reserve for stack and firmware. Flash is the exact size of
weights and tables plus an upper bound of the code, measured per core.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from bpgen.emit.device import BoardConstants
from bpgen.emit.view import LayerView, View
from bpgen.errors import BpgenError

# avr-gcc's largest object, and the 64 KB that LPM reaches without its extension, less the vectors
# that the linker puts in front of the constants.
AVR_ARRAY_BYTES = 32_767
AVR_NEAR_BYTES = 65_000

# What bpgen_thumb_blocks.h makes a list of.
LISTED_INPUTS = 64

ELEMENT_BYTES = {
    "bp_w8_t": 1,
    "uint8_t": 1,
    "int16_t": 2,
    "uint16_t": 2,
    "int32_t": 4,
    "uint32_t": 4,
}


@dataclass(frozen=True)
class Code:
    """
    What the code of a core family adds to flash, in bytes, by what a model uses.

    `dense` is for each kernel of s16 weights and `byte` for that of s8 weights, `layer` for each
    layer and `learning_layer` for each with deltas, `table` for each kind among sigmoid, tanh and
    tanh_opt, `wide` for sums beyond int32, `accumulator` for batches and momentum, whose kernels
    are smaller than the others. Of layers of up to three outputs whose weights are in RAM, `few` is
    for the sums of each and `few_steps` for its deltas and steps, where these are the network's own
    code, as `large` is for those of each large layer, or its steps alone (bpgen_kernels.h). The sum
    is an upper bound of core, model and start-up code together, when all functions of the model are
    called.
    """

    base: int
    dense: int
    byte: int
    layer: int
    table: int
    softmax: int
    wide: int
    training: int
    learning_layer: int
    accumulator: int
    sparsity: int
    few: int = 0
    few_steps: int = 0
    large: int = 0


@dataclass(frozen=True)
class Family:
    """
    A core with its compiler: `command`, the Debian `package` that has it, `flags` that select the
    core, and `link` flags that link without a board's start-up code. A firmware's files take
    `fast` or `small`, whether they are compiled for speed or for size.

    `alignment` is that of the state, `reserve` the RAM kept for stack and firmware. A layer of up
    to LISTED_INPUTS has a list of them on the stack, of so many bytes (`listed`) each.
    """

    core: str
    command: str
    package: str
    flags: tuple[str, ...]
    link: tuple[str, ...]
    alignment: int
    reserve: int
    code: Code
    fast: tuple[str, ...] = ("-O2",)
    small: tuple[str, ...] = ("-Os",)
    listed: int = 0


@dataclass(frozen=True)
class Port:
    """
    How a whole firmware is built for a board and gets onto it.

    `folder` is that of firmware/ports with the board's own files, `shares` are the folders there of
    what it has in common with others, `bauds` are the rates that its serial line has, `link` are
    the linker's flags. `image` is the suffix of the file that `flash`, lines of a Makefile with
    `variables` that a user may set, writes to the board; "" where there is nothing to write to.
    `wiring` says where the serial line is, `serial` what a Linux host mostly calls it. `code` and
    `ram` bound what link, store and port add in bytes, beyond the model's code and the reserve of
    its core; `kept_flash` is what the store takes of the flash.
    """

    folder: str
    constants: BoardConstants
    bauds: tuple[int, ...]
    link: tuple[str, ...]
    image: str
    variables: tuple[tuple[str, str], ...]
    flash: tuple[str, ...]
    wiring: str
    serial: str
    code: int
    ram: int
    kept_flash: int = 0
    shares: tuple[str, ...] = ()


@dataclass(frozen=True)
class Target:
    """
    A board. Memory is what firmware may use; None is no limit that matters.

    Without a `port` only models are generated for it, no firmware.
    """

    name: str
    title: str
    family: Family
    clock_hz: int | None
    flash_bytes: int | None
    ram_bytes: int | None
    simulator: str
    port: Port | None


@dataclass(frozen=True)
class Fit:
    """What a model needs on a board and what the board has, in bytes."""

    board: str
    ram_needed: int
    ram_bytes: int | None
    flash_needed: int
    flash_bytes: int | None

    @property
    def ram_missing(self) -> int:
        return 0 if self.ram_bytes is None else max(0, self.ram_needed - self.ram_bytes)

    @property
    def flash_missing(self) -> int:
        return 0 if self.flash_bytes is None else max(0, self.flash_needed - self.flash_bytes)

    @property
    def fits(self) -> bool:
        return self.ram_missing == 0 and self.flash_missing == 0

    @property
    def verdict(self) -> str:
        """yes, or which memory lacks how many bytes."""
        lacking = []
        if self.ram_missing:
            lacking.append(f"{self.ram_missing:,} bytes of RAM")
        if self.flash_missing:
            lacking.append(f"{self.flash_missing:,} bytes of flash")
        return f"no, {' and '.join(lacking)} too few" if lacking else "yes"


# No start-up code of a board, but the compiler's own library.
_BARE = ("-nostartfiles", "-Wl,-e,main")
_ARM = "arm-none-eabi-gcc"

# Measured with -O2 on 60 models of 1 to 5 layers, of all kinds and updates, linked with every
# function of the model in use: avr-gcc 5.4, arm-none-eabi-gcc and riscv64-unknown-elf-gcc 12.2. The
# numbers are a linear bound, at least 3% above each of these and as near as can be to the ones that
# tests/unit/test_targets.py measures again; redo them when it fails or the core's code changes.
_AVR_CODE = Code(2660, 300, 1800, 100, 300, 1060, 560, 4620, 520, 3940, 500, 320, 870, 1060)
_M0_CODE = Code(2060, 700, 0, 40, 700, 600, 1140, 3300, 400, -1500, 160)
_M3_CODE = Code(1420, 820, 0, 120, 220, 380, 1000, 2320, 580, -60, 0)
_M4_CODE = Code(1800, 400, 180, 0, 460, 360, 60, 2120, 1000, -1160, 540)
_RV32_CODE = Code(1760, 1540, 0, 100, 320, 460, 900, 2580, 800, -1600, 0)


def _arm(core: str, flags: tuple[str, ...], code: Code, listed: int = 0) -> Family:
    package = "gcc-arm-none-eabi libnewlib-arm-none-eabi"
    return Family(core, _ARM, package, ("-mthumb", *flags), _BARE, 4, 1024, code, listed=listed)


# What avr-gcc 5.4 at -Os does for speed takes a tenth of the link's and the store's flash.
_AVR_SMALL = (
    "-Os", "-flto", "-mcall-prologues", "-fno-gcse", "-fno-move-loop-invariants",
    "-fno-tree-loop-optimize", "-fno-inline-small-functions", "-fno-ssa-phiopt",
    "-maccumulate-args", "-mstrict-X",
)  # fmt: skip


def _avr(part: str) -> Family:
    return Family(
        "AVR", "avr-gcc", "gcc-avr avr-libc", (f"-mmcu={part}",), (), 1, 512, _AVR_CODE,
        ("-O2", "-flto"), _AVR_SMALL,
    )  # fmt: skip


# The reserve: a 35-4-3-10 network with all kinds of penalties needs about 190 bytes of stack on AVR
# and 280 elsewhere (its three deepest calls by -fstack-usage), interrupts and the caller come on
# top; the rest holds a serial port's buffers and the firmware's own variables. Redo it when the
# firmware grows.
AVR_328 = _avr("atmega328p")
AVR_2560 = _avr("atmega2560")
CORTEX_M0 = _arm("Cortex-M0", ("-mcpu=cortex-m0",), _M0_CODE, listed=8)
CORTEX_M0PLUS = _arm("Cortex-M0+", ("-mcpu=cortex-m0plus",), _M0_CODE, listed=8)
CORTEX_M3 = _arm("Cortex-M3", ("-mcpu=cortex-m3",), _M3_CODE)
CORTEX_M4F = _arm(
    "Cortex-M4F", ("-mcpu=cortex-m4", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"), _M4_CODE
)
RV32IMC = Family(
    "RISC-V",
    "riscv64-unknown-elf-gcc",
    "gcc-riscv64-unknown-elf picolibc-riscv64-unknown-elf",
    ("-march=rv32imc", "-mabi=ilp32", "--specs=picolibc.specs"),
    _BARE,
    4,
    1024,
    _RV32_CODE,
)
# Nothing is refused on a PC; the figures are those of a 32-bit core.
HOST = Family("host", "cc", "gcc", (), (), 4, 0, _RV32_CODE)

BAUDS = (9600, 19200, 38400, 57600, 115200, 230400, 250000, 460800, 500000, 921600, 1000000)
# 16 MHz does not divide to the others.
_AVR_BAUDS = (9600, 19200, 38400, 57600, 115200, 250000, 500000, 1000000)


def _missing(tool: str, package: str) -> str:
    return f'{{ echo "{tool} is missing: sudo apt-get install {package}" >&2; exit 1; }}'


# `code` and `ram` are measured by tests/compile/test_projects.py; redo them when it fails.
def _avr_port(part: str, programmer: str, eeprom_bytes: int) -> Port:
    return Port(
        folder="avr",
        constants=BoardConstants(63, 60, 115200, 16_000_000, eeprom_bytes, 1, False, 100_000),
        bauds=_AVR_BAUDS,
        link=("-flto", "-O2", "-mrelax"),
        image="hex",
        variables=(("PORT", "/dev/ttyACM0"),),
        flash=(
            f"@command -v avrdude >/dev/null || {_missing('avrdude', 'avrdude')}",
            f"avrdude -p {part} -c {programmer} -P $(PORT) -b 115200 -D -U flash:w:$<:i",
        ),
        wiring="The USB cable is all: it is power, serial port and programmer in one. The port is "
        "`/dev/ttyACM0` on Linux (a clone with a CH340: `/dev/ttyUSB0`), `/dev/cu.usbmodem...` on "
        "macOS, `COM3` or the like on Windows.",
        serial="/dev/ttyACM0",
        code=4400,
        ram=220,
    )


_OPENOCD = 'openocd -f interface/stlink.cfg -f target/{}.cfg -c "program $< verify reset exit"'
_ST_FLASH = (
    "@if command -v st-flash >/dev/null; then st-flash --reset --format ihex write $<; \\",
    f"elif command -v openocd >/dev/null; then {_OPENOCD.format('stm32f1x')}; \\",
    f"else {_missing('st-flash', 'stlink-tools')}; fi",
)
# st-flash would fill the hole between vectors and program, which is the store.
_OPENOCD_ONLY = (
    f"@command -v openocd >/dev/null || {_missing('openocd', 'openocd')}",
    _OPENOCD.format("stm32f4x"),
)


def _stm32_port(
    folder: str, constants: BoardConstants, board: str, flash: tuple[str, ...], kept: int,
    wiring: str = "",
) -> Port:  # fmt: skip
    return Port(
        folder=folder,
        constants=constants,
        bauds=BAUDS,
        link=_script(board),
        image="hex",
        variables=(),
        flash=flash,
        wiring=f"{wiring}A USB-to-serial adapter of 3.3 V: its RX to PA9, its TX to PA10, GND to "
        "GND; on Linux its port is `/dev/ttyUSB0`.",
        serial="/dev/ttyUSB0",
        code=4600,
        ram=900,
        kept_flash=kept,
        shares=("common", "cortex_m", "stm32"),
    )


def _script(board: str) -> tuple[str, ...]:
    return ("-nostartfiles", "-T", f"{board}.ld")


TARGETS = {
    target.name: target
    for target in (
        # 512 bytes of the 32 KB belong to the bootloader, 8 KB of the Mega's 256.
        Target(
            "uno", "Arduino Uno (ATmega328P)", AVR_328, 16_000_000, 32_256, 2_048, "simavr",
            _avr_port("m328p", "arduino", 1_024),
        ),
        Target(
            "mega2560", "Arduino Mega 2560", AVR_2560, 16_000_000, 253_952, 8_192, "simavr",
            _avr_port("m2560", "wiring", 4_096),
        ),
        Target(
            "stm32f100", "STM32VLDISCOVERY (STM32F100RB)", CORTEX_M3, 24_000_000, 131_072, 8_192,
            "QEMU stm32vldiscovery",
            _stm32_port(
                "stm32f1",
                BoardConstants(511, 254, 115200, 24_000_000, 4_096, 2, True, 10_000),
                "stm32f100", _ST_FLASH, 4_096,
            ),
        ),
        Target(
            "stm32f405", "Netduino Plus 2 (STM32F405RG)", CORTEX_M4F, 168_000_000, 1_048_576,
            131_072, "QEMU netduinoplus2",
            _stm32_port(
                "stm32f4",
                BoardConstants(511, 254, 115200, 168_000_000, 32_768, 4, True, 10_000),
                "stm32f405", _OPENOCD_ONLY, 65_536,
            ),
        ),
        Target(
            "microbit", "BBC micro:bit (nRF51822)", CORTEX_M0, 16_000_000, 262_144, 16_384,
            "QEMU microbit",
            Port(
                folder="nrf51",
                constants=BoardConstants(511, 254, 115200, 16_000_000, 4_096, 4, True, 20_000),
                bauds=BAUDS,
                link=_script("microbit"),
                image="hex",
                variables=(
                    (
                        "DRIVE",
                        "$(firstword $(wildcard /media/*/MICROBIT /run/media/*/MICROBIT "
                        "/Volumes/MICROBIT))",
                    ),
                ),
                flash=(
                    '@[ -d "$(DRIVE)" ] || { echo "there is no drive MICROBIT: plug the board in, '
                    'or name its folder with DRIVE=..." >&2; exit 1; }',
                    'cp $< "$(DRIVE)"',
                ),
                wiring="The USB cable is all: it is power, serial port and, as the drive MICROBIT, "
                "programmer in one. The port is `/dev/ttyACM0` on Linux. (The first generation of "
                "the board; the second has another chip.)",
                serial="/dev/ttyACM0",
                code=4300,
                ram=900,
                kept_flash=4_096,
                shares=("common", "cortex_m"),
            ),
        ),
        Target(
            "bluepill", "Blue Pill (STM32F103C8)", CORTEX_M3, 72_000_000, 65_536, 20_480,
            "built only",
            _stm32_port(
                "stm32f1",
                BoardConstants(511, 254, 115200, 72_000_000, 4_096, 2, True, 10_000),
                "bluepill", _ST_FLASH, 4_096,
                "An ST-Link on the four pins at the end of the board writes the firmware. ",
            ),
        ),
        Target(
            "rp2040", "Raspberry Pi Pico (RP2040)", CORTEX_M0PLUS, 125_000_000, 2_097_152, 270_336,
            "built only", None,
        ),
        Target(
            "rv32", "RISC-V virt (rv32imc)", RV32IMC, None, 4_194_304, 4_194_304, "QEMU virt",
            Port(
                folder="rv32",
                constants=BoardConstants(511, 254, 115200, 0, 0, 1, False, 0),
                bauds=BAUDS,
                link=_script("rv32"),
                image="",
                variables=(),
                flash=(),
                wiring="This board exists in QEMU only.",
                serial="/dev/pts/N",
                code=4300,
                ram=900,
                shares=("common",),
            ),
        ),
        Target(
            "posix", "this machine", HOST, None, None, None, "a process",
            Port(
                folder="posix",
                constants=BoardConstants(4095, 254, 115200, 0, 32_768, 1, False, 100_000),
                bauds=BAUDS,
                link=(),
                image="",
                variables=(),
                flash=(),
                wiring="The board is a process: start the image in `build/`. The first line that "
                "it prints names its serial port, a pseudo-terminal.",
                serial="/dev/pts/N",
                code=0,
                ram=0,
            ),
        ),
    )
}  # fmt: skip


def target(name: str) -> Target:
    """The board of that name; BpgenError, naming those there are, for an unknown one."""
    if name not in TARGETS:
        close = difflib.get_close_matches(name, TARGETS, n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise BpgenError(f"there is no board {name!r}{hint}: choose one of {', '.join(TARGETS)}")
    return TARGETS[name]


def rom_bytes(view: View) -> int:
    """The exact size of the constant arrays: weights, tables and test vectors."""
    return sum(array.length * ELEMENT_BYTES[array.type] for array in view.rom)


def code_bytes(view: View, code: Code) -> int:
    """An upper bound of the code of a model, the core and the start-up code."""
    layers = view.layers
    total = code.base + code.layer * len(layers)
    total += code.byte if any(layer.is_byte for layer in layers) else 0
    total += code.dense * len(
        {(layer.rom, layer.is_fused) for layer in layers if not layer.is_byte}
    )
    total += code.table * len({layer.activation for layer in layers if layer.is_table})
    if view.output.is_softmax or not view.squared_error:
        total += code.softmax
    if any(is_wide(layer) for layer in layers):
        total += code.wide
    if view.training is not None:
        total += code.training + code.learning_layer * sum(1 for layer in layers if layer.dz)
        total += code.accumulator if view.training.applies else 0
        total += code.sparsity if any(layer.p for layer in layers) else 0
    if view.training is not None:
        few = [layer for layer in view.training.learning if layer.outputs <= 3]
        total += code.few * sum(1 for layer in few if layer.avr_at_once)
        total += code.few_steps * len(few) if view.training.chain else 0
        if view.training.chain:
            kinds = [layer.learn_kind for layer in view.training.learning]
            total += code.large * sum(1 for kind in kinds if kind.endswith("_large"))
    return total


def scratch_bytes(view: View, family: Family) -> int:
    """
    What a network keeps on the stack: lists of inputs, and where it learns steps of 2 bytes, of the
    widest layer or of all of a chain, and back-propagated sums of 4, or of 3 in a chain. Large
    layers of one have a list of deltas and steps besides.
    """
    words = [layer.inputs for layer in view.layers if not layer.is_byte]
    inputs = max((n for n in words if n <= LISTED_INPUTS), default=0)
    lists = family.listed * (inputs + inputs % 2)
    if view.training is None:
        return lists
    outputs = [layer.outputs for layer in view.training.learning]
    sums = [pair.layer.outputs_even for pair in view.training.hidden_deltas]
    chain = 2 * sum(outputs) + 3 * max(sums) if view.training.chain else 0
    if family.core == "AVR":
        large = [layer for layer in view.training.chain if layer.learn_kind == "_large"]
        chain += max((4 * layer.outputs for layer in large), default=0)
    return lists + max([chain, 2 * max(outputs), *(4 * n for n in sums)])


def is_wide(layer: LayerView) -> bool:
    """Whether a layer has a sum beyond int32."""
    return not layer.forward.plain or (layer.backward is not None and not layer.backward.plain)


def fits(view: View, target: Target, *, firmware: bool = False, data: int = 0) -> Fit:
    """
    What the model of a view needs on a board: alone, or in a `firmware` with link and store.

    `data` are bytes of further constants.
    """
    family = target.family
    port = target.port if firmware else None
    state = -(-view.state_size // family.alignment) * family.alignment
    return Fit(
        target.name,
        state + scratch_bytes(view, family) + family.reserve + (port.ram if port else 0),
        target.ram_bytes,
        rom_bytes(view)
        + code_bytes(view, family.code)
        + data
        + (port.code + port.kept_flash if port else 0),
        target.flash_bytes,
    )


def require_fit(view: View, target: Target, *, firmware: bool = False, data: int = 0) -> Fit:
    """`fits`, but BpgenError, saying which memory lacks how many bytes, where it does not."""
    fit = fits(view, target, firmware=firmware, data=data)
    lacking = []
    if fit.ram_missing:
        lacking.append(
            f"{fit.ram_missing} bytes of RAM too few ({fit.ram_needed} of {fit.ram_bytes})"
        )
    if fit.flash_missing:
        lacking.append(
            f"{fit.flash_missing} bytes of flash too few ({fit.flash_needed} of {fit.flash_bytes})"
        )
    if target.family.core == "AVR":
        _require_near_flash(view, target)
        for refusal in view.avr_refusals:
            raise BpgenError(
                f"the model does not fit {target.name}: {refusal}; use a smaller layer, or choose "
                "another board"
            )
    if lacking:
        raise BpgenError(
            f"the model does not fit {target.name}, which has {' and '.join(lacking)}: use smaller "
            "layers, freeze some, or choose another board"
        )
    return fit


def _require_near_flash(view: View, target: Target) -> None:
    """Refuse constants that avr-gcc does not take or that the core cannot read."""
    largest = max(array.length * ELEMENT_BYTES[array.type] for array in view.rom)
    if largest > AVR_ARRAY_BYTES or rom_bytes(view) > AVR_NEAR_BYTES:
        raise BpgenError(
            f"the model does not fit {target.name}: it has {rom_bytes(view)} bytes of constants, "
            f"{largest} of them in one array, and an AVR reads {AVR_NEAR_BYTES} in arrays of "
            f"{AVR_ARRAY_BYTES}; use smaller layers, or choose another board"
        )


def describe(fit: Fit) -> str:
    """One line on what is needed and what there is."""
    parts = []
    for name, needed, there in (
        ("RAM", fit.ram_needed, fit.ram_bytes),
        ("flash", fit.flash_needed, fit.flash_bytes),
    ):
        limit = "" if there is None else f" of {there:,}"
        parts.append(f"at most {needed:,}{limit} bytes of {name}")
    return ", ".join(parts)

"""
Boards as data, and whether a model fits one.

RAM is the exact size of the state plus a reserve for stack and firmware. Flash is the exact size of
weights and tables plus an upper bound of the code, measured per core.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from bpgen.emit.view import LayerView, View
from bpgen.errors import BpgenError

# avr-gcc's largest object, and the 64 KB that LPM reaches without its extension, less the vectors
# that the linker puts in front of the constants.
AVR_ARRAY_BYTES = 32_767
AVR_NEAR_BYTES = 65_000

ELEMENT_BYTES = {
    "int8_t": 1,
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

    `layer` is for each layer and `learning_layer` for each with deltas, `table` for each kind
    among sigmoid, tanh and tanh_opt, `wide` for sums beyond int32, `accumulator` for batches and
    momentum. The sum is an upper bound of core, model and start-up code together, when all
    functions of the model are called.
    """

    base: int
    layer: int
    table: int
    softmax: int
    wide: int
    training: int
    learning_layer: int
    accumulator: int
    sparsity: int


@dataclass(frozen=True)
class Family:
    """
    A core with its compiler: `command`, `flags` that select the core, and `link` flags that link
    without a board's start-up code.

    `alignment` is that of the state, `reserve` the RAM kept for stack and firmware.
    """

    core: str
    command: str
    flags: tuple[str, ...]
    link: tuple[str, ...]
    alignment: int
    reserve: int
    code: Code


@dataclass(frozen=True)
class Target:
    """A board. Memory is what firmware may use; None is no limit that matters."""

    name: str
    title: str
    family: Family
    clock_hz: int | None
    flash_bytes: int | None
    ram_bytes: int | None
    simulator: str


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


COMPILE_FLAGS = ("-std=c99", "-O2", "-ffunction-sections", "-fdata-sections")

# No start-up code of a board, but the compiler's own library.
_BARE = ("-nostartfiles", "-Wl,-e,main")
_ARM = "arm-none-eabi-gcc"

# Measured with -O2 on 71 models of 1 to 5 layers, of all kinds and updates, linked with every
# function of the model in use: avr-gcc 5.4, arm-none-eabi-gcc and riscv64-unknown-elf-gcc 12.2. The
# numbers are the linear bound that is tightest over these, at least 5% and at most 45% above each.
# tests/unit/test_targets.py measures again; redo them when it fails or the core's code changes.
_AVR_CODE = Code(2600, 60, 1180, 1760, 1140, 1880, 1220, 120, 1020)
_M0_CODE = Code(1260, 100, 280, 800, 360, 1080, 640, 580, 680)
_M3_CODE = Code(860, 140, 160, 440, 500, 1220, 480, 400, 440)  # M4 as well
_RV32_CODE = Code(1160, 60, 360, 520, 320, 1020, 620, 620, 520)


def _arm(core: str, flags: tuple[str, ...], code: Code) -> Family:
    return Family(core, _ARM, ("-mthumb", *flags), _BARE, 4, 1024, code)


# The reserve: a 35-4-3-10 network with all kinds of penalties needs about 190 bytes of stack on AVR
# and 280 elsewhere (its three deepest calls by -fstack-usage), interrupts and the caller come on
# top; the rest holds a serial port's buffers and the firmware's own variables. Redo it when the
# firmware grows.
AVR_328 = Family("AVR", "avr-gcc", ("-mmcu=atmega328p",), (), 1, 512, _AVR_CODE)
AVR_2560 = Family("AVR", "avr-gcc", ("-mmcu=atmega2560",), (), 1, 512, _AVR_CODE)
CORTEX_M0 = _arm("Cortex-M0", ("-mcpu=cortex-m0",), _M0_CODE)
CORTEX_M0PLUS = _arm("Cortex-M0+", ("-mcpu=cortex-m0plus",), _M0_CODE)
CORTEX_M3 = _arm("Cortex-M3", ("-mcpu=cortex-m3",), _M3_CODE)
CORTEX_M4F = _arm(
    "Cortex-M4F", ("-mcpu=cortex-m4", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"), _M3_CODE
)
RV32IMC = Family(
    "RISC-V",
    "riscv64-unknown-elf-gcc",
    ("-march=rv32imc", "-mabi=ilp32", "--specs=picolibc.specs"),
    _BARE,
    4,
    1024,
    _RV32_CODE,
)
# Nothing is refused on a PC; the figures are those of a 32-bit core.
HOST = Family("host", "gcc", (), (), 4, 0, _RV32_CODE)

TARGETS = {
    target.name: target
    for target in (
        # 512 bytes of the 32 KB belong to the bootloader, 8 KB of the Mega's 256.
        Target("uno", "Arduino Uno (ATmega328P)", AVR_328, 16_000_000, 32_256, 2_048, "simavr"),
        Target(
            "mega2560", "Arduino Mega 2560", AVR_2560, 16_000_000, 253_952, 8_192, "simavr"
        ),
        Target(
            "stm32f100", "STM32VLDISCOVERY (STM32F100RB)", CORTEX_M3, 24_000_000, 131_072, 8_192,
            "QEMU stm32vldiscovery",
        ),
        Target(
            "stm32f405", "Netduino Plus 2 (STM32F405RG)", CORTEX_M4F, 168_000_000, 1_048_576,
            131_072, "QEMU netduinoplus2",
        ),
        Target("microbit", "BBC micro:bit (nRF51822)", CORTEX_M0, 16_000_000, 262_144, 16_384,
               "QEMU microbit"),
        Target("bluepill", "Blue Pill (STM32F103C8)", CORTEX_M3, 72_000_000, 65_536, 20_480,
               "built only"),
        Target("rp2040", "Raspberry Pi Pico (RP2040)", CORTEX_M0PLUS, 125_000_000, 2_097_152,
               270_336, "built only"),
        Target("rv32", "RISC-V virt (rv32imc)", RV32IMC, None, 4_194_304, 4_194_304,
               "QEMU virt"),
        Target("posix", "this machine", HOST, None, None, None, "a process"),
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
    total += code.table * len({layer.activation for layer in layers if layer.is_table})
    if view.output.is_softmax or not view.squared_error:
        total += code.softmax
    if any(is_wide(layer) for layer in layers):
        total += code.wide
    if view.training is not None:
        total += code.training + code.learning_layer * sum(1 for layer in layers if layer.dz)
        total += code.accumulator if view.training.applies else 0
        total += code.sparsity if any(layer.p for layer in layers) else 0
    return total


def scratch_bytes(view: View) -> int:
    """The rescaled input that an update keeps on the stack, of the widest layer that learns."""
    learning = () if view.training is None else view.training.learning
    return 2 * max((layer.inputs for layer in learning), default=0)


def is_wide(layer: LayerView) -> bool:
    """Whether a layer has a sum beyond int32."""
    return not layer.forward.plain or (layer.backward is not None and not layer.backward.plain)


def fits(view: View, target: Target) -> Fit:
    """What the model of a view needs on a board."""
    family = target.family
    state = -(-view.state_size // family.alignment) * family.alignment
    return Fit(
        target.name,
        state + scratch_bytes(view) + family.reserve,
        target.ram_bytes,
        rom_bytes(view) + code_bytes(view, family.code),
        target.flash_bytes,
    )


def require_fit(view: View, target: Target) -> Fit:
    """`fits`, but BpgenError, saying which memory lacks how many bytes, where it does not."""
    fit = fits(view, target)
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

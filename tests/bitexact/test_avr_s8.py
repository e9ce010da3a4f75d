"""Inference in bytes in assembly gives the bits of the portable C, on an emulated ATmega2560."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from bpgen import lut
from bpgen.data import FIRMWARE

CORE = FIRMWARE / "core"
ASSEMBLY = "bpgen_avr_s8.h"
PROGRAM = Path(__file__).parent / "avr_s8.c"
FLAGS = ("-mmcu=atmega2560", "-std=gnu99", "-fwrapv", "-Wall", "-Wextra", "-Werror")
SUITE_SEED = 8
ROM = 6000
# Where in the flash are weights of any size, only -128, only 127, and both.
ANY, LOWEST, HIGHEST, BOTH = 0, 2000, 4000, 1500
BIASES = 400
# Where the biases grow: below 2^22, to the rails of 24 bits, and to those of 30.
SMALL, MIDDLE, LARGE = 0, 140, 270
ONE_LARGE = 133  # in the midst of small ones
SIGMOIDS = range(990, 994)  # what avr_s8.c reports bp_sigmoid as
Tool = Callable[[str], str]


@dataclass(frozen=True)
class Layer:
    inputs: int
    outputs: int
    z_shift: int
    z_lowest: int = -32767
    z_top: int = 32767
    w: int = ANY
    b: int = SMALL

    def c(self, number: int) -> str:
        return (
            f"static const bp_layer_t layer_{number} BP_ROM = {{.inputs = {self.inputs}, "
            f".outputs = {self.outputs}, .z_lowest = {self.z_lowest}, .z_top = {self.z_top}, "
            f".a_in_frac = 8, .z_shift = {self.z_shift}}};\n"
        )


def layers() -> list[Layer]:
    """The corners, then random ones."""
    found = [
        *(Layer(n, outputs, 6) for n in (1, 2, 7) for outputs in range(1, 20)),
        *(Layer(n, 5, 5) for n in (127, 128, 129, 130, 254, 255, 256, 257, 258, 300)),
        *(Layer(9, 3, shift, -900, 32000) for shift in range(-8, 25)),
        *(Layer(40, 7, shift, 0, 255) for shift in range(-8, 25)),
        *(Layer(2, outputs, 4) for outputs in (126, 127, 128, 130)),
        *(
            Layer(n, 7, shift, w=w, b=b)
            for n in (3, 127, 128)
            for shift in (1, 4, 7, 8)
            for w in (LOWEST, HIGHEST, BOTH)
            for b in (SMALL, MIDDLE, LARGE)
        ),
        *(Layer(12, 6, 3, b=ONE_LARGE - i) for i in range(6)),
    ]
    rng = np.random.default_rng([SUITE_SEED, 0])
    while len(found) < 330:
        top = int(rng.choice([255, 32767, 4000]))
        found.append(
            Layer(
                int(rng.integers(1, 90)),
                int(rng.integers(1, 22)),
                int(rng.integers(0, 10)),
                int(rng.choice([0, -top])),
                top,
                int(rng.integers(0, 30)),
                int(rng.choice([SMALL, SMALL, MIDDLE])),
            )
        )
    return found


LAYERS = layers()


def header() -> str:
    """layers.h"""
    rng = np.random.default_rng([SUITE_SEED, 1])
    rom = rng.integers(-128, 128, ROM) >> rng.integers(0, 5, ROM)
    rom[BOTH:LOWEST] = rng.choice([-128, 127], LOWEST - BOTH)
    rom[LOWEST:HIGHEST], rom[HIGHEST:] = -128, 127
    sign = rng.choice([-1, 1], BIASES)
    biases = sign * (rng.integers(0, 2**22, BIASES) >> rng.integers(0, 18, BIASES))
    biases[7::13] = (2**22 - 1) * sign[7::13]
    biases[MIDDLE:] = sign[MIDDLE:] * (2**23 - rng.integers(0, 2**22, BIASES - MIDDLE))
    biases[MIDDLE::5] = sign[MIDDLE::5] * 2**22
    biases[LARGE:] = sign[LARGE:] * (2**30 - rng.integers(0, 2**29, BIASES - LARGE))
    biases[ONE_LARGE] = 2**30 + 77
    lines = [
        f"static const int8_t rom[] BP_ROM = {{{', '.join(map(str, rom))}}};\n",
        f"static const int32_t biases[] BP_ROM = {{{', '.join(map(str, biases))}}};\n",
    ]
    for bits in (5, 7, 8, 9):
        at = np.arange((1 << bits) + 1) * lut.RANGE / (1 << bits)
        entries = np.floor(2**16 * lut.reference("sigmoid", at) + 0.5).astype(int)
        values = ", ".join(map(str, entries))
        lines.append(f"static const uint16_t sigmoid_{bits}[] BP_ROM = {{{values}}};\n")
    lines += [layer.c(number) for number, layer in enumerate(LAYERS)]
    lines.append("static const case_t cases[] BP_ROM = {\n")
    lines += [
        f"    {{&layer_{number}, {x.inputs}, {x.outputs}, {x.w}, {x.b}}},\n"
        for number, x in enumerate(LAYERS)
    ]
    lines.append("};\n")
    lines.append(f"#define LONGEST {max(x.inputs for x in LAYERS) + 1}\n")
    lines.append(f"#define WIDEST {max(x.outputs for x in LAYERS)}\n")
    return "".join(lines)


def differing(
    folder: Path, tool: Tool, *flags: str, edit: Callable[[str], str] = str
) -> dict[int, int]:
    """How many results of each layer differ; `edit` may change the assembly first."""
    for source in CORE.iterdir():
        (folder / source.name).write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
    assembly = folder / ASSEMBLY
    assembly.write_text(edit(assembly.read_text(encoding="utf-8")), encoding="utf-8")
    (folder / "layers.h").write_text(header())
    declared = set(re.findall(r"\b(bp_\w+)\(", (folder / "bpgen_kernels.h").read_text("utf-8")))
    declared = {name for name in declared if not name.endswith(("_plain", "_wide"))}  # macros
    declared.discard("bp_counters_agree")
    renamed = [f"-D{name}=portable_{name}" for name in sorted(declared)]
    renamed += ["-Dbp_counters_are_on=portable_on", "-Dbp_counters_are_off=portable_off"]

    def compile_c(name: str, source: Path, *more: str) -> Path:
        command = [tool("avr-gcc"), *FLAGS, *flags, *more, f"-I{folder}", "-c", str(source)]
        subprocess.run([*command, "-o", str(folder / name)], check=True)
        return folder / name

    objects = (
        compile_c("main.o", PROGRAM, "-Wno-missing-field-initializers"),
        compile_c("fast.o", folder / "bpgen_kernels.c"),
        compile_c("portable.o", folder / "bpgen_kernels.c", "-DBP_PORTABLE", *renamed),
    )
    image = str(folder / "kernels.elf")
    link = [tool("avr-gcc"), *FLAGS, *flags, *(str(o) for o in objects), "-o", image]
    subprocess.run(link, check=True)
    done = subprocess.run(
        [tool("simavr"), "-m", "atmega2560", "-f", "16000000", image],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    said = re.findall(r"(\d{3}) (\d{5});", re.sub(r"\x1b\[\d*m", "", done.stdout + done.stderr))
    return {int(number): int(count) for number, count in said}


def wrong(found: dict[int, int]) -> list[Layer | int]:
    """The layers, and the numbers of sigmoids, with a result that differs, or without one."""
    layers = [layer for number, layer in enumerate(LAYERS) if found.get(number, 1)]
    return [*layers, *(number for number in SIGMOIDS if found.get(number, 1))]


@pytest.mark.parametrize("optimisation", ["-O2", "-Os"])
def test_every_layer_gives_the_bits_of_the_portable_c(
    optimisation: str, tool: Tool, tmp_path: Path
) -> None:
    assert wrong(differing(tmp_path, tool, optimisation)) == []


@pytest.mark.parametrize(
    ("line", "broken"),
    [
        ('"sbc " C ", r21', '"nop'),  # of PRODUCT_S8
        ('"adc " C ", r21', '"nop'),
        ('"or r0, r27', '"nop'),  # of START_S8
        ('"adc " C ", r18', '"add " C ", r18'),
        ('"or r22, r0', '"mov r22, r0'),  # of END_S8
        ('"cp " C ", r21', '"cp r21, " C "'),
        ('"mov r23, r22', '"nop'),
        ("cpc r23, r19", "cp r23, r19"),
        ("cpc r31, r23", "cp r31, r23"),
        ("subi r21, 0x80", "nop"),  # of too low or too high
        ("sbrc %C[p], 7", "sbrs %C[p], 7"),  # of any layer
        ("lsl r0", "nop"),  # of the sigmoid
    ],
)
def test_a_wrong_instruction_is_noticed(line: str, broken: str, tool: Tool, tmp_path: Path) -> None:
    def edit(assembly: str) -> str:
        assert line in assembly
        return assembly.replace(line, broken, 1)

    assert wrong(differing(tmp_path, tool, "-O2", edit=edit))

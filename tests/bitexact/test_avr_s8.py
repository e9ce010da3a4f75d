"""Inference in bytes in assembly gives the bits of the portable C, on an emulated ATmega2560."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from bpgen import lut
from tests.bitexact.avr_side_by_side import Edit, Tool, said

ASSEMBLY = "bpgen_avr_s8.h"
PROGRAM = Path(__file__).parent / "avr_s8.c"
SUITE_SEED = 8
ROM = 6000
# Where in the flash are weights of any size, only -128, only 127, and both.
ANY, LOWEST, HIGHEST, BOTH = 0, 2000, 4000, 1500
BIASES = 400
# Where the biases grow: below 2^22, to the rails of 24 bits, and to those of 30.
SMALL, MIDDLE, LARGE = 0, 140, 270
ONE_LARGE = 133  # in the midst of small ones
SIGMOIDS = range(990, 994)  # what avr_s8.c reports bp_sigmoid as


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


def differing(folder: Path, tool: Tool, *flags: str, edit: Edit = str) -> dict[int, int]:
    """How many results of each layer differ; `edit` may change the assembly first."""
    text = said(folder, tool, PROGRAM, header(), ASSEMBLY, *flags, edit=edit)
    return {int(number): int(count) for number, count in re.findall(r"(\d{3}) (\d{5});", text)}


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

"""Inference in bytes in assembly gives the bits of the portable C, on an emulated ATmega2560."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from bpgen import lut
from bpgen.emit.avr import avr_bytes
from bpgen.proof import Sum
from tests.bitexact.avr_side_by_side import (
    FLAGS_OF_MUTANTS,
    Enough,
    never,
    one_differs,
    said,
)
from tests.bitexact.side_by_side import Edit, Tool, counts, mutant

BYTES, SIGMOID = "bpgen_avr_s8.h", "bpgen_avr_sigmoid.h"
PROGRAM = Path(__file__).parent / "avr_s8.c"
SUITE_SEED = 8
ROM = 6000
# Where in the flash are weights of any size, only -128, only 127, and both.
ANY, LOWEST, HIGHEST, BOTH = 0, 2000, 4000, 1500
BIASES = 420
# Where the biases grow: below 2^22, to the rails of 24 bits, and to those of 30.
SMALL, MIDDLE, LARGE = 0, 140, 270
ONE_LARGE = 133  # in the midst of small ones
HIGH, LOW = 380, 400  # 2^22 - 1 and -(2^22 - 1)
# With 256 inputs and a shift of 8, what makes a bound of 2^23 - 1, and what is too low; and 0.
TIGHT, TOO_LOW, NONE = 362, 368, 374
TIGHTEST = 2**23 - 1 - 256 * 128 * 255 - 2**7
SIGMOIDS = range(990, 994)  # what avr_s8.c reports bp_sigmoid as
FRACTIONS = (8, 11, 12, 13)  # of sigmoids

Fits = Callable[[Sum, int], bool]


def bias() -> npt.NDArray[np.int64]:
    """What is in flash of biases."""
    rng = np.random.default_rng([SUITE_SEED, 2])
    sign = rng.choice([-1, 1], BIASES)
    biases = sign * (rng.integers(0, 2**22, BIASES) >> rng.integers(0, 18, BIASES))
    biases[7::13] = (2**22 - 1) * sign[7::13]
    biases[MIDDLE:] = sign[MIDDLE:] * (2**23 - rng.integers(0, 2**22, BIASES - MIDDLE))
    biases[MIDDLE::5] = sign[MIDDLE::5] * 2**22
    biases[LARGE:] = sign[LARGE:] * (2**30 - rng.integers(0, 2**29, BIASES - LARGE))
    biases[ONE_LARGE] = 2**30 + 77
    biases[TIGHT:TOO_LOW] = sign[TIGHT:TOO_LOW] * TIGHTEST
    biases[TOO_LOW:NONE], biases[NONE:HIGH] = -TIGHTEST - 300, 0
    biases[HIGH:LOW], biases[LOW:] = 2**22 - 1, 1 - 2**22
    return biases


BIAS = bias()


@dataclass(frozen=True)
class Layer:
    """`end` is what a kernel does with z: clip it or its sigmoid, to a word or a byte."""

    inputs: int
    outputs: int
    z_shift: int
    z_lowest: int = -32767
    z_top: int = 32767
    w: int = ANY
    b: int = SMALL
    end: str = "s8_clip"
    frac: int = 12

    @property
    def sum(self) -> Sum:
        biggest = int(np.abs(BIAS[self.b : self.b + self.outputs]).max())
        half = 1 << self.z_shift - 1 if self.z_shift > 0 else 0
        bound = biggest + self.inputs * 128 * 255 + half
        return Sum(self.inputs, 255, 16, self.z_shift, bound, True, self.inputs)

    def c(self, number: int, fits: Fits) -> str:
        sigmoid = self.end.endswith("sigmoid")
        table = f"sigmoid_{FRACTIONS.index(self.frac)}_7" if sigmoid else "NULL"
        kernel = self.end
        if not fits(self.sum, self.outputs):
            kernel = f"{self.end[:2]}_any"
        return (
            f"static const bp_layer_t layer_{number} BP_ROM = {{\n"
            f"    {self.inputs}, {self.outputs}, 0, 0, {self.z_lowest}, {self.z_top}, 0,\n"
            f"    8, {self.z_shift}, 0, {self.frac}, 7, {table},\n"
            f"    BP_LAYER_FAST_S8(bp_avr_{kernel}, {self.inputs}, {self.outputs}, "
            f"{self.z_shift}, {self.frac})\n}};\n"
        )

    def case(self, number: int, fits: Fits) -> str:
        call = "dense_u8" if self.end.startswith("u8") else "dense_s8"
        # Without a kernel, a sigmoid of words is another call.
        if self.end == "s8_sigmoid" and fits(self.sum, self.outputs):
            call = "dense_sigmoid_s8"
        return (
            f"    {{&layer_{number}, {self.inputs}, {self.outputs}, {self.w}, {self.b}, "
            f"{call.upper()}}},\n"
        )


def layers() -> list[Layer]:
    """The corners, then random ones."""
    wide = (129, 130, 255, 256, 257, 258, 300)
    found = [
        *(Layer(n, outputs, 6) for n in (1, 2, 7) for outputs in range(1, 20)),
        *(Layer(n, 5, 5) for n in (127, 128, *wide, 254, 512, 514)),
        *(Layer(9, 3, shift, -900, 32000) for shift in range(-8, 25)),
        *(Layer(40, 7, shift, 0, 255, end="u8_clip") for shift in range(-8, 25)),
        *(Layer(2, outputs, 4) for outputs in (126, 127, 128, 130)),
        *(Layer(5, outputs, 8) for outputs in (127, 128, 129, 133)),
        *(Layer(n, 6, 8, -40, 40) for n in (2, 3, 4)),
        *(
            Layer(n, 7, shift, w=w, b=b)
            for n in (3, 127, 128)
            for shift in (1, 4, 7, 8)
            for w in (LOWEST, HIGHEST, BOTH)
            for b in (SMALL, MIDDLE, LARGE)
        ),
        *(Layer(12, 6, 3, b=ONE_LARGE - i) for i in range(6)),
        *(
            Layer(n, 6, shift, w=w, b=TIGHT)
            for n in (*wide, 600)
            for shift in (1, 8, 9, 10)
            for w in (LOWEST, HIGHEST)
            if n < 600
        ),
        *(Layer(600, 3, shift, w=w) for shift in (8, 9, 10) for w in (LOWEST, HIGHEST)),
        *(Layer(129, 15, 8, w=w, b=b) for w in (LOWEST, HIGHEST) for b in (HIGH, LOW)),
        *(Layer(256, 6, 8, w=w, b=b) for w in (LOWEST, HIGHEST) for b in (TIGHT, TOO_LOW)),
        *(Layer(257, 6, 7, w=w, b=NONE) for w in (ANY, LOWEST)),
        *(
            Layer(n, outputs, shift, end=end, frac=frac)
            for n in (2, 33, 129)
            for outputs in (1, 2, 5, 6, 8, 18)
            for shift in (4, 9)
            for end, frac in (("u8_sigmoid", 8), ("s8_sigmoid", 12))
        ),
        *(
            Layer(6, 12, shift, end="u8_sigmoid" if frac == 8 else "s8_sigmoid", frac=frac)
            for shift in range(9)
            for frac in FRACTIONS
            for _ in range(2)
        ),
    ]
    rng = np.random.default_rng([SUITE_SEED, 0])
    while len(found) < 660:
        end = str(rng.choice(["s8_clip", "s8_sigmoid", "u8_clip", "u8_sigmoid"]))
        top = 255 if end == "u8_clip" else int(rng.choice([255, 32767, 4000]))
        sigmoid = end.endswith("sigmoid")
        found.append(
            Layer(
                int(rng.integers(1, 90)),
                int(rng.integers(1, 22)),
                int(rng.integers(0, 10)),
                -32767 if sigmoid else 0 if end == "u8_clip" else int(rng.choice([0, -top])),
                32767 if sigmoid else top,
                int(rng.integers(0, 30)),
                int(rng.choice([SMALL, SMALL, MIDDLE])),
                end,
                8 if end == "u8_sigmoid" else int(rng.choice(FRACTIONS[1:])),
            )
        )
    return found


LAYERS = layers()


def header(fits: Fits) -> str:
    """layers.h"""
    rng = np.random.default_rng([SUITE_SEED, 1])
    rom = rng.integers(-128, 128, ROM) >> rng.integers(0, 5, ROM)
    rom[BOTH:LOWEST] = rng.choice([-128, 127], LOWEST - BOTH)
    rom[LOWEST:HIGHEST], rom[HIGHEST:] = -128, 127
    pairs = ", ".join(
        f"BP_W8({w}, {w_next})" for w, w_next in zip(rom[::2], rom[1::2], strict=True)
    )
    lines = [
        f"static const bp_w8_t rom[] BP_ROM = {{{pairs}}};\n",
        f"static const int32_t biases[] BP_ROM = {{{', '.join(map(str, BIAS))}}};\n",
    ]
    for bits in (5, 7, 8, 9):
        at = np.arange((1 << bits) + 1) * lut.RANGE / (1 << bits)
        entries = np.floor(2**16 * lut.reference("sigmoid", at) + 0.5).astype(int)
        values = ", ".join(map(str, entries))
        lines.append(f"static const uint16_t sigmoid_{bits}[] BP_ROM = {{{values}}};\n")
    for number, frac in enumerate(FRACTIONS):
        table = lut.activation_table("sigmoid", frac)
        assert table.bits == 7
        values = ", ".join(map(str, table.entries))
        lines.append(f"static const uint16_t sigmoid_{number}_7[] BP_ROM = {{{values}}};\n")
    lines += [layer.c(number, fits) for number, layer in enumerate(LAYERS)]
    lines.append("static const case_t cases[] BP_ROM = {\n")
    lines += [layer.case(number, fits) for number, layer in enumerate(LAYERS)]
    lines.append("};\n")
    lines.append(f"#define LONGEST {max(x.inputs for x in LAYERS) + 1}\n")
    lines.append(f"#define WIDEST {max(x.outputs for x in LAYERS)}\n")
    return "".join(lines)


def differing(
    folder: Path, tool: Tool, *flags: str,
    edited: str = "", edit: Edit = str, fits: Fits = avr_bytes, enough: Enough = never,
) -> dict[int, int]:  # fmt: skip
    """
    How many results of each layer differ.

    `edit` may change the file `edited` first, and `fits` which layers have a kernel.
    """
    text = said(folder, tool, PROGRAM, header(fits), edited, *flags, edit=edit, enough=enough)
    return {int(number): count for number, count in counts(text).items()}


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
        ('"adc " C ", r22', '"nop'),  # of PRODUCT_S8
        ("adiw r30, 1", "adiw r30, 2"),  # of START_S8
        ("adc r31, r22", "nop"),  # of PAIR_S8
        ("adc r3, r22", "nop"),  # of FIRST_S8
        ("cpse r26, r24", "dec r24\\n\\tcpse r26, r24"),
        ('"adc " C ", r24', '"add " C ", r24'),  # of CORRECT_S8
        ("lsl r23", "nop"),  # of the layer
        ("adiw r30, 12", "adiw r30, 11"),
        ("ror r21", "clr r21"),
        ("sbc r24, r3", "sub r24, r3"),
        ("subi r25, 6", "subi r25, 7"),
        ("or r23, r0", "mov r23, r0"),  # of NARROW_S8
        ("or r20, r1", "or r20, r22"),
        ("cp r24, r21", "cp r21, r24"),  # of TOO_FAR_S8
        ("com r20", "neg r20"),
        ("cpc r20, r29", "cp r20, r29"),  # of CLIP_S8
        ("cpc r31, r20", "cp r31, r20"),
        ('"sbc " B ", r21', '"sub " B ", r21'),  # of BETWEEN_S8
        ("sub r21, r23", "nop"),  # of SIGMOID_S8
        ("sbc r21, r22", "nop"),  # of a fraction of 8 bits
        ('ROUND_S8 "neg r21', 'ROUND_S8 "com r21'),
        ("adc r1, r22", "nop"),  # of more bits
        ("sbc r21, r1", "sub r21, r1"),
        ("n < 256 ? n / 2 : 128", "n < 260 ? n / 2 : 130"),  # of any layer
        ("excess *= 128", "excess *= 127"),
        ("l.table != NULL", "0"),
    ],
)
def test_a_wrong_instruction_is_noticed(line: str, broken: str, tool: Tool, tmp_path: Path) -> None:
    edit = mutant(line, broken)
    found = differing(
        tmp_path, tool, *FLAGS_OF_MUTANTS, edited=BYTES, edit=edit, enough=one_differs
    )
    assert wrong(found)


def test_a_wrong_instruction_of_the_sigmoid_is_noticed(tool: Tool, tmp_path: Path) -> None:
    edit = mutant("lsl %A[z]", "nop")
    found = differing(
        tmp_path, tool, *FLAGS_OF_MUTANTS, edited=SIGMOID, edit=edit, enough=one_differs
    )
    assert wrong(found)


@pytest.mark.parametrize(
    "fits",
    [
        lambda total, outputs: avr_bytes(replace(total, terms=2), outputs),
        lambda total, outputs: avr_bytes(replace(total, bound=total.bound - 300), outputs),
        lambda total, outputs: avr_bytes(total, outputs - 5),
        lambda total, outputs: avr_bytes(replace(total, shift=total.shift - 1), outputs),
        lambda total, outputs: avr_bytes(replace(total, shift=total.shift + 1), outputs),
    ],
    ids=["more inputs", "a larger bound", "more outputs", "a shift of 9", "a shift of 0"],
)
def test_no_kernel_takes_a_layer_that_is_larger(fits: Fits, tool: Tool, tmp_path: Path) -> None:
    assert wrong(differing(tmp_path, tool, "-O2", fits=fits, enough=one_differs))

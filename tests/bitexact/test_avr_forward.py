"""Layers forward in assembly give the bits of the portable C, on an emulated ATmega2560."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from bpgen import lut
from bpgen.emit.avr import avr_sum
from bpgen.proof import Sum, block_size, forward_bound
from tests.bitexact.avr_side_by_side import (
    FLAGS_OF_MUTANTS,
    Enough,
    never,
    one_differs,
    said,
)
from tests.bitexact.side_by_side import Edit, Tool, counts, mutant

ASSEMBLY, PARTS = "bpgen_avr_forward.h", "bpgen_avr_parts.h"
CALLS, SUM = "bpgen_dense_avr.h", "bpgen_sum_avr.h"
PROGRAM = Path(__file__).parent / "avr_forward.c"
SUITE_SEED = 4
ROM = 3000
MOST_WEIGHTS = 1400
TABLE_FRACTIONS = {7: 13, 8: 14, 9: 15}  # of activations that have tables of so many bits
SIGMOIDS = range(990, 993)  # what avr_forward.c reports bp_sigmoid as


@dataclass(frozen=True)
class Layer:
    """A layer; `bits` are those of its sigmoid's table, 0 for none."""

    inputs: int
    outputs: int
    a_top: int
    a_in_frac: int
    z_shift: int
    bits: int
    z_lowest: int = -32767
    z_top: int = 32767
    a_in_signed: bool = True

    @property
    def frac(self) -> int:
        """The outputs' fraction: from 11 to 13 with 7 bits."""
        return 11 + self.inputs % 3 if self.bits == 7 else TABLE_FRACTIONS.get(self.bits, 12)

    @property
    def sum(self) -> Sum:
        shift = max(self.z_shift, 0)
        bound = forward_bound(self.inputs, self.a_top, self.a_in_frac, shift)
        plain = bound < 2**31
        block = self.inputs + self.inputs % 2 if plain else block_size(self.a_top)
        return Sum(self.inputs, self.a_top, 0, shift, bound, plain, block)

    @property
    def is_fused(self) -> bool:
        kind, _ = avr_sum(self.sum, self.outputs, self.a_in_frac)
        return self.bits > 0 and kind != "any"

    @property
    def is_plain(self) -> bool:
        return avr_sum(self.sum, self.outputs, self.a_in_frac)[0] == "plain"

    @property
    def stored(self) -> int:
        return (self.inputs + 1) // 2 * 2 * self.outputs

    def c(self, number: int) -> str:
        kind, count = avr_sum(self.sum, self.outputs, self.a_in_frac)
        table = f"sigmoid_{self.bits}" if self.bits else "NULL"
        end = f"_sigmoid_{self.bits}" if self.is_fused else "_clip"
        kernel = f"bp_avr_{kind}{'' if kind == 'any' else end}"
        pairs = (self.inputs + 1) // 2
        a_scale = 1 << self.frac - 8 if self.is_fused else 0
        return "".join(
            f"static const bp_layer_t layer_{number}{rom} BP_ROM = {{\n"
            f"    {self.inputs}, {self.outputs}, {self.sum.block}, 0,\n"
            f"    {self.z_lowest}, {self.z_top}, 0,\n"
            f"    {self.a_in_frac}, {self.z_shift}, 0, {self.frac}, {self.bits}, {table},\n"
            + (
                f"    BP_LAYER_FAST(bp_avr_sums{rom}, {pairs}, bp_avr_ends{end},"
                if kind == "plain"
                else f"    BP_LAYER_FAST(0, 0, {kernel}{rom},"
            )
            + f" {count}, {self.outputs}, {pairs},\n"
            f"                  {self.a_in_frac}, {self.z_shift}, {a_scale}, "
            f"{int(self.a_in_signed)})\n}};\n"
            for rom in ("", "_rom")
        ) + self.known(number)

    def known(self, number: int) -> str:
        """Functions that do a sum at once with all of it known to the compiler."""
        if not self.is_plain:
            return ""
        a_in = f"net.a_in + LONGEST - {(self.inputs + 1) // 2 * 2}"
        dense = "bp_dense_sigmoid" if self.is_fused else "bp_dense"
        return (
            f"static void known_{number}(void)\n{{\n"
            f"    {dense}(net.fast + GUARD, &layer_{number}, net.w, net.b, {a_in}, NULL);\n}}\n"
            f"static void known_{number}_rom(void)\n{{\n"
            f"    {dense}_rom(net.fast + GUARD, &layer_{number}_rom, rom + KNOWN_W,\n"
            f"                rom + KNOWN_B, {a_in}, NULL);\n}}\n"
        )


def layers() -> list[Layer]:
    """The corners, then random ones: plain, in parts, and of any shift."""
    found = [
        *(Layer(4, outputs, 4095, 12, 12, 7) for outputs in range(1, 10)),
        *(Layer(n, 3, 4095, 12, 12, 8) for n in (1, 2, 3, 5, 14, 15)),
        *(
            Layer(n, outputs, 4095, 12, 12, bits, a_in_signed=False)
            for outputs, bits in ((1, 8), (2, 0), (3, 7))
            for n in (1, 2, 3, 40)
        ),
        *(Layer(40, outputs, 4095, 12, 12, 0) for outputs in range(1, 10)),
        *(Layer(n, 5, 4095, 12, 13, 8) for n in (15, 16, 17, 28, 29, 30, 31, 33)),
        *(Layer(n, 6, 32767, 15, 15, 7) for n in (1, 2, 3, 4, 5, 9)),
        *(Layer(9, 2, 3000, 11, shift, 0) for shift in range(31)),
        *(Layer(9, 5, 900, 11, shift, 7) for shift in (8, 9, 10, 15, 16, 17)),
        *(Layer(9, 5, 32767, frac, 14, 0) for frac in (4, 7, 8, 15)),
        *(Layer(2, outputs, 4095, 12, 12, 8) for outputs in (61, 63, 64, 65, 67, 70, 130)),
        Layer(2, 300, 4095, 12, 12, 0),
        *(Layer(n, 2, 255, 8, 11, 7) for n in (254, 256, 258, 300, 508, 510, 511, 600)),
        *(Layer(n, 1, 20000, 14, 14, 0) for n in (254, 256, 511)),
        *(Layer(n, 1, 32767, 15, 18, 0) for n in (511, 513, 700)),
        *(Layer(12, 5, 4095, 12, 12, 0, lowest, 900) for lowest in (0, -900)),
        Layer(12, 5, 16383, 12, 12, 0, 0, 32767),
    ]
    rng = np.random.default_rng([SUITE_SEED, 0])
    while len(found) < 240:
        inputs = int(rng.integers(1, 70))
        top = int(2 ** rng.uniform(4, 15)) if rng.integers(3) else 32767
        layer = Layer(
            inputs,
            int(rng.integers(1, 14)),
            min(top, 32767),
            int(rng.integers(4, 16)),
            int(rng.integers(9, 17)) if rng.integers(4) else int(rng.integers(0, 31)),
            int(rng.choice([0, 7, 7, 8])),
            a_in_signed=bool(rng.integers(2)),
        )
        if layer.stored <= MOST_WEIGHTS:
            found.append(layer)
    return found


LAYERS = layers()


def header() -> str:
    """layers.h"""
    rng = np.random.default_rng([SUITE_SEED, 1])
    rom = rng.integers(-32768, 32768, ROM) >> rng.integers(0, 12, ROM)
    rom[::7] = -32768
    rom[3::11] = 32767
    lines = [
        f"#define LONGEST {max(x.inputs for x in LAYERS) + 1}\n",
        f"#define WIDEST {max(x.outputs for x in LAYERS)}\n",
        f"#define WEIGHTS {max(x.stored for x in LAYERS)}\n",
        f"#define ROM {ROM}\n",
        "DECLARE_NET\n",
        f"static const int16_t rom[] BP_ROM = {{{', '.join(map(str, rom))}}};\n",
    ]
    for bits, frac in TABLE_FRACTIONS.items():
        table = lut.activation_table("sigmoid", frac)
        assert table.bits == bits
        entries = ", ".join(str(entry) for entry in table.entries)
        lines.append(f"static const uint16_t sigmoid_{bits}[] BP_ROM = {{{entries}}};\n")
    lines += [layer.c(number) for number, layer in enumerate(LAYERS)]
    lines.append("static const case_t cases[] BP_ROM = {\n")
    lines += [
        f"    {{&layer_{number}, &layer_{number}_rom, {x.inputs}, {x.outputs}, {x.a_top}, "
        f"{int(x.is_fused)}, {int(x.a_in_signed)}, "
        + (f"known_{number}, known_{number}_rom}},\n" if x.is_plain else "NULL, NULL},\n")
        for number, x in enumerate(LAYERS)
    ]
    lines.append("};\n")
    return "".join(lines)


def differing(
    folder: Path, tool: Tool, *flags: str,
    assembly: str = ASSEMBLY, edit: Edit = str, enough: Enough = never,
) -> dict[int, int]:  # fmt: skip
    """How many results of each layer differ; `edit` may change the assembly first."""
    text = said(folder, tool, PROGRAM, header(), assembly, *flags, edit=edit, enough=enough)
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


# By file: what is replaced, and by what.
MUTANTS = {
    ASSEMBLY: [
        ("cpse r1, r21", "cpse r21, r21"),  # of NARROW
        ("cp r16, r1", "cp r1, r16"),  # of TOO_FAR
        ("cpc r23, r29", "cp r23, r29"),  # of CLIP
        ("sbci r22, 255", "nop"),  # of SIGMOID_8, z = -32768
        ('INTERPOLATE("mulsu"', 'INTERPOLATE("mul"'),  # of SIGMOID, z < 0
        ('com " B ', 'tst " B '),
        ("lsl r0", "clc"),  # and of any z
        ("sbc r31, r21", "nop"),  # of the place in the table
        ("ldi r22, 0x16", "ldi r22, 0x15"),  # of SIGMOID_FAR
        ('"sbrc " size ", 1', '"sbrs " size ", 1'),  # of TAIL, a smaller group
        ("add r30, r29", "nop"),
        ("ldd r29, Y+13", "ldd r29, Y+12"),  # of bp_avr_group
        ("== 4 ? 5u", "== 4 ? 0u"),
    ],
    SUM: [
        ('"adc " D ", r17', '"add " D ", r17'),  # of START
        ('"sbc " D ", r21', '"nop'),  # of a product
        ('", r20\\n\\tsbc " D ", r21', '", r20'),
        ('"adc " C ", r22', '"add " C ", r22'),
        ('"mul " high ", r20', '"mul " high ", r23'),  # of inputs that are not negative
    ],
    PARTS: [
        ('"sbrc " D ", 7', '"sbrs " D ", 7'),  # of AROUND
        ("ldi r18, 0x7F", "ldi r18, 0x7E"),
        ("subi r18, lo8(-", "subi r18, lo8(2-"),  # of SIGMOID_FROM_FLASH
        ("add r30, r29", "nop"),
    ],
    CALLS: [
        ("adiw r26", "sbiw r26"),
        ("sbiw r26", "adiw r26"),
        ("sbci r27", "sbci r26"),
        ('"set', '"clt'),
        ("4 - (%[outputs] & 3)", "4 - (%[outputs] & 1)"),
        ("4 * %[outputs] - 16", "4 * %[outputs] - 12"),
        ("%[outputs] & 0xFC", "%[outputs] & 0xF8"),
        ("[w] + 16 *", "[w] + 8 *"),  # in RAM
        ("ldi r18, lo8(%[w]", "ldi r18, lo8(2 + %[w]"),  # in flash
        ("ldi r29, hi8(%[lowest]", "ldi r29, hi8(256 + %[lowest]"),
        ("1u << layer->table_bits) - 1", "1u << layer->table_bits)"),
        ("== 0 || %[a_scale] == 0", "== 0"),  # of the stride
        ('"8 - (" outputs', '"6 - (" outputs'),  # of TAIL
        ("else if (fast->a_in_signed)", "else if (!fast->a_in_signed)"),
        ("dec r28", "clr r28"),  # of few outputs
    ],
}


@pytest.mark.parametrize(
    ("assembly", "line", "broken"),
    [(assembly, *mutant) for assembly, mutants in MUTANTS.items() for mutant in mutants],
)
def test_a_wrong_instruction_is_noticed(
    assembly: str, line: str, broken: str, tool: Tool, tmp_path: Path
) -> None:
    edit = mutant(line, broken)
    found = differing(
        tmp_path, tool, *FLAGS_OF_MUTANTS, assembly=assembly, edit=edit, enough=one_differs
    )
    assert wrong(found)

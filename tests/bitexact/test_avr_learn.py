"""Deltas and updates in assembly give the bits of the portable C, on an emulated ATmega2560."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pytest

from bpgen.proof import WEIGHT_LIMIT, block_size, plain_delta_top
from tests.bitexact.avr_side_by_side import said
from tests.bitexact.side_by_side import Edit, Tool, counts, mutant

BACKWARD, UPDATE = "bpgen_avr_backward.h", "bpgen_avr_update.h"
DELTA, MASTER = "bpgen_delta_avr.h", "bpgen_master_avr.h"
LEARN, FEW = "bpgen_learn_avr.h", "bpgen_few_avr.h"
FUSED, LARGE_STEP = "bpgen_fused_avr.h", "bpgen_large_avr.h"
SHIFTS = "bpgen_avr_shifts.h"
PROGRAM = Path(__file__).parent / "avr_learn.c"
KERNELS = (
    "update_residual",
    "update_stochastic",
    "learn_residual",
    "learn_stochastic",
    "backward",
    "delta_sigmoid",
    "output_delta",
    "descent",
    "sigmoid_derivative",
    "known_residual",
    "known_stochastic",
    "large_residual",
    "large_stochastic",
    "first_residual",
    "first_stochastic",
    "first_large_residual",
    "first_large_stochastic",
    "known_output",
)
SEED = 20260
MAX_INPUTS = 9
# Inputs and outputs: more outputs, or more pairs of inputs, than a byte counts.
MANY_OUTPUTS = ((1, 260), (1, 256))
MANY_INPUTS = tuple((n, 1) for n in range(511, 521))
# Those that the generator calls large have more weights, but nothing else is different.
LARGE = ((9, 32), (1, 4), (8, 31), (2, 1), (7, 17), (6, 10), (5, 32), (4, 5), (3, 20), (9, 9))
LARGE_FIRST = ((9, 32), (1, 4), (8, 5), (2, 130), (7, 11), (6, 4), (5, 2), (3, 1))
# A fraction of less than 8 takes the pass.
LARGE_FIRST_FRACS = (15, 14, 13, 12, 7, 9, 10, 8)


def _layer(
    rng: np.random.Generator, case: int, corners: tuple[tuple[int, int], ...], *, sigmoid: bool
) -> tuple[str, str, int]:
    """One layer and the limits of its numbers as C initialisers, and its weights in memory."""
    inputs, outputs = int(rng.integers(1, MAX_INPUTS + 1)), int(rng.integers(1, 10))
    if case < len(corners):
        inputs, outputs = corners[case]
    frac = int(rng.integers(9 if sigmoid and rng.integers(4) else 4, 16))
    top = (1 << frac) - 1 if sigmoid else int(rng.integers(1, 32768) >> int(rng.integers(0, 12)))
    top = max(top, 1)
    excess = max(0, top.bit_length() - frac)  # T < 2^(frac + excess)
    if excess > 8:
        frac += excess - 8
        excess = 8
    u_frac = int(rng.integers(8 - excess, 16 - excess))
    # Sums that fit 32 bits, blocks of a few products, and of one or two.
    shifts = (8, rng.integers(1, 8), rng.integers(9, 17), rng.integers(0, 35))
    sum_shift = int(shifts[rng.integers(4)])
    dz_top = min(32767, max(1, int(plain_delta_top(outputs, sum_shift) * rng.choice([1, 1.3, 2]))))
    if rng.integers(3) == 0:
        dz_top = 32767
    if case == 1:  # sums of more than 32 bits
        sum_shift, dz_top = 1, 32767
    plain = WEIGHT_LIMIT * outputs * dz_top + (1 << sum_shift >> 1) < 2**31
    block = outputs if plain else block_size(dz_top)
    dz_in_top = int((32767, 16384, rng.integers(1, 32768), rng.integers(1, 32768))[rng.integers(4)])
    shift = int(rng.choice([8, 16, 24]))
    layer = (
        f"{{.inputs = {inputs}, .outputs = {outputs}, .delta_block = {block}, "
        f".dz_in_top = {dz_in_top}, .a_in_frac = {frac}, .sum_shift = {sum_shift}}}"
    )
    limits = f"{{{top}, {dz_top}, {shift}, {u_frac}, {int(sigmoid)}}}"
    return layer, limits, (inputs + inputs % 2) * outputs


def _known(rng: np.random.Generator, n: int, *, sigmoid: bool) -> tuple[str, list[str]]:
    """
    One layer of one to three outputs as arguments of a macro, and eight limits for its numbers.

    Its deltas are right behind its inputs, before them or far behind, by the second argument.
    """
    inputs, outputs = int(rng.integers(1, MAX_INPUTS + 1)), 1 + n % 3
    excess = 0 if sigmoid else int(rng.integers(0, 4))
    frac = int(rng.integers(9 if sigmoid else 7, 16 - excess))
    sum_shift = int((8, rng.integers(1, 8), rng.integers(9, 16), 16, 8)[n % 5])
    dz_top = int(plain_delta_top(outputs, sum_shift))
    tops = (32767, 16384, 28671, 16384, 8191, 16384, 100, rng.integers(1, 32768))
    dz_in_top = int(tops[n % 8])
    layer = (
        f"{n}, {n // 3 % 3}, .inputs = {inputs}, .outputs = {outputs}, .delta_block = {outputs}, "
        f".dz_in_top = {dz_in_top}, .a_in_frac = {frac}, .sum_shift = {sum_shift}"
    )
    top = (1 << (frac + excess)) - 1
    limits = [
        f"{{{top}, {dz_top}, {8 if i % 2 else 16}, {int(rng.integers(8 - excess, 16 - excess))}, "
        f"{int(sigmoid)}}}"
        for i in range(8)
    ]
    return layer, limits


def _large(rng: np.random.Generator, n: int, shape: tuple[int, int]) -> tuple[str, list[str]]:
    """The same of a layer for one loop, whose deltas may be any."""
    inputs, outputs = shape
    frac = int(rng.integers(9, 16))
    sum_shift = int((8, rng.integers(1, 8), rng.integers(9, 16), 16, 1)[n % 5])
    dz_in_top = int((32767, 16384, rng.integers(1, 32768))[n % 3])
    layer = (
        f"{n}, {n % 3}, .inputs = {inputs}, .outputs = {outputs}, .delta_block = 1, "
        f".dz_in_top = {dz_in_top}, .a_in_frac = {frac}, .sum_shift = {sum_shift}"
    )
    limits = [
        f"{{{(1 << frac) - 1}, {dz_top}, {shift}, {int(rng.integers(8, 16))}, 1}}"
        for shift in (8, 16)
        for dz_top in (32767, *rng.integers(1, 32768, 3))
    ]
    return layer, limits


def _large_first(rng: np.random.Generator, n: int, shape: tuple[int, int]) -> tuple[str, list[str]]:
    """The same of a layer whose inputs may be negative and which passes no deltas on."""
    inputs, outputs = shape
    excess = n % 4
    frac = LARGE_FIRST_FRACS[n]
    layer = f"{34 + n}, 0, .inputs = {inputs}, .outputs = {outputs}, .a_in_frac = {frac}"
    top = (1 << (frac + excess)) - 1
    limits = [
        f"{{{top}, 32767, {shift}, {int(u_frac)}, 0}}"
        for shift in (8, 16)
        for u_frac in rng.integers(8 - excess, 16 - excess, 4)
    ]
    return layer, limits


def _known_output(rng: np.random.Generator, n: int) -> str:
    frac = 4 + n % 12
    top = int((32767, 16384, rng.integers(1, 32768))[n % 3])
    return f"{n}, {n % 3}, {frac}, {int(rng.integers(9, 17))}, {top}, {1 + n % 5}"


def _macro(name: str, calls: list[str]) -> str:
    return f"#define {name}(X) " + " ".join(f"X({arguments})" for arguments in calls) + "\n"


def layers(kernels: Collection[str] = KERNELS, *, many_inputs: bool = False) -> str:
    """
    layers.h: the kernels to check, layers to update, then layers to learn behind sigmoids.

    The first of these have many outputs, or the first to update `many_inputs`: memory has room for
    one or the other.

    And those that are known when it is compiled: layers of few outputs behind sigmoids, first
    layers of few outputs, large layers of both kinds, and sigmoid outputs.
    """
    rng = np.random.default_rng(SEED)
    corners = MANY_INPUTS if many_inputs else MANY_OUTPUTS
    some = [_layer(rng, case, corners, sigmoid=False) for case in range(60)]
    corners = () if many_inputs else MANY_OUTPUTS
    more = [_layer(rng, case, corners, sigmoid=True) for case in range(80)]
    both = some + more
    known = [_known(rng, n, sigmoid=True) for n in range(15)]
    first = [_known(rng, n, sigmoid=False) for n in range(15, 24)]
    large = [_large(rng, 24 + n, shape) for n, shape in enumerate(LARGE)]
    outputs = [_known_output(rng, n) for n in range(12)]
    large_first = [_large_first(rng, n, shape) for n, shape in enumerate(LARGE_FIRST)]
    several = [limits for _, limits in known + first + large + large_first]
    known_limits = [limits for eight in several for limits in eight]
    return (
        _macro("KERNELS", list(kernels))
        + _macro("KNOWN_LAYERS", [layer for layer, _ in known])
        + _macro("FIRST_LAYERS", [layer for layer, _ in first])
        + _macro("LARGE_LAYERS", [layer for layer, _ in large])
        + _macro("LARGE_FIRST_LAYERS", [layer for layer, _ in large_first])
        + _macro("KNOWN_OUTPUTS", outputs)
        + (
            f"#define SEED {SEED}u\n"
            f"#define UPDATE_LAYERS {len(some)}\n"
            f"#define LAYERS {len(both)}\n"
            f"#define WEIGHTS {max(weights for _, _, weights in both)}\n"
            f"#define OUTPUTS {140 if many_inputs else 260}\n"
            f"#define INPUTS {520 if many_inputs else 260}\n"
            "typedef struct {\n"
            "    int16_t a_top, dz_top;\n"
            "    int8_t shift;\n"
            "    uint8_t frac, sigmoid;\n"
            "} limits_t;\n"
            f"static const bp_layer_t layers[] BP_ROM = {{{', '.join(x for x, _, _ in both)}}};\n"
            "static const limits_t layer_limits[] BP_ROM = "
            f"{{{', '.join(x for _, x, _ in both)}}};\n"
            f"static const limits_t known_limits[] BP_ROM = {{{', '.join(known_limits)}}};\n"
        )
    )


def differing(
    folder: Path, tool: Tool, *flags: str, header: str = "",
    edited: str = "", edit: Edit = str,
) -> dict[str, int]:  # fmt: skip
    """How many results of each kernel differ; `edit` may change the file `edited` first."""
    text = said(folder, tool, PROGRAM, header or layers(), edited, *flags, edit=edit)
    return counts(text)


@pytest.mark.parametrize("optimisation", ["-O2", "-Os", "-O3"])
def test_every_kernel_gives_the_bits_of_the_portable_c(
    optimisation: str, tool: Tool, tmp_path: Path
) -> None:
    assert differing(tmp_path, tool, optimisation) == dict.fromkeys(KERNELS, 0)


def test_layers_of_more_than_512_inputs_have_the_bits_too(tool: Tool, tmp_path: Path) -> None:
    found = differing(tmp_path, tool, "-O2", header=layers(many_inputs=True))
    assert found == dict.fromkeys(KERNELS, 0)


def test_with_counters_the_portable_c_is_in_place(tool: Tool, tmp_path: Path) -> None:
    assert differing(tmp_path, tool, "-O2", "-DBPGEN_COUNTERS=1") == dict.fromkeys(KERNELS, 0)


FIRST_LARGE = {"first_large_residual", "first_large_stochastic"}
# By file: the kernels that notice, and what is replaced in the n-th line that holds it.
MUTANTS = {
    BACKWARD: [
        ({"learn_residual", "learn_stochastic"}, '"pop r22', '"pop r4', 0),
        ({"learn_residual", "learn_stochastic"}, '"cpse r16, r2', '"cpse r16, r16', 0),
        ({"learn_residual", "learn_stochastic"}, '"brsh 23f', '"brvs 23f', 0),
        ({"learn_residual", "learn_stochastic"}, '"movw r16, r12', '"movw r16, r10', 0),
        ({"delta_sigmoid"}, '"cp r0, r21', '"cp r0, r0', 0),
        ({"learn_residual", "learn_stochastic"}, "    BP_AVR_CLIP_SUMS ", "", 0),
        ({"learn_residual", "learn_stochastic"}, "ldd r5, Y+%[half]+1", "clr r5", 0),
        ({"backward"}, "lsl %[dropped]", "clc", 0),
        ({"backward"}, "subi %D[low], 0x80", "subi %D[low], 0x81", 0),
    ],
    DELTA: [
        ({"learn_residual", "large_residual"}, '"dec " fifth', '"inc " fifth', 0),
        ({"learn_residual", "large_residual"}, '"ror r11', '"lsr r11', 0),
        ({"learn_residual", "large_residual"}, '"rol r7', '"lsl r7', 0),
        ({"learn_residual", "large_residual"}, '"asr r20', '"lsr r20', 0),
        ({"learn_residual"}, "    BP_AVR_CLIP_SUMS ", "", 0),
        ({"backward", "learn_residual"}, '"adc " fifth ", r2', '"nop', 0),
        ({"learn_residual", "known_residual"}, '"cp r22, " fifth "', '"cp r22, r22', 0),
        ({"output_delta", "known_output"}, '"adc r1, r2', '"nop', 0),
        ({"known_output", "known_residual"}, '"rol r23', '"lsl r23', 0),
        ({"descent", "known_output", "known_residual"}, '"sbc r25, r2', '"nop', -1),
        ({"descent", "known_output", "known_residual"}, '"lsl " spare', '"tst " spare', 0),
    ],
    LEARN: [
        ({"known_residual", "known_stochastic"}, '"adc r5, r0', '"add r5, r0', 0),
        ({"known_residual", "known_stochastic"}, '"adc r20, r2', '"nop', 0),
        ({"known_residual", "known_stochastic"}, '"movw r16, r2', '"movw r16, r10', 0),
        ({"known_residual", "known_stochastic"}, '"sbrs r15, 0', '"sbrc r15, 0', 0),
        ({"known_residual", "known_stochastic"}, '"d r22, Z+8"', '"d r22, Z+4"', 0),
        ({"known_residual", "known_stochastic"}, '"asr r21', '"lsr r21', 0),
        ({"known_residual", "known_stochastic"}, '"rol r24', '"lsl r24', 0),
        ({"known_residual", "known_stochastic"}, 'BP_AVR_CLIP40("r24"', 'BP_AVR_CLIP40("r21"', 0),
        ({"known_residual", "known_stochastic"}, "((%[top] + 1) >> 12)", "8", 0),
        ({"known_residual", "known_stochastic"}, '"brsh 4f', '"brlo 4f', 0),
        ({"known_residual", "known_stochastic"}, '"ldi r17, hi8(%[top])', '"ldi r17, 0x7F', 1),
        ({"known_residual", "known_stochastic"}, '"ldi r22, hi8(%[top])', '"ldi r22, 1', 0),
        ({"known_residual", "known_stochastic"}, '"brge 7f', '"brlt 7f', 0),
        ({"known_residual", "known_stochastic"}, '"brlt 5b', '"nop', 0),
        ({"known_residual", "known_stochastic"}, '"ldi r23, lo8(-%[top])', '"ldi r23, 0', 0),
        ({"known_output"}, ".if %[frac] <= 8", ".if %[frac] < 8", 0),
        ({"known_output"}, '"movw r16, r4', '"movw r16, r10', 0),
    ],
    MASTER: [
        ({"update_residual", "known_residual"}, '"ldi " high ", 0x80', '"ldi " high ", 0x81', 0),
        (
            {"update_stochastic", "first_stochastic"},
            '"ldi " high ", 0x80',
            '"ldi " high ", 0x7F',
            1,
        ),
        ({"update_residual", "known_residual"}, '"sbc r24, r25', '"sub r24, r25', 0),
        ({"update_residual"}, '"cp r2, r22', '"cp r2, r2', 0),
        ({"update_stochastic"}, '"cp r2, r22', '"cp r2, r2', 1),
        ({"update_stochastic"}, '"adc r24, r29', '"nop', 0),
        ({"update_stochastic", "first_stochastic"}, '"add r0, r29', '"add r0, r28', 0),
        ({"update_stochastic", "first_stochastic"}, "hi8(40503)", "hi8(40247)", 0),
        ({"learn_residual", "learn_stochastic"}, '"mov " u_high ", r0', '"mov " u_high ", r1', 0),
        ({"known_residual", "known_stochastic"}, '"mul r16, " u_high', '"mul r17, " u_high', 0),
        ({"update_residual", *FIRST_LARGE}, '"ld " u_low ", X+', '"ld r20, X+', 0),
    ],
    UPDATE: [
        ({"update_residual"}, '"sbrc r5, 3', '"sbrs r5, 3', 0),
        ({"update_residual", "update_stochastic"}, '"sbrs r5, 5', '"sbrc r5, 5', 0),
        ({"update_residual", "update_stochastic"}, '"sbrs r5, 7', '"sbrc r5, 7', 0),
        ({"update_residual", "update_stochastic"}, '"sbrc r5, 6', '"sbrs r5, 6', 0),
        ({"update_stochastic", "learn_stochastic"}, '"sbrc r22, 0', '"sbrs r22, 0', 0),
        ({"update_stochastic", "learn_stochastic"}, '"sbrs r5, 4', '"sbrs r5, 3', 1),
        ({"update_residual", "update_stochastic"}, '"or r4, r1', '"nop', 0),
        ({"update_residual", "update_stochastic"}, "*p = (int16_t)-*p", "*p = (int16_t)~*p", 0),
    ],
    SHIFTS: [
        ({"update_residual", "learn_residual"}, '"cp r17, r25', '"cp r17, r17', 0),
        ({"update_stochastic", "learn_stochastic"}, '"cpc r16, r25', '"cp r16, r24', 0),
        ({"update_residual", "update_stochastic"}, '"neg r22', '"com r22', 0),
        ({"update_residual"}, '"cp r18, r0', '"cp r2, r0', 0),
        ({"update_stochastic", "learn_stochastic"}, '"adc r24, r29', '"nop', 0),
        ({"update_stochastic", "learn_stochastic"}, "rjmp 39f", "rjmp 38f", 0),
    ],
    FEW: [
        ({"known_residual", *FIRST_LARGE}, '"or r3, r1', '"nop', 0),
        ({"known_residual", "first_residual"}, '"brpl 4f', '"brmi 4f', 0),
        ({"known_stochastic", "first_stochastic"}, '"tst r15', '"cp r15, r15', 0),
        (
            {"known_stochastic", "first_stochastic"},
            "hi8(40503 * (%[inputs] - 1))",
            "hi8(40503 * (%[inputs] - 2))",
            0,
        ),
        ({"known_stochastic", "first_stochastic"}, "hi8(40503 - 40503", "hi8(40247 - 40503", 0),
        (
            {"first_residual"},
            "BP_AVR_FEW_STEPS(24, BP_AVR_SIGNED",
            "BP_AVR_FEW_STEPS(24, BP_AVR_UNSIGNED",
            0,
        ),
        (
            {"first_stochastic"},
            "BP_AVR_FEW_STEPS(16, BP_AVR_SIGNED",
            "BP_AVR_FEW_STEPS(16, BP_AVR_UNSIGNED",
            0,
        ),
        ({"first_stochastic"}, "(alignment)->frac >= 8", "1", 0),
    ],
    FUSED: [
        ({"large_residual"}, '"adc r12, r13', '"add r12, r13', 0),
        ({"large_residual"}, '"com r12', '"nop', 0),
        ({"large_stochastic"}, '"adc r13, r29', '"nop', 0),
        ({"large_stochastic"}, '"com " low', '"tst " low', 0),
        ({"large_stochastic"}, "(%[inputs] - 1)", "%[inputs]", 0),
        ({"large_stochastic"}, "(2 - %[inputs]", "(1 - %[inputs]", 0),
        ({"large_residual", "large_stochastic"}, '"ldi r16, 0x88', '"ldi r16, 0x98', 0),
        ({"large_residual", "large_stochastic"}, '"swap r3', '"nop', 0),
        ({"large_residual", "large_stochastic"}, '"subi r20, 8', '"subi r20, 7', 0),
        ({"large_residual", "large_stochastic"}, '"mov r5, r16', '"clr r5', 0),
        ({"large_residual", "large_stochastic"}, '"mov r4, r16', '"clr r4', 0),
        ({"large_residual", "large_stochastic"}, "ldi r16, %[shift] - 8", "ldi r16, 1", 0),
        ({"large_residual", "large_stochastic"}, "ldi r16, %[shift] - 8", "ldi r16, -1", 1),
        ({"large_residual", "large_stochastic"}, '"sbci r17, 0xFF', '"sbci r17, 0', 0),
        ({"large_residual", "large_stochastic"}, '"brmi 3b', '"nop', 0),
        ({"large_residual", "large_stochastic"}, '"tst r16', '"cp r16, r16', 0),
    ],
    LARGE_STEP: [
        (FIRST_LARGE, '"r2", "r2", "r8"', '"r2", "r2", "r9"', 0),
        (FIRST_LARGE, '"ldi r17, 0xFF', '"ldi r17, 0xFE', 0),
        (FIRST_LARGE, '"ldi r16, 0x7F', '"ldi r16, 0x7E', 0),
        (FIRST_LARGE, '"rjmp 42f', '"rjmp 43f', 0),
        (FIRST_LARGE, '"brvc 32f', '"nop', 0),
        (FIRST_LARGE, '"brcc 54b', '"nop', 0),
        (FIRST_LARGE, '"brcc 55b', '"nop', 0),
        (FIRST_LARGE, '"brcs 52b', '"nop', 0),
        (FIRST_LARGE, '"rjmp 42f', '"rjmp 32f', 1),
        (FIRST_LARGE, '"brcs 53b', '"nop', 0),
        (FIRST_LARGE, '"rjmp 43f', '"rjmp 33f', 0),
        (FIRST_LARGE, '"brvc 32b', '"nop', 0),
        (FIRST_LARGE, '"brcs 44f', '"nop', 0),
        (FIRST_LARGE, '"brvc 33b', '"nop', 0),
        (FIRST_LARGE, '"brcs 45f', '"nop', 0),
        (FIRST_LARGE, '"rjmp 52b', '"rjmp 53b', 0),
        (FIRST_LARGE, '"brne 37f', '"nop', 0),
        (FIRST_LARGE, '"brpl 38f', '"brmi 38f', 0),
        ({"first_large_stochastic"}, "(2 - %[inputs]", "(1 - %[inputs]", 0),
        ({"first_large_stochastic"}, "BP_AVR_LARGE_TO_OUTPUT##bits", "", 0),
        ({"first_large_residual"}, '"mov r10, r16', '"mov r10, r8', 0),
    ],
}


@pytest.mark.parametrize(
    ("edited", "kernels", "text", "broken", "which"),
    [(edited, *mutant) for edited, mutants in MUTANTS.items() for mutant in mutants],
)
def test_a_wrong_instruction_is_noticed(
    edited: str, kernels: set[str], text: str, broken: str, which: int, tool: Tool, tmp_path: Path
) -> None:
    edit = mutant(text, broken, which)
    header = layers(sorted(kernels))
    found = differing(tmp_path, tool, "-O2", header=header, edited=edited, edit=edit)
    assert found.keys() == kernels
    assert all(found.values())


def _steps_round_a_half_down(text: str) -> str:
    """bpgen_delta_avr.h where BP_AVR_STEP rounds a half, which mantissas make of 2^14, down."""
    keep = mutant('"mov " spare ", r1\\n', '"push r3\\n\\tmov r3, r0\\n\\tmov " spare ", r1\\n', -1)
    compare = (
        '"push r16\\n\\tldi r16, 0x80\\n\\tcp r2, r3\\n\\tcpc r16, " spare '
        '"\\n\\tpop r16\\n\\tpop r3\\n'
    )
    return mutant('"lsl " spare "\\n', compare, -1)(keep(text))


def test_a_half_that_rounds_the_other_way_is_noticed(tool: Tool, tmp_path: Path) -> None:
    header = layers(("descent", "known_output", "known_residual", "known_stochastic"))
    edit = _steps_round_a_half_down
    found = differing(tmp_path, tool, "-O2", header=header, edited=DELTA, edit=edit)
    assert len(found) == 4
    assert all(found.values())

"""The kernels for cores with the DSP extension give the bits of the portable C, on a Cortex-M4."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.speed.cores import CORES
from tests.bitexact.side_by_side import Tool, differing, mutant

PROGRAM = Path(__file__).parent / "arm_kernels.c"
KERNELS = (
    "dense", "dense_sigmoid", "dense_s8", "sigmoid", "backward", "delta_sigmoid", "output_delta",
    "descent", "update_residual", "update_stochastic", "learn_residual", "learn_stochastic",
)  # fmt: skip
FORWARD, BACKWARD, UPDATE = (f"bpgen_dsp_{part}.h" for part in ("forward", "backward", "update"))
M4 = CORES["stm32f405"]


@pytest.mark.parametrize("flags", ["-O2", "-Os", "-O3", "-O2 -fno-omit-frame-pointer", "-O0"])
def test_every_kernel_gives_the_bits_of_the_portable_c(
    flags: str, tool: Tool, tmp_path: Path
) -> None:
    found = differing(tmp_path, tool, M4, PROGRAM, *flags.split())
    assert found == dict.fromkeys(KERNELS, 0)


# A file, a kernel that needs it, an instruction, in which place that has it, and what is put there.
MUTANTS = (
    (FORWARD, "dense", "smlald r10, r11, r6, r7", 0, "smlald r10, r11, r5, r7"),
    (FORWARD, "dense", "asr r11, r10, #31", 0, "mov r11, #0"),
    (FORWARD, "dense", "<= 2u << shift", 0, "<= 4u << shift"),
    (FORWARD, "dense", "ssat r3, #16, r3", 0, "nop"),
    (FORWARD, "dense", 'CLIP_TWO("r2")', 0, '""'),
    (FORWARD, "dense_sigmoid", "usat r6, #15, r6", 0, "usat r6, #14, r6"),
    (FORWARD, "dense_sigmoid", "65536u << shift) + ", 0, "65536u << shift) - "),
    (FORWARD, "dense_sigmoid", "rsblt", 0, "movlt.w r6, r6 @"),
    (FORWARD, "dense_sigmoid", 'sub.w " z ", " z ", r6', 0, "nop"),
    (FORWARD, "dense_s8", "ror #8", 0, "ror #16"),
    (BACKWARD, "backward", "smlalbt r0, r1, r10, r11", 0, "smlalbb r0, r1, r10, r11"),
    (BACKWARD, "backward", "outputs + 2u <= 2u << shift", 0, "outputs + 2u <= 8u << shift"),
    (BACKWARD, "delta_sigmoid", "ssat r1, #24, r1", 0, "nop"),
    (BACKWARD, "delta_sigmoid", "smmulr r0, r0, r3", 0, "smmul r0, r0, r3"),
    (BACKWARD, "delta_sigmoid", "sel r0, r0, r10", 0, "nop"),
    (UPDATE, "descent", "16384));", 0, "16383));"),
    (UPDATE, "update_residual", "qadd r7, r7, r11", 0, "add r7, r7, r11"),
    (UPDATE, "update_residual", "movs r6, #128", 0, "movs r6, #127"),
    (UPDATE, "update_residual", "and r11, r8, r11, lsl #8", 0, "lsl r11, r11, #8"),
    (UPDATE, "update_residual", "sel r11, lr, r11", 0, "mov r11, lr"),
    (UPDATE, "update_residual", "lsl r5, r5, r11", 0, "nop"),
    (UPDATE, "update_residual", "smmulr r5, r5, r10", 0, "smmul r5, r5, r10"),
    (UPDATE, "update_stochastic", "qadd16", 0, "sadd16"),
    (UPDATE, "update_stochastic", "uadd16 r7, r6, r8", 0, "mov r7, r6"),
    (UPDATE, "update_stochastic", "uxth r12, r6", 0, "mov r12, r6"),
    (UPDATE, "update_stochastic", "left += BP_WEYL << 16", 0, "left += BP_WEYL << 8"),
    (BACKWARD, "learn_residual", "smlaltb r2, r3, r9, r11", 1, "smlalbb r2, r3, r9, r11"),
    (BACKWARD, "learn_stochastic", "d.unshift = 32 -", 0, "d.unshift = 31 -"),
)


@pytest.mark.parametrize(("edited", "kernel", "text", "which", "broken"), MUTANTS)
def test_a_wrong_instruction_is_noticed(
    edited: str, kernel: str, text: str, which: int, broken: str, tool: Tool, tmp_path: Path
) -> None:
    edit = mutant(text, broken, which)
    found = differing(tmp_path, tool, M4, PROGRAM, "-O2", edited=edited, edit=edit)
    assert found[kernel] > 0

"""The kernels for several outputs at a time give the same bits as the portable C, on every core."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

import pytest

from benchmarks.speed.cores import CORES, Core
from tests.bitexact.side_by_side import Tool, differing, mutant

LANES = "bpgen_kernels_lanes.h"
FORWARD, LEARN = "bpgen_lanes_forward.h", "bpgen_lanes_learn.h"
THUMB_FORWARD, THUMB_LEARN = "bpgen_thumb_forward.h", "bpgen_thumb_learn.h"
AVX512_FORWARD, AVX512_LEARN = "bpgen_avx512_forward.h", "bpgen_avx512_learn.h"
PROGRAM = Path(__file__).parent / "small_cores.c"
KERNELS = {
    "dense",
    "dense_sigmoid",
    "sigmoid",
    "output_delta_sigmoid",
    "backward",
    "delta_sigmoid",
    "descent",
    "update_residual",
    "update_stochastic",
    "learn_residual",
    "learn_stochastic",
}
M0, M3, RV32 = CORES["microbit"], CORES["bluepill"], CORES["rv32"]
SANITIZED = ("-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover")
# A core, or the compiler of this machine, and its flags.
CASES: dict[str, tuple[Core | str, tuple[str, ...]]] = {
    "M0 -O2": (M0, ("-O2",)),
    "M0 -Os": (M0, ("-Os",)),
    "M0 -O3": (M0, ("-O3",)),
    "M3 -O2": (M3, ("-O2",)),
    "M3 -Os": (M3, ("-Os",)),
    "M3 -O3": (M3, ("-O3",)),
    "RV32 -O2": (RV32, ("-O2",)),
    "RV32 -Os": (RV32, ("-Os",)),
    "RV32 small": (RV32, ("-Os", "-DBP_SMALL=1")),
    "gcc -O2": ("gcc", ("-O2",)),
    "gcc -O3 native": ("gcc", ("-O3", "-march=native")),
    "gcc sanitized": ("gcc", SANITIZED),
    "gcc native sanitized": ("gcc", (*SANITIZED, "-march=native")),
    "clang -O2": ("clang", ("-O2",)),
    "clang -O3 native": ("clang", ("-O3", "-march=native")),
}
if platform.machine() == "x86_64":
    NO_AVX512 = ("-march=native", "-mno-avx512f")
    CASES["gcc -O3 no AVX-512"] = ("gcc", ("-O3", *NO_AVX512))
    CASES["gcc no AVX-512 sanitized"] = ("gcc", (*SANITIZED, *NO_AVX512))


@pytest.mark.parametrize("case", CASES)
def test_every_kernel_gives_the_bits_of_the_portable_c(
    case: str, tool: Tool, tmp_path: Path
) -> None:
    core, flags = CASES[case]
    found = differing(tmp_path, tool, core, PROGRAM, *flags)
    assert found == dict.fromkeys(KERNELS, 0)


@pytest.mark.parametrize(
    ("kernel", "core", "file", "edit"),
    [
        ("dense", M0, THUMB_FORWARD, ('"sxth r6, r6\\n\\t" \\', '"" \\')),
        ("dense", M0, THUMB_FORWARD, ('"lsls r3, r0\\n\\t" \\', '"" \\')),
        ("dense", M0, THUMB_FORWARD, ("again = 0;", "return;")),
        ("sigmoid", M0, THUMB_FORWARD, ("mov r6, r12", "mov r6, r10")),
        ("dense", M3, THUMB_FORWARD, ('"r9", "10")', '"r9", "8")')),
        ("update_residual", M0, THUMB_LEARN, ('"bvc 1" n to', '"bpl 1" n to')),
        ("update_residual", M0, THUMB_LEARN, ('"bvc 3" n to', '"bpl 3" n to')),
        ("update_residual", M0, THUMB_LEARN, ('"adcs r5, " product', '"adds r5, " product')),
        ("update_residual", M0, THUMB_LEARN, ('STORE_WORD("8", "10")', 'STORE_UPPER("8", "8")')),
        ("update_residual", M0, THUMB_LEARN, ("bvs 3f", "bmi 3f")),
        ("update_residual", M3, THUMB_LEARN, ("ssat r6, #24", "ssat r6, #25")),
        ("update_stochastic", M0, THUMB_LEARN, ('"add r5, r8\\n', '"add r5, lr\\n')),
        ("update_stochastic", M0, THUMB_LEARN, ("add r3, r9", "add r3, lr")),
        ("update_stochastic", M0, THUMB_LEARN, ("2 * BP_WEYL +", "3 * BP_WEYL +")),
        ("update_stochastic", M0, THUMB_LEARN, ('  "asrs r4, r4, #31', '  "asrs r4, r4, #30')),
        ("learn_residual", M0, THUMB_LEARN, ('"movs r5, #0\\n\\t" \\', '"movs r5, #1\\n\\t" \\')),
        ("learn_residual", M0, THUMB_LEARN, ("add r11, r4", "add r9, r4")),
        ("learn_residual", M0, LEARN, ("half.high + 32768", "half.high")),
        ("output_delta_sigmoid", M0, THUMB_LEARN, ("subs r3, r3, r5", "adds r3, r3, r5")),
        ("descent", M0, THUMB_LEARN, ("asrs r4, r4, #15", "asrs r4, r4, #14")),
        ("update_stochastic", RV32, LEARN, ("(32 - shift) & 31", "(31 - shift) & 31")),
        ("update_stochastic", RV32, LEARN, ("sh %[lowest], %[w]", "sh %[top], %[w]")),
        ("update_stochastic", RV32, LEARN, ("sh %[master], %[w]", "sh %[top], %[w]")),
        ("update_residual", RV32, LEARN, ("0xFFFF8", "0xFFFF9")),
        ("update_residual", RV32, LEARN, ("sh %[upper_top], %[w]", "sh %[top], %[w]")),
        ("update_residual", RV32, LEARN, ("g[k / 2] * ((int32_t)1 << scale.left)", "g[k / 2]")),
        ("dense", RV32, LANES, ("mv %[x], %[lowest]", "mv %[x], %[top]")),
        ("backward", RV32, LANES, ("return bp_shr32(high, 31) ^ INT32_MAX", "return INT32_MAX")),
        ("delta_sigmoid", RV32, LEARN, ("twice + 1, 1", "twice, 1")),
        ("delta_sigmoid", M0, LEARN, ("product + 2048", "product + 2047")),
        ("dense", RV32, FORWARD, ("low[k] &= 32767", "low[k] &= 16383")),
        ("descent", M3, LEARN, ("scale + 32768", "scale + 32767")),
    ],
)  # fmt: skip
def test_a_wrong_line_is_noticed(
    kernel: str, core: Core, file: str, edit: tuple[str, str], tool: Tool, tmp_path: Path
) -> None:
    found = differing(tmp_path, tool, core, PROGRAM, "-O2", edited=file, edit=mutant(*edit))
    assert found[kernel] > 0


@pytest.mark.parametrize(
    ("kernel", "file", "edit"),
    [
        ("dense", AVX512_FORWARD, ("(1u << n) - 1", "(2u << n) - 1")),
        ("dense", AVX512_FORWARD, ("_mm512_srai_epi32(low, 15)", "_mm512_srai_epi32(low, 14)")),
        ("dense", AVX512_FORWARD, ("all(shift - low_shift)", "all(0)")),
        ("learn_residual", AVX512_LEARN, ("low[k] + half.low", "low[k]")),
        ("learn_residual", AVX512_LEARN, ("_mm512_srai_epi32(blocks, 16)", "blocks")),
        ("update_residual", AVX512_LEARN, ("i += 4", "i += 8")),
        ("update_residual", AVX512_LEARN, ("-8388608, 8388607", "-8388607, 8388607")),
        ("update_residual", AVX512_LEARN, ("_mm512_and_si512(lows, byte)", "lows")),
        ("update_residual", AVX512_LEARN, ("_mm512_srai_epi32(masters, 8)", "masters")),
    ],
)
def test_a_wrong_line_for_avx512_is_noticed(
    kernel: str, file: str, edit: tuple[str, str], tool: Tool, tmp_path: Path
) -> None:
    command = [tool("gcc"), "-march=native", "-dM", "-E", "-x", "c", "/dev/null"]
    macros = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "__AVX512BW__" not in macros:
        pytest.skip("no AVX-512 here: run this on a machine that has it")
    found = differing(
        tmp_path, tool, "gcc", PROGRAM, "-O2", "-march=native", edited=file, edit=mutant(*edit)
    )
    assert found[kernel] > 0

"""The kernels for several outputs at a time give the same bits as the portable C, on every core."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from benchmarks.speed.cores import CORES, Core
from tests.bitexact.side_by_side import Tool, differing, mutant

LANES = "bpgen_kernels_lanes.h"
THUMB_BLOCKS = "bpgen_thumb_blocks.h"
PARTS = ("forward", "backward", "update")
FORWARD, BACKWARD, UPDATE = (f"bpgen_lanes_{part}.h" for part in PARTS)
THUMB_FORWARD, THUMB_BACKWARD, THUMB_UPDATE = (f"bpgen_thumb_{part}.h" for part in PARTS)
AVX512_FORWARD, AVX512_BACKWARD, AVX512_UPDATE = (f"bpgen_avx512_{part}.h" for part in PARTS)
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
NATIVE = "gcc"  # for this machine
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


def has_avx512() -> bool:
    """Whether this machine has what the kernels of bpgen_avx512_forward.h need."""
    about = Path("/proc/cpuinfo")
    flags = about.read_text(encoding="utf-8").split() if about.exists() else []
    return {"avx512bw", "avx512vl"} <= set(flags)


# A kernel, a core or NATIVE, a file of it, and what is replaced there by what.
MUTANTS = [
    ("dense", M0, THUMB_FORWARD, ('"sxth r6, r6\\n\\t" \\', '"" \\')),
    ("dense", M0, THUMB_FORWARD, ('"lsls r3, r0\\n\\t" \\', '"" \\')),
    ("dense", M0, THUMB_FORWARD, ("again = 0;", "return;")),
    ("dense", M0, THUMB_BLOCKS, ("layer->block > BLOCK", "layer->block > 7")),
    ("dense", M0, THUMB_BLOCKS, ('ADD_INPUT("mov")', 'ADD_INPUT("add")')),
    ("dense", M0, THUMB_BLOCKS, ('"lsrs r5, " low', '"asrs r5, " low')),
    ("dense", M0, THUMB_BLOCKS, ('WRAPS("13")', 'WRAPS("14")')),
    ("dense", M0, THUMB_BLOCKS, ("asrs r5, r4, #26", "lsrs r5, r4, #26")),
    ("dense", M0, THUMB_BLOCKS, ("0x02082080", "0x02080080")),
    ("dense", M0, THUMB_BLOCKS, ("+ (half >> 6)", "")),
    ("dense", M0, THUMB_BLOCKS, ('CLIP_Z("2", "r2")', '""')),
    ("dense", M0, THUMB_BLOCKS, ('"bls 6f', '"b 6f')),
    ("dense_sigmoid", M0, THUMB_BLOCKS, (', r11\\n" \\\n    "1" n', ', r7\\n" \\\n    "1" n')),
    ("dense_sigmoid", M0, THUMB_BLOCKS, ("adds r6, #8", "adds r6, #7")),
    ("dense_sigmoid", M0, THUMB_BLOCKS, ('"ands r4, r7', '"ands r4, r6')),
    ("sigmoid", M0, THUMB_FORWARD, ("mov r6, r12", "mov r6, r10")),
    ("dense", M3, THUMB_FORWARD, ('"r9", "10")', '"r9", "8")')),
    ("update_residual", M0, THUMB_UPDATE, ('"bvc 1" n to', '"bpl 1" n to')),
    ("update_residual", M0, THUMB_UPDATE, ('"bvc 3" n to', '"bpl 3" n to')),
    ("update_residual", M0, THUMB_UPDATE, ('"adcs r5, " product', '"adds r5, " product')),
    ("update_residual", M0, THUMB_UPDATE, ('STORE_WORD("8", "10")', 'STORE_UPPER("8", "8")')),
    ("update_residual", M0, THUMB_UPDATE, ("bvs 3f", "bmi 3f")),
    ("update_residual", M3, THUMB_UPDATE, ("ssat r6, #24", "ssat r6, #25")),
    ("update_stochastic", M0, THUMB_UPDATE, ('"add r5, r8\\n', '"add r5, lr\\n')),
    ("update_stochastic", M0, THUMB_UPDATE, ("add r3, r9", "add r3, lr")),
    ("update_stochastic", M0, THUMB_UPDATE, ("2 * BP_WEYL +", "3 * BP_WEYL +")),
    ("update_stochastic", M0, THUMB_UPDATE, ('  "asrs r4, r4, #31', '  "asrs r4, r4, #30')),
    ("learn_residual", M0, THUMB_BACKWARD, ('"movs r5, #0\\n\\t" \\', '"movs r5, #1\\n\\t" \\')),
    ("learn_residual", M0, THUMB_BACKWARD, ("add r11, r4", "add r9, r4")),
    ("learn_residual", M0, BACKWARD, ("half.high + 32768", "half.high")),
    ("output_delta_sigmoid", M0, THUMB_BACKWARD, ("subs r3, r3, r5", "adds r3, r3, r5")),
    ("descent", M0, THUMB_UPDATE, ("asrs r4, r4, #15", "asrs r4, r4, #14")),
    ("update_stochastic", RV32, UPDATE, ("(32 - shift) & 31", "(31 - shift) & 31")),
    ("update_stochastic", RV32, UPDATE, ("sh %[lowest], %[w]", "sh %[top], %[w]")),
    ("update_stochastic", RV32, UPDATE, ("sh %[master], %[w]", "sh %[top], %[w]")),
    ("update_residual", RV32, UPDATE, ("0xFFFF8", "0xFFFF9")),
    ("update_residual", RV32, UPDATE, ("sh %[upper_top], %[w]", "sh %[top], %[w]")),
    ("update_residual", RV32, UPDATE, ("g[k / 2] * ((int32_t)1 << scale.left)", "g[k / 2]")),
    ("dense", RV32, LANES, ("mv %[x], %[lowest]", "mv %[x], %[top]")),
    ("backward", RV32, LANES, ("return bp_shr32(high, 31) ^ INT32_MAX", "return INT32_MAX")),
    ("delta_sigmoid", RV32, BACKWARD, ("twice + 1, 1", "twice, 1")),
    ("delta_sigmoid", M0, BACKWARD, ("product + 2048", "product + 2047")),
    ("dense", RV32, FORWARD, ("low[k] &= 32767", "low[k] &= 16383")),
    ("descent", M3, UPDATE, ("scale + 32768", "scale + 32767")),
]  # fmt: skip
AVX512_MUTANTS = [
    ("dense", NATIVE, AVX512_FORWARD, ("(1u << n) - 1", "(2u << n) - 1")),
    ("dense", NATIVE, AVX512_FORWARD, ("_mm512_srai_epi32(low, 15)", "_mm512_srai_epi32(low, 14)")),
    ("dense", NATIVE, AVX512_FORWARD, ("all(shift - low_shift)", "all(0)")),
    ("learn_residual", NATIVE, AVX512_BACKWARD, ("low[k] + half.low", "low[k]")),
    ("learn_residual", NATIVE, AVX512_BACKWARD, ("_mm512_srai_epi32(blocks, 16)", "blocks")),
    ("update_residual", NATIVE, AVX512_UPDATE, ("i += 4", "i += 8")),
    ("update_residual", NATIVE, AVX512_UPDATE, ("-8388608, 8388607", "-8388607, 8388607")),
    ("update_residual", NATIVE, AVX512_UPDATE, ("_mm512_and_si512(lows, byte)", "lows")),
    ("update_residual", NATIVE, AVX512_UPDATE, ("_mm512_srai_epi32(masters, 8)", "masters")),
]  # fmt: skip
if has_avx512():
    MUTANTS += AVX512_MUTANTS


@pytest.mark.parametrize(("kernel", "core", "file", "edit"), MUTANTS)
def test_a_wrong_line_is_noticed(
    kernel: str, core: Core | str, file: str, edit: tuple[str, str], tool: Tool, tmp_path: Path
) -> None:
    flags = ("-O2", "-march=native") if core == NATIVE else ("-O2",)
    found = differing(tmp_path, tool, core, PROGRAM, *flags, edited=file, edit=mutant(*edit))
    assert found[kernel] > 0

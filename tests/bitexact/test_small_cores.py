"""The kernels for several outputs at a time give the same bits as the portable C, on every core."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from bpgen import lut
from bpgen.data import FIRMWARE
from bpgen.simulate import WARNINGS

CORE = FIRMWARE / "core"
PORTS = FIRMWARE / "ports"
LANES = "bpgen_kernels_lanes.h"
FORWARD, LEARN = "bpgen_lanes_forward.h", "bpgen_lanes_learn.h"
THUMB_FORWARD, THUMB_LEARN = "bpgen_thumb_forward.h", "bpgen_thumb_learn.h"
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
Tool = Callable[[str], str]


@dataclass(frozen=True)
class Core:
    """A compiler with its flags, those that link, and what runs the image."""

    command: str
    flags: tuple[str, ...]
    link: tuple[str, ...] = ()
    runner: tuple[str, ...] = ()


def _arm(core: str, script: str, machine: str) -> Core:
    flags = ("-mthumb", f"-mcpu={core}")
    link = ("-nostartfiles", "-T", str(PORTS / script))
    return Core("arm-none-eabi-gcc", flags, link, ("qemu-system-arm", "-M", machine))


M0 = _arm("cortex-m0", "nrf51/microbit.ld", "microbit")
M3 = _arm("cortex-m3", "stm32f1/stm32f100.ld", "stm32vldiscovery")
RV32 = Core(
    "riscv64-unknown-elf-gcc",
    ("-march=rv32imc", "-mabi=ilp32", "--specs=picolibc.specs"),
    ("-nostartfiles", "-T", str(PORTS / "rv32/rv32.ld")),
    ("qemu-system-riscv32", "-M", "virt", "-cpu", "lowrisc-ibex", "-bios", "none"),
)
SANITIZED = ("-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover")
CASES = {
    "M0 -O2": (M0, ("-O2",)),
    "M0 -Os": (M0, ("-Os",)),
    "M0 -O3": (M0, ("-O3",)),
    "M3 -O2": (M3, ("-O2",)),
    "M3 -Os": (M3, ("-Os",)),
    "M3 -O3": (M3, ("-O3",)),
    "RV32 -O2": (RV32, ("-O2",)),
    "RV32 -Os": (RV32, ("-Os",)),
    "RV32 small": (RV32, ("-Os", "-DBP_SMALL=1")),
    "gcc -O2": (Core("gcc", ()), ("-O2",)),
    "gcc -O3 native": (Core("gcc", ()), ("-O3", "-march=native")),
    "gcc sanitized": (Core("gcc", ()), SANITIZED),
    "gcc native sanitized": (Core("gcc", ()), (*SANITIZED, "-march=native")),
    "clang -O2": (Core("clang", ()), ("-O2",)),
    "clang -O3 native": (Core("clang", ()), ("-O3", "-march=native")),
}


def tables() -> str:
    """Sigmoid tables as C, of 7 and 8 bits."""
    lines = []
    for frac in (12, 14):
        table = lut.activation_table("sigmoid", frac)
        entries = ", ".join(str(entry) for entry in table.entries)
        lines.append(f"static const uint16_t sigmoid_{table.bits}[] BP_ROM = {{{entries}}};\n")
    return "".join(lines)


def differing(
    folder: Path,
    tool: Tool,
    core: Core,
    *flags: str,
    edited: str = "",
    edit: tuple[str, str] = ("", ""),
) -> dict[str, int]:
    """How many results of each kernel differ; `edit` may replace text of the file `edited`."""
    for source in CORE.iterdir():
        text = source.read_text(encoding="utf-8")
        if source.name == edited:
            assert edit[0] in text
            text = text.replace(edit[0], edit[1], 1)
        (folder / source.name).write_text(text, encoding="utf-8")
    (folder / "tables.h").write_text(tables())
    declared = set(re.findall(r"\b(bp_\w+)\(", (folder / "bpgen_kernels.h").read_text("utf-8")))
    declared -= {"bp_counters_agree", "bp_weight_index"}
    declared = {name for name in declared if not name.endswith(("_rom", "_plain"))}
    renamed = [f"-D{name}=portable_{name}" for name in sorted(declared)]
    renamed += ["-Dbp_counters_are_on=portable_on", "-Dbp_counters_are_off=portable_off"]

    def compile_c(name: str, source: Path, *more: str) -> str:
        command = [tool(core.command), *core.flags, *flags, *more, f"-I{folder}", "-c", str(source)]
        subprocess.run([*command, "-o", str(folder / name)], check=True)
        return str(folder / name)

    objects = (
        compile_c("main.o", PROGRAM, "-std=gnu99", "-Wall", "-Wextra", "-Werror"),
        compile_c("fast.o", folder / "bpgen_kernels.c", *WARNINGS),
        compile_c("portable.o", folder / "bpgen_kernels.c", "-DBP_PORTABLE", "-std=c99", *renamed),
    )
    image = str(folder / "kernels.elf")
    link = [tool(core.command), *core.flags, *flags, *objects, *core.link, "-o", image]
    subprocess.run(link, check=True)
    command = [image]
    if core.runner:
        command = [tool(core.runner[0]), *core.runner[1:], "-nodefaults", "-display", "none"]
        command += ["-semihosting-config", "enable=on,target=native", "-kernel", image]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    said = re.findall(r"([a-z_]+) (\d{5})\n", done.stdout + done.stderr)
    return {name: int(count) for name, count in said}


@pytest.mark.parametrize("case", CASES)
def test_every_kernel_gives_the_bits_of_the_portable_c(
    case: str, tool: Tool, tmp_path: Path
) -> None:
    core, flags = CASES[case]
    assert differing(tmp_path, tool, core, *flags) == dict.fromkeys(KERNELS, 0)


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
    found = differing(tmp_path, tool, core, "-O2", edited=file, edit=edit)
    assert found[kernel] > 0

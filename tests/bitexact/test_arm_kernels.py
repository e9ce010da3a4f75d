"""The kernels of a core give the bits of the portable C, on an emulated board."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.speed.cores import CORES, HERE, Core
from bpgen import lut
from bpgen.data import FIRMWARE

CORE_FILES = FIRMWARE / "core"
PROGRAM = Path(__file__).parent / "arm_kernels.c"
FLAGS = ("-std=gnu99", "-fwrapv", "-Wall", "-Wextra", "-Werror")
KERNELS = (
    "dense", "dense_sigmoid", "dense_s8", "sigmoid", "backward", "delta_sigmoid", "output_delta",
    "descent", "update_residual", "update_stochastic", "learn_residual", "learn_stochastic",
)  # fmt: skip
FORWARD, LEARN = "bpgen_dsp_forward.h", "bpgen_dsp_learn.h"
Tool = Callable[[str], str]


def tables() -> str:
    """Sigmoid tables of all sizes as C."""
    made = {}
    for frac in range(4, 16):
        table = lut.activation_table("sigmoid", frac)
        made[table.bits] = ", ".join(str(entry) for entry in table.entries)
    return "".join(
        f"static const uint16_t sigmoid_{bits}[] BP_ROM = {{{entries}}};\n"
        for bits, entries in sorted(made.items())
    )


def differing(
    core: Core,
    folder: Path,
    tool: Tool,
    *flags: str,
    file: str = "",
    edit: Callable[[str], str] = str,
) -> dict[str, int]:
    """How many cases of each kernel differ on a core; `edit` may change a `file` of it first."""
    for source in CORE_FILES.iterdir():
        text = source.read_text(encoding="utf-8")
        (folder / source.name).write_text(edit(text) if source.name == file else text, "utf-8")
    (folder / "tables.h").write_text(tables(), encoding="utf-8")
    header = (folder / "bpgen_kernels.h").read_text("utf-8")
    declared = re.findall(
        r"^(?!static)[a-z].*\b(bp_\w+)(?<!_rom|gree|lain|wide)\(", header, re.MULTILINE
    )
    renamed = [f"-D{name}=portable_{name}" for name in declared]
    renamed += ["-Dbp_counters_are_on=portable_on", "-Dbp_counters_are_off=portable_off"]
    common = [tool(core.family.command), *core.family.flags, *FLAGS, f"-I{folder}"]

    def compiled(name: str, source: Path, *more: str) -> str:
        made = folder / f"{name}.o"
        subprocess.run([*common, *more, "-c", str(source), "-o", str(made)], check=True)
        return str(made)

    start, script = "start_cortex_m.c", "cortex_m.ld"
    if core.board == "rv32":
        start, script = "start_rv32.c", "rv32.ld"
    objects = (
        compiled("main", PROGRAM, "-O2"),
        compiled("start", HERE / start, "-O2"),
        compiled("fast", folder / "bpgen_kernels.c", *flags),
        compiled("portable", folder / "bpgen_kernels.c", "-O2", "-DBP_PORTABLE", *renamed),
    )
    image, machine = str(folder / "kernels.elf"), core.machines[-1]
    memory = (
        f"-Wl,--defsym=flash_at={machine.flash_at:#x}",
        f"-Wl,--defsym=flash_size={machine.flash_bytes:#x}",
        f"-Wl,--defsym=ram_size={machine.ram_bytes:#x}",
    )
    link = [*common, "-nostartfiles", "-T", str(HERE / script), *memory, *objects, "-o", image]
    subprocess.run(link, check=True)
    # fmt: off
    done = subprocess.run(
        [
            tool(machine.program), *machine.arguments, "-nodefaults", "-display", "none",
            "-semihosting-config", "enable=on,target=native", "-kernel", image,
        ],
        capture_output=True, text=True, timeout=120, check=False,
    )
    # fmt: on
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return {name: int(count) for name, count in re.findall(r"(\w+) (\d{5});", said)}


@pytest.mark.parametrize("flags", ["-O2", "-Os", "-O3", "-O2 -fno-omit-frame-pointer", "-O0"])
def test_every_kernel_gives_the_bits_of_the_portable_c(
    flags: str, tool: Tool, tmp_path: Path
) -> None:
    found = differing(CORES["stm32f405"], tmp_path, tool, *flags.split())
    assert found == dict.fromkeys(KERNELS, 0)


# A kernel, an instruction of it, how often that comes before, and what is put in its place.
MUTANTS = (
    ("dense", "smlald r10, r11, r6, r7", 0, "smlald r10, r11, r5, r7"),
    ("dense", "asr r11, r10, #31", 0, "mov r11, #0"),
    ("dense", "<= 2u << shift", 0, "<= 4u << shift"),
    ("dense", "ssat r3, #16, r3", 0, "nop"),
    ("dense", 'CLIP_TWO("r2")', 0, '""'),
    ("dense_sigmoid", "usat r6, #15, r6", 0, "usat r6, #14, r6"),
    ("dense_sigmoid", "65536u << shift) + ", 0, "65536u << shift) - "),
    ("dense_sigmoid", "rsblt", 0, "movlt.w r6, r6 @"),
    ("dense_sigmoid", 'sub.w " z ", " z ", r6', 0, "nop"),
    ("dense_s8", "ror #8", 0, "ror #16"),
    ("backward", "smlalbt r0, r1, r10, r11", 0, "smlalbb r0, r1, r10, r11"),
    ("backward", "outputs + 2u <= 2u << shift", 0, "outputs + 2u <= 8u << shift"),
    ("delta_sigmoid", "ssat r1, #24, r1", 0, "nop"),
    ("delta_sigmoid", "smmulr r0, r0, r3", 0, "smmul r0, r0, r3"),
    ("delta_sigmoid", "sel r0, r0, r10", 0, "nop"),
    ("descent", "16384));", 0, "16383));"),
    ("update_residual", "qadd r7, r7, r11", 0, "add r7, r7, r11"),
    ("update_residual", "movs r6, #128", 0, "movs r6, #127"),
    ("update_residual", "and r11, r8, r11, lsl #8", 0, "lsl r11, r11, #8"),
    ("update_residual", "sel r11, lr, r11", 0, "mov r11, lr"),
    ("update_residual", "lsl r5, r5, r11", 0, "nop"),
    ("update_residual", "smmulr r5, r5, r10", 0, "smmul r5, r5, r10"),
    ("update_stochastic", "qadd16", 0, "sadd16"),
    ("update_stochastic", "uadd16 r7, r6, r8", 0, "mov r7, r6"),
    ("update_stochastic", "uxth r12, r6", 0, "mov r12, r6"),
    ("update_stochastic", "left += BP_WEYL << 16", 0, "left += BP_WEYL << 8"),
    ("learn_residual", "smlaltb r2, r3, r9, r11", 1, "smlalbb r2, r3, r9, r11"),
    ("learn_stochastic", "d.unshift = 32 -", 0, "d.unshift = 31 -"),
)


@pytest.mark.parametrize(("kernel", "line", "before", "broken"), MUTANTS)
def test_a_wrong_instruction_is_noticed(
    kernel: str, line: str, before: int, broken: str, tool: Tool, tmp_path: Path
) -> None:
    def edit(text: str) -> str:
        parts = text.split(line)
        assert len(parts) > before + 1
        return line.join(parts[: before + 1]) + broken + line.join(parts[before + 1 :])

    core, file = CORES["stm32f405"], FORWARD if kernel.startswith("dense") else LEARN
    assert differing(core, tmp_path, tool, "-O2", file=file, edit=edit)[kernel] > 0

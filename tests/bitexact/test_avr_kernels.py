"""The kernels in assembly give the same bits as the portable C, on an emulated ATmega2560."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from bpgen import lut
from bpgen.data import FIRMWARE

CORE = FIRMWARE / "core"
ASSEMBLY = "bpgen_kernels_avr.h"
PROGRAM = Path(__file__).parent / "avr_kernels.c"
FLAGS = ("-mmcu=atmega2560", "-std=gnu99", "-fwrapv", "-Wall", "-Wextra", "-Werror")
KERNELS = {
    "dot",
    "dot_column",
    "dot_rom",
    "long_rows",
    "sigmoid",
    "sigmoid_derivative",
    "hidden_delta",
    "descent",
    "rescale",
    "update_residual",
    "update_residual_bias",
    "update_stochastic",
    "update_stochastic_bias",
    "decay_residual",
    "apply_momentum",
}
Tool = Callable[[str], str]


def tables() -> str:
    """Sigmoid tables as C, of 5, 7 and 8 bits."""
    lines = []
    for frac in (8, 12, 14):
        table = lut.activation_table("sigmoid", frac)
        entries = ", ".join(str(entry) for entry in table.entries)
        lines.append(f"static const uint16_t sigmoid_{table.bits}[] BP_ROM = {{{entries}}};\n")
    return "".join(lines)


def differing(
    folder: Path, tool: Tool, *flags: str, edit: Callable[[str], str] = str
) -> dict[str, int]:
    """How many results of each kernel differ; `edit` may change the assembly first."""
    for source in CORE.iterdir():
        (folder / source.name).write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
    assembly = folder / ASSEMBLY
    assembly.write_text(edit(assembly.read_text(encoding="utf-8")), encoding="utf-8")
    (folder / "tables.h").write_text(tables())
    declared = set(re.findall(r"\b(bp_\w+)\(", (folder / "bpgen_kernels.h").read_text("utf-8")))
    renamed = [f"-D{name}=portable_{name}" for name in sorted(declared - {"bp_counters_agree"})]
    renamed += ["-Dbp_counters_are_on=portable_on", "-Dbp_counters_are_off=portable_off"]

    def compile_c(name: str, source: Path, *more: str) -> Path:
        command = [tool("avr-gcc"), *FLAGS, *flags, *more, f"-I{folder}", "-c", str(source)]
        subprocess.run([*command, "-o", str(folder / name)], check=True)
        return folder / name

    objects = (
        compile_c("main.o", PROGRAM),
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
    said = re.findall(r"([a-z_]+) (\d{5});", re.sub(r"\x1b\[\d*m", "", done.stdout + done.stderr))
    return {name: int(count) for name, count in said}


@pytest.mark.parametrize("counters", [0, 1])
@pytest.mark.parametrize("optimisation", ["-O2", "-Os", "-O3"])
def test_every_kernel_gives_the_bits_of_the_portable_c(
    optimisation: str, counters: int, tool: Tool, tmp_path: Path
) -> None:
    found = differing(tmp_path, tool, optimisation, f"-DBPGEN_COUNTERS={counters}")
    assert found == dict.fromkeys(KERNELS, 0)


@pytest.mark.parametrize(
    ("kernel", "line", "broken"),
    [
        ("dot", "adc %D[sum], %B[high]", "nop"),
        ("long_rows", "sbci %B[left], 0", "nop"),
        ("hidden_delta", "mulsu %C[s], %A[d]", "mul %C[s], %A[d]"),
        ("update_residual", "brvs 3b", "nop"),
        ("update_residual", "sbrc %B[p], 7", "sbrs %B[p], 7"),
        ("update_stochastic", "hi8(-40503)", "hi8(-40247)"),
    ],
)
def test_a_wrong_instruction_is_noticed(
    kernel: str, line: str, broken: str, tool: Tool, tmp_path: Path
) -> None:
    def edit(assembly: str) -> str:
        assert line in assembly
        return assembly.replace(line, broken, 1)

    assert differing(tmp_path, tool, "-O2", edit=edit)[kernel] > 0

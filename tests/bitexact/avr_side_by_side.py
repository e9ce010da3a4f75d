"""Kernels in assembly beside the portable ones, in one program on an emulated ATmega2560."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Collection
from pathlib import Path

from bpgen.data import FIRMWARE

CORE = FIRMWARE / "core"
CHIP = "-mmcu=atmega2560"
FLAGS = (CHIP, "-std=gnu99", "-fwrapv", "-Wall", "-Wextra", "-Werror")
# Layers that a test makes up lack what only other kernels read.
FLAGS_OF_PROGRAM = ("-Wno-missing-field-initializers",)

Tool = Callable[[str], str]
Edit = Callable[[str], str]


def simulated(tool: Tool, image: Path) -> str:
    """What an image says on its serial port until it sleeps."""
    done = subprocess.run(
        [tool("simavr"), "-m", "atmega2560", "-f", "16000000", str(image)],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    return re.sub(r"\x1b\[\d*m", "", done.stdout + done.stderr)


def said(
    folder: Path, tool: Tool, program: Path, layers: str, assembly: str, *flags: str,
    edit: Edit = str, left_out: Collection[str] = (),
) -> str:  # fmt: skip
    """
    What `program`, which includes `layers` as layers.h, says of the kernels of a core file.

    The portable kernels have the same names behind portable_. `edit` may change the file
    `assembly` first; those of `left_out` are the portable ones on both sides.
    """
    folder.mkdir(exist_ok=True)
    for source in CORE.iterdir():
        text = source.read_text(encoding="utf-8")
        edited = edit(text) if source.name == assembly else text
        (folder / source.name).write_text(edited, encoding="utf-8")
    (folder / "layers.h").write_text(layers, encoding="utf-8")
    header = (folder / "bpgen_kernels.h").read_text(encoding="utf-8")
    names = set(re.findall(r"\b(bp_\w+)\(", header)) - {"bp_counters_agree"}
    # Names that only stand for others where a core has no such kernel; for flash AVR cores have.
    names -= set(re.findall(r"#define (bp_\w+(?<!_rom)) bp_", header))
    behind = {name: f"-D{name}=portable_{name}" for name in sorted(names)}
    behind |= {
        f"bp_counters_are_{state}": f"-Dbp_counters_are_{state}=portable_{state}"
        for state in ("on", "off")
    }
    objects = []
    for name, source, more in (
        ("main.o", program, [*FLAGS_OF_PROGRAM, *(behind[name] for name in sorted(left_out))]),
        ("fast.o", folder / "bpgen_kernels.c", []),
        ("portable.o", folder / "bpgen_kernels.c", ["-DBP_PORTABLE", *behind.values()]),
    ):
        command = [tool("avr-gcc"), *FLAGS, *flags, *more, f"-I{folder}", "-c", str(source)]
        subprocess.run([*command, "-o", str(folder / name)], check=True)
        objects.append(str(folder / name))
    image = folder / "kernels.elf"
    subprocess.run([tool("avr-gcc"), *FLAGS, *flags, *objects, "-o", str(image)], check=True)
    return simulated(tool, image)

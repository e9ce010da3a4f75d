"""Kernels in assembly beside the portable ones, in one program on an emulated ATmega2560."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Collection
from pathlib import Path

from tests.bitexact.side_by_side import Edit, Tool, behind_portable, copy_core

CHIP = "-mmcu=atmega2560"
FLAGS = (CHIP, "-std=gnu99", "-fwrapv", "-Wall", "-Wextra", "-Werror")
# Layers that a test makes up lack what only other kernels read.
FLAGS_OF_PROGRAM = ("-Wno-missing-field-initializers",)
# Of layers forward; fewer rounds are enough to notice what is wrong.
FLAGS_OF_MUTANTS = ("-O2", "-DROUNDS=4")


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
    copy_core(folder, assembly, edit)
    (folder / "layers.h").write_text(layers, encoding="utf-8")
    behind = behind_portable(folder, with_rom=True)
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

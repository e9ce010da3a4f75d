"""Kernels in assembly beside the portable ones, in one program on an emulated ATmega2560."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Collection
from pathlib import Path
from threading import Timer

from tests.bitexact.side_by_side import Edit, Tool, behind_portable, compiled, copy_core, counts

CHIP = "-mmcu=atmega2560"
FLAGS = (CHIP, "-std=gnu99", "-fwrapv", "-Wall", "-Wextra", "-Werror")
# Layers that a test makes up lack what only other kernels read; a mutant leaves checks out.
FLAGS_OF_PROGRAM = ("-Wno-missing-field-initializers", "-Wno-unused-function")
# Of layers forward; fewer rounds are enough to notice what is wrong.
FLAGS_OF_MUTANTS = ("-O2", "-DROUNDS=4")
# The longest run takes a twentieth of it on a machine that does nothing else.
TIMEOUT_S = 300

# Whether the counts that a program has reported so far are all that is asked of it.
Enough = Callable[[dict[str, int]], bool]


def never(found: dict[str, int]) -> bool:
    """Of a program that has to come to its end."""
    return False


def one_differs(found: dict[str, int]) -> bool:
    """Of a mutant: one result that differs is noticed, whatever follows."""
    return any(found.values())


def simulated(tool: Tool, image: Path, enough: Enough = never) -> str:
    """What an image says on its serial port until it sleeps, or has said enough."""
    said, found = "", dict[str, int]()
    with subprocess.Popen(
        [tool("simavr"), "-m", "atmega2560", "-f", "16000000", str(image)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as run:
        timer = Timer(TIMEOUT_S, run.kill)
        timer.start()
        try:
            assert run.stdout is not None
            for coloured in run.stdout:
                line = re.sub(r"\x1b\[\d*m", "", coloured)
                said += line
                found |= counts(line)
                if enough(found):
                    return said
            run.wait()
        finally:
            timer.cancel()
            run.kill()
    assert run.returncode == 0, f"simavr ended with {run.returncode}: {said}"
    return said


def said(
    folder: Path, tool: Tool, program: Path, layers: str, assembly: str, *flags: str,
    edit: Edit = str, left_out: Collection[str] = (), enough: Enough = never,
) -> str:  # fmt: skip
    """
    What `program`, which includes `layers` as layers.h, says of the kernels of a core file.

    The portable kernels have the same names behind portable_. `edit` may change the file
    `assembly` first; those of `left_out` are the portable ones on both sides. It is stopped when it
    has said `enough`.
    """
    folder.mkdir(exist_ok=True)
    copy_core(folder, assembly, edit)
    (folder / "layers.h").write_text(layers, encoding="utf-8")
    behind = behind_portable(folder, with_rom=True)
    objects = [
        compiled(folder, name, source, [tool("avr-gcc"), *FLAGS, *flags, *more])
        for name, source, more in (
            ("main.o", program, [*FLAGS_OF_PROGRAM, *(behind[name] for name in sorted(left_out))]),
            ("fast.o", folder / "bpgen_kernels.c", []),
            ("portable.o", folder / "bpgen_kernels.c", ["-DBP_PORTABLE", *behind.values()]),
        )
    ]
    image = folder / "kernels.elf"
    subprocess.run([tool("avr-gcc"), *FLAGS, *flags, *objects, "-o", str(image)], check=True)
    return simulated(tool, image, enough)

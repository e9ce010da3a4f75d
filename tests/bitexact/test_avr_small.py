"""Kernels that take little flash give the bits of the portable C, on an emulated ATmega2560."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from bpgen.data import FIRMWARE
from bpgen.generation import generate
from tests.bitexact import test_avr_forward as forward
from tests.bitexact import test_avr_learn as learn
from tests.compile.test_avr_self_test import MODELS, PROGRAM

CORE = FIRMWARE / "core"
ASSEMBLY = "bpgen_avr_small.h"
FLAGS = ("-mmcu=atmega2560", "-std=gnu99", "-fwrapv", "-Wall", "-Werror", "-DBP_SMALL=1")
LEFT_OUT = {"bp_learn_residual"}  # nothing that takes little flash calls it
Tool = Callable[[str], str]
Edit = Callable[[str], str]


def simulated(tool: Tool, image: Path) -> str:
    """What a program says on the serial port."""
    done = subprocess.run(
        [tool("simavr"), "-m", "atmega2560", "-f", "16000000", str(image)],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    return re.sub(r"\x1b\[\d*m", "", done.stdout + done.stderr)


def said(folder: Path, tool: Tool, program: Path, layers: str, edit: Edit, *flags: str) -> str:
    """What `program` says of these kernels beside the portable ones."""
    folder.mkdir()
    for source in CORE.iterdir():
        (folder / source.name).write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
    assembly = folder / ASSEMBLY
    assembly.write_text(edit(assembly.read_text(encoding="utf-8")), encoding="utf-8")
    (folder / "layers.h").write_text(layers)
    header = (folder / "bpgen_kernels.h").read_text("utf-8")
    names = set(re.findall(r"\b(bp_\w+)\(", header))
    # Without the fast kernels some names stand for others; on AVR cores not those of flash.
    names -= set(re.findall(r"#define (bp_\w+(?<!_rom)) bp_", header))
    behind = {name: f"-D{name}=portable_{name}" for name in sorted(names - {"bp_counters_agree"})}
    apart = [
        *behind.values(),
        "-Dbp_counters_are_on=portable_on",
        "-Dbp_counters_are_off=portable_off",
    ]
    missing = [behind[name] for name in sorted(LEFT_OUT)]
    objects = []
    for name, source, more in (
        ("main.o", program, missing),
        ("fast.o", folder / "bpgen_kernels.c", []),
        ("portable.o", folder / "bpgen_kernels.c", ["-DBP_PORTABLE", *apart]),
    ):
        command = [tool("avr-gcc"), *FLAGS, *flags, *more, f"-I{folder}", "-c", str(source)]
        subprocess.run([*command, "-o", str(folder / name)], check=True)
        objects.append(str(folder / name))
    image = folder / "kernels.elf"
    command = [tool("avr-gcc"), *FLAGS, *flags, *objects, "-o", str(image)]
    subprocess.run(command, check=True)
    return simulated(tool, image)


def wrong(folder: Path, tool: Tool, *flags: str, edit: Edit = str) -> set[object]:
    """The layers and kernels with a result that differs, or without one."""
    of_layers = said(folder / "f", tool, forward.PROGRAM, forward.header(), edit, *flags)
    layers = {int(n): int(count) for n, count in re.findall(r"(\d{3}) (\d{5});", of_layers)}
    of_kernels = said(folder / "l", tool, learn.PROGRAM, learn.layers(), edit, *flags)
    counts = dict(re.findall(r"([a-z_]+) (\d{5});", of_kernels))
    kernels = {kernel for kernel in learn.KERNELS if int(counts.get(kernel, 1))}
    return kernels | {layer for layer in forward.wrong(layers) if _sums_fit_40_bits(layer)}


def _sums_fit_40_bits(layer: forward.Layer | int) -> bool:
    return isinstance(layer, int) or layer.inputs * layer.a_top < 2**24


@pytest.mark.parametrize("optimisation", ["-O2", "-Os"])
def test_every_kernel_gives_the_bits_of_the_portable_c(
    optimisation: str, tool: Tool, tmp_path: Path
) -> None:
    assert wrong(tmp_path, tool, optimisation) == set()


@pytest.mark.parametrize("name", MODELS)
def test_a_small_model_passes_its_self_test(name: str, tool: Tool, tmp_path: Path) -> None:
    files = generate(MODELS[name], "net", optimize="size")
    for file, text in {**files, "main.c": PROGRAM}.items():
        (tmp_path / file).write_text(text, encoding="utf-8")
    sources = [file for file in files if file.endswith(".c")]
    image = tmp_path / "main.elf"
    command = [tool("avr-gcc"), "-mmcu=atmega2560", "-Os", "-flto", "-mrelax", "main.c", *sources]
    subprocess.run([*command, "-o", str(image)], cwd=tmp_path, check=True)
    assert {"P", "F"} & set(simulated(tool, image)) == {"P"}

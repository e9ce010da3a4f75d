"""Kernels that take little flash give the bits of the portable C, on an emulated ATmega2560."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from bpgen.generation import generate
from tests.bitexact import test_avr_forward as forward
from tests.bitexact import test_avr_learn as learn
from tests.bitexact.avr_side_by_side import Edit, Tool, said, simulated
from tests.compile.test_avr_self_test import MODELS, PROGRAM

ASSEMBLY = "bpgen_avr_small.h"
LEFT_OUT = {"bp_learn_residual"}  # nothing that takes little flash calls it


def wrong(folder: Path, tool: Tool, *flags: str, edit: Edit = str) -> set[object]:
    """The layers and kernels with a result that differs, or without one."""
    small = ("-DBP_SMALL=1", *flags)
    of_layers = said(
        folder / "f", tool, forward.PROGRAM, forward.header(), ASSEMBLY, *small, edit=edit
    )
    layers = {int(n): int(count) for n, count in re.findall(r"(\d{3}) (\d{5});", of_layers)}
    layers_to_learn = re.sub(r", \.learn = BP_LAYER_LEARN\([^)]*\)", "", learn.layers())
    of_kernels = said(
        folder / "l", tool, learn.PROGRAM, layers_to_learn, ASSEMBLY, *small, edit=edit,
        left_out=LEFT_OUT,
    )  # fmt: skip
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

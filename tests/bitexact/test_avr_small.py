"""Kernels that take little flash give the bits of the portable C, on an emulated ATmega2560."""

from __future__ import annotations

import subprocess
from collections.abc import Collection
from pathlib import Path

import pytest

from bpgen.generation import generate
from bpgen.model import IntModel
from bpgen.simulate import WARNINGS
from tests.bitexact import test_avr_forward as forward
from tests.bitexact import test_avr_learn as learn
from tests.bitexact.avr_side_by_side import (
    FLAGS_OF_MUTANTS,
    Enough,
    never,
    said,
    simulated,
)
from tests.bitexact.side_by_side import Edit, Tool, counts, mutant
from tests.compile.models import trainable
from tests.compile.test_avr_self_test import MODELS, PROGRAM

COMMON = "bpgen_avr_small.h"
FORWARD, LEARN = "bpgen_avr_small_forward.h", "bpgen_avr_small_learn.h"
# Nothing that takes little flash calls these.
LEFT_OUT = {"bp_learn_residual", "bp_learn_stochastic"}


def wrong_layers(
    folder: Path, tool: Tool, *flags: str,
    edited: str = "", edit: Edit = str, enough: Enough = never,
) -> set[object]:  # fmt: skip
    """The layers, and the tables by number, with a result that differs, or without one."""
    text = said(
        folder, tool, forward.PROGRAM, forward.header(), edited, "-DBP_SMALL=1", *flags, edit=edit,
        enough=enough,
    )  # fmt: skip
    found = {int(number): count for number, count in counts(text).items()}
    return {layer for layer in forward.wrong(found) if _sums_fit_40_bits(layer)}


def wrong_kernels(
    folder: Path, tool: Tool, *flags: str,
    kernels: Collection[str] = learn.KERNELS, edited: str = "", edit: Edit = str,
) -> set[str]:  # fmt: skip
    """Those of the kernels that learn with a result that differs, or without one."""
    text = said(
        folder, tool, learn.PROGRAM, learn.layers(kernels), edited, "-DBP_SMALL=1", *flags,
        edit=edit, left_out=LEFT_OUT,
    )  # fmt: skip
    found = counts(text)
    return {kernel for kernel in kernels if found.get(kernel, 1)}


def _sums_fit_40_bits(layer: forward.Layer | int) -> bool:
    return isinstance(layer, int) or layer.inputs * layer.a_top < 2**24


@pytest.mark.parametrize("optimisation", ["-O2", "-Os"])
def test_every_kernel_gives_the_bits_of_the_portable_c(
    optimisation: str, tool: Tool, tmp_path: Path
) -> None:
    assert wrong_layers(tmp_path / "f", tool, optimisation) == set()
    assert wrong_kernels(tmp_path / "l", tool, optimisation) == set()


# The kernels that notice, and what is replaced in the n-th place of a file that has it.
MUTANTS = [
    ({"update_residual", "descent"}, COMMON, "mulsu r21, r16", "mulsu r20, r16", 0),
    ({"backward"}, COMMON, "adc r14, r0", "adc r14, r2", 0),
    ({"backward", "update_residual"}, COMMON, "sbc r19, r2", "nop", 0),
    ({"backward", "update_residual"}, LEARN, "andi r24, 0xFE", "nop", 0),
    ({"backward", "update_residual"}, LEARN, "sbrc r8, 0", "sbrs r8, 0", 0),
    ({"backward", "delta_sigmoid", "output_delta"}, COMMON, "adc r10, r2", "nop", 0),
    ({"backward"}, COMMON, "subi r18, -8", "subi r18, -7", 0),
    ({"backward"}, LEARN, "mov r10, r22", "nop", 0),
    ({"delta_sigmoid", "update_residual"}, COMMON, "subi r24, 0x80", "subi r24, 0x81", 0),
    ({"delta_sigmoid", "output_delta"}, COMMON, "com r14", "nop", 0),
    ({"delta_sigmoid", "output_delta"}, LEARN, "lsl r23", "nop", 0),
    ({"delta_sigmoid"}, LEARN, "mov r11, r12", "nop", 0),
    ({"output_delta"}, LEARN, "sbci r21, -1", "sbci r21, 0", 0),
    ({"descent"}, LEARN, "adc r24, r2", "nop", 0),
    ({"update_residual"}, COMMON, "subi r16, 64", "subi r16, 128", 0),
    ({"update_residual"}, COMMON, "sbrc r0, 7", "sbrs r0, 7", 0),
    ({"update_residual"}, COMMON, "andi r18, 0x3F", "andi r18, 0x7F", 0),
    ({"update_residual"}, LEARN, "sub r28, r6", "nop", 0),
    ({"update_residual"}, LEARN, "sub r15, r0", "nop", 0),
    ({"update_stochastic"}, LEARN, "sub r15, r0", "nop", 1),
    ({"update_stochastic"}, LEARN, "adc r0, r29", "nop", 0),
    ({"update_stochastic"}, LEARN, "mov r1, r0", "nop", 0),
    ({"update_stochastic"}, LEARN, "sbiw r24, 1", "nop", -1),
    ({"update_stochastic"}, LEARN, "subi r23, 0x80", "subi r23, 0x81", 0),
    ({"update_stochastic"}, LEARN, "hi8(40503)", "hi8(40247)", 0),
    ({"update_stochastic"}, LEARN, "adc r29, r11", "nop", 0),
]


@pytest.mark.parametrize(("kernels", "file", "text", "broken", "which"), MUTANTS)
def test_a_wrong_instruction_is_noticed_by_what_learns(
    kernels: set[str], file: str, text: str, broken: str, which: int, tool: Tool, tmp_path: Path
) -> None:
    found = wrong_kernels(
        tmp_path, tool, "-O2", kernels=sorted(kernels), edited=file,
        edit=mutant(text, broken, which),
    )  # fmt: skip
    assert found == kernels


# What is replaced in the n-th place of a file that has it.
FORWARD_MUTANTS = [
    (COMMON, "sbrc r18, 0", "sbrs r18, 0", 0),
    (FORWARD, "ori r24, 1", "nop", 0),
    (COMMON, "cpc r0, r12", "nop", 0),
    (COMMON, "sbrc r14, 7", "sbrs r14, 7", 0),
    (FORWARD, "sbrc r0, 0", "sbrs r0, 0", 0),
    (FORWARD, "subi r20, 1", "nop", 0),
    (FORWARD, "com r13", "nop", 0),
    (FORWARD, "ldi r17, 0xFF", "ldi r17, 0x7F", 0),
]


@pytest.mark.parametrize(("file", "text", "broken", "which"), FORWARD_MUTANTS)
def test_a_wrong_instruction_is_noticed_by_a_layer(
    file: str, text: str, broken: str, which: int, tool: Tool, tmp_path: Path
) -> None:
    def enough(found: dict[str, int]) -> bool:
        wrong = [int(number) for number, count in found.items() if count]
        layers = dict(enumerate(forward.LAYERS))
        return any(_sums_fit_40_bits(layers.get(number, number)) for number in wrong)

    edit = mutant(text, broken, which)
    assert wrong_layers(tmp_path, tool, *FLAGS_OF_MUTANTS, edited=file, edit=edit, enough=enough)


def verdict(folder: Path, model: IntModel, tool: Tool, edit: Edit = str) -> set[str]:
    """P or F: what the self-test of a model says, compiled for size and without a warning."""
    files = generate(model, "net", optimize="size")
    files[COMMON] = edit(files[COMMON])
    for file, text in {**files, "main.c": PROGRAM}.items():
        (folder / file).write_text(text, encoding="utf-8")
    sources = [file for file in files if file.endswith(".c")]
    image = folder / "main.elf"
    flags = ["-mmcu=atmega2560", "-std=c99", *WARNINGS, "-Os", "-flto", "-mrelax"]
    command = [tool("avr-gcc"), *flags, "main.c", *sources, "-o", str(image)]
    subprocess.run(command, cwd=folder, check=True)
    return {"P", "F"} & set(simulated(tool, image))


@pytest.mark.parametrize("name", MODELS)
def test_a_small_model_passes_its_self_test(name: str, tool: Tool, tmp_path: Path) -> None:
    assert verdict(tmp_path, MODELS[name], tool) == {"P"}


def test_weights_of_a_pair_may_be_more_than_256_bytes_apart(tool: Tool, tmp_path: Path) -> None:
    wide = trainable((5, 70, 3), ("sigmoid", "sigmoid"), "squared_error", "residual")
    (tmp_path / "right").mkdir()
    (tmp_path / "wrong").mkdir()
    assert verdict(tmp_path / "right", wide, tool) == {"P"}
    edit = mutant("adc r31, r5", "adc r31, r2", 0)
    assert verdict(tmp_path / "wrong", wide, tool, edit) == {"F"}


@pytest.mark.parametrize(
    ("sizes", "dz_top", "small"),
    [
        ((511, 2), 8000, 1),
        ((512, 2), 8000, 0),
        ((2, 2, 511), 32767, 1),
        ((2, 2, 512), 32767, 1),
        ((2, 2, 513), 32767, 0),
    ],
)
def test_a_sum_that_40_bits_do_not_hold_has_the_other_kernels(
    sizes: tuple[int, ...], dz_top: int, small: int
) -> None:
    """2^39 is 512 products of the largest numbers, forward with a bias."""
    kinds = ("sigmoid",) * (len(sizes) - 1)
    model = trainable(sizes, kinds, "squared_error", "residual", dz_top=dz_top)
    files = generate(model, "net", optimize="size")
    assert f"#define BP_SMALL {small}\n" in files["bpgen_fix.h"]
    # One pass that does the work of two is more code.
    assert ("bp_learn_" in files["net.c"]) == (small == 0 and len(sizes) > 2)

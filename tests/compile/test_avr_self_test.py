"""The self-test of every model on an emulated AVR, where `int` has 16 bits."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from bpgen.model import IntModel
from tests.compile.models import everything
from tests.compile.test_compilers import run, write

MODELS = everything()
Tool = Callable[[str], str]

PROGRAM = """
#include <avr/interrupt.h>
#include <avr/io.h>
#include <avr/sleep.h>

#include "net.h"

static net_state_t net;

int main(void)
{
    char verdict = net_self_test(&net) == 0 ? 'P' : 'F';

    UCSR0B = 1 << TXEN0;
    UDR0 = (uint8_t)verdict;
    while (!(UCSR0A & (1 << TXC0))) {
    }
    UDR0 = '\\n';
    cli(); /* asleep for ever: the simulator ends */
    sleep_enable();
    sleep_cpu();
    return 0;
}
"""


def verdict(folder: Path, model: IntModel, tool: Tool, edit: Callable[[str], str] = str) -> str:
    """P or F: what an ATmega2560 says of `model`; `edit` may change the kernels first."""
    sources = write(folder, model, "net")
    kernels = folder / "bpgen_kernels_backward.h"
    before = kernels.read_text(encoding="utf-8")
    kernels.write_text(edit(before), encoding="utf-8")
    (folder / "main.c").write_text(PROGRAM)
    image = folder / "main.elf"
    run(tool("avr-gcc"), "-mmcu=atmega2560", "-O2", "main.c", *sources, "-o", image, cwd=folder)
    done = subprocess.run(
        [tool("simavr"), "-m", "atmega2560", "-f", "16000000", str(image)],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    (said,) = {"P", "F"} & set(done.stdout + done.stderr)
    return said


@pytest.mark.parametrize("name", MODELS)
def test_a_model_passes_its_self_test_on_an_avr(name: str, tool: Tool, tmp_path: Path) -> None:
    assert verdict(tmp_path, MODELS[name], tool) == "P"


def test_a_16_bit_product_in_the_sparsity_penalty_is_noticed(tool: Tool, tmp_path: Path) -> None:
    """`(32768u - target) << 15` loses all but a bit where unsigned int has 16."""

    def narrowed(kernels: str) -> str:
        wide = "((uint32_t)(32768u - target) << 15)"
        assert wide in kernels
        return kernels.replace(wide, "((32768u - target) << 15)")

    assert verdict(tmp_path, MODELS["residual-l2-sparsity"], tool, narrowed) == "F"

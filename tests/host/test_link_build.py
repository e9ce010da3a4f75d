"""The link with faults put back, on all compilers, and for models that it cannot serve."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from bpgen.emit.device import device_files
from bpgen.errors import BpgenError
from bpgen.generation import view_of
from bpgen.simulate import WARNINGS
from bpgen.wire import Message
from bpgen_host.local import LOCAL, LocalTransport, firmware
from tests.compile.models import trainable
from tests.host.link_board import (
    MODELS,
    UNO,
    Board,
    check_training,
)
from tests.host.test_link_learning import check_gradient_ends
from tests.host.test_link_refusals import (
    check_a_seq_is_used_again,
    check_gen_is_compared,
    check_lengths,
    check_repeats,
)

# ---- faults put back ----------------------------------------------------------------------------

FAULTS: list[tuple[str, str, Callable[[Board], None]]] = [
    ("s->frame.is.gen != s->gen", "0", check_gen_is_compared),
    (
        "s->frame.is.gen != s->gen",
        "(uint8_t)s->frame.is.gen != (uint8_t)s->gen",
        check_gen_is_compared,
    ),
    ("s->frame.type_and_seq != s->done", "0", check_repeats),
    ("s->frame.type_and_seq != s->done", "TYPE != (uint8_t)s->done", check_a_seq_is_used_again),
    ("    s->value = 0;\n    do", "    do", check_training),
    (
        "s->request.fixed) != size",
        "s->request.fixed) > size",
        lambda b: check_lengths(b, Message.SETW),
    ),
    (
        "s->request.fixed) != size",
        "s->request.fixed) > size",
        lambda b: check_lengths(b, Message.TRAIN_N),
    ),
    ("    s->tag++;\n    s->done", "    s->done", check_gradient_ends),
]


@pytest.mark.parametrize(("old", "new", "check"), FAULTS)
def test_a_fault_in_the_link_is_noticed(old: str, new: str, check: Callable[[Board], None]) -> None:
    model = MODELS["residual"]
    files = firmware(model)
    link = {name: text for name, text in files.items() if name.startswith("bpgen_link")}
    assert "".join(link.values()).count(old) == 1
    files |= {name: text.replace(old, new) for name, text in link.items()}
    with LocalTransport(model, files=files) as transport:
        board = Board(model, transport).restart()
        with pytest.raises(AssertionError):
            check(board)


# ---- compilers ----------------------------------------------------------------------------------

COMPILERS = {
    "gcc": ("-O2",),
    "clang": ("-O2",),
    "avr-gcc": ("-mmcu=atmega328p", "-Os"),
    "arm-none-eabi-gcc": ("-mcpu=cortex-m0", "-mthumb", "-O2"),
    "riscv64-unknown-elf-gcc": ("-march=rv32imc", "-mabi=ilp32", "-ffreestanding", "-O2"),
}


@pytest.mark.parametrize("counters", [0, 1])
@pytest.mark.parametrize(
    "name",
    ["residual", "stochastic-l2", "batch-l2-sparsity", "inference-s8", "wide"],
)
@pytest.mark.parametrize("compiler", COMPILERS)
def test_the_link_compiles_without_a_warning(
    tool: Callable[[str], str], tmp_path: Path, compiler: str, name: str, counters: int
) -> None:
    constants = UNO if compiler == "avr-gcc" else LOCAL
    for file, text in firmware(MODELS[name], constants).items():
        (tmp_path / file).write_text(text, encoding="utf-8")
    command = [tool(compiler), *WARNINGS, *COMPILERS[compiler], f"-DBPGEN_COUNTERS={counters}"]
    run = subprocess.run(
        [*command, "-c", "bpgen_link.c", "bpgen_device.c"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr


# ---- what the generator refuses -----------------------------------------------------------------


def test_a_model_whose_replies_do_not_fit_is_refused() -> None:
    def files(outputs: int) -> dict[str, str]:
        sizes, kinds = (3, outputs), ("linear",)
        model = trainable(sizes, kinds, "squared_error", "residual")
        return device_files(model, "net", view_of(model, "net"), UNO)

    assert files(21)
    with pytest.raises(BpgenError, match="a frame of the board holds 52: use fewer outputs"):
        files(22)


def test_a_model_with_more_parameters_than_an_index_counts_is_refused() -> None:
    model = trainable((400, 163, 2), ("relu", "linear"), "squared_error", "residual")
    with pytest.raises(BpgenError, match="counts up to 65,535"):
        device_files(model, "net", view_of(model, "net"), LOCAL)


def test_a_state_too_large_for_the_board_is_not_stored() -> None:
    model = trainable((12, 12, 4), ("relu", "linear"), "squared_error", "residual")
    header = device_files(model, "net", view_of(model, "net"), UNO)["bpgen_device.h"]
    assert "#define BP_STORE_BYTES 0 /* two records of" in header

"""Boards: memory is counted exactly or bounded from above, and refusals say by how much."""

import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bpgen import targets
from bpgen.emit.view import View
from bpgen.errors import BpgenError
from bpgen.floatnet import Sparsity, create
from bpgen.generation import generate, view_of
from bpgen.model import IntModel
from bpgen.quantization import inference_only, quantize_network
from bpgen.scaling import Scaling
from bpgen.targets import TARGETS, Family, fits, require_fit, target
from bpgen.training import Ranges, Training

FLAGS = ("-std=c99", "-O2", "-ffunction-sections", "-fdata-sections")

# A bound above this factor would refuse models that fit.
LOOSEST = 1.6

BATCH = Training(0.05, batch_size=8, momentum=0.9, l2=0.001)


def model(
    sizes: tuple[int, ...], training: Training | None, hidden: Any = "sigmoid",
    output: str = "sigmoid", ranged: bool = True, **settings: Any,
) -> IntModel:  # fmt: skip
    loss = "cross_entropy" if output == "softmax" else "squared_error"
    n, count = sizes[0], len(sizes) - 1
    seen = Ranges([1.0] * len(sizes), [4.0] * count, [2.0] * count, [0.1] * count, 1.0)
    return quantize_network(
        create(sizes, hidden, output, loss),
        training,
        seen if ranged else None,
        scaling=Scaling((0,) * n, (0,) * n, (0.01,) * n),
        features=[f"x{i}" for i in range(n)],
        targets=["t"],
        **settings,
    )


MODELS: dict[str, Callable[[], IntModel]] = {
    "infer_one_layer": lambda: model((5, 3), None),
    "infer_five_layers": lambda: model((4, 8, 7, 6, 5, 3), None),
    "infer_wide_softmax": lambda: model((40, 9, 3), None, "relu", "softmax", ranged=False),
    "learn_4_8_3": lambda: model((4, 8, 3), Training(0.2)),
    "learn_stochastic_relu": lambda: model(
        (4, 8, 3), Training(0.2), "relu", "softmax", update="stochastic"
    ),
    "learn_five_layers": lambda: model((4, 8, 7, 6, 5, 3), Training(0.2)),
    "learn_few_outputs": lambda: model((4, 3, 3, 2), Training(0.2), update="stochastic"),
    "learn_few_outputs_of_tanh": lambda: model(
        (3,) * 5, Training(0.2), "tanh", "softmax", update="stochastic"
    ),
    "learn_large": lambda: model((3, 16, 15, 9), Training(0.2)),
    "learn_everything": lambda: model(
        (35, 4, 3, 2),
        replace(BATCH, sparsity=Sparsity(0.1, 0.1)),
        ("sigmoid", "tanh_opt"),
        "softmax",
    ),
    "learn_frozen": lambda: model((4, 8, 3), Training(0.2), freeze=[1]),
}

FAMILIES = {t.name: t for t in TARGETS.values() if t.name not in ("posix", "bluepill", "rp2040")}

CALLS = """#include "net.h"
static net_state_t s;
volatile int32_t in, out;
int main(void)
{
    int32_t counts[NET_N_IN];
    int16_t t[NET_N_OUT];
    size_t i;
    for (i = 0; i < NET_N_IN; i++) { counts[i] = in; }
    for (i = 0; i < NET_N_OUT; i++) { t[i] = (int16_t)in; }
    net_reset(&s);
    net_quantize_input(&s, counts);
    net_forward(&s);
    out = (int32_t)net_argmax(&s);
    out = (int32_t)net_loss(&s, t);
    out = net_self_test(&s);
    LEARN
    return 0;
}
"""
LEARN = """net_backward(&s, t); net_step(&s); net_train(&s, t);
    out = net_set_learning_rate(&s, (uint16_t)in, (int8_t)in);
    out = (int32_t)net_crc32(&s); APPLY"""


def linked(m: IntModel, family: Family, compiler: str, folder: Path) -> dict[str, int]:
    """Compile and link with every function in use: the size of each section, and of the state."""
    files = generate(m, "net")
    calls = CALLS.replace("LEARN", LEARN if m.training else "")
    applies = m.training is not None and m.training.update in ("batch", "momentum")
    files["calls.c"] = calls.replace("APPLY", "net_apply(&s);" if applies else "")
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    sources = [str(folder / name) for name in files if name.endswith(".c")]
    program = str(folder / "program")
    subprocess.run(
        [
            compiler,
            *family.flags,
            *FLAGS,
            "-Wl,--gc-sections",
            *family.link,
            "-o",
            program,
            *sources,
        ],
        check=True,
    )
    tool = compiler.removesuffix("gcc")
    sections = subprocess.run(
        [f"{tool}size", "-A", program], check=True, capture_output=True, text=True
    ).stdout
    symbols = subprocess.run(
        [f"{tool}nm", "-S", program], check=True, capture_output=True, text=True
    ).stdout
    sizes = {name: int(size) for name, size in re.findall(r"^(\.\S+)\s+(\d+)", sections, re.M)}
    state = re.search(r"^\w+ (\w+) b s$", symbols, re.M)
    assert state is not None
    return sizes | {"state": int(state[1], 16)}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("board", FAMILIES)
def test_compiled_code_and_state_are_within_what_fits_counts_and_not_far_below(
    board: str, name: str, tool: Callable[[str], str], tmp_path: Path
) -> None:
    m, family = MODELS[name](), TARGETS[board].family
    view = view_of(m, "net")
    sizes = linked(m, family, tool(family.command), tmp_path)
    in_flash = (".text", ".rodata", ".data", ".init", ".sdata", ".srodata", ".ARM", ".eh_frame")
    flash = sum(n for section, n in sizes.items() if section.startswith(in_flash))
    code = flash - targets.rom_bytes(view)
    bound = targets.code_bytes(view, family.code)
    assert code <= bound <= LOOSEST * code, f"{code} bytes of code, bound {bound}"
    counted = (
        fits(view, TARGETS[board]).ram_needed - family.reserve - targets.scratch_bytes(view, family)
    )
    assert sizes["state"] <= counted <= sizes["state"] + 3


def view(sizes: tuple[int, ...]) -> View:
    return view_of(model(sizes, Training(0.2)), "net")


def test_a_model_that_fits_is_described_with_both_memories() -> None:
    fit = require_fit(view((4, 8, 3)), target("uno"))
    assert fit.fits
    assert fit.verdict == "yes"
    assert "of 2,048 bytes of RAM" in targets.describe(fit)


def test_too_little_ram_is_refused_with_the_bytes_that_lack() -> None:
    wide, uno = view((4, 100, 3)), target("uno")
    state = wide.state_size + targets.scratch_bytes(wide, uno.family)
    lacking = state + uno.family.reserve - 2048
    assert lacking > 0
    with pytest.raises(BpgenError, match=f"has {lacking} bytes of RAM too few") as error:
        require_fit(wide, uno)
    assert "flash" not in str(error.value)
    assert fits(wide, uno).verdict == f"no, {lacking:,} bytes of RAM too few"


def test_a_model_fits_to_the_byte() -> None:
    small = view((4, 8, 3))
    fit = fits(small, target("uno"))
    exact = replace(target("uno"), ram_bytes=fit.ram_needed, flash_bytes=fit.flash_needed)
    assert fits(small, exact).fits
    assert fits(small, replace(exact, ram_bytes=fit.ram_needed - 1)).ram_missing == 1
    assert fits(small, replace(exact, flash_bytes=fit.flash_needed - 1)).flash_missing == 1


def test_too_little_of_both_memories_names_both() -> None:
    with pytest.raises(BpgenError, match=r"bytes of RAM too few .* and \d+ bytes of flash"):
        require_fit(view((64, 200, 10)), target("uno"))


def test_sums_of_more_outputs_than_an_avr_holds_are_refused() -> None:
    with pytest.raises(BpgenError, match="below layer 2 are sums over its 513 outputs, and those"):
        require_fit(view((1, 1, 513)), target("mega2560"))
    assert view((1, 1, 512)).avr_refusals == ()
    assert require_fit(view((1, 1, 513)), target("posix")).fits


@pytest.mark.parametrize(
    ("inputs", "outputs", "kind"),
    [
        (32, 4, "_large"),
        (31, 4, "_wide"),
        (4, 32, "_large"),
        (4, 33, "_wide"),
        (510, 4, "_large"),
        (511, 4, "_wide"),
        (255, 2, "_plain"),
        (256, 2, "_large"),
        (100, 3, "_large"),
    ],
)
def test_a_layer_is_large_where_one_loop_can_have_it_and_pays(
    inputs: int, outputs: int, kind: str
) -> None:
    training = view((2, inputs, outputs)).training
    assert training is not None
    assert [layer.learn_kind for layer in training.chain] == [kind]


@pytest.mark.parametrize(
    ("inputs", "outputs", "kind"),
    [
        (32, 4, "_first_large"),
        (31, 4, "_first"),
        (64, 3, "_first"),
        (1, 255, "_first_large"),
        (1, 256, "_first"),
        (510, 4, "_first_large"),
        (511, 4, "_first"),
    ],
)
def test_a_first_layer_is_large_where_its_counts_are_bytes_and_it_pays(
    inputs: int, outputs: int, kind: str
) -> None:
    training = view((inputs, outputs, 1)).training
    assert training is not None
    assert [layer.learn_kind for layer in training.last] == [kind]


def test_an_avr_compiler_says_so_where_no_board_was_named(
    tool: Callable[[str], str], tmp_path: Path
) -> None:
    for name, text in generate(model((1, 1, 513), Training(0.2))).items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    command = [tool("avr-gcc"), "-mmcu=atmega2560", "-O2", "-c", "net.c"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "are sums over its 513 outputs, and those of AVR boards hold 512: use a" in done.stderr


def test_this_machine_refuses_nothing() -> None:
    assert fits(view((64, 150, 10)), target("posix")).fits


def test_leaving_training_out_saves_ram_and_code() -> None:
    m = model((4, 8, 3), Training(0.2))
    learning, inferring = (fits(view_of(x, "net"), target("uno")) for x in (m, inference_only(m)))
    assert inferring.ram_needed < learning.ram_needed
    assert inferring.flash_needed < learning.flash_needed


def test_an_unknown_board_is_refused_with_the_boards_there_are() -> None:
    with pytest.raises(BpgenError, match=r"did you mean mega2560\?.*uno, mega2560"):
        target("mega2650")


def test_each_board_is_filed_under_its_name() -> None:
    assert all(name == t.name for name, t in TARGETS.items())
    expected = "uno mega2560 stm32f100 stm32f405 microbit bluepill rp2040 rv32 posix"
    assert list(TARGETS) == expected.split()

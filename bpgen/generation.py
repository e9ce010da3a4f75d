"""IntModel to a set of C files."""

from __future__ import annotations

import zlib

import numpy as np

from bpgen.data import FIRMWARE
from bpgen.emit.build import build_view
from bpgen.emit.render import render
from bpgen.emit.view import SelfTest, View
from bpgen.model import IntModel
from bpgen.twin import Twin

CORE_FILES = (
    "bpgen_fix.h",
    "bpgen_kernels.h",
    "bpgen_layer_avr.h",
    "bpgen_dense_avr.h",
    "bpgen_delta_avr.h",
    "bpgen_master_avr.h",
    "bpgen_learn_avr.h",
    "bpgen_few_avr.h",
    "bpgen_fused_avr.h",
    "bpgen_large_avr.h",
    "bpgen_sum_avr.h",
    "bpgen_pass_avr.h",
    "bpgen_unit.h",
    "bpgen_kernels_forward.h",
    "bpgen_kernels_backward.h",
    "bpgen_kernels_update.h",
    "bpgen_kernels_avr.h",
    "bpgen_avr_forward.h",
    "bpgen_avr_parts.h",
    "bpgen_avr_backward.h",
    "bpgen_avr_update.h",
    "bpgen_avr_shifts.h",
    "bpgen_avr_s8.h",
    "bpgen_avr_sigmoid.h",
    "bpgen_avr_small.h",
    "bpgen_avr_small_forward.h",
    "bpgen_avr_small_learn.h",
    "bpgen_kernels_dsp.h",
    "bpgen_dsp_forward.h",
    "bpgen_dsp_backward.h",
    "bpgen_dsp_update.h",
    "bpgen_kernels_lanes.h",
    "bpgen_lanes_forward.h",
    "bpgen_lanes_backward.h",
    "bpgen_lanes_update.h",
    "bpgen_avx512_forward.h",
    "bpgen_avx512_backward.h",
    "bpgen_avx512_update.h",
    "bpgen_thumb_forward.h",
    "bpgen_thumb_blocks.h",
    "bpgen_thumb_backward.h",
    "bpgen_thumb_update.h",
    "bpgen_kernels.c",
)
SELF_TEST_SAMPLES = 2


def generate(
    model: IntModel,
    prefix: str = "net",
    *,
    main: bool = False,
    optimize: str = "speed",
    view: View | None = None,
) -> dict[str, str]:
    """
    C files by name: `<prefix>.h`, `<prefix>.c` and the core files they need.

    With `main` also `<prefix>_main.c`, a program for a PC to read, step through and copy. To
    `optimize` for "size" gives the same bits from less flash, slower. The same arguments give the
    same text, on every machine. `view` is what `view_of` gave for them, for a caller that has it
    already.

    Raises BpgenError for a prefix that cannot start a C name.
    """
    view = view or view_of(model, prefix, optimize)
    files = {f"{prefix}.h": render("net.h", view), f"{prefix}.c": render("net.c", view)}
    if main:
        files[f"{prefix}_main.c"] = render("main.c", view)
    for name in CORE_FILES:
        files[name] = (FIRMWARE / "core" / name).read_text(encoding="utf-8")
    if view.small:
        files["bpgen_fix.h"] = files["bpgen_fix.h"].replace(
            "#define BP_SMALL 0", "#define BP_SMALL 1"
        )
    return files


def self_test(model: IntModel) -> SelfTest:
    """What a board can check itself with: the twin's outputs and checksum on fixed inputs."""
    rng = np.random.default_rng(int(model.hash, 16))
    shape = (SELF_TEST_SAMPLES, model.input.size)
    lowest = 0 if model.input.a_format.bits == 8 else -model.input.a_top
    a0 = rng.integers(lowest, model.input.a_top, shape, endpoint=True)
    one = 1 << model.output.a_format.frac
    t = rng.integers(0, one, (SELF_TEST_SAMPLES, model.output.outputs), endpoint=True)
    twin = Twin(model)
    outputs = []
    for x, target in zip(a0, t, strict=True):
        outputs.append(twin.forward(x[np.newaxis])[-1][0])
        if model.training:
            twin.train(x[np.newaxis], target[np.newaxis])
    if model.training and model.training.update in ("batch", "momentum"):
        twin.apply()
    return SelfTest(
        a0=_integers(a0),
        t=_integers(t),
        a=_integers(np.array(outputs)),
        crc32=zlib.crc32(twin.parameter_bytes()) if model.training else 0,
    )


def _integers(rows: np.ndarray) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(int(value) for value in row) for row in rows)


def view_of(model: IntModel, prefix: str, optimize: str = "speed") -> View:
    """The view that `generate` prints from, for templates of other files about the model."""
    return build_view(model, prefix, self_test(model), small=optimize == "size")

"""
Where C and twin once differed. Each test fails when its mistake comes back.

The random cases of tests/bitexact found these; here each has the smallest network that shows it.
"""

import zlib
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from bpgen.model import IntModel, LearningRate
from bpgen.simulate import Simulation
from bpgen.twin import Counters, Twin
from tests.compile.models import s16, trainable

STEPS = 30


def trained(model: IntModel, rate: LearningRate | None = None) -> tuple[Counters, Counters]:
    """Train twin and C alike, compare their weights, and give the counters of both."""
    rng = np.random.default_rng(3)
    top = model.input.a_top
    x = rng.integers(-top, top, (STEPS, model.input.size), endpoint=True)
    t = rng.integers(-32768, 32768, (STEPS, model.output.outputs))
    twin = Twin(model)
    with Simulation(model, flags=("-O2",), counters=True) as c:
        assert c.self_test()
        if rate:
            twin.set_learning_rate(rate)
            c.set_learning_rate(rate)
        for sample, target in zip(x, t, strict=True):
            twin.train(sample[np.newaxis], target[np.newaxis])
        if model.training and model.training.update == "batch":
            twin.apply()
        c.train(x, t, np.arange(STEPS), batch=STEPS)
        assert zlib.crc32(twin.parameter_bytes()) == c.crc32()
        return twin.counters, c.counters


@pytest.fixture(autouse=True)
def _compiler(tool: Callable[[str], str]) -> None:
    tool("gcc")


@pytest.mark.parametrize("multiplier_shift", [12, 0], ids=["inside s24", "clipped to s24"])
def test_a_clipped_sparsity_term_is_not_counted(multiplier_shift: int) -> None:
    """The C counted it through a null pointer."""
    activations = ("sigmoid", "sigmoid")
    model = trainable((3, 4, 2), activations, "squared_error", "residual", sparse=True)
    hidden = model.layers[0]
    assert hidden.sparsity is not None
    sparsity = replace(hidden.sparsity, shift=multiplier_shift)
    twin, c = trained(replace(model, layers=(replace(hidden, sparsity=sparsity), model.output)))
    assert twin == c


def test_a_step_clipped_to_s32_is_not_counted_beside_its_sum() -> None:
    """With S = -8 the C counted two clips, that of the step and that of the sum."""
    model = trainable((3, 2), ("linear",), "squared_error", "batch", dz_top=32767)
    largest = min(e for e in range(-16, 32) if model.alignment(1, e) is not None)
    alignment = model.alignment(1, largest)
    assert alignment is not None
    assert alignment[0] == -8
    twin, c = trained(model, LearningRate(32768, largest))
    assert twin == c
    assert twin.weights > 0


@pytest.mark.parametrize("frac", [4, 5, 6, 7, 8])
def test_the_derivative_of_a_coarse_sigmoid_is_shifted_left(frac: int) -> None:
    """Below 8 fraction bits the C shifted right by a negative count."""
    model = trainable((3, 4, 2), ("sigmoid", "sigmoid"), "squared_error", "residual")
    hidden = replace(model.layers[0], a_format=s16(frac), a_top=(1 << frac) - 1)
    twin, c = trained(replace(model, layers=(hidden, model.output)))
    assert twin == c


@pytest.mark.parametrize("frozen", [(1,), (2,), (1, 3)], ids=str)
def test_a_checksum_leaves_out_frozen_layers(frozen: tuple[int, ...]) -> None:
    """The twin's had them in, so the self-test of every model with a frozen layer failed."""
    activations = ("tanh", "sigmoid", "linear")
    model = trainable((3, 4, 5, 2), activations, "squared_error", "residual", frozen=frozen)
    twin, c = trained(model)
    assert twin == c

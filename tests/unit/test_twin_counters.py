"""What the twin counts: section 12 of docs/numbers.md."""

import numpy as np

from bpgen.model import LearningRate
from bpgen.twin import Counters, Twin
from tests.unit.twin_models import SUITE_SEED, exponents, make_model, tiny_model, with_rate


def test_a_vanishing_learning_rate_counts_updates_that_round_to_zero() -> None:
    random = np.random.default_rng([SUITE_SEED, 15])
    model = make_model(random, update="residual")
    usable = exponents(model)
    twin = Twin(with_rate(model, 32767, max(usable)))
    twin.train([[1, 0, 4095]], [[0, 4096, 0, 4096]])
    assert twin.counters.zero_updates > 0
    assert twin.counters.weights == 0


def test_a_weight_at_its_end_counts_each_clip() -> None:
    twin = Twin(tiny_model("residual", LearningRate(32768, 3), w=32767), copies=3)
    twin.set_parameters([2**23 - 1, 0])
    dz = np.full((3, 1), -32767)
    twin.step([np.full((3, 1), 4095), np.zeros((3, 1), dtype=np.int64)], [dz])
    assert twin.counters == Counters(weights=3)
    assert twin.parameters()[:, 0].tolist() == [2**23 - 1] * 3


def test_an_accumulator_at_its_end_counts_a_clip() -> None:
    twin = Twin(tiny_model("batch", LearningRate(32768, 3)))
    vw = twin.vw[0]
    assert vw is not None
    vw[...] = -(2**31)
    twin.step([np.array([[4095]])], [np.array([[32767]])])
    assert vw.item() == -(2**31)
    assert twin.counters.weights == 1

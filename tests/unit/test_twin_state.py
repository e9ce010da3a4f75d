"""The parameters of the twin: reset, read and written."""

import numpy as np
import pytest

from bpgen.errors import BpgenError
from bpgen.model import LearningRate, Sparsity
from bpgen.twin import Twin
from tests.unit.scalar_network import FM_EXTRA, Scalar, assert_same_state
from tests.unit.twin_models import SUITE_SEED, make_model, tiny_model


def test_reset_returns_to_the_model() -> None:
    random = np.random.default_rng([SUITE_SEED, 16])
    model = make_model(random, update="momentum", sparsity=Sparsity(1638, 655))
    twin = Twin(model, 3)
    for _ in range(5):
        twin.train(random.integers(-4095, 4096, (3, 3)), random.integers(0, 4097, (3, 4)))
    twin.apply()
    twin.seed[:] = 1
    twin.reset()
    assert_same_state(twin, [Scalar(model) for _ in range(3)])
    assert model.training is not None
    assert twin.seed.tolist() == [model.training.seed] * 3


@pytest.mark.parametrize("update", FM_EXTRA)
def test_parameters_written_come_back_in_canonical_order(update: str) -> None:
    random = np.random.default_rng([SUITE_SEED, 17])
    model = make_model(random, update=update)
    twin = Twin(model, 2)
    bits = 24 if update in ("residual", "momentum") else 16
    end = 2 ** (bits - 1)
    masters = random.integers(-end, end, (2, model.parameter_count))
    twin.set_parameters(masters)
    assert np.array_equal(twin.parameters(), masters)
    low = bits - 16
    assert twin.w[0][1].tolist() == (masters[1, :15].reshape(5, 3) >> low).tolist()
    assert twin.b[0][1].tolist() == (masters[1, 15:20] >> low).tolist()
    size = bits // 8
    expected = b"".join(
        value.to_bytes(size, "little", signed=True) for value in masters[0].tolist()
    )
    assert twin.parameter_bytes() == expected


def test_the_bytes_of_the_parameters_leave_frozen_layers_out() -> None:
    random = np.random.default_rng([SUITE_SEED, 22])
    twin = Twin(make_model(random, frozen=(2,)))
    masters = twin.parameters()[0].tolist()
    learning = masters[: 5 * 4] + masters[5 * 4 + 2 * 6 :]
    assert twin.parameter_bytes() == b"".join(
        m.to_bytes(3, "little", signed=True) for m in learning
    )


def test_parameters_of_another_shape_or_range_are_refused() -> None:
    twin = Twin(tiny_model("stochastic", LearningRate(32768, 3)), 2)
    for masters in ([1], [1, 2, 3], [[1, 2]], [1, 32768], [-32769, 0]):
        with pytest.raises(BpgenError):
            twin.set_parameters(masters)
    assert twin.parameters().tolist() == [[1000, 0], [1000, 0]]


def test_weights_cannot_be_written_past_their_masters() -> None:
    twin = Twin(tiny_model("residual", LearningRate(32768, 3)))
    with pytest.raises(ValueError, match="read-only"):
        twin.w[0][...] = 0

"""Deltas, learning rate and updates of the twin: sections 7 to 9 of docs/numbers.md."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from bpgen.errors import BpgenError
from bpgen.model import LearningRate, Sparsity
from bpgen.qformat import QFormat
from bpgen.twin import Twin, derivative
from tests.unit.twin_models import SUITE_SEED, make_model, tiny_model, top_of, with_rate


def test_a_residual_step_has_the_bits_worked_by_hand() -> None:
    # z = round(1000 * 3000, 11) = 1465; dz = 1465 - 1000 = 465; fm = 19, e = 3, fu = 12, S = 8.
    # M = 256000 + round(-465 * 3000, 8) = 256000 - 5449 = 250551 = 978 * 256 + 183.
    # b: round(-465 * 4096, 8) = -7440 = -30 * 256 + 240.
    twin = Twin(tiny_model("residual", LearningRate(32768, 3)))
    twin.train([[3000]], [[1000]])
    assert (twin.w[0].item(), twin.b[0].item()) == (978, -30)
    assert twin.parameters().tolist() == [[250551, -7440]]
    assert twin.parameter_bytes() == (250551).to_bytes(3, "little") + (2**24 - 7440).to_bytes(
        3, "little"
    )


def test_a_stochastic_step_has_the_bits_worked_by_hand() -> None:
    # fm = 11, e = 3, fu = 12, S = 16. r = seed for w, seed + 40503 for b (index 1, no steps yet).
    # w: (-465 * 3000 + 20000) >> 16 = -21; b: (-465 * 4096 + 60503) >> 16 = -29.
    twin = Twin(tiny_model("stochastic", LearningRate(32768, 3)))
    twin.seed[:] = 20000
    twin.train([[3000]], [[1000]])
    assert twin.parameters().tolist() == [[979, -29]]
    assert twin.parameter_bytes() == (979).to_bytes(2, "little") + (2**16 - 29).to_bytes(
        2, "little"
    )


def test_a_batch_has_the_bits_worked_by_hand() -> None:
    # fm = 27, e = 3, fu = 12, S = 0: vw = -465 * 3000 = -1395000, twice the same sample.
    # c = round(-2790000, 16) = -43, vw = -2790000 + 43 * 65536 = 28048.
    twin = Twin(tiny_model("batch", LearningRate(32768, 3)))
    twin.train([[3000]], [[1000]])
    twin.train([[3000]], [[1000]])
    assert twin.w[0].item() == 1000
    assert twin.steps == 0
    twin.apply()
    assert twin.w[0].item() == 957
    vw = twin.vw[0]
    assert vw is not None
    assert vw.item() == 28048
    assert twin.steps == 1


def test_momentum_has_the_bits_worked_by_hand() -> None:
    # vw = -1395000; M = 256000 + round(vw, 8) = 256000 - 5449; vw * 1/2 = -697500.
    twin = Twin(tiny_model("momentum", LearningRate(32768, 3)))
    twin.train([[3000]], [[1000]])
    twin.apply()
    assert twin.parameters()[0, 0] == 250551
    vw = twin.vw[0]
    assert vw is not None
    assert vw.item() == -697500


def test_decay_has_the_bits_worked_by_hand_and_leaves_the_bias_alone() -> None:
    # A sample without error: M = 256000 - round(1000 * 16384, 16) = 255750.
    twin = Twin(tiny_model("residual", LearningRate(32768, 3), decay=16384))
    twin.train([[3000]], [[1465]])
    assert twin.parameters().tolist() == [[255750, 0]]


def test_a_power_of_two_learning_rate_gives_exactly_minus_dz() -> None:
    # S is 0 and fu is 12, so the bias' accumulator moves by g * 2^12.
    dz = np.array([-32767, -32766, -3, -1, 0, 1, 2, 3, 32766, 32767])
    model = tiny_model("batch", LearningRate(32768, 3))
    assert model.alignment(1, 3) == (0, 12)
    twin = Twin(model, len(dz))
    twin.step([np.zeros((len(dz), 1), dtype=np.int64)], [dz[:, np.newaxis]])
    vb = twin.vb[0]
    assert vb is not None
    assert vb[:, 0].tolist() == (-dz * 2**12).tolist()


@pytest.mark.parametrize("mantissa", [16385, 26215, 32767])
def test_an_odd_mantissa_ties_at_a_single_dz(mantissa: int) -> None:
    """So g of dz and of -dz are opposite, and nothing drifts, but where |dz| is 16384."""
    dz = np.arange(1, 32768)
    tied = mantissa * dz % 2**15 == 2**14
    assert dz[tied].tolist() == [16384]


def test_the_accumulator_keeps_the_rest_when_the_change_exceeds_s16() -> None:
    # round(2^31 - 1, 16) = 32768, one more than an s16 holds; the rest is -1.
    twin = Twin(tiny_model("batch", LearningRate(32768, 3), w=-5))
    vw = twin.vw[0]
    assert vw is not None
    vw[...] = 2**31 - 1
    twin.apply()
    assert twin.w[0].item() == 32763
    assert vw.item() == -1


def test_the_gradient_is_the_outer_product_in_its_layers_fraction() -> None:
    random = np.random.default_rng([SUITE_SEED, 11])
    twin = Twin(make_model(random, frozen=(1,)))
    a = twin.forward(random.integers(-4095, 4096, (1, 3)))
    dz = twin.backward(a, random.integers(0, 4097, (1, 4)))
    gradient = twin.gradient(a, dz)
    assert dz[0] is None
    assert gradient[0] is None
    for k in (2, 3):
        delta, pair = dz[k - 1], gradient[k - 1]
        assert delta is not None
        assert pair is not None
        assert pair[0].tolist() == [np.outer(delta[0], a[k - 1][0]).tolist()]
        assert pair[1].tolist() == (delta * 4096).tolist()


@pytest.mark.parametrize("kind", ["sigmoid", "tanh", "tanh_opt"])
def test_a_derivative_is_within_its_rounding_of_the_real_one(kind: str) -> None:
    # Two roundings to q14 and the q16 constant for tanh_opt, one rounding for the others.
    for frac in range(8, 15):
        top = top_of(kind, frac)
        a = np.arange(0 if kind == "sigmoid" else -top, top + 1)
        x = a / 2.0**frac
        real_top = top / 2.0**frac
        exact = {
            "sigmoid": np.ldexp(x * (1 - x), 16),
            "tanh": np.ldexp(1 - x * x, 14),
            "tanh_opt": np.ldexp(2 / 3 / 1.7159 * (real_top**2 - x * x), 14),
        }[kind]
        bound = 1.5 if kind == "tanh_opt" else 0.5
        assert np.abs(derivative(kind, a, frac, top) - exact).max() <= bound


def test_a_learning_rate_without_a_shift_is_refused_and_changes_nothing() -> None:
    model = tiny_model("residual", LearningRate(32768, 3))
    twin, other = Twin(model), Twin(model)
    with pytest.raises(BpgenError, match="layer 1 cannot use the learning rate"):
        twin.set_learning_rate(LearningRate(32768, 31))
    assert twin.learning_rate == LearningRate(32768, 3)
    for one in (twin, other):
        one.train([[3000]], [[1000]])
    assert np.array_equal(twin.parameters(), other.parameters())


def test_a_learning_rate_that_makes_the_bias_less_than_a_unit_is_refused() -> None:
    """Inputs up to 2048 put fu in -3..4, and section 8 has no 2^fu for a negative one."""
    model = tiny_model("residual", LearningRate(32768, 3))
    wide = replace(model.input, a_format=QFormat(True, 16, 4), a_top=32767)
    model = replace(model, input=wide)
    assert model.alignment(1, 8) is None
    assert model.alignment(1, 7) == (0, 0)
    with pytest.raises(BpgenError, match="layer 1 cannot use the learning rate"):
        Twin(with_rate(model, 32768, 8))
    Twin(with_rate(model, 32768, 7))


def test_a_learning_rate_set_at_run_time_equals_one_from_the_model() -> None:
    random = np.random.default_rng([SUITE_SEED, 18])
    model = make_model(random)
    later, sooner = Twin(model), Twin(with_rate(model, 30001, 6))
    later.set_learning_rate(LearningRate(30001, 6))
    for _ in range(5):
        a0, t = random.integers(-4095, 4096, (1, 3)), random.integers(0, 4097, (1, 4))
        later.train(a0, t)
        sooner.train(a0, t)
    assert np.array_equal(later.parameters(), sooner.parameters())


def test_training_takes_one_sample_for_each_network() -> None:
    random = np.random.default_rng([SUITE_SEED, 19])
    twin = Twin(make_model(random))
    with pytest.raises(ValueError, match="one sample each"):
        twin.train(np.zeros((2, 3)), np.zeros((2, 4)))


def test_backward_refuses_many_samples_when_sparsity_keeps_a_mean() -> None:
    random = np.random.default_rng([SUITE_SEED, 20])
    twin = Twin(make_model(random, sparsity=Sparsity(1638, 655)))
    a = twin.forward(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="one sample each"):
        twin.backward(a, np.zeros((2, 4)))


@pytest.mark.parametrize("update", ["residual", "stochastic"])
def test_an_update_without_batches_has_no_apply(update: str) -> None:
    with pytest.raises(ValueError, match="have no apply"):
        Twin(tiny_model(update, LearningRate(32768, 3))).apply()


def test_each_copy_has_its_own_dither() -> None:
    model = tiny_model("stochastic", LearningRate(32768, 3))
    twin = Twin(model, 64)
    twin.seed[:] = np.arange(64) * 1024
    samples: npt.NDArray[np.int64] = np.full((64, 1), 3000)
    twin.train(samples, np.full((64, 1), 1000))
    assert len(set(twin.parameters()[:, 0].tolist())) == 2

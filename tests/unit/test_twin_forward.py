"""The twin from inputs to losses: sections 2 to 6 of docs/numbers.md."""

from dataclasses import replace

import numpy as np
import pytest

from bpgen.floatnet import HIDDEN_ACTIVATIONS
from bpgen.generation import view_of
from bpgen.twin import Counters, Twin, quantize_input
from tests.unit.twin_models import OUTPUTS, SUITE_SEED, make_model


@pytest.mark.parametrize(("output", "loss", "_"), OUTPUTS)
def test_the_integer_loss_is_the_loss(output: str, loss: str, _: int) -> None:
    random = np.random.default_rng([SUITE_SEED, 7])
    model = make_model(random, kinds=("sigmoid", "sigmoid", output), loss=loss)
    twin = Twin(model)
    y = random.integers(1, 4096, (100, 4))
    t = random.integers(0, 4097, (100, 4))
    real_y, real_t = y / 4096, t / 4096
    if loss == "squared_error":
        expected = 0.5 * ((real_y - real_t) ** 2).sum(axis=1)
    else:
        expected = -(real_t * np.log(real_y)).sum(axis=1)
        if output == "sigmoid":
            expected -= ((1 - real_t) * np.log(1 - real_y)).sum(axis=1)
    actual = np.ldexp(twin.losses(y, t).astype(float), -twin.loss_frac)
    np.testing.assert_allclose(actual, expected, atol=1e-3 if loss == "cross_entropy" else 1e-12)


def test_the_loss_has_the_bits_worked_by_hand() -> None:
    # nl(2048) = 1 * 45426 at fa = 12; nl(4096) = 0.
    random = np.random.default_rng([SUITE_SEED, 8])
    twin = Twin(make_model(random, kinds=("sigmoid", "sigmoid", "softmax"), loss="cross_entropy"))
    y = np.array([[2048, 4096, 1, 0]])
    assert twin.losses(y, [[4096, 4096, 0, 0]]).tolist() == [4096 * 45426]
    assert twin.losses(y, [[0, 0, 1, 1]]).tolist() == [2 * 12 * 45426]


def test_raw_counts_become_inputs_and_clips_are_counted() -> None:
    # round((c + 100) * 40000, 9): 0 -> 7812.5 -> 7813, clamped to 4095; -50 -> 3906.25; -100 -> 0.
    random = np.random.default_rng([SUITE_SEED, 9])
    twin = Twin(make_model(random))
    counts = [[0, -50, -100], [-(2**31), 2**31 - 1, -99]]
    a0 = twin.quantize_input(counts)
    assert a0.tolist() == [[4095, 3906, 0], [-4095, 4095, 78]]
    assert twin.counters == Counters(inputs=3)
    assert quantize_input(twin.model, counts).tolist() == a0.tolist()


def test_many_samples_through_one_network_equal_one_by_one() -> None:
    random = np.random.default_rng([SUITE_SEED, 10])
    model = make_model(
        random, kinds=("tanh", "relu", "softmax"), loss="cross_entropy", dz_frac=(13, 13, 12)
    )
    twin = Twin(model)
    a0 = random.integers(-4095, 4096, (40, 3))
    t = random.integers(0, 4097, (40, 4))
    a = twin.forward(a0)
    dz = twin.backward(a, t)
    gradient = twin.gradient(a, dz)
    for n in range(40):
        one = twin.forward(a0[n : n + 1])
        one_dz = twin.backward(one, t[n : n + 1])
        one_gradient = twin.gradient(one, one_dz)
        for k in range(3):
            assert np.array_equal(a[k + 1][n], one[k + 1][0])
            whole, part = dz[k], one_dz[k]
            assert whole is not None
            assert part is not None
            assert np.array_equal(whole[n], part[0])
            whole_pair, part_pair = gradient[k], one_gradient[k]
            assert whole_pair is not None
            assert part_pair is not None
            assert np.array_equal(whole_pair[0][n], part_pair[0][0])
            assert np.array_equal(whole_pair[1][n], part_pair[1][0])
    assert twin.predict(a0).tolist() == a[-1].argmax(axis=1).tolist()


def test_no_relu_sum_below_zero_counts_as_clipped() -> None:
    random = np.random.default_rng([SUITE_SEED, 12])
    model = make_model(
        random, sizes=(1, 2, 1), kinds=("relu", "linear"), a_frac=(12, 12, 12), chosen_top=100
    )
    hidden = replace(model.layers[0], w=((2048,), (-2048,)), b=(0, 0))
    output = replace(model.layers[1], w=((0, 0),), b=(0,))
    twin = Twin(replace(model, layers=(hidden, output)))
    assert twin.forward([[4000]])[1].tolist() == [[100, 0]]
    assert twin.counters == Counters(activations=1)


def test_softmax_outputs_sum_to_one_within_a_unit_each() -> None:
    random = np.random.default_rng([SUITE_SEED, 13])
    model = make_model(random, kinds=("sigmoid", "sigmoid", "softmax"), loss="cross_entropy")
    twin = Twin(model)
    z = random.integers(-32767, 32768, (1000, 4))
    assert np.abs(twin.activation(3, z).sum(axis=1) - 4096).max() <= 2
    assert twin.activation(3, np.array([[32767, -32767, -32767, -32767]])).tolist() == [
        [4096, 0, 0, 0]
    ]


@pytest.mark.parametrize("kind", HIDDEN_ACTIVATIONS)
def test_the_c_is_told_which_inputs_may_be_negative(kind: str) -> None:
    random = np.random.default_rng([SUITE_SEED, 14])
    model = make_model(random, kinds=(kind, kind, "sigmoid"))
    a = Twin(model).forward(random.integers(-4095, 4096, (500, 3)))
    negative = [int(a_in.min() < 0) for a_in in a[:-1]]
    assert [layer.a_in_signed for layer in view_of(model, "net").layers] == negative

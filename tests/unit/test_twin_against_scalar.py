"""Every bit of the twin in training, against the network of scalar_network.py."""

from dataclasses import replace

import numpy as np
import pytest

from bpgen.model import Sparsity
from bpgen.twin import Twin
from tests.unit.scalar_network import FM_EXTRA, S32_MAX, SQUASHING, assert_trains_alike, nested
from tests.unit.twin_models import (
    OUTPUTS,
    SUITE_SEED,
    exponents,
    make_model,
    random_model,
    with_rate,
)

ALIGNED = [
    (update, shift)
    for update in FM_EXTRA
    for shift in (-8, 0, 8, 16, 24)
    if shift >= 0 or update in ("batch", "momentum")
]


@pytest.mark.parametrize("decay", [0, 700])
@pytest.mark.parametrize(("update", "shift"), ALIGNED)
def test_every_update_equals_the_scalar_network_at_every_shift(
    update: str, shift: int, decay: int
) -> None:
    random = np.random.default_rng([SUITE_SEED, 1, shift + 8, decay])
    model = make_model(random, update=update, decay=decay)
    exponent = max(e for e, shifts in exponents(model).items() if shifts == {shift})
    assert_trains_alike(with_rate(model, 26215, exponent), random)


@pytest.mark.parametrize(("output", "loss", "dz_frac"), OUTPUTS)
@pytest.mark.parametrize("hidden", ["sigmoid", "tanh", "tanh_opt", "relu", "linear"])
@pytest.mark.parametrize("update", FM_EXTRA)
def test_every_kind_of_layer_equals_the_scalar_network(
    update: str, hidden: str, output: str, loss: str, dz_frac: int
) -> None:
    random = np.random.default_rng([SUITE_SEED, 2])
    model = make_model(
        random,
        kinds=(hidden, hidden, output),
        loss=loss,
        dz_frac=(13, 13, dz_frac),
        update=update,
    )
    usable = sorted(exponents(model))
    assert_trains_alike(with_rate(model, 32768, usable[len(usable) // 2]), random, copies=1)


@pytest.mark.parametrize("kind", SQUASHING)
@pytest.mark.parametrize("update", FM_EXTRA)
def test_sparsity_equals_the_scalar_network(update: str, kind: str) -> None:
    random = np.random.default_rng([SUITE_SEED, 3])
    model = make_model(
        random, kinds=(kind, kind, "sigmoid"), update=update, sparsity=Sparsity(1638, 655)
    )
    usable = sorted(exponents(model))
    assert_trains_alike(with_rate(model, 26215, usable[len(usable) // 2]), random)


@pytest.mark.parametrize("shift", [0, 7, 16])
@pytest.mark.parametrize("kind", SQUASHING)
def test_sparsity_at_its_ends_equals_the_scalar_network(kind: str, shift: int) -> None:
    """Units always on or always off, a mean that follows at once, terms that saturate or do not."""
    random = np.random.default_rng([SUITE_SEED, 21])
    model = make_model(
        random,
        kinds=(kind, kind, "sigmoid"),
        spread=0,
        sparsity=Sparsity(16384, 65535),
        sparsity_shift=shift,
    )
    twin = assert_trains_alike(model, random, extreme=True)
    assert shift == 16 or twin.counters.deltas > 0


@pytest.mark.parametrize(
    "frozen", [(1,), (2,), (3,), (1, 2), (1, 3), (2, 3)], ids=lambda ks: "-".join(map(str, ks))
)
@pytest.mark.parametrize("update", FM_EXTRA)
def test_frozen_layers_equal_the_scalar_network_and_keep_their_weights(
    update: str, frozen: tuple[int, ...]
) -> None:
    random = np.random.default_rng([SUITE_SEED, 4])
    model = make_model(random, update=update, frozen=frozen, sparsity=Sparsity(1638, 655))
    usable = sorted(exponents(model))
    twin = assert_trains_alike(with_rate(model, 26215, usable[len(usable) // 2]), random)
    for k in frozen:
        assert nested(twin.w, 0)[k - 1] == [list(row) for row in model.layers[k - 1].w]


@pytest.mark.parametrize("hidden", ["sigmoid", "tanh_opt", "relu", "linear"])
@pytest.mark.parametrize("update", FM_EXTRA)
def test_weights_inputs_and_targets_at_their_ends_equal_the_scalar_network(
    update: str, hidden: str
) -> None:
    random = np.random.default_rng([SUITE_SEED, 5])
    model = make_model(
        random,
        kinds=(hidden, hidden, "linear"),
        input_top=32767,
        chosen_top=32767,
        w_frac=(8, 8, 8),
        dz_frac=(8, 8, 8),
        update=update,
        spread=0,
        decay=32767,
        momentum=65535,
    )
    exponent = min(exponents(model))
    twin = assert_trains_alike(with_rate(model, 32767, exponent), random, extreme=True)
    assert twin.counters.activations > 0
    assert twin.counters.deltas > 0
    assert twin.counters.weights > 0


@pytest.mark.parametrize("case", range(60), ids=lambda case: f"case{case}")
def test_a_random_network_equals_the_scalar_network(case: int) -> None:
    random = np.random.default_rng([SUITE_SEED, 6, case])
    model, usable = random_model(random)
    exponent = int(random.choice(usable))
    mantissa = int(random.choice([32768, 16385, int(random.integers(8193, 16384)) * 2 + 1]))
    assert_trains_alike(
        with_rate(model, mantissa, exponent),
        random,
        steps=20,
        extreme=bool(random.integers(0, 2)),
        batch=int(random.integers(1, 6)),
    )


@pytest.mark.parametrize("sign", [-1, 1])
def test_the_widest_plain_sum_fits_int32_for_every_weight(sign: int) -> None:
    """At the largest n that section 3 calls plain, the worst weights there are stay in int32."""
    top, a_frac, half = 4095, 12, 2**10
    n = (S32_MAX - half - 32768 * 2**a_frac) // (32768 * top)
    random = np.random.default_rng([SUITE_SEED, 14])
    model = make_model(random, sizes=(n, 1), kinds=("sigmoid",), a_frac=(12, 12), dz_frac=(15,))
    bias = -32768 if sign < 0 else 32767
    layer = replace(model.layers[0], w=((-32768,) * n,), b=(bias,))
    model = replace(model, layers=(layer,))
    acc = sign * n * 32768 * top + bias * 2**a_frac
    assert abs(acc) + half <= S32_MAX
    assert abs(acc) + half + 32768 * top > S32_MAX
    twin = Twin(model)
    assert twin.z(1, np.full((1, n), -sign * top)).tolist() == [[sign * 32767]]
    assert_trains_alike(model, random, steps=3, copies=1, extreme=True)

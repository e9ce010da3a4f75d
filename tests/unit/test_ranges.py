"""Formats follow the float log, and no reachable state overflows the sums they allow."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpgen.errors import BpgenError
from bpgen.floatnet import FloatNet, create
from bpgen.lut import activate, activation_table
from bpgen.model import INT16_MAX, INT32_MAX, TABLE_ACTIVATIONS, IntModel, magnitude_bits
from bpgen.proof import (
    Sum,
    block_size,
    derivative_fraction,
    forward_bound,
    largest_derivative,
    plain_delta_top,
    prove,
    rounding_half,
    update_activation_top,
)
from bpgen.qformat import round_shift
from bpgen.quantization import quantize_network
from bpgen.ranges import Formats, choose_formats, learning_rate, solvable_exponents, weight_fraction
from bpgen.scaling import Scaling
from bpgen.training import Ranges, Training, train
from bpgen.twin import derivative

SUITE_SEED = 22

IntArray = npt.NDArray[np.int64]


def log(
    a: Sequence[float],
    *,
    z: float = 2.0,
    w: float = 1.0,
    dz: float = 0.1,
    t: float = 1.0,
) -> Ranges:
    layers = len(a) - 1
    return Ranges(list(a), [z] * layers, [w] * layers, [dz] * layers, t)


def choose(
    sizes: Sequence[int],
    ranges: Ranges | None,
    kinds: Sequence[str] | None = None,
    loss: str = "squared_error",
    freeze: Sequence[int] = (),
    hidden_frac: int | None = None,
) -> Formats:
    kinds = kinds or ["sigmoid"] * (len(sizes) - 1)
    return choose_formats(sizes, kinds, loss, ranges, freeze=freeze, hidden_frac=hidden_frac)


def trained(
    sizes: Sequence[int],
    hidden: str | Sequence[str] = "sigmoid",
    output: str = "sigmoid",
    loss: str = "squared_error",
    case: int = 0,
    update: str | None = None,
    training: Training | None = None,
) -> IntModel:
    random = np.random.default_rng([SUITE_SEED, case])
    x = random.standard_normal((20, sizes[0]))
    t = random.dirichlet(np.ones(sizes[-1]), 20)
    net = create(sizes, hidden, output, loss, seed=case)
    training = training or Training(0.05, 2)
    ranges = train(net, x, t, training).ranges
    return integers(net, training, ranges, update)


def integers(
    net: FloatNet, training: Training | None, ranges: Ranges | None, update: str | None = None
) -> IntModel:
    n = net.sizes[0]
    return quantize_network(
        net,
        training,
        ranges,
        scaling=Scaling((0,) * n, (0,) * n, (2.0**-10,) * n),
        features=[f"x{i}" for i in range(n)],
        targets=["t"],
        update=update,
        sample_count=20,
    )


# Formats


@pytest.mark.parametrize(
    ("peak", "expected"),
    [(0.0, 14), (0.1, 14), (1.3, 14), (1.34, 13), (2.6, 13), (11.5, 10), (43.0, 8), (1000.0, 8)],
)
def test_weights_get_the_largest_fraction_with_half_as_much_again_to_spare(
    peak: float, expected: int
) -> None:
    assert weight_fraction(peak) == expected


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [(1, 15), (3, 14), (4, 13), (7, 13), (8, 12), (15, 12), (16, 11)],
)
def test_a_hidden_activation_takes_the_largest_fraction_whose_sum_is_plain(
    inputs: int, expected: int
) -> None:
    formats = choose((2, inputs, 1), log([1.0, 1.0, 1.0], w=8.0))
    assert formats.layers[0].a.frac == expected


def test_wide_layers_are_summed_in_blocks_at_twelve_bits() -> None:
    formats = choose((2, 100, 1), log([1.0, 1.0, 1.0]))
    assert (formats.layers[0].a.frac, formats.layers[0].a_top) == (12, 4095)
    assert block_size(4095) == 16


@pytest.mark.parametrize("kind", ["tanh", "tanh_opt"])
def test_tanh_never_takes_fifteen_bits(kind: str) -> None:
    formats = choose((2, 1, 1), log([1.0, 1.0, 1.0], w=8.0), [kind, "sigmoid"])
    assert formats.layers[0].a.frac <= 14


def test_a_wanted_hidden_fraction_is_taken_even_where_it_needs_blocks() -> None:
    formats = choose((2, 50, 1), log([1.0, 1.0, 1.0]), hidden_frac=15)
    assert formats.layers[0].a.frac == 15
    formats = choose((2, 50, 1), log([1.0, 1.0, 1.0]), ["tanh", "sigmoid"], hidden_frac=15)
    assert formats.layers[0].a.frac == 14


@pytest.mark.parametrize("peak", [0.3, 1.0, 3.5, 17.0, 60.0, 150.0])
def test_inputs_have_half_as_much_again_to_spare(peak: float) -> None:
    formats = choose((3, 1), log([peak, 1.0]))
    assert formats.a0_top == math.ceil(1.5 * peak * 2.0**formats.a0.frac) <= INT16_MAX
    if formats.a0.frac < 11:
        assert 1.5 * peak * 2.0 ** (formats.a0.frac + 1) > INT16_MAX


def test_inputs_too_large_for_any_format_ask_for_scaling() -> None:
    with pytest.raises(BpgenError, match=r"the inputs reach 5000.*scale the inputs"):
        choose((3, 1), log([5000.0, 1.0]))


def test_inputs_of_a_layer_that_learns_stay_below_256() -> None:
    with pytest.raises(BpgenError, match="scale the inputs"):
        choose((3, 2, 1), log([400.0, 1.0, 1.0]))
    assert choose((3, 2, 1), log([400.0, 1.0, 1.0]), freeze=[1]).a0.frac == 5


@pytest.mark.parametrize("kind", ["relu", "linear"])
@pytest.mark.parametrize("peak", [0.2, 3.0, 40.0])
def test_relu_and_linear_share_the_format_of_their_sum(kind: str, peak: float) -> None:
    formats = choose((4, 6, 1), log([1.0, peak, 1.0], w=50.0), [kind, "sigmoid"])
    layer = formats.layers[0]
    assert layer.z == layer.a
    assert layer.a.frac <= layer.w.frac + 4
    assert layer.a_top == math.ceil(1.5 * peak * 2.0**layer.a.frac)


def test_a_layer_that_is_always_zero_still_has_room() -> None:
    formats = choose((4, 6, 1), log([1.0, 0.0, 1.0]), ["relu", "sigmoid"])
    assert formats.layers[0].a_top * 2.0 ** -formats.layers[0].a.frac >= 1.0


def test_a_linear_output_holds_outputs_and_targets() -> None:
    formats = choose((2, 3, 1), log([1.0, 1.0, 2.0], t=5.0), ["sigmoid", "linear"])
    assert formats.layers[1].a.frac == 12
    assert formats.layers[1].a_top == math.ceil(1.5 * 5 * 2**12)
    with pytest.raises(BpgenError, match="scale the targets"):
        choose((2, 3, 1), log([1.0, 1.0, 2.0], t=3000.0), ["sigmoid", "linear"])


@pytest.mark.parametrize(("peak", "expected"), [(0.5, 14), (2.0, 13), (10.0, 11), (5000.0, 5)])
def test_logits_have_half_as_much_again_to_spare(peak: float, expected: int) -> None:
    formats = choose((2, 3), log([1.0, 1.0], z=peak), ["softmax"], "cross_entropy")
    assert formats.layers[0].z.frac == expected


def test_outputs_share_the_table_of_the_last_hidden_layer() -> None:
    formats = choose((2, 8, 2), log([1.0, 1.0, 1.0], w=8.0))
    assert formats.layers[1].a.frac == formats.layers[0].a.frac == 12
    assert choose((2, 1, 2), log([1.0, 1.0, 1.0], w=8.0)).layers[1].a.frac == 14
    assert choose((2, 2), log([1.0, 1.0])).layers[0].a.frac == 12


def test_the_formats_without_a_log_are_the_documented_ones() -> None:
    formats = choose((4, 8, 3), None)
    assert [str(layer.w) for layer in formats.layers] == ["s16q11", "s16q11"]
    assert [layer.dz_frac for layer in formats.layers] == [15, 16]
    assert (str(formats.a0), formats.a0_top) == ("s16q12", 32767)
    formats = choose((4, 8, 3), None, ["sigmoid", "softmax"], "cross_entropy")
    assert str(formats.layers[1].z) == "s16q10"
    # The output's deltas cannot be finer than its activation.
    assert [layer.dz_frac for layer in formats.layers] == [13, 12]


@pytest.mark.parametrize("peak", [0.001, 0.02, 0.148, 0.51, 1.6, 30.0])
def test_deltas_have_twice_the_range_that_was_seen(peak: float) -> None:
    formats = choose((4, 3, 2), log([1.0, 1.0, 1.0], dz=peak))
    for layer in formats.layers:
        assert layer.dz_frac is not None
        assert layer.dz_top is not None
        assert layer.dz_top >= 2 * peak * 2.0**layer.dz_frac
        if layer.dz_frac < 24:
            assert 2 * peak * 2.0 ** (layer.dz_frac + 1) > INT16_MAX


def test_deltas_that_exceed_sixteen_bits_ask_for_scaled_targets() -> None:
    with pytest.raises(BpgenError, match="deltas of layer 2 reach 20000"):
        choose((4, 3, 2), log([1.0, 1.0, 1.0], dz=20000.0), ["sigmoid", "linear"])


def test_a_delta_top_is_lowered_only_where_a_plain_sum_leaves_headroom() -> None:
    # 2 * 0.148 * 2^16 = 19,399 fits below 21,845; 2 * 0.2 * 2^16 = 26,214 does not.
    assert choose((4, 8, 3), log([1.0, 1.0, 1.0], dz=0.148)).layers[1].dz_top == 21845
    assert choose((4, 8, 3), log([1.0, 1.0, 1.0], dz=0.2)).layers[1].dz_top == 32767
    assert choose((4, 8, 8), None).layers[1].dz_top == 8191
    assert choose((4, 8, 9), None).layers[1].dz_top == 32767


def test_deltas_that_are_never_summed_keep_their_whole_range() -> None:
    ranges = log([1.0, 1.0, 1.0], dz=0.148)
    assert choose((4, 8, 3), ranges).layers[0].dz_top == 32767
    assert choose((4, 8, 3), ranges, freeze=[1]).layers[1].dz_top == 32767


# Learning rates


@given(st.floats(2.0**-31, 2.0**15))
def test_a_learning_rate_is_a_power_of_two_or_has_an_odd_mantissa(value: float) -> None:
    rate = learning_rate(value)
    assert rate.mantissa == 32768 or (rate.mantissa % 2 == 1 and 16385 <= rate.mantissa <= 32767)
    assert -16 <= rate.exponent <= 31
    assert rate.value == pytest.approx(value, rel=1e-4)


@pytest.mark.parametrize("exponent", [-16, -1, 0, 3, 31])
def test_a_power_of_two_is_kept_exactly(exponent: int) -> None:
    rate = learning_rate(2.0**-exponent)
    assert (rate.mantissa, rate.exponent) == (32768, exponent)


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf, 1e-12, 1e6])
def test_a_learning_rate_out_of_range_is_refused(value: float) -> None:
    with pytest.raises(BpgenError, match="learning rate"):
        learning_rate(value)


@pytest.mark.parametrize("value", [1e-12, 1e6])
def test_the_learning_rate_named_by_a_refusal_is_accepted(value: float) -> None:
    with pytest.raises(BpgenError) as refusal:
        learning_rate(value)
    learning_rate(float(str(refusal.value).rsplit(" ", 1)[1]))


@pytest.mark.parametrize(("value", "dz"), [(1e-8, 0.0005), (30000.0, 2.0)])
@pytest.mark.parametrize("update", ["residual", "stochastic", "batch", "momentum"])
def test_an_unaligned_learning_rate_is_refused_with_one_that_every_layer_can_use(
    value: float, dz: float, update: str
) -> None:
    net = create((3, 4, 2), seed=1)
    ranges = log([1.0, 1.0, 1.0], dz=dz)
    training = Training(
        value,
        batch_size=10 if update == "batch" else 1,
        momentum=0.5 if update == "momentum" else 0.0,
    )
    with pytest.raises(BpgenError, match="learning rate") as refusal:
        integers(net, training, ranges, update)
    named = float(str(refusal.value).rsplit(" ", 1)[1])
    model = integers(net, replace(training, learning_rate=named), ranges, update)
    assert model.training is not None
    # It is the nearest: the next exponent does not work.
    exponent = model.training.learning_rate.exponent
    outer = exponent + (1 if value < 1 else -1)
    assert exponent in solvable_exponents(model)
    assert outer not in solvable_exponents(model)


# The proof


def add_in_int32(products: IntArray, last: int) -> int:
    """What a 32-bit accumulator that wraps ends with: products [n], then the rounding half."""
    acc = np.zeros(1, dtype=np.int32)
    for product in [*products.tolist(), last]:
        acc = acc + np.array([product], dtype=np.int64).astype(np.int32)
    return int(acc[0])


def corners(total: Sum, bias_frac: int | None, case: int) -> list[IntArray]:
    """Products of extreme weights and activations, with the bias product at the end."""
    random = np.random.default_rng([SUITE_SEED, case])
    signs = [np.ones(total.terms, dtype=np.int64), -np.ones(total.terms, dtype=np.int64)]
    signs += [random.choice([-1, 1], total.terms).astype(np.int64) for _ in range(6)]
    result = []
    for sign in signs:
        for w in (np.full(total.terms, -32768), np.where(sign > 0, 32767, -32768)):
            products = w * sign * total.top
            for b in (-32768, 32767):
                bias = [] if bias_frac is None else [b << bias_frac]
                result.append(np.concatenate((products, np.array(bias, dtype=np.int64))))
    return result


NETS = [
    pytest.param((3, 5, 3), "sigmoid", "sigmoid", "squared_error", id="sigmoid"),
    pytest.param((2, 1, 1), "sigmoid", "sigmoid", "cross_entropy", id="one-unit"),
    pytest.param((30, 10, 2), "tanh", "sigmoid", "cross_entropy", id="tanh"),
    pytest.param((7, 9, 12, 4), "tanh_opt", "linear", "squared_error", id="tanh_opt-deep"),
    pytest.param((64, 16, 10), "relu", "softmax", "cross_entropy", id="relu-wide"),
    pytest.param((5, 4, 3), "linear", "softmax", "cross_entropy", id="linear"),
]


@pytest.mark.parametrize(("sizes", "hidden", "output", "loss"), NETS)
def test_no_corner_exceeds_the_proven_bound_and_plain_sums_never_wrap(
    sizes: tuple[int, ...], hidden: str, output: str, loss: str
) -> None:
    model = trained(sizes, hidden, output, loss)
    for proof in prove(model):
        frac = model.previous(proof.layer).a_format.frac
        for total, bias_frac in ((proof.forward, frac), (proof.backward, None)):
            if total is None:
                continue
            half = rounding_half(total.shift)
            largest = 0
            for case, products in enumerate(corners(total, bias_frac, proof.layer)):
                partial = np.concatenate((np.cumsum(products), [products.sum() + half]))
                largest = max(largest, int(np.abs(partial).max()))
                if total.plain:
                    exact = int(products.sum()) + half
                    assert add_in_int32(products, half) == exact, case
                else:
                    for start in range(0, total.terms, total.block):
                        block = products[: total.terms][start : start + total.block]
                        assert add_in_int32(block, 0) == int(block.sum())
            # The corner misses the bound by what two's complement lacks at its upper end.
            assert largest <= total.bound
            assert largest >= total.bound - max(half, 1 << (bias_frac or 0))


@pytest.mark.parametrize("a_frac", [11, 12, 13, 14])
def test_one_input_above_the_plain_limit_really_overflows(a_frac: int) -> None:
    top, shift = (1 << a_frac) - 1, a_frac - 1
    n = next(n for n in range(1, 99) if forward_bound(n + 1, top, a_frac, shift) > INT32_MAX)
    half = rounding_half(shift)
    for inputs, fits in ((n, True), (n + 1, False)):
        products = np.array([32768 * top] * inputs + [32767 << a_frac], dtype=np.int64)
        exact = int(products.sum()) + half
        assert (add_in_int32(products, half) == exact) is fits


@pytest.mark.parametrize("outputs", [3, 5, 10, 100])
@pytest.mark.parametrize("shift", [0, 8, 13, 17])
def test_one_unit_above_the_plain_delta_top_really_overflows(outputs: int, shift: int) -> None:
    limit, half = plain_delta_top(outputs, shift), rounding_half(shift)
    for top, fits in ((limit, True), (limit + 1, False)):
        products = np.full(outputs, 32768 * top, dtype=np.int64)
        assert (add_in_int32(products, half) == int(products.sum()) + half) is fits


@pytest.mark.parametrize("top", [2047, 4095, 12288, 32767])
def test_one_pair_above_the_block_size_really_overflows(top: int) -> None:
    for count, fits in ((block_size(top), True), (block_size(top) + 2, False)):
        products = np.full(count, 32768 * top, dtype=np.int64)
        assert (add_in_int32(products, 0) == int(products.sum())) is fits


@pytest.mark.parametrize("update", ["residual", "stochastic", "batch", "momentum"])
@pytest.mark.parametrize(("sizes", "hidden", "output", "loss"), NETS)
def test_every_product_fits_the_type_it_is_proven_for(
    sizes: tuple[int, ...], hidden: str, output: str, loss: str, update: str
) -> None:
    training = Training(
        0.01,
        2,
        batch_size=4 if update == "batch" else 1,
        momentum=0.5 if update == "momentum" else 0.0,
        l2=0.05,
    )
    limits = {"s32": INT32_MAX, "u32": 2**32 - 1, "s64": 2**63 - 1}
    proofs = prove(trained(sizes, hidden, output, loss, update=update, training=training))
    for proof in proofs:
        names = {product.name for product in proof.products}
        assert {"m * dz", "g * u", "g * 2^fu"} <= names
        for product in proof.products:
            assert 0 < product.bound <= limits[product.type], product


@pytest.mark.parametrize(("sizes", "hidden", "output", "loss"), NETS)
def test_no_activation_delta_or_update_exceeds_its_proven_product(
    sizes: tuple[int, ...], hidden: str, output: str, loss: str
) -> None:
    model = trained(sizes, hidden, output, loss)
    for proof in prove(model):
        k, layer = proof.layer, model.layers[proof.layer - 1]
        bound = {product.name: product.bound for product in proof.products}
        frac, top, g = layer.a_format.frac, layer.a_top, derivative_fraction(layer.activation)
        assert layer.dz_frac is not None
        assert layer.dz_top is not None
        if layer.activation != "softmax":
            a = np.arange(0 if layer.activation in ("sigmoid", "relu") else -top, top + 1)
            d = derivative(layer.activation, a, frac, top)
            assert int(d.max()) == largest_derivative(layer)
            # s reaches its clamp, whatever the weights.
            if k < len(model.layers):
                largest = (2**23 - 1) * int(d.max()) + rounding_half(4 + g)
                assert bound["s * d"] == largest
            elif loss == "squared_error":
                half = rounding_half(frac + g - layer.dz_frac)
                for t in (-32768, 32767):
                    assert int(np.abs((a - t) * d + half).max()) <= bound["e * d"]
        if layer.activation in TABLE_ACTIVATIONS:
            z = np.arange(-32768, 32768, dtype=np.int64)
            y = activate(layer.activation, activation_table(layer.activation, frac), z, frac)
            assert int(np.abs(y).max()) <= top
        previous = model.previous(k)
        a = np.arange(-previous.a_top, previous.a_top + 1)
        i = magnitude_bits(previous)
        largest_product = 0
        for fraction in range(8 - i, 16 - i):
            excess = previous.a_format.frac - fraction
            u = a << -excess if excess <= 0 else round_shift(a, excess)
            assert int(np.abs(u).max()) == update_activation_top(previous, fraction) <= INT16_MAX
            largest_product = max(largest_product, layer.dz_top * int(u.max()))
        # 2^23 is the half of S = 24, the largest shift.
        assert bound["g * u"] == largest_product + 2**23
        assert bound["g * 2^fu"] == (layer.dz_top << (15 - i)) + 2**23


def test_a_model_with_a_top_below_what_its_table_gives_is_not_proven() -> None:
    model = trained((3, 4, 2))
    layers = (replace(model.layers[0], a_top=100), model.layers[1])
    with pytest.raises(BpgenError, match="layer 1 has an a_top of 100"):
        prove(replace(model, layers=layers))


def test_a_softmax_too_wide_for_its_sum_is_not_proven() -> None:
    model = trained((1, 2), output="softmax", loss="cross_entropy")
    row = model.layers[0]
    wide = replace(row, w=row.w * 2**18, b=row.b * 2**18)
    with pytest.raises(BpgenError, match="more than u32 holds"):
        prove(replace(model, layers=(wide,)))


def test_a_byte_model_is_proven_bias_by_bias() -> None:
    net = create((3, 4, 2), seed=1)
    model = quantize_network(
        net,
        None,
        None,
        scaling=Scaling((0,) * 3, (0,) * 3, (0.01,) * 3),
        features=["a", "b", "c"],
        targets=["t"],
        weights="s8",
        inputs=np.array([[0.0, 0.5, 1.0]]),
    )
    assert all(proof.forward.plain for proof in prove(model))
    first = replace(model.layers[0], b=(2**31 - 1, 0, 0, 0))
    with pytest.raises(BpgenError, match=r"layer 1: with a bias of 2147483647"):
        prove(replace(model, layers=(first, model.layers[1])))

"""From a float network to integers: parameters, input rule, training constants, refusals."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bpgen.errors import BpgenError
from bpgen.floatnet import FloatArray, FloatNet, Sparsity, create
from bpgen.lut import TANH_OPT_SCALE
from bpgen.model import IntModel
from bpgen.quantization import explain, memory, quantize_network
from bpgen.scaling import Scaling
from bpgen.training import Ranges, Training, train

SUITE_SEED = 23

X = np.random.default_rng([SUITE_SEED, 0]).uniform(0.0, 1.0, (12, 3))
T = np.random.default_rng([SUITE_SEED, 1]).uniform(0.1, 0.9, (12, 2))
ONLINE = Training(0.1)
SCALING = Scaling((2, 2, 2), (0, -5, 7), (0.01, 0.02, 0.0))


def quantized(
    net: FloatNet | None = None, training: Training | None = ONLINE, **settings: Any
) -> IntModel:
    """A quantized 3-4-2 network, or the one given."""
    net = net or create((3, 4, 2), seed=3)
    if "ranges" not in settings:
        log = train(net.copy(), X, T, Training(0.1, 1))
        settings["ranges"] = log.ranges
    arguments: dict[str, Any] = {"scaling": SCALING, "features": ("a", "b", "c"), "targets": ("y",)}
    return quantize_network(net, training, settings.pop("ranges"), **(arguments | settings))


def refuses(message: str, **settings: Any) -> None:
    with pytest.raises(BpgenError, match=message):
        quantized(**settings)


def test_parameters_are_rounded_to_the_nearest_raw_and_halves_go_up() -> None:
    net = create((3, 4, 2), seed=3)
    unit = 2.0**-14
    net.w[0][0] = [0.5 * unit, -0.5 * unit, 1.49 * unit]
    net.b[0][0] = -1.5 * unit
    model = quantized(net, ranges=Ranges([1.0] * 3, [1.0] * 2, [1.0] * 2, [0.1] * 2, 1.0))
    assert model.layers[0].w_format.frac == 14
    assert model.layers[0].w[0] == (1, 0, 1)
    assert model.layers[0].b[0] == -1


def test_a_weight_outside_its_format_is_named_and_refused() -> None:
    net = create((3, 4, 2), seed=3)
    net.w[1][1, 2] = -17.0
    refuses(r"w2\[1, 2\] of layer 2 is -17, outside -16", net=net, ranges=None)
    net.w[1][1, 2] = 0.0
    net.b[0][3] = 16.0
    refuses(r"b1\[3\] of layer 1 is 16", net=net, ranges=None)


def test_the_input_rule_gives_the_nearest_raw_of_the_scaled_input() -> None:
    model = quantized()
    rule = model.input
    counts = np.arange(-50, 150)
    for i in range(3):
        product = (counts - rule.offset[i]) * rule.multiplier[i]
        a0 = (product + ((1 << rule.shift[i]) >> 1)) >> rule.shift[i]
        exact = (counts - SCALING.offset[i]) * SCALING.scale[i] * 2.0**rule.a_format.frac
        # Half a unit, and half a unit in the 16th bit of the multiplier.
        assert np.abs(a0 - exact).max() <= 0.5 + np.abs(exact).max() * 2.0**-16
    assert all(m == 0 or 32768 <= m <= 65535 for m in rule.multiplier)


@pytest.mark.parametrize("scale", [1.0, 0.5, 1 / 3, 65535.9 / 65536, 1e-6, 2.0**-45])
def test_multipliers_keep_sixteen_bits_as_far_as_the_shift_reaches(scale: float) -> None:
    model = quantized(scaling=Scaling((0,) * 3, (0,) * 3, (scale,) * 3))
    m, s = model.input.multiplier[0], model.input.shift[0]
    exact = math.ldexp(scale, model.input.a_format.frac)
    assert 0 <= s <= 47
    assert abs(m * 2.0**-s - exact) <= 2.0 ** (-s - 1)
    assert m >= 32768 or s == 47


@pytest.mark.parametrize(
    ("scale", "message"), [(-0.1, "must not be negative"), (100.0, "too coarse")]
)
def test_a_scale_that_the_input_rule_cannot_express_is_refused(scale: float, message: str) -> None:
    refuses(
        f"feature 'a'.*{message}|scale of feature 'a'",
        scaling=Scaling((0,) * 3, (0,) * 3, (scale,) * 3),
    )


@pytest.mark.parametrize(
    ("training", "update", "expected"),
    [
        (Training(0.1), None, "residual"),
        (Training(0.1), "stochastic", "stochastic"),
        (Training(0.1), "batch", "batch"),
        (Training(0.1, batch_size=4), None, "batch"),
        (Training(0.1, batch_size=None), None, "batch"),
        (Training(0.1, momentum=0.5), None, "momentum"),
        (Training(0.1, batch_size=4, momentum=0.5), "momentum", "momentum"),
    ],
)
def test_the_update_follows_from_momentum_and_batches(
    training: Training, update: str | None, expected: str
) -> None:
    model = quantized(training=training, update=update, sample_count=12)
    assert model.training is not None
    assert model.training.update == expected


@pytest.mark.parametrize(
    ("training", "update"),
    [
        (Training(0.1, momentum=0.5), "stochastic"),
        (Training(0.1, batch_size=4), "stochastic"),
        (Training(0.1, batch_size=4), "residual"),
        (Training(0.1, batch_size=4, momentum=0.5), "batch"),
        (Training(0.1), "nearest"),
    ],
)
def test_an_update_that_does_not_go_with_the_training_is_refused(
    training: Training, update: str
) -> None:
    refuses(f"update '{update}'", training=training, update=update)


@pytest.mark.parametrize(("reduction", "expected"), [("mean", 0.025), ("sum", 0.1)])
def test_the_mean_of_a_batch_is_in_the_learning_rate(reduction: Any, expected: float) -> None:
    model = quantized(training=Training(0.1, batch_size=4, reduction=reduction))
    assert model.training is not None
    assert model.training.batch_size == 4
    assert model.training.learning_rate.value == pytest.approx(expected, rel=1e-4)


def test_a_full_batch_needs_the_number_of_samples() -> None:
    refuses("give sample_count", training=Training(0.1, batch_size=None))
    model = quantized(training=Training(0.1, batch_size=None), sample_count=12)
    assert model.training is not None
    assert model.training.batch_size == 12


def test_momentum_and_decay_are_rounded_once() -> None:
    model = quantized(training=Training(0.1, batch_size=8, momentum=0.9, l2=0.01))
    assert model.training is not None
    assert model.training.momentum == round(0.9 * 2**16)
    assert model.training.decay == round(0.1 * 0.01 * 2**24)
    barely = quantized(training=Training(0.1, momentum=1 - 2.0**-30))
    assert barely.training is not None
    assert barely.training.momentum == 65535


@pytest.mark.parametrize(("l2", "message"), [(0.1, "2\\^-9 or more"), (1e-8, "too small")])
def test_an_l2_that_sixteen_bits_cannot_hold_is_refused(l2: float, message: str) -> None:
    refuses(message, training=Training(0.1, l2=l2))


@pytest.mark.parametrize("kind", ["sigmoid", "tanh", "tanh_opt"])
def test_sparsity_constants_start_at_the_target_and_keep_the_weight(kind: str) -> None:
    net = create((3, 4, 2), kind, seed=3)
    training = Training(0.1, sparsity=Sparsity(0.05, 0.3))
    model = quantized(net, training)
    layer = model.layers[0]
    assert model.training is not None
    assert model.training.sparsity is not None
    assert layer.sparsity is not None
    assert layer.dz_frac is not None
    assert model.layers[1].sparsity is None
    target = model.training.sparsity.target
    assert target == round(0.05 * 2**15)
    assert model.training.sparsity.rate == round(0.01 * 2**16)
    constants = layer.sparsity
    product = (constants.initial_mean + constants.offset) * constants.reciprocal
    # The reciprocal has at least 14 bits, so the mean it gives may miss by a unit or two.
    assert abs(((product + 2**29) >> 30) - target) <= 2
    slope = {"sigmoid": 1.0, "tanh": 0.5, "tanh_opt": 0.5 / TANH_OPT_SCALE}[kind]
    assert constants.multiplier * 2.0**-constants.shift == pytest.approx(
        0.3 * slope * 2.0 ** (layer.dz_frac + 4 - 15), rel=2.0**-14
    )


def test_sparsity_on_an_unbounded_activation_is_refused() -> None:
    net = create((3, 4, 2), "relu", seed=3)
    refuses(
        "sparsity needs a bounded", net=net, training=Training(0.1, sparsity=Sparsity(0.05, 0.3))
    )


@pytest.mark.parametrize("weight", [1e9, 1e-15])
def test_a_sparsity_weight_out_of_range_is_refused(weight: float) -> None:
    refuses("the sparsity weight", training=Training(0.1, sparsity=Sparsity(0.05, weight)))


def test_a_model_without_training_has_no_deltas() -> None:
    model = quantized(training=None)
    assert model.training is None
    assert all(layer.dz_frac is None and layer.dz_top is None for layer in model.layers)
    assert memory(model) == {"a0": 6, "a1": 8, "a2": 4}


def test_every_model_survives_its_own_json() -> None:
    for model in (
        quantized(),
        quantized(training=None),
        quantized(freeze=[1]),
        quantized(training=Training(0.1, sparsity=Sparsity(0.05, 0.3), batch_size=3, l2=0.01)),
        byte_model(),
    ):
        assert IntModel.from_json(model.to_json()) == model


def test_frozen_layers_keep_their_weights_in_flash() -> None:
    model = quantized(freeze=[1])
    assert [layer.frozen for layer in model.layers] == [True, False]
    assert memory(model) == {
        "a0": 6,
        "a1": 8,
        "w2": 16,
        "b2": 4,
        "w2_low": 8,
        "b2_low": 2,
        "a2": 4,
        "dz2": 4,
    }
    refuses("layer 3 cannot be frozen", freeze=[3])
    refuses("all layers are frozen", freeze=[1, 2])


@pytest.mark.parametrize(
    ("update", "each"), [("residual", 3), ("stochastic", 2), ("batch", 6), ("momentum", 7)]
)
def test_state_per_parameter_is_what_the_contract_says(update: str, each: int) -> None:
    training = Training(0.1, momentum=0.9 if update == "momentum" else 0.0)
    model = quantized(training=training, update=update)
    sizes = memory(model)
    others = sum(n for name, n in sizes.items() if name[0] == "a" or name[:2] == "dz")
    assert sum(sizes.values()) - others == each * model.parameter_count


def test_the_explanation_has_a_row_for_the_input_and_each_layer() -> None:
    model = quantized()
    rows = explain(model)
    assert [row.layer for row in rows] == [0, 1, 2]
    assert model.training is not None
    for row in rows[1:]:
        assert (row.shift, row.update_frac) == model.alignment(
            row.layer, model.training.learning_rate.exponent
        )
        assert row.why
    assert rows[1].backward == ""
    assert rows[2].backward == "int32"
    assert sum(row.state_bytes for row in rows) == sum(memory(model).values())
    assert all(row.shift is None for row in explain(quantized(training=None)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"features": ("a", "b")}, "3 inputs"),
        ({"labels": ("a",)}, "2 outputs"),
        ({"seed": 65536}, "seed"),
        ({"weights": "s4"}, "choose s16 or s8"),
        ({"weights": "s8"}, "cannot learn"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(settings: dict[str, Any], message: str) -> None:
    refuses(message, **settings)


# Byte models


def byte_model(
    kinds: Sequence[str] = ("sigmoid",), output: str = "sigmoid", inputs: FloatArray = X
) -> IntModel:
    loss = "cross_entropy" if output == "softmax" else "squared_error"
    net = create((3, 4, 2), tuple(kinds), output, loss, seed=3)
    return quantized(net, None, ranges=None, weights="s8", inputs=inputs)


@pytest.mark.parametrize("output", ["sigmoid", "softmax", "linear"])
@pytest.mark.parametrize("kind", ["sigmoid", "relu"])
def test_byte_weights_use_their_range_and_never_reach_minus_128(kind: str, output: str) -> None:
    model = byte_model((kind,), output)
    assert str(model.input.a_format) == "u8q8"
    assert model.input.a_top == 255
    for layer in model.layers:
        largest = max(abs(w) for row in layer.w for w in row)
        assert 64 <= largest <= 127
    assert (model.layers[0].a_format.bits, model.layers[0].a_top) == (8, 255)
    assert model.layers[1].a_format.bits == 16


def test_a_byte_weight_that_is_a_power_of_two_gets_one_bit_less() -> None:
    net = create((3, 4, 2), seed=3)
    net.w[0][...] = 0.1
    net.w[0][0, 0] = 1.0
    model = quantized(net, None, ranges=None, weights="s8", inputs=X)
    assert (model.layers[0].w_format.frac, model.layers[0].w[0][0]) == (6, 64)


def test_byte_biases_have_the_fraction_of_the_sum() -> None:
    net = create((3, 4, 2), seed=3)
    net.b[0][0] = 0.3
    model = quantized(net, None, ranges=None, weights="s8", inputs=X)
    frac = model.layers[0].w_format.frac + 8
    assert model.layers[0].b[0] == math.floor(0.3 * 2.0**frac + 0.5)


def test_byte_models_refuse_negative_inputs_and_name_the_cure() -> None:
    with pytest.raises(BpgenError, match="minmax"):
        byte_model(inputs=X - 0.5)
    refuses("needs samples", training=None, weights="s8")


def test_byte_models_refuse_signed_hidden_activations() -> None:
    with pytest.raises(BpgenError, match="hidden layer 1 is tanh"):
        byte_model(("tanh",))


def test_the_same_network_gives_the_same_hash() -> None:
    assert quantized().hash == quantized().hash
    assert quantized().hash != quantized(seed=1).hash
    assert quantized().hash == replace(quantized()).hash

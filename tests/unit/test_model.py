"""The integer model: its JSON, its hash, and what it refuses."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from bpgen.errors import BpgenError
from bpgen.model import IntModel, LearningRate, magnitude_bits

Damage = Callable[[dict[str, Any]], object]

KNOWN_HASH = "8d1a904f"


def dense(n_in: int, n_out: int, **changes: Any) -> dict[str, Any]:
    layer = {
        "type": "dense",
        "activation": "sigmoid",
        "w_format": "s16q11",
        "z_format": "s16q12",
        "a_format": "s16q12",
        "a_top": 4095,
        "dz_frac": 15,
        "dz_top": 32767,
        "frozen": False,
        "sparsity": None,
        "w": [[100 * j - 7 * i for i in range(n_in)] for j in range(n_out)],
        "b": [5 * j - 3 for j in range(n_out)],
    }
    return {**layer, **changes}


def sparsity() -> dict[str, int]:
    return {
        "offset": 0,
        "reciprocal": 2**18,
        "multiplier": 20000,
        "shift": 9,
        "initial_mean": 1638 * 4096,
    }


def trainable() -> dict[str, Any]:
    return {
        "format": "bpgen-model",
        "version": 1,
        "input": {
            "features": ["temperature", "humidity"],
            "a_format": "s16q12",
            "a_top": 8191,
            "decimals": [1, 0],
            "offset": [-100, 2000],
            "multiplier": [40000, 50000],
            "shift": [9, 20],
        },
        "layers": [dense(2, 3), dense(3, 2)],
        "loss": "squared_error",
        "targets": ["comfort"],
        "labels": ["cold", "warm"],
        "training": {
            "update": "residual",
            "learning_rate": {"mantissa": 26215, "exponent": 3},
            "batch_size": 1,
            "momentum": 0,
            "decay": 12,
            "seed": 77,
            "sparsity": None,
        },
    }


def sparse() -> dict[str, Any]:
    data = trainable()
    data["training"]["sparsity"] = {"target": 1638, "rate": 655}
    data["layers"][0]["sparsity"] = sparsity()
    return data


def inference() -> dict[str, Any]:
    data = trainable()
    data["training"] = None
    for layer in data["layers"]:
        layer.update(dz_frac=None, dz_top=None)
    return data


def byte() -> dict[str, Any]:
    data = inference()
    data["input"].update(a_format="u8q8", a_top=255)
    data["layers"] = [
        dense(2, 3, w_format="s8q4", a_format="u8q8", a_top=255, dz_frac=None, dz_top=None),
        dense(3, 2, w_format="s8q4", dz_frac=None, dz_top=None),
    ]
    for layer in data["layers"]:
        layer["w"] = [[max(-127, min(127, w)) for w in row] for row in layer["w"]]
    return data


def linear() -> dict[str, Any]:
    data = trainable()
    data["layers"][1].update(activation="linear", a_top=9000, dz_frac=12)
    return data


def softmax() -> dict[str, Any]:
    data = trainable()
    data["loss"] = "cross_entropy"
    data["layers"][1].update(activation="softmax", z_format="s16q10", a_top=4096, dz_frac=12)
    return data


def tanh() -> dict[str, Any]:
    data = trainable()
    data["layers"][0]["activation"] = "tanh"
    return data


KINDS = [trainable, sparse, inference, byte, linear, softmax, tanh]


def read(data: Any) -> IntModel:
    return IntModel.from_json(json.dumps(data), "net.json")


def assert_refused(text: str, *parts: str) -> None:
    with pytest.raises(BpgenError) as caught:
        IntModel.from_json(text, "net.json")
    message = str(caught.value)
    for part in parts:
        assert part in message
    assert message.endswith(".")
    assert ". " not in message
    assert "\n" not in message


def change(key: str, value: Any) -> Damage:
    """Set the value behind a path such as layers.0.w.1.2."""

    def damage(data: dict[str, Any]) -> None:
        at: Any = data
        *path, last = key.split(".")
        for step in path:
            at = at[int(step)] if isinstance(at, list) else at[step]
        at[int(last) if isinstance(at, list) else last] = value

    return damage


# Round trip and hash


@pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
def test_a_model_survives_json(make: Callable[[], dict[str, Any]]) -> None:
    model = read(make())
    text = model.to_json()
    assert json.loads(text) == make()
    assert IntModel.from_json(text) == model
    assert IntModel.from_json(text).to_json() == text


def test_a_name_with_brackets_and_spaces_survives_json() -> None:
    data = trainable()
    data["input"]["features"] = ["load [kg  m]", "[1,  2]"]
    model = read(data)
    assert model.input.features == ("load [kg  m]", "[1,  2]")
    assert IntModel.from_json(model.to_json()) == model


def test_text_nested_too_deeply_is_refused() -> None:
    assert_refused("[" * 100_000, "not valid JSON")


def test_a_row_of_weights_is_a_line() -> None:
    assert (
        '"w": [\n    [ 0, -7 ],\n    [ 100, 93 ],\n    [ 200, 193 ]\n   ],'
        in read(trainable()).to_json()
    )


def test_the_hash_is_eight_digits_that_layout_and_order_of_keys_leave_alone() -> None:
    data = trainable()
    backwards = dict(reversed(data.items()))
    compact = IntModel.from_json(json.dumps(backwards, separators=(",", ":")))
    assert read(data).hash == compact.hash
    assert len(compact.hash) == 8
    assert set(compact.hash) <= set("0123456789abcdef")


def test_the_hash_of_a_known_model_stays() -> None:
    """It names models in generated code and on the wire; a change orphans all of them."""
    assert read(trainable()).hash == KNOWN_HASH


@pytest.mark.parametrize(
    "damage",
    [
        change("layers.0.w.1.1", 94),
        change("layers.1.b.0", -4),
        change("layers.0.dz_top", 32766),
        change("training.seed", 78),
        change("training.learning_rate.mantissa", 26217),
        change("labels.0", "cool"),
        change("input.offset.1", 2001),
    ],
    ids=["w", "b", "dz_top", "seed", "mantissa", "label", "offset"],
)
def test_the_hash_changes_with_every_value(damage: Damage) -> None:
    data = trainable()
    damage(data)
    assert read(data).hash != read(trainable()).hash


# Damage


def test_text_cut_short_is_refused_at_any_length() -> None:
    text = read(trainable()).to_json()
    for length in range(len(text) - 2):
        assert_refused(text[:length], "net.json", "cut short")


@pytest.mark.parametrize("text", ["", "null", "3", "[]", '"model"', "{}", "{]", "NaN"])
def test_text_that_is_no_model_is_refused(text: str) -> None:
    assert_refused(text, "net.json")


def places(data: Any, path: str = "") -> list[str]:
    """Every key of a model, as paths."""
    found = []
    if isinstance(data, dict):
        for key, value in data.items():
            found += [f"{path}{key}", *places(value, f"{path}{key}.")]
    elif isinstance(data, list):
        for i, value in enumerate(data):
            found += places(value, f"{path}{i}.")
    return found


@pytest.mark.parametrize("place", places(sparse()))
def test_a_missing_key_is_named(place: str) -> None:
    data = sparse()
    at: Any = data
    *path, last = place.split(".")
    for step in path:
        at = at[int(step)] if isinstance(at, list) else at[step]
    del at[last]
    assert_refused(json.dumps(data), "net.json", repr(last), "is missing")


@pytest.mark.parametrize(
    "place",
    [
        "",
        "input",
        "layers.0",
        "layers.0.sparsity",
        "training",
        "training.learning_rate",
        "training.sparsity",
    ],
)
def test_an_unknown_key_is_named(place: str) -> None:
    data = sparse()
    change(f"{place}.colour" if place else "colour", 3)(data)
    assert_refused(json.dumps(data), "net.json", "'colour'", "does not know")


INTEGERS = [
    "input.a_top",
    "input.decimals.0",
    "input.offset.1",
    "input.multiplier.0",
    "input.shift.1",
    "layers.0.a_top",
    "layers.0.dz_frac",
    "layers.0.dz_top",
    "layers.1.w.1.2",
    "layers.1.b.1",
    "layers.0.sparsity.offset",
    "layers.0.sparsity.reciprocal",
    "layers.0.sparsity.multiplier",
    "layers.0.sparsity.shift",
    "layers.0.sparsity.initial_mean",
    "training.learning_rate.mantissa",
    "training.learning_rate.exponent",
    "training.batch_size",
    "training.momentum",
    "training.decay",
    "training.seed",
    "training.sparsity.target",
    "training.sparsity.rate",
]


@pytest.mark.parametrize("value", [1.0, True, "1", None, [1]], ids=repr)
@pytest.mark.parametrize("place", INTEGERS)
def test_only_an_integer_is_an_integer(place: str, value: Any) -> None:
    data = sparse()
    change(place, value)(data)
    assert_refused(json.dumps(data), "net.json", "must be an integer, not")


@pytest.mark.parametrize("value", [-(2**40), 2**40])
@pytest.mark.parametrize("place", INTEGERS)
def test_an_integer_out_of_range_is_refused(place: str, value: int) -> None:
    data = sparse()
    change(place, value)(data)
    assert_refused(json.dumps(data), "net.json", f"is {value}, outside")


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("format", "onnx", "is not a bpgen model"),
        ("version", 2, "model version 2"),
        ("version", "1", "model version '1'"),
        ("version", True, "model version True"),
        ("version", 1.0, "model version 1.0"),
        ("layers.0.w.0.0", 32768, "outside -32768..32767"),
        ("layers.0.w.0.0", -32769, "outside -32768..32767"),
        ("layers.0.b.0", 32768, "outside -32768..32767"),
        ("layers.0.w.0", [1], "list of 2 integers"),
        ("layers.0.w.0", 7, "list of 2 integers"),
        ("layers.0.w", [], "list of rows"),
        ("layers.0.w", 7, "list of rows"),
        ("layers.0.b", [1, 2], "list of 3 integers"),
        ("layers.1.w", [[1, 2], [3, 4]], "list of 3 integers"),
        ("layers", [], "at least one layer"),
        ("layers", {}, "at least one layer"),
        ("layers.0", [], "must be an object"),
        ("input", None, "must be an object"),
        ("input.features", [], "at least one feature"),
        ("input.features", ["temperature"], "list of 1 integers"),
        ("input.features", [1, 2], "list of texts"),
        ("input.shift", [1], "list of 2 integers"),
        ("targets", "comfort", "list of texts"),
        ("labels", ["cold"], "must name 2 classes"),
        ("layers.0.frozen", 1, "must be true or false"),
        ("layers.0.type", "pool", "not one of dense"),
        ("layers.0.activation", "softmax", "not one of"),
        ("layers.1.activation", "relu", "not one of"),
        ("layers.0.activation", 4, "not one of"),
        ("layers.0.w_format", "Q4.11", "is not a number format"),
        ("layers.0.w_format", 11, "must be a format"),
        ("layers.0.w_format", "s16q7", "with a fraction of 8..14"),
        ("layers.0.w_format", "s8q4", "not s16"),
        ("layers.1.a_format", "s16q15", "with a fraction of 0..14"),
        ("layers.0.a_format", "u8q8", "not s16"),
        ("loss", "hinge", "not one of"),
        ("training.update", "adam", "not one of"),
        ("training.learning_rate.mantissa", 26214, "must be 32768 or odd"),
        ("training.learning_rate", None, "must be an object"),
        ("training.learning_rate.exponent", 31, "cannot use this learning rate"),
        ("training", None, "must be null in a model without training"),
    ],
)
def test_a_wrong_value_is_refused_with_its_reason(place: str, value: Any, message: str) -> None:
    data = trainable()
    change(place, value)(data)
    assert_refused(json.dumps(data), "net.json" if "Q4" not in str(value) else "Q4", message)


def test_a_model_with_every_layer_frozen_is_refused() -> None:
    data = trainable()
    for layer in data["layers"]:
        layer["frozen"] = True
    assert_refused(json.dumps(data), "all frozen")


# Formats that do not fit each other


def many(*damages: Damage) -> Damage:
    return lambda data: [damage(data) for damage in damages]


MISFITS: list[tuple[str, Callable[[], dict[str, Any]], Damage, str]] = [
    (
        "linear_z",
        linear,
        change("layers.1.z_format", "s16q11"),
        "z_format and a_format to be alike",
    ),
    (
        "relu_z",
        trainable,
        many(change("layers.0.activation", "relu"), change("layers.0.z_format", "s16q10")),
        "z_format and a_format to be alike",
    ),
    ("sigmoid_z", trainable, change("layers.0.z_format", "s16q11"), "z_format s16q12"),
    ("tanh_z", tanh, change("layers.0.z_format", "s16q13"), "z_format s16q12"),
    ("softmax_z_coarse", softmax, change("layers.1.z_format", "s16q4"), "fraction of 5..14"),
    ("softmax_z_fine", softmax, change("layers.1.z_format", "s16q15"), "fraction of 5..14"),
    ("sigmoid_top", trainable, change("layers.0.a_top", 4096), "a_top of 4095"),
    ("tanh_top", tanh, change("layers.0.a_top", 4000), "a_top of 4095"),
    ("tanh_opt_top", tanh, change("layers.0.activation", "tanh_opt"), "a_top of 7028"),
    ("softmax_top", softmax, change("layers.1.a_top", 4095), "a_top of 4096"),
    ("tanh_coarse", tanh, change("layers.0.a_format", "s16q7"), "fraction of 8..14"),
    ("tanh_fine", tanh, change("layers.0.a_format", "s16q15"), "fraction of 8..14"),
    ("coarse", trainable, change("layers.0.a_format", "s16q3"), "at least 4"),
    ("coarse_input", trainable, change("input.a_format", "s16q3"), "at least 4"),
    (
        "fine_z",
        linear,
        many(
            change("layers.0.a_format", "s16q4"),
            change("layers.0.a_top", 15),
            change("layers.1.w_format", "s16q8"),
            change("layers.1.z_format", "s16q14"),
            change("layers.1.a_format", "s16q14"),
        ),
        "z_format finer than its sum",
    ),
    (
        "fine_output_dz",
        linear,
        change("layers.1.dz_frac", 13),
        "dz_frac finer than its error",
    ),
    ("fine_cross_entropy_dz", softmax, change("layers.1.dz_frac", 13), "finer than its error"),
    (
        "fine_sigmoid_dz",
        trainable,
        many(
            change("layers.1.a_format", "s16q4"),
            change("layers.1.a_top", 15),
            change("layers.1.dz_frac", 21),
        ),
        "finer than its error",
    ),
    (
        "fine_sigmoid_cross_entropy_dz",
        trainable,
        change("loss", "cross_entropy"),
        "finer than its error",
    ),
    (
        "fine_hidden_dz",
        trainable,
        many(change("layers.0.dz_frac", 23), change("layers.1.dz_frac", 15)),
        "dz_frac finer than its sum",
    ),
    ("sparse_output", sparse, change("layers.1.sparsity", sparsity()), "cannot have sparsity"),
    ("sparse_relu", sparse, change("layers.0.activation", "relu"), "cannot have sparsity"),
    ("sparse_layer_only", sparse, change("training.sparsity", None), "but training has none"),
    ("sparse_training_only", sparse, change("layers.0.sparsity", None), "lacks the sparsity"),
    ("sparse_inference", inference, change("layers.0.sparsity", sparsity()), "training has none"),
    ("softmax_squared", softmax, change("loss", "squared_error"), "cannot be squared_error"),
    ("linear_cross_entropy", linear, change("loss", "cross_entropy"), "cannot be cross_entropy"),
    (
        "byte_training",
        byte,
        many(
            change("training", trainable()["training"]),
            change("layers.0.dz_frac", 15),
            change("layers.0.dz_top", 32767),
            change("layers.1.dz_frac", 15),
            change("layers.1.dz_top", 32767),
        ),
        "must be null in a model with s8 weights",
    ),
    ("byte_top", byte, change("layers.0.a_top", 254), "a_top of 255"),
    ("byte_input_top", byte, change("input.a_top", 200), "a_top of 255"),
    ("byte_sigmoid_fraction", byte, change("layers.0.a_format", "u8q7"), "layer 1"),
    ("byte_tanh", byte, change("layers.0.activation", "tanh"), "layer 1"),
    ("byte_linear", byte, change("layers.0.activation", "linear"), "layer 1"),
    ("byte_bias", byte, change("layers.0.b.0", 2**31 - 1), "bias too large"),
    ("byte_weight", byte, change("layers.0.w.0.0", -128), "outside -127..127"),
    (
        "wide_input",
        trainable,
        many(
            change("input.a_format", "s16q4"),
            change("input.a_top", 32767),
            change("training.learning_rate.exponent", 5),
        ),
        "cannot use this learning rate",
    ),
]


@pytest.mark.parametrize(
    ("make", "damage", "message"),
    [misfit[1:] for misfit in MISFITS],
    ids=[misfit[0] for misfit in MISFITS],
)
def test_formats_that_do_not_fit_each_other_are_refused(
    make: Callable[[], dict[str, Any]], damage: Damage, message: str
) -> None:
    data = copy.deepcopy(make())
    read(data)
    damage(data)
    assert_refused(json.dumps(data), "net.json", message)


# Derived values


def test_a_model_knows_its_sizes() -> None:
    model = read(trainable())
    assert model.sizes == (2, 3, 2)
    assert model.parameter_count == 2 * 3 + 3 + 3 * 2 + 2
    assert model.previous(1) is model.input
    assert model.previous(2) is model.layers[0]


def test_only_layers_above_the_first_that_learns_have_dz() -> None:
    data = trainable()
    data["layers"][0]["frozen"] = True
    model = read(data)
    assert [model.learns(k) for k in (1, 2)] == [False, True]
    assert [model.has_dz(k) for k in (1, 2)] == [False, True]
    assert not read(inference()).has_dz(2)


@pytest.mark.parametrize(
    ("spelling", "top", "bits"),
    [("s16q12", 4095, 0), ("s16q12", 4096, 1), ("s16q12", 8191, 1), ("s16q4", 32767, 11)],
)
def test_magnitude_bits_are_the_smallest_power_above_the_top(
    spelling: str, top: int, bits: int
) -> None:
    data = inference()
    data["input"].update(a_format=spelling, a_top=top)
    assert magnitude_bits(read(data).input) == bits


def test_an_alignment_is_the_one_fraction_of_eight_that_makes_the_shift_a_multiple_of_8() -> None:
    model = read(trainable())
    for k in (1, 2):
        lowest = 8 - magnitude_bits(model.previous(k))
        for exponent in range(-16, 32):
            offset = 15 + exponent - 19
            (fraction,) = (fu for fu in range(lowest, lowest + 8) if (offset + fu) % 8 == 0)
            shift = offset + fraction
            expected = (shift, fraction) if 0 <= shift <= 24 else None
            assert model.alignment(k, exponent) == expected


def test_a_learning_rate_has_its_value() -> None:
    assert LearningRate(32768, 3).value == 0.125
    assert LearningRate(24577, -1).value == 24577 / 16384

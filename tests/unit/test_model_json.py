"""The JSON text of a model: whole after a round trip, and refused with the place when damaged."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from bpgen.model import IntModel
from tests.unit.model_texts import KINDS, assert_refused, change, read, sparse, trainable


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

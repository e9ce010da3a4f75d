"""Models of every kind as the dictionaries of their JSON text, and ways to damage them."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from bpgen.errors import BpgenError
from bpgen.model import IntModel

Damage = Callable[[dict[str, Any]], object]


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


def many(*damages: Damage) -> Damage:
    return lambda data: [damage(data) for damage in damages]

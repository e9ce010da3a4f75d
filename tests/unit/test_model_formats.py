"""Models whose formats do not fit each other."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.model_texts import (
    Damage,
    assert_refused,
    byte,
    change,
    inference,
    linear,
    many,
    read,
    softmax,
    sparse,
    sparsity,
    tanh,
    trainable,
)

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

"""IntModel: its hash, and what follows from its integers."""

import json

import pytest

from bpgen.model import IntModel, LearningRate, magnitude_bits
from tests.unit.model_texts import Damage, change, inference, read, trainable

KNOWN_HASH = "8d1a904f"


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

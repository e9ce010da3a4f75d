"""Fixed-point formats, the rounding rule and saturation."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpgen.errors import BpgenError
from bpgen.qformat import QFormat, clamp, quantize, round_shift


@pytest.mark.parametrize("spelling", ["s16q12", "u8q8", "s8q-8", "s24q19", "u16q16", "s32q0"])
def test_a_format_is_spelled_as_it_is_read(spelling: str) -> None:
    assert str(QFormat.parse(spelling)) == spelling


@pytest.mark.parametrize(
    "spelling",
    [
        "",
        "Q4.11",
        "s16",
        "q12",
        "s16q",
        "s12q3",
        "x16q12",
        "S16q12",
        "s16q123",
        "s16q1.5",
        "s16q12\n",
    ],
    ids=repr,
)
def test_any_other_spelling_is_refused_in_one_sentence(spelling: str) -> None:
    with pytest.raises(BpgenError, match="is not a number format") as caught:
        QFormat.parse(spelling)
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize(
    ("spelling", "lowest", "highest"),
    [
        ("s8q0", -128, 127),
        ("u8q8", 0, 255),
        ("s16q12", -32768, 32767),
        ("u16q16", 0, 65535),
        ("s24q8", -8388608, 8388607),
        ("s32q27", -2147483648, 2147483647),
    ],
)
def test_a_format_knows_its_ends(spelling: str, lowest: int, highest: int) -> None:
    assert (QFormat.parse(spelling).lowest, QFormat.parse(spelling).highest) == (lowest, highest)


@pytest.mark.parametrize(
    ("x", "shift", "expected"),
    [
        (5, 0, 5),
        (5, 1, 3),
        (-5, 1, -2),
        (1, 1, 1),
        (-1, 1, 0),
        (-3, 1, -1),
        (6, 2, 2),
        (-6, 2, -1),
        (-7, 2, -2),
        (32767, 15, 1),
        (-16385, 15, -1),
        (-16384, 15, 0),
    ],
)
def test_halves_round_up_on_both_sides_of_zero(x: int, shift: int, expected: int) -> None:
    assert round_shift(x, shift) == expected
    assert round_shift(np.array([x]), shift).tolist() == [expected]


@given(st.integers(-(2**61), 2**61), st.integers(0, 47))
def test_rounding_is_the_floor_of_the_real_quotient_plus_a_half(x: int, shift: int) -> None:
    expected = (Fraction(x, 2**shift) + Fraction(1, 2)).__floor__()
    assert round_shift(x, shift) == expected
    assert round_shift(np.array([x], dtype=np.int64), shift).tolist() == [expected]


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.5, 2048), (-0.5, -2048), (8.0, 32767), (-8.0, -32768), (1e300, 32767), (-1e300, -32768)],
)
def test_a_value_becomes_its_nearest_raw_and_saturates(value: float, expected: int) -> None:
    assert QFormat.parse("s16q12").from_float(value).tolist() == expected


def test_halves_of_values_round_up() -> None:
    raws = QFormat.parse("s16q0").from_float([-1.5, -0.5, 0.5, 1.5, 2.49])
    assert raws.tolist() == [-1, 0, 1, 2, 2]


def test_a_negative_fraction_scales_down() -> None:
    coarse = QFormat.parse("s8q-3")
    assert coarse.from_float([100.0, -100.0, 12.0, 4000.0]).tolist() == [13, -12, 2, 127]
    assert coarse.to_float([13, -128]).tolist() == [104.0, -1024.0]


@pytest.mark.parametrize("spelling", ["s16q15", "u8q8", "s16q-2", "s24q19"])
def test_every_raw_survives_the_way_through_float(spelling: str) -> None:
    wanted = QFormat.parse(spelling)
    step = max(1, (wanted.highest - wanted.lowest) // 65535)
    raws = np.arange(wanted.lowest, wanted.highest + 1, step)
    assert np.array_equal(wanted.from_float(wanted.to_float(raws)), raws)


def test_quantize_saturates_to_the_ends_it_is_given() -> None:
    assert quantize([9.0, -9.0, 1.25], 2, -7, 7).tolist() == [7, -7, 5]


def test_clamp_holds_integers_and_arrays() -> None:
    assert clamp(5, -3, 3) == 3
    assert clamp(np.array([-5, 0, 5]), -3, 3).tolist() == [-3, 0, 3]

"""Every table over every input there is."""

import math

import numpy as np
import pytest

from bpgen import lut
from bpgen.lut import (
    Table,
    activate,
    activation_errors,
    activation_table,
    activation_top,
    exponential,
    exponential_table,
    ln_table,
    negative_log,
)

ALL_Z = np.arange(-32768, 32768)

KINDS_AND_FRACTIONS = [
    *(("sigmoid", frac) for frac in range(4, 16)),
    *(("tanh", frac) for frac in range(8, 15)),
    *(("tanh_opt", frac) for frac in range(8, 15)),
]

# What stopping at the end of the table costs: 1 - s(8), 1 - tanh(4), 1.7159 (1 - tanh(16/3)).
CLAMP_ERROR = {
    "sigmoid": 1 / (1 + math.exp(8)),
    "tanh": 1 - math.tanh(4),
    "tanh_opt": 1.7159 * (1 - math.tanh(16 / 3)),
}


def exact(kind: str, frac: int) -> lut.FloatArray:
    x = ALL_Z / 4096
    real = {
        "sigmoid": 1 / (1 + np.exp(-x)),
        "tanh": np.tanh(x),
        "tanh_opt": 1.7159 * np.tanh(2 * x / 3),
    }[kind]
    return np.asarray(np.ldexp(real, frac))


def entries(kind: str, bits: int) -> tuple[int, ...]:
    """Section 4's entries."""
    x = [i * 8 / 2**bits for i in range(2**bits + 1)]
    if kind == "tanh_opt":
        return tuple(math.floor(2**15 * 1.7159 * math.tanh(2 * v / 3) + 0.5) for v in x)
    return tuple(math.floor(2**16 / (1 + math.exp(-v)) + 0.5) for v in x)


@pytest.mark.parametrize(("kind", "frac"), KINDS_AND_FRACTIONS)
def test_an_activation_is_within_a_unit_over_all_inputs(kind: str, frac: int) -> None:
    table = activation_table(kind, frac)
    error = np.abs(activate(kind, table, ALL_Z, frac) - exact(kind, frac))
    inside = np.abs(ALL_Z) * (2 if kind == "tanh" else 1) <= 32767
    assert error[inside].max() <= 1
    assert error.max() <= 1 + np.ldexp(CLAMP_ERROR[kind], frac)
    assert activation_errors(kind, table, frac) == (error[inside].max(), error.max())
    assert table.max_error == error[inside].max()


@pytest.mark.parametrize(("kind", "frac"), KINDS_AND_FRACTIONS)
def test_an_activation_is_monotonic_and_stays_at_or_below_its_top(kind: str, frac: int) -> None:
    a = activate(kind, activation_table(kind, frac), ALL_Z, frac)
    assert (np.diff(a) >= 0).all()
    top = activation_top(kind, frac)
    assert a.max() <= top
    assert a.min() >= (0 if kind == "sigmoid" else -top)


@pytest.mark.parametrize(("kind", "frac"), KINDS_AND_FRACTIONS)
def test_an_activation_is_symmetric(kind: str, frac: int) -> None:
    """Up to 10 fraction bits a sigmoid also rounds to 2^frac, which its top then holds below."""
    a = activate(kind, activation_table(kind, frac), ALL_Z, frac)
    positive, negative = a[32769:], a[32767:0:-1]
    if kind == "sigmoid":
        assert np.array_equal(positive, np.minimum(2**frac - negative, 2**frac - 1))
        if frac >= 11:
            assert np.array_equal(positive + negative, np.full(32767, 2**frac))
    else:
        assert np.array_equal(positive, -negative)
    assert a[0] == a[1]


@pytest.mark.parametrize(("kind", "frac"), KINDS_AND_FRACTIONS)
def test_an_activation_table_is_the_smallest_from_128_up_with_its_entries_rounded_once(
    kind: str, frac: int
) -> None:
    table = activation_table(kind, frac)
    assert table.entries == entries(kind, table.bits)
    assert 7 <= table.bits <= 11
    assert max(table.entries) < 2**16
    if table.bits > 7:
        bits = table.bits - 1
        half = Table(table.name, bits, table.frac, entries(kind, bits), math.nan)
        assert activation_errors(kind, half, frac)[0] > 1


def test_tanh_reads_the_table_of_sigmoid() -> None:
    assert activation_table("tanh", 11).entries == activation_table("sigmoid", 12).entries


@pytest.mark.parametrize(
    ("kind", "z", "expected"),
    [
        # Tables of 128, 128 and 256 intervals for 12 bits: u at a knot gives the entry, rounded.
        ("sigmoid", 0, 2048),
        ("sigmoid", 4096, 2994),
        ("sigmoid", -4096, 1102),
        ("sigmoid", -32768, 1),
        ("tanh", 0, 0),
        ("tanh", 4096, 3120),
        ("tanh", -4096, -3120),
        ("tanh_opt", 4096, 4096),
        ("tanh_opt", -4096, -4096),
    ],
)
def test_an_activation_has_its_value_worked_by_hand(kind: str, z: int, expected: int) -> None:
    assert activate(kind, activation_table(kind, 12), np.array([z]), 12).tolist() == [expected]


@pytest.mark.parametrize(
    ("kind", "frac", "top"),
    [
        ("sigmoid", 8, 255),
        ("sigmoid", 15, 32767),
        ("tanh", 14, 16383),
        ("tanh_opt", 12, 7028),
        ("tanh_opt", 14, 28113),
        ("softmax", 14, 16384),
    ],
)
def test_a_squashing_activation_has_the_top_of_its_kind(kind: str, frac: int, top: int) -> None:
    assert activation_top(kind, frac) == top


def test_a_bound_that_no_table_meets_is_an_error() -> None:
    with pytest.raises(ValueError, match="no table of tanh_opt"):
        activation_table("tanh_opt", 16)


@pytest.mark.parametrize("frac", [4, 8, 12, 14])
@pytest.mark.parametrize("z_frac", range(5, 15))
def test_exp_is_within_its_bound_and_monotonic_over_all_inputs(z_frac: int, frac: int) -> None:
    table = exponential_table(z_frac, frac)
    d = np.arange(65536)
    e = exponential(table, d, z_frac)
    inside = d < 8 * 2**z_frac
    error = np.abs(e - np.ldexp(np.exp(-d / 2.0**z_frac), 15))[inside].max() * 2.0 ** (frac - 15)
    assert error <= 1 or table.bits == z_frac + 3
    assert e[0] == 32768
    assert (np.diff(e) <= 0).all()
    assert (e[~inside] == 0).all()
    assert 4 <= table.bits <= z_frac + 3
    n = 2**table.bits
    assert table.entries == tuple(
        math.floor(2**15 * math.exp(-i * 8 / n) + 0.5) for i in range(n + 1)
    )


@pytest.mark.parametrize("frac", range(4, 15))
def test_minus_ln_is_close_and_monotonic_over_all_outputs(frac: int) -> None:
    """
    Four units of 2^-16: one for entry and rounding, 2 for the chords, (1/64)^2 / 8, and up to 1/2
    for a rounded ln 2 times 14.
    """
    y = np.arange(1, 2**frac + 1)
    actual = negative_log(y, frac)
    exact = -np.log(np.ldexp(y.astype(float), -frac)) * 2**16
    assert np.abs(actual - exact).max() <= 4
    assert (np.diff(actual) <= 0).all()
    assert actual[-1] == 0


def test_an_output_of_zero_counts_as_one_unit() -> None:
    assert negative_log(np.array([0, 1]), 12).tolist() == [12 * 45426] * 2


def test_the_table_of_ln_has_65_entries_rounded_once() -> None:
    assert ln_table().entries == tuple(
        math.floor(2**16 * math.log(1 + i / 64) + 0.5) for i in range(65)
    )

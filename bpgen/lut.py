"""
Tables of sigmoid, tanh, exp and ln, and their integer look-up (docs/numbers.md, sections 4 to 6).

A table is the smallest whose error, measured over every input there is, meets the bound.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from bpgen.qformat import IntArray, round_shift

FloatArray = npt.NDArray[np.float64]

TANH_OPT_SCALE = 1.7159
RANGE = 8  # the tables cover magnitudes in [0, 8)
Z_FRAC = 12  # fraction of z in front of a table: 15 bits cover the range
LN2 = 45426  # ln 2 as u16q16
LN_BITS = 6


@dataclass(frozen=True)
class Table:
    """
    `2^bits` intervals of equal width over [0, 8), linearly interpolated.

    `entries` holds 2^bits + 1 unsigned raws with fraction `frac`; `max_error` is the largest
    error over all inputs inside the range, in units of the format the look-up returns.
    """

    name: str
    bits: int
    frac: int
    entries: tuple[int, ...]
    max_error: float

    def interpolate(self, u: IntArray, shift: int) -> IntArray:
        """P of section 4: the interpolated entry with fraction `frac + shift`, exact."""
        entries = np.asarray(self.entries, dtype=np.int64)
        index = u >> shift
        low, high = entries[index], entries[index + 1]
        return np.asarray((low << shift) + (high - low) * (u - (index << shift)))


def activation_top(kind: str, frac: int) -> int:
    """The top of a squashing activation's output with `frac` fraction bits."""
    if kind == "tanh_opt":
        return int(np.floor(TANH_OPT_SCALE * 2.0**frac + 0.5))
    return 1 << frac if kind == "softmax" else (1 << frac) - 1


def activate(kind: str, table: Table, z: IntArray, frac: int) -> IntArray:
    """
    sigmoid, tanh or tanh_opt of z (s16q12) as an activation with `frac` fraction bits.

    `z` may be any s16, -32768 included.
    """
    shift = 15 - table.bits
    magnitude = np.minimum(np.abs(z) * (2 if kind == "tanh" else 1), 32767)
    p = table.interpolate(magnitude, shift)
    if kind == "tanh":
        p = 2 * p - (1 << (16 + shift))
    y = round_shift(p, table.frac + shift - frac)
    positive = np.minimum(y, activation_top(kind, frac))
    return np.where(z >= 0, positive, (1 << frac) - y if kind == "sigmoid" else -positive)


def exponential(table: Table, d: IntArray, z_frac: int) -> IntArray:
    """exp(-d) as u16q15 for d >= 0 with `z_frac` fraction bits; 0 from 8 on."""
    shift = z_frac + 3 - table.bits
    inside = d < (RANGE << z_frac)
    p = table.interpolate(np.where(inside, d, 0), shift)
    return np.where(inside, round_shift(p, shift), 0)


def negative_log(y: IntArray, frac: int) -> IntArray:
    """-ln(y * 2^-frac) as u32q16; y below one unit counts as one unit, y <= 2^15."""
    y = np.maximum(y, 1)
    k = np.floor(np.log2(y.astype(np.float64))).astype(np.int64)
    p = ln_table().interpolate((y << (15 - k)) - (1 << 15), 15 - LN_BITS)
    return (frac - k) * LN2 - round_shift(p, 15 - LN_BITS)


def _build(
    name: str, bits: int, frac: int, function: Callable[[FloatArray], FloatArray], width: float
) -> Table:
    knots = np.arange((1 << bits) + 1, dtype=np.float64) * (width / (1 << bits))
    entries = np.floor(function(knots) * 2.0**frac + 0.5).astype(int)
    return Table(name, bits, frac, tuple(entries.tolist()), float("nan"))


def _sigmoid(x: FloatArray) -> FloatArray:
    return 1 / (1 + np.exp(-x))


def reference(kind: str, x: FloatArray) -> FloatArray:
    """The real function that `activate` approximates."""
    if kind == "sigmoid":
        return _sigmoid(x)
    if kind == "tanh":
        return np.tanh(x)
    return TANH_OPT_SCALE * np.tanh(2 * x / 3)


def activation_errors(kind: str, table: Table, frac: int) -> tuple[float, float]:
    """
    Largest errors over all 65,536 inputs, in units of 2^-frac: inside the range, and anywhere.

    The second is larger by the clamp: sigmoid and tanh_opt stop at |z| = 8, tanh at |z| = 4.
    """
    z = np.arange(-32768, 32768, dtype=np.int64)
    error = np.abs(
        np.ldexp(reference(kind, z / 2.0**Z_FRAC), frac) - activate(kind, table, z, frac)
    )
    inside = np.abs(z) * (2 if kind == "tanh" else 1) <= 32767
    return float(error[inside].max()), float(error.max())


@cache
def activation_table(kind: str, frac: int) -> Table:
    """
    The smallest table for a squashing activation with an error of at most 2^-frac, from 128
    intervals up: there an index is a byte on 8-bit cores, and fewer save little flash.
    """
    for bits in range(7, 12):
        if kind == "tanh_opt":
            table = _build(
                "tanh_opt", bits, 15, lambda x: TANH_OPT_SCALE * np.tanh(2 * x / 3), RANGE
            )
        else:
            table = _build("sigmoid", bits, 16, _sigmoid, RANGE)
        error, _ = activation_errors(kind, table, frac)
        if error <= 1:
            return Table(table.name, bits, table.frac, table.entries, error)
    raise ValueError(f"no table of {kind} reaches one unit of 2^-{frac}")


@cache
def exponential_table(z_frac: int, frac: int) -> Table:
    """The smallest table of exp(-d), d of `z_frac` fraction bits, with an error of 2^-frac."""
    d = np.arange(RANGE << z_frac, dtype=np.int64)
    exact = np.ldexp(np.exp(-np.ldexp(d.astype(np.float64), -z_frac)), 15)
    bits = 4
    while True:
        table = _build("exp", bits, 15, lambda x: np.exp(-x), RANGE)
        error = float(np.abs(exponential(table, d, z_frac) - exact).max()) * 2.0 ** (frac - 15)
        if error <= 1 or bits == z_frac + 3:
            return Table("exp", bits, 15, table.entries, error)
        bits += 1


@cache
def ln_table() -> Table:
    """ln(1 + x) for x in [0, 1) as u16q16, 64 intervals."""
    return _build("ln", LN_BITS, 16, np.log1p, 1.0)

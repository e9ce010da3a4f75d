"""Every table: its size, and its error over every input there is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from benchmarks.tables import table
from bpgen import lut
from bpgen.qformat import IntArray

MAX_ERROR = 1.0  # in units of the format that the look-up returns, inside the table's range

FRACTIONS = {"sigmoid": range(11, 16), "tanh": range(11, 15), "tanh_opt": range(11, 15)}
EXPONENTIALS = [(z_frac, frac) for frac in range(11, 15) for z_frac in (8, 10, 12)]
LOGARITHM_FRAC = 14  # of y, the finest an output has
LIMITS = {"sigmoid": 1.0, "tanh": 1.0, "tanh_opt": lut.TANH_OPT_SCALE}  # for z to infinity
ALL_Z = np.arange(-32768, 32768, dtype=np.int64)


@dataclass(frozen=True)
class Row:
    """
    A look-up from `x_frac` to `frac` fraction bits.

    `error` and `error_anywhere` are the largest over all inputs inside the table's range and over
    all inputs, in units of 2^-frac. `beyond` is the largest for real arguments outside the range,
    those that no input can express included.
    """

    kind: str
    x_frac: int
    frac: int
    intervals: int
    bytes: int
    inputs: int
    error: float
    error_anywhere: float
    beyond: float
    monotonic: bool
    symmetric: bool | None
    missed: tuple[str, ...]


def measure(*, quick: bool = False) -> list[Row]:
    """Measure all tables; `quick` changes nothing, it takes a few seconds."""
    del quick
    rows = [_activation(kind, frac) for kind, fracs in FRACTIONS.items() for frac in fracs]
    rows += [_exponential(z_frac, frac) for z_frac, frac in EXPONENTIALS]
    return [*rows, _logarithm()]


def _activation(kind: str, frac: int) -> Row:
    found = lut.activation_table(kind, frac)
    y = lut.activate(kind, found, ALL_Z, frac)
    exact = lut.reference(kind, np.ldexp(ALL_Z.astype(np.float64), -lut.Z_FRAC))
    inside = np.abs(ALL_Z) * (2 if kind == "tanh" else 1) <= 32767
    # a(z) + a(-z); -32768 has no opposite.
    sums = y[1:] + y[:0:-1]
    symmetric = bool((sums == ((1 << frac) if kind == "sigmoid" else 0)).all())
    monotonic = bool((np.diff(y) >= 0).all())
    errors = np.abs(y - np.ldexp(exact, frac))
    at_infinity = abs(LIMITS[kind] - float(y[-1]) * 2.0**-frac)
    row = _row(found, kind, (lut.Z_FRAC, frac), errors, inside, monotonic, symmetric)
    return replace(row, beyond=max(row.beyond, at_infinity))


def _exponential(z_frac: int, frac: int) -> Row:
    """The largest error is in units of the softmax's format; the look-up itself has 15 bits."""
    found = lut.exponential_table(z_frac, frac)
    d = np.arange(1 << 16, dtype=np.int64)
    y: IntArray = lut.exponential(found, d, z_frac)
    exact = np.exp(-np.ldexp(d.astype(np.float64), -z_frac))
    errors = np.ldexp(np.abs(np.ldexp(y.astype(np.float64), -15) - exact), frac)
    inside = d < lut.RANGE << z_frac
    monotonic = bool((np.diff(y) <= 0).all())
    return _row(found, "exp(-d)", (z_frac, frac), errors, inside, monotonic, None)


def _logarithm() -> Row:
    y = np.arange(1, (1 << LOGARITHM_FRAC) + 1, dtype=np.int64)
    nl = lut.negative_log(y, LOGARITHM_FRAC)
    exact = -np.log(np.ldexp(y.astype(np.float64), -LOGARITHM_FRAC))
    errors = np.abs(nl - np.ldexp(exact, 16))
    monotonic = bool((np.diff(nl) <= 0).all())
    everywhere = np.ones(len(y), dtype=np.bool_)
    return _row(lut.ln_table(), "-ln(y)", (LOGARITHM_FRAC, 16), errors, everywhere, monotonic, None)


def _row(
    found: lut.Table,
    kind: str,
    fracs: tuple[int, int],
    errors: npt.NDArray[np.float64],
    inside: npt.NDArray[np.bool_],
    monotonic: bool,
    symmetric: bool | None,
) -> Row:
    error = float(errors[inside].max())
    missed = []
    # -ln(y) reports a loss; nothing is learnt from it, and no error is asked of it.
    if error > MAX_ERROR and kind != "-ln(y)":
        missed.append("error")
    if not monotonic:
        missed.append("monotonic")
    if symmetric is False:
        missed.append("symmetric")
    return Row(
        kind=kind,
        x_frac=fracs[0],
        frac=fracs[1],
        intervals=1 << found.bits,
        bytes=2 * len(found.entries),
        inputs=len(errors),
        error=error,
        error_anywhere=float(errors.max()),
        beyond=float(errors[~inside].max(initial=0.0)) * 2.0 ** -fracs[1],
        monotonic=monotonic,
        symmetric=symmetric,
        missed=tuple(missed),
    )


def show(rows: Sequence[Row]) -> str:
    """The rows as text."""
    header = (
        *("function", "from", "to", "intervals", "bytes", "inputs", "error LSB"),
        *("anywhere LSB", "beyond range", "monotonic", "symmetric", "targets"),
    )
    answer = {True: "yes", False: "NO", None: "-"}
    cells = [
        (
            row.kind,
            f"q{row.x_frac}",
            f"q{row.frac}",
            f"{row.intervals}",
            f"{row.bytes}",
            f"{row.inputs}",
            f"{row.error:.3f}",
            f"{row.error_anywhere:.3f}",
            f"{row.beyond:.1e}" if row.beyond else "-",
            answer[row.monotonic],
            answer[row.symmetric],
            "missed: " + ", ".join(row.missed) if row.missed else "met",
        )
        for row in rows
    ]
    notes = (
        "error: the largest over all inputs inside the table's range, in units of the result;\n"
        "beyond range: the largest for real inputs outside it, however large, as a real number.\n"
        "targets: <= 1 LSB (not asked of -ln, which only reports a loss), monotonic, symmetric"
    )
    return f"{table(header, cells)}\n\n{notes}"

"""Fixed-point formats, the one rounding rule and saturation (docs/numbers.md, section 1)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from bpgen.errors import BpgenError

IntArray = npt.NDArray[np.int64]
IntOrArray = TypeVar("IntOrArray", int, IntArray)

_SPELLING = re.compile(r"([su])(8|16|24|32)q(-?\d{1,2})")


@dataclass(frozen=True)
class QFormat:
    """
    A fixed-point format, spelled `s16q12`: 16 bits, two's complement, value = raw * 2^-12.
    """

    signed: bool
    bits: int
    frac: int

    @classmethod
    def parse(cls, spelling: str) -> QFormat:
        """
        Read `s16q12` or `u8q8`.

        Raises BpgenError for any other spelling, "Q4.11" included.
        """
        match = _SPELLING.fullmatch(spelling)
        if match is None:
            raise BpgenError(
                f"{spelling!r} is not a number format: write s16q12 for 16 bits, 12 of fraction."
            )
        return cls(match[1] == "s", int(match[2]), int(match[3]))

    def __str__(self) -> str:
        return f"{'s' if self.signed else 'u'}{self.bits}q{self.frac}"

    @property
    def lowest(self) -> int:
        """The smallest raw the type holds."""
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def highest(self) -> int:
        """The largest raw the type holds."""
        return (1 << (self.bits - 1)) - 1 if self.signed else (1 << self.bits) - 1

    def to_float(self, raw: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Value of each raw, exact in float64."""
        return np.ldexp(np.asarray(raw, dtype=np.float64), -self.frac)

    def from_float(self, value: npt.ArrayLike) -> IntArray:
        """Nearest raw of each value, halves up, saturated to the type."""
        return quantize(value, self.frac, self.lowest, self.highest)


def quantize(value: npt.ArrayLike, frac: int, lowest: int, highest: int) -> IntArray:
    """Nearest raw with `frac` fraction bits, halves up, saturated to [lowest, highest]."""
    scaled = np.floor(np.ldexp(np.asarray(value, dtype=np.float64), frac) + 0.5)
    return np.clip(scaled, lowest, highest).astype(np.int64)


def round_shift(x: IntOrArray, shift: int) -> IntOrArray:
    """
    x * 2^-shift, halves up: the one rounding rule. Exact for |x| < 2^62.
    """
    if shift == 0:
        return x
    return (x + (1 << (shift - 1))) >> shift


def clamp(x: IntOrArray, lowest: Any, highest: Any) -> Any:
    """x saturated to [lowest, highest]."""
    return np.clip(x, lowest, highest)

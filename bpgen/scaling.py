"""How a CSV cell becomes a raw count, as firmware hands it in, and a count the float input a0."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from bpgen.errors import BpgenError, suggestion

FloatArray: TypeAlias = npt.NDArray[np.float64]
IntArray: TypeAlias = npt.NDArray[np.int64]

SCALINGS = ("minmax", "standard", "none")


# Below this a count is exact in float32 too, and count - offset fits 26 signed bits.
COUNTS_LIMIT = 2**24


MAX_DECIMALS = 9


# Above this, neighbouring integers share one float64, so a count has no meaning.
EXACT_LIMIT = 2**53


@dataclass(frozen=True)
class Scaling:
    """
    Turn a CSV cell into the float input a0.

    Firmware hands in raw integer counts; one count of feature i is 10^-decimals[i] in
    the unit of the column. `offset` is in counts, and an integer on purpose: the rule on
    the board subtracts exactly this. `scale` is a0 per count. All three have one entry
    per feature; BpgenError when they do not, or when an entry is out of range.
    """

    decimals: tuple[int, ...]
    offset: tuple[int, ...]
    scale: tuple[float, ...]

    def __post_init__(self) -> None:
        if not len(self.decimals) == len(self.offset) == len(self.scale) >= 1:
            raise BpgenError(
                f"a scaling needs one entry per feature in each list, but has "
                f"{len(self.decimals)} decimals, {len(self.offset)} offsets and "
                f"{len(self.scale)} scales: fit it again"
            )
        if not all(0 <= d <= MAX_DECIMALS for d in self.decimals):
            raise BpgenError(
                f"the decimals of a scaling must lie in 0..{MAX_DECIMALS}, not "
                f"{list(self.decimals)}: fit it again"
            )
        if not all(abs(o) < COUNTS_LIMIT for o in self.offset):
            raise BpgenError(
                f"the offsets of a scaling must lie within {COUNTS_LIMIT - 1} counts of 0, not "
                f"{list(self.offset)}: fit it again"
            )
        if not np.isfinite(self.scale).all():
            raise BpgenError(
                f"the scales of a scaling must be finite, not {list(self.scale)}: fit it again"
            )

    def counts(self, x: npt.ArrayLike) -> IntArray:
        """
        Round raw cells x [n][features] to integer counts [n][features].

        Halves round to even, as rint does. Values past +-2^53 counts saturate there.
        Raises BpgenError when the shape does not fit or a cell is NaN or infinite.
        """
        cells = _matrix(x)
        if cells.shape[1] != len(self.decimals):
            raise BpgenError(
                f"the samples have {cells.shape[1]} features, but the scaling was fitted to "
                f"{len(self.decimals)}: select the same columns"
            )
        with np.errstate(over="ignore"):
            scaled = cells * np.array([10.0**d for d in self.decimals])
        counts: IntArray = np.rint(np.clip(scaled, -EXACT_LIMIT, EXACT_LIMIT)).astype(np.int64)
        return counts

    def apply(self, x: npt.ArrayLike) -> FloatArray:
        """
        Scale raw cells x [n][features] to network inputs a0 [n][features].

        a0 = (counts - offset) * scale. Raises BpgenError as counts() does.
        """
        offset = np.array(self.offset, dtype=np.int64)
        a0: FloatArray = (self.counts(x) - offset).astype(np.float64) * np.array(self.scale)
        return a0

    @classmethod
    def fit(cls, x: npt.ArrayLike, kind: str, features: Sequence[str] = ()) -> Scaling:
        """
        Choose a scaling for raw cells x [n][features].

        kind "minmax" maps each column to [0, 1]; "standard" to standard deviation 1 and
        a mean within half a count of 0; "none" leaves a0 = x. A column of one value
        becomes 0 under minmax and standard. `features` names the columns in messages.

        A column gets the fewest decimals that represent every cell to 1e-9 of its value,
        at most 9, and few enough that every count stays below 2^24 in magnitude.

        Raises BpgenError for an unknown kind, for NaN or infinite cells, and for a column
        whose counts reach 2^24 without decimals or hide all of its variation.
        """
        if kind not in SCALINGS:
            raise BpgenError(
                f"there is no scaling {kind!r}{suggestion(str(kind), SCALINGS)}: "
                f"choose one of {', '.join(SCALINGS)}"
            )
        cells = _matrix(x)
        if cells.size == 0:
            raise BpgenError("a scaling cannot be fitted to no samples: load at least one")
        names = [repr(name) for name in features] or [str(i) for i in range(cells.shape[1])]
        if len(names) != cells.shape[1]:
            raise BpgenError(
                f"there are {len(names)} feature names for {cells.shape[1]} columns: "
                "give one name per column"
            )
        decimals = tuple(
            _decimals(column, name) for column, name in zip(cells.T, names, strict=True)
        )
        ones = (1.0,) * len(decimals)
        counts = cls(decimals, (0,) * len(decimals), ones).counts(cells)
        low, high = counts.min(axis=0), counts.max(axis=0)
        if kind == "none":
            return cls(decimals, (0,) * len(decimals), tuple(10.0**-d for d in decimals))
        if kind == "minmax":
            offset, span = low, (high - low).astype(np.float64)
        else:
            offset = np.rint(counts.mean(axis=0)).astype(np.int64)
            # Sums of counts below 2^24 are exact for up to 2^29 rows, so equal counts give 0.
            span = counts.std(axis=0)
        return cls(
            decimals,
            tuple(int(o) for o in offset),
            tuple(1.0 / float(s) if s > 0 else 0.0 for s in span),
        )


def _matrix(x: npt.ArrayLike) -> FloatArray:
    cells = np.asarray(x, dtype=np.float64)
    if cells.ndim != 2:
        raise BpgenError(
            f"samples must be a matrix [n][features], not an array of {cells.ndim} dimensions: "
            "reshape it, a single sample to (1, features)"
        )
    if not np.isfinite(cells).all():
        raise BpgenError("a sample holds NaN or infinity: replace it or drop the sample")
    return cells


def _decimals(column: FloatArray, name: str) -> int:
    """Return the decimals of one column, as Scaling.fit() describes."""
    top = float(np.abs(column).max())
    if np.rint(top) >= COUNTS_LIMIT:
        raise BpgenError(
            f"feature {name} reaches {top:g}, but an input count must stay below 2^24 = "
            f"{COUNTS_LIMIT}: rescale the column, to a larger unit or relative to an offset"
        )
    best = 0
    for decimals in range(MAX_DECIMALS + 1):
        scaled = column * 10.0**decimals
        counts = np.rint(scaled)
        if np.abs(counts).max() >= COUNTS_LIMIT:
            break
        best = decimals
        if (np.abs(scaled - counts) <= 1e-9 * np.abs(scaled)).all():
            return decimals
    counts = np.rint(column * 10.0**best)
    if column.min() != column.max() and counts.min() == counts.max():
        raise BpgenError(
            f"feature {name} varies by less than one count of 1e-{best}, so its inputs would "
            "all be equal: rescale the column, to a smaller unit or relative to an offset"
        )
    return best

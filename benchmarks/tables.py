"""Aligned text tables, statistics and a progress line."""

from __future__ import annotations

import math
import re
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from bpgen.errors import BpgenError

# 97.5% quantiles of Student's t distribution for 1, 2, ... degrees of freedom.
_T_QUANTILES = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262),
    *(2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093),
)
MAX_SAMPLES = len(_T_QUANTILES) + 1


def half_interval(values: Sequence[float]) -> float:
    """Half the width of the 95% confidence interval of the mean of 2 to MAX_SAMPLES values."""
    quantile = _T_QUANTILES[len(values) - 2]
    return quantile * statistics.stdev(values) / math.sqrt(len(values))


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns padded to their widest cell, the first to the left and the others to the right."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return "  ".join(padded).rstrip()

    return "\n".join([line(header), line(["-" * width for width in widths]), *map(line, rows)])


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The same in Markdown; columns of numbers go to the right."""

    def is_number(cell: str) -> bool:
        return re.fullmatch(r"[~<>= ]*[\d,.]*%?", cell) is not None

    columns = zip(*rows, strict=True)
    ruler = ["---:" if all(map(is_number, column)) else "---" for column in columns]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, ruler, *rows))


def put_block(path: Path, name: str, text: str) -> None:
    """
    Put text into a Markdown file, between the comments "NAME" and "end of NAME".

    Raises BpgenError where the file does not have both.
    """
    before, after = f"<!-- {name} -->", f"<!-- end of {name} -->"
    page = path.read_text(encoding="utf-8")
    if page.count(before) != 1 or page.count(after) != 1:
        raise BpgenError(f"{path} does not have {before} and {after} once: add them")
    head, rest = page.split(before)
    tail = rest.split(after)[1]
    path.write_text(f"{head}{before}\n\n{text}\n\n{after}{tail}", encoding="utf-8", newline="\n")


def progress(text: str) -> None:
    """Replace the progress line, or print a line where stderr is no terminal."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
    else:
        print(text, file=sys.stderr, flush=True)


def end_progress() -> None:
    """Clear the progress line."""
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr, flush=True)

"""Command line of the benchmarks."""

from __future__ import annotations

import os

# Samples are trained one by one; threads in BLAS would only wait for each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from typing import Any

from benchmarks import boards, bound, host, lut, parity, wire
from benchmarks.tables import MAX_SAMPLES, end_progress


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="print one JSON object")
    common.add_argument("--quick", action="store_true", help="a trial in seconds; proves nothing")
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    runs = commands.add_parser(
        "parity", parents=[common], help="integer training against float64 SGD"
    )
    runs.add_argument("--full", action="store_true", help="learning rate 0.001 until flat: an hour")
    runs.add_argument("--seeds", type=int, choices=range(2, MAX_SAMPLES + 1), metavar="N")
    runs.add_argument("--only", default="", metavar="TEXT", help="tasks whose name has TEXT")
    commands.add_parser("host", parents=[common], help="speed of the compiled host simulation")
    commands.add_parser("lut", parents=[common], help="size and exhaustive error of every table")
    commands.add_parser("bound", parents=[common], help="running bound against measured errors")
    commands.add_parser(
        "wire", parents=[common], help="exactly-once, store, speed and size of the link"
    )
    each = commands.add_parser(
        "boards", parents=[common], help="simulated boards against the twin, bit for bit"
    )
    each.add_argument("--only", default="", metavar="TEXT", help="those with TEXT in BOARD NET")
    parsed = parser.parse_args(arguments)
    if parsed.command == "parity" and not any(parsed.only in t.name for t in parity.TASKS):
        parser.error(f"no task has {parsed.only!r} in its name")
    return parsed


def _measure(parsed: argparse.Namespace) -> tuple[Sequence[Any], str]:
    quick: bool = parsed.quick
    if parsed.command == "parity":
        rows = parity.measure(quick=quick, full=parsed.full, seeds=parsed.seeds, only=parsed.only)
        return rows, parity.show(rows)
    if parsed.command == "host":
        speeds = host.measure(quick=quick)
        return speeds, host.show(speeds)
    if parsed.command == "lut":
        tables = lut.measure(quick=quick)
        return tables, lut.show(tables)
    if parsed.command == "wire":
        figures = wire.measure(quick=quick)
        return figures, wire.show(figures)
    if parsed.command == "boards":
        runs = boards.measure(quick=quick, only=parsed.only)
        return runs, boards.show(runs)
    limits = bound.measure(quick=quick)
    return limits, bound.show(limits)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one benchmark and print it; 1 when a target is missed."""
    parsed = _arguments(arguments)
    rows, text = _measure(parsed)
    end_progress()
    if parsed.json:
        print(json.dumps({parsed.command: [dataclasses.asdict(row) for row in rows]}, indent=1))
    else:
        print(text)
    return 1 if any(row.missed for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())

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
from pathlib import Path
from typing import Any

from benchmarks import boards, bound, host, lut, parity, speed, wire
from benchmarks.speed import by_function, corners, formats
from benchmarks.tables import MAX_SAMPLES, end_progress, put_block
from bpgen.errors import BpgenError


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
    documented = argparse.ArgumentParser(add_help=False)
    documented.add_argument("--markdown", action="store_true", help="tables as in docs/speed.md")
    documented.add_argument(
        "--into", type=Path, metavar="FILE", help="put them into that file, docs/speed.md"
    )
    commands.add_parser(
        "host",
        parents=[common, documented],
        help="speed of the compiled host simulation, beside peers",
    )
    commands.add_parser("lut", parents=[common], help="size and exhaustive error of every table")
    commands.add_parser("bound", parents=[common], help="running bound against measured errors")
    commands.add_parser(
        "wire", parents=[common], help="exactly-once, store, speed and size of the link"
    )
    some = argparse.ArgumentParser(add_help=False)
    some.add_argument("--only", default="", metavar="TEXT", help="those with TEXT in BOARD NET ...")
    commands.add_parser(
        "boards",
        parents=[common, some],
        help="simulated boards against the twin, bit for bit; then what speed prints",
    )
    counts = commands.add_parser(
        "speed",
        parents=[common, some, documented],
        help="cycles, instructions and memory, counted exactly",
    )
    counts.add_argument("--profile", metavar="BOARD", help="cycles by function on an AVR, alone")
    parsed = parser.parse_args(arguments)
    if parsed.command == "parity" and not any(parsed.only in t.name for t in parity.TASKS):
        parser.error(f"no task has {parsed.only!r} in its name")
    into = getattr(parsed, "into", None)
    if into is not None and not into.is_file():
        parser.error(f"there is no file {into} to put tables into: name docs/speed.md")
    return parsed


def _measure(parsed: argparse.Namespace) -> tuple[dict[str, Sequence[Any]], str]:
    """The rows of each part, and what to print of them."""
    command: str = parsed.command
    quick: bool = parsed.quick
    if command == "speed":
        if parsed.profile is not None:
            return _profile(parsed.profile, _in_markdown(parsed))
        return _speed(parsed, as_markdown=_in_markdown(parsed))
    if command == "boards":
        runs = boards.measure(quick=quick, only=parsed.only)
        counts, text = _speed(parsed)
        return {command: runs, **counts}, f"{boards.show(runs)}\n\n{text}"
    if command == "parity":
        runs_of_tasks = parity.measure(
            quick=quick, full=parsed.full, seeds=parsed.seeds, only=parsed.only
        )
        return {command: runs_of_tasks}, parity.show(runs_of_tasks)
    if command == "host":
        rates = host.measure(quick=quick)
        return {command: rates}, host.show(rates, as_markdown=_in_markdown(parsed))
    part = {"lut": lut, "wire": wire, "bound": bound}[command]
    rows = part.measure(quick=quick)
    return {command: rows}, part.show(rows)


def _in_markdown(parsed: argparse.Namespace) -> bool:
    return bool(parsed.markdown or parsed.into)


def _profile(board: str, as_markdown: bool) -> tuple[dict[str, Sequence[Any]], str]:
    """Where the cycles of one training step go."""
    profiles = {update: by_function.measure(board, update) for update in corners.UPDATES}
    tables = [
        (
            f"{board} {speed.name_of(by_function.NET)}, a training step, {update}",
            by_function.table(rows),
        )
        for update, rows in profiles.items()
    ]
    parts: dict[str, Sequence[Any]] = {f"profile_{u}": rows for u, rows in profiles.items()}
    return parts, speed.show(tables, as_markdown=as_markdown)


def _speed(
    parsed: argparse.Namespace, as_markdown: bool = False
) -> tuple[dict[str, Sequence[Any]], str]:
    """Counts, goals, corners and formats, and what they were measured with."""
    counts = speed.measure(quick=parsed.quick, only=parsed.only)
    reached = speed.check_goals(counts)
    worst = corners.measure(quick=parsed.quick, only=parsed.only)
    found = formats.measure(quick=parsed.quick, only=parsed.only)
    tables = [
        ("Goals", speed.goal_table(reached)),
        ("Worst training step over typical", corners.table(worst)),
        ("Training step by data and learning rate", formats.table(found)),
    ]
    tables += speed.summary_tables(counts) if as_markdown else speed.speed_tables(counts)
    notes = speed.notes()
    text = "\n\n".join([speed.show(tables, as_markdown=as_markdown), *(n.text for n in notes)])
    parts = {"speed": counts, "goals": reached, "corners": worst, "formats": found, "notes": notes}
    return parts, text


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one benchmark and print it; 1 when a target is missed, 2 when nothing was measured."""
    parsed = _arguments(arguments)
    try:
        return _run(parsed)
    except BpgenError as error:
        end_progress()
        print(error, file=sys.stderr)
        return 2


def _run(parsed: argparse.Namespace) -> int:
    parts, text = _measure(parsed)
    end_progress()
    if not any(rows for name, rows in parts.items() if name != "notes"):
        print(f"nothing to measure has {parsed.only!r} in board, net and mode", file=sys.stderr)
        return 2
    if parsed.json:
        everything = {
            name: [dataclasses.asdict(row) for row in rows] for name, rows in parts.items()
        }
        print(json.dumps(everything, indent=1))
    elif getattr(parsed, "into", None):
        profiled = getattr(parsed, "profile", None)
        name = f"speed --profile {profiled}" if profiled else parsed.command
        put_block(parsed.into, f"python -m benchmarks {name}", text)
    else:
        print(text)
    return 1 if any(row.missed for rows in parts.values() for row in rows) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        end_progress()
        sys.exit(130)

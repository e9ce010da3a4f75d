"""
The ledger: what networks cost in memory, cycles and instructions, in sizes.csv, to the last one.

`pytest --update-size tests/size` rewrites it; `git diff` then shows what a change did.
"""

from __future__ import annotations

import csv
import fcntl
import os
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import speed
from benchmarks.__main__ import main
from benchmarks.speed import by_function, corners, goals, subjects
from benchmarks.speed.cores import CORES, compiler_version

LEDGER = Path(__file__).resolve().parent / "sizes.csv"
COLUMNS = (
    *("board", "net", "update", "text", "rodata", "state", "stack", "inference", "training"),
)
TITLE = "# Rewritten by pytest --update-size tests/size; docs/speed.md says what the columns are."

# Few suffice, as counts are exact; a quarter is exact in the two decimals of a mean.
STEPS = 4

TRAINED = (
    ("uno", (2, 2, 1)),
    ("uno", (4, 16, 3)),
    ("uno", (13, 8, 3)),
    ("mega2560", (64, 32, 10)),
    ("mega2560", (16, 16, 12, 5)),
    ("microbit", (64, 32, 10)),
    ("rp2040", (4, 16, 3)),
    ("bluepill", (64, 32, 10)),
    ("stm32f405", (64, 32, 10)),
    ("rv32", (64, 32, 10)),
)
BYTES = (
    ("uno", (64, 16, 10)),
    ("microbit", (64, 32, 10)),
    ("bluepill", (64, 32, 10)),
    ("stm32f405", (64, 32, 10)),
    ("rv32", (64, 32, 10)),
)
Case = tuple[str, tuple[int, ...], str]
CASES: tuple[Case, ...] = (
    *((board, sizes, update) for board, sizes in TRAINED for update in ("residual", "stochastic")),
    *((board, sizes, "s8") for board, sizes in BYTES),
)

# What each compiler's rows need beside it.
SIMULATORS = {
    "avr-gcc": ("gcc", "/usr/include/simavr/sim_avr.h"),
    "arm-none-eabi-gcc": ("gcc", "qemu-system-arm"),
    "riscv64-unknown-elf-gcc": ("gcc", "qemu-system-riscv32"),
}
Line = tuple[str, ...]
Tool = Callable[[str], str]


def measured(case: Case) -> Line:
    """The line of one network and update: memory of its training, counts of both."""
    board, sizes, update = case
    modes = ("inference, s8",) if update == "s8" else tuple(
        f"{what}, {update}" for what in ("inference", "training")
    )  # fmt: skip
    rows = [speed.count(CORES[board], sizes, mode, STEPS) for mode in modes]
    counts = ["", ""]
    for i, row in enumerate(rows):
        assert row is not None, f"{case} does not fit"
        assert not row.missed, f"{case}: {row.mode} does not give the twin's bits"
        counts[i] = f"{row.mean:.2f}"
        numbers = (row.text, row.rodata, row.state, row.stack)  # of the last
    return (board, speed.name_of(sizes), update, *map(str, numbers), *counts)


def read(text: str) -> tuple[list[str], list[Line]]:
    """The compilers that a ledger was recorded with, and its lines."""
    lines = text.splitlines()
    compilers = [line[2:] for line in lines if line.startswith("# ") and line != TITLE]
    table = list(csv.reader(line for line in lines if not line.startswith("#")))
    return compilers, [tuple(line) for line in table[1:]]


def written(compilers: Sequence[str], lines: Sequence[Line]) -> str:
    """A ledger."""
    heads = [TITLE, *(f"# {name}" for name in compilers), ",".join(COLUMNS)]
    return "\n".join([*heads, *(",".join(line) for line in lines)]) + "\n"


def command_of(compiler: str) -> str:
    """Its name without the version."""
    return compiler.partition(" ")[0]


def complaints(
    recorded: tuple[Sequence[str], Sequence[Line]], compiler: str, lines: Sequence[Line]
) -> list[str]:
    """What differs between a ledger and what was measured with a compiler, number by number."""
    compilers, ledger = recorded
    then = next((name for name in compilers if command_of(name) == command_of(compiler)), "nothing")
    if then != compiler:
        return [f"recorded with {then}, this is {compiler}: rewrite with --update-size"]
    found = []
    before = {line[:3]: line for line in ledger}
    for line in lines:
        name = " ".join(line[:3])
        old = before.get(line[:3])
        if old is None:
            found.append(f"{name} is not in the ledger")
            continue
        for column, was, now in zip(COLUMNS, old, line, strict=True):
            if was != now:
                found.append(f"{name}: {column} was {was or 'empty'}, is {now or 'empty'}")
    return found


def update(compiler: str, lines: Sequence[Line]) -> None:
    """Put one compiler's lines into the ledger, while others may do the same for theirs."""
    with LEDGER.open("a+", encoding="utf-8", newline="\n") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        compilers, ledger = read(file.read())
        kept = {command_of(name): name for name in (*compilers, compiler)}
        cells = {line[:3]: line for line in ledger} | {line[:3]: line for line in lines}
        names = [(board, speed.name_of(sizes), what) for board, sizes, what in CASES]
        file.truncate(0)
        file.write(written(sorted(kept.values()), [cells[n] for n in names if n in cells]))


@pytest.mark.parametrize("command", SIMULATORS)
def test_no_size_and_no_count_changed_unseen(
    command: str, tool: Tool, pytestconfig: pytest.Config
) -> None:
    for name in (command, *SIMULATORS[command]):
        tool(name)
    cases = [case for case in CASES if CORES[case[0]].family.command == command]
    for _, sizes, _ in cases:
        subjects.task(sizes)  # once, before the threads
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        lines = list(threads.map(measured, cases))
    compiler = compiler_version(command)
    if pytestconfig.getoption("--update-size"):
        update(compiler, lines)
    found = complaints(read(LEDGER.read_text(encoding="utf-8")), compiler, lines)
    assert not found, "\n".join([*found, "if that is meant: pytest --update-size tests/size"])


def test_a_network_with_another_weight_is_not_taken_for_the_twin(tool: Tool) -> None:
    for name in ("avr-gcc", *SIMULATORS["avr-gcc"]):
        tool(name)
    subject = subjects.integer((2, 2, 1), "training, residual", STEPS, STEPS)
    code = subject.program.network["net.c"]
    first = re.search(r"/\* w1 [^*]*\*/\s*(-?\d+)", code)
    assert first is not None
    at, end = first.span(1)
    wrong = code[:at] + str(int(first[1]) // 2) + code[end:]
    program = replace(subject.program, network={**subject.program.network, "net.c": wrong})
    assert speed.execute(CORES["uno"], subject)[1].checksum == subject.checksum
    run = speed.execute(CORES["uno"], replace(subject, program=program))[1]
    assert run.checksum != subject.checksum


def test_the_profile_of_a_step_adds_up_to_its_cycles(tool: Tool) -> None:
    for name in ("avr-gcc", "avr-addr2line", *SIMULATORS["avr-gcc"]):
        tool(name)
    sizes, mode, steps = (2, 2, 1), "training, residual", by_function.STEPS
    run = speed.execute(CORES["uno"], subjects.integer(sizes, mode, steps, steps))[1]
    rows = by_function.measure("uno", "residual", sizes)
    assert sum(row.cycles for row in rows) == pytest.approx(run.counts["net_train"].mean)
    assert {"net_train", "net_forward"} <= {row.phase for row in rows}


def test_a_step_that_some_data_makes_too_long_is_missed(
    tool: Tool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("avr-gcc", *SIMULATORS["avr-gcc"]):
        tool(name)
    (row,) = corners.measure(only="uno 4-16-3 training, residual")
    assert row.missed == ()
    assert row.typical < row.worst
    monkeypatch.setattr(goals, "MAX_RATIO", row.worst / row.typical - 0.001)
    (row,) = corners.measure(only="uno 4-16-3 training, residual")
    assert row.missed == ("ratio",)


def test_corners_have_every_network_that_fits_and_leave_out_what_does_not(tool: Tool) -> None:
    for name in ("avr-gcc", *SIMULATORS["avr-gcc"]):
        tool(name)
    rows = corners.measure(only="uno ")
    found = {row.net for row in rows if row.update == "residual"}
    assert found == {"2-2-1", "1-10-1", "4-8-3", "4-16-3", "13-8-3"}
    assert [row for row in rows if row.missed] == []


def test_no_data_makes_a_step_of_a_large_network_too_long(tool: Tool) -> None:
    for name in ("avr-gcc", *SIMULATORS["avr-gcc"]):
        tool(name)
    rows = corners.measure(only="mega2560 64-32-10 training")
    assert [row.missed for row in rows] == [(), ()]


def test_a_step_that_varies_names_what_varies_in_it(tool: Tool) -> None:
    for name in ("avr-gcc", *SIMULATORS["avr-gcc"]):
        tool(name)
    inlined, called = (
        corners.measure(only=f"uno {net} training, residual")[0] for net in ("2-2-1", "4-16-3")
    )
    assert inlined.varies == ("net_train",)
    assert called.varies == ("bp_avr_pass24",)


def test_a_benchmark_of_no_row_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["speed", "--only", "nonsense"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "nothing to measure has 'nonsense' in board, net and mode\n"


def test_a_benchmark_of_a_board_without_a_profile_says_so(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["speed", "--profile", "bluepill"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "there is no profile of bluepill: choose uno or mega2560\n"


def test_tables_for_a_file_that_is_missing_are_not_measured(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["speed", "--into", str(tmp_path / "speed.md")])
    captured = capsys.readouterr()
    assert captured.err.endswith("to put tables into: name docs/speed.md\n")
    assert list(tmp_path.iterdir()) == []


ONE = ("uno", "4-16-3", "residual", "2994", "392", "488", "92", "10489.50", "25838.00")


def test_the_ledger_names_the_number_that_moved() -> None:
    other = (*ONE[:6], "94", *ONE[7:])
    recorded = read(written(["avr-gcc 5.4.0"], [ONE]))
    assert complaints(recorded, "avr-gcc 5.4.0", [ONE]) == []
    assert complaints(recorded, "avr-gcc 5.4.0", [other]) == [
        "uno 4-16-3 residual: stack was 92, is 94"
    ]
    assert complaints(recorded, "avr-gcc 5.4.0", [("uno", "2-2-1", *ONE[2:])]) == [
        "uno 2-2-1 residual is not in the ledger"
    ]


def test_another_compiler_fails_rather_than_skips() -> None:
    recorded = read(written(["avr-gcc 5.4.0"], [ONE]))
    assert complaints(recorded, "avr-gcc 7.3.0", [ONE]) == [
        "recorded with avr-gcc 5.4.0, this is avr-gcc 7.3.0: rewrite with --update-size"
    ]


def test_the_ledger_has_a_line_for_each_case_and_no_other() -> None:
    _, lines = read(LEDGER.read_text(encoding="utf-8"))
    assert [line[:3] for line in lines] == [(b, speed.name_of(s), u) for b, s, u in CASES]

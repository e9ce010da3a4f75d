"""Compilers, terminals and disks that fail: one sentence, and nothing left behind."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bpgen import checkpoint
from bpgen.simulate import compiler
from tests.unit.bad_input.refusal import is_one_sentence, listing, refuses, run, train_arguments

# What a shell starts in the background ignores SIGINT, what nohup starts SIGHUP, and so would all
# that the tests start.
HEARS_SIGNALS = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "signal.signal(signal.SIGHUP, signal.SIG_DFL); "
    "from bpgen.__main__ import main; main()"
)


def test_no_compiler_is_one_sentence_with_the_line_that_installs_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(folder))
    refuses(folder, "apt-get install gcc", "simulate", "model.json", "--data", "data.csv")


def command(*arguments: str, **settings: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bpgen", *arguments],
        capture_output=True, text=True, check=False, **settings,
    )  # fmt: skip


def test_the_real_command_line_prints_one_sentence_and_exits_with_2(folder: Path) -> None:
    for arguments in (
        train_arguments("none.csv"),
        ["generate", "model.json", "--prefix", "int", "-o", "out"],
        ["simulate", "model.json"],
        ["nonsense"],
    ):
        done = command(*arguments)
        assert done.returncode == 2
        assert is_one_sentence(done.stderr), done.stderr
        assert done.stdout == ""


def test_without_a_compiler_the_real_command_line_says_so(folder: Path) -> None:
    environment = os.environ | {"PATH": ""}
    done = command("simulate", "model.json", "--data", "data.csv", env=environment)
    assert done.returncode == 2
    assert is_one_sentence(done.stderr)


def test_ctrl_c_ends_with_one_word_and_130_and_writes_nothing(folder: Path) -> None:
    before = listing(folder)
    with subprocess.Popen(
        [sys.executable, "-c", HEARS_SIGNALS, *train_arguments(), "--epochs", "100000000"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        time.sleep(2.5)
        process.send_signal(signal.SIGINT)
        try:
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    assert out.strip() == ""
    assert err == "bpgen: interrupted.\n"
    assert listing(folder) == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=["TERM", "HUP"])
def test_a_signal_that_ends_a_command_leaves_nothing_behind(
    folder: Path, number: signal.Signals, tool: Callable[[str], str]
) -> None:
    """A simulation's folder in TMPDIR stayed there."""
    tool("gcc")
    temporary = folder / "temporary"
    temporary.mkdir()
    simulation = [
        "simulate",
        "model.json",
        "--data",
        "data.csv",
        "--train",
        "--epochs",
        "100000000",
    ]
    with subprocess.Popen(
        [sys.executable, "-c", HEARS_SIGNALS, *simulation, "--compare-steps", "0"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"TMPDIR": str(temporary)},
    ) as process:  # fmt: skip
        try:
            # The compiler has files of its own there until it is done.
            while process.poll() is None and not (
                len(list(temporary.iterdir())) == 1 and list(temporary.rglob("*.so"))
            ):
                time.sleep(0.05)
            process.send_signal(number)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, out, err) == (128 + number, "", "bpgen: interrupted.\n")
    assert list(temporary.iterdir()) == []


def test_a_signal_that_is_to_be_ignored_stays_ignored(folder: Path) -> None:
    """As nohup asks for."""
    program = (
        "import os, signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "from bpgen.commands.boards import boards\n"
        "boards.callback = lambda **_: os.kill(os.getpid(), signal.SIGHUP)\n"
        "from bpgen.__main__ import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", program, "boards"], check=False)
    assert done.returncode == 0


def test_an_interrupt_inside_a_command_gives_130(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "train", interrupt)
    result = run(*train_arguments())
    assert result.exit_code == 130
    assert result.stderr == "bpgen: interrupted.\n"
    assert not Path("out.npz").exists()


def test_a_reader_that_stops_reading_causes_no_complaint(folder: Path) -> None:
    for arguments in (["boards"], ["--help"]):
        process = subprocess.Popen(
            [sys.executable, "-m", "bpgen", *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
        process.stderr.close()
        assert process.wait(30) == 0


FAKE_COMPILERS = {
    "no_program": ("\x00\x01 no program", "cannot be run"),
    "silent": ("#!/bin/sh\nexit 0\n", "made no library"),
    "no_library": (
        '#!/bin/sh\nwhile [ "$1" != -o ]; do shift; done\necho text > "$2"\n',
        "TMPDIR",
    ),
    "refusing": (
        "#!/bin/sh\nexec >&2\necho In file:\necho 'net.c:1: error: first'\necho error: b\nexit 1\n",
        "fake refused the generated C: net.c:1: error: first.",
    ),
    "refusing_quietly": ("#!/bin/sh\nexit 3\n", "exit code 3"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAKE_COMPILERS)
def test_a_compiler_that_does_not_compile_is_one_sentence_and_leaves_nothing(
    folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, message = FAKE_COMPILERS[name]
    Path("fake").write_text(text)
    Path("fake").chmod(0o755)
    Path("temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder / "temporary"))
    monkeypatch.setenv("CC", str(folder / "fake"))
    refuses(folder, message, "simulate", "model.json", "--data", "data.csv")
    assert list(Path("temporary").iterdir()) == []


def test_a_compiler_in_cc_is_taken_with_its_options_if_it_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CC", f"'{sys.executable}' -m cc")
    assert compiler() == [sys.executable, "-m", "cc"]
    found = shutil.which("gcc") or shutil.which("cc") or shutil.which("clang")
    for useless in ("there-is-no-such-compiler", "", "'unclosed"):
        monkeypatch.setenv("CC", useless)
        if found:
            assert compiler() == [found]


def test_no_place_for_temporary_files_is_one_sentence(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(folder / "none"))
    monkeypatch.setenv("CC", sys.executable)
    refuses(folder, "TMPDIR", "simulate", "model.json", "--data", "data.csv")


def test_an_output_that_cannot_be_written_is_one_sentence(folder: Path) -> None:
    for arguments in ("boards", "boards --json", "--help", "check model.json --data data.csv"):
        # A limit of 0 bytes stands for a full disk.
        for limit, redirection in (("ulimit -f 0;", ">full"), ("", ">&-")):
            line = f'{limit} "{sys.executable}" -m bpgen {arguments} {redirection}'
            done = subprocess.run(line, shell=True, capture_output=True, text=True, check=False)
            assert done.returncode == 2, line
            assert is_one_sentence(done.stderr), done.stderr
            assert "output cannot be written" in done.stderr


def test_a_closed_stderr_changes_nothing_else(folder: Path) -> None:
    line = f'"{sys.executable}" -m bpgen check model.json --data data.csv 2>&-'
    assert subprocess.run(line, shell=True, capture_output=True, check=False).returncode == 0


def test_an_interrupt_during_the_first_imports_gives_130(folder: Path) -> None:
    Path("click.py").write_text("raise KeyboardInterrupt\n")
    done = command("boards", env=os.environ | {"PYTHONPATH": str(folder)})
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")

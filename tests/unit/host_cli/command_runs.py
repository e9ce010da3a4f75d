"""Runs of bpgen-host: in this process, or started as a program."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from bpgen_host.cli import cli

IRIS = str(Path(__file__).parents[3] / "examples" / "data" / "iris.csv")
ON_A_BOARD = ("info", "save", "load", "stats", "monitor", "weights get")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def done(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    return result.stdout


def figures(*arguments: object) -> Any:
    return json.loads(done(*arguments, "--json"))


def complaint(code: int, *arguments: object) -> str:
    """What a command says that ends with `code`: one sentence, and nothing on stdout."""
    result = run(*arguments)
    assert result.exit_code == code, result.output
    assert re.fullmatch(r"bpgen-host: [^\n]+\.\n", result.stderr), result.stderr
    assert result.stderr.isascii() or result.stderr.strip().isprintable()
    return result.stderr


@contextlib.contextmanager
def started(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The command line as a process of its own, to be interrupted."""
    # What a shell starts in the background ignores SIGINT, what nohup starts SIGHUP, and so would
    # all that the tests start.
    program = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "signal.signal(signal.SIGHUP, signal.SIG_DFL); "
        "from bpgen_host.__main__ import main; main()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()

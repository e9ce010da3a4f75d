"""What the command lines share: a group of commands whose every mistake is one line on stderr."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from bpgen.commands.shared import complain
from bpgen.errors import BpgenError

INTERRUPTED = 130
BY_SIGNAL = 128
MISTAKE = 2


class Commands(click.Group):
    """Commands in the order of their use; every mistake is one line on stderr."""

    _signal = 0

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run a command and exit with its code."""
        extra["standalone_mode"] = False
        try:
            code = super().main(*args, **extra)
            sys.stdout.flush()
        except click.UsageError as error:
            command = error.ctx.command_path if error.ctx else self._named(extra.get("args"))
            self._complain(f"{_clause(error.format_message())}, see '{command} --help'")
            code = MISTAKE
        except click.ClickException as error:
            self._complain(error.format_message())
            code = MISTAKE
        except BpgenError as error:
            self._complain(str(error))
            code = error.exit_code
        except (click.Abort, KeyboardInterrupt):
            self._complain("interrupted")
            code = INTERRUPTED
        except (BrokenPipeError, SystemExit):
            # Whoever read the output has enough. Click turns that into SystemExit; the flush at
            # exit must not fail again.
            _discard_output()
            code = 0
        except OSError as error:
            # Files are dealt with where they are opened; what is left is the output.
            what = (
                "the output cannot be written"
                if error.filename is None
                else (f"{error.filename} cannot be used")
            )
            self._complain(f"{what}: {error.strerror or error}")
            _discard_output()
            code = MISTAKE
        code = code if isinstance(code, int) else 0
        if self._signal:
            # Some commands end well by Ctrl-C, and have said nothing.
            if not code:
                self._complain("interrupted")
            code = BY_SIGNAL + self._signal
        sys.exit(code)

    def run(self) -> None:
        """The entry point: texts that the terminal cannot show become question marks."""
        if sys.stderr is None:
            sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115
        if sys.stdout is None:
            self._complain("the output cannot be written: it is closed")
            sys.exit(MISTAKE)
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="replace")
        for name in ("SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) == signal.SIG_DFL:
                signal.signal(number, self._interrupt)
        self.main(prog_name=self.name)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            # Click would begin a new line first, in a terminal or not.
            raise click.Abort from None

    def _interrupt(self, number: int, frame: object) -> None:
        """
        End as by Ctrl-C, so that folders and processes go.

        Only the first signal does: a shell that is closed sends a second, which would cut it short.
        """
        if not self._signal:
            self._signal = number
            raise KeyboardInterrupt

    def _complain(self, text: str) -> None:
        # The terminal may be closed.
        with contextlib.suppress(OSError):
            complain(text, self.name)

    def _named(self, arguments: Sequence[str] | None) -> str:
        """The command that arguments name, for an error of the parser, which has no context."""
        given = sys.argv[1:] if arguments is None else arguments
        name = next((word for word in given if not word.startswith("-")), "")
        return f"{self.name} {name}" if name in self.commands else f"{self.name}"


def _clause(message: str) -> str:
    """What click says as the beginning of a sentence of ours."""
    text = " ".join(message.split())
    text = re.sub(r"\.? \(?Did you mean (.*?)\?\)?$", r" (did you mean \1?)", text).rstrip(".")
    return f"{text[:1].lower()}{text[1:]}"


def _discard_output() -> None:
    """What is left to print must not fail again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

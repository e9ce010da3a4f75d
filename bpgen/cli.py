"""The command line: `bpgen --help`. Each command is a module in bpgen.commands."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from bpgen import __version__
from bpgen.commands.boards import boards
from bpgen.commands.check import check
from bpgen.commands.generate import generate
from bpgen.commands.quantize import quantize
from bpgen.commands.shared import complain
from bpgen.commands.simulate import simulate
from bpgen.commands.train import train
from bpgen.errors import BpgenError

INTERRUPTED = 130
MISTAKE = 2


class Commands(click.Group):
    """Commands in the order of their use; every mistake is one line on stderr."""

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
            complain(f"{_clause(error.format_message())}, see '{command} --help'")
            code = MISTAKE
        except click.ClickException as error:
            complain(error.format_message())
            code = MISTAKE
        except BpgenError as error:
            complain(str(error))
            code = MISTAKE
        except (click.Abort, KeyboardInterrupt):
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
            complain(f"{what}: {error.strerror or error}")
            _discard_output()
            code = MISTAKE
        sys.exit(code if isinstance(code, int) else 0)

    def _named(self, arguments: Sequence[str] | None) -> str:
        """The command that arguments name, for an error of the parser, which has no context."""
        given = sys.argv[1:] if arguments is None else arguments
        name = next((word for word in given if not word.startswith("-")), "")
        return f"bpgen {name}" if name in self.commands else "bpgen"

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise click.exceptions.Exit(INTERRUPTED) from None


def _clause(message: str) -> str:
    """What click says as the beginning of a sentence of ours."""
    text = " ".join(message.split())
    text = re.sub(r"\.? \(?Did you mean (.*?)\?\)?$", r" (did you mean \1?)", text).rstrip(".")
    return f"{text[:1].lower()}{text[1:]}"


def _discard_output() -> None:
    """What is left to print must not fail again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@click.group(
    name="bpgen",
    cls=Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 all is well; 1 a check or comparison failed; 2 a mistake in the input or "
    "the usage; 130 interrupted.",
)
@click.version_option(__version__, prog_name="bpgen", message="%(prog)s %(version)s")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Train a small network, and generate C that runs and keeps learning on a microcontroller.

    \b
    Example, from samples to C:
      bpgen train iris.csv --layers 4-8-3 --target-column species -o iris.npz
      bpgen quantize iris.npz --data iris.csv -o iris.model.json
      bpgen check iris.model.json --data iris.csv
      bpgen generate iris.model.json --prefix iris -o build/iris
      bpgen simulate iris.model.json --data iris.csv --train --epochs 100
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


for command in (train, quantize, check, generate, simulate, boards):
    cli.add_command(command)


def main() -> None:
    """The entry point: texts that the terminal cannot show become question marks."""
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115
    if sys.stdout is None:
        complain("the output cannot be written: it is closed")
        sys.exit(MISTAKE)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    cli.main(prog_name="bpgen")


if __name__ == "__main__":
    main()

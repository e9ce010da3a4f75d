"""The command line: `bpgen-host --help`. Each command is a module in bpgen_host.commands."""

from __future__ import annotations

import click

from bpgen import __version__
from bpgen.commands.group import Commands
from bpgen_host.commands.doctor import doctor
from bpgen_host.commands.gradcheck import gradcheck
from bpgen_host.commands.grads import grads
from bpgen_host.commands.info import info
from bpgen_host.commands.load import load
from bpgen_host.commands.monitor import monitor
from bpgen_host.commands.predict import predict
from bpgen_host.commands.replay import replay
from bpgen_host.commands.save import save
from bpgen_host.commands.simulate import simulate
from bpgen_host.commands.stats import stats
from bpgen_host.commands.stream import stream
from bpgen_host.commands.weights import weights


@click.group(
    name="bpgen-host",
    cls=Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 all is well; 1 a check or comparison failed; 2 a mistake in the input or "
    "the usage; 3 the board or the line failed; 130 interrupted.",
)
@click.version_option(__version__, prog_name="bpgen-host", message="%(prog)s %(version)s")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Talk to a board with a network of bpgen on it: train it, and see what it learned.

    \b
    Example, on a board at a serial port; --simulate uno in place of --port needs no board:
      bpgen-host info --port /dev/ttyACM0
      bpgen-host stream iris.csv --port /dev/ttyACM0 --model iris.model.json --train --epochs 50
      bpgen-host gradcheck --simulate uno --model iris.model.json --data iris.csv --samples 50
      bpgen-host predict iris.csv --port /dev/ttyACM0 --model iris.model.json
      bpgen-host save --port /dev/ttyACM0
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


for command in (
    info, predict, stream, grads, gradcheck, weights, save, load, stats, monitor, replay, doctor,
    simulate,
):  # fmt: skip
    cli.add_command(command)


def main() -> None:
    """The entry point of `bpgen-host`."""
    cli.run()


if __name__ == "__main__":
    main()

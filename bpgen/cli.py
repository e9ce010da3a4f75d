"""The command line: `bpgen --help`. Each command is a module in bpgen.commands."""

from __future__ import annotations

import click

from bpgen import __version__
from bpgen.commands.boards import boards
from bpgen.commands.check import check
from bpgen.commands.flash import flash
from bpgen.commands.generate import generate
from bpgen.commands.group import Commands
from bpgen.commands.new import new
from bpgen.commands.quantize import quantize
from bpgen.commands.simulate import simulate
from bpgen.commands.train import train


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
      bpgen new uno-iris --model iris.model.json --board uno --prefix iris
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


for command in (train, quantize, check, generate, simulate, new, flash, boards):
    cli.add_command(command)


def main() -> None:
    """The entry point of `bpgen`."""
    cli.run()


if __name__ == "__main__":
    main()

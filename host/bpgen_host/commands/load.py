"""bpgen-host load: the stored state of a board back into its network."""

from __future__ import annotations

import click

from bpgen.commands.shared import print_json
from bpgen_host.commands.shared import Board, board_options


@click.command()
@board_options
def load(board: Board, as_json: bool) -> None:
    """Let the board go back to the state that it stored last.

    \b
    Example:
      bpgen-host load --port /dev/ttyACM0
    """
    with board.open() as device:
        crc32 = device.load()
        gen = device.gen
    if as_json:
        print_json({"generation": gen, "weights_crc32": f"{crc32:08x}"})
        return
    click.echo(f"the stored state is back: weights {crc32:08x}, generation {gen}")

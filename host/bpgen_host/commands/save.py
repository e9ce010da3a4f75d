"""bpgen-host save: the state of a board into its memory."""

from __future__ import annotations

import click

from bpgen.commands.shared import print_json
from bpgen.errors import BpgenError
from bpgen_host.commands.shared import Board, board_options, countdown

# Two slots are written in turn, so that each cell bears every second save.
SLOTS = 2


@click.command()
@board_options
def save(board: Board, as_json: bool) -> None:
    """Let the board store what it has learned, so that it is there after the power was off.

    What is stored already is not written again.

    \b
    Example:
      bpgen-host save --port /dev/ttyACM0
    """
    from bpgen.wire import Capability

    with board.open() as device:
        store = device.description().store
        if Capability.STORE not in device.info.capabilities or store is None:
            raise BpgenError(
                "this firmware stores nothing, because its board lacks the memory or its model "
                "cannot learn: keep the weights of one that learns with 'bpgen-host weights get'"
            )
        with countdown("saving") as show:
            gen = device.save(show)
    life = SLOTS * store.writes
    if as_json:
        print_json({"generation": gen, "saves_in_a_life": life})
        return
    click.echo(
        f"generation {gen} is stored; the memory bears at least {life:,} saves: one an hour for "
        f"{life / (24 * 365):,.1f} years, one a minute for {life / (24 * 60):,.0f} days"
    )

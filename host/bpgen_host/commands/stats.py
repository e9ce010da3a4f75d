"""bpgen-host stats: what a board counts."""

from __future__ import annotations

from dataclasses import asdict

import click

from bpgen.commands.shared import print_json, print_table
from bpgen_host.commands.shared import Board, board_options

MEANING = {
    "gen": "generation of the state",
    "weights_crc32": "checksum of the weights",
    "tag": "name of the gradient that can be read",
    "mode": "1 idle, 2 while weights are set, 4 while the state is stored",
    "bad": "frames that arrived damaged",
    "lost": "bytes that came faster than the board could take them",
    "inputs": "inputs that were clipped",
    "activations": "activations that were clipped",
    "deltas": "deltas that were clipped",
    "weights": "weights that reached the end of their range",
    "zero_updates": "updates that rounded to nothing",
}


@click.command()
@board_options
def stats(board: Board, as_json: bool) -> None:
    """Show what the board counts: on its line, and of what its network clips.

    \b
    Example:
      bpgen-host stats --port /dev/ttyACM0
    """
    from bpgen.wire import Capability

    with board.open() as device:
        figures = asdict(device.stats())
        if Capability.COUNTERS in device.info.capabilities:
            figures |= asdict(device.counters())
        faults = device.faults
    figures["weights_crc32"] = f"{figures['weights_crc32']:08x}"
    if as_json:
        print_json({**figures, "host": asdict(faults)})
        return
    print_table("", ("counter", "", "meaning"), [(n, v, MEANING[n]) for n, v in figures.items()])
    click.echo(f"what the host saw on the line meanwhile: {faults}")

"""bpgen-host simulate: a simulated board in the foreground, for any program that opens a port."""

from __future__ import annotations

import contextlib
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bpgen.commands.shared import Name, json_option, print_json
from bpgen.errors import BpgenError
from bpgen_host.commands.shared import BAUD, HIGHEST_BAUD, built
from bpgen_host.link import LinkError

if TYPE_CHECKING:
    from bpgen_host.simulators import Simulator

POLL_S = 0.2


@click.command()
@click.option("--board", "board_name", required=True, metavar="BOARD", help="Which board.")
@click.option("--firmware", type=Name(), metavar="FILE", help="The board's firmware, an ELF file.")
@click.option(
    "--model",
    "model_file",
    type=Name(),
    metavar="FILE",
    help="Instead of --firmware: the model.json to build one from.",
)
@click.option(
    "--baud",
    type=click.IntRange(1, HIGHEST_BAUD),
    default=BAUD,
    show_default=True,
    help="Bits per second, those of the firmware.",
)
@click.option(
    "--memory",
    type=Name(),
    metavar="FOLDER",
    help="Keep what the board saves in this folder, for the next time.",
)
@click.option("--pace", is_flag=True, help="No faster than a real board; AVR boards only.")
@json_option
def simulate(
    board_name: str,
    firmware: Path | None,
    model_file: Path | None,
    baud: int,
    memory: Path | None,
    pace: bool,
    as_json: bool,
) -> None:
    """Start a simulated board and print its port; Ctrl-C switches it off.

    Every command takes the port by --port, in another terminal. So does every other program.

    \b
    Example:
      bpgen-host simulate --board uno --model iris.model.json
    """
    from bpgen.evaluate import load_model
    from bpgen_host.simulators import AVR_CORES, require_simulator, start

    if (firmware is None) == (model_file is None):
        more = "" if firmware is None else ", not by both"
        raise click.UsageError(
            f"name the firmware by --firmware or by --model{more}", click.get_current_context()
        )
    require_simulator(board_name)
    if pace and board_name not in AVR_CORES:
        raise BpgenError(f"--pace is not for {board_name}: leave it out")
    with ExitStack() as stack:
        if model_file is not None:
            firmware, _ = stack.enter_context(built(board_name, load_model(model_file), baud))
        assert firmware is not None
        running = stack.enter_context(start(board_name, firmware, memory, baud=baud, pace=pace))
        # Whoever has read the port may switch the board off at once.
        with contextlib.suppress(KeyboardInterrupt):
            if as_json:
                print_json({"board": board_name, "port": running.port, "baud": baud})
            else:
                click.echo(f"{board_name} runs at {running.port}, {baud} baud; Ctrl-C ends it")
            # Whoever waits for the port reads it from a pipe.
            sys.stdout.flush()
            _wait(running)


def _wait(running: Simulator) -> None:
    while running.running:
        time.sleep(POLL_S)
    raise LinkError(f"the simulated {running.board} ended by itself: start it again")

"""bpgen-host info: what a board says of itself."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

import click

from bpgen.commands.shared import print_json, print_table
from bpgen_host.commands.shared import Board, board_options

if TYPE_CHECKING:
    from bpgen.wire import Hello
    from bpgen_host.description import Description


@click.command()
@board_options
def info(board: Board, as_json: bool) -> None:
    """Show what a board runs: its model, what it can do, and the state of its weights.

    \b
    Example:
      bpgen-host info --port /dev/ttyACM0
    """
    with board.open() as device:
        hello, description = device.info, device.description()
    figures = _figures(hello, description)
    if as_json:
        print_json(figures)
        return
    print_table("", ("", ""), [(name.replace("_", " "), _cell(v)) for name, v in figures.items()])


def _figures(hello: Hello, description: Description) -> dict[str, Any]:
    from bpgen.wire import Capability, ResetCause

    causes = {cause.value: _spoken(cause) for cause in ResetCause}
    store = description.store
    return {
        "name": description.name,
        "model": f"{hello.model_hash:08x}",
        "sizes": description.sizes,
        "labels": description.labels,
        "update": description.update,
        "can": [_spoken(c) for c in Capability if c in hello.capabilities],
        "parameters": hello.n_parameters,
        "generation": hello.gen,
        "weights_crc32": f"{hello.weights_crc32:08x}",
        "boots": hello.boots,
        "reset_cause": causes.get(hello.reset_cause, f"unknown ({hello.reset_cause})"),
        "protocol": hello.protocol,
        "window": hello.window,
        "max_request": hello.max_request,
        "max_reply": hello.max_reply,
        "store_bytes": None if store is None else store.bytes,
        "store_writes": None if store is None else store.writes,
    }


def _spoken(member: Enum) -> str:
    return str(member.name).lower().replace("_", " ")


def _cell(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return "none" if value is None else value

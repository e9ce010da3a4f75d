"""bpgen boards: the boards that bpgen knows."""

from __future__ import annotations

import click

from bpgen.commands.shared import json_option, print_json, print_table


@click.command()
@json_option
def boards(as_json: bool) -> None:
    """List the boards, their memory, and how each is simulated.

    \b
    Example:
      bpgen boards
    """
    from bpgen.targets import TARGETS

    if as_json:
        print_json(list(TARGETS.values()))
        return
    print_table(
        "",
        ("board", "what", "core", "MHz", "flash", "RAM", "simulator"),
        [
            (
                t.name, t.title, t.family.core, t.clock_hz / 1e6 if t.clock_hz else None,
                t.flash_bytes, t.ram_bytes, t.simulator,
            )
            for t in TARGETS.values()
        ],
    )  # fmt: skip

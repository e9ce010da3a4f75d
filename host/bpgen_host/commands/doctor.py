"""bpgen-host doctor: what this machine has for a board."""

from __future__ import annotations

import click

from bpgen.commands.shared import json_option, print_json, print_table, printable


@click.command()
@json_option
def doctor(as_json: bool) -> None:
    """Look at ports, adapters, permissions, compilers and simulators, and say what helps.

    \b
    Example:
      bpgen-host doctor
    """
    from bpgen_host.diagnosis import diagnose

    found = diagnose()
    if as_json:
        print_json(found)
        return
    print_table("Versions", ("", ""), list(found.versions.items()))
    if found.ports:
        print_table(
            "Serial ports",
            ("port", "adapter", "latency ms", "group", "may be opened"),
            [(p.device, p.adapter, p.latency_ms, p.group, p.allowed) for p in found.ports],
        )
    print_table(
        "Boards",
        ("board", "firmware can be built", "can be simulated"),
        [(b.board, _state(b.build_lacks), _state(b.simulator_lacks)) for b in found.boards],
    )
    for sentence in found.advice:
        click.echo(printable(f"{sentence[:1].upper()}{sentence[1:]}."))


def _state(lacks: str | None) -> str:
    from bpgen_host.diagnosis import NONE

    if lacks is None:
        return "yes"
    return "no" if lacks == NONE else f"no, {lacks} is missing"

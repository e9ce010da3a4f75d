"""bpgen flash: a project's firmware onto its board."""

from __future__ import annotations

from pathlib import Path

import click

from bpgen.commands.shared import path_argument


@click.command()
@path_argument("folder")
@click.option("--port", metavar="PORT", help="Serial port of an Arduino.  [default: /dev/ttyACM0]")
def flash(folder: Path, port: str | None) -> None:
    """Build a project of 'bpgen new' and write it to its board; the same as make flash.

    \b
    Example:
      bpgen flash uno-iris --port /dev/ttyACM0
    """
    from bpgen.project import flash as flash_project

    flash_project(folder, variables=() if port is None else (f"PORT={port}",))

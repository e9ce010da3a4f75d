"""bpgen-host replay: a recorded line once more, through the host and through the firmware."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from bpgen.commands.shared import (
    Name,
    fail,
    json_option,
    path_argument,
    print_json,
    print_table,
    printable,
)

SHOWN = 10


@click.command()
@path_argument("capture_file")
@click.option(
    "--model",
    "model_file",
    type=Name(),
    metavar="FILE",
    help="Also send the host's bytes to the firmware of this model, in this process.",
)
@json_option
def replay(capture_file: Path, model_file: Path | None, as_json: bool) -> None:
    """Repeat what --capture recorded, and compare.

    The board's bytes go through the host's decoder again. With --model the host's bytes go to the
    firmware of that model, compiled for this machine, which must answer byte for byte as the
    board did. Anything that differs ends with exit code 1.

    \b
    Example:
      bpgen-host replay run.bpcap --model iris.model.json
    """
    from bpgen.evaluate import load_model
    from bpgen_host.capture import read_capture, replay_device_bytes, replay_host_bytes

    recording = read_capture(capture_file)
    found = {"host": replay_device_bytes(recording)}
    if model_file is not None:
        found["firmware"] = replay_host_bytes(recording, load_model(model_file))
    if as_json:
        print_json(
            {
                "cut": recording.cut,
                "replays": {name: {"passed": r.passed, **asdict(r)} for name, r in found.items()},
            }
        )
    else:
        if recording.cut:
            click.echo("the recording ends without its last line: it was cut")
        print_table(
            "",
            ("what was repeated", "frames", "alike but for clocks", "different"),
            [(name, r.frames, r.masked, len(r.different)) for name, r in found.items()],
        )
        for name, result in found.items():
            for difference in result.different[:SHOWN]:
                click.echo(printable(f"{name}: {difference}"))
    different = sum(len(result.different) for result in found.values())
    if different:
        fail(f"{different} frames of {capture_file} came out otherwise")

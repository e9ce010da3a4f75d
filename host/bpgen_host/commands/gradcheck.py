"""bpgen-host gradcheck: the gradients of many samples, all of them right or exit code 1."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bpgen.commands.shared import data_option, fail, print_json, print_table, progress
from bpgen_host.commands.shared import Board, board_options, load_data

if TYPE_CHECKING:
    from bpgen_host.compare import GradientCheck


@click.command()
@board_options
@data_option(True, "Samples with the columns that the model was trained on.")
@click.option(
    "--samples",
    type=click.IntRange(1),
    metavar="N",
    help="How many samples, spread over the data. Default: all.",
)
@click.option(
    "--reset-weights", is_flag=True, help="Compare at the weights of the firmware: the board "
    "forgets what it learned.",
)  # fmt: skip
def gradcheck(
    board: Board,
    data_file: Path,
    samples: int | None,
    reset_weights: bool,
    as_json: bool,
) -> None:
    """Compare the gradients of many samples with the twin and with float.

    Every element must equal the twin's and lie inside the bound around float; one that does not
    ends with exit code 1.

    \b
    Example:
      bpgen-host gradcheck --simulate uno --model iris.model.json --data iris.csv --samples 50
    """
    from bpgen.evaluate import raw_samples
    from bpgen_host.compare import check_gradients

    model = board.require_model("gradients are compared with those of a model")
    board.check_files([data_file])
    data = load_data(data_file, model)
    a0, t = raw_samples(model, data)
    count = min(samples or len(data), len(data))
    chosen = [i * len(data) // count for i in range(count)]
    with board.open() as device, progress("comparing", count) as advance:
        found = check_gradients(
            device,
            model,
            a0[chosen],
            t[chosen],
            reset=reset_weights,
            on_sample=lambda sample: advance(1),
        )
    worst = None if found.worst_sample is None else chosen[found.worst_sample]
    if as_json:
        print_json({"passed": found.passed, **asdict(found), "worst_sample": worst})
    else:
        _print(found, worst)
    if not found.passed:
        fail(
            f"{found.different} values differ from the twin and {found.outside} lie outside the "
            "bound: the firmware is not what bpgen generated from this model"
        )


def _print(found: GradientCheck, worst: int | None) -> None:
    print_table(
        "",
        ("samples", "elements", "differ from the twin", "outside the bound", "without a bound"),
        [(found.samples, found.elements, found.different, found.outside, found.unbounded)],
    )
    if found.worst is not None and found.worst_share is not None:
        click.echo(
            f"worst: {found.worst.name} of sample {worst}, {100 * found.worst_share:.1f}% of its "
            "bound"
        )

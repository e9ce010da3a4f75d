"""bpgen-host grads: the whole gradient of one sample, from the board, the twin and float."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bpgen.commands.shared import (
    Name,
    check_plot,
    data_option,
    fail,
    print_json,
    print_table,
)
from bpgen_host.commands.heatmap import draw_heatmap, print_heatmap
from bpgen_host.commands.shared import Board, board_options, load_data, require_sample

if TYPE_CHECKING:
    from bpgen_host.compare import Comparison, Row

ROWS = 20
TERMINAL = "-"


@click.command()
@board_options
@data_option(True, "Samples with the columns that the model was trained on.")
@click.option(
    "--sample",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    metavar="N",
    help="Which sample, counted from 0.",
)
@click.option(
    "--rows",
    type=click.IntRange(0),
    default=ROWS,
    show_default=True,
    help="How many elements the table shows.",
)
@click.option("--csv", "csv_file", type=Name(), metavar="FILE", help="Write all elements as CSV.")
@click.option(
    "--heatmap",
    is_flag=False,
    flag_value=TERMINAL,
    metavar="[FILE]",
    help="Show the gradient as a map in the terminal, or write it as .png or .svg.",
)
@click.option(
    "--reset-weights", is_flag=True, help="Compare at the weights of the firmware: the board "
    "forgets what it learned.",
)  # fmt: skip
def grads(
    board: Board,
    data_file: Path,
    sample: int,
    rows: int,
    csv_file: Path | None,
    heatmap: str | None,
    reset_weights: bool,
    as_json: bool,
) -> None:
    """Read the gradient of one sample from the board and compare every element.

    With the twin in every bit, with float on the same weights by the bound that the formats
    allow. The worst comes first; one that differs or lies outside ends with exit code 1.

    \b
    Example:
      bpgen-host grads --port /dev/ttyACM0 --model iris.model.json --data iris.csv --sample 17
    """
    from bpgen.emit.write import write_file
    from bpgen.evaluate import raw_samples
    from bpgen_host.compare import compare_gradient

    image = Path(heatmap) if heatmap not in (None, TERMINAL) else None
    model = board.require_model("the gradient is compared with that of a model")
    board.check_files([data_file], [csv_file, image])
    if image is not None:
        check_plot(image)
    data = load_data(data_file, model)
    require_sample(data, sample)
    a0, t = raw_samples(model, data)
    with board.open() as device:
        found = compare_gradient(device, model, a0[sample], t[sample], reset=reset_weights)
    if csv_file is not None:
        write_file(csv_file, _table(found), force=board.force)
    if image is not None:
        draw_heatmap(image, found.rows, f"sample {sample}", force=board.force)
    if as_json:
        print_json({"passed": found.passed, **asdict(found)})
    else:
        _print(found, sample, rows)
        if heatmap == TERMINAL:
            print_heatmap(found.rows)
    if not found.passed:
        fail(
            f"{found.different} elements differ from the twin, {found.outside} lie outside the "
            f"bound and {found.outputs_different} outputs differ: the firmware is not what bpgen "
            "generated from this model"
        )


def _print(found: Comparison, sample: int, count: int) -> None:
    print_table(
        f"Gradient of sample {sample}, worst first",
        ("element", "board", "twin", "value", "float", "of its bound", "verdict"),
        [
            (
                row.name, row.device, row.twin, row.value, row.reference,
                None if row.share is None else f"{100 * row.share:.1f}%", _verdict(row),
            )
            for row in found.rows[:count]
        ],
    )  # fmt: skip
    click.echo(
        f"{len(found.rows):,} elements, loss {found.loss:.6f}: {found.different} differ from the "
        f"twin, {found.outside} outside the bound"
        + ("" if found.bounded else " (not bounded: float cannot be compared on this sample)")
    )


def _verdict(row: Row) -> str:
    if row.device != row.twin:
        return "differs"
    return "outside" if row.share is not None and row.share > 1.0 else "ok"


def _table(found: Comparison) -> str:
    columns = (
        "layer", "kind", "j", "i", "device", "twin", "value", "reference", "error", "bound", "share"
    )  # fmt: skip
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("element", *columns))
    writer.writerows((row.name, *(getattr(row, name) for name in columns)) for row in found.rows)
    return text.getvalue()

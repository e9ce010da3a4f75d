"""bpgen-host predict: rows of a CSV file to classes or values, by the board."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bpgen.commands.shared import (
    Name,
    path_argument,
    print_json,
    progress,
    warn_of_clipping,
)
from bpgen_host.commands.shared import Board, board_options

if TYPE_CHECKING:
    from bpgen.model import IntModel
    from bpgen.qformat import IntArray


@click.command()
@path_argument("data_file")
@board_options
@click.option(
    "-o", "--output-file", "output_file", type=Name(), metavar="FILE",
    help="Where to write the predictions as CSV. Default: print them.",
)  # fmt: skip
def predict(data_file: Path, board: Board, output_file: Path | None, as_json: bool) -> None:
    """Let the board predict the class or the values of each row of a .csv or .npz file.

    Target columns are not needed. Of classes the name is given.

    \b
    Example:
      bpgen-host predict iris.csv --port /dev/ttyACM0 --model iris.model.json
    """
    from bpgen.dataset import load_inputs
    from bpgen.emit.write import write_file
    from bpgen.evaluate import counts
    from bpgen.twin import quantize_input

    model = board.require_model("columns become inputs by the rule of a model")
    board.check_files([data_file], [output_file])
    data = load_inputs(data_file, model.input.features)
    warn_of_clipping(model, data)
    a0 = quantize_input(model, counts(model, data))
    outputs: list[IntArray] = []
    with board.open() as device, progress("predicting", len(a0)) as advance:
        for y in device.infer_many(a0):
            outputs.append(y)
            advance(1)
    columns, rows = _answers(model, outputs)
    if as_json:
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
        return
    if output_file is None:
        click.echo(table(columns, rows, shown=True), nl=False)
    else:
        write_file(output_file, table(columns, rows), force=board.force)
        click.echo(f"wrote {len(rows)} predictions to {output_file}")


def table(
    columns: Sequence[str], rows: Sequence[Sequence[str | float]], *, shown: bool = False
) -> str:
    """CSV; when it is `shown`, question marks stand for what a terminal would obey."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for row in (columns, *rows):
        writer.writerow([_shown(cell) if shown else cell for cell in row])
    return text.getvalue()


def _shown(cell: str | float) -> str | float:
    if isinstance(cell, str):
        return "".join(c if c.isprintable() else "?" for c in cell)
    return cell


def _answers(
    model: IntModel, outputs: Sequence[IntArray]
) -> tuple[list[str], list[list[str | float]]]:
    """Columns and rows: the target with the name of the class, or every target with its value."""
    if model.labels:
        return list(model.targets[:1]), [[model.labels[int(y.argmax())]] for y in outputs]
    values = [model.output.a_format.to_float(y).tolist() for y in outputs]
    return list(model.targets), values

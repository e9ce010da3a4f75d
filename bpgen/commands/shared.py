"""What the commands share: options, tables, progress bars and the way to stderr."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from bpgen.errors import BpgenError

if TYPE_CHECKING:
    from bpgen.dataset import Dataset

Command = TypeVar("Command", bound=Callable[..., Any])

# Above this share of updates that round to nothing a network has all but stopped learning.
ZERO_UPDATES = 0.2
PLAIN_WIDTH = 160  # of a table that does not go to a terminal
BARS = "▁▂▃▄▅▆▇█"
CURVE_WIDTH = 60


def path_argument(name: str) -> Callable[[Command], Command]:
    """A file name that the command reads; whether it exists is said by its reader."""
    return click.argument(name, type=click.Path(path_type=Path))


def output_option(what: str) -> Callable[[Command], Command]:
    """-o FILE, required."""
    return click.option(
        "-o", "--output-file", "output_file", required=True, type=click.Path(path_type=Path),
        metavar="FILE", help=f"Where to write {what}.",
    )  # fmt: skip


def data_option(required: bool, what: str) -> Callable[[Command], Command]:
    """--data FILE."""
    return click.option(
        "--data", "data_file", required=required, type=click.Path(path_type=Path),
        metavar="FILE", help=what,
    )  # fmt: skip


force_option = click.option("--force", is_flag=True, help="Replace files that exist.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")


def check_free(path: Path | None, force: bool) -> None:
    """Refuse an output that exists before any work is done, and not only when it is written."""
    if path is None:
        return
    if path.exists() and not force:
        raise BpgenError(f"{path} exists: choose another name or add --force to replace it")
    if not path.parent.is_dir():
        raise BpgenError(f"the folder {path.parent} does not exist: create it first")


def print_json(value: object) -> None:
    """Print dataclasses and plain values as JSON."""
    click.echo(json.dumps(value, indent=2, default=_plain))


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{value!r} has no JSON form")


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table; a column whose cells are numbers is right-aligned."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    for i, column in enumerate(columns):
        numbers = all(_is_figure(row[i]) for row in rows)
        table.add_column(column, justify="right" if numbers else "left")
    for row in rows:
        table.add_row(*(Text(spelled(cell)) for cell in row))
    Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH).print(table)


def _is_figure(cell: object) -> bool:
    return cell is None or isinstance(cell, (int, float))


def spelled(cell: object) -> str:
    """A table cell: thousands with commas, fractions with four digits, None as nothing."""
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, int):
        return f"{cell:,}"
    if isinstance(cell, float):
        return f"{cell:.4g}"
    return str(cell)


def warn(text: str) -> None:
    """One line on stderr."""
    click.echo(f"bpgen: warning: {' '.join(text.split())}", err=True)


def complain(text: str) -> None:
    """One line on stderr, as for an error."""
    click.echo(f"bpgen: {' '.join(text.split()).rstrip('.')}.", err=True)


def fail(text: str) -> NoReturn:
    """End with exit code 1: a check or comparison did not hold."""
    complain(text)
    raise click.exceptions.Exit(1)


@contextmanager
def warnings_as_lines() -> Iterator[None]:
    """Print the UserWarnings of a block as lines on stderr."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        yield
    for warning in caught:
        warn(str(warning.message))


@contextmanager
def progress(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on stderr, if that is a terminal; call what it gives with the steps done."""
    if not sys.stderr.isatty():
        yield lambda steps: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=total)
        yield lambda steps: bar.advance(task, steps)


def curve(losses: Sequence[float]) -> str:
    """The losses as one line of bars from 0 to the largest, thinned out to CURVE_WIDTH."""
    if not losses:
        return ""
    count = min(CURVE_WIDTH, len(losses))
    chosen = [losses[i * (len(losses) - 1) // max(1, count - 1)] for i in range(count)]
    top = max(chosen)
    return "".join(
        BARS[int(loss / top * (len(BARS) - 1))] if top > 0 else BARS[0] for loss in chosen
    )


def print_loss(losses: Sequence[float]) -> None:
    """Print the learning curve with its first and last loss."""
    if losses:
        click.echo(f"loss  {losses[0]:.5f} {curve(losses)} {losses[-1]:.5f}")


def check_plot(path: Path) -> None:
    """Say before the work, not after it, that a plot cannot be made."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise BpgenError(
            "a plot needs matplotlib: install it with pip install 'bpgen[plots]'"
        ) from None
    if path.suffix.lstrip(".").lower() not in Figure().canvas.get_supported_filetypes():
        raise BpgenError(f"{path} is no image that can be written: name it .png or .svg")


def plot_loss(path: Path, losses: Sequence[float], title: str, force: bool) -> None:
    """Write the learning curve as an image; the suffix of the file decides its kind."""
    check_plot(path)
    import io

    from matplotlib.figure import Figure

    from bpgen.emit.write import write_file

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(range(1, len(losses) + 1), losses)
    axes.set(title=title, xlabel="epoch", ylabel="mean training loss")
    image = io.BytesIO()
    figure.savefig(image, format=path.suffix.lstrip(".").lower())
    write_file(path, image.getvalue(), force=force)


def score_name(labels: Sequence[str]) -> str:
    """What a score of a model is called."""
    return "accuracy" if labels else "RMSE"


def spelled_score(value: float, labels: Sequence[str]) -> str:
    """A share as a percentage, an error as it is."""
    return f"{100 * value:.2f}%" if labels else f"{value:.5f}"


def warn_of_targets(data: Dataset, output: str, hidden_from: str) -> None:
    """Say that some targets cannot be reached, if so."""
    if output == "linear" or data.labels:
        return
    outside = int(((data.t < 0.0) | (data.t > 1.0)).any(axis=1).sum())
    if outside:
        warn(
            f"{outside} of {len(data)} targets lie outside 0 to 1, which a {output} output cannot "
            f"reach: {hidden_from}"
        )

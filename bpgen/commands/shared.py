"""What the commands share: options, tables, progress bars and the way to stderr."""

from __future__ import annotations

import json
import os
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
    from bpgen.model import IntModel

Command = TypeVar("Command", bound=Callable[..., Any])

# Above this share of updates that round to nothing a network has all but stopped learning.
ZERO_UPDATES = 0.2
# Above this share of clipped inputs, of all or of one column, data and model do not go together.
CLIPPED_INPUTS = 0.01
CLIPPED_COLUMN = 0.1
PLAIN_WIDTH = 160  # of a table that does not go to a terminal
BARS = "▁▂▃▄▅▆▇█"
CURVE_WIDTH = 60
IMAGES = (".png", ".svg")


class Name(click.Path):
    """The name of a file or folder; an empty one, which Path takes for '.', is refused."""

    def __init__(self) -> None:
        super().__init__(readable=False, path_type=Path)

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        if value == "":
            self.fail("the name is empty, give one", param, ctx)
        return super().convert(value, param, ctx)


def path_argument(name: str) -> Callable[[Command], Command]:
    """A file name that the command reads; whether it exists is said by its reader."""
    return click.argument(name, type=Name())


def output_option(what: str) -> Callable[[Command], Command]:
    """-o FILE, required."""
    return click.option(
        "-o", "--output-file", "output_file", required=True, type=Name(),
        metavar="FILE", help=f"Where to write {what}.",
    )  # fmt: skip


def data_option(required: bool, what: str) -> Callable[[Command], Command]:
    """--data FILE."""
    return click.option(
        "--data", "data_file", required=required, type=Name(),
        metavar="FILE", help=what,
    )  # fmt: skip


optimize_option = click.option(
    "--optimize",
    type=click.Choice(["speed", "size"]),
    default="speed",
    show_default=True,
    help="Kernels for few cycles or for little flash; the bits are the same.",
)
learning_rate_decay_option = click.option(
    "--learning-rate-decay",
    type=float,
    default=1.0,
    show_default=True,
    help="Factor on the learning rate after each epoch.",
)
force_option = click.option("--force", is_flag=True, help="Replace files that exist.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")


def check_outputs(
    inputs: Sequence[Path | None], outputs: Sequence[Path | None], force: bool
) -> None:
    """
    Refuse outputs that exist before any work is done, and not only when they are written.

    One that is an input, or another output, is refused even with `force`.
    """
    from bpgen.emit.write import check_free

    given = [path for path in outputs if path is not None]
    check_distinct(inputs, given)
    for path in given:
        check_free(path, force=force)


def check_suffix(path: Path, what: str, suffix: str) -> None:
    """Refuse an output whose name says that it is something else."""
    if path.suffix.lower() != suffix:
        raise BpgenError(f"{path} is no name for {what}: name it {suffix}")


def check_distinct(inputs: Sequence[Path | None], outputs: Sequence[Path]) -> None:
    """Refuse an output that is an input or another output, by whatever name."""
    read = {_real(path) for path in inputs if path is not None}
    written: set[str] = set()
    for path in outputs:
        real = _real(path)
        if real in read:
            raise BpgenError(f"{path} is read and would be overwritten: choose another output")
        if real in written:
            raise BpgenError(f"{path} is given for two outputs: choose another name for one")
        written.add(real)


def _real(path: Path) -> str:
    try:
        return os.path.normcase(os.path.realpath(path))
    except OSError as error:
        raise BpgenError(
            f"{path} cannot be looked up ({error.strerror or error}): choose another place"
        ) from None


def print_json(value: object) -> None:
    """Print dataclasses and plain values as JSON; nan and infinity, which it lacks, as null."""
    text = json.dumps(value, default=_plain)
    plain = json.loads(text, parse_constant=lambda name: None)
    click.echo(json.dumps(plain, indent=2, allow_nan=False))


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{value!r} has no JSON form")


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table below its title; a column whose cells are numbers is right-aligned."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, show_header=any(columns))
    for i, column in enumerate(columns):
        numbers = all(_is_figure(row[i]) for row in rows)
        table.add_column(column, justify="right" if numbers else "left")
    for row in rows:
        table.add_row(*(Text(printable(spelled(cell))) for cell in row))
    console = Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH)
    if title:
        console.print(Text(title, style="bold"), soft_wrap=True)
    console.print(table)


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


def printable(text: str) -> str:
    """The text in one line, without what a terminal would obey: a board or a file may send that."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))


def warn(text: str) -> None:
    """One line on stderr."""
    click.echo(f"{_program()}: warning: {printable(text)}", err=True)


def complain(text: str, program: str | None = None) -> None:
    """One line on stderr, as for an error."""
    click.echo(f"{program or _program()}: {printable(text).rstrip('.')}.", err=True)


def _program() -> str:
    """The name of the command line that runs."""
    context = click.get_current_context(silent=True)
    return (context.find_root().command.name if context else None) or "bpgen"


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
        import matplotlib.figure  # noqa: F401
    except ImportError:
        raise BpgenError(
            "a plot needs matplotlib: install it with pip install 'bpgen[plots]'"
        ) from None
    if path.suffix.lower() not in IMAGES:
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


def warn_of_clipping(model: IntModel, data: Dataset) -> None:
    """Say that samples do not fit the inputs of a model, if so, and where the most."""
    from bpgen.evaluate import input_fit

    clipped = input_fit(model, data).clipped
    worst = int(clipped.argmax())
    if clipped.mean() > CLIPPED_INPUTS or clipped[worst] > CLIPPED_COLUMN:
        warn(
            f"{100 * clipped.mean():.1f}% of the inputs lie beyond the range of the training and "
            f"are clipped, most in column {model.input.features[worst]!r} "
            f"({100 * clipped[worst]:.1f}%): check its unit, or train with such data"
        )


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

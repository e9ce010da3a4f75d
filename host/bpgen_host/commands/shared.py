"""What the commands share: the options that name a board, and the way to it."""

from __future__ import annotations

import functools
import math
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from bpgen.commands.shared import (
    Name,
    check_outputs,
    force_option,
    json_option,
    warn_of_clipping,
)
from bpgen.errors import BpgenError

if TYPE_CHECKING:
    from bpgen.dataset import Dataset
    from bpgen.model import IntModel
    from bpgen_host.device import Device
    from bpgen_host.link import Transport

Command = TypeVar("Command", bound=Callable[..., Any])

BAUD = 115_200
HIGHEST_BAUD = 12_000_000  # of any adapter
LONGEST_S = 1e8  # what sleep and select take on every system


class Seconds(click.FloatRange):
    """A time from `least` to three years; nan, which every range lets pass, is refused."""

    def __init__(self, least: float) -> None:
        super().__init__(least, LONGEST_S)

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value} is no number", param, ctx)
        return number


@dataclass
class Board:
    """
    The board that the options name, and the way to it.

    `port` is that of the simulated board as long as one runs.
    """

    port: str | None
    simulated: str | None
    model_file: Path | None
    baud: int
    reset: bool
    capture: Path | None
    force: bool

    @functools.cached_property
    def model(self) -> IntModel | None:
        """The model of --model."""
        if self.model_file is None:
            return None
        from bpgen.evaluate import load_model

        return load_model(self.model_file)

    def require_model(self, why: str) -> IntModel:
        """The model of --model, without which this command cannot work."""
        if self.model is None:
            raise click.UsageError(f"{why}, add --model FILE", click.get_current_context())
        return self.model

    def check_files(
        self, inputs: Sequence[Path | None] = (), outputs: Sequence[Path | None] = ()
    ) -> None:
        """Refuse outputs that are taken before a board is touched."""
        check_outputs([self.model_file, *inputs], [self.capture, *outputs], self.force)

    def connect(self) -> Transport:
        """Open the port, or open it again."""
        from bpgen_host.link import open_port

        assert self.port is not None
        return open_port(self.port, self.baud, reset=self.reset)

    @contextmanager
    def line(self) -> Iterator[Transport]:
        """
        The line to the board, without a word said.

        A simulated board is built and started here, and ends with the block.
        """
        with ExitStack() as stack:
            if self.simulated is not None:
                from bpgen_host.simulators import start

                model = self.require_model("--simulate builds the firmware of a model")
                image, folder = stack.enter_context(built(self.simulated, model, self.baud))
                running = stack.enter_context(start(self.simulated, image, folder, baud=self.baud))
                self.port = running.port
            transport = self.connect()
            stack.callback(transport.close)
            yield transport

    @contextmanager
    def open(self, wrap: Callable[[Transport], Transport] | None = None) -> Iterator[Device]:
        """
        The board, greeted; with --model it must run that model.

        `wrap` may put a transport of its own around the line's.
        """
        from bpgen_host.capture import Capture
        from bpgen_host.device import Device

        self.check_files()
        # A mistake in the model is said before anything is built or opened.
        model = self.model
        with ExitStack() as stack:
            transport = stack.enter_context(self.line())
            if wrap is not None:
                transport = wrap(transport)
            capture = None
            if self.capture is not None:
                header = {"port": self.port, "board": self.simulated, "baud": self.baud}
                capture = stack.enter_context(Capture(self.capture, header, force=self.force))
            device = stack.enter_context(Device(transport, capture=capture))
            device.hello()
            if model is not None:
                device.check_model(model, str(self.model_file))
            yield device


@contextmanager
def built(board: str, model: IntModel, baud: int) -> Iterator[tuple[Path, Path]]:
    """Build the firmware of a model for a board: the image, and the folder that goes at the end."""
    from bpgen.emit.write import write_folder
    from bpgen.project import build, project_files

    files = project_files(model, board=board, baud=baud)
    with tempfile.TemporaryDirectory(prefix="bpgen-host-") as folder:
        project = Path(folder) / "firmware"
        write_folder(project, files)
        yield build(project), Path(folder)


def board_options(command: Command) -> Command:
    """The options that name a board; the command gets them as `board`."""

    @functools.wraps(command)
    def with_board(
        *args: Any,
        port: str | None,
        simulated: str | None,
        model_file: Path | None,
        baud: int,
        no_reset: bool,
        capture: Path | None,
        force: bool,
        **settings: Any,
    ) -> Any:
        if (port is None) == (simulated is None):
            more = "" if port is None else ", not by both"
            raise click.UsageError(
                f"name the board by --port or by --simulate{more}", click.get_current_context()
            )
        if simulated is not None:
            from bpgen_host.simulators import require_simulator

            require_simulator(simulated)
        board = Board(port, simulated, model_file, baud, not no_reset, capture, force)
        if simulated is not None:
            board.require_model("--simulate builds the firmware of a model")
        return command(*args, board=board, **settings)

    options = (
        click.option("--port", metavar="PORT", help="The board's serial port; see 'doctor'."),
        click.option(
            "--simulate", "simulated", metavar="BOARD",
            help="Instead of --port: a simulated board with the firmware of --model.",
        ),
        click.option(
            "--model", "model_file", type=Name(), metavar="FILE",
            help="The model.json that the board's firmware was made from.",
        ),
        click.option(
            "--baud", type=click.IntRange(1, HIGHEST_BAUD), default=BAUD, show_default=True,
            help="Bits per second, those of the firmware.",
        ),
        click.option(
            "--no-reset", is_flag=True, help="Do not restart the board when its port is opened."
        ),
        click.option(
            "--capture", type=Name(), metavar="FILE",
            help="Write every byte on the line to a .bpcap file, for 'replay'.",
        ),
        json_option,
        force_option,
    )  # fmt: skip
    for option in reversed(options):
        with_board = option(with_board)
    return with_board  # type: ignore[return-value]


def load_data(data_file: Path, model: IntModel, target_columns: Sequence[str] = ()) -> Dataset:
    """The samples of a file by the columns of a model, with a warning where they do not fit it."""
    from bpgen import dataset

    targets = target_columns or model.targets
    data = dataset.load(data_file, targets, model.input.features, model.labels)
    warn_of_clipping(model, data)
    return data


def require_sample(data: Dataset, sample: int) -> None:
    """Refuse the number of a sample that the data does not have."""
    if sample >= len(data):
        raise BpgenError(f"there is no sample {sample}: choose one from 0 to {len(data) - 1}")


@contextmanager
def countdown(title: str) -> Iterator[Callable[[int], None]]:
    """A progress bar on stderr, if that is a terminal; call what it gives with what is left."""
    if not sys.stderr.isatty():
        yield lambda left: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None)
        total = 0

        def show(left: int) -> None:
            nonlocal total
            total = max(total, left)
            bar.update(task, total=total, completed=total - left)

        yield show

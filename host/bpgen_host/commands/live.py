"""How training goes: a live view in a terminal, lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from bpgen.commands.shared import complain, curve, printable

if TYPE_CHECKING:
    from rich.console import Console, Group
    from rich.live import Live

    from bpgen_host.session import Progress

# Where there is no terminal, a line so often at most.
LINE_EVERY_S = 2.0
BAR_WIDTH = 40


class View:
    """Takes the progress of a session and shows it."""

    def __init__(self, epochs: int, *, quiet: bool) -> None:
        self.epochs = epochs
        self.last: Progress | None = None
        self._losses: list[float] = []
        self._quiet = quiet
        self._said = time.monotonic()
        self._live: Live | None = None

    def progress(self, now: Progress) -> None:
        """Take one state in."""
        before = self.last
        if before is not None and now.epoch > before.epoch:
            self._losses.append(before.loss)
        self.last = now
        if self._live is not None:
            self._live.update(self._picture(now))
        elif before is None or now.step > before.step:
            self._print(now)

    def event(self, text: str) -> None:
        """Say that something happened, such as a restart."""
        if self._live is None:
            complain(text)
        else:
            from rich.text import Text

            self._live.console.print(Text(printable(text)))

    @contextmanager
    def shown(self) -> Iterator[None]:
        """In a terminal, keep the picture on stderr for as long as the block lasts."""
        if not sys.stderr.isatty():
            yield
            return
        from rich.console import Console
        from rich.live import Live

        console: Console = Console(stderr=True)
        with Live(console=console, transient=True, refresh_per_second=8) as live:
            self._live = live
            try:
                yield
            finally:
                self._live = None

    def _print(self, now: Progress) -> None:
        due = now.step == now.steps or time.monotonic() - self._said >= LINE_EVERY_S
        if due and not self._quiet:
            self._said = time.monotonic()
            click.echo(f"epoch {now.epoch + 1}/{self.epochs}  loss {now.loss:.6f}  {_figures(now)}")

    def _picture(self, now: Progress) -> Group:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        grid = Table.grid(padding=(0, 1))
        left = (now.steps - now.step) / now.steps_per_second if now.steps_per_second else 0.0
        grid.add_row(
            Text(f"epoch {now.epoch + 1}/{self.epochs}"),
            ProgressBar(total=now.steps, completed=now.step, width=BAR_WIDTH),
            Text(f"step {now.step:,}/{now.steps:,}, {left:,.0f} s left"),
        )
        losses = [*self._losses, now.loss]
        return Group(
            grid,
            Text(f"loss  {losses[0]:.5f} {curve(losses)} {losses[-1]:.5f}"),
            Text(_figures(now)),
        )


def _figures(now: Progress) -> str:
    accuracy = "" if now.accuracy is None else f"accuracy {100 * now.accuracy:.2f}%  "
    faults = str(now.faults) if now.faults.total else "no faults"
    return f"{accuracy}{now.steps_per_second:,.0f} steps/s  {faults}"

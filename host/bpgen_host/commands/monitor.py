"""bpgen-host monitor: what goes over the line, as it goes."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from bpgen_host.commands.shared import Board, Seconds, board_options
from bpgen_host.link import Wrapper

if TYPE_CHECKING:
    from bpgen_host.link import Transport

READ_S = 0.1
BOARD, HOST = "board", "host"


@click.command()
@board_options
@click.option("--raw", is_flag=True, help="Show bytes, not frames.")
@click.option("--listen", is_flag=True, help="Send nothing: only show what the board says.")
@click.option(
    "--every",
    type=Seconds(0.01),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="How often to ask the board for its counters.",
)
@click.option(
    "--seconds", type=Seconds(0.0), metavar="N", help="End by itself after so long."
)  # fmt: skip
def monitor(
    board: Board,
    raw: bool,
    listen: bool,
    every: float,
    seconds: float | None,
    as_json: bool,
) -> None:
    """Show the frames that go over the line, both ways, until Ctrl-C.

    The board is asked for its counters, so that something goes.

    \b
    Example:
      bpgen-host monitor --port /dev/ttyACM0
    """
    from bpgen_host.failures import Restarted

    if listen and board.capture is not None:
        raise click.UsageError(
            "--listen only shows, leave --capture out", click.get_current_context()
        )
    board.check_files()
    end = None if seconds is None else time.monotonic() + seconds

    def watched(transport: Transport) -> Transport:
        return Watched(transport, raw=raw, as_json=as_json)

    # Ctrl-C is how a monitor ends.
    with contextlib.suppress(KeyboardInterrupt):
        if listen:
            with board.line() as transport:
                line = watched(transport)
                while end is None or time.monotonic() < end:
                    line.read(READ_S)
            return
        with board.open(watched) as device:
            while end is None or time.monotonic() < end:
                wait = every if end is None else max(0.0, min(every, end - time.monotonic()))
                try:
                    device.stats()
                    device.wait(wait)
                except Restarted:
                    device.hello()


class Watched(Wrapper):
    """A transport whose bytes are shown."""

    def __init__(self, transport: Transport, *, raw: bool, as_json: bool) -> None:
        from bpgen.wire import Decoder

        super().__init__(transport)
        self._raw = raw
        self._as_json = as_json
        self._decoders = {BOARD: Decoder(), HOST: Decoder()}
        self._start = time.monotonic()

    def read(self, timeout: float) -> bytes:
        """As the transport does."""
        data = super().read(timeout)
        self._show(BOARD, data)
        return data

    def write(self, data: bytes) -> None:
        """As the transport does."""
        self._show(HOST, data)
        super().write(data)

    def _show(self, sender: str, data: bytes) -> None:
        if self._raw:
            if data:
                self._print(sender, {"hex": data.hex()})
            return
        from bpgen_host.capture import frame_note

        for piece in self._decoders[sender].push(data):
            self._print(sender, frame_note(piece) | {"payload": _payload(piece)})

    def _print(self, sender: str, note: dict[str, Any]) -> None:
        seconds = round(time.monotonic() - self._start, 4)
        if self._as_json:
            line = json.dumps({"seconds": seconds, "from": sender, **note})
        elif "hex" in note:
            line = f"{seconds:10.4f} {sender:5s} {bytes.fromhex(note['hex']).hex(' ')}"
        elif "bad" in note:
            line = f"{seconds:10.4f} {sender:5s} no frame: bad {note['bad']}, {note['size']} bytes"
        else:
            status = f"{note['status']} " if "status" in note else ""
            line = (
                f"{seconds:10.4f} {sender:5s} {note['type']:20s} seq {note['seq']:3d} "
                f"session {note['session']:04x} {status}{note['payload']}"
            )
        click.echo(line)
        # Whoever reads a pipe wants to see it now.
        sys.stdout.flush()


def _payload(piece: bytes) -> str:
    """The fields of HELLO's and STATS' replies and of BOOT; of other frames the bytes."""
    from bpgen.wire import REPLY, FrameError, Hello, Message, PayloadError, Stats, decode

    try:
        frame = decode(piece)
    except FrameError:
        return ""
    rest = frame.payload[1:]
    readers = {
        Message.HELLO | REPLY: Hello.from_bytes,
        Message.STATS | REPLY: Stats.from_bytes,
        int(Message.BOOT): Hello.from_bytes,
    }
    try:
        if frame.type in readers and frame.payload[0] == 0:
            fields = vars(readers[frame.type](rest))
        else:
            return frame.payload.hex(" ")
    except PayloadError:
        return frame.payload.hex(" ")
    hexadecimal = ("model_hash", "weights_crc32")
    return " ".join(
        f"{name}={value:08x}" if name in hexadecimal else f"{name}={int(value)}"
        for name, value in fields.items()
    )

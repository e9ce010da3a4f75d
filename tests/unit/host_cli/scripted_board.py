"""Devices on a pty that answer as a test wants, among them boards that cannot be."""

from __future__ import annotations

import contextlib
import os
import threading
import tty
from collections.abc import Callable

from bpgen import wire
from bpgen.model import IntModel
from bpgen.twin import Twin
from bpgen.wire import Capability, Frame, Message, Status


class Scripted:
    """A device on a pty: what `answer` makes of each frame goes back, and `noise` all the time."""

    def __init__(self, answer: Callable[[Frame], bytes], noise: bytes = b"") -> None:
        self.master, self.slave = os.openpty()
        tty.setraw(self.slave)
        os.set_blocking(self.master, False)
        self.port = os.ttyname(self.slave)
        self._answer, self._noise = answer, noise
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def __enter__(self) -> Scripted:
        return self

    def __exit__(self, *_: object) -> None:
        self.unplug()
        os.close(self.slave)

    def unplug(self) -> None:
        if not self._ends.is_set():
            self._ends.set()
            self._thread.join()
            os.close(self.master)

    def _serve(self) -> None:
        decoder = wire.Decoder()
        while not self._ends.wait(0.005):
            try:
                pieces = decoder.push(os.read(self.master, 4096))
            except BlockingIOError:
                pieces = []
            for piece in pieces:
                self._write(self._answer(wire.decode(piece)))
            self._write(self._noise)

    def _write(self, data: bytes) -> None:
        # A full pty is what a flood makes.
        with contextlib.suppress(BlockingIOError):
            os.write(self.master, data)


def hello(model: IntModel, description_bytes: int = 0) -> wire.Hello:
    """What the firmware of a model would answer."""
    count = sum(layer.count for layer in model.layers)
    flags = Capability.LEARNS | Capability.LOW_BYTE | Capability.STORE
    crc32 = Twin(model).parameter_bytes()
    return wire.Hello(
        wire.PROTOCOL, flags, int(model.hash, 16), 63, 46, 46, model.sizes[0], model.sizes[-1],
        count, description_bytes, 0, wire.zlib.crc32(crc32), 1, 1,
    )  # fmt: skip


def replying(answers: dict[Message, bytes]) -> Callable[[Frame], bytes]:
    """Answers by type: the payload of the reply, status included; E_TYPE to all else."""

    def answer(frame: Frame) -> bytes:
        payload = answers.get(Message(frame.type), bytes([Status.E_TYPE, 0, 0, 0, 0]))
        return wire.encode(Frame(frame.type | wire.REPLY, frame.seq, frame.session, payload))

    return answer


def silent(frame: Frame) -> bytes:
    return b""

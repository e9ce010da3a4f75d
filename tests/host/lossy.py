"""A line that damages what goes over it, and a time of its own, so that no test waits."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bpgen_host.link import Transport, Unplugged


class Lossy:
    """
    A transport to `inner` that drops, flips, cuts and doubles frames both ways.

    `rate` is the share of frames that suffer, `resets` and `unplugs` how often a frame meets a
    restart of the board or a port that goes away. All follow from `seed`. The board answers at
    once; time only passes while somebody waits.
    """

    name = "lossy"
    baud: int | None = None

    def __init__(
        self, inner: Transport, seed: int, *, rate: float, resets: float = 0.0, unplugs: float = 0.0
    ) -> None:
        self.inner, self.rate, self.resets, self.unplugs = inner, rate, resets, unplugs
        self.rng = np.random.default_rng(seed)
        self.now = 0.0
        self.there = True
        self.faults = self.restarts = self.gone = 0

    def read(self, timeout: float) -> bytes:
        self._require()
        data = self.inner.read(0.0)
        if not data:
            self.now += timeout
            return b""
        self.now += 1e-5 * len(data)
        return b"".join(part for frame in frames(data) for part in self._suffered(frame))

    def write(self, data: bytes) -> None:
        self._require()
        self.now += 1e-5 * len(data)
        if self.rng.random() < self.resets:
            self.restarts += 1
            self.inner.reset()
        if self.rng.random() < self.unplugs:
            self.gone += 1
            self.there = False
            self.inner.reset()
            return
        for part in self._suffered(data):
            self.inner.write(part)

    def plug_in(self) -> Lossy:
        """The port is back, and the board has started."""
        self.there = True
        self.inner.discard()
        return self

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def reset(self) -> None:
        self.inner.reset()

    def discard(self) -> None:
        self.inner.discard()

    def close(self) -> None: ...

    def _require(self) -> None:
        if not self.there:
            raise Unplugged("lossy was unplugged: connect it again")

    def _suffered(self, frame: bytes) -> tuple[bytes, ...]:
        if self.rng.random() >= self.rate:
            return (frame,)
        self.faults += 1
        place = int(self.rng.integers(len(frame)))
        flipped = bytes((frame[place] ^ (1 << int(self.rng.integers(8))),))
        choices = (
            (),
            (frame[:place],),
            (frame[:place] + flipped + frame[place + 1 :],),
            (frame[:place] + b"\x01" + frame[place:],),
            (frame[:place] + frame[place + 1 :],),
            (frame, frame),
        )
        return choices[int(self.rng.integers(len(choices)))]


def frames(data: bytes) -> Iterator[bytes]:
    """The frames of a stream, each with its separators."""
    for piece in data.split(b"\0"):
        if piece:
            yield b"\0" + piece + b"\0"

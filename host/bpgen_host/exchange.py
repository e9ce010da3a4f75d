"""
Frames of one session with a board, over a line that loses and delays: docs/protocol.md, 3 and 4.
"""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bpgen import wire
from bpgen.wire import Message, Status
from bpgen_host.capture import Capture, Captured
from bpgen_host.failures import Faults, NoAnswer, NotABoard, Refused, Restarted, RestartLoop
from bpgen_host.link import LinkError

if TYPE_CHECKING:
    from bpgen_host.link import Transport

HELLO_EVERY_S = 0.25

# A boot loader takes 1 to 2 s, and a board may restart twice while its port is opened.
BOOT_PATIENCE_S = 5.0

# Longer than any request takes, because what follows is a reset, which costs the board its state.
REVIVAL_PATIENCE_S = 3.0

# Nor need a reply be waited for longer before its request is sent again. Six tries of a request
# that was never answered then take 1 + 2 + 4 * 3 = 15 s, and six more after a HELLO 18 s.
LONGEST_TIMEOUT_S = REVIVAL_PATIENCE_S

# A board that is started by the port and again by its reset line says BOOT twice.
MANY_BOOTS = 4

# Before anything was measured; a training step of a large network takes an Uno this long.
FIRST_TIMEOUT_S = 1.0

# What a PC adds at worst: an FTDI adapter holds small packets for 16 ms. Wire time comes on top.
SHORTEST_TIMEOUT_S = 0.02

BITS_PER_BYTE = 10


@dataclass(eq=False)
class Request:
    """
    A request: `gen` is the one it carries if it raises gen, by `raises`; otherwise it may be done
    any number of times.

    The rest belongs to the exchange: its frame, how many bytes of it went over the line and when,
    how often, and what came back.
    """

    message: Message
    payload: bytes
    gen: int | None = None
    raises: int = 0
    seq: int = -1
    line: bytes = b""
    on_line: int = 0
    sent: int = 0
    sent_at: float = 0.0
    done: bool = False
    reply: bytes | None = None
    error: Refused | None = None


class RoundTrip:
    """The timeout of one type of request, as in RFC 6298."""

    def __init__(self) -> None:
        self._mean: float | None = None
        self._deviation = 0.0
        self._backoff = 0

    def add(self, seconds: float) -> None:
        """Learn from a request that was sent once."""
        self._backoff = 0
        if self._mean is None:
            self._mean, self._deviation = seconds, seconds / 2
            return
        self._deviation += (abs(seconds - self._mean) - self._deviation) / 4
        self._mean += (seconds - self._mean) / 8

    def back_off(self) -> None:
        """Wait twice as long, until something is learned."""
        self._backoff += 1

    def timeout(self, wire_time: float) -> float:
        """Seconds of silence after which the oldest request is sent again."""
        known = self._mean is not None
        seconds = (self._mean or 0.0) + 4 * self._deviation if known else FIRST_TIMEOUT_S
        seconds = max(seconds, SHORTEST_TIMEOUT_S + wire_time)
        return min(seconds * 2.0 ** min(self._backoff, 10), LONGEST_TIMEOUT_S + wire_time)


class Exchange:
    """A line to one board, and the session with it."""

    def __init__(
        self,
        transport: Transport,
        capture: Capture | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.sleep = sleep
        self.capture = capture
        self.faults = Faults()
        self.info: wire.Hello | None = None
        self.clock = clock
        self.attach(transport)
        self.greetings = 0
        # Bytes on the way at most: what is behind a loss has to be sent again, so a line that loses
        # gets less, and more again with every reply.
        self.limit = wire.MAX_FRAME
        self._session = secrets.randbelow(0xFFFF)
        self._seq = 0
        self._round_trips: dict[Message, RoundTrip] = {}

    def attach(self, transport: Transport) -> None:
        """Speak through another transport from here on."""
        self.transport = transport if self.capture is None else Captured(transport, self.capture)
        self._forget()

    def hello(self, patience: float) -> wire.Hello:
        """Begin a session. Raises NoAnswer, NotABoard or RestartLoop after `patience` seconds."""
        self._forget()
        self._session = self._session % 0xFFFF + 1
        seq = self._next_seq()
        frame = wire.Frame(Message.HELLO, seq, self._session, wire.hello_request())
        line = wire.encode(frame)
        end = self.clock() + patience
        again = self.clock()
        boots = strangers = 0
        # All but the one that is answered may still lie in the board's receive buffer.
        self.greetings = -len(line)
        self.transport.write(b"\0\0")
        while self.clock() < end:
            if self.clock() >= again:
                self.transport.write(line)
                self.greetings += len(line)
                again = self.clock() + HELLO_EVERY_S
            answer = self._receive(min(again, end))
            if answer is None:
                continue
            if answer.type == Message.BOOT:
                boots += 1
                again = self.clock() if boots < MANY_BOOTS else again
            elif self._answers(answer, Message.HELLO, seq):
                self.info = self._checked_hello(answer.payload)
                return self.info
            else:
                strangers += 1
        raise self._no_hello(boots, strangers, patience)

    def pause(self, seconds: float) -> None:
        """Let time go by. Raises Restarted when the board says BOOT meanwhile."""
        end = self.clock() + seconds
        while (frame := self._receive(end)) is not None:
            self.heard(frame)
            if self.clock() >= end:
                return

    def next_request(self, request: Request) -> None:
        """Give a request its seq and its bytes on the line."""
        request.seq = self._next_seq()
        self.encode(request)

    def encode(self, request: Request) -> None:
        """Make a request's bytes, for the session as it is."""
        frame = wire.Frame(request.message, request.seq, self._session, request.payload)
        request.line = wire.encode(frame)

    def round_trip(self, message: Message) -> RoundTrip:
        """What is known of the time that such requests take."""
        return self._round_trips.setdefault(message, RoundTrip())

    def wire_time(self, size: int) -> float:
        """Seconds that so many bytes take on the line."""
        return size * BITS_PER_BYTE / self.transport.baud if self.transport.baud else 0.0

    def receive(self, deadline: float) -> wire.Frame | None:
        """The next frame of this session, None at the deadline; raises Restarted for a BOOT."""
        frame = self._receive(deadline)
        return None if frame is None else self.heard(frame)

    def heard(self, frame: wire.Frame) -> wire.Frame:
        """Pass a frame on, or raise Restarted when it is a BOOT."""
        if frame.type == Message.BOOT:
            self.restarted("the board restarted")
        return frame

    def restarted(self, reason: str) -> None:
        """Raise Restarted."""
        self.faults.restarts += 1
        self.note("restarted", reason=reason)
        raise Restarted(
            f"{reason}, and what was on the way to it is void: check its power supply, and that "
            "nothing else uses the port"
        )

    def note(self, event: str, **details: object) -> None:
        """Write an event into the capture, if there is one."""
        if self.capture is not None:
            self.capture.event(event, **details)

    def revive(self) -> wire.Hello:
        """
        After silence: HELLO, and if that is not answered reset the board.

        Raises NoAnswer when that does not help either, Restarted when it does.
        """
        before = str(self.faults)
        try:
            return self.hello(REVIVAL_PATIENCE_S)
        except LinkError:
            self.note("reset")
            self.transport.reset()
        try:
            self.hello(BOOT_PATIENCE_S)
        except NoAnswer:
            raise NoAnswer(
                f"the board at {self.transport.name} fell silent and a reset did not help "
                f"({before}): check cable and power, then start again"
            ) from None
        self.restarted("the board fell silent and was reset")
        raise AssertionError

    def _forget(self) -> None:
        self._decoder = wire.Decoder()
        self._frames: deque[wire.Frame] = deque()
        self._heard = 0
        self._whole = False

    def _next_seq(self) -> int:
        self._seq = (self._seq + 1) % 256
        return self._seq

    def _answers(self, frame: wire.Frame, message: Message, seq: int) -> bool:
        expected = (message | wire.REPLY, seq, self._session)
        return (frame.type, frame.seq, frame.session) == expected

    def is_of_session(self, frame: wire.Frame) -> bool:
        """Whether a frame carries the session of the last HELLO."""
        return frame.session == self._session

    def _receive(self, deadline: float) -> wire.Frame | None:
        """The next whole frame, None at the deadline; what has arrived by then is looked at."""
        while not self._frames:
            left = deadline - self.clock()
            data = self.transport.read(max(0.0, left))
            self._heard += len(data)
            for piece in self._decoder.push(data):
                try:
                    self._frames.append(wire.decode(piece))
                except wire.FrameError as error:
                    # The first piece is what is left of a frame that began before.
                    if self._whole:
                        self.faults.bad[error.reason] = self.faults.bad.get(error.reason, 0) + 1
                self._whole = True
            if left <= 0 and not self._frames:
                return None
        return self._frames.popleft()

    def _checked_hello(self, payload: bytes) -> wire.Hello:
        try:
            status, rest = wire.split_status(payload)
            if status != Status.OK:
                raise wire.PayloadError
            hello = wire.Hello.from_bytes(rest)
            if hello.protocol != wire.PROTOCOL:
                raise wire.PayloadError
        except wire.PayloadError:
            raise NotABoard(
                f"the firmware at {self.transport.name} does not speak version {wire.PROTOCOL} of "
                "the protocol: build it again with 'bpgen new' of this version"
            ) from None
        smallest = len(wire.setw_request(0, 0, [0], 3)), len(hello.to_bytes()) + 1
        most = wire.MAX_FRAME - wire.OVERHEAD
        if (
            not smallest[0] <= hello.max_request <= most
            or not smallest[1] <= hello.max_reply <= most
            or not (hello.n_in and hello.n_out)
        ):
            raise NotABoard(
                f"the firmware at {self.transport.name} announces frames or a network that cannot "
                "be: build it again with 'bpgen new'"
            )
        return hello

    def _no_hello(self, boots: int, strangers: int, patience: float) -> LinkError:
        name, baud = self.transport.name, self.transport.baud
        at = "" if baud is None else f" at {baud} baud"
        if boots >= MANY_BOOTS:
            return RestartLoop(
                f"the board at {name} restarted {boots} times in {patience:g} s: check its power "
                "supply and what is connected to it"
            )
        if not self._heard:
            return NoAnswer(
                f"no answer from {name}{at}: check that the board runs firmware of 'bpgen new', "
                "and that this is its baud rate"
            )
        if not boots and not strangers:
            return NotABoard(
                f"what {name} sends{at} is not the protocol of bpgen ({self._heard} bytes in "
                f"{patience:g} s): check the baud rate, and that the board runs firmware of "
                "'bpgen new'"
            )
        return NoAnswer(
            f"the board at {name} speaks but does not answer{at}: check that no other program "
            "uses the port, and start the board again"
        )

"""
Requests and their replies over a line that loses, damages and delays: docs/protocol.md, 3 and 4.

A board answers in the order in which it receives, and a line keeps that order. So a reply also
tells what became of everything that was sent before its request.
"""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bpgen import wire
from bpgen.errors import BpgenError
from bpgen.wire import Message, Status
from bpgen_host.capture import Capture, Captured
from bpgen_host.link import LinkError

if TYPE_CHECKING:
    from bpgen_host.link import Transport

HELLO_EVERY_S = 0.25
TRIES = 5

# So often a HELLO that is answered may follow on silence, with no reply in between.
REVIVALS = 2

# A boot loader takes 1 to 2 s, and a board may restart twice while its port is opened.
BOOT_PATIENCE_S = 5.0

# Longer than any request takes, because what follows is a reset, which costs the board its state.
REVIVAL_PATIENCE_S = 3.0

# A board that is started by the port and again by its reset line says BOOT twice.
MANY_BOOTS = 4

# Before anything was measured; a training step of a large network takes an Uno this long.
FIRST_TIMEOUT_S = 1.0
LONGEST_TIMEOUT_S = 10.0

# What a PC adds at worst: an FTDI adapter holds small packets for 16 ms. Wire time comes on top.
SHORTEST_TIMEOUT_S = 0.02

# Fewer than the 256 values of seq, so that no two requests on the way share one.
MOST_ON_THE_WAY = 128

BITS_PER_BYTE = 10


class NoAnswer(LinkError):  # noqa: N818
    """The board says nothing at all, or nothing any more."""


class NotABoard(LinkError):  # noqa: N818
    """Something answers, but no bpgen firmware of a protocol this host speaks."""


class RestartLoop(LinkError):  # noqa: N818
    """The board starts again and again."""


class Restarted(LinkError):  # noqa: N818
    """
    The board restarted, or another host took it over, in the middle of requests.

    What was on the way is void; `Device.hello` tells which state the board has.
    """


class Refused(BpgenError):  # noqa: N818
    """The board answered a request with `status`; `gen` is its generation."""

    exit_code = 3

    def __init__(self, message: str, status: int, gen: int) -> None:
        super().__init__(message)
        self.status = status
        self.gen = gen


@dataclass
class Faults:
    """
    What the host saw go wrong on the line since the device was opened.

    `stale` are replies that nobody waits for, `bad` pieces that were no frame, by reason: cobs,
    length, crc; the piece that the host began to listen in may be cut and does not count.
    """

    retries: int = 0
    timeouts: int = 0
    lost_replies: int = 0
    refused: int = 0
    restarts: int = 0
    stale: int = 0
    bad: dict[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """All of them in one number, for a progress line."""
        counted = self.lost_replies + self.refused + self.restarts + self.stale
        return self.retries + self.timeouts + counted + sum(self.bad.values())

    def __str__(self) -> str:
        counts = {name.replace("_", " "): n for name, n in vars(self).items() if name != "bad"}
        counts |= {f"bad {reason}": n for reason, n in self.bad.items()}
        return ", ".join(f"{n} {name}" for name, n in counts.items() if n) or "no faults"


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


class _RoundTrip:
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
        return min(seconds * 2.0 ** min(self._backoff, 10), LONGEST_TIMEOUT_S)


class Exchange:
    """Sends requests to one board and gives their replies."""

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
        self._round_trips: dict[Message, _RoundTrip] = {}

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

    def run(self, requests: Iterable[Request]) -> Iterator[tuple[Request, bytes | None]]:
        """
        Send requests, as many at a time as the window holds, and give each in order with its reply.

        The reply is without its status; it is None when only a later reply showed that the request
        was done. A request that is refused raises Refused when its turn comes.
        """
        run = _Run(self, requests)
        while run.fill():
            yield from run.finished()
            if run.waiting:
                run.listen()
                yield from run.finished()

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

    def round_trip(self, message: Message) -> _RoundTrip:
        """What is known of the time that such requests take."""
        return self._round_trips.setdefault(message, _RoundTrip())

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


class _Run:
    """
    Requests on their way.

    `waiting` holds those not given back yet, the oldest first; `unsent` those to be sent, again or
    for the first time; `flight` every sending that may still be answered or lie in the board's
    receive buffer, in order.
    """

    def __init__(self, exchange: Exchange, requests: Iterable[Request]) -> None:
        self._exchange = exchange
        self._source = iter(requests)
        self._exhausted = False
        self.waiting: deque[Request] = deque()
        self._unsent: deque[Request] = deque()
        self._flight: deque[Request] = deque()
        self._silences = self._revivals = 0
        self._active_at = exchange.clock()

    def fill(self) -> bool:
        """Send what the window holds; tells whether anything is left to wait for."""
        while True:
            if not self._unsent and not self._silences and len(self.waiting) < MOST_ON_THE_WAY:
                self._take()
            if not self._unsent:
                return bool(self.waiting)
            request = self._unsent[0]
            size = self._on_the_way() + len(self._bytes(request)) + self._exchange.greetings
            # After silence only the oldest is sent, until the board is heard.
            limit = min(self._window, self._exchange.limit)
            if self._flight and (self._silences or size > limit):
                return True
            self._unsent.popleft()
            self._send(request)

    def finished(self) -> Iterator[tuple[Request, bytes | None]]:
        """Those requests, the oldest first, of which the end is known."""
        while self.waiting and self.waiting[0].done:
            request = self.waiting.popleft()
            if request.error is not None:
                raise request.error
            yield request, request.reply

    def listen(self) -> None:
        """Take one frame in, or notice silence."""
        exchange, oldest = self._exchange, self.waiting[0]
        assert exchange.info is not None
        reply = wire.line_size(exchange.info.max_reply)
        wire_time = exchange.wire_time(self._on_the_way() + reply)
        timeout = exchange.round_trip(oldest.message).timeout(wire_time)
        deadline = self._active_at + timeout
        frame = exchange.receive(deadline)
        request = None if frame is None else self._asked(frame)
        if frame is not None and request is None:
            # HELLO is sent until it is answered, so further answers are no fault.
            exchange.faults.stale += frame.type != Message.HELLO | wire.REPLY
            if exchange.clock() < deadline:
                return
        if frame is None or request is None:
            self._silence(oldest)
            return
        self._silences = self._revivals = exchange.greetings = 0
        self._active_at = exchange.clock()
        if request.sent == 1:
            exchange.round_trip(request.message).add(self._active_at - request.sent_at)
        exchange.limit = min(self._window, exchange.limit + len(request.line))
        self._settle(request, frame.payload)

    @property
    def _window(self) -> int:
        assert self._exchange.info is not None
        return self._exchange.info.window

    def _take(self) -> None:
        if self._exhausted:
            return
        request = next(self._source, None)
        if request is None:
            self._exhausted = True
            return
        self._exchange.next_request(request)
        self.waiting.append(request)
        self._unsent.append(request)

    def _send(self, request: Request) -> None:
        exchange = self._exchange
        if request.sent:
            exchange.faults.retries += 1
            exchange.note("retry", request=request.message.name, seq=request.seq)
        request.sent += 1
        request.sent_at = self._active_at = exchange.clock()
        line = self._bytes(request)
        request.on_line = len(line)
        self._flight.append(request)
        exchange.transport.write(line)

    def _bytes(self, request: Request) -> bytes:
        """What to send: behind another frame its separator is there already."""
        return request.line[1:] if self._flight else request.line

    def _on_the_way(self) -> int:
        return sum(request.on_line for request in self._flight)

    def _asked(self, frame: wire.Frame) -> Request | None:
        """The request that a frame answers, if it is still waited for."""
        if not self._exchange.is_of_session(frame):
            return None
        for request in self.waiting:
            kind = request.message | wire.REPLY
            if (frame.type, frame.seq) == (kind, request.seq) and not request.done:
                return request
        return None

    def _settle(self, request: Request, payload: bytes) -> None:
        """Draw the conclusions from a reply to `request`."""
        missed = self._landed(request)
        try:
            status, rest = wire.split_status(payload)
            gen = 0 if status == Status.OK else wire.error_gen(rest)
            if status == Status.OK and request.raises:
                expected = (request.gen or 0) + request.raises
                if int.from_bytes(rest[:4], "little") != expected % wire.GEN_MODULUS:
                    raise wire.PayloadError
        except wire.PayloadError:
            raise NotABoard(
                f"the board answers {request.message.name} as no firmware of bpgen does: build it "
                "again with 'bpgen new'"
            ) from None
        if status == Status.OK:
            if request.raises:
                self._done_before(request)
                missed = []
            request.done, request.reply = True, rest
        elif status == Status.E_SESSION:
            self._exchange.restarted("the board restarted, or another program said hello to it,")
        elif status == Status.E_GEN and request.raises:
            self._exchange.faults.refused += 1
            self._go_on_from(gen)
            return
        else:
            request.done = True
            request.error = Refused(refusal(request.message, status), status, gen)
        self._send_again(missed)

    def _landed(self, request: Request) -> list[Request]:
        """
        Take a request's sending, and all before it, out of the flight.

        Gives those of which no sending is left, so that nothing will tell their end.
        """
        if request not in self._flight:
            return []
        before = []
        while (first := self._flight.popleft()) is not request:
            before.append(first)
        return [r for r in before if not r.done and r not in self._flight]

    def _done_before(self, request: Request) -> None:
        """Rule 1 of section 3: all older ones were done as well."""
        for older in self.waiting:
            if older is request:
                return
            if not older.done:
                self._lost(older)

    def _lost(self, request: Request) -> None:
        request.done = True
        self._exchange.faults.lost_replies += 1
        if request in self._unsent:
            self._unsent.remove(request)

    def _go_on_from(self, gen: int) -> None:
        """Rule 2 of section 3: the board's gen tells what was done, and where to go on."""
        open_ = [request for request in self.waiting if not request.done]
        while open_ and open_[0].gen != gen:
            request = open_.pop(0)
            behind = (gen - (request.gen or 0)) % wire.GEN_MODULUS
            if not request.sent or not request.raises <= behind < wire.GEN_MODULUS // 2:
                self._exchange.restarted("the state of the board has changed")
            self._lost(request)
            if not open_ and behind != request.raises:
                self._exchange.restarted("the state of the board has changed")
        if open_ and open_[0] not in self._flight:
            # What is still in flight is refused as well: its gen is too high.
            self._unsent = deque(open_)
            self._exchange.limit //= 2

    def _send_again(self, requests: list[Request]) -> None:
        again = [r for r in self.waiting if r in requests or r in self._unsent]
        self._unsent = deque(r for r in again if not r.done)

    def _silence(self, oldest: Request) -> None:
        """Rule 3 of section 3."""
        exchange = self._exchange
        exchange.faults.timeouts += 1
        exchange.note("timeout", request=oldest.message.name, seq=oldest.seq)
        exchange.round_trip(oldest.message).back_off()
        exchange.limit //= 2
        self._silences += 1
        self._flight.clear()
        self._unsent = deque(request for request in self.waiting if not request.done)
        if self._silences > TRIES:
            self._revive()
        self._active_at = exchange.clock()

    def _revive(self) -> None:
        """Go on in a new session where the board's boots and gen show that it is the same."""
        exchange, before = self._exchange, self._exchange.info
        assert before is not None
        self._revivals += 1
        if self._revivals > REVIVALS:
            raise NoAnswer(
                f"the board at {exchange.transport.name} says hello but never answers "
                f"{self.waiting[0].message.name} ({exchange.faults}): build its firmware again "
                "with 'bpgen new' of this version"
            )
        info = exchange.revive()
        if info.boots != before.boots:
            exchange.restarted("the board restarted")
        self._silences = 0
        for request in self.waiting:
            exchange.encode(request)
        if self._unsent and self._unsent[0].raises:
            self._go_on_from(info.gen)


_REASONS = {
    Status.E_GEN: "its state has changed meanwhile: start again",
    Status.E_LEN: "its firmware is of another version: build it again with 'bpgen new'",
    Status.E_TYPE: "its firmware cannot do that: build it from a model that can",
    Status.E_RANGE: "a value is out of the range of its model: use the data of that model",
    Status.E_STATE: "it is in the middle of setting or saving weights: try again, or restart it",
    Status.E_HW: "its memory did not take what was written: it may be worn out",
}
_LEARNING = "its firmware can only infer: build it from a model that learns"
_STORING = "its firmware stores nothing: build it for a board and from a model that can"
_SPECIAL = {
    (Message.TRAIN, Status.E_TYPE): _LEARNING,
    (Message.TRAIN_N, Status.E_TYPE): _LEARNING,
    (Message.BACKWARD, Status.E_TYPE): _LEARNING,
    (Message.SAVE, Status.E_TYPE): _STORING,
    (Message.LOAD, Status.E_TYPE): _STORING,
    (Message.LOAD, Status.E_STATE): "nothing is stored for its model: save first",
    (Message.GRADS, Status.E_STATE): "the gradient is gone: ask for it again",
    (Message.SETW_COMMIT, Status.E_STATE): "the weights did not arrive whole: set them again",
    (Message.SET_PARAM, Status.E_RANGE): "its model has no such parameter, or cannot use the value",
}


def refusal(message: Message, status: int) -> str:
    """The sentence for a request that the board refuses."""
    try:
        named = Status(status)
    except ValueError:
        return (
            f"the board refuses {message.name} for a reason that this host does not know "
            f"({status}): use the bpgen that built its firmware"
        )
    reason = _SPECIAL.get((message, named)) or _REASONS[named]
    return f"the board refuses {message.name}: {reason}"

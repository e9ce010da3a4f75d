"""
Requests on their way, as many as a board's window holds, each done once: docs/protocol.md, 3.

A board answers in the order in which it receives, and a line keeps that order. So a reply also
tells what became of everything that was sent before its request.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from bpgen import wire
from bpgen.wire import Message, Status
from bpgen_host.exchange import Exchange, Request
from bpgen_host.failures import NoAnswer, NotABoard, Refused, refusal

TRIES = 5

# So often a HELLO that is answered may follow on silence, with no reply in between. With one, a
# board that never answers a request is given up after half a minute.
REVIVALS = 1

# Fewer than the 256 values of seq, so that no two requests on the way share one.
MOST_ON_THE_WAY = 128


def answers(
    exchange: Exchange, requests: Iterable[Request]
) -> Iterator[tuple[Request, bytes | None]]:
    """
    Send requests, as many at a time as the window holds, and give each in order with its reply.

    The reply is without its status; it is None when only a later reply showed that the request
    was done. A request that is refused raises Refused when its turn comes.
    """
    on_their_way = _Run(exchange, requests)
    while on_their_way.fill():
        yield from on_their_way.finished()
        if on_their_way.waiting:
            on_their_way.listen()
            yield from on_their_way.finished()


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
            self._exchange.restarted("the board restarted, or another program said hello to it")
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

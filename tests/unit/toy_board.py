"""
A board in Python with a network of no meaning, on a line that loses what it is told to lose.

It keeps the protocol's rules and nothing else, in a time of its own: nobody waits.
"""

from __future__ import annotations

import struct
import zlib
from collections import deque
from collections.abc import Callable, Sequence

from bpgen import wire
from bpgen.wire import Capability, Flag, Frame, Message, Status

N_IN, N_OUT, N_PARAMETERS = 3, 2, 50
MODEL_HASH = 0x0123ABCD
DESCRIPTION = (
    b'{"name":"toy","sizes":[3,8,2],"hash":"0123abcd","update":"residual","a_frac":[12,12,12],'
    b'"dz_frac":[15,16],"w_frac":[11,11],"loss_frac":25,"learns":[1,2],"labels":["a","b"],'
    b'"store":{"bytes":1024,"writes":100000}}'
)

Fault = Callable[[int, bytes], Sequence[bytes]]


def clean(number: int, data: bytes) -> Sequence[bytes]:
    """What a good line makes of frame `number`."""
    return (data,)


class ToyBoard:
    """
    A transport to itself.

    `to_board` and `to_host` say what becomes of each frame on its way, `log` holds every step that
    was done, as (gen before it, payload), `now` is the time in seconds.
    """

    name = "toy"

    def __init__(
        self,
        *,
        window: int = 100,
        max_request: int = 52,
        to_board: Fault = clean,
        to_host: Fault = clean,
        compute: float = 0.001,
        capabilities: Capability = Capability.LEARNS | Capability.LOW_BYTE | Capability.STORE,
    ) -> None:
        self.baud: int | None = 115_200
        self.now = 0.0
        self.to_board, self.to_host, self.compute = to_board, to_host, compute
        self.window, self.max_request, self.capabilities = window, max_request, capabilities
        self.boots = 0
        self.stored: tuple[int, list[int]] | None = None
        self.log: list[tuple[int, bytes]] = []
        self.most_on_the_way = 0
        self.description = DESCRIPTION
        self.requests: list[Frame] = []
        self._sent = self._answered = 0
        self._line: deque[tuple[float, bytes]] = deque()
        self._unanswered: list[tuple[float, int]] = []
        self._free_at = 0.0
        self.boot()

    # ---- The line

    def read(self, timeout: float) -> bytes:
        end = self.now + timeout
        if not self._line or self._line[0][0] > end:
            self.now = end
            return b""
        self.now = max(self.now, self._line[0][0])
        data = b""
        while self._line and self._line[0][0] <= self.now:
            data += self._line.popleft()[1]
        return data

    def write(self, data: bytes) -> None:
        if data == b"\0\0":
            return
        self._unanswered = [(at, size) for at, size in self._unanswered if at > self.now]
        on_the_way = sum(size for _, size in self._unanswered) + len(data)
        self.most_on_the_way = max(self.most_on_the_way, on_the_way)
        self._sent += 1
        for arrived in self.to_board(self._sent, data):
            for piece in wire.Decoder().push(arrived):
                try:
                    frame = wire.decode(piece)
                except wire.FrameError:
                    continue
                self._free_at = max(self._free_at, self.now) + self.compute
                self._unanswered.append((self._free_at, len(data)))
                self._take(frame)

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def reset(self) -> None:
        self.boot()

    def discard(self) -> None:
        self._line.clear()

    def close(self) -> None:
        pass

    def send(self, frame: Frame) -> None:
        self._answered += 1
        for data in self.to_host(self._answered, wire.encode(frame)):
            self.send_raw(data)

    def send_raw(self, data: bytes) -> None:
        """Put bytes on the way to the host."""
        latest = self._line[-1][0] if self._line else 0.0
        self._line.append((max(latest, self._free_at, self.now) + 0.0005, data))

    # ---- The firmware

    def boot(self) -> None:
        """Start, with the stored state or that of the firmware."""
        self.boots += 1
        self.session: int | None = None
        self.last: tuple[int, int, int] | None = None
        self.reply = b""
        self.gen = 0
        self.masters = list(range(N_PARAMETERS))
        self.staged = [0] * N_IN
        self.setting = False
        if self.stored is not None:
            self.gen, masters = self.stored
            self.masters = list(masters)
        self.send(Frame(Message.BOOT, 0, 0, b"\0" + self.hello.to_bytes()))

    @property
    def hello(self) -> wire.Hello:
        return wire.Hello(
            1, self.capabilities, MODEL_HASH, self.window, self.max_request, 52, N_IN, N_OUT,
            N_PARAMETERS, len(self.description), self.gen, self.crc32, 2, self.boots,
        )  # fmt: skip

    @property
    def crc32(self) -> int:
        return zlib.crc32(wire.masters_to_bytes(self.masters, 3))

    def outputs(self, x: Sequence[int]) -> tuple[int, ...]:
        return tuple((sum(x) + j + sum(self.masters)) % 1000 for j in range(N_OUT))

    def _take(self, frame: Frame) -> None:
        self.requests.append(frame)
        if frame.type == Message.HELLO:
            self.session = frame.session
            self._answer(frame, Status.OK, self.hello.to_bytes())
            return
        if frame.session != self.session:
            self._answer(frame, Status.E_SESSION)
        elif (frame.session, frame.seq, frame.type) == self.last:
            self._answer(frame, Status.OK, self.reply)
        else:
            self._do(frame)

    def _answer(self, frame: Frame, status: Status, rest: bytes = b"") -> None:
        if status != Status.OK:
            rest = struct.pack("<I", self.gen)
        payload = bytes((status,)) + rest
        self.send(Frame(frame.type | wire.REPLY, frame.seq, frame.session, payload))

    def _do(self, frame: Frame) -> None:
        self.last = None
        payload = frame.payload
        try:
            status, rest = getattr(self, f"_{Message(frame.type).name.lower()}")(payload)
        except AttributeError:
            status, rest = Status.E_TYPE, b""
        if status == Status.OK and frame.type in RAISING:
            self.last, self.reply = (frame.session, frame.seq, frame.type), rest
        self._answer(frame, status, rest)

    def _refuses(self, payload: bytes) -> bool:
        return int.from_bytes(payload[:4], "little") != self.gen

    def _sample(self, flags: int, body: bytes) -> list[int] | None:
        if not flags & Flag.STAGED:
            return list(struct.unpack(f"<{N_IN}h", body))
        named = int.from_bytes(body, "little")
        return self.staged if wire.sample_crc32(self.staged) == named else None

    def _describe(self, payload: bytes) -> tuple[Status, bytes]:
        first, count = struct.unpack("<HB", payload)
        return Status.OK, self.description[first : first + count]

    def _setx(self, payload: bytes) -> tuple[Status, bytes]:
        offset, count = struct.unpack_from("<HB", payload)
        self.staged[offset : offset + count] = struct.unpack(f"<{count}h", payload[3:])
        return Status.OK, b""

    def _infer(self, payload: bytes) -> tuple[Status, bytes]:
        x = self._sample(payload[0], payload[1:])
        if x is None:
            return Status.E_STATE, b""
        return Status.OK, struct.pack(f"<{N_OUT}h", *self.outputs(x))

    def _train(self, payload: bytes) -> tuple[Status, bytes]:
        flags = payload[4]
        target = 2 if flags & Flag.CLASS else 2 * N_OUT
        x = self._sample(flags, payload[5 + target :])
        if self._refuses(payload):
            return Status.E_GEN, b""
        if x is None:
            return Status.E_STATE, b""
        if 1234 in x:
            return Status.E_RANGE, b""
        y = self.outputs(x)
        self.learn(payload[4 : 5 + target], x)
        return Status.OK, struct.pack(f"<II{N_OUT}h", self.gen, sum(y), *y)

    def _train_n(self, payload: bytes) -> tuple[Status, bytes]:
        if self._refuses(payload):
            return Status.E_GEN, b""
        count, flags = payload[4], payload[5]
        size = (len(payload) - 6) // count
        loss = 0
        for i in range(count):
            piece = payload[6 + i * size : 6 + (i + 1) * size]
            x = list(struct.unpack(f"<{N_IN}h", piece[-2 * N_IN :]))
            loss += sum(self.outputs(x))
            flag = flags if i == count - 1 else flags & ~Flag.APPLY
            self.learn(bytes((flag,)) + piece[: -2 * N_IN], x)
        return Status.OK, struct.pack("<II", self.gen, loss)

    def learn(self, what: bytes, x: Sequence[int]) -> None:
        self.log.append((self.gen, what + struct.pack(f"<{N_IN}h", *x)))
        index = self.gen % N_PARAMETERS
        self.masters[index] = (self.masters[index] + 1 + sum(x)) % 1000
        self.gen = (self.gen + 1) % 2**32

    def _grads(self, payload: bytes) -> tuple[Status, bytes]:
        _, first, count = struct.unpack("<BHB", payload)
        return Status.OK, struct.pack(f"<{count}i", *range(first, first + count))

    def _backward(self, payload: bytes) -> tuple[Status, bytes]:
        if self._refuses(payload):
            return Status.E_GEN, b""
        return Status.OK, struct.pack(f"<IIB{N_OUT}h", self.gen, 11, 7, *range(N_OUT))

    def _getw(self, payload: bytes) -> tuple[Status, bytes]:
        first, count = struct.unpack("<HB", payload)
        page = wire.masters_to_page(self.masters[first : first + count], 3)
        return Status.OK, struct.pack("<I", self.gen) + page

    def _setw_begin(self, payload: bytes) -> tuple[Status, bytes]:
        return self._raise(payload)

    def _setw(self, payload: bytes) -> tuple[Status, bytes]:
        if self._refuses(payload):
            return Status.E_GEN, b""
        (first,) = struct.unpack("<H", payload[4:6])
        page = wire.masters_from_page(payload[7:], 3)
        self.masters[first : first + len(page)] = page
        return Status.OK, struct.pack("<I", self.gen)

    def _setw_commit(self, payload: bytes) -> tuple[Status, bytes]:
        if not self._refuses(payload) and int.from_bytes(payload[4:], "little") != self.crc32:
            return Status.E_STATE, b""
        return self._raise(payload)

    def _save(self, payload: bytes) -> tuple[Status, bytes]:
        if self._refuses(payload):
            return Status.E_GEN, b""
        asked = sum(frame.type == Message.SAVE for frame in self.requests)
        self.stored = (self.gen, list(self.masters))
        return Status.OK, struct.pack("<II", self.gen, max(0, 3 - asked))

    def _load(self, payload: bytes) -> tuple[Status, bytes]:
        if self._refuses(payload):
            return Status.E_GEN, b""
        if self.stored is None:
            return Status.E_STATE, b""
        self.masters = list(self.stored[1])
        self.gen += 1
        return Status.OK, struct.pack("<II", self.gen, self.crc32)

    def _reset_model(self, payload: bytes) -> tuple[Status, bytes]:
        status, rest = self._raise(payload)
        if status == Status.OK:
            self.masters = list(range(N_PARAMETERS))
        return status, rest

    def _set_param(self, payload: bytes) -> tuple[Status, bytes]:
        return self._raise(payload)

    def _raise(self, payload: bytes) -> tuple[Status, bytes]:
        if self._refuses(payload):
            return Status.E_GEN, b""
        self.gen = (self.gen + 1) % 2**32
        return Status.OK, struct.pack("<I", self.gen)

    def _stats(self, payload: bytes) -> tuple[Status, bytes]:
        if payload[0]:
            return Status.OK, wire.Counters(1, 2, 3, 4, 5).to_bytes()
        stats = wire.Stats(self.gen, self.crc32, 7, 1, 2, 6)
        return Status.OK, stats.to_bytes()

    def _echo(self, payload: bytes) -> tuple[Status, bytes]:
        return Status.OK, payload[1:]


RAISING = {
    Message.TRAIN,
    Message.TRAIN_N,
    Message.SETW_BEGIN,
    Message.SETW_COMMIT,
    Message.LOAD,
    Message.RESET_MODEL,
    Message.SET_PARAM,
}

"""A board in this process that answers single raw frames, and samples to send it."""

from __future__ import annotations

import ctypes
import struct
import zlib
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from bpgen import wire
from bpgen.generation import view_of
from bpgen.model import IntModel
from bpgen.twin import Twin
from bpgen.wire import Capability, Flag, Message, Status
from bpgen_host.local import LOCAL, LocalTransport
from tests.compile.models import everything, trainable

# Of "wide" no sample fits a request of 246 bytes, of "edge" one with a class does, but not with t.
MODELS = everything() | {
    "wide": trainable((140, 3, 2), ("tanh", "sigmoid"), "squared_error", "residual"),
    "edge": trainable((118, 3, 3), ("tanh", "sigmoid"), "squared_error", "residual"),
    "one-output": trainable((3, 4, 1), ("tanh", "sigmoid"), "squared_error", "residual"),
}
UNO = replace(LOCAL, window=63, frame=60, store_bytes=1024)
SESSION = 0x5A17
OK = Status.OK

# Page 0, in the order of the wire.
STATS = ("gen", "crc", "tag", "mode", "bad", "lost")


@dataclass
class Reply:
    status: int
    body: bytes
    line: bytes


class Hello(NamedTuple):
    protocol: int
    capabilities: int
    model_hash: int
    window: int
    max_request: int
    max_reply: int
    n_in: int
    n_out: int
    n_parameters: int
    description_bytes: int
    gen: int
    weights_crc32: int
    reset_cause: int
    boots: int


class Board:
    """A board with a session, and requests in raw frames."""

    def __init__(self, model: IntModel, transport: LocalTransport) -> None:
        self.model = model
        self.transport = transport
        self.decoder = wire.Decoder()
        self.seq = 0
        self.size = view_of(model, "net").state_size
        self.frac = model.output.a_format.frac

    def restart(self) -> Board:
        if self.transport.store:
            self.transport.store = b"\xff" * len(self.transport.store)
        self.transport.reset()
        self.transport.discard()
        assert self(Message.HELLO, b"\x01\x01").status == OK
        return self

    def frames(self) -> list[wire.Frame]:
        return [wire.decode(piece) for piece in self.decoder.push(self.transport.read(0))]

    def send(self, frame: wire.Frame) -> Reply | None:
        """Send a request; give its reply, or None."""
        self.transport.write(wire.encode(frame))
        line = self.transport.read(0)
        if not line:
            return None
        (reply,) = [wire.decode(piece) for piece in self.decoder.push(line)]
        assert reply.seq == frame.seq
        assert reply.session == frame.session
        assert reply.type == (frame.type + wire.REPLY) % 256
        if reply.payload[0] != OK:
            assert len(reply.payload) == 5
        return Reply(reply.payload[0], reply.payload[1:], line)

    def frame(self, type_: int, payload: bytes) -> wire.Frame:
        self.seq = (self.seq + 1) % 256
        return wire.Frame(type_, self.seq, SESSION, payload)

    def __call__(self, type_: int, payload: bytes = b"") -> Reply:
        reply = self.send(self.frame(type_, payload))
        assert reply is not None
        return reply

    def status(self, type_: int, payload: bytes = b"") -> int:
        return self(type_, payload).status

    @property
    def hello(self) -> Hello:
        reply = self(Message.HELLO, b"\x01\x01")
        assert reply.status == OK
        return Hello(*struct.unpack("<BBIHHHHHHHIIBH", reply.body))

    @property
    def gen(self) -> int:
        return self.hello.gen

    @property
    def stages(self) -> bool:
        return bool(self.hello.capabilities & Capability.STAGES)

    def fits(self, target_and_sample: bytes) -> bool:
        """Whether TRAIN and BACKWARD hold them."""
        return 5 + len(target_and_sample) <= self.hello.max_request

    @property
    def master_bytes(self) -> int:
        return 3 if self.hello.capabilities & Capability.LOW_BYTE else 2

    @property
    def network(self) -> bytes:
        """All of the network's state, activations too."""
        library = self.transport._library
        return bytes((ctypes.c_uint8 * self.size).in_dll(library, "bp_network"))

    def masters(self) -> bytes:
        """All masters as under weights_crc32."""
        hello, size = self.hello, self.master_bytes
        most = min(255, (hello.max_reply - 5) // size)
        content = b""
        for first in range(0, hello.n_parameters, most):
            n = min(most, hello.n_parameters - first)
            reply = self(Message.GETW, struct.pack("<HB", first, n))
            assert reply.status == OK
            high, low = reply.body[4 : 4 + 2 * n], reply.body[4 + 2 * n :]
            assert len(low) == (n if size == 3 else 0)
            content += b"".join(low[i : i + 1] + high[2 * i : 2 * i + 2] for i in range(n))
        return content

    def stats(self) -> dict[str, int]:
        body = self(Message.STATS, b"\0").body
        return dict(zip(STATS, struct.unpack("<IIBBHH", body), strict=True))


def s16(values: np.ndarray) -> bytes:
    return np.asarray(values).astype("<i2").tobytes()


class Samples:
    """Random inputs and targets of a model; `ask` gives a sample in one of the ways of the wire."""

    def __init__(self, model: IntModel, seed: int = 1) -> None:
        self.model = model
        self.rng = np.random.default_rng(seed)

    def x(self) -> np.ndarray:
        a0 = self.model.input
        lowest = -a0.a_top if a0.a_format.signed else 0
        return self.rng.integers(lowest, a0.a_top, a0.size, endpoint=True)

    def label(self) -> int:
        return int(self.rng.integers(self.model.output.outputs))

    def one_hot(self, label: int) -> np.ndarray:
        t = np.zeros(self.model.output.outputs, dtype=np.int64)
        t[label] = 1 << self.model.output.a_format.frac
        return t

    def t(self) -> np.ndarray:
        one = 1 << self.model.output.a_format.frac
        return self.rng.integers(-one // 4, one + one // 4, self.model.output.outputs)


def stage(board: Board, x: np.ndarray) -> bytes:
    """Put x into the board's input by SETX, in pieces from the last to the first."""
    most = min(255, (board.hello.max_request - 3) // 2)
    for first in reversed(range(0, len(x), most)):
        piece = x[first : first + most]
        reply = board(Message.SETX, struct.pack("<HB", first, len(piece)) + s16(piece))
        assert reply == Reply(OK, b"", reply.line)
    return struct.pack("<I", zlib.crc32(s16(x)))


def loss_on_the_wire(twin: Twin, y: np.ndarray, t: np.ndarray) -> int:
    return min(max(int(twin.losses(y, t)[0]), 0), 2**32 - 1)


def check_training(board: Board, steps: int = 200) -> None:
    """Every reply and the state at the end are the twin's, in all ways to send a sample."""
    model = board.model
    twin, samples = Twin(model), Samples(model)
    applies = bool(board.hello.capabilities & Capability.BATCHES)
    gen = 0
    for step in range(steps):
        x, label, t = samples.x(), samples.label(), samples.t()
        flags = 0
        target, sample = s16(t), s16(x)
        if step % 2 and len(t) > 1:
            flags |= Flag.CLASS
            t, target = samples.one_hot(label), struct.pack("<H", label)
        if board.stages and (step % 3 == 2 or not board.fits(target + sample)):
            flags |= Flag.STAGED
            sample = stage(board, x)
        if applies and step % 5 == 4:
            flags |= Flag.APPLY
        a = twin.forward(x[np.newaxis])
        reply = board(Message.TRAIN, struct.pack("<IB", gen, flags) + target + sample)
        twin.step(a, twin.backward(a, t[np.newaxis]))
        if flags & Flag.APPLY:
            twin.apply()
        gen += 1
        loss = loss_on_the_wire(twin, a[-1], t)
        assert reply.status == OK
        assert reply.body == struct.pack("<II", gen, loss) + s16(a[-1])
    assert board.masters() == twin.parameter_bytes()
    assert board.gen == gen
    assert board.hello.weights_crc32 == zlib.crc32(twin.parameter_bytes())


def good_requests(board: Board, gen: bytes = bytes(4)) -> dict[int, bytes]:
    """A payload for each type that the board of "residual" takes right after a restart."""
    x, t, master = bytes(8), bytes(6), bytes(3)
    return {
        Message.HELLO: b"\x01\x01",
        Message.DESCRIBE: b"\0\0\x02",
        Message.INFER: b"\0" + x,
        Message.BACKWARD: gen + b"\0" + t + x,
        Message.TRAIN: gen + b"\0" + t + x,
        Message.TRAIN_N: gen + b"\x02\0" + 2 * (t + x),
        Message.GRADS: b"\x01\0\0\x01",
        Message.GETW: b"\0\0\x01",
        Message.SETW_BEGIN: gen,
        Message.SETW: gen + b"\0\0\x02" + 2 * master,
        Message.SETW_COMMIT: gen + bytes(4),
        Message.SAVE: gen,
        Message.LOAD: gen,
        Message.RESET_MODEL: gen + b"\0\0",
        Message.SET_PARAM: gen + b"\x01" + struct.pack("<Hb", 32768, 2),
        Message.STATS: b"\0",
        Message.ECHO: b"\x02ab",
    }

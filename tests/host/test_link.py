"""The board's side of the wire, compiled for this machine, answers as docs/protocol.md says."""

from __future__ import annotations

import ctypes
import json
import struct
import subprocess
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from bpgen import wire
from bpgen.emit.device import device_files
from bpgen.errors import BpgenError
from bpgen.generation import view_of
from bpgen.model import IntModel, LearningRate
from bpgen.simulate import WARNINGS
from bpgen.twin import Twin
from bpgen.wire import Capability, Flag, Message, Parameter, Status
from bpgen_host.local import LOCAL, LocalTransport, firmware
from tests.compile.models import everything, trainable

MODELS = everything() | {
    "wide": trainable((140, 3, 2), ("tanh", "sigmoid"), "squared_error", "residual"),
}
UNO = replace(LOCAL, window=63, frame=60, store_bytes=1024)
SESSION = 0x5A17
OK = Status.OK

# Page 0, in the order of the wire.
STATS = (
    "gen",
    "crc",
    "tag",
    "mode",
    "uptime",
    "bad",
    "longest",
    "repeats",
    "refused",
    "saves",
    "lost",
)


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
        return dict(zip(STATS, struct.unpack("<IIBBIHIHHHH", body), strict=True))


def s16(values: np.ndarray) -> bytes:
    return np.asarray(values).astype("<i2").tobytes()


@pytest.fixture(scope="module")
def boards() -> Iterator[Callable[..., Board]]:
    """Boards by the name of their model, each compiled once and restarted when asked for."""
    made: dict[tuple[str, bool], Board] = {}

    def board(name: str, *, uno: bool = False) -> Board:
        if (name, uno) not in made:
            constants = UNO if uno else LOCAL
            transport = LocalTransport(MODELS[name], constants, counters=not uno)
            made[name, uno] = Board(MODELS[name], transport)
        return made[name, uno].restart()

    yield board
    for one in made.values():
        one.transport.close()


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
    staged_only = 2 * model.input.size + 2 * model.output.outputs + 5 > board.hello.max_request
    gen = 0
    for step in range(steps):
        x, label, t = samples.x(), samples.label(), samples.t()
        flags = 0
        target, sample = s16(t), s16(x)
        if step % 2:
            flags |= Flag.CLASS
            t, target = samples.one_hot(label), struct.pack("<H", label)
        if step % 3 == 2 or staged_only:
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


LEARNING = [name for name, model in MODELS.items() if model.training and name != "awkward-labels"]


@pytest.mark.parametrize("name", LEARNING)
def test_training_over_the_wire_gives_the_bits_of_the_twin(
    boards: Callable[..., Board], name: str
) -> None:
    check_training(boards(name))


@pytest.mark.parametrize("name", ["residual", "stochastic-l2", "batch"])
def test_training_in_frames_of_60_bytes_gives_the_bits_of_the_twin(
    boards: Callable[..., Board], name: str
) -> None:
    check_training(boards(name, uno=True), steps=40)


@pytest.mark.parametrize("name", ["inference-s8", "inference-s16", "residual", "wide"])
def test_inference_over_the_wire_gives_the_bits_of_the_twin(
    boards: Callable[..., Board], name: str
) -> None:
    board = boards(name)
    twin, samples = Twin(board.model), Samples(board.model)
    for _ in range(20):
        x = samples.x()
        y = s16(twin.forward(x[np.newaxis])[-1])
        if name != "wide":
            assert board(Message.INFER, b"\0" + s16(x)).body == y
        crc = stage(board, x)
        assert board(Message.INFER, bytes((Flag.STAGED,)) + crc).body == y


@pytest.mark.parametrize("name", ["residual", "batch"])
def test_many_samples_in_one_request_are_learned_in_turn(
    boards: Callable[..., Board], name: str
) -> None:
    board = boards(name)
    twin, samples = Twin(board.model), Samples(board.model)
    apply = Flag.APPLY if name == "batch" else 0
    gen = 0
    for count in (1, 2, 9):
        chosen = [(samples.label(), samples.x()) for _ in range(count)]
        payload, loss = b"", 0
        for label, x in chosen:
            t = samples.one_hot(label)
            payload += struct.pack("<H", label) + s16(x)
            a = twin.forward(x[np.newaxis])
            loss = min(loss + loss_on_the_wire(twin, a[-1], t), 2**32 - 1)
            twin.train(x[np.newaxis], t[np.newaxis])
        if apply:
            twin.apply()
        head = struct.pack("<IBB", gen, count, Flag.CLASS | apply)
        gen += count
        assert board(Message.TRAIN_N, head + payload).body == struct.pack("<II", gen, loss)
    assert board.masters() == twin.parameter_bytes()


@pytest.mark.parametrize("name", LEARNING)
def test_gradients_over_the_wire_are_those_of_the_twin(
    boards: Callable[..., Board], name: str
) -> None:
    board = boards(name)
    model = board.model
    twin, samples = Twin(model), Samples(model)
    gen = 0
    raises = bool(board.hello.capabilities & Capability.MEANS)
    assert raises == ("sparsity" in name)
    for _ in range(3):
        x, t = samples.x(), samples.t()
        a = twin.forward(x[np.newaxis])
        dz = twin.backward(a, t[np.newaxis])
        reply = board(
            Message.BACKWARD,
            struct.pack("<IB", gen, Flag.STAGED) + s16(t) + stage(board, x),
        )
        gen += raises
        loss = loss_on_the_wire(twin, a[-1], t)
        tag = reply.body[8]
        assert reply.body == struct.pack("<IIB", gen, loss, tag) + s16(a[-1])
        assert board.stats()["tag"] == tag
        expected = np.concatenate(
            [
                np.concatenate((pair[0].ravel(), pair[1].ravel()))
                for k, pair in enumerate(twin.gradient(a, dz), start=1)
                if pair is not None and model.learns(k)
            ]
        )
        most = (board.hello.max_reply - 1) // 4
        got = b""
        for first in range(0, len(expected), most):
            n = min(most, len(expected) - first)
            page = board(Message.GRADS, struct.pack("<BHB", tag, first, n))
            assert page.status == OK
            got += page.body
        assert got == expected.astype("<i4").tobytes()


def check_gradient_ends(board: Board) -> None:
    """What overwrites a gradient ends it."""
    x, t = bytes(8), bytes(6)
    ends: dict[int, Callable[[bytes], bytes]] = {
        Message.INFER: lambda gen: b"\0" + x,
        Message.TRAIN: lambda gen: gen + b"\0" + t + x,
        Message.TRAIN_N: lambda gen: gen + b"\x01\0" + t + x,
        Message.SETX: lambda gen: b"\0\0\x01\0\0",
        Message.RESET_MODEL: lambda gen: gen + b"\0\0",
        Message.SETW_BEGIN: lambda gen: gen,
    }
    for type_, payload in ends.items():
        gen = struct.pack("<I", board.gen)
        tag = board(Message.BACKWARD, gen + b"\0" + t + x).body[8]
        ask = bytes((tag, 0, 0, 1))
        assert board.status(Message.GRADS, ask) == OK
        assert board.status(Message.GRADS, bytes(((tag + 1) % 256, 0, 0, 1))) == Status.E_STATE
        assert board.status(type_, payload(gen)) == OK
        assert board.status(Message.GRADS, ask) == Status.E_STATE


def test_a_gradient_is_gone_once_its_sample_is(boards: Callable[..., Board]) -> None:
    check_gradient_ends(boards("residual"))


# ---- session, description, counters -------------------------------------------------------------


def test_a_board_says_boot_when_it_starts(boards: Callable[..., Board]) -> None:
    board = boards("residual")
    before = board.hello
    board.transport.reset()
    (boot,) = board.frames()
    assert (boot.type, boot.seq, boot.session) == (Message.BOOT, 0, 0)
    said = Hello(*struct.unpack("<xBBIHHHHHHHIIBH", boot.payload))
    assert said == before._replace(boots=before.boots + 1)
    assert said.reset_cause == wire.ResetCause.RESET_PIN


def test_hello_announces_the_firmware(boards: Callable[..., Board]) -> None:
    board = boards("batch-l2-sparsity")
    model = board.model
    crc = zlib.crc32(Twin(model).parameter_bytes())
    flags = Capability.LEARNS | Capability.BATCHES | Capability.MEANS | Capability.COUNTERS
    hello = board.hello
    assert hello[:2] == (wire.PROTOCOL, flags | Capability.STORE)
    sizes = (4095, 246, 246, 3, 2, model.parameter_count)
    assert hello[2:9] == (int(model.hash, 16), *sizes)
    assert hello[10:12] == (0, crc)
    assert boards("residual", uno=True).hello[3:6] == (63, 52, 52)


def test_only_a_host_that_speaks_the_protocol_is_greeted(boards: Callable[..., Board]) -> None:
    board = boards("residual")
    other = wire.Frame(Message.HELLO, 1, 99, b"\x02\x09")
    reply = board.send(other)
    assert reply is not None
    assert reply.status == Status.E_RANGE
    assert board.status(Message.HELLO, b"\0\0") == Status.E_RANGE
    assert board.status(Message.HELLO, b"\0\xff") == OK
    assert board.status(Message.STATS, b"\0") == OK


def test_a_request_of_another_session_is_refused(boards: Callable[..., Board]) -> None:
    board = boards("residual")
    board.transport.reset()
    board.transport.discard()
    for type_ in range(wire.REPLY):
        if type_ != Message.HELLO:
            assert board.status(type_, b"\0") == Status.E_SESSION
    reply = board.send(wire.Frame(Message.STATS, 1, 0, b"\0"))
    assert reply is not None
    assert reply.status == Status.E_SESSION
    board.restart()
    reply = board.send(wire.Frame(Message.STATS, 1, SESSION ^ 1, b"\0"))
    assert reply is not None
    assert reply.status == Status.E_SESSION


@pytest.mark.parametrize("name", ["awkward-labels", "inference-s8", "frozen-below"])
def test_the_description_is_the_json_of_the_model(boards: Callable[..., Board], name: str) -> None:
    board = boards(name, uno=True)
    text, size = b"", board.hello.description_bytes
    while len(text) < size:
        count = min(51, size - len(text))
        text += board(Message.DESCRIBE, struct.pack("<HB", len(text), count)).body
    for first, count in ((size, 1), (size - 1, 2), (0, 0), (0, 52)):
        assert board.status(Message.DESCRIBE, struct.pack("<HB", first, count)) == Status.E_RANGE
    description = json.loads(text.decode())
    model = board.model
    assert description["sizes"] == list(model.sizes)
    assert description["labels"] == list(model.labels)
    assert description["hash"] == model.hash
    assert b"\n" not in text
    if name == "frozen-below":
        assert description["learns"] == [2, 3]
        assert description["dz_frac"][0] is None


def test_echo_and_statistics(boards: Callable[..., Board]) -> None:
    board = boards("residual")
    data = bytes(range(245))
    assert board(Message.ECHO, bytes((245,)) + data).body == data
    assert board(Message.ECHO, b"\0").body == b""
    before = board.stats()
    assert before["gen"] == 0
    assert before["crc"] == zlib.crc32(Twin(board.model).parameter_bytes())
    board.transport.write(b"\0" * 20_000)  # 86 us each
    after = board.stats()
    assert after["uptime"] >= before["uptime"] + 20_000 * 86 // 65_536
    assert board.status(Message.STATS, b"\x02") == Status.E_RANGE


def test_page_1_of_the_statistics_counts_what_was_clipped(boards: Callable[..., Board]) -> None:
    board = boards("residual")
    x = np.full(4, 32767)
    for gen in range(5):
        payload = struct.pack("<IB", gen, Flag.CLASS) + b"\0\0" + s16(x)
        assert board.status(Message.TRAIN, payload) == OK
    counts = struct.unpack("<5I", board(Message.STATS, b"\x01").body)
    twin = Twin(board.model)
    for _ in range(5):
        twin.train(x[np.newaxis], Samples(board.model).one_hot(0)[np.newaxis])
    expected = twin.counters
    assert counts == (
        expected.inputs, expected.activations, expected.deltas, expected.weights,
        expected.zero_updates,
    )  # fmt: skip
    assert sum(counts)
    silent = boards("residual", uno=True)
    assert silent.status(Message.STATS, b"\x01") == Status.E_RANGE


# ---- what is refused changes nothing ------------------------------------------------------------


def good_requests(board: Board, gen: bytes = bytes(4)) -> dict[int, bytes]:
    """A payload for each type that the board of "residual" takes right after a restart."""
    x, t, master = bytes(8), bytes(6), bytes(3)
    return {
        Message.HELLO: b"\x01\x01",
        Message.DESCRIBE: b"\0\0\x02",
        Message.SETX: b"\0\0\x02" + bytes(4),
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


def check_lengths(board: Board, type_: Message) -> None:
    """No payload of another length than the right one is taken."""
    good = good_requests(board)[type_]
    before = board.network
    for size in range(53):
        payload = (good + bytes(60))[:size]
        if size != len(good):
            assert board.status(type_, payload) == Status.E_LEN, size
            assert board.network == before
    assert board.gen == 0
    assert board.status(type_, good) != Status.E_LEN


@pytest.mark.parametrize("type_", list(Message)[:-1], ids=lambda m: m.name)
def test_a_payload_of_any_other_length_is_refused(
    boards: Callable[..., Board], type_: Message
) -> None:
    check_lengths(boards("residual", uno=True), type_)


def test_a_length_that_only_fits_modulo_65536_is_refused(boards: Callable[..., Board]) -> None:
    """255 inline samples of the wide model are as long as a frame in 16 bits."""
    board = boards("wide")
    for count in range(256):
        for size in (6, 6 + count):
            payload = bytes(4) + bytes((count,)) + bytes(size - 5)
            assert board.status(Message.TRAIN_N, payload[:246]) in (Status.E_LEN, Status.E_RANGE)


def test_an_unknown_type_is_refused(boards: Callable[..., Board]) -> None:
    board = boards("residual")
    before = board.network
    for type_ in {*range(wire.REPLY)} - {*list(Message)[:-1]}:
        for payload in (b"", bytes(4), b"\xff" * 40):
            assert board.status(type_, payload) == Status.E_TYPE
    assert board.network == before


def test_what_an_echoing_line_brings_back_is_not_answered(boards: Callable[..., Board]) -> None:
    board = boards("residual")
    for type_ in range(wire.REPLY, 256):
        assert board.send(board.frame(type_, bytes(9))) is None
    board.transport.write(board(Message.ECHO, b"\x04abcd").line)
    assert board.transport.read(0) == b""


@pytest.mark.parametrize("name", ["inference-s8", "inference-s16"])
def test_a_firmware_that_cannot_learn_has_no_requests_for_it(
    boards: Callable[..., Board], name: str
) -> None:
    board = boards(name)
    assert board.hello.capabilities == Capability.COUNTERS
    assert board.hello[10:12] == (0, 0)
    assert board.hello.n_parameters == 0
    for type_ in range(Message.BACKWARD, Message.STATS):
        assert board.status(type_, bytes(9)) == Status.E_TYPE
    one = MODELS[name].input.a_format.signed
    x = np.full(board.model.input.size, -1)
    assert board.status(Message.INFER, b"\0" + s16(x)) == (OK if one else Status.E_RANGE)


def check_gen_is_compared(board: Board) -> None:
    """No request that carries gen is done with another gen than the board's."""
    good = good_requests(board)
    with_gen = [
        Message.BACKWARD, Message.TRAIN, Message.TRAIN_N, Message.SETW_BEGIN, Message.SAVE,
        Message.LOAD, Message.RESET_MODEL, Message.SET_PARAM,
    ]  # fmt: skip
    assert board.status(Message.TRAIN, good[Message.TRAIN]) == OK
    before = board.network
    for type_ in with_gen:
        for gen in (0, 2, 1 << 8, 1 << 16, 1 | 1 << 24, 2**32 - 1):
            reply = board(type_, struct.pack("<I", gen) + good[type_][4:])
            assert reply.status == Status.E_GEN, type_
            assert reply.body == struct.pack("<I", 1)
    assert board.network == before
    assert board.gen == 1
    assert board.stats()["refused"] == 6 * len(with_gen)


def test_a_request_with_another_gen_is_refused(boards: Callable[..., Board]) -> None:
    check_gen_is_compared(boards("residual"))


def check_repeats(board: Board) -> None:
    """A repeat gets the same reply and is not done again, until another request was done."""
    raising = {
        Message.TRAIN: b"\0" + s16(np.arange(7) * 100),
        Message.TRAIN_N: b"\x02\0" + s16(np.arange(14) * 50),
        Message.SET_PARAM: b"\x01" + struct.pack("<Hb", 32768, 3),
        Message.SETW_BEGIN: b"",
        Message.RESET_MODEL: b"\x05\0",
    }
    for type_, rest in raising.items():
        gen = board.gen
        frame = board.frame(type_, struct.pack("<I", gen) + rest)
        first = board.send(frame)
        assert first is not None
        assert first.status == OK
        state = board.network
        assert board.send(frame) == first
        stale = board(Message.TRAIN, struct.pack("<IB", gen, 0) + s16(np.arange(7)))
        assert stale.status in (Status.E_GEN, Status.E_STATE)
        assert board.send(frame) == first
        assert board.network == state
        assert board.status(Message.ECHO, b"\0") == OK
        again = board.send(frame)
        assert again is not None
        assert again.status == Status.E_GEN
        assert board.network == state
    assert board.stats()["repeats"] == 2 * len(raising)


def test_a_repeat_is_answered_and_not_done_again(boards: Callable[..., Board]) -> None:
    check_repeats(boards("residual"))


def check_a_seq_is_used_again(board: Board) -> None:
    """After 255 refused requests a new one has the seq of the last that was done: it is done."""
    rest = b"\0" + s16(np.arange(7) * 100)
    assert board.status(Message.TRAIN, bytes(4) + rest) == OK
    for _ in range(255):
        assert board.status(Message.TRAIN, struct.pack("<I", 9) + rest) == Status.E_GEN
    assert board(Message.TRAIN, struct.pack("<I", 1) + rest).body[:4] == struct.pack("<I", 2)
    assert board.gen == 2
    assert board.stats()["repeats"] == 0


def test_a_new_request_with_the_seq_of_the_last_one_is_done(boards: Callable[..., Board]) -> None:
    check_a_seq_is_used_again(boards("residual"))


def test_a_repeat_of_backward_is_not_done_again_where_means_move(
    boards: Callable[..., Board],
) -> None:
    board = boards("residual-l2-sparsity")
    frame = board.frame(Message.BACKWARD, bytes(5) + s16(np.arange(7) * 100))
    first = board.send(frame)
    assert first is not None
    state = board.network
    assert board.send(frame) == first
    assert board.network == state
    assert board.gen == 1


def test_a_seq_belongs_to_its_type_and_session(boards: Callable[..., Board]) -> None:
    board = boards("residual")
    rest = b"\0" + s16(np.arange(7))
    frame = board.frame(Message.TRAIN, bytes(4) + rest)
    assert board.send(frame) is not None
    other = replace(frame, type=Message.BACKWARD)
    reply = board.send(other)
    assert reply is not None
    assert reply.status == Status.E_GEN
    hello = board.send(wire.Frame(Message.HELLO, frame.seq, 7, b"\x01\x01"))
    assert hello is not None
    reply = board.send(replace(frame, session=7))
    assert reply is not None
    assert reply.status == Status.E_GEN


def test_what_is_out_of_range_is_refused_and_changes_nothing(
    boards: Callable[..., Board],
) -> None:
    board = boards("residual")
    count = board.model.parameter_count
    gen, x, t = bytes(4), bytes(8), bytes(6)
    low = s16(np.array([0, 0, 0, -32768]))
    bad: list[tuple[int, bytes]] = [
        (Message.INFER, b"\0" + low),
        *((Message.INFER, bytes((flags,)) + x) for flags in (1, 4, 8, 16, 32, 64, 128)),
        *((Message.INFER, bytes((flags | 2,)) + bytes(4)) for flags in (1, 4, 8, 128)),
        (Message.BACKWARD, gen + b"\0" + t + low),
        (Message.TRAIN, gen + b"\0" + t + low),
        (Message.TRAIN_N, gen + b"\x02\0" + t + x + t + low),
        (Message.TRAIN_N, gen + b"\0\0"),
        (Message.TRAIN_N, gen + b"\x01\x04" + t + x),
        (Message.TRAIN_N, gen + b"\x01\x02" + t + bytes(4)),
        *((Message.TRAIN, gen + bytes((f,)) + t + x) for f in (4, 8, 16, 32, 64, 128)),
        *((Message.BACKWARD, gen + bytes((f,)) + t + x) for f in (4, 8, 16, 32, 64, 128)),
        *((Message.TRAIN, gen + b"\x01" + struct.pack("<H", c) + x) for c in (3, 256, 65535)),
        (Message.TRAIN_N, gen + b"\x02\x01" + b"\0\0" + x + b"\x03\0" + x),
        (Message.SETX, b"\0\0\0"),
        (Message.SETX, b"\x04\0\x01\0\0"),
        (Message.SETX, b"\0\0\x05" + bytes(10)),
        (Message.SETX, b"\x03\0\x02" + bytes(4)),
        (Message.SETX, b"\xff\xff\x02" + bytes(4)),
        (Message.SETX, b"\0\0\x02" + b"\0\0\0\x80"),
        (Message.GETW, struct.pack("<HB", 0, 0)),
        (Message.GETW, struct.pack("<HB", count, 1)),
        (Message.GETW, struct.pack("<HB", count - 1, 2)),
        (Message.GETW, struct.pack("<HB", 65535, 2)),
        (Message.GETW, struct.pack("<HB", 0, 255)),
        (Message.GRADS, struct.pack("<BHB", 1, 0, 0)),
        (Message.GRADS, struct.pack("<BHB", 1, count, 1)),
        (Message.GRADS, struct.pack("<BHB", 1, count - 1, 2)),
        (Message.GRADS, struct.pack("<BHB", 1, 65535, 2)),
        (Message.GRADS, struct.pack("<BHB", 1, 0, 255)),
        (Message.SET_PARAM, gen + bytes(4)),
        *(
            (Message.SET_PARAM, gen + b"\x01" + struct.pack("<Hb", mantissa, exponent))
            for mantissa, exponent in ((32766, 0), (32768, 31))
        ),
        *(
            (Message.SET_PARAM, gen + bytes((p,)) + bytes(3))
            for p in (Parameter.DECAY, Parameter.MOMENTUM, Parameter.SEED, 5, 255)
        ),
    ]
    before = board.network
    for type_, payload in bad:
        assert board.status(type_, payload) == Status.E_RANGE, (Message(type_).name, payload)
        assert board.network == before
    assert board.gen == 0


def test_pages_of_weights_and_gradients_fill_the_longest_reply(
    boards: Callable[..., Board],
) -> None:
    board = boards("residual", uno=True)
    assert board.status(Message.GETW, struct.pack("<HB", 0, 15)) == OK
    assert board.status(Message.GETW, struct.pack("<HB", 0, 16)) == Status.E_RANGE
    tag = board(Message.BACKWARD, good_requests(board)[Message.BACKWARD]).body[8]
    assert board.status(Message.GRADS, struct.pack("<BHB", tag, 0, 12)) == OK
    assert board.status(Message.GRADS, struct.pack("<BHB", tag, 0, 13)) == Status.E_RANGE


# ---- staged samples, weights, parameters --------------------------------------------------------


def test_a_mixture_of_two_samples_never_trains(boards: Callable[..., Board]) -> None:
    board = boards("wide")
    old, new = Samples(board.model, 1).x(), Samples(board.model, 2).x()
    stage(board, old)
    board(Message.SETX, struct.pack("<HB", 0, 70) + s16(new[:70]))
    named = struct.pack("<IB", 0, Flag.STAGED | Flag.CLASS) + b"\0\0"
    crc = struct.pack("<I", zlib.crc32(s16(new)))
    before = board.network
    assert board.status(Message.TRAIN, named + crc) == Status.E_STATE
    assert board.network == before
    assert board.gen == 0
    board(Message.SETX, struct.pack("<HB", 70, 70) + s16(new[70:]))
    assert board.status(Message.TRAIN, named + crc) == OK


def test_an_inline_sample_overwrites_the_staged_one(boards: Callable[..., Board]) -> None:
    board = boards("residual")
    crc = stage(board, np.arange(4))
    assert board.status(Message.INFER, b"\x02" + crc) == OK
    assert board.status(Message.INFER, b"\0" + s16(np.arange(1, 5))) == OK
    assert board.status(Message.INFER, b"\x02" + crc) == Status.E_STATE


@pytest.mark.parametrize("name", ["residual", "stochastic-l2", "momentum", "frozen-below"])
def test_weights_are_set_when_their_checksum_is_right(
    boards: Callable[..., Board], name: str
) -> None:
    board = boards(name)
    size, count = board.master_bytes, board.hello.n_parameters
    new = np.random.default_rng(3).integers(0, 256, size * count).astype(np.uint8).tobytes()
    assert board(Message.SETW_BEGIN, struct.pack("<I", 0)).body == struct.pack("<I", 1)
    for type_, payload in good_requests(board, struct.pack("<I", 1)).items():
        served = {
            Message.HELLO, Message.DESCRIBE, Message.SETW_BEGIN, Message.SETW,
            Message.SETW_COMMIT, Message.RESET_MODEL, Message.STATS, Message.ECHO,
        }  # fmt: skip
        if type_ not in served and name == "residual":
            assert board.status(type_, payload) == Status.E_STATE
    commit = struct.pack("<II", 1, zlib.crc32(new))
    assert board.status(Message.SETW_COMMIT, commit) == Status.E_STATE
    most = (board.hello.max_request - 7) // size
    for _ in range(2):
        for first in range(0, count, most):
            n = min(most, count - first)
            masters = [new[i * size : (i + 1) * size] for i in range(first, first + n)]
            page = b"".join(m[-2:] for m in masters) + b"".join(m[:-2] for m in masters)
            reply = board(Message.SETW, struct.pack("<IHB", 1, first, n) + page)
            assert reply.body == struct.pack("<I", 1)
    assert board.status(Message.SETW_COMMIT, commit[:4] + b"1234") == Status.E_STATE
    assert board.status(Message.GETW, b"\0\0\x01") == Status.E_STATE
    assert board(Message.SETW_COMMIT, commit).body == struct.pack("<I", 2)
    assert board.masters() == new
    assert board.status(Message.SETW, struct.pack("<IHB", 2, 0, 1) + bytes(size)) == Status.E_STATE
    assert board.status(Message.SETW_COMMIT, struct.pack("<I", 2) + commit[4:]) == Status.E_STATE


def test_weights_that_are_half_set_are_forgotten_by_a_reset_of_the_model(
    boards: Callable[..., Board],
) -> None:
    board = boards("residual")
    assert board.status(Message.SETW_BEGIN, bytes(4)) == OK
    assert board.status(Message.SETW, struct.pack("<IHB", 1, 0, 1) + b"abc") == OK
    assert board.status(Message.RESET_MODEL, struct.pack("<IH", 1, 0)) == OK
    assert board.masters() == Twin(board.model).parameter_bytes()
    assert board.gen == 2


def test_a_reset_of_the_model_brings_its_weights_and_the_seed(
    boards: Callable[..., Board],
) -> None:
    board = boards("stochastic-l2")
    check_training(board, steps=3)
    assert board.status(Message.RESET_MODEL, struct.pack("<IH", 3, 777)) == OK
    twin, samples = Twin(board.model), Samples(board.model)
    twin.seed[:] = 777
    for gen in range(4, 40):
        x, t = samples.x(), samples.t()
        payload = struct.pack("<IB", gen, 0) + s16(t) + s16(x)
        assert board.status(Message.TRAIN, payload) == OK
        twin.train(x[np.newaxis], t[np.newaxis])
    assert board.masters() == twin.parameter_bytes()


@pytest.mark.parametrize("name", ["stochastic-l2", "momentum-l2"])
def test_parameters_of_learning_are_those_of_the_twin(
    boards: Callable[..., Board], name: str
) -> None:
    board = boards(name)
    twin, samples = Twin(board.model), Samples(board.model)
    sets = [(Parameter.LEARNING_RATE, 26215 | 3 << 16), (Parameter.DECAY, 77)]
    twin.set_learning_rate(LearningRate(26215, 3))
    twin.decay = 77
    if name == "momentum-l2":
        sets.append((Parameter.MOMENTUM, 1234))
        twin.momentum = 1234
    else:
        sets.append((Parameter.SEED, 4321))
        twin.seed[:] = 4321
    gen = 0
    for parameter, value in sets:
        payload = struct.pack("<IBI", gen, parameter, value)[:8]
        assert board.status(Message.SET_PARAM, payload) == OK
        gen += 1
    too_much = struct.pack("<IBI", gen, Parameter.DECAY, 32768)[:8]
    assert board.status(Message.SET_PARAM, too_much) == Status.E_RANGE
    apply = Flag.APPLY if name == "momentum-l2" else 0
    for _ in range(20):
        x, t = samples.x(), samples.t()
        assert board.status(Message.TRAIN, struct.pack("<IB", gen, apply) + s16(t) + s16(x)) == OK
        gen += 1
        twin.train(x[np.newaxis], t[np.newaxis])
        if apply:
            twin.apply()
    assert board.masters() == twin.parameter_bytes()


# ---- store --------------------------------------------------------------------------------------


def save(board: Board) -> int:
    """Save; give how many times the board was asked."""
    gen = struct.pack("<I", board.gen)
    for asked in range(1, 2000):
        reply = board(Message.SAVE, gen)
        assert reply.status == OK
        if reply.body[4:] == bytes(4):
            return asked
    raise AssertionError("a save does not end")


def test_a_saved_state_survives_a_restart(boards: Callable[..., Board]) -> None:
    board = boards("residual")
    assert board.status(Message.LOAD, bytes(4)) == Status.E_STATE
    check_training(board, steps=7)
    assert save(board) > 1
    assert save(board) == 1
    assert board.stats()["saves"] == 1
    saved = board.masters()
    board.transport.reset()
    board.transport.discard()
    assert board.gen == 7
    assert board.masters() == saved
    payload = struct.pack("<IB", 7, 0) + s16(np.arange(7) * 99)
    assert board.status(Message.TRAIN, payload) == OK
    assert board.masters() != saved
    reply = board(Message.LOAD, struct.pack("<I", 8))
    assert reply.body == struct.pack("<II", 9, zlib.crc32(saved))
    assert board.masters() == saved


def test_nothing_changes_while_a_save_runs(boards: Callable[..., Board]) -> None:
    board = boards("residual")
    good = good_requests(board)
    assert struct.unpack("<II", board(Message.SAVE, bytes(4)).body)[1] > 0
    for type_ in (Message.TRAIN, Message.TRAIN_N, Message.SETW_BEGIN, Message.LOAD):
        assert board.status(type_, good[type_]) == Status.E_STATE
    assert board.status(Message.INFER, good[Message.INFER]) == OK
    assert save(board) >= 1
    assert board.status(Message.TRAIN, good[Message.TRAIN]) == OK


# ---- the line -----------------------------------------------------------------------------------


def test_a_damaged_frame_is_dropped_and_counted(boards: Callable[..., Board]) -> None:
    board = boards("residual")
    whole = wire.encode(board.frame(Message.TRAIN, good_requests(board)[Message.TRAIN]))
    before = board.network
    flips = 0
    for place in range(1, len(whole) - 1):
        for bit in range(8):
            damaged = bytearray(whole)
            damaged[place] ^= 1 << bit
            board.transport.write(bytes(damaged))
            flips += 1
    for cut in range(2, len(whole) - 1):
        board.transport.write(whole[:cut] + b"\0")
        board.transport.write(b"\0" + whole[cut:])
    assert board.transport.read(0) == b""
    assert board.network == before
    stats = board.stats()
    assert stats["bad"] >= flips
    assert stats["gen"] == 0


@pytest.mark.parametrize("uno", [False, True])
def test_the_longest_frame_is_taken_and_a_longer_one_dropped(
    boards: Callable[..., Board], uno: bool
) -> None:
    board = boards("residual", uno=uno)
    room = board.hello.max_request
    for filler in (b"\0", b"x"):
        data = filler * (room - 1)
        assert board(Message.ECHO, bytes((room - 1,)) + data).body == data
        body = bytes((Message.ECHO, 1)) + struct.pack("<HB", SESSION, room) + filler * room
        body += struct.pack("<I", zlib.crc32(body))
        bad = board.stats()["bad"]
        board.transport.write(b"\0" + wire.cobs.encode(body) + b"\0")
        assert board.transport.read(0) == b""
        assert board.stats()["bad"] == bad + 1


def test_a_frame_shorter_than_any_is_dropped(boards: Callable[..., Board]) -> None:
    board = boards("residual")
    for size in range(1, 4):
        body = bytes(range(1, size + 1))
        body += struct.pack("<I", zlib.crc32(body))
        board.transport.write(b"\0" + wire.cobs.encode(body) + b"\0")
    assert board.transport.read(0) == b""
    assert board.stats()["bad"] == 3


def test_garbage_is_never_answered_and_leaves_the_board_well(
    boards: Callable[..., Board],
) -> None:
    board = boards("residual", uno=True)
    rng = np.random.default_rng(5)
    before = board.network
    for zeros in (0.0, 0.02, 0.3):
        flood = rng.integers(1, 256, 30_000).astype(np.uint8)
        flood[rng.random(30_000) < zeros] = 0
        board.transport.write(flood.tobytes())
    board.transport.write(b"\xff" * 2000 + b"\0")
    assert board.transport.read(0) == b""
    assert board.network == before
    check_training(board, steps=5)


def test_requests_in_a_row_are_answered_in_order(boards: Callable[..., Board]) -> None:
    board = boards("residual")
    frames = [board.frame(Message.ECHO, bytes((1, i))) for i in range(50)]
    board.transport.write(b"".join(wire.encode(frame) for frame in frames))
    assert [frame.payload for frame in board.frames()] == [bytes((0, i)) for i in range(50)]


# ---- faults put back ----------------------------------------------------------------------------

FAULTS: list[tuple[str, str, Callable[[Board], None]]] = [
    ("!same(PAYLOAD, s, GEN)", "0", check_gen_is_compared),
    ("!same(PAYLOAD, s, GEN)", "!same(PAYLOAD, s, 3)", check_gen_is_compared),
    ("!same(FRAME, &s->type, 2)", "1", check_repeats),
    ("!same(FRAME, &s->type, 2)", "!same(FRAME, &s->type, 1)", check_a_seq_is_used_again),
    ("    s->value = 0;\n    for", "    for", check_training),
    ("(uint16_t)n * each) !=", "(uint16_t)n * each) >", lambda b: check_lengths(b, Message.SETW)),
    (
        "(uint16_t)(n * each) !=",
        "(uint16_t)(n * each) >",
        lambda b: check_lengths(b, Message.TRAIN_N),
    ),
    ("s->tag++;\n        }", "}", check_gradient_ends),
]


@pytest.mark.parametrize(("old", "new", "check"), FAULTS)
def test_a_fault_in_the_link_is_noticed(old: str, new: str, check: Callable[[Board], None]) -> None:
    model = MODELS["residual"]
    files = firmware(model)
    assert files["bpgen_link.c"].count(old) == 1
    files["bpgen_link.c"] = files["bpgen_link.c"].replace(old, new)
    with LocalTransport(model, files=files) as transport:
        board = Board(model, transport).restart()
        with pytest.raises(AssertionError):
            check(board)


# ---- compilers ----------------------------------------------------------------------------------

COMPILERS = {
    "gcc": ("-O2",),
    "clang": ("-O2",),
    "avr-gcc": ("-mmcu=atmega328p", "-Os"),
    "arm-none-eabi-gcc": ("-mcpu=cortex-m0", "-mthumb", "-O2"),
    "riscv64-unknown-elf-gcc": ("-march=rv32imc", "-mabi=ilp32", "-ffreestanding", "-O2"),
}


@pytest.mark.parametrize("counters", [0, 1])
@pytest.mark.parametrize(
    "name",
    ["residual", "stochastic-l2", "batch-l2-sparsity", "inference-s8", "wide"],
)
@pytest.mark.parametrize("compiler", COMPILERS)
def test_the_link_compiles_without_a_warning(
    tool: Callable[[str], str], tmp_path: Path, compiler: str, name: str, counters: int
) -> None:
    constants = UNO if compiler == "avr-gcc" else LOCAL
    for file, text in firmware(MODELS[name], constants).items():
        (tmp_path / file).write_text(text, encoding="utf-8")
    command = [tool(compiler), *WARNINGS, *COMPILERS[compiler], f"-DBPGEN_COUNTERS={counters}"]
    run = subprocess.run(
        [*command, "-c", "bpgen_link.c", "bpgen_device.c"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr


# ---- what the generator refuses -----------------------------------------------------------------


def test_a_model_whose_replies_do_not_fit_is_refused() -> None:
    def files(outputs: int) -> dict[str, str]:
        sizes, kinds = (3, outputs), ("linear",)
        model = trainable(sizes, kinds, "squared_error", "residual")
        return device_files(model, "net", view_of(model, "net"), UNO)

    assert files(21)
    with pytest.raises(BpgenError, match="a frame of the board holds 52: use fewer outputs"):
        files(22)


def test_a_model_with_more_parameters_than_an_index_counts_is_refused() -> None:
    model = trainable((400, 163, 2), ("relu", "linear"), "squared_error", "residual")
    with pytest.raises(BpgenError, match="counts up to 65,535"):
        device_files(model, "net", view_of(model, "net"), LOCAL)


def test_a_state_too_large_for_the_board_is_not_stored() -> None:
    model = trainable((12, 12, 4), ("relu", "linear"), "squared_error", "residual")
    header = device_files(model, "net", view_of(model, "net"), UNO)["bpgen_device.h"]
    assert "#define BP_STORE_BYTES 0 /* two records of" in header

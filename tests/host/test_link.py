"""The board's side of the wire, compiled for this machine, answers as docs/protocol.md says."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest

from bpgen import wire
from bpgen.twin import Twin
from bpgen.wire import Capability, Flag, Message, Status
from tests.host.link_board import (
    OK,
    SESSION,
    Board,
    Hello,
    Samples,
    check_training,
    good_requests,
    s16,
)

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
    crc = zlib.crc32(Twin(board.model).parameter_bytes())
    assert board.stats() == {"gen": 0, "crc": crc, "tag": 0, "mode": 1, "bad": 0, "lost": 0}
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

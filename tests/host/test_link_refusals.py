"""What the compiled link refuses, and that it then changes nothing; what it does once only."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from bpgen import wire
from bpgen.wire import Capability, Flag, Message, Parameter, Status
from tests.host.link_board import (
    MODELS,
    OK,
    Board,
    good_requests,
    s16,
    stage,
)


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


UNSTAGED = [m for m in Message if m not in (Message.SETX, Message.BOOT)]


@pytest.mark.parametrize("type_", UNSTAGED, ids=lambda m: m.name)
def test_a_payload_of_any_other_length_is_refused(
    boards: Callable[..., Board], type_: Message
) -> None:
    check_lengths(boards("residual", uno=True), type_)


def test_a_piece_of_a_sample_of_any_other_length_is_refused(
    boards: Callable[..., Board],
) -> None:
    board = boards("edge")
    good = b"\0\0\x02" + bytes(4)
    for size in range(40):
        status = board.status(Message.SETX, (good + bytes(60))[:size])
        assert status == (OK if size == len(good) else Status.E_LEN)


def test_a_staged_sample_of_any_other_length_is_refused(boards: Callable[..., Board]) -> None:
    board = boards("edge")
    sample = stage(board, np.zeros(118, dtype=np.int64))
    before = board.network
    for flags, target in ((Flag.STAGED, 6), (Flag.STAGED | Flag.CLASS, 2)):
        good = struct.pack("<IB", 0, flags) + bytes(target) + sample
        for size in range(247):
            if size != len(good):
                assert board.status(Message.TRAIN, (good + bytes(247))[:size]) == Status.E_LEN
    assert board.network == before


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
    # SETX is for models whose samples are longer than a request.
    for type_ in {*range(wire.REPLY)} - {*UNSTAGED}:
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
        *((Message.INFER, bytes((1 << bit,)) + x) for bit in range(8)),
        (Message.BACKWARD, gen + b"\0" + t + low),
        (Message.TRAIN, gen + b"\0" + t + low),
        (Message.TRAIN_N, gen + b"\x02\0" + t + x + t + low),
        (Message.TRAIN_N, gen + b"\0\0"),
        (Message.TRAIN_N, gen + b"\x01\x04" + t + x),
        (Message.TRAIN_N, gen + b"\x01\x02" + t + x),
        *((Message.TRAIN, gen + bytes((1 << bit,)) + t + x) for bit in range(1, 8)),
        *((Message.BACKWARD, gen + bytes((1 << bit,)) + t + x) for bit in range(1, 8)),
        *((Message.TRAIN, gen + b"\x01" + struct.pack("<H", c) + x) for c in (3, 256, 65535)),
        (Message.TRAIN_N, gen + b"\x02\x01" + b"\0\0" + x + b"\x03\0" + x),
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


def test_a_sample_out_of_range_is_not_staged(boards: Callable[..., Board]) -> None:
    board = boards("edge")
    crc = stage(board, np.arange(118))
    before = board.network
    for piece in (
        b"\0\0\0",
        b"\x76\0\x01\0\0",
        b"\0\0\x77" + bytes(238),
        b"\x75\0\x02" + bytes(4),
        b"\xff\xff\x02" + bytes(4),
        b"\0\0\x02" + b"\0\0\0\x80",
    ):
        assert board.status(Message.SETX, piece) == Status.E_RANGE
    for flags in (Flag.APPLY, 8, 16, 32, 64, 128):
        named = bytes((flags | Flag.STAGED,)) + crc
        assert board.status(Message.INFER, named) == Status.E_RANGE
        named = struct.pack("<IBH", 0, flags | Flag.STAGED | Flag.CLASS, 0) + crc
        assert board.status(Message.TRAIN, named) == Status.E_RANGE
    for label in (3, 256, 65535):
        named = struct.pack("<IBH", 0, Flag.STAGED | Flag.CLASS, label) + crc
        assert board.status(Message.TRAIN, named) == Status.E_RANGE
    many = struct.pack("<IBBH", 0, 1, Flag.STAGED | Flag.CLASS, 0) + crc
    assert board.status(Message.TRAIN_N, many) == Status.E_RANGE
    assert board.network == before
    assert board.status(Message.INFER, bytes((Flag.STAGED,)) + crc) == OK


def test_a_model_with_one_output_has_no_classes(boards: Callable[..., Board]) -> None:
    board = boards("one-output")
    payload = struct.pack("<IBhhhh", 0, Flag.CLASS, 0, 1, 2, 3)
    assert board.status(Message.TRAIN, payload) == Status.E_RANGE
    assert board.status(Message.TRAIN, payload[:4] + b"\0" + payload[5:]) == OK


def test_pages_of_weights_and_gradients_fill_the_longest_reply(
    boards: Callable[..., Board],
) -> None:
    board = boards("residual", uno=True)
    assert board.status(Message.GETW, struct.pack("<HB", 0, 15)) == OK
    assert board.status(Message.GETW, struct.pack("<HB", 0, 16)) == Status.E_RANGE
    tag = board(Message.BACKWARD, good_requests(board)[Message.BACKWARD]).body[8]
    assert board.status(Message.GRADS, struct.pack("<BHB", tag, 0, 12)) == OK
    assert board.status(Message.GRADS, struct.pack("<BHB", tag, 0, 13)) == Status.E_RANGE

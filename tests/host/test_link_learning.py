"""What the compiled link computes over the wire is what the twin does."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest

from bpgen.model import LearningRate
from bpgen.twin import Twin
from bpgen.wire import Capability, Flag, Message, Parameter, Status
from tests.host.link_board import (
    MODELS,
    OK,
    Board,
    Samples,
    check_training,
    good_requests,
    loss_on_the_wire,
    s16,
    stage,
)

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


@pytest.mark.parametrize("name", ["inference-s8", "inference-s16", "residual", "wide", "edge"])
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
        if board.stages:
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
        flags, sample = 0, s16(x)
        if not board.fits(s16(t) + sample):
            flags, sample = Flag.STAGED, stage(board, x)
        reply = board(Message.BACKWARD, struct.pack("<IB", gen, flags) + s16(t) + sample)
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


def test_a_gradient_is_gone_once_a_part_of_its_sample_is(boards: Callable[..., Board]) -> None:
    board = boards("edge")
    sample = stage(board, Samples(board.model).x())
    head = struct.pack("<IB", 0, Flag.STAGED | Flag.CLASS) + b"\0\0"
    ask = board(Message.BACKWARD, head + sample).body[8:9] + b"\0\0\x01"
    assert board.status(Message.GRADS, ask) == OK
    assert board.status(Message.SETX, b"\0\0\x01\0\0") == OK
    assert board.status(Message.GRADS, ask) == Status.E_STATE


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
    board = boards("edge")
    crc = stage(board, np.arange(118))
    assert board.status(Message.INFER, b"\x02" + crc) == OK
    assert board.status(Message.INFER, b"\0" + s16(np.arange(1, 119))) == OK
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

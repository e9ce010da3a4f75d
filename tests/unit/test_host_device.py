"""Requests to a board over lines that lose, damage, double and delay: a scripted board answers."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpgen import wire
from bpgen.errors import BpgenError
from bpgen.qformat import IntArray
from bpgen.wire import Capability, Flag, Frame, Message, Status
from bpgen_host.description import printable
from bpgen_host.device import (
    Device,
    NoAnswer,
    NotABoard,
    Refused,
    Restarted,
    RestartLoop,
    Sample,
    Trained,
)
from tests.unit.toy_board import DESCRIPTION, N_IN, N_OUT, N_PARAMETERS, ToyBoard

STEPS = 60


def opened(board: ToyBoard) -> Device:
    device = Device(board, clock=board.clock, sleep=board.sleep)
    device.hello()
    board.most_on_the_way = 0
    return device


def x(*values: int) -> IntArray:
    return np.array(values, dtype=np.int64)


def samples(count: int = STEPS) -> list[Sample]:
    return [Sample(x(i, -i, 3), i % N_OUT) for i in range(count)]


def expected_log(count: int = STEPS, gen: int = 0) -> list[tuple[int, bytes]]:
    """What a board has done that did every sample once, in order."""
    return [(gen + i, struct.pack("<BH3h", Flag.CLASS, i % N_OUT, i, -i, 3)) for i in range(count)]


def only(numbers: set[int], fault: Callable[[bytes], Sequence[bytes]]) -> Callable:
    """A line on which frames of these numbers, counted from 1, suffer a fault."""
    return lambda number, data: fault(data) if number in numbers else (data,)


def drop(data: bytes) -> Sequence[bytes]:
    return ()


def double(data: bytes) -> Sequence[bytes]:
    return data, data


def flip(data: bytes) -> Sequence[bytes]:
    return (data[:5] + bytes((data[5] ^ 0x10,)) + data[6:],)


def cut(data: bytes) -> Sequence[bytes]:
    return (data[: len(data) // 2],)


FAULTS = [drop, double, flip, cut]


def check_steps(results: list[Trained], board: ToyBoard) -> None:
    """Every step was done once, and told in order, with what the board said or nothing."""
    assert board.log == expected_log()
    assert [result.gen for result in results] == list(range(1, STEPS + 1))
    twin = ToyBoard()
    for sample, result in zip(samples(), results, strict=True):
        y = twin.outputs(sample.a0.tolist())
        assert result.y is None or tuple(result.y) == y
        assert result.loss is None or result.loss == sum(y)
        twin.learn(b"", sample.a0.tolist())


# ---- A good line


def test_steps_on_a_good_line_come_back_in_order_and_without_faults() -> None:
    board = ToyBoard()
    device = opened(board)
    results = list(device.train_many(samples()))
    check_steps(results, board)
    assert all(result.y is not None for result in results)
    assert device.faults.total == 0
    assert device.gen == STEPS


def test_the_window_is_used_and_never_exceeded() -> None:
    board = ToyBoard(window=100)
    size = wire.line_size(len(wire.train_request(0, wire.Step(0, [0] * N_IN))))
    list(opened(board).train_many(samples()))
    assert 100 - size < board.most_on_the_way <= 100


def test_a_window_smaller_than_a_frame_lets_one_frame_through_at_a_time() -> None:
    board = ToyBoard(window=5)
    check_steps(list(opened(board).train_many(samples())), board)


@pytest.mark.parametrize("group", [2, 4, 5])
def test_groups_do_the_same_steps_in_fewer_frames(group: int) -> None:
    board = ToyBoard()
    device = opened(board)
    results = list(device.train_many(samples(), group))
    assert board.log == expected_log()
    assert sum(result.count for result in results) == STEPS
    assert len(results) == STEPS // group
    assert all(result.y is None and result.loss is not None for result in results)


def test_a_group_ends_where_a_batch_does() -> None:
    board = ToyBoard()
    batches = [Sample(x(i, 0, 0), 0, apply=i % 3 == 2) for i in range(7)]
    results = list(opened(board).train_many(batches, group=4))
    assert [result.count for result in results] == [3, 3, 1]
    assert [bool(what[0] & Flag.APPLY) for _, what in board.log] == [s.apply for s in batches]


def test_largest_group_fits_frame_and_window() -> None:
    device = opened(ToyBoard(window=100, max_request=52))
    assert device.largest_group(by_class=True) == (52 - 6) // (2 + 2 * N_IN)
    assert device.largest_group(by_class=True, frames=2) == (50 - 11 - 6) // (2 + 2 * N_IN)


def test_raw_targets_and_classes_may_follow_each_other() -> None:
    board = ToyBoard()
    mixed = [Sample(x(1, 2, 3), x(4, 5)), Sample(x(1, 2, 3), 1), Sample(x(1, 2, 3), x(4, 5))]
    list(opened(board).train_many(mixed, group=3))
    flags = [what[0] & Flag.CLASS for _, what in board.log]
    assert flags == [0, Flag.CLASS, 0]


def test_pages_of_weights_and_gradients_are_put_together() -> None:
    board = ToyBoard()
    device = opened(board)
    assert device.parameters().tolist() == board.masters
    assert device.gradient(device.backward(x(1, 2, 3), 0).tag).tolist() == list(range(N_PARAMETERS))


def test_set_parameters_replaces_all_weights() -> None:
    board = ToyBoard()
    masters = np.arange(N_PARAMETERS) * -1000
    device = opened(board)
    device.set_parameters(masters)
    assert board.masters == masters.tolist()
    assert device.gen == board.gen == 2


def test_the_other_requests_reach_the_board() -> None:
    board = ToyBoard(capabilities=Capability.LEARNS | Capability.LOW_BYTE | Capability.COUNTERS)
    device = opened(board)
    assert tuple(device.infer(x(1, 2, 3))) == board.outputs((1, 2, 3))
    assert device.save() == 0
    device.train(x(1, 2, 3), 0)
    device.load()
    device.reset_model(3)
    device.set_parameter(wire.Parameter.DECAY, 5)
    assert device.gen == board.gen == 4
    assert device.stats().weights_crc32 == board.crc32
    assert device.counters().zero_updates == 5
    assert device.echo(b"\0abc") > 0


def test_a_long_sample_is_staged_in_pieces() -> None:
    board = ToyBoard(max_request=10)
    device = opened(board)
    results = list(device.train_many(samples(5)))
    assert [what[-2 * N_IN :] for _, what in board.log] == [
        struct.pack("<3h", *s.a0.tolist()) for s in samples(5)
    ]
    assert len(results) == 5
    assert tuple(device.infer(x(1, 2, 3))) == board.outputs((1, 2, 3))


# ---- A bad line


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("number", [2, 3, 7, 30, STEPS + 1])
def test_a_step_that_suffers_on_its_way_is_done_once(number: int, fault: Callable) -> None:
    board = ToyBoard(to_board=only({number}, fault))
    device = opened(board)
    check_steps(list(device.train_many(samples())), board)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("number", [3, 4, 9, 30, STEPS + 2])
def test_a_step_whose_reply_suffers_is_done_once(number: int, fault: Callable) -> None:
    board = ToyBoard(to_host=only({number}, fault))
    device = opened(board)
    check_steps(list(device.train_many(samples())), board)


def test_a_lost_reply_shows_by_the_next_one_without_a_timeout() -> None:
    board = ToyBoard(to_host=only({5}, drop))
    device = opened(board)
    results = list(device.train_many(samples()))
    assert [result.loss is None for result in results].count(True) == 1
    assert (device.faults.lost_replies, device.faults.timeouts) == (1, 0)


def test_a_hole_is_filled_without_a_timeout() -> None:
    board = ToyBoard(to_board=only({5}, drop))
    device = opened(board)
    check_steps(list(device.train_many(samples())), board)
    assert device.faults.timeouts == 0
    assert device.faults.retries == device.faults.refused + 1


@pytest.mark.parametrize("seed", range(20))
def test_a_line_that_damages_a_fifth_of_all_frames_changes_no_step(seed: int) -> None:
    rng = np.random.default_rng(seed)

    def fault(number: int, data: bytes) -> Sequence[bytes]:
        if rng.random() > 0.2:
            return (data,)
        return FAULTS[int(rng.integers(len(FAULTS)))](data)

    board = ToyBoard()
    device = opened(board)
    board.to_board = board.to_host = fault
    check_steps(list(device.train_many(samples())), board)
    board.to_board = board.to_host = lambda number, data: (data,)
    masters = device.parameters()
    assert masters.tolist() == board.masters


@given(
    lost=st.sets(st.integers(1, STEPS), max_size=12),
    mute=st.sets(st.integers(1, STEPS), max_size=12),
    window=st.integers(20, 300),
    group=st.integers(1, 4),
)
def test_any_pattern_of_losses_does_every_step_once(
    lost: set[int], mute: set[int], window: int, group: int
) -> None:
    board = ToyBoard(window=window)
    device = opened(board)
    sent, answered = board._sent, board._answered
    board.to_board = lambda number, data: () if number - sent in lost else (data,)
    board.to_host = lambda number, data: () if number - answered in mute else (data,)
    results = list(device.train_many(samples(), group))
    assert board.log == expected_log()
    assert sum(result.count for result in results) == STEPS


@pytest.mark.parametrize("fault", FAULTS)
def test_pages_survive_a_bad_line(fault: Callable) -> None:
    every_third = set(range(2, 400, 3))
    board = ToyBoard()
    device = opened(board)
    board.to_board, board.to_host = only(every_third, fault), only(every_third, fault)
    assert device.parameters().tolist() == board.masters
    masters = np.arange(N_PARAMETERS) * 7
    device.set_parameters(masters)
    assert board.masters == masters.tolist()
    assert device.description().labels == ("a", "b")


def test_a_staged_sample_with_a_lost_piece_is_never_trained() -> None:
    board = ToyBoard(max_request=10, to_board=only({2, 5, 6, 9}, drop))
    device = opened(board)
    list(device.train_many(samples(8)))
    assert [what[-2 * N_IN :] for _, what in board.log] == [
        struct.pack("<3h", *s.a0.tolist()) for s in samples(8)
    ]


def test_a_board_slower_than_the_timeout_is_waited_for() -> None:
    board = ToyBoard(compute=0.001)
    device = opened(board)
    device.train(x(1, 2, 3), 0)
    board.compute = 0.3
    list(device.train_many(samples(10)))
    assert len(board.log) == 11
    assert device.faults.restarts == 0


def test_after_five_silences_a_new_session_goes_on_where_the_board_is() -> None:
    board = ToyBoard()
    device = opened(board)
    start = board._answered
    board.to_host = lambda number, data: () if start + 10 < number <= start + 20 else (data,)
    board.to_board = lambda number, data: () if 20 < number <= 30 else (data,)
    check_steps(list(device.train_many(samples())), board)


def test_a_board_that_falls_silent_for_good_is_given_up_with_the_counters() -> None:
    board = ToyBoard()
    device = opened(board)
    board.to_host = lambda number, data: ()
    with pytest.raises(NoAnswer, match=r"fell silent.*6 timeouts"):
        device.train(x(1, 2, 3), 0)
    assert board.boots == 2, "its reset line was tried"


def test_a_board_that_was_reset_to_be_heard_again_is_told_apart() -> None:
    board = ToyBoard()
    device = opened(board)
    board.to_board = lambda number, data: () if board.boots == 1 else (data,)
    with pytest.raises(Restarted):
        device.train(x(1, 2, 3), 0)
    assert device.hello().boots == 2


# ---- A board that restarts, or is not the only host's


def test_a_restart_in_the_middle_is_never_gone_on_with_in_silence() -> None:
    board = ToyBoard()
    device = opened(board)

    def restarting(number: int, data: bytes) -> Sequence[bytes]:
        if number == 20:
            board.boot()
            return ()
        return (data,)

    board.to_board = restarting
    with pytest.raises(Restarted):
        list(device.train_many(samples()))
    assert device.hello().gen == 0
    assert device.gen == 0


def test_a_restart_whose_boot_was_lost_shows_by_the_session() -> None:
    board = ToyBoard()
    device = opened(board)
    board.to_host = lambda number, data: ()
    board.boot()
    board.to_host = lambda number, data: (data,)
    with pytest.raises(Restarted):
        device.parameters()


def test_a_gen_that_nobody_expects_is_another_state() -> None:
    board = ToyBoard()
    device = opened(board)
    board.gen = 1000
    with pytest.raises(Restarted, match="state of the board has changed"):
        device.train(x(1, 2, 3), 0)


def test_gen_is_asked_for_after_a_run_that_was_broken_off() -> None:
    board = ToyBoard()
    device = opened(board)
    steps = device.train_many(samples())
    next(steps)
    steps.close()
    assert device.gen == board.gen
    before = len(board.log)
    device.train(x(9, 9, 9), 0)
    assert len(board.log) == before + 1


def test_gen_wraps_around() -> None:
    board = ToyBoard()
    board.gen = 2**32 - 5
    device = opened(board)
    board.to_board = only({6, 9}, drop)
    list(device.train_many(samples()))
    assert len(board.log) == STEPS
    assert device.gen == STEPS - 5


def test_a_refused_sample_says_so_after_the_ones_before_it() -> None:
    board = ToyBoard()
    device = opened(board)
    steps = device.train_many([*samples(3), Sample(x(1234, 0, 0), 0), *samples(3)])
    assert [next(steps).gen for _ in range(3)] == [1, 2, 3]
    with pytest.raises(Refused, match="out of the range") as error:
        next(steps)
    assert error.value.status == Status.E_RANGE
    assert len(board.log) == 3
    assert device.gen == 3


def test_what_a_firmware_cannot_do_is_one_sentence() -> None:
    board = ToyBoard()
    device = opened(board)
    board._train = None
    with pytest.raises(Refused, match="nothing is stored"):
        device.load()


def test_samples_of_another_shape_are_refused_before_they_are_sent() -> None:
    device = opened(ToyBoard())
    with pytest.raises(BpgenError, match="2 inputs"):
        device.infer(x(1, 2))
    with pytest.raises(BpgenError, match="3 targets"):
        device.train(x(1, 2, 3), x(1, 2, 3))
    with pytest.raises(BpgenError, match="2 weights"):
        device.set_parameters(x(1, 2))


# ---- Opening


class Mute:
    """A port behind which something else than a board is: it sends `data` again and again."""

    name, baud = "/dev/ttyX", 9600

    def __init__(self, data: bytes = b"", every: float = 0.0) -> None:
        self.data, self.every, self.now, self.next = data, every, 0.0, 0.0

    def read(self, timeout: float) -> bytes:
        if self.data and self.next <= self.now + timeout:
            self.now = max(self.now, self.next) + 1e-4
            self.next = self.now + self.every
            return self.data
        self.now += timeout
        return b""

    def write(self, data: bytes) -> None: ...

    def reset(self) -> None: ...

    def discard(self) -> None: ...

    def close(self) -> None: ...

    def clock(self) -> float:
        return self.now


BOOT = wire.encode(Frame(Message.BOOT, 0, 0, bytes(32)))


def test_a_frame_of_which_the_host_missed_the_start_is_no_fault_but_the_next_one_is() -> None:
    def from_the_middle(data: bytes) -> Sequence[bytes]:
        return (data[6:],)

    for missed, faults in (({1}, 0), ({1, 2}, 1)):
        board = ToyBoard(to_host=only(missed, from_the_middle))
        assert opened(board).faults.total == faults


@pytest.mark.parametrize(
    ("port", "error", "text"),
    [
        (Mute(), NoAnswer, r"no answer from /dev/ttyX at 9600 baud: .*baud rate"),
        (Mute(b"login: ", 1.0), NotABoard, "not the protocol of bpgen"),
        (Mute(b"\xa5" * 4096, 0.05), NotABoard, "not the protocol of bpgen"),
        (Mute(b"\0" * 4096, 0.05), NotABoard, "not the protocol of bpgen"),
        (Mute(b"\0\x05hello\0" * 500, 0.05), NotABoard, "not the protocol of bpgen"),
        (Mute(BOOT, 0.4), RestartLoop, "restarted .* times in 5 s: check its power"),
        (Mute(BOOT, 3.0), NoAnswer, "speaks but does not answer"),
    ],
    ids=["silence", "login", "flood", "zeros", "pieces", "boot loop", "boots and is mute"],
)
def test_what_is_no_board_is_told_in_one_sentence(port: Mute, error: type, text: str) -> None:
    with pytest.raises(error, match=text):
        Device(port, clock=port.clock).hello()
    assert port.now < 6.0


def test_a_flood_takes_no_memory() -> None:
    port = Mute(b"\xa5" * 4096, 0.05)
    device = Device(port, clock=port.clock)
    with pytest.raises(NotABoard):
        device.hello()
    exchange = device._exchange
    assert len(exchange._decoder._piece) <= wire.Decoder.LONGEST
    assert len(exchange._frames) == 0


def test_a_boot_loader_that_eats_the_first_frames_is_waited_out() -> None:
    board = ToyBoard(to_board=only({1, 2, 3, 4}, drop))
    device = Device(board, clock=board.clock)
    assert device.hello().n_in == N_IN
    assert 0.7 < board.now < 2.0


@pytest.mark.parametrize("change", [{"protocol": 2}, {"n_in": 0}, {"max_reply": 3}])
def test_a_hello_that_cannot_be_is_refused(change: dict[str, int]) -> None:
    board = ToyBoard()

    def changed(number: int, data: bytes) -> Sequence[bytes]:
        frame = wire.decode(data[1:-1])
        if frame.type != Message.HELLO | wire.REPLY:
            return (data,)
        values = vars(wire.Hello.from_bytes(frame.payload[1:])) | change
        payload = b"\0" + wire.Hello(**values).to_bytes()
        return (wire.encode(Frame(frame.type, frame.seq, frame.session, payload)),)

    board.to_host = changed
    with pytest.raises(NotABoard, match="build it again"):
        Device(board, clock=board.clock).hello()


# ---- What a board says is hostile


def described(text: bytes) -> Device:
    board = ToyBoard()
    board.description = text
    return opened(board)


def test_texts_of_a_board_cannot_steer_a_terminal_or_flood_it() -> None:
    bad = DESCRIPTION.replace(b"toy", b"\\u001b[2Jowned\\n").replace(
        b'["a"', b'["' + b"a" * 500 + b'"'
    )
    description = described(bad).description()
    assert description.name == "?[2Jowned?"
    assert len(description.labels[0]) == 40


@pytest.mark.parametrize(
    "text",
    [b"", b"{}", b"[" * 2000, b"\xff\xfe", b'{"name":1}', b"1" * 5000, b"null"],
    ids=["empty", "no keys", "deep", "not UTF-8", "a number", "a huge number", "null"],
)
def test_a_damaged_description_is_one_sentence(text: bytes) -> None:
    with pytest.raises(NotABoard, match="DESCRIBE"):
        described(text).description()


def test_printable_keeps_letters_of_all_alphabets() -> None:
    assert printable("Größe 温度") == "Größe 温度"
    assert printable("a\x1b\u202eb\r\n") == "a??b??"
    assert printable("x" * 41) == "x" * 39 + "…"


@given(data=st.binary(max_size=400))
def test_no_bytes_of_a_device_break_the_host(data: bytes) -> None:
    board = ToyBoard()
    device = opened(board)
    board.send_raw(data)
    board.send_raw(b"\0")
    assert device.stats().weights_crc32 == board.crc32


@given(
    status=st.integers(0, 255),
    rest=st.binary(max_size=60),
    message=st.sampled_from(sorted(set(Message) - {Message.HELLO, Message.BOOT})),
)
def test_any_reply_is_read_or_refused_as_a_mistake_a_user_can_see(
    status: int, rest: bytes, message: Message
) -> None:
    board = ToyBoard(capabilities=Capability.LEARNS | Capability.LOW_BYTE)
    device = opened(board)

    def other(number: int, data: bytes) -> Sequence[bytes]:
        frame = wire.decode(data[1:-1])
        if frame.type != message | wire.REPLY:
            return (data,)
        return (wire.encode(Frame(frame.type, frame.seq, frame.session, bytes((status,)) + rest)),)

    board.to_host = other
    requests: dict[Message, Callable[[], object]] = {
        Message.DESCRIBE: device.description,
        Message.SETX: lambda: device.set_input(x(1, 2, 3)),
        Message.INFER: lambda: device.infer(x(1, 2, 3)),
        Message.BACKWARD: lambda: device.backward(x(1, 2, 3), 0),
        Message.TRAIN: lambda: device.train(x(1, 2, 3), 0),
        Message.TRAIN_N: lambda: list(device.train_many(samples(4), group=2)),
        Message.GRADS: lambda: device.gradient(1),
        Message.GETW: device.parameters,
        Message.SETW_BEGIN: lambda: device.set_parameters(np.zeros(N_PARAMETERS, dtype=np.int64)),
        Message.SAVE: device.save,
        Message.LOAD: device.load,
        Message.RESET_MODEL: device.reset_model,
        Message.SET_PARAM: lambda: device.set_parameter(wire.Parameter.SEED, 1),
        Message.STATS: device.stats,
        Message.ECHO: lambda: device.echo(b"abc"),
    }
    requests[Message.SETW] = requests[Message.SETW_COMMIT] = requests[Message.SETW_BEGIN]
    with contextlib.suppress(BpgenError):
        requests[message]()

"""Mistakes of the host library and its commands that once were there."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner

from bpgen import wire
from bpgen.commands.shared import print_json
from bpgen.errors import BpgenError
from bpgen.qformat import IntArray
from bpgen.quantization import inference_only
from bpgen.wire import Capability, Frame, Message
from bpgen_host.capture import Capture, read_capture, replay_host_bytes
from bpgen_host.cli import cli
from bpgen_host.commands.predict import table
from bpgen_host.compare import compare_gradient
from bpgen_host.device import Device, Sample
from bpgen_host.exchange import RoundTrip
from bpgen_host.failures import NoAnswer, NotABoard, Restarted
from bpgen_host.link import LinkError, Unplugged
from bpgen_host.local import LOCAL, LocalTransport
from bpgen_host.session import Plan, Progress, Session
from tests.host.boards import Task, task
from tests.unit.toy_board import DESCRIPTION, N_OUT, N_PARAMETERS, ToyBoard

SIZES = (3, 5, 2, 4)


@pytest.fixture
def chosen(tool: Callable[[str], str]) -> Task:
    tool("gcc")
    return task(SIZES)


def opened(board: ToyBoard) -> Device:
    device = Device(board, clock=board.clock, sleep=board.sleep)
    device.hello()
    return device


def x(*values: int) -> IntArray:
    return np.array(values, dtype=np.int64)


# ---- What a board says of itself


def test_a_firmware_that_only_infers_describes_itself(chosen: Task) -> None:
    """Its description has null for the update, which was taken for nonsense."""
    model = inference_only(chosen.model)
    with LocalTransport(model) as transport:
        device = Device(transport)
        device.hello()
        assert device.description().update is None
        assert device.description().learns == ()


@pytest.mark.parametrize(
    "change",
    [
        {"sizes": [3]},
        {"sizes": [3, -8, 2]},
        {"sizes": [3, 200_000, 2]},
        {"learns": [1]},
        {"learns": [3]},
        {"learns": [0, 1]},
        {"learns": [2, 1]},
        {"w_frac": []},
        {"w_frac": [-(2**31), 11]},
        {"dz_frac": [15]},
        {"a_frac": [12]},
        {"hash": "ffffffff"},
        {"store": {"bytes": 1024, "writes": -7}},
        {"store": {"bytes": -1, "writes": 7}},
    ],
    ids=str,
)
def test_a_description_that_contradicts_the_hello_is_refused(change: dict[str, object]) -> None:
    """It ended in an IndexError where the weights are laid out."""
    board = ToyBoard()
    board.description = json.dumps(json.loads(DESCRIPTION) | change).encode()
    with pytest.raises(NotABoard, match="DESCRIBE"):
        opened(board).description()


def test_a_board_that_announces_frames_longer_than_any_is_refused() -> None:
    """The first long request ended in a ValueError."""
    with pytest.raises(NotABoard, match="cannot be"):
        opened(ToyBoard(max_request=wire.MAX_FRAME - wire.OVERHEAD + 1))


# ---- Requests


def test_a_group_larger_than_a_frame_is_cut_to_fit() -> None:
    board = ToyBoard()
    results = list(opened(board).train_many([Sample(x(1, 2, 3), 0)] * 20, group=255))
    assert sum(result.count for result in results) == len(board.log) == 20
    assert len(results) < 5


def test_targets_of_which_some_do_not_fit_inline_are_staged() -> None:
    """A target that is no class takes more room; the board dropped its frame, again and again."""
    board = ToyBoard(max_request=5 + 2 + 6)
    targets = [0, x(1, 2), 1, 0, x(3, 4), x(5, 6), 1]
    results = list(opened(board).train_many(Sample(x(7, 8, 9), t) for t in targets))
    assert [result.gen for result in results] == list(range(1, len(targets) + 1))
    assert len(board.log) == len(targets)
    assert max(len(frame.payload) for frame in board.requests) <= board.max_request


@pytest.mark.parametrize("answered", [0, 3], ids=["never", "no longer"])
def test_a_request_that_is_never_answered_is_given_up_though_the_board_says_hello(
    answered: int,
) -> None:
    """The host went on for ever, then for minutes, with a HELLO that worked after each silence."""
    board = ToyBoard()
    device = opened(board)
    for _ in range(answered):
        device.infer(x(1, 2, 3))

    def deaf(number: int, data: bytes) -> tuple[bytes, ...]:
        piece = data.strip(b"\0")
        return () if piece and wire.decode(piece).type == Message.INFER else (data,)

    board.to_board = deaf
    began = board.now
    with pytest.raises(NoAnswer, match="says hello but never answers INFER"):
        device.infer(x(1, 2, 3))
    assert board.now - began < 40


def test_requests_slower_than_the_first_timeout_are_learned() -> None:
    """Each retry keeps such a board busy for as long again."""
    board = ToyBoard()
    device = opened(board)
    board.compute = 1.4
    for _ in range(4):
        device.infer(x(1, 2, 3))
    assert device.faults.restarts == 0
    before = device.faults.timeouts
    device.infer(x(1, 2, 3))
    assert device.faults.timeouts == before


def test_a_reply_is_waited_for_as_long_as_its_line_takes() -> None:
    """At 50 baud the bytes of one request and its reply take longer than any computing."""
    trip = RoundTrip()
    for _ in range(9):
        trip.back_off()
    assert trip.timeout(wire_time=25.0) > 25.0 + 2.9


class Flooding(ToyBoard):
    """Frames that nobody waits for come all the time, faster than they are read."""

    floods = False

    def read(self, timeout: float) -> bytes:
        if not self.floods:
            return super().read(timeout)
        self.now += 0.001
        if self.now > 600:
            raise AssertionError("still listening after ten minutes")
        return wire.encode(Frame(Message.ECHO | wire.REPLY, 200, 7, b"\0"))


def test_a_flood_of_frames_that_nobody_waits_for_counts_as_silence() -> None:
    board = Flooding()
    device = opened(board)
    board.floods = True
    with pytest.raises(NoAnswer):
        device.infer(x(1, 2, 3))


def test_a_flood_does_not_hold_up_a_pause() -> None:
    board = Flooding()
    device = opened(board)
    board.floods = True
    device._exchange.pause(0.5)
    assert board.now < 2.0


def test_a_save_that_never_ends_and_weights_that_never_rest_are_faults_of_the_board() -> None:
    """They ended with the exit code of a mistake in the input."""

    class Restless(ToyBoard):
        def _save(self, payload: bytes) -> tuple[wire.Status, bytes]:
            return wire.Status.OK, struct.pack("<II", self.gen, 9)

        def _getw(self, payload: bytes) -> tuple[wire.Status, bytes]:
            self.gen += 1
            return super()._getw(payload)

    device = opened(Restless())
    for request, said in ((device.save, "has not stored"), (device.parameters, "change while")):
        with pytest.raises(LinkError, match=said) as error:
            request()
        assert error.value.exit_code == 3


def test_the_sentence_on_a_lost_session_has_one_comma() -> None:
    board = ToyBoard()
    device = opened(board)
    board.session = 0
    with pytest.raises(Restarted, match="said hello to it, and what was on the way"):
        device.infer(x(1, 2, 3))


def test_gen_is_asked_for_after_a_backward_that_was_interrupted() -> None:
    """With running means BACKWARD raises gen, and the host kept the old one."""
    board = ToyBoard(capabilities=Capability.LEARNS | Capability.LOW_BYTE | Capability.MEANS)
    device = opened(board)

    def interrupted(*_: object) -> None:
        board.gen += 1
        raise KeyboardInterrupt

    board.read = interrupted  # type: ignore[method-assign, assignment]
    with pytest.raises(KeyboardInterrupt):
        device.backward(x(1, 2, 3), 0)
    del board.read
    assert device.gen == board.gen


# ---- Sessions


def test_a_board_ahead_of_the_log_repeats_no_step(chosen: Task, tmp_path: Path) -> None:
    """Of what was done after the last check the number of repeated steps fell below 0."""
    log = tmp_path / "run.log"
    plan = Plan(2)
    settings = {"log": log, "check_every": 32, "group": 1}
    with LocalTransport(chosen.model) as transport:
        device = Device(transport)
        device.hello()

        def interrupt(now: Progress) -> None:
            if now.step > 40:
                raise KeyboardInterrupt

        first = Session(
            device, chosen.model, chosen.a0, chosen.t, plan, **settings, on_progress=interrupt
        )
        first._reported = -1e9
        device_clock = iter(range(10**6))
        device._exchange.clock = lambda: float(next(device_clock))
        with first, pytest.raises(KeyboardInterrupt):
            first.run()
        device = Device(transport)
        device.hello()
        with Session(
            device, chosen.model, chosen.a0, chosen.t, plan, **settings, resume=True
        ) as second:
            outcome = second.run()
    assert outcome.repeated == 0
    assert outcome.sent < outcome.steps - 32


def test_after_a_resume_the_rate_is_that_of_the_steps_done_now(
    chosen: Task, tmp_path: Path
) -> None:
    """It was negative while the board caught up, and too high once the run had ended."""
    log = tmp_path / "run.log"
    seen: list[Progress] = []
    with LocalTransport(chosen.model) as transport:
        for resume in (False, True):
            transport.reset()
            device = Device(transport)
            device.hello()
            with Session(
                device, chosen.model, chosen.a0, chosen.t, Plan(2), log=log, resume=resume,
                check_every=16, on_progress=seen.append,
            ) as session:  # fmt: skip
                outcome = session.run()
    assert outcome.sent == outcome.repeated == outcome.steps
    assert min(now.steps_per_second for now in seen) >= 0


def test_an_unplugged_port_is_closed_before_it_is_opened_again(chosen: Task) -> None:
    """Linux gives a board that comes back another name while the old one is still open."""
    happened: list[str] = []
    with LocalTransport(chosen.model) as transport:

        class Port:
            name, baud = "port", None
            left = 60

            def __getattr__(self, name: str) -> object:
                return getattr(transport, name)

            def write(self, data: bytes) -> None:
                self.left -= 1
                if not self.left:
                    raise Unplugged("port was unplugged: connect it again")
                transport.write(data)

            def close(self) -> None:
                happened.append("close")

        def reopen() -> Port:
            happened.append("open")
            port = Port()
            port.left = 0
            return port

        device = Device(Port())
        device.hello()
        with Session(
            device, chosen.model, chosen.a0, chosen.t, Plan(1), group=1, reopen=reopen
        ) as session:
            session.run()
    assert happened == ["close", "open"]


@pytest.mark.parametrize("rate", [float("nan"), float("inf"), 0.0, -1.0])
def test_a_learning_rate_that_is_no_number_is_named_itself(chosen: Task, rate: float) -> None:
    """The message blamed the decay."""
    with LocalTransport(chosen.model) as transport:
        device = Device(transport)
        device.hello()
        plan = Plan(3, learning_rate=rate)
        with pytest.raises(BpgenError, match="the learning rate is"):
            Session(device, chosen.model, chosen.a0, chosen.t, plan)


# ---- Recordings


@pytest.mark.parametrize("stores", [True, False])
def test_a_recording_of_a_small_board_replays(
    chosen: Task, tmp_path: Path, *, stores: bool
) -> None:
    """The replay announced a window and frames of its own, so no recording of an Uno passed."""
    constants = replace(LOCAL, window=63, frame=60, store_bytes=1024 if stores else 0)
    path = tmp_path / "run.bpcap"
    with (
        LocalTransport(chosen.model, constants, counters=True) as transport,
        Capture(path) as capture,
        Device(transport, capture=capture) as device,
    ):
        device.hello()
        device.description()
        device.counters()
        list(device.train_many(Sample(a0, 0) for a0 in chosen.a0[:9]))
        if stores:
            device.save()
    found = replay_host_bytes(read_capture(path), chosen.model)
    assert found.passed, found.different


def test_a_recording_of_another_model_is_one_sentence(chosen: Task, tmp_path: Path) -> None:
    path = tmp_path / "run.bpcap"
    with (
        LocalTransport(chosen.model) as transport,
        Capture(path) as capture,
        Device(transport, capture=capture) as device,
    ):
        device.hello()
    other = task(SIZES, "stochastic").model
    with pytest.raises(BpgenError, match=f"{chosen.model.hash}.*{other.hash}"):
        replay_host_bytes(read_capture(path), other)


# ---- Commands


def test_the_advice_on_a_sparse_model_names_the_option_that_there_is(chosen: Task) -> None:
    """It said --reset."""
    device = SimpleNamespace(
        check_model=lambda model: None, info=SimpleNamespace(capabilities=Capability.MEANS)
    )
    with pytest.raises(BpgenError, match="--reset-weights"):
        compare_gradient(device, chosen.model, chosen.a0[0], chosen.t[0])  # type: ignore[arg-type]


def test_figures_that_are_no_numbers_are_null_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    """The share of a bound of 0 is infinite, and Infinity is no JSON."""
    print_json({"share": float("inf"), "rows": [(float("nan"), 1.5)]})

    def refuse(name: str) -> None:
        raise AssertionError(name)

    found = json.loads(capsys.readouterr().out, parse_constant=refuse)
    assert found == {"share": None, "rows": [[None, 1.5]]}


@pytest.mark.parametrize(
    "arguments",
    [
        ("monitor", "--every", "nan"),
        ("monitor", "--every", "inf"),
        ("monitor", "--seconds", "nan"),
        ("stream", "x.csv", "--patience", "nan"),
    ],
)
def test_times_that_are_no_numbers_are_refused(arguments: tuple[str, ...]) -> None:
    """nan passes the limits of click's ranges, and time.sleep raised."""
    result = CliRunner().invoke(cli, [*arguments, "--port", "nowhere"])
    assert result.exit_code == 2
    assert arguments[-2] in result.stderr


def test_printed_predictions_are_the_rows_of_the_file() -> None:
    """Spaces in a class were merged, and a line separator in one broke its row."""
    rows = [["a  b"], ["c\u2028d"], ["\x1b[2J"], ['"q"'], [0.5]]
    assert table(["kind"], rows, shown=True) == 'kind\na  b\nc?d\n?[2J\n"""q"""\n0.5\n'
    assert table(["kind"], rows).split("\n")[2] == "c\u2028d"


def test_predictions_go_to_the_file_of_the_option_that_all_commands_have() -> None:
    result = CliRunner().invoke(cli, ["predict", "--help"])
    assert "--output-file" in result.stdout


def test_the_toy_board_describes_what_it_announces() -> None:
    sizes = json.loads(DESCRIPTION)["sizes"]
    count = sum((i + 1) * o for i, o in pairwise(sizes))
    assert (sizes[-1], count) == (N_OUT, N_PARAMETERS)

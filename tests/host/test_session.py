"""Training over a bad line: the same weights as on a good one, or an error that says why."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest

from bpgen import wire
from bpgen.errors import BpgenError
from bpgen.qformat import IntArray
from bpgen.simulate import Simulation
from bpgen.training import sample_order
from bpgen_host import follower
from bpgen_host.device import Device
from bpgen_host.failures import RestartLoop
from bpgen_host.link import Unplugged
from bpgen_host.local import LocalTransport
from bpgen_host.plan import Sequence
from bpgen_host.session import Different, Outcome, Plan, Progress, Session
from bpgen_host.training_log import read_log
from tests.host.boards import Task, task
from tests.host.lossy import Lossy

SIZES = (3, 5, 2, 4)
UPDATES = ("residual", "stochastic", "batch", "momentum")


@pytest.fixture(scope="module", params=UPDATES)
def board(request: pytest.FixtureRequest, tool: Callable) -> Iterator[tuple[Task, LocalTransport]]:
    """A board in this process for each kind of update."""
    tool("gcc")
    chosen = task(SIZES, request.param)
    with LocalTransport(chosen.model) as transport:
        yield chosen, transport


@pytest.fixture
def local(tool: Callable) -> Iterator[tuple[Task, LocalTransport]]:
    """A board with the residual update, whose store is empty."""
    tool("gcc")
    chosen = task(SIZES)
    with LocalTransport(chosen.model) as transport:
        yield chosen, transport


def opened(line: Lossy) -> Device:
    device = Device(line, clock=line.clock, sleep=line.sleep)
    device.hello()
    return device


def trained(chosen: Task, epochs: int, seed: int = 0) -> IntArray:
    """Masters after the same steps in the compiled C, without any board."""
    training = chosen.model.training
    assert training is not None
    batch = training.batch_size if training.update in ("batch", "momentum") else 1
    with Simulation(chosen.model) as simulation:
        for epoch in range(epochs):
            order = sample_order(len(chosen.a0), epoch, seed)
            simulation.train(chosen.a0, chosen.t, order, batch)
        return simulation.parameters()


def check(outcome: Outcome, device: Device, expected: IntArray) -> None:
    """The board has exactly these weights, by its own account."""
    assert np.array_equal(device.parameters(), expected)
    assert np.array_equal(outcome.parameters, expected)
    assert outcome.weights_crc32 == device.stats().weights_crc32
    assert outcome.gen == device.gen


def test_on_a_good_line_a_board_learns_the_bits_of_the_compiled_code(
    board: tuple[Task, LocalTransport],
) -> None:
    chosen, transport = board
    device = opened(Lossy(transport, 0, rate=0.0))
    seen: list[Progress] = []
    with Session(
        device, chosen.model, chosen.a0, chosen.t, Plan(5, seed=3), on_progress=seen.append
    ) as session:
        outcome = session.run()
    check(outcome, device, trained(chosen, 5, 3))
    assert (outcome.steps, outcome.sent, outcome.repeated) == (5 * len(chosen.a0),) * 2 + (0,)
    assert len(outcome.loss) == len(outcome.accuracy) == 5
    assert seen[-1].step == seen[-1].steps == outcome.steps
    assert seen[-1].loss == outcome.loss[-1]
    assert device.faults.total == 0


@pytest.mark.parametrize("group", [1, None])
def test_2000_steps_over_a_line_of_losses_are_done_exactly_once(
    board: tuple[Task, LocalTransport], group: int | None
) -> None:
    chosen, transport = board
    line = Lossy(transport, 1, rate=0.0)
    device = opened(line)
    line.rate = 0.1
    epochs = -(-2000 // len(chosen.a0))
    with Session(
        device, chosen.model, chosen.a0, chosen.t, Plan(epochs), check_every=100, group=group
    ) as session:
        outcome = session.run()
    line.rate = 0.0
    check(outcome, device, trained(chosen, epochs))
    assert outcome.sent == outcome.steps
    assert line.faults > 10


def test_restarts_without_a_save_begin_again_and_end_with_the_same_weights(
    board: tuple[Task, LocalTransport],
) -> None:
    chosen, transport = board
    line = Lossy(transport, 5, rate=0.0)
    device = opened(line)
    line.rate, line.resets = 0.05, 0.0008
    epochs = -(-600 // len(chosen.a0))
    with Session(
        device, chosen.model, chosen.a0, chosen.t, Plan(epochs), check_every=50, group=1
    ) as session:
        outcome = session.run()
    line.rate = line.resets = 0.0
    check(outcome, device, trained(chosen, epochs))
    assert line.restarts > 0
    assert outcome.restarts >= 1
    assert outcome.repeated > 0


def test_saves_let_a_board_go_on_after_a_restart(local: tuple[Task, LocalTransport]) -> None:
    chosen, transport = local
    line = Lossy(transport, 7, rate=0.0)
    device = opened(line)
    line.rate, line.resets, line.unplugs = 0.05, 0.01, 0.005
    events: list[str] = []
    with Session(
        device,
        chosen.model,
        chosen.a0,
        chosen.t,
        Plan(20),
        check_every=64,
        save_every=32,
        group=1,
        reopen=line.plug_in,
        on_event=events.append,
    ) as session:
        outcome = session.run()
    line.rate = line.resets = line.unplugs = 0.0
    check(outcome, device, trained(chosen, 20))
    assert line.restarts > 5
    assert line.gone > 1
    assert any("going on after step" in event for event in events)
    assert outcome.repeated < outcome.steps


def test_a_learning_rate_that_decays_is_set_on_the_board_every_epoch(
    board: tuple[Task, LocalTransport],
) -> None:
    chosen, transport = board
    line = Lossy(transport, 9, rate=0.0)
    device = opened(line)
    line.rate, line.resets = 0.05, 0.0008
    plan = Plan(6, learning_rate_decay=0.97)
    with Session(device, chosen.model, chosen.a0, chosen.t, plan, check_every=40) as session:
        outcome = session.run()
    line.rate = line.resets = 0.0
    assert outcome.weights_crc32 == device.stats().weights_crc32
    assert not np.array_equal(outcome.parameters, trained(chosen, 6))


def test_checks_and_saves_count_steps_and_not_what_sets_the_rate(
    local: tuple[Task, LocalTransport], tmp_path: Path
) -> None:
    """They counted every request that changes the board, so SET_PARAM of each epoch as well."""
    chosen, transport = local
    device = opened(Lossy(transport, 0, rate=0.0))
    plan, log, count = Plan(3, learning_rate_decay=0.9), tmp_path / "run.log", len(chosen.a0)
    with Session(
        device, chosen.model, chosen.a0, chosen.t, plan, log=log, check_every=10, save_every=count
    ) as session:
        session.run()
    sequence = Sequence(chosen.model, count, plan)
    lines = read_log(log)
    saved = [sequence.steps_until(line["saved"]) for line in lines if "saved" in line]
    checked = [sequence.steps_until(line["place"]) for line in lines if "place" in line]
    assert saved == [count, 2 * count, 3 * count]
    assert checked == sorted({*range(0, 3 * count, 10), *saved})


def test_training_goes_on_from_the_weights_that_a_board_has(
    local: tuple[Task, LocalTransport],
) -> None:
    chosen, transport = local
    device = opened(Lossy(transport, 0, rate=0.0))
    for plan in (Plan(2), Plan(3, start="weights")):
        with Session(device, chosen.model, chosen.a0, chosen.t, plan) as session:
            outcome = session.run()
    with Simulation(chosen.model) as simulation:
        for epoch in (0, 1, 0, 1, 2):
            order = sample_order(len(chosen.a0), epoch, 0)
            simulation.train(chosen.a0, chosen.t, order)
        check(outcome, device, simulation.parameters())


def test_without_a_compiler_the_twin_in_numpy_gives_the_same_outcome(
    board: tuple[Task, LocalTransport], monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen, transport = board

    def missing(model: object, **_: object) -> object:
        raise BpgenError("no C compiler found")

    monkeypatch.setattr(follower, "Simulation", missing)
    device = opened(Lossy(transport, 0, rate=0.0))
    with Session(device, chosen.model, chosen.a0, chosen.t, Plan(2)) as session:
        outcome = session.run()
    check(outcome, device, trained(chosen, 2))


# ---- Errors


def test_a_bit_that_flips_in_the_board_is_found(local: tuple[Task, LocalTransport]) -> None:
    chosen, transport = local
    device = opened(Lossy(transport, 0, rate=0.0))
    session = Session(device, chosen.model, chosen.a0, chosen.t, Plan(3), check_every=16)

    def flip(progress: Progress) -> None:
        if progress.step >= 40 and not flipped:
            flipped.append(True)
            masters = session._twin.parameters()
            masters[0] ^= 1
            session._twin._simulation.set_parameters(masters)

    flipped: list[bool] = []
    session._on_progress = flip
    device._exchange.clock = _counting(device)
    with session, pytest.raises(Different, match=r"after step|gave other bits"):
        session.run()
    assert flipped


def _counting(device: Device) -> Callable[[], float]:
    """A clock in which every look takes a tenth of a second, so that progress is reported."""
    looks = [0.0]

    def clock() -> float:
        looks[0] += 0.1
        return looks[0]

    return clock


def test_a_board_that_never_gets_beyond_a_step_is_given_up(
    local: tuple[Task, LocalTransport],
) -> None:
    chosen, transport = local
    line = Lossy(transport, 1, rate=0.0)
    device = opened(line)
    line.resets = 0.5
    with (
        Session(device, chosen.model, chosen.a0, chosen.t, Plan(10)) as session,
        pytest.raises(RestartLoop, match="does not get beyond step"),
    ):
        session.run()


def test_an_unplugged_board_ends_a_session_that_cannot_open_it_again(
    local: tuple[Task, LocalTransport],
) -> None:
    chosen, transport = local
    line = Lossy(transport, 1, rate=0.0)
    device = opened(line)
    line.unplugs = 0.1
    with (
        Session(device, chosen.model, chosen.a0, chosen.t, Plan(10)) as session,
        pytest.raises(Unplugged),
    ):
        session.run()


def test_a_port_that_does_not_come_back_is_given_up_after_a_while(
    local: tuple[Task, LocalTransport],
) -> None:
    chosen, transport = local
    line = Lossy(transport, 1, rate=0.0)
    device = opened(line)
    line.unplugs = 0.1

    def nothing() -> Lossy:
        raise Unplugged("there is no port")

    before = line.now
    with (
        Session(
            device, chosen.model, chosen.a0, chosen.t, Plan(10), reopen=nothing, patience=20.0
        ) as session,
        pytest.raises(Unplugged),
    ):
        session.run()
    assert 20 < line.now - before < 25


@pytest.mark.parametrize(
    ("plan", "text"),
    [
        (Plan(-1), "epochs is -1"),
        (Plan(1, seed=-1), "seed is -1"),
        (Plan(1, learning_rate=1e9), "learning rate"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(
    local: tuple[Task, LocalTransport], plan: Plan, text: str
) -> None:
    chosen, transport = local
    device = opened(Lossy(transport, 0, rate=0.0))
    with pytest.raises(BpgenError, match=text):
        Session(device, chosen.model, chosen.a0, chosen.t, plan)


@pytest.mark.parametrize("update", UPDATES[1:])
def test_only_the_residual_update_goes_on_from_weights(
    local: tuple[Task, LocalTransport], update: str
) -> None:
    chosen = task(SIZES, update)
    device = opened(Lossy(local[1], 0, rate=0.0))
    with pytest.raises(BpgenError, match="more state than weights"):
        Session(device, chosen.model, chosen.a0, chosen.t, Plan(1, start="weights"))


# ---- Log and resume


class Stop(Exception):  # noqa: N818
    """What Ctrl-C is here."""


def interrupted(
    chosen: Task, device: Device, log: Path, after: int, resume: bool = False, **options: object
) -> bool:
    """Train 20 epochs, stopped by an exception after some frames; tells whether it was done."""
    count = [0]
    write = device.transport.write

    def stopping(data: bytes) -> None:
        count[0] += 1
        if count[0] > after:
            raise Stop
        write(data)

    device.transport.write = stopping  # type: ignore[method-assign]
    try:
        with Session(
            device,
            chosen.model,
            chosen.a0,
            chosen.t,
            Plan(20, learning_rate_decay=0.99),
            log=log,
            resume=resume,
            check_every=64,
            group=1,
            **options,
        ) as session:
            session.run()
    except Stop:
        return False
    finally:
        device.transport.write = write  # type: ignore[method-assign]
    return True


@pytest.mark.parametrize("restart", [False, True], ids=["board went on", "board restarted"])
def test_a_run_that_was_stopped_again_and_again_ends_with_the_same_weights(
    board: tuple[Task, LocalTransport], restart: bool, tmp_path: Path
) -> None:
    chosen, transport = board
    log = tmp_path / "run.log"
    device = opened(Lossy(transport, 0, rate=0.0))
    done = interrupted(chosen, device, log, 150)
    assert not done
    for after in (3, 250, 10_000):
        if restart:
            device.reset()
        done = interrupted(chosen, device, log, after, resume=True)
    assert done
    whole = opened(Lossy(transport, 0, rate=0.0))
    with Session(
        whole, chosen.model, chosen.a0, chosen.t, Plan(20, learning_rate_decay=0.99)
    ) as session:
        outcome = session.run()
    last = [line for line in read_log(log) if "place" in line][-1]
    assert int(str(last["crc32"]), 16) == outcome.weights_crc32
    losses = {line["epoch"]: line["loss"] for line in read_log(log) if "epoch" in line}
    assert tuple(losses[e] for e in range(20)) == outcome.loss


def test_a_log_whose_last_line_was_cut_is_continued(
    local: tuple[Task, LocalTransport], tmp_path: Path
) -> None:
    chosen, transport = local
    log = tmp_path / "run.log"
    device = opened(Lossy(transport, 0, rate=0.0))
    interrupted(chosen, device, log, 200)
    whole = log.read_bytes()
    log.write_bytes(whole[:-7])
    assert interrupted(chosen, device, log, 10_000, resume=True)
    for line in log.read_text().splitlines():
        json.loads(line)


def test_a_log_of_other_data_is_refused(local: tuple[Task, LocalTransport], tmp_path: Path) -> None:
    chosen, transport = local
    log = tmp_path / "run.log"
    device = opened(Lossy(transport, 0, rate=0.0))
    interrupted(chosen, device, log, 200)
    other = Task(chosen.model, chosen.a0[::-1], chosen.t)
    with pytest.raises(BpgenError, match="of another run: its data"):
        interrupted(other, device, log, 200, resume=True)


def test_a_log_with_other_weights_is_refused(
    local: tuple[Task, LocalTransport], tmp_path: Path
) -> None:
    chosen, transport = local
    log = tmp_path / "run.log"
    device = opened(Lossy(transport, 0, rate=0.0))
    interrupted(chosen, device, log, 400)
    lines = log.read_text().splitlines()
    place = max(i for i, line in enumerate(lines) if '"crc32"' in line)
    damaged = json.loads(lines[place]) | {"crc32": "00000000"}
    lines[place] = json.dumps(damaged)
    log.write_text("\n".join(lines) + "\n")
    with pytest.raises(BpgenError, match="says other weights after step"):
        interrupted(chosen, device, log, 200, resume=True)


def test_a_log_is_not_overwritten(local: tuple[Task, LocalTransport], tmp_path: Path) -> None:
    chosen, transport = local
    log = tmp_path / "run.log"
    log.write_text("mine\n")
    device = opened(Lossy(transport, 0, rate=0.0))
    with pytest.raises(BpgenError, match="exists: go on with it by --resume"):
        interrupted(chosen, device, log, 200)
    with pytest.raises(BpgenError, match="is no log"):
        interrupted(chosen, device, log, 200, resume=True)
    assert log.read_text() == "mine\n"


def test_a_full_disk_is_one_sentence(
    local: tuple[Task, LocalTransport],
    full_disk: Callable[[], AbstractContextManager[None]],
    tmp_path: Path,
) -> None:
    chosen, transport = local
    device = opened(Lossy(transport, 0, rate=0.0))
    session = Session(device, chosen.model, chosen.a0, chosen.t, Plan(5), log=tmp_path / "run.log")
    with full_disk(), session, pytest.raises(BpgenError, match=r"cannot write the log .*make room"):
        session.run()


def test_the_wire_says_what_the_model_says(local: tuple[Task, LocalTransport]) -> None:
    chosen, transport = local
    device = opened(Lossy(transport, 0, rate=0.0))
    device.check_model(chosen.model)
    assert device.description().sizes == chosen.model.sizes
    assert wire.Capability.LEARNS in device.info.capabilities

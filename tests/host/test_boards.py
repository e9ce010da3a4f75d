"""One suite for every board: what it answers is what the twin says, whatever happens on the way."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from bpgen import wire
from bpgen.model import LearningRate
from bpgen.twin import Twin
from bpgen_host.compare import check_gradients
from bpgen_host.device import Device, Refused, Sample, target_of
from bpgen_host.session import Plan, Session
from tests.host.boards import Dut, Task

STEPS = 200


def samples(task: Task, steps: int) -> list[Sample]:
    """The task's samples in turn, targets by class where they are one-hot."""
    order = [i % len(task.a0) for i in range(steps)]
    return [Sample(task.a0[i], target_of(task.model, task.t[i])) for i in order]


def trained_twin(task: Task, steps: int) -> Twin:
    twin = Twin(task.model)
    for i in range(steps):
        k = i % len(task.a0)
        twin.train(task.a0[k : k + 1], task.t[k : k + 1])
    return twin


def test_a_board_says_who_it_is(dut: Dut, device: Device) -> None:
    model, info = dut.task.model, device.info
    device.check_model(model)
    assert info.model_hash == int(model.hash, 16)
    assert (info.n_in, info.n_out, info.n_parameters) == (3, 4, model.parameter_count)
    assert info.capabilities & wire.Capability.LEARNS
    description = device.description()
    assert description.sizes == tuple(model.sizes)
    assert description.labels == tuple(model.labels)
    assert description.dz_frac == tuple(layer.dz_frac for layer in model.layers)


def test_a_board_infers_what_the_twin_infers(dut: Dut, device: Device) -> None:
    expected = Twin(dut.task.model).forward(dut.task.a0)[-1]
    assert np.array_equal(expected, list(device.infer_many(dut.task.a0)))


def test_a_board_learns_bit_for_bit_as_the_twin_does(dut: Dut, device: Device) -> None:
    task, twin = dut.task, Twin(dut.task.model)
    for i, reply in enumerate(device.train_many(samples(task, STEPS))):
        k = i % len(task.a0)
        a0, t = task.a0[k : k + 1], task.t[k : k + 1]
        y = twin.forward(a0)[-1]
        if reply.loss is not None:  # a real line may lose a reply
            assert reply.loss == twin.losses(y, t)[0]
            assert np.array_equal(reply.y, y[0])
        twin.train(a0, t)
    assert np.array_equal(device.parameters(), twin.parameters()[0])
    assert device.stats().weights_crc32 == device.hello().weights_crc32


def test_samples_that_share_a_frame_train_as_single_ones_do(dut: Dut, device: Device) -> None:
    group = device.largest_group(by_class=True)
    assert group > 1
    done = sum(r.count for r in device.train_many(samples(dut.task, STEPS), group=group))
    assert done == STEPS
    assert np.array_equal(device.parameters(), trained_twin(dut.task, STEPS).parameters()[0])


def test_every_gradient_of_a_board_is_the_twins_and_inside_its_bound(
    dut: Dut, device: Device
) -> None:
    for reply in device.train_many(samples(dut.task, 50)):
        assert reply.count == 1
    result = check_gradients(device, dut.task.model, dut.task.a0[:5], dut.task.t[:5])
    assert result.passed
    assert result.elements == 5 * dut.task.model.parameter_count
    assert result.different == result.outside == 0
    assert result.worst_share is not None and 0 < result.worst_share <= 1


def test_weights_that_were_set_are_read_back_and_learned_from(dut: Dut, device: Device) -> None:
    twin = trained_twin(dut.task, STEPS)
    masters = twin.parameters()[0]
    device.set_parameters(masters)
    assert np.array_equal(device.parameters(), masters)
    twin = Twin(dut.task.model)
    twin.set_parameters(masters)
    twin.train(dut.task.a0[:1], dut.task.t[:1])
    device.train(dut.task.a0[0], target_of(dut.task.model, dut.task.t[0]))
    assert np.array_equal(device.parameters(), twin.parameters()[0])


def test_a_board_whose_frames_hold_a_sample_takes_no_pieces(dut: Dut, device: Device) -> None:
    assert wire.Capability.STAGES not in device.info.capabilities
    with pytest.raises(Refused) as caught:
        device.set_input(dut.task.a0[3])
    assert caught.value.status == wire.Status.E_TYPE


def test_another_learning_rate_is_the_twins_too(dut: Dut, device: Device) -> None:
    twin, rate = Twin(dut.task.model), LearningRate(26215, 4)
    device.set_learning_rate(rate)
    twin.set_learning_rate(rate)
    device.train(dut.task.a0[0], target_of(dut.task.model, dut.task.t[0]))
    twin.train(dut.task.a0[:1], dut.task.t[:1])
    assert np.array_equal(device.parameters(), twin.parameters()[0])


def test_an_echo_of_many_frames_loses_nothing(device: Device) -> None:
    """Timeouts are not counted: a simulated board may be slower than this machine's clock."""
    size = min(device.info.max_request - 1, device.info.max_reply - 1, 200)
    before = device.stats()
    for seed in range(20):
        device.echo(np.random.default_rng(seed).bytes(size))
    after = device.stats()
    assert (after.bad, after.lost) == (before.bad, before.lost)
    assert device.faults.bad == {}


def test_what_a_board_saved_is_there_after_a_reset(dut: Dut, device: Device) -> None:
    if not device.info.capabilities & wire.Capability.STORE:
        with pytest.raises(Refused) as caught:
            device.save()
        assert caught.value.status == wire.Status.E_TYPE
        return
    for _ in device.train_many(samples(dut.task, 20)):
        pass
    if not dut.saves:  # the emulator's flash cannot be written: the board must say so
        with pytest.raises(Refused) as caught:
            device.save()
        assert caught.value.status == wire.Status.E_HW
        return
    gen = device.save()
    masters = device.parameters()
    device.train(dut.task.a0[0], target_of(dut.task.model, dut.task.t[0]))
    if dut.press_reset:
        dut.press_reset()
    else:
        device.reset()
    assert device.hello().gen == gen
    assert np.array_equal(device.parameters(), masters)


def test_a_reset_in_the_middle_of_training_loses_no_step(dut: Dut, tmp_path: Path) -> None:
    task = dut.task
    pressed = threading.Event()

    with Device(dut.open()) as device:
        device.hello()
        # A real board has its reset line.
        reset = dut.press_reset or device.transport.reset

        def press(progress: object) -> None:
            if not pressed.is_set() and getattr(progress, "step", 0) > 60:
                pressed.set()
                reset()

        with Session(
            device,
            task.model,
            task.a0,
            task.t,
            Plan(epochs=20, seed=3),
            log=tmp_path / "log.jsonl",
            check_every=32,
            reopen=dut.open,
            on_progress=press,
        ) as session:
            outcome = session.run()
    assert pressed.is_set()
    assert outcome.steps == 20 * len(task.a0)
    assert outcome.restarts >= 1
    assert outcome.checks > 0

"""Gradients of a board: equal to the twin, inside the bound, and a wrong one is found."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from bpgen.errors import BpgenError
from bpgen.qformat import IntArray
from bpgen.quantization import inference_only
from bpgen_host.compare import check_gradients, compare_gradient
from bpgen_host.device import Deltas, Device, Target, WrongModel
from bpgen_host.failures import Refused
from bpgen_host.local import LocalTransport
from bpgen_host.session import Plan, Session
from tests.host.boards import Task, task

SIZES = (3, 5, 2, 4)


@pytest.fixture
def board(tool: Callable[[str], str]) -> Iterator[tuple[Task, Device]]:
    tool("gcc")
    chosen = task(SIZES)
    with LocalTransport(chosen.model) as transport:
        device = Device(transport)
        device.hello()
        yield chosen, device


def test_a_gradient_is_the_twins_and_inside_the_bound(board: tuple[Task, Device]) -> None:
    chosen, device = board
    with Session(device, chosen.model, chosen.a0, chosen.t, Plan(3)) as session:
        session.run()
    comparison = compare_gradient(device, chosen.model, chosen.a0[0], chosen.t[0])
    assert comparison.passed
    assert comparison.bounded
    assert len(comparison.rows) == device.info.n_parameters
    assert len({row.name for row in comparison.rows}) == len(comparison.rows)
    shares = [row.share for row in comparison.rows if row.share is not None]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] == comparison.worst_share
    assert 0 < shares[0] <= 1


def test_every_sample_passes_on_the_boards_own_weights(board: tuple[Task, Device]) -> None:
    chosen, device = board
    rng = np.random.default_rng(1)
    device.set_parameters(rng.integers(-(2**20), 2**20, device.info.n_parameters))
    seen: list[int] = []
    result = check_gradients(
        device, chosen.model, chosen.a0[:10], chosen.t[:10], on_sample=seen.append
    )
    assert result.passed
    assert (result.samples, result.elements) == (10, 10 * device.info.n_parameters)
    assert seen == list(range(1, 11))


def test_a_gradient_that_a_late_repeat_took_is_asked_for_again(
    board: tuple[Task, Device], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first BACKWARD arrives twice, as one does whose answer was late."""
    chosen, device = board
    write, backward = LocalTransport.write, device.backward
    asked = 0

    def repeating(transport: LocalTransport, data: bytes) -> None:
        write(transport, data)
        write(transport, data)

    def first_repeated(a0: IntArray, target: Target) -> Deltas:
        nonlocal asked
        asked += 1
        with monkeypatch.context() as patch:
            if asked == 1:
                patch.setattr(LocalTransport, "write", repeating)
            return backward(a0, target)

    monkeypatch.setattr(device, "backward", first_repeated)
    assert compare_gradient(device, chosen.model, chosen.a0[0], chosen.t[0]).passed
    assert asked == 2


def test_a_gradient_that_is_always_gone_is_refused(
    board: tuple[Task, Device], monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen, device = board
    whole = device.gradient
    monkeypatch.setattr(device, "gradient", lambda tag: whole(tag + 1))
    with pytest.raises(Refused, match="the gradient is gone: ask for it again"):
        compare_gradient(device, chosen.model, chosen.a0[0], chosen.t[0])


def test_one_wrong_element_is_the_first_row(
    board: tuple[Task, Device], monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen, device = board
    whole = device.gradient

    def wrong(tag: int) -> IntArray:
        raws = whole(tag)
        raws[17] += 1
        return raws

    monkeypatch.setattr(device, "gradient", wrong)
    comparison = compare_gradient(device, chosen.model, chosen.a0[0], chosen.t[0])
    assert not comparison.passed
    assert comparison.different == 1
    # Of layer 1 there are 5 x 3 weights, then its biases.
    assert comparison.rows[0].name == "db1[2]"
    assert comparison.rows[0].device == comparison.rows[0].twin + 1
    assert not check_gradients(device, chosen.model, chosen.a0[:2], chosen.t[:2]).passed


def test_another_model_is_refused_before_anything_is_compared(
    board: tuple[Task, Device],
) -> None:
    chosen, device = board
    other = task(SIZES, "stochastic").model
    with pytest.raises(WrongModel, match=f"{chosen.model.hash}.*{other.hash}"):
        compare_gradient(device, other, chosen.a0[0], chosen.t[0])
    with pytest.raises(BpgenError, match="can only infer"):
        compare_gradient(device, inference_only(chosen.model), chosen.a0[0], chosen.t[0])

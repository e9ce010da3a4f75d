"""Samples that are longer than a request of a simulated Uno, in pieces over its wire."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from bpgen import wire
from bpgen.twin import Twin
from bpgen_host.device import Device, Sample
from tests.host.boards import simulated, task


def test_an_uno_learns_samples_in_pieces_as_the_twin_does(
    tool: Callable[[str], str], tmp_path: Path
) -> None:
    for name in ("avr-gcc", "gcc", "/usr/include/simavr/sim_avr.h"):
        tool(name)
    # 2 * 22 inputs, 2 * 2 targets and 5 bytes in front are one byte more than the 52 of a request;
    # with a class it is long enough.
    chosen = task((22, 3, 2))
    twin = Twin(chosen.model)
    a0, t = chosen.a0[:4], chosen.t[:4]
    with simulated("uno", chosen, tmp_path / "firmware") as dut, Device(dut.open()) as device:
        info = device.hello()
        assert wire.Capability.STAGES in info.capabilities
        assert np.array_equal(twin.forward(a0)[-1], list(device.infer_many(a0)))
        deltas = device.backward(a0[0], t[0])
        a = twin.forward(a0[:1])
        gradient = twin.gradient(a, twin.backward(a, t[:1]))
        expected = [part.ravel() for pair in gradient if pair is not None for part in pair]
        assert np.array_equal(device.gradient(deltas.tag), np.concatenate(expected))
        for x, target in zip(a0, t, strict=True):
            reply = device.train(x, target)
            assert np.array_equal(reply.y, twin.forward(x[np.newaxis])[-1][0])
            twin.train(x[np.newaxis], target[np.newaxis])
            label = int(target.argmax())
            one_hot = np.zeros((1, 2), dtype=np.int64)
            one_hot[0, label] = 1 << chosen.model.output.a_format.frac
            (reply,) = device.train_many([Sample(x, label)])
            twin.train(x[np.newaxis], one_hot)
        assert np.array_equal(device.parameters(), twin.parameters()[0])

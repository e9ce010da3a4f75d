"""
The twin that goes along with a board: the compiled C where there is a compiler, else NumPy.

Both give the same bits, so which one it is changes the speed alone.
"""

from __future__ import annotations

import math

import numpy as np

from bpgen.errors import BpgenError
from bpgen.model import IntModel, LearningRate
from bpgen.qformat import IntArray
from bpgen.simulate import Simulation
from bpgen.twin import Twin

# To start within a second matters more here than a faster step: the board is slower than either.
QUICK = ("-O1",)

_ONLY = np.zeros(1, dtype=np.uint32)


class Follower:
    """
    One network of `model`, trained step by step on raws a0 [n_in] and t [n_out].

    Batches end where the caller says so, by `apply`.
    """

    def __init__(self, model: IntModel) -> None:
        assert model.training is not None
        self.model = model
        self.batches = model.training.update in ("batch", "momentum")
        self._twin = Twin(model)
        try:
            self._simulation: Simulation | None = Simulation(model, flags=QUICK)
        except BpgenError:
            self._simulation = None

    @property
    def compiled(self) -> bool:
        """Whether it is the C code."""
        return self._simulation is not None

    def close(self) -> None:
        """Remove the files that it built."""
        if self._simulation is not None:
            self._simulation.close()

    def reset(self, masters: IntArray | None = None) -> None:
        """Go back to the model's state, then take over masters of the learning layers."""
        (self._simulation or self._twin).reset()
        if masters is None:
            return
        if self._simulation is not None:
            self._simulation.set_parameters(masters)
        else:
            self._twin.set_parameters(all_masters(self._twin, masters))

    def train(self, a0: IntArray, t: IntArray, apply: bool) -> tuple[int, IntArray]:
        """One step; its loss and its outputs, from before the update."""
        x, target = a0[np.newaxis], t[np.newaxis]
        if self._simulation is not None:
            y = self._simulation.forward(x)[-1]
            if apply or not self.batches:
                # This ends a batch with its last sample.
                return self._simulation.train(x, target, _ONLY), np.asarray(y[0])
            loss = int(self._simulation.losses(x, target)[0])
            self._simulation.backward(x, target)
            self._simulation.step()
        else:
            a = self._twin.forward(x)
            y = a[-1]
            loss = int(self._twin.losses(y, target)[0])
            self._twin.step(a, self._twin.backward(a, target))
            if apply:
                self._twin.apply()
        return loss, np.asarray(y[0])

    def train_silently(self, a0: IntArray, t: IntArray, order: IntArray, applies: IntArray) -> None:
        """Steps on samples `order` of a0 [n][n_in] and t [n][n_out], as fast as can be."""
        if self._simulation is not None and not self.batches:
            self._simulation.train(a0, t, order)
            return
        for sample, apply in zip(order.tolist(), applies.tolist(), strict=True):
            self.train(a0[sample], t[sample], bool(apply))

    def set_learning_rate(self, rate: LearningRate, decay: int) -> None:
        """Change the learning rate and the L2 decay that goes with it."""
        if self._simulation is not None:
            self._simulation.set_learning_rate(rate, decay)
        else:
            self._twin.set_learning_rate(rate)
            self._twin.decay = decay

    def crc32(self) -> int:
        """What the board calls weights_crc32."""
        if self._simulation is not None:
            return self._simulation.crc32()
        from zlib import crc32

        return crc32(self._twin.parameter_bytes())

    def parameters(self) -> IntArray:
        """Masters of the learning layers in canonical order."""
        if self._simulation is not None:
            return self._simulation.parameters()
        masters: IntArray = self._twin.parameters()[0][learning(self.model)]
        return masters


def learning(model: IntModel) -> IntArray:
    """Which of all parameters in canonical order belong to layers that learn, as indices."""
    layers = enumerate(model.layers, start=1)
    learns = np.repeat(
        [model.learns(k) for k in range(1, len(model.layers) + 1)],
        [layer.count for _, layer in layers],
    )
    return np.flatnonzero(learns).astype(np.int64)


def all_masters(twin: Twin, masters: IntArray) -> IntArray:
    """The twin's masters with those of the learning layers replaced."""
    every: IntArray = twin.parameters()[0].copy()
    every[learning(twin.model)] = masters
    return every


def scaled_decay(model: IntModel, rate: float) -> int:
    """The L2 decay, u15q24, that goes with a learning rate."""
    training = model.training
    assert training is not None
    scaled = math.floor(training.decay * rate / training.learning_rate.value + 0.5)
    return min(32767, scaled)

"""
The comparison itself: generated C against the twin, equality of every bit.

`compare` is what the suite, the sanitised runs and the tests of its own guards all call.
"""

from __future__ import annotations

import ctypes
import zlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bpgen.errors import BpgenError
from bpgen.model import EXPONENTS, IntModel, LearningRate
from bpgen.simulate import Simulation
from bpgen.twin import Twin
from tests.bitexact.cases import (
    COPIES,
    SEGMENT_STEPS,
    SUITE_SEED,
    Case,
    corner_counts,
    pick,
    random_inputs,
    random_masters,
    random_targets,
)

ROUNDS = 6  # samples that each network is checked on, between segments
INPUT_ROWS = 60


class DifferenceError(AssertionError):
    """C and twin differ."""


def equal(name: str, twin: npt.ArrayLike, c: npt.ArrayLike) -> None:
    expected, actual = np.asarray(twin), np.asarray(c)
    if expected.shape != actual.shape:
        raise DifferenceError(
            f"{name}: the twin's shape is {expected.shape}, that of C {actual.shape}"
        )
    where = np.argwhere(expected != actual)
    if len(where):
        first = tuple(where[0].tolist())
        raise DifferenceError(
            f"{name}: {len(where)} of {expected.size} differ, the first at {first}: "
            f"{expected[first]} in the twin, {actual[first]} in C"
        )


class Pair:
    """The same networks twice: `COPIES` of them in a twin, and in as many states of the C."""

    def __init__(self, model: IntModel, library: Path) -> None:
        self.model = model
        self.twin = Twin(model, COPIES)
        self.c = Simulation(model, copies=COPIES, library=library)
        self.counting = hasattr(ctypes.CDLL(str(library)), "bp_counters_are_on")
        self.trained_layers = np.concatenate(
            [np.full(layer.count, model.learns(k)) for k, layer in enumerate(model.layers, start=1)]
        )

    def each(self, name: str, *arguments: Any) -> list[Any]:
        """Call `name` for each network in C, with its own element of each argument."""
        results = []
        for copy in range(COPIES):
            self.c.copy = copy
            results.append(getattr(self.c, name)(*(argument[copy] for argument in arguments)))
        return results

    def check_state(self, when: str) -> None:
        """Masters, velocities, means, steps, checksum, and counters where the C has them."""
        if self.counting:
            counted = np.sum([list(asdict(counters).values()) for counters in self._counters()], 0)
            equal(f"{when}: counters", list(asdict(self.twin.counters).values()), counted)
        if self.model.training is None:
            return
        masters = self.twin.parameters()[:, self.trained_layers]
        equal(f"{when}: masters", masters, self.each("parameters"))
        equal(f"{when}: velocities", self._velocities(), self.each("velocities"))
        means = [np.zeros((COPIES, 0)), *(p for p in self.twin.p if p is not None)]
        equal(f"{when}: means", np.concatenate(means, axis=1), self.each("means"))
        for copy in range(COPIES):
            self.c.copy = copy
            equal(f"{when}: steps", self.twin.steps % 2**32, self.c.steps)
        self.c.copy = 0
        equal(f"{when}: crc32", zlib.crc32(self.twin.parameter_bytes()), self.c.crc32())

    def _counters(self) -> list[Any]:
        counters = []
        for copy in range(COPIES):
            self.c.copy = copy
            counters.append(self.c.counters)
        return counters

    def _velocities(self) -> npt.NDArray[np.int64]:
        parts = [np.zeros((COPIES, 0), dtype=np.int64)]
        for vw, vb in zip(self.twin.vw, self.twin.vb, strict=True):
            if vw is not None and vb is not None:
                parts += [vw.reshape(COPIES, -1), vb]
        return np.concatenate(parts, axis=1)

    def check_samples(self, rng: np.random.Generator, when: str) -> None:
        """Activations, deltas, losses and classes of `ROUNDS` samples for each network."""
        x = random_inputs(rng, self.model, (COPIES, ROUNDS))
        t = random_targets(rng, self.model, (COPIES, ROUNDS))
        a = [self.twin.forward(x[:, r]) for r in range(ROUNDS)]
        for k, parts in enumerate(zip(*self.each("forward", x), strict=True)):
            equal(f"{when}: a{k}", np.stack([sample[k] for sample in a], axis=1), parts)
        # Each call of the C runs forward again, and counts again what it clips.
        y = [self.twin.forward(x[:, r])[-1] for r in range(ROUNDS)]
        losses = [self.twin.losses(y[r], t[:, r]) for r in range(ROUNDS)]
        equal(f"{when}: losses", np.stack(losses, axis=1), self.each("losses", x, t))
        classes = [self.twin.predict(x[:, r]) for r in range(ROUNDS)]
        equal(f"{when}: argmax", np.stack(classes, axis=1), self.each("predict", x))
        if self.model.training is None:
            return
        dz = []
        for r in range(ROUNDS):
            dz.append(self.twin.backward(self.twin.forward(x[:, r]), t[:, r]))
        for k, parts in enumerate(zip(*self.each("backward", x, t), strict=True)):
            if dz[0][k] is None:
                equal(f"{when}: no dz{k + 1}", 0, sum(part is not None for part in parts))
            else:
                equal(f"{when}: dz{k + 1}", np.stack([d[k] for d in dz], axis=1), parts)

    def check_inputs(self, rng: np.random.Generator) -> None:
        """The input rule on counts of every size."""
        n = self.model.input.size
        around = np.array(self.model.input.offset) + rng.integers(-3, 4, (INPUT_ROWS // 2, n))
        anywhere = corner_counts(rng, INPUT_ROWS // 2 * n).reshape(-1, n)
        counts = np.clip(np.concatenate((around, anywhere)), -(2**31), 2**31 - 1)
        self.c.copy = 0
        equal("quantize_input", self.twin.quantize_input(counts), self.c.quantize_input(counts))

    def check_rates(self, rng: np.random.Generator) -> None:
        """Both accept the same learning rates; the last that they accept stays."""
        self.c.copy = 0
        for exponent in EXPONENTS:
            rate = LearningRate(pick(rng, (32768, 16385, 20001, 32767)), exponent)
            equal(f"accepts {rate}", _accepts(self.twin, rate), _accepts(self.c, rate))
        for mantissa in (0, 1, 16383, 16384, 16386, 32766, 32769, 65535):
            # The twin takes integers that are known to be good; C is asked at run time.
            if _accepts(self.c, LearningRate(mantissa, self.twin.learning_rate.exponent)):
                raise DifferenceError(f"C accepts the mantissa {mantissa}")

    def set_rate(self, rate: LearningRate) -> None:
        self.twin.set_learning_rate(rate)
        self.each("set_learning_rate", [rate] * COPIES)

    def restart(self, rng: np.random.Generator) -> None:
        """Other masters in each network, and any number of steps behind them."""
        assert self.model.training is not None
        bits = 24 if self.model.training.update in ("residual", "momentum") else 16
        masters = np.where(
            self.trained_layers,
            [random_masters(rng, self.model, bits) for _ in range(COPIES)],
            self.twin.parameters(),
        )
        self.twin.set_parameters(masters)
        self.each("set_parameters", masters[:, self.trained_layers])
        self.twin.steps = int(rng.choice([0, 65530, 2**31 - 9, 2**32 - 9, rng.integers(2**32)]))
        for copy in range(COPIES):
            self.c.copy = copy
            self.c.steps = self.twin.steps

    def train(self, rng: np.random.Generator, when: str, steps: int, batch: int) -> None:
        """One segment of a trace: the C in one call a network, the twin step by step."""
        x = random_inputs(rng, self.model, (COPIES, steps))
        t = random_targets(rng, self.model, (COPIES, steps))
        assert self.model.training is not None
        applies = self.model.training.update in ("batch", "momentum")
        total = np.zeros(COPIES, dtype=np.int64)
        for i in range(steps):
            a = self.twin.forward(x[:, i])
            total += self.twin.losses(a[-1], t[:, i])
            self.twin.step(a, self.twin.backward(a, t[:, i]))
            if applies and ((i + 1) % batch == 0 or i + 1 == steps):
                self.twin.apply()
        order = np.arange(steps)
        c_total = self.each("train", x, t, [order] * COPIES, [batch] * COPIES)
        equal(f"{when}: sum of losses", total, c_total)

    def check_separate_calls(self, rng: np.random.Generator) -> None:
        """Forward, backward and step one by one give the bits of train."""
        assert self.model.training is not None
        x = random_inputs(rng, self.model, (COPIES, 3))
        t = random_targets(rng, self.model, (COPIES, 3))
        for i in range(3):
            self.twin.train(x[:, i], t[:, i])
            self.each("backward", x[:, i : i + 1], t[:, i : i + 1])
            self.each("step")
        if self.model.training.update in ("batch", "momentum"):
            self.twin.apply()
            self.each("apply")
        self.check_state("separate calls")


def _accepts(networks: Twin | Simulation, rate: LearningRate) -> bool:
    try:
        networks.set_learning_rate(rate)
    except BpgenError:
        return False
    return True


def compare(case: Case, library: Path) -> int:
    """
    Compare the C in `library` with the twin of `case`; the number of training steps compared.

    Raises DifferenceError, naming tensor and place, at the first bit that differs.
    """
    rng = np.random.default_rng([SUITE_SEED, case.number, 1])
    model = case.model
    pair = Pair(model, library)
    with pair.c:
        pair.c.copy = 0
        equal("self-test", True, pair.c.self_test())
        pair.check_inputs(rng)
        pair.check_samples(rng, "as generated")
        pair.check_state("as generated")
        if model.training is None:
            return 0
        for number, rate in enumerate(case.rates):
            when = f"segment {number}"
            # Every other segment starts from what the one before has learned.
            if number % 2:
                pair.restart(rng)
            pair.set_rate(rate)
            batch = model.training.batch_size if number % 3 else pick(rng, (1, SEGMENT_STEPS))
            pair.train(rng, when, SEGMENT_STEPS, batch)
            pair.check_state(when)
            pair.check_samples(rng, f"after {when}")
            pair.check_state(f"after {when}")
        pair.check_separate_calls(rng)
        pair.check_rates(rng)
    return len(case.rates) * SEGMENT_STEPS * COPIES

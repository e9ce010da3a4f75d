"""A plan of training, and the fixed sequence of changes that follows from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bpgen import wire
from bpgen.errors import BpgenError
from bpgen.model import IntModel
from bpgen.qformat import IntArray
from bpgen.ranges import learning_rate
from bpgen.training import decayed, sample_order
from bpgen.twin import Twin
from bpgen_host.follower import scaled_decay


@dataclass(frozen=True)
class Plan:
    """
    What to train, and from where.

    The order of samples is `bpgen.training.sample_order(n, epoch, seed)`, the learning rate of
    epoch e is learning_rate * learning_rate_decay ** e, None the model's. `start` "reset" begins
    with the weights of the firmware, "weights" with those that the board has.
    """

    epochs: int
    seed: int = 0
    learning_rate: float | None = None
    learning_rate_decay: float = 1.0
    start: Literal["reset", "weights"] = "reset"


class Sequence:
    """The places of a plan."""

    def __init__(self, model: IntModel, samples: int, plan: Plan) -> None:
        assert model.training is not None
        training = model.training
        self._plan, self._model, self._samples = plan, model, samples
        self._batch = training.batch_size if training.update in ("batch", "momentum") else 0
        changes = plan.learning_rate is not None or plan.learning_rate_decay != 1.0
        # With weights that the board brings, its learning rate is not known either.
        sets = changes or plan.start == "weights"
        self._settings = 0 if not sets else 2 if training.decay else 1
        self._per_epoch = self._settings + samples
        self._order: tuple[int, list[int]] = (-1, [])
        self.steps = samples * plan.epochs
        self.length = self._per_epoch * plan.epochs

    def where(self, place: int) -> tuple[int, int]:
        """Epoch, and index of the sample in its order; negative for a setting."""
        epoch, offset = divmod(place, self._per_epoch)
        return epoch, offset - self._settings

    def steps_until(self, place: int) -> int:
        """How many samples come before a place."""
        epoch, index = self.where(place)
        return epoch * self._samples + max(0, index)

    def place_after(self, steps: int) -> int:
        """The first place before which there are so many samples."""
        epoch, index = divmod(steps, self._samples)
        return epoch * self._per_epoch + (self._settings + index if index else 0)

    def rate(self, epoch: int) -> float:
        """The learning rate of an epoch."""
        assert self._model.training is not None
        base = self._plan.learning_rate
        if base is None:
            base = self._model.training.learning_rate.value
        return decayed(base, self._plan.learning_rate_decay, epoch)

    def check_rates(self) -> None:
        """Raise BpgenError for a learning rate that the model cannot use."""
        given = self._plan.learning_rate
        if given is not None:
            learning_rate(given)
        if self._settings and self._plan.epochs:
            # They rise or fall with the epochs, so the others lie between.
            for epoch in (0, self._plan.epochs - 1):
                Twin(self._model).set_learning_rate(learning_rate(self.rate(epoch)))

    def setting(self, place: int) -> tuple[wire.Parameter, int] | None:
        """What SET_PARAM sets at a place; None where a sample is trained."""
        epoch, index = self.where(place)
        if index >= 0:
            return None
        rate = self.rate(epoch)
        if self._settings + index == 1:
            return wire.Parameter.DECAY, scaled_decay(self._model, rate)
        spelled = learning_rate(rate)
        value = wire.learning_rate_value(spelled.mantissa, spelled.exponent)
        return wire.Parameter.LEARNING_RATE, value

    def next_setting(self, place: int) -> int:
        """The next place, from `place` on, that is a setting; the end where there is none."""
        return self.end_of_epoch(place) if self._settings else self.length

    def end_of_epoch(self, place: int) -> int:
        """The first place of the next epoch."""
        return (place // self._per_epoch + 1) * self._per_epoch

    def sample(self, place: int) -> tuple[int, bool]:
        """Which sample is trained at a place, and whether a batch ends there."""
        epoch, index = self.where(place)
        if self._order[0] != epoch:
            order = sample_order(self._samples, epoch, self._plan.seed)
            self._order = (epoch, order.tolist())
        last = index + 1 == self._samples
        apply = bool(self._batch) and ((index + 1) % self._batch == 0 or last)
        return self._order[1][index], apply

    @property
    def samples(self) -> int:
        """Samples of an epoch."""
        return self._samples


def check_plan(plan: Plan, model: IntModel, a0: IntArray, t: IntArray) -> None:
    """Raise BpgenError for a plan, or samples, that the model cannot be trained with."""
    training = model.training
    if training is None:
        raise BpgenError(
            "this model can only infer: make one that can learn with 'bpgen quantize', without "
            "--inference-only"
        )
    if plan.epochs < 0:
        raise BpgenError(f"epochs is {plan.epochs}: choose 0 or more")
    if plan.seed < 0:
        raise BpgenError(f"the seed is {plan.seed}: choose 0 or more")
    if a0.shape != (len(t), model.sizes[0]) or t.shape != (len(a0), model.sizes[-1]) or not len(t):
        raise BpgenError(
            f"samples of {a0.shape[-1]} inputs and {t.shape[-1]} targets do not fit the model: use "
            "the data it was trained on"
        )
    if plan.start == "weights" and (training.update != "residual" or training.sparsity):
        raise BpgenError(
            f"training with the {training.update} update cannot go on from the board's weights, "
            "because it has more state than weights: start from those of the firmware"
        )

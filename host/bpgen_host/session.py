"""
A board that trains over epochs with a twin beside it: the same bits, or an error that says where.

Every request that changes the board is one place in a fixed sequence that follows from the plan:
SET_PARAM where an epoch sets the learning rate, then a sample each. gen counts places, so what a
board answers names the place where it is, after a restart as well.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bpgen import __version__, wire
from bpgen.errors import BpgenError
from bpgen.model import IntModel
from bpgen.qformat import IntArray
from bpgen.ranges import learning_rate
from bpgen_host.device import Device, Faults, Sample, Trained, target_of
from bpgen_host.failures import Restarted, RestartLoop
from bpgen_host.follower import Follower, scaled_decay
from bpgen_host.link import LinkError, Transport, Unplugged
from bpgen_host.plan import Plan, Sequence, check_plan
from bpgen_host.training_log import LOG_VERSION, Log, read_log

__all__ = ["Different", "Outcome", "Plan", "Progress", "Session"]

PROGRESS_EVERY_S = 0.1
REOPEN_EVERY_S = 0.25

# A board that restarts so often without one new step done will not get any further.
FRUITLESS_RESTARTS = 8


class Different(BpgenError):  # noqa: N818
    """The board's bits are not the twin's."""

    exit_code = 1


@dataclass(frozen=True)
class Progress:
    """
    How far training is. `epoch` counts from 0, `step` and `steps` over all epochs.

    `loss` is the mean and `accuracy` the share of right classes (None without classes) over the
    samples of this epoch so far, both from before each update.
    """

    step: int
    steps: int
    epoch: int
    loss: float
    accuracy: float | None
    steps_per_second: float
    faults: Faults


@dataclass(frozen=True, eq=False)
class Outcome:
    """
    A finished run: `loss` and `accuracy` of every epoch, `checks` CRC comparisons.

    Of `steps` the board did `sent` in this session, `repeated` of these again because a restart had
    lost them.
    """

    steps: int
    sent: int
    repeated: int
    loss: tuple[float, ...]
    accuracy: tuple[float | None, ...]
    checks: int
    restarts: int
    seconds: float
    gen: int
    weights_crc32: int
    parameters: IntArray


class Session:
    """
    Train the board of `device` on raws a0 [n][n_in] and t [n][n_out] as `plan` says.

    Every reply is compared with the twin, and weights_crc32 every `check_every` steps and at the
    end. `log` is written there, one flushed line a check; with `resume` it must exist, fit the
    model, the data and the plan, and is continued; with `force` it may exist and is replaced. Every
    `save_every` steps the board stores its state (0: never). `reopen` opens the port again after it
    was unplugged, for up to `patience` seconds; without it `Unplugged` goes to the caller. `group`
    is that of `Device.train_many`; None: the largest of which two fit the window. `on_progress` is
    called ten times a second and after every check, `on_event` with a sentence on interruptions.

    Raises BpgenError for a board or a model that cannot learn or a plan that does not fit.
    """

    def __init__(
        self,
        device: Device,
        model: IntModel,
        a0: IntArray,
        t: IntArray,
        plan: Plan,
        *,
        log: Path | None = None,
        resume: bool = False,
        force: bool = False,
        check_every: int = 256,
        save_every: int = 0,
        group: int | None = None,
        reopen: Callable[[], Transport] | None = None,
        patience: float = 60.0,
        on_progress: Callable[[Progress], None] | None = None,
        on_event: Callable[[str], None] | None = None,
    ) -> None:
        self._device, self._model, self._a0, self._t = device, model, a0, t
        self._check_every, self._save_every = max(1, check_every), save_every
        self._reopen, self._patience = reopen, patience
        self._on_progress, self._on_event = on_progress, on_event
        self._group = group
        check_plan(plan, model, a0, t)
        device.check_model(model)
        self._sequence = Sequence(model, len(a0), plan)
        self._sequence.check_rates()
        self._targets = [target_of(model, row) for row in t]
        header = {
            "bpgen_session": LOG_VERSION,
            "bpgen": __version__,
            "model": model.hash,
            "data": _digest(a0, t),
            "samples": len(a0),
        } | asdict(plan)
        # The gen of place 0, None until the board was brought there.
        self._base: int | None = None
        self._start: IntArray | None = None
        self._place = 0
        self._statistics = _Statistics(self._sequence, model, t)
        lines = [] if not resume or log is None else read_log(log)
        self._log = None if log is None else Log(log, resume, force)
        self._follower: Follower | None = None
        try:
            self._follower = Follower(model)
            if lines:
                self._replay(lines, header, log)
            else:
                if plan.start == "weights":
                    self._start = device.parameters()
                    header["start_weights"] = self._start.tolist()
                self._note(header)
        except BaseException:
            self.close()
            raise
        self._lost = bool(lines)
        self._checks = self._restarts = self._sent = self._repeated = 0
        self._fruitless, self._furthest = 0, self._place
        self._began = self._reported = device.clock()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the log and the twin; the device stays open."""
        if self._log is not None:
            self._log.close()
        if self._follower is not None:
            self._follower.close()

    @property
    def step(self) -> int:
        """How many steps of the plan are done, as far as the board has said."""
        return self._sequence.steps_until(self._place)

    def run(self) -> Outcome:
        """
        Train to the end, through restarts and unplugging.

        Raises Different when a bit of the board is not the twin's. After Ctrl-C, or any error, the
        log is whole and a session with `resume` goes on.
        """
        while True:
            try:
                if self._lost:
                    self._find_place()
                if self._base is None:
                    self._go_to_start()
                self._train()
                break
            except (Restarted, Unplugged) as error:
                self._after_fault(error)
        return self._outcome()

    # ---- Forward

    def _train(self) -> None:
        end = self._sequence.length
        while self._place < end:
            stop = min(end, self._next(self._check_every), self._next(self._save_every))
            self._train_until(stop)
            self._check()
            if self._save_every and self.step % self._save_every == 0:
                self._device.save()
                self._note({"saved": self._place})

    def _next(self, every: int) -> int:
        """The next place at which the number of steps done is a multiple of `every`."""
        if not every:
            return self._sequence.length
        return self._sequence.place_after((self.step // every + 1) * every)

    def _train_until(self, stop: int) -> None:
        while self._place < stop:
            setting = self._sequence.setting(self._place)
            if setting is not None:
                self._device.set_parameter(*setting)
                self._follow()
                continue
            end = min(stop, self._sequence.next_setting(self._place))
            for trained in self._device.train_many(self._samples(self._place, end), self._size()):
                self._compare(trained)
                self._report()

    def _size(self) -> int:
        if self._group is not None:
            return self._group
        by_class = all(isinstance(target, int) for target in self._targets)
        return max(1, self._device.largest_group(by_class, frames=2))

    def _samples(self, place: int, end: int) -> Iterator[Sample]:
        for here in range(place, end):
            sample, apply = self._sequence.sample(here)
            yield Sample(self._a0[sample], self._targets[sample], apply)

    def _compare(self, trained: Trained) -> None:
        """Let the twin do what the board has done, and compare what they say of it."""
        losses = []
        for _ in range(trained.count):
            self._sent += 1
            self._repeated += self._place < self._statistics.known
            loss, y = self._follow()
            losses.append(loss)
        if trained.loss is None:
            return
        expected = wire.wire_loss(losses)
        same = trained.y is None or np.array_equal(trained.y, y)
        if trained.loss != expected or not same:
            raise Different(
                f"the board's step {self._sequence.steps_until(self._place)} gave other bits than "
                f"the twin's (loss {trained.loss}, not {expected}): please report it, with the "
                "model and a recording of --capture"
            )

    def _follow(self) -> tuple[int, IntArray]:
        """Take the twin one place on; the loss and outputs of a sample."""
        follower, place = self._twin, self._place
        loss, y = 0, np.empty(0, dtype=np.int64)
        if self._sequence.setting(place) is not None:
            self._set_twin(place)
        else:
            sample, apply = self._sequence.sample(place)
            loss, y = follower.train(self._a0[sample], self._t[sample], apply)
            line = self._statistics.add(place, sample, loss, y)
            if line is not None:
                self._note(line)
        self._place += 1
        return loss, y

    def _set_twin(self, place: int) -> None:
        epoch, _ = self._sequence.where(place)
        rate = self._sequence.rate(epoch)
        self._twin.set_learning_rate(learning_rate(rate), scaled_decay(self._model, rate))

    @property
    def _twin(self) -> Follower:
        assert self._follower is not None
        return self._follower

    def _check(self) -> None:
        stats = self._device.stats()
        assert self._base is not None
        expected = (self._base + self._place) % wire.GEN_MODULUS
        crc32 = self._twin.crc32()
        self._checks += 1
        if stats.gen != expected:
            self._device.faults.restarts += 1
            raise Restarted("the state of the board has changed: stop what else trains it")
        if stats.weights_crc32 != crc32:
            raise Different(
                f"after step {self._sequence.steps_until(self._place)} the weights of the board "
                f"have CRC {stats.weights_crc32:08x}, those of the twin {crc32:08x}: please report "
                "it, with the model and a recording of --capture"
            )
        self._note(
            {"place": self._place, "gen": stats.gen, "crc32": f"{crc32:08x}"}
            | self._statistics.sums()
        )
        self._report(always=True)

    def _report(self, always: bool = False) -> None:
        now = self._device.clock()
        if self._on_progress is None or not (always or now - self._reported >= PROGRESS_EVERY_S):
            return
        self._reported = now
        step = self._sequence.steps_until(self._place)
        epoch, loss, accuracy = self._statistics.now()
        seconds = now - self._began
        self._on_progress(
            Progress(
                step,
                self._sequence.steps,
                epoch,
                loss,
                accuracy,
                self._sent / seconds if seconds else 0.0,
                replace(self._device.faults),
            )
        )

    def _outcome(self) -> Outcome:
        assert self._base is not None
        return Outcome(
            self._sequence.steps,
            self._sent,
            self._repeated,
            tuple(self._statistics.loss),
            tuple(self._statistics.accuracy),
            self._checks,
            self._restarts,
            self._device.clock() - self._began,
            (self._base + self._place) % wire.GEN_MODULUS,
            self._twin.crc32(),
            self._twin.parameters(),
        )

    # ---- Back to a place that board and twin share

    def _after_fault(self, error: Restarted | Unplugged) -> None:
        self._restarts += 1
        self._fruitless = 0 if self._place > self._furthest else self._fruitless + 1
        self._furthest = max(self._furthest, self._place)
        self._note({"fault": str(error)})
        if self._fruitless > FRUITLESS_RESTARTS:
            raise RestartLoop(
                f"the board restarts again and again and does not get beyond step "
                f"{self._sequence.steps_until(self._furthest)}: check its power supply, or save "
                "more often"
            ) from error
        if isinstance(error, Unplugged):
            if self._reopen is None:
                raise error
            self._plug_in(error)
        self._lost = True

    def _plug_in(self, error: Unplugged) -> None:
        """Wait for the port to come back."""
        assert self._reopen is not None
        # While it is open, Linux gives the board that comes back another name.
        self._device.transport.close()
        self._say(f"{error}; waiting {self._patience:g} s for it")
        end = self._device.clock() + self._patience
        while True:
            try:
                self._device.transport = self._reopen()
                return
            except LinkError:
                if self._device.clock() > end:
                    raise error from None
            self._device.wait(REOPEN_EVERY_S)

    def _find_place(self) -> None:
        """Ask the board where it is, and take the twin there; or both to the start."""
        info = self._device.hello()
        self._device.check_model(self._model)
        if self._base is not None:
            place = (info.gen - self._base) % wire.GEN_MODULUS
            if place <= self._sequence.length:
                self._seek(place)
                if self._twin.crc32() == info.weights_crc32:
                    self._say(f"going on after step {self._sequence.steps_until(place)}")
                    self._lost = False
                    return
            self._base = None
            self._say("starting again from the first step, because the board has lost them")
        self._lost = False

    def _go_to_start(self) -> None:
        """Bring the board to place 0."""
        device = self._device
        if self._start is None:
            assert self._model.training is not None
            device.reset_model(self._model.training.seed)
        else:
            device.set_parameters(self._start)
        self._rewind()
        self._base = device.gen
        self._note({"base": self._base})
        self._check()

    def _rewind(self) -> None:
        self._twin.reset(self._start)
        self._place = 0

    def _seek(self, place: int) -> None:
        """Take the twin to a place: from the start if it lies behind."""
        if place < self._place:
            self._rewind()
        while self._place < place:
            if self._sequence.setting(self._place) is not None or self._place >= (
                known := self._statistics.known
            ):
                self._follow()
                continue
            end = min(place, known, self._sequence.end_of_epoch(self._place))
            steps = [self._sequence.sample(here) for here in range(self._place, end)]
            order = np.array([sample for sample, _ in steps], dtype=np.int64)
            applies = np.array([apply for _, apply in steps], dtype=np.int64)
            self._twin.train_silently(self._a0, self._t, order, applies)
            self._place = end

    # ---- Log

    def _note(self, line: dict[str, Any]) -> None:
        if self._log is not None:
            self._log.write(line)

    def _say(self, text: str) -> None:
        if self._on_event is not None:
            self._on_event(text)

    def _replay(
        self, lines: list[dict[str, Any]], header: dict[str, Any], log: Path | None
    ) -> None:
        """Take up a run where its log ends, having repeated and checked all of it."""
        found = lines[0]
        for key, value in header.items():
            if key != "bpgen" and found.get(key) != value:
                raise BpgenError(
                    f"{log} is of another run: its {key.replace('_', ' ')} is "
                    f"{found.get(key)!r}, not {value!r}; repeat the run's options, or start a new "
                    "log"
                )
        try:
            if "start_weights" in found:
                self._start = np.array(found["start_weights"], dtype=np.int64)
            self._rewind()
            checks = {}
            for line in lines[1:]:
                if "base" in line:
                    self._base = int(line["base"])
                if "place" in line:
                    checks[int(line["place"])] = int(line["crc32"], 16)
            bad = None
            for place in sorted(checks):
                self._seek(place)
                if self._twin.crc32() != checks[place]:
                    bad = place
                    break
        except (ValueError, KeyError, TypeError) as error:
            raise BpgenError(f"{log} is damaged ({error}): start a new log") from None
        if bad is not None:
            raise BpgenError(
                f"{log} says other weights after step {self._sequence.steps_until(bad)} than this "
                "bpgen computes: it is damaged or of another version, so start a new log"
            )
        self._note({"resumed": self._place})


class _Statistics:
    """Loss and accuracy of each epoch; every place counts once, however often it is trained."""

    def __init__(self, sequence: Sequence, model: IntModel, t: IntArray) -> None:
        self._sequence = sequence
        self._unit = 2.0 ** -_loss_frac(model)
        self._classes = t.argmax(axis=1) if model.labels else None
        self.loss: list[float] = []
        self.accuracy: list[float | None] = []
        self.known = 0
        self._count = self._sum = self._right = 0

    def add(self, place: int, sample: int, loss: int, y: IntArray) -> dict[str, Any] | None:
        """Count a step; the line for the log when it ends an epoch."""
        if place < self.known:
            return None
        self.known = place + 1
        self._count += 1
        self._sum += loss
        if self._classes is not None:
            self._right += int(y.argmax() == self._classes[sample])
        if self._count < self._sequence.samples:
            return None
        epoch, mean, accuracy = self.now()
        self.loss.append(mean)
        self.accuracy.append(accuracy)
        self._count = self._sum = self._right = 0
        return {"epoch": epoch, "loss": mean, "accuracy": accuracy}

    def now(self) -> tuple[int, float, float | None]:
        """Epoch, mean loss and accuracy so far; those of the last epoch where a new one begins."""
        if not self._count:
            done = len(self.loss)
            return max(0, done - 1), *((self.loss[-1], self.accuracy[-1]) if done else (0.0, None))
        share = None if self._classes is None else self._right / self._count
        return len(self.loss), self._sum * self._unit / self._count, share

    def sums(self) -> dict[str, int]:
        """What a log needs to show of the epoch that is not finished."""
        return {"epoch_steps": self._count, "loss_sum": self._sum}


def _digest(a0: IntArray, t: IntArray) -> str:
    digest = hashlib.sha256()
    for rows in (a0, t):
        digest.update(repr(rows.shape).encode())
        digest.update(np.ascontiguousarray(rows, dtype="<i8").tobytes())
    return digest.hexdigest()


def _loss_frac(model: IntModel) -> int:
    """The fraction of a loss: docs/numbers.md, section 6."""
    frac = model.output.a_format.frac
    return 2 * frac + 1 if model.loss == "squared_error" else frac + 16

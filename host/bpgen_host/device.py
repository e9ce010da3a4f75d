"""
A board as typed requests: done exactly once, several on the way at a time (docs/protocol.md).
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from bpgen import wire
from bpgen.errors import BpgenError
from bpgen.model import IntModel, LearningRate
from bpgen.qformat import IntArray
from bpgen.wire import Message, Status
from bpgen_host.description import Description, belongs, parse_description
from bpgen_host.exchange import BOOT_PATIENCE_S, Exchange, Request
from bpgen_host.failures import Faults, NoAnswer, NotABoard, Refused, Restarted, RestartLoop
from bpgen_host.link import LinkError
from bpgen_host.window import answers

if TYPE_CHECKING:
    from bpgen_host.capture import Capture
    from bpgen_host.link import Transport

__all__ = [
    "Deltas",
    "Device",
    "Faults",
    "NoAnswer",
    "NotABoard",
    "Refused",
    "RestartLoop",
    "Restarted",
    "Sample",
    "Target",
    "Trained",
    "WrongModel",
    "target_of",
]

T = TypeVar("T")

Target = int | IntArray
"""The index of a class, or raws t [n_out]."""

# A save writes a few KB at 300 bytes a second at worst (EEPROM of an AVR).
SAVE_PATIENCE_S = 30.0
SAVE_POLL_S = 0.05

# gen, flags and count.
TRAIN_N_HEAD = 6


class WrongModel(BpgenError):  # noqa: N818
    """The board runs another model than the one given."""


@dataclass(frozen=True, eq=False)
class Sample:
    """One training step: input a0 [n_in], target, and whether a batch ends after it."""

    a0: IntArray
    target: Target
    apply: bool = False


@dataclass(frozen=True, eq=False)
class Trained:
    """
    What came back for `count` steps that are done; `gen` is the one after them.

    `loss` is the sum over the steps, `y` the outputs before the update of a single step. Both are
    None when the reply was lost and a later one showed that the steps were done; y also for count
    above 1.
    """

    gen: int
    count: int
    loss: int | None
    y: IntArray | None


@dataclass(frozen=True, eq=False)
class Deltas:
    """What BACKWARD answers: outputs, loss, and the tag of the gradient that can now be read."""

    tag: int
    loss: int
    y: IntArray


class Device:
    """
    A board behind a transport. Call `hello` first; all numbers are raws.

    Any request raises `Restarted` when the board restarted, `NoAnswer` when it falls silent for
    good, `Unplugged` when the port is gone, and `Refused` when the board says no.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        capture: Capture | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._exchange = Exchange(transport, capture, clock, sleep)
        self._gen = 0
        self._gen_known = False
        self._description: Description | None = None

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def faults(self) -> Faults:
        """What the host saw go wrong on the line so far."""
        return self._exchange.faults

    @property
    def clock(self) -> Callable[[], float]:
        """Seconds, as this device counts them."""
        return self._exchange.clock

    @property
    def info(self) -> wire.Hello:
        """The answer to the last `hello`."""
        if self._exchange.info is None:
            raise ValueError("say hello first")
        return self._exchange.info

    @property
    def gen(self) -> int:
        """The generation of the board's state; asks the board where it is not known for sure."""
        if not self._gen_known:
            self.stats()
        return self._gen

    @property
    def transport(self) -> Transport:
        """The line to the board; may be replaced after it came back: then call `hello` again."""
        return self._exchange.transport

    @transport.setter
    def transport(self, transport: Transport) -> None:
        self._exchange.attach(transport)

    # ---- Session

    def hello(self, patience: float = BOOT_PATIENCE_S) -> wire.Hello:
        """
        Begin a session: two zeros, then HELLO every 250 ms until it is answered.

        Raises, after `patience` seconds and in one sentence each, NoAnswer for silence (naming the
        baud rate), NotABoard for garbage, floods and unknown protocols, RestartLoop for a board
        that keeps starting.
        """
        info = self._exchange.hello(patience)
        self._gen, self._gen_known = info.gen, True
        self._description = None
        return info

    def reset(self) -> wire.Hello:
        """Restart the board by its reset line and say hello."""
        self._exchange.note("reset")
        self.transport.reset()
        return self.hello()

    def close(self) -> None:
        """Close the transport, and end the capture with the counters."""
        self.transport.close()
        capture = self._exchange.capture
        if capture is not None:
            capture.close(faults=vars(self.faults), gen=self._gen)

    def description(self) -> Description:
        """Read what the board says of its model, labels included."""
        if self._description is None:
            text = self._described()
            try:
                description = parse_description(text)
            except ValueError:
                raise _nonsense(Message.DESCRIBE) from None
            if not belongs(description, self.info):
                raise _nonsense(Message.DESCRIBE)
            self._description = description
        return self._description

    def check_model(self, model: IntModel, name: str = "model.json") -> None:
        """Raise WrongModel, with both hashes and what to do, unless the board runs `model`."""
        info = self.info
        if info.model_hash != int(model.hash, 16):
            raise WrongModel(
                f"the board runs model {info.model_hash:08x}, but {name} is {model.hash}: build "
                f"its firmware again with 'bpgen new' from {name}, or name the model file that it "
                "was built from"
            )
        count = sum(m.count for k, m in enumerate(model.layers, start=1) if model.learns(k))
        sizes = (model.sizes[0], model.sizes[-1], count)
        if (info.n_in, info.n_out, info.n_parameters) != sizes:
            raise NotABoard(
                "the board announces other sizes than those of its model: build its firmware again "
                "with 'bpgen new'"
            )

    # ---- Inference

    def infer(self, a0: IntArray) -> IntArray:
        """Outputs [n_out] for one input [n_in]."""
        (y,) = self.infer_many([a0])
        return y

    def infer_many(self, inputs: Iterable[IntArray]) -> Iterator[IntArray]:
        """Outputs of each input, in order; several on the way at a time."""
        if 1 + 2 * self.info.n_in > self.info.max_request:
            for a0 in inputs:
                payload = self._staged(
                    a0, lambda crc: Request(Message.INFER, wire.infer_request(crc))
                )
                yield self._outputs(payload)
            return
        requests = (Request(Message.INFER, wire.infer_request(self._x(a0))) for a0 in inputs)
        for _, reply in answers(self._exchange, requests):
            assert reply is not None
            yield self._outputs(reply)

    def set_input(self, a0: IntArray) -> int:
        """
        Stage a whole input in the board by SETX; give the CRC-32 that names it.

        Only a board whose samples are longer than a frame takes it: capability STAGES.
        """
        x = self._x(a0)
        piece = min(255, (self.info.max_request - 3) // 2)
        self._all(
            Request(Message.SETX, wire.setx_request(first, x[first : first + piece]))
            for first in range(0, len(x), piece)
        )
        return wire.sample_crc32(x)

    # ---- Learning

    def backward(self, a0: IntArray, target: Target) -> Deltas:
        """Forward and back-propagate one sample without an update."""
        while True:
            gen = self.gen
            raises = int(wire.Capability.MEANS in self.info.capabilities)

            def request(x: list[int] | int, gen: int = gen, raises: int = raises) -> Request:
                step = wire.Step(self._t(target), x)
                return self._changing(Message.BACKWARD, wire.train_request(gen, step), gen, raises)

            # Whatever ends this early: what the board has done is then to be asked.
            self._gen_known = not raises
            reply = self._sample_request(a0, target, request)
            self._gen_known = True
            if reply is not None:
                break
            # It was done, but what it said is lost.
            self._gen = (gen + raises) % wire.GEN_MODULUS
        after, loss, tag, y = _read(Message.BACKWARD, wire.deltas, reply, self.info.n_out)
        self._gen = after
        return Deltas(tag, loss, np.array(y, dtype=np.int64))

    def gradient(self, tag: int) -> IntArray:
        """dw and db of the learning layers in canonical order [n_parameters], s32."""
        count = min(255, (self.info.max_reply - 1) // 4)
        pages = list(_pages(self.info.n_parameters, count))
        replies = self._all(
            Request(Message.GRADS, wire.grads_request(tag, first, n)) for first, n in pages
        )
        values: list[int] = []
        for (_, n), reply in zip(pages, replies, strict=True):
            values += _read(Message.GRADS, wire.gradients, reply, n)
        return np.array(values, dtype=np.int64)

    def train(self, a0: IntArray, target: Target, *, apply: bool = False) -> Trained:
        """One training step, done exactly once."""
        (result,) = self.train_many([Sample(a0, target, apply)])
        return result

    def train_many(self, samples: Iterable[Sample], group: int = 1) -> Iterator[Trained]:
        """
        Train on samples in order, each done exactly once, as many on the way as the window holds.

        Up to `group` samples go in one frame, as TRAIN_N, if they fit; a group ends with a sample
        that applies. Yields in order. When it raises, `hello().gen` tells how many were done.
        """
        gen = self.gen
        # Whatever ends this early, Ctrl-C included: what the board has done is then to be asked.
        self._gen_known = False
        for request, reply in self._steps(samples, group, gen):
            after = ((request.gen or 0) + request.raises) % wire.GEN_MODULUS
            self._gen = after
            yield self._trained(request, reply, after)
        self._gen_known = True

    def largest_group(self, by_class: bool, frames: int = 1) -> int:
        """How many samples fit one frame such that `frames` of them fit the window; 0 if none."""
        info = self.info
        payload = min(info.max_request, info.window // frames - wire.line_size(0))
        sample = 2 * info.n_in + (2 if by_class else 2 * info.n_out)
        return max(0, min(255, (payload - TRAIN_N_HEAD) // sample))

    # ---- Weights

    def parameters(self) -> IntArray:
        """Masters of the learning layers in canonical order [n_parameters], all of one gen."""
        width = self.info.master_bytes
        count = min(255, (self.info.max_reply - 5) // width)
        pages = list(_pages(self.info.n_parameters, count))
        for _ in range(3):
            replies = self._all(
                Request(Message.GETW, wire.getw_request(first, n)) for first, n in pages
            )
            read = [
                _read(Message.GETW, wire.parameters, reply, n, width)
                for (_, n), reply in zip(pages, replies, strict=True)
            ]
            if len({gen for gen, _ in read}) <= 1:
                return np.array([value for _, page in read for value in page], dtype=np.int64)
        raise LinkError(
            "the weights of the board change while they are read: stop what trains it, then read "
            "again"
        )

    def set_parameters(self, masters: IntArray) -> None:
        """Replace the masters of the learning layers; the board answers nothing else meanwhile."""
        values, width = masters.tolist(), self.info.master_bytes
        if len(values) != self.info.n_parameters:
            raise BpgenError(
                f"these are {len(values)} weights, but the board has {self.info.n_parameters}: use "
                "those of its model"
            )
        try:
            data = wire.masters_to_bytes(values, width)
        except ValueError as error:
            raise BpgenError(f"{error}: use the weights of the board's model") from None
        self._change(Message.SETW_BEGIN, wire.gen_request)
        count = min(255, (self.info.max_request - 7) // width)
        self._all(
            Request(
                Message.SETW,
                wire.setw_request(self._gen, first, values[first : first + n], width),
            )
            for first, n in _pages(len(values), count)
        )
        crc32 = zlib.crc32(data)
        self._change(Message.SETW_COMMIT, lambda gen: wire.setw_commit_request(gen, crc32))

    def reset_model(self, seed: int = 0) -> None:
        """Back to the weights of the firmware, with `seed` for the stochastic update."""
        self._change(Message.RESET_MODEL, lambda gen: wire.reset_model_request(gen, seed))

    def set_learning_rate(self, rate: LearningRate) -> None:
        """Change the learning rate; the L2 decay stays."""
        value = wire.learning_rate_value(rate.mantissa, rate.exponent)
        self.set_parameter(wire.Parameter.LEARNING_RATE, value)

    def set_parameter(self, parameter: wire.Parameter, value: int) -> None:
        """SET_PARAM of one value as it goes on the wire."""
        self._change(Message.SET_PARAM, lambda gen: wire.set_param_request(gen, parameter, value))

    def wait(self, seconds: float) -> None:
        """Let time go by without listening."""
        self._exchange.sleep(seconds)

    # ---- Store

    def save(self, on_remaining: Callable[[int], None] | None = None) -> int:
        """Store the state and wait until it is done; give its gen."""
        gen, least = self.gen, 1 << 16
        end = self.clock() + SAVE_PATIENCE_S
        while True:
            reply = self._one(Request(Message.SAVE, wire.gen_request(gen)))
            saved, remaining = _read(Message.SAVE, wire.saved, reply)
            if on_remaining is not None:
                on_remaining(remaining)
            if not remaining:
                return saved
            if remaining < least:
                least, end = remaining, self.clock() + SAVE_PATIENCE_S
            if self.clock() > end:
                raise LinkError(
                    f"the board has not stored anything for {SAVE_PATIENCE_S:g} s, with {remaining}"
                    " bytes left: restart it and save again"
                )
            self._exchange.pause(SAVE_POLL_S)

    def load(self) -> int:
        """Read the newest stored state back; give the CRC-32 of its weights."""
        reply = self._change(Message.LOAD, wire.gen_request)
        if reply is None:
            return self.stats().weights_crc32
        return _read(Message.LOAD, wire.loaded, reply)[1]

    # ---- Counters

    def stats(self) -> wire.Stats:
        """Counters of the board's link, and gen and weights_crc32 at this moment."""
        reply = self._one(Request(Message.STATS, wire.stats_request(0)))
        stats = _read(Message.STATS, wire.Stats.from_bytes, reply)
        self._gen, self._gen_known = stats.gen, True
        return stats

    def counters(self) -> wire.Counters:
        """What the model clipped or lost; all 0 without the capability COUNTERS."""
        if wire.Capability.COUNTERS not in self.info.capabilities:
            return wire.Counters(0, 0, 0, 0, 0)
        reply = self._one(Request(Message.STATS, wire.stats_request(1)))
        return _read(Message.STATS, wire.Counters.from_bytes, reply)

    def echo(self, data: bytes) -> float:
        """Have `data` sent back; give the seconds it took. Raises NotABoard if it differs."""
        start = self.clock()
        reply = self._one(Request(Message.ECHO, wire.echo_request(data)))
        if _read(Message.ECHO, wire.plain, reply, len(data)) != data:
            raise _nonsense(Message.ECHO)
        return self.clock() - start

    # ---- How requests are made

    def _all(self, requests: Iterable[Request]) -> list[bytes]:
        """Replies of requests that may be repeated."""
        replies = []
        for _, reply in answers(self._exchange, requests):
            assert reply is not None
            replies.append(reply)
        return replies

    def _one(self, request: Request) -> bytes:
        return self._all([request])[0]

    def _changing(self, message: Message, payload: bytes, gen: int, raises: int) -> Request:
        return Request(message, payload, gen if raises else None, raises)

    def _change(self, message: Message, payload: Callable[[int], bytes]) -> bytes | None:
        """Do a request that raises gen by one; its reply, None when that was lost."""
        gen = self.gen
        self._gen_known = False
        request = self._changing(message, payload(gen), gen, 1)
        ((_, reply),) = answers(self._exchange, [request])
        self._gen, self._gen_known = (gen + 1) % wire.GEN_MODULUS, True
        return reply

    def _sample_request(
        self, a0: IntArray, target: Target, request: Callable[[list[int] | int], Request]
    ) -> bytes | None:
        """The reply to a request about one sample, inline if it fits, else staged."""
        if self._fits(target):
            ((_, reply),) = answers(self._exchange, [request(self._x(a0))])
            return reply
        return self._staged_or_lost(a0, request)

    def _staged(self, a0: IntArray, request: Callable[[int], Request]) -> bytes:
        reply = self._staged_or_lost(a0, request)
        assert reply is not None
        return reply

    def _staged_or_lost(self, a0: IntArray, request: Callable[[int], Request]) -> bytes | None:
        """Stage an input and ask about it, again where the stage was not whole."""
        for attempt in range(4):
            crc = self.set_input(a0)
            try:
                ((_, reply),) = answers(self._exchange, [request(crc)])
            except Refused as error:
                if error.status != Status.E_STATE or attempt == 3:
                    raise
            else:
                return reply
        raise AssertionError

    def _steps(
        self, samples: Iterable[Sample], group: int, gen: int
    ) -> Iterator[tuple[Request, bytes | None]]:
        # A class takes less room than values, so that not all samples need go the same way.
        for inline, run in groupby(samples, lambda sample: self._fits(sample.target)):
            if inline:
                for request, reply in answers(self._exchange, self._grouped(run, group, gen)):
                    gen = (gen + request.raises) % wire.GEN_MODULUS
                    yield request, reply
                continue
            for sample in run:
                with_crc = partial(self._step, [sample], gen)
                yield with_crc(0), self._staged_or_lost(sample.a0, with_crc)
                gen = (gen + 1) % wire.GEN_MODULUS

    def _grouped(self, samples: Iterable[Sample], group: int, gen: int) -> Iterator[Request]:
        held: list[Sample] = []
        for sample in samples:
            if held and isinstance(sample.target, int) != isinstance(held[0].target, int):
                yield self._step(held, gen)
                gen = (gen + len(held)) % wire.GEN_MODULUS
                held = []
            held.append(sample)
            most = min(group, self.largest_group(isinstance(sample.target, int)))
            if len(held) >= most or sample.apply:
                yield self._step(held, gen)
                gen = (gen + len(held)) % wire.GEN_MODULUS
                held = []
        if held:
            yield self._step(held, gen)

    def _step(self, group: list[Sample], gen: int, staged: int | None = None) -> Request:
        """TRAIN for one sample, TRAIN_N for more."""
        steps = [
            wire.Step(self._t(s.target), self._x(s.a0) if staged is None else staged, s.apply)
            for s in group
        ]
        if len(steps) == 1:
            return Request(Message.TRAIN, wire.train_request(gen, steps[0]), gen, 1)
        return Request(Message.TRAIN_N, wire.train_n_request(gen, steps), gen, len(steps))

    def _trained(self, request: Request, reply: bytes | None, after: int) -> Trained:
        if reply is None:
            return Trained(after, request.raises, None, None)
        single = request.message == Message.TRAIN
        n_out = self.info.n_out if single else 0
        _, loss, y = _read(request.message, wire.trained, reply, n_out)
        return Trained(after, request.raises, loss, np.array(y, dtype=np.int64) if single else None)

    def _fits(self, target: Target) -> bool:
        """Whether a request with gen, target and a whole input fits a frame."""
        t = 2 if isinstance(target, int) else 2 * self.info.n_out
        return 5 + t + 2 * self.info.n_in <= self.info.max_request

    def _x(self, a0: IntArray) -> list[int]:
        if a0.shape != (self.info.n_in,):
            raise BpgenError(
                f"a sample has {a0.size} inputs, but the board's model {self.info.n_in}: use the "
                "data of that model"
            )
        values: list[int] = a0.tolist()
        return values

    def _t(self, target: Target) -> list[int] | int:
        if isinstance(target, int):
            if self.info.n_out == 1:
                raise BpgenError(
                    "the board's model has one output and so no classes: give the target's raw"
                )
            return target
        if target.shape != (self.info.n_out,):
            raise BpgenError(
                f"a sample has {target.size} targets, but the board's model {self.info.n_out} "
                "outputs: use the data of that model"
            )
        values: list[int] = target.tolist()
        return values

    def _outputs(self, reply: bytes) -> IntArray:
        y = _read(Message.INFER, wire.outputs, reply, self.info.n_out)
        return np.array(y, dtype=np.int64)

    def _described(self) -> bytes:
        count = min(255, self.info.max_reply - 1)
        pages = list(_pages(self.info.description_bytes, count))
        replies = self._all(
            Request(Message.DESCRIBE, wire.describe_request(first, n)) for first, n in pages
        )
        return b"".join(
            _read(Message.DESCRIBE, wire.plain, reply, n)
            for (_, n), reply in zip(pages, replies, strict=True)
        )


def _pages(count: int, size: int) -> Iterator[tuple[int, int]]:
    """First index and length of each page."""
    for first in range(0, count, size):
        yield first, min(size, count - first)


def target_of(model: IntModel, t: IntArray) -> Target:
    """The shortest way to name targets t [n_out]: of several a class where they are one-hot."""
    (hot,) = np.nonzero(t)
    if len(t) > 1 and len(hot) == 1 and t[hot[0]] == 1 << model.output.a_format.frac:
        return int(hot[0])
    return t


def _read(message: Message, decoder: Callable[..., T], reply: bytes, *sizes: int) -> T:
    """A reply decoded; NotABoard where it has not the form of its type."""
    try:
        return decoder(reply, *sizes)
    except wire.PayloadError:
        raise _nonsense(message) from None


def _nonsense(message: Message) -> NotABoard:
    return NotABoard(
        f"the board answers {message.name} as no firmware of bpgen does: build it again with "
        "'bpgen new'"
    )

"""
The bytes between host and board: message ids, layouts and frames. No input or output happens here.

docs/protocol.md is the contract; the firmware's bpgen_wire.h is printed from the tables below. All
numbers on the wire are little-endian.
"""

from __future__ import annotations

import struct
import sys
import zlib
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Any, ClassVar

from cobs import cobs  # type: ignore[import-untyped]

PROTOCOL = 1
REPLY = 0x80
MAX_FRAME = 254
"""Longest frame before COBS, which then adds one byte."""

OVERHEAD = 8
"""type, seq, session and crc32: what a frame has beside its payload."""

LINE_OVERHEAD = 3
"""What a frame has on the line beside its bytes: the COBS code and two separators."""


class Message(IntEnum):
    """Types of requests, and of the event BOOT; a reply has the request's type plus REPLY."""

    HELLO = 0x01
    DESCRIBE = 0x02
    SETX = 0x03
    INFER = 0x04
    BACKWARD = 0x05
    TRAIN = 0x06
    TRAIN_N = 0x07
    GRADS = 0x08
    GETW = 0x09
    SETW_BEGIN = 0x0A
    SETW = 0x0B
    SETW_COMMIT = 0x0C
    SAVE = 0x0D
    LOAD = 0x0E
    RESET_MODEL = 0x0F
    SET_PARAM = 0x10
    STATS = 0x11
    ECHO = 0x12
    BOOT = 0xF0


class Status(IntEnum):
    """First byte of a reply."""

    OK = 0
    E_SESSION = 1
    E_GEN = 2
    E_LEN = 3
    E_TYPE = 4
    E_RANGE = 5
    E_STATE = 6
    E_HW = 7


class Flag(IntFlag):
    """How a request names its target and sample, and whether it ends a batch."""

    CLASS = 1
    STAGED = 2
    APPLY = 4


class Parameter(IntEnum):
    """What SET_PARAM sets."""

    LEARNING_RATE = 1
    DECAY = 2
    MOMENTUM = 3
    SEED = 4


class Capability(IntFlag):
    """What a firmware can do, announced by HELLO."""

    LEARNS = 1
    LOW_BYTE = 2
    BATCHES = 4
    MEANS = 8
    STORE = 16
    COUNTERS = 32
    STAGES = 64


class ResetCause(IntEnum):
    """Why the board started."""

    UNKNOWN = 0
    POWER_ON = 1
    RESET_PIN = 2
    BROWN_OUT = 3
    WATCHDOG = 4
    SOFTWARE = 5


@dataclass(frozen=True)
class Frame:
    """A request, reply or event: `session` is u16, `seq` and `type` are u8."""

    type: int
    seq: int
    session: int
    payload: bytes


class FrameError(ValueError):
    """Bytes that are no frame: `reason` is "cobs", "length" or "crc"."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"not a frame: bad {reason}")
        self.reason = reason


def line_size(payload_size: int) -> int:
    """Bytes on the line of a frame with that much payload, both separators counted."""
    return payload_size + OVERHEAD + LINE_OVERHEAD


def encode(frame: Frame) -> bytes:
    """
    Give the bytes of a frame on the line, with a separator at both ends.

    Raises ValueError for a payload that no frame holds.
    """
    if len(frame.payload) + OVERHEAD > MAX_FRAME:
        raise ValueError(f"a payload of {len(frame.payload)} bytes is longer than any frame")
    body = bytes((frame.type, frame.seq)) + frame.session.to_bytes(2, "little") + frame.payload
    coded: bytes = cobs.encode(body + zlib.crc32(body).to_bytes(4, "little"))
    return b"\0" + coded + b"\0"


def decode(coded: bytes) -> Frame:
    """
    Read what stands between two separators.

    Raises FrameError for anything but a whole and undamaged frame.
    """
    try:
        body = cobs.decode(coded)
    except cobs.DecodeError:
        raise FrameError("cobs") from None
    if not OVERHEAD <= len(body) <= MAX_FRAME:
        raise FrameError("length")
    if zlib.crc32(body[:-4]) != int.from_bytes(body[-4:], "little"):
        raise FrameError("crc")
    return Frame(body[0], body[1], int.from_bytes(body[2:4], "little"), body[4:-4])


class Decoder:
    """
    Cut a stream of bytes into what stands between separators.

    `push` gives those pieces, undecoded; what is longer than any frame comes as soon as it is,
    so that a flood takes no memory.
    """

    LONGEST = MAX_FRAME + 1

    def __init__(self) -> None:
        self._piece = bytearray()

    def push(self, data: bytes) -> list[bytes]:
        """Take bytes in; give the pieces that they complete."""
        pieces = []
        for part in data.split(b"\0")[:-1]:
            self._piece += part
            if self._piece:
                pieces.append(bytes(self._piece))
            self._piece.clear()
        self._piece += data.rsplit(b"\0", 1)[-1]
        while len(self._piece) > self.LONGEST:
            pieces.append(bytes(self._piece[: self.LONGEST + 1]))
            del self._piece[: self.LONGEST + 1]
        return pieces


# ---- Payloads (docs/protocol.md, section 2). Encoders of requests give a payload; decoders of
# replies take one without its status and raise PayloadError unless its length is exactly right.

GEN_MODULUS = 2**32
LOSS_MAX = 0xFFFF_FFFF
"""What stands for any loss that is larger."""


def wire_loss(losses: Iterable[int]) -> int:
    """The loss that a board answers for samples with these; one below 0 counts as 0."""
    return min(sum(max(0, loss) for loss in losses), LOSS_MAX)


class PayloadError(ValueError):
    """A payload whose length or content is not that of its type."""


def s16s(values: Iterable[int]) -> bytes:
    """Raws as they go on the wire; ValueError for one outside s16."""
    numbers = array("h", [])
    try:
        numbers.extend(values)
    except OverflowError:
        raise ValueError("a raw is outside s16") from None
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()


def sample_crc32(a0: Iterable[int]) -> int:
    """The name of a whole staged input: the CRC-32 of its bytes on the wire."""
    return zlib.crc32(s16s(a0))


def masters_to_bytes(masters: Iterable[int], width: int) -> bytes:
    """Masters of 3 or 2 bytes, as under weights_crc32; ValueError out of range."""
    try:
        return b"".join(int(value).to_bytes(width, "little", signed=True) for value in masters)
    except OverflowError:
        raise ValueError(f"a master does not fit {width} bytes") from None


def masters_from_bytes(data: bytes, width: int) -> list[int]:
    """What `masters_to_bytes` was given."""
    if len(data) % width:
        raise PayloadError(f"{len(data)} bytes are no whole masters")
    return [
        int.from_bytes(data[i : i + width], "little", signed=True)
        for i in range(0, len(data), width)
    ]


def masters_to_page(masters: Iterable[int], width: int) -> bytes:
    """
    Masters as in SETW and GETW: the high 16 bits of all, then the low bytes of all if there are.

    ValueError out of range.
    """
    data = masters_to_bytes(masters, width)
    low = data[::width] if width > 2 else b""
    return b"".join(data[i - 2 : i] for i in range(width, len(data) + 1, width)) + low


def masters_from_page(data: bytes, width: int) -> list[int]:
    """What `masters_to_page` was given."""
    count, rest = divmod(len(data), width)
    if rest:
        raise PayloadError(f"{len(data)} bytes are no whole masters")
    high, low = data[: 2 * count], data[2 * count :]
    whole = b"".join(low[i : i + 1] + high[2 * i : 2 * i + 2] for i in range(count))
    return masters_from_bytes(whole, width)


def hello_request(lowest: int = PROTOCOL, highest: int = PROTOCOL) -> bytes:
    """Payload of HELLO: the protocol versions that the host speaks."""
    return struct.pack("<BB", lowest, highest)


def describe_request(first: int, count: int) -> bytes:
    """Payload of DESCRIBE."""
    return struct.pack("<HB", first, count)


def setx_request(offset: int, values: Sequence[int]) -> bytes:
    """Payload of SETX: inputs `offset` onwards."""
    return struct.pack("<HB", offset, len(values)) + s16s(values)


@dataclass(frozen=True)
class Step:
    """
    One sample and what is done with it: `target` is raws t or the index of a class, `x` a whole
    input or, when it is staged already, its CRC-32.
    """

    target: Sequence[int] | int
    x: Sequence[int] | int
    apply: bool = False

    @property
    def flags(self) -> Flag:
        """What says how the request names target and sample."""
        flags = Flag.APPLY if self.apply else Flag(0)
        if isinstance(self.target, int):
            flags |= Flag.CLASS
        if isinstance(self.x, int):
            flags |= Flag.STAGED
        return flags

    def body(self) -> bytes:
        """Target and sample."""
        return _target(self.target) + _sample(self.x)


def _target(target: Sequence[int] | int) -> bytes:
    return struct.pack("<H", target) if isinstance(target, int) else s16s(target)


def _sample(x: Sequence[int] | int) -> bytes:
    return struct.pack("<I", x) if isinstance(x, int) else s16s(x)


def infer_request(x: Sequence[int] | int) -> bytes:
    """Payload of INFER."""
    flags = Flag.STAGED if isinstance(x, int) else Flag(0)
    return bytes((flags,)) + _sample(x)


def train_request(gen: int, step: Step) -> bytes:
    """Payload of TRAIN, and of BACKWARD for a step that does not apply."""
    return struct.pack("<IB", gen, step.flags) + step.body()


def train_n_request(gen: int, steps: Sequence[Step]) -> bytes:
    """
    Payload of TRAIN_N: only the last step may apply.

    Raises ValueError for steps that name their targets differently or stage their sample.
    """
    flags = {step.flags & ~Flag.APPLY for step in steps}
    if len(flags) != 1 or Flag.STAGED in steps[0].flags or any(s.apply for s in steps[:-1]):
        raise ValueError("these steps do not fit one TRAIN_N")
    head = struct.pack("<IBB", gen, len(steps), steps[-1].flags)
    return head + b"".join(step.body() for step in steps)


def grads_request(tag: int, first: int, count: int) -> bytes:
    """Payload of GRADS."""
    return struct.pack("<BHB", tag, first, count)


def getw_request(first: int, count: int) -> bytes:
    """Payload of GETW."""
    return struct.pack("<HB", first, count)


def gen_request(gen: int) -> bytes:
    """Payload of SETW_BEGIN, SAVE and LOAD."""
    return struct.pack("<I", gen)


def setw_request(gen: int, first: int, masters: Sequence[int], width: int) -> bytes:
    """Payload of SETW: masters `first` onwards, `width` bytes each."""
    return struct.pack("<IHB", gen, first, len(masters)) + masters_to_page(masters, width)


def setw_commit_request(gen: int, crc32: int) -> bytes:
    """Payload of SETW_COMMIT."""
    return struct.pack("<II", gen, crc32)


def reset_model_request(gen: int, seed: int) -> bytes:
    """Payload of RESET_MODEL."""
    return struct.pack("<IH", gen, seed)


def set_param_request(gen: int, parameter: int, value: int) -> bytes:
    """Payload of SET_PARAM; `value` is u24."""
    return struct.pack("<IB", gen, parameter) + value.to_bytes(3, "little")


def learning_rate_value(mantissa: int, exponent: int) -> int:
    """The value of SET_PARAM LEARNING_RATE: mantissa u16, exponent s8."""
    return mantissa | (exponent & 0xFF) << 16


def stats_request(page: int) -> bytes:
    """Payload of STATS."""
    return bytes((page,))


def echo_request(data: bytes) -> bytes:
    """Payload of ECHO."""
    return bytes((len(data),)) + data


def split_status(payload: bytes) -> tuple[int, bytes]:
    """The status of a reply, and the rest of its payload."""
    if not payload:
        raise PayloadError("a reply without a status")
    return payload[0], payload[1:]


def error_gen(rest: bytes) -> int:
    """The gen in a reply that is not OK."""
    return int(_unpack("<I", rest)[0])


@dataclass(frozen=True)
class Hello:
    """Reply to HELLO, and after a status OK what BOOT says."""

    protocol: int
    capabilities: Capability
    model_hash: int
    window: int
    max_request: int
    max_reply: int
    n_in: int
    n_out: int
    n_parameters: int
    description_bytes: int
    gen: int
    weights_crc32: int
    reset_cause: int
    boots: int

    LAYOUT: ClassVar[str] = "<BBIHHHHHHHIIBH"

    @classmethod
    def from_bytes(cls, rest: bytes) -> Hello:
        """Read the reply behind its status."""
        values = list(_unpack(cls.LAYOUT, rest))
        values[1] = Capability(values[1])
        return cls(*values)

    def to_bytes(self) -> bytes:
        """The reply behind its status."""
        return struct.pack(self.LAYOUT, *vars(self).values())

    @property
    def master_bytes(self) -> int:
        """The width of a master in GETW and SETW."""
        return 3 if Capability.LOW_BYTE in self.capabilities else 2


@dataclass(frozen=True)
class Stats:
    """Page 0 of STATS; `bad` and `lost` stop at 65535."""

    gen: int
    weights_crc32: int
    tag: int
    mode: int
    bad: int
    lost: int

    LAYOUT: ClassVar[str] = "<IIBBHH"

    @classmethod
    def from_bytes(cls, rest: bytes) -> Stats:
        """Read the reply behind its status."""
        return cls(*_unpack(cls.LAYOUT, rest))

    def to_bytes(self) -> bytes:
        """The reply behind its status."""
        return struct.pack(self.LAYOUT, *vars(self).values())


@dataclass(frozen=True)
class Counters:
    """Page 1 of STATS: docs/numbers.md, section 12."""

    inputs: int
    activations: int
    deltas: int
    weights: int
    zero_updates: int

    LAYOUT: ClassVar[str] = "<IIIII"

    @classmethod
    def from_bytes(cls, rest: bytes) -> Counters:
        """Read the reply behind its status."""
        return cls(*_unpack(cls.LAYOUT, rest))

    def to_bytes(self) -> bytes:
        """The reply behind its status."""
        return struct.pack(self.LAYOUT, *vars(self).values())


def outputs(rest: bytes, n_out: int) -> tuple[int, ...]:
    """Reply to INFER: y."""
    return _unpack(f"<{n_out}h", rest)


def trained(rest: bytes, n_out: int) -> tuple[int, int, tuple[int, ...]]:
    """Reply to TRAIN: gen, loss and y; with n_out 0 that to TRAIN_N."""
    gen, loss, *y = _unpack(f"<II{n_out}h", rest)
    return gen, loss, tuple(y)


def deltas(rest: bytes, n_out: int) -> tuple[int, int, int, tuple[int, ...]]:
    """Reply to BACKWARD: gen, loss, tag and y."""
    gen, loss, tag, *y = _unpack(f"<IIB{n_out}h", rest)
    return gen, loss, tag, tuple(y)


def gradients(rest: bytes, count: int) -> tuple[int, ...]:
    """Reply to GRADS: count values s32."""
    return _unpack(f"<{count}i", rest)


def parameters(rest: bytes, count: int, width: int) -> tuple[int, list[int]]:
    """Reply to GETW: gen, and count masters of `width` bytes."""
    if len(rest) != 4 + count * width:
        raise PayloadError(f"{len(rest)} bytes are no {count} masters")
    return int.from_bytes(rest[:4], "little"), masters_from_page(rest[4:], width)


def saved(rest: bytes) -> tuple[int, int]:
    """Reply to SAVE: gen, and the bytes that are left."""
    gen, remaining = _unpack("<II", rest)
    return gen, remaining


def loaded(rest: bytes) -> tuple[int, int]:
    """Reply to LOAD: gen and weights_crc32."""
    gen, crc32 = _unpack("<II", rest)
    return gen, crc32


def plain(rest: bytes, count: int) -> bytes:
    """Reply to DESCRIBE and ECHO: count bytes."""
    if len(rest) != count:
        raise PayloadError(f"{len(rest)} bytes instead of {count}")
    return rest


def _unpack(layout: str, data: bytes) -> tuple[Any, ...]:
    if len(data) != struct.calcsize(layout):
        raise PayloadError(f"{len(data)} bytes instead of {struct.calcsize(layout)}")
    return struct.unpack(layout, data)

"""
Recordings of a line, .bpcap: JSON lines that hold every byte both ways, garbage included.

The first line is the header. A line with "dir" is bytes, "d" from the device or "h" from the host,
as "hex", with what they completed in "frames": decoded, or with the reason why not. A line with
"event" is something the host did or saw. The last line is the footer with "end"; a recording
that was cut has none. "t_ns" counts from the header's moment.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bpgen import __version__, wire
from bpgen.errors import BpgenError
from bpgen.wire import Capability, Message, Status
from bpgen_host.link import Wrapper

if TYPE_CHECKING:
    from bpgen.model import IntModel
    from bpgen_host.link import Transport

VERSION = 1
DEVICE, HOST = "d", "h"


class Capture:
    """
    Writes a recording, each line flushed.

    Raises BpgenError when the file cannot be written, also in the middle of a full disk.
    """

    def __init__(
        self, path: Path, header: Mapping[str, Any] | None = None, *, force: bool = False
    ) -> None:
        self.path = path
        self._decoders = {DEVICE: wire.Decoder(), HOST: wire.Decoder()}
        self._start = time.monotonic_ns()
        try:
            self._file = path.open("w" if force else "x", encoding="ascii")
        except FileExistsError:
            raise BpgenError(
                f"{path} exists: choose another name or add --force to replace it"
            ) from None
        except OSError as error:
            raise self._failed(error) from None
        utc = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        first = {"bpcap": VERSION, "bpgen": __version__, "utc": utc} | dict(header or {})
        try:
            self._write(first, timed=False)
        except BaseException:
            with contextlib.suppress(OSError):
                self._file.close()
            raise

    def __enter__(self) -> Capture:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def received(self, data: bytes) -> None:
        """Note bytes from the device."""
        self._bytes(DEVICE, data)

    def sent(self, data: bytes) -> None:
        """Note bytes from the host."""
        self._bytes(HOST, data)

    def event(self, name: str, **details: Any) -> None:
        """Note something that is no byte: open, reset, timeout, retry, close."""
        self._write({"event": name} | details)

    def close(self, **footer: Any) -> None:
        """Write the footer and close. May be called twice."""
        if self._file.closed:
            return
        try:
            self._write({"end": footer})
        finally:
            # What could not be flushed before fails once more here.
            with contextlib.suppress(OSError):
                self._file.close()

    def _bytes(self, direction: str, data: bytes) -> None:
        frames = [frame_note(piece) for piece in self._decoders[direction].push(data)]
        self._write({"dir": direction, "hex": data.hex(), "frames": frames})

    def _write(self, line: Mapping[str, Any], *, timed: bool = True) -> None:
        if self._file.closed:
            return
        stamp = {"t_ns": time.monotonic_ns() - self._start} if timed else {}
        try:
            self._file.write(json.dumps(stamp | dict(line), separators=(",", ":")) + "\n")
            self._file.flush()
        except OSError as error:
            raise self._failed(error) from None

    def _failed(self, error: OSError) -> BpgenError:
        return BpgenError(
            f"cannot write {self.path} ({error.strerror or error}): choose another place, or do "
            "without a recording"
        )


class Captured(Wrapper):
    """A transport whose bytes go into a capture."""

    def __init__(self, transport: Transport, capture: Capture) -> None:
        super().__init__(transport)
        self._capture = capture
        capture.event("open", port=self.name, baud=self.baud)

    def read(self, timeout: float) -> bytes:
        """As the transport does."""
        data = super().read(timeout)
        if data:
            self._capture.received(data)
        return data

    def write(self, data: bytes) -> None:
        """As the transport does."""
        self._capture.sent(data)
        super().write(data)


@dataclass(frozen=True)
class Entry:
    """
    A line of a recording: bytes with `direction` "d" or "h", or an `event`.

    `frames` is what was noted of the frames that the bytes completed, `details` what came with an
    event.
    """

    t_ns: int
    direction: str
    data: bytes
    event: str
    frames: tuple[Mapping[str, Any], ...]
    details: Mapping[str, Any]


@dataclass(frozen=True)
class Recording:
    """A whole recording; `cut` when it ends without its footer."""

    header: Mapping[str, Any]
    entries: tuple[Entry, ...]
    footer: Mapping[str, Any]
    cut: bool


@dataclass(frozen=True)
class Replay:
    """
    A replay against what was recorded.

    `frames` were compared; `different` names each that is not the same, with its time, `masked`
    counts those whose only difference is what a clock decides, and `missing` the answers that the
    recording does not have.
    """

    frames: int
    masked: int
    missing: int
    different: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing differs."""
        return not self.different


def read_capture(path: Path) -> Recording:
    """
    Read a recording; a last line that was cut is left out.

    Raises BpgenError for a file that is no recording, naming the line.
    """
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except OSError as error:
        raise BpgenError(
            f"cannot read {path} ({error.strerror or error}): name a recording of --capture"
        ) from None
    if lines and not lines[-1].endswith(b"\n"):
        lines.pop()
    if not lines:
        raise BpgenError(f"{path} is empty: name a recording of --capture")
    header: Mapping[str, Any] = {}
    footer: Mapping[str, Any] = {}
    entries: list[Entry] = []
    cut = True
    for number, line in enumerate(lines, start=1):
        try:
            data = json.loads(line)
            if number == 1:
                header = data
                if data["bpcap"] != VERSION:
                    raise ValueError
            elif "end" in data:
                footer, cut = dict(data["end"]), False
            else:
                entries.append(_entry(data))
        except (ValueError, KeyError, TypeError, RecursionError):
            raise BpgenError(
                f"{path}, line {number}, is not what version {VERSION} of a recording holds: name "
                "a file that --capture of this bpgen wrote"
            ) from None
    return Recording(header, tuple(entries), footer, cut)


def _entry(data: dict[str, Any]) -> Entry:
    t_ns = data.pop("t_ns")
    direction = data.pop("dir", "")
    if not isinstance(t_ns, int) or direction not in ("", DEVICE, HOST):
        raise ValueError
    if direction:
        return Entry(t_ns, direction, bytes.fromhex(data["hex"]), "", tuple(data["frames"]), {})
    return Entry(t_ns, "", b"", str(data.pop("event")), (), data)


def replay_device_bytes(recording: Recording) -> Replay:
    """Decode the device's bytes again and compare with what the host noted when it recorded."""
    decoder = wire.Decoder()
    frames = 0
    different = []
    for entry in recording.entries:
        if entry.direction != DEVICE:
            continue
        decoded = [frame_note(piece) for piece in decoder.push(entry.data)]
        if decoded != list(entry.frames):
            different.append(f"{_when(entry)} decoded {decoded}, noted {list(entry.frames)}")
        frames += len(decoded)
    return Replay(frames, 0, 0, tuple(different))


def replay_host_bytes(recording: Recording, model: IntModel) -> Replay:
    """
    Send the host's bytes to the firmware of `model` in this process, and compare its answers.

    The firmware gets the window, the frames, the store and the counters that the board announced.
    Answers depend on the order of the host's bytes and of the board's starts alone, so they are
    the same byte for byte, with these exceptions: lost of STATS, remaining of SAVE,
    boots and reset cause, and the description, which names the project and the memory. What a
    restart of the board cut off is not compared. What the line damaged on the way to the board
    shows as an answer that is `missing` in the recording, or as one that differs.

    Raises BpgenError for a recording of another model's firmware, and for one that begins with a
    board whose state had changed before, which cannot be repeated.
    """
    from bpgen_host.local import LOCAL, LocalTransport

    constants, counters = LOCAL, False
    hello = _first_hello(recording)
    if hello is not None:
        _require_repeatable(hello, model)
        constants = replace(
            LOCAL,
            window=hello.window,
            frame=min(hello.max_request + wire.OVERHEAD, wire.MAX_FRAME),
            store_bytes=LOCAL.store_bytes if Capability.STORE in hello.capabilities else 0,
        )
        counters = Capability.COUNTERS in hello.capabilities
    with LocalTransport(model, constants, counters=counters) as transport:
        answers = _answers(transport, recording.entries)
    asked = _asked(recording.entries)
    recorded = _in_session(_device_frames(recording.entries), asked)
    return _compared(recorded, _in_session(answers, asked))


def frame_note(piece: bytes) -> dict[str, Any]:
    """What a recording says of a piece between separators."""
    try:
        frame = wire.decode(piece)
    except wire.FrameError as error:
        return {"bad": error.reason, "size": len(piece)}
    note = {"type": describe_type(frame.type), "seq": frame.seq, "session": frame.session}
    if frame.type & wire.REPLY and frame.type != Message.BOOT and frame.payload:
        status = frame.payload[0]
        note["status"] = Status(status).name if status in set(Status) else status
    return note | {"size": len(frame.payload)}


def describe_type(frame_type: int) -> str:
    """TRAIN, "TRAIN reply", BOOT, or a number for a type that this host does not know."""
    if frame_type == Message.BOOT:
        return "BOOT"
    request = frame_type & ~wire.REPLY
    name = Message(request).name if request in set(Message) else f"type {request:02X}h"
    return f"{name} reply" if frame_type & wire.REPLY else name


def _first_hello(recording: Recording) -> wire.Hello | None:
    """What the board announced first, if it did."""
    frames = _in_session(_device_frames(recording.entries), _asked(recording.entries))
    with contextlib.suppress(wire.PayloadError):
        if frames:
            return wire.Hello.from_bytes(frames[0][1].payload[1:])
    return None


def _require_repeatable(hello: wire.Hello, model: IntModel) -> None:
    if hello.model_hash != int(model.hash, 16):
        raise BpgenError(
            f"the recording is of a board with model {hello.model_hash:08x}, not {model.hash}: "
            "name the model file that its firmware was built from"
        )
    if hello.gen:
        raise BpgenError(
            "the recording begins with a board whose weights had changed before: record one "
            "that starts from the weights of its firmware"
        )


def _device_frames(entries: Iterable[Entry]) -> list[tuple[str, wire.Frame]]:
    """The undamaged frames of the device, and when they came."""
    decoder = wire.Decoder()
    return [
        (_when(entry), frame)
        for entry in entries
        if entry.direction == DEVICE
        for frame in _whole(decoder.push(entry.data))
    ]


def _whole(pieces: Iterable[bytes]) -> Iterator[wire.Frame]:
    for piece in pieces:
        with contextlib.suppress(wire.FrameError):
            yield wire.decode(piece)


def _answers(transport: Transport, entries: Iterable[Entry]) -> list[tuple[str, wire.Frame]]:
    """What the firmware answers to the host's bytes, started again where the board was."""
    recorded, answered = wire.Decoder(), wire.Decoder()
    answers: list[tuple[str, wire.Frame]] = []
    begun = False
    for entry in entries:
        if entry.direction == HOST:
            transport.write(entry.data)
        elif entry.direction == DEVICE:
            for frame in _whole(recorded.push(entry.data)):
                if frame.type != Message.BOOT:
                    begun = True
                elif begun:
                    transport.reset()
        while data := transport.read(0.0):
            answers += [(_when(entry), frame) for frame in _whole(answered.push(data))]
    return answers


def _in_session(
    frames: Iterable[tuple[str, wire.Frame]], asked: set[tuple[int, int, int]]
) -> list[tuple[str, wire.Frame]]:
    """
    What can be compared: from each answer to a HELLO up to the next start of the board.

    What a start cuts off depends on the moment, and before the first HELLO there may be answers to
    another program.
    """
    chosen = []
    inside = False
    for when, frame in frames:
        key = (frame.type, frame.seq, frame.session)
        if frame.type == Message.BOOT:
            inside = False
        elif frame.type == Message.HELLO | wire.REPLY and key in asked:
            inside = True
        if inside:
            chosen.append((when, frame))
    return chosen


def _asked(entries: Iterable[Entry]) -> set[tuple[int, int, int]]:
    """The replies that the host's requests wait for."""
    decoder = wire.Decoder()
    return {
        (frame.type | wire.REPLY, frame.seq, frame.session)
        for entry in entries
        if entry.direction == HOST
        for frame in _whole(decoder.push(entry.data))
    }


def _compared(
    recorded: list[tuple[str, wire.Frame]], answers: list[tuple[str, wire.Frame]]
) -> Replay:
    masked = missing = place = 0
    different = []
    for when, frame in recorded:
        found = next((i for i in range(place, len(answers)) if _alike(answers[i][1], frame)), None)
        if found is None:
            different.append(f"{when} {describe_type(frame.type)}: the replay has no such answer")
            continue
        missing += found - place
        place = found + 1
        answer = answers[found][1]
        if answer == frame:
            continue
        if _masked(answer) == _masked(frame):
            masked += 1
        else:
            different.append(
                f"{when} {describe_type(frame.type)}: recorded {frame.payload.hex()}, replayed "
                f"{answer.payload.hex()}"
            )
    return Replay(len(recorded), masked, missing + len(answers) - place, tuple(different))


def _alike(one: wire.Frame, other: wire.Frame) -> bool:
    return (one.type, one.seq, one.session) == (other.type, other.seq, other.session)


def _masked(frame: wire.Frame) -> bytes:
    """A payload without what a clock, the past or the project decides."""
    if frame.type == Message.DESCRIBE | wire.REPLY:
        return b""
    rest = frame.payload[1:]
    with contextlib.suppress(wire.PayloadError):
        if frame.type == Message.HELLO | wire.REPLY:
            hello = wire.Hello.from_bytes(rest)
            rest = replace(hello, boots=0, reset_cause=0, description_bytes=0).to_bytes()
        elif frame.type == Message.STATS | wire.REPLY:
            rest = replace(wire.Stats.from_bytes(rest), lost=0).to_bytes()
        elif frame.type == Message.SAVE | wire.REPLY:
            gen, _ = wire.saved(rest)
            rest = wire.gen_request(gen)
    return frame.payload[:1] + rest


def _when(entry: Entry) -> str:
    return f"{entry.t_ns / 1e9:.6f} s"

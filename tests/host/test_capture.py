"""Recordings: all bytes are in them, cut ones can be read, and both replays repeat the run."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest

from bpgen import wire
from bpgen.errors import BpgenError
from bpgen_host.capture import (
    Capture,
    Recording,
    frame_note,
    read_capture,
    replay_device_bytes,
    replay_host_bytes,
)
from bpgen_host.device import Device
from bpgen_host.local import LocalTransport
from bpgen_host.session import Plan, Session
from tests.host.boards import Task, task
from tests.host.lossy import Lossy

SIZES = (3, 5, 2, 4)


@pytest.fixture(scope="module")
def chosen(tool: Callable[[str], str]) -> Task:
    tool("gcc")
    return task(SIZES)


def record(
    chosen: Task, path: Path, *, rate: float = 0.0, resets: float = 0.0, before: int = 0
) -> Recording:
    """A short training run with all kinds of requests; `before` steps are not recorded."""
    with LocalTransport(chosen.model) as transport:
        line = Lossy(transport, 3, rate=0.0)
        device = Device(line, clock=line.clock, sleep=line.sleep)
        device.hello()
        for sample in range(before):
            device.train(chosen.a0[sample], 0)
        line.rate, line.resets = rate, resets
        with (
            Capture(path, {"model": chosen.model.hash}) as capture,
            Device(line, capture=capture, clock=line.clock, sleep=line.sleep) as device,
        ):
            device.hello()
            device.description()
            with Session(device, chosen.model, chosen.a0, chosen.t, Plan(2), group=1) as session:
                session.run()
            device.infer(chosen.a0[0])
            device.gradient(device.backward(chosen.a0[0], 1).tag)
            device.parameters()
            device.save()
            device.load()
            device.stats()
    return read_capture(path)


def test_a_run_is_repeated_byte_for_byte_from_its_recording(chosen: Task, tmp_path: Path) -> None:
    recording = record(chosen, tmp_path / "run.bpcap")
    assert not recording.cut
    assert recording.header["model"] == chosen.model.hash
    assert recording.footer["gen"] > 2 * len(chosen.a0)
    replay = replay_host_bytes(recording, chosen.model)
    assert replay.passed, replay.different
    assert replay.frames > 2 * len(chosen.a0)
    assert replay.missing == 0
    decoded = replay_device_bytes(recording)
    assert decoded.passed
    assert decoded.frames >= replay.frames


def test_replays_of_a_restarted_board_follow_its_starts(chosen: Task, tmp_path: Path) -> None:
    recording = record(chosen, tmp_path / "run.bpcap", resets=0.005)
    names = [note.get("type") for entry in recording.entries for note in entry.frames]
    assert names.count("BOOT") > 0
    replay = replay_host_bytes(recording, chosen.model)
    assert replay.passed, replay.different


def test_garbage_on_the_line_is_recorded_with_its_reason(chosen: Task, tmp_path: Path) -> None:
    recording = record(chosen, tmp_path / "run.bpcap", rate=0.2)
    reasons = {note["bad"] for e in recording.entries for note in e.frames if "bad" in note}
    assert reasons >= {"cobs", "crc"}
    events = {entry.event for entry in recording.entries}
    assert events >= {"open", "retry", "timeout"}
    assert replay_device_bytes(recording).passed


def test_another_model_or_another_byte_is_found_by_a_replay(chosen: Task, tmp_path: Path) -> None:
    recording = record(chosen, tmp_path / "run.bpcap")
    other = task(SIZES, "stochastic").model
    with pytest.raises(BpgenError, match="is of a board with model"):
        replay_host_bytes(recording, other)
    place = max(i for i, entry in enumerate(recording.entries) if entry.direction == "d")
    entry = recording.entries[place]
    damaged = replace(entry, data=entry.data[:6] + b"\x55" + entry.data[7:])
    entries = (*recording.entries[:place], damaged, *recording.entries[place + 1 :])
    assert not replay_device_bytes(replace(recording, entries=entries)).passed


def test_a_board_that_had_learned_before_cannot_be_repeated(chosen: Task, tmp_path: Path) -> None:
    recording = record(chosen, tmp_path / "run.bpcap", before=3)
    with pytest.raises(BpgenError, match="had changed before"):
        replay_host_bytes(recording, chosen.model)


# ---- Files


def small(path: Path) -> list[str]:
    with Capture(path, {"port": "x"}) as capture:
        capture.sent(b"\0\0")
        capture.received(b"\x55" * 4 + b"\0")
        capture.event("timeout", request="TRAIN")
        assert len(path.read_text().splitlines()) == 4, "every line is flushed"
    capture.close()
    return path.read_text().splitlines()


def test_a_recording_holds_bytes_times_and_reasons(tmp_path: Path) -> None:
    path = tmp_path / "a.bpcap"
    lines = [json.loads(line) for line in small(path)]
    assert lines[0]["bpcap"] == 1
    assert [line.get("hex") for line in lines[1:3]] == ["0000", "5555555500"]
    assert lines[2]["frames"] == [{"bad": "cobs", "size": 4}]
    assert lines[3]["event"] == "timeout"
    times = [line["t_ns"] for line in lines[1:]]
    assert times == sorted(times)
    recording = read_capture(path)
    assert [entry.data for entry in recording.entries[:2]] == [b"\0\0", b"\x55" * 4 + b"\0"]
    assert recording.entries[2].details == {"request": "TRAIN"}


def test_a_recording_that_was_cut_anywhere_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "a.bpcap"
    data = ("\n".join(small(path)) + "\n").encode()
    header = data.index(b"\n") + 1
    for end in range(header, len(data)):
        path.write_bytes(data[:end])
        recording = read_capture(path)
        assert recording.cut
        assert len(recording.entries) <= 3


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "is empty"),
        ("hello\n", "line 1"),
        ('{"bpcap":9}\n', "line 1"),
        ('{"bpcap":1}\n{"t_ns":1,"dir":"x","hex":"00"}\n', "line 2"),
        ('{"bpcap":1}\n{"t_ns":1,"dir":"d","hex":"0","frames":[]}\n', "line 2"),
        ('{"bpcap":1}\n[1]\n', "line 2"),
    ],
)
def test_a_file_that_is_no_recording_is_one_sentence(text: str, error: str, tmp_path: Path) -> None:
    path = tmp_path / "a.bpcap"
    path.write_text(text)
    with pytest.raises(BpgenError, match=error):
        read_capture(path)


def test_a_recording_is_not_overwritten_unless_forced(tmp_path: Path) -> None:
    path = tmp_path / "a.bpcap"
    path.write_text("mine")
    with pytest.raises(BpgenError, match="exists"):
        Capture(path)
    Capture(path, force=True).close()
    assert path.read_text() != "mine"


def test_a_full_disk_is_one_sentence(
    full_disk: Callable[[], AbstractContextManager[None]], tmp_path: Path
) -> None:
    with full_disk(), pytest.raises(BpgenError, match=r"cannot write .*a\.bpcap"):
        Capture(tmp_path / "a.bpcap")


def test_a_note_names_request_reply_and_status() -> None:
    frame = wire.Frame(wire.Message.TRAIN | wire.REPLY, 4, 5, bytes((2, 1, 0, 0, 0)))
    assert frame_note(wire.encode(frame)[1:-1]) == {
        "type": "TRAIN reply",
        "seq": 4,
        "session": 5,
        "status": "E_GEN",
        "size": 5,
    }
    unknown = wire.Frame(0xEE, 4, 5, b"\x63")
    assert frame_note(wire.encode(unknown)[1:-1])["type"] == "type 6Eh reply"

"""Boards and lines that do not do as they should: one sentence."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bpgen import wire
from bpgen.model import IntModel
from bpgen.wire import Frame, Message, Status
from tests.unit.host_cli.command_runs import complaint, done
from tests.unit.host_cli.scripted_board import Scripted, hello, replying, silent


@pytest.mark.usefixtures("impatient")
def test_silence_names_the_rate() -> None:
    with Scripted(silent) as device:
        text = complaint(3, "info", "--port", device.port, "--baud", "57600")
    assert f"no answer from {device.port} at 57600 baud" in text


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("command", ["info", "save", "stats"])
def test_another_device_is_told_from_a_board(command: str) -> None:
    with Scripted(silent, noise=b"T=21.5 H=40\r\n") as device:
        text = complaint(3, command, "--port", device.port)
    assert "is not the protocol of bpgen" in text


@pytest.mark.usefixtures("impatient")
def test_a_flood_of_garbage_is_one_sentence() -> None:
    noise = np.random.default_rng(3).integers(0, 256, 4000, dtype=np.uint8).tobytes()
    with Scripted(silent, noise=noise) as device:
        assert "is not the protocol of bpgen" in complaint(3, "info", "--port", device.port)


@pytest.mark.usefixtures("impatient")
def test_a_board_that_restarts_for_ever_is_one_sentence(model: IntModel) -> None:
    event = wire.encode(Frame(Message.BOOT, 0, 0, b"\0" + hello(model).to_bytes()))
    with Scripted(silent, noise=event) as device:
        text = complaint(3, "info", "--port", device.port)
    assert "restarted" in text
    assert "check its power supply" in text


def test_another_models_firmware_is_refused_with_both_hashes(model: IntModel, folder: Path) -> None:
    other = replace(hello(model), model_hash=0xDEADBEEF)
    answer = replying({Message.HELLO: b"\0" + other.to_bytes()})
    with Scripted(answer) as device:
        text = complaint(2, "info", "--port", device.port, "--model", folder / "iris.json")
    assert "deadbeef" in text
    assert model.hash in text
    assert "bpgen new" in text


def test_another_version_of_the_protocol_is_refused(model: IntModel) -> None:
    other = replace(hello(model), protocol=9)
    with Scripted(replying({Message.HELLO: b"\0" + other.to_bytes()})) as device:
        text = complaint(3, "info", "--port", device.port)
    assert "version 1 of the protocol" in text


def test_a_description_that_is_no_json_is_one_sentence(model: IntModel) -> None:
    answers = {
        Message.HELLO: b"\0" + hello(model, 5).to_bytes(),
        Message.DESCRIBE: b"\0{]{]{",
    }
    with Scripted(replying(answers)) as device:
        complaint(3, "info", "--port", device.port)


def test_texts_of_a_board_cannot_steer_the_terminal(model: IntModel) -> None:
    described = {
        "name": "\x1b[2J[bold red]x[/]\x07",
        "sizes": model.sizes,
        "hash": model.hash,
        "update": "residual",
        "a_frac": [13, 12, 12],
        "dz_frac": [15, 16],
        "w_frac": [11, 11],
        "loss_frac": 25,
        "learns": [1, 2],
        "labels": ["a\rb", "\u202egnp", "[link=http://x]c"],
        "store": None,
    }
    text = json.dumps(described, ensure_ascii=False).encode()

    def answer(frame: Frame) -> bytes:
        if frame.type == Message.DESCRIBE:
            first = int.from_bytes(frame.payload[:2], "little")
            piece = text[first : first + frame.payload[2]]
            return replying({Message.DESCRIBE: b"\0" + piece})(frame)
        return replying({Message.HELLO: b"\0" + hello(model, len(text)).to_bytes()})(frame)

    with Scripted(answer) as device:
        shown = done("info", "--port", device.port)
        as_json = done("info", "--port", device.port, "--json")
    for character in ("\x1b", "\x07", "\r", "\u202e"):
        assert character not in shown + as_json
    assert "[bold red]x[/]" in shown
    assert "[link=http://x]c" in shown


def test_a_worn_out_memory_is_one_sentence(model: IntModel, board: list[str]) -> None:
    described = json.dumps(
        {
            "name": "n", "sizes": [4, 8, 3], "hash": model.hash, "update": "residual",
            "a_frac": [13, 12, 12], "dz_frac": [15, 16], "w_frac": [11, 11], "loss_frac": 25,
            "learns": [1, 2], "labels": [], "store": {"bytes": 1024, "writes": 100000},
        },
        separators=(",", ":"),
    ).encode()  # fmt: skip
    large = replace(hello(model, len(described)), max_reply=246, max_request=246)
    answers = {
        Message.HELLO: b"\0" + large.to_bytes(),
        Message.DESCRIBE: b"\0" + described,
        Message.SAVE: bytes([Status.E_HW, 0, 0, 0, 0]),
    }
    with Scripted(replying(answers)) as device:
        text = complaint(3, "save", "--port", device.port)
    assert "its memory did not take what was written" in text

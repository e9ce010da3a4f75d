"""Mistakes with files and ports: one sentence."""

from __future__ import annotations

import errno
import re
from pathlib import Path

import pytest

from bpgen_host import link, simulators
from tests.unit.host_cli.command_runs import IRIS, ON_A_BOARD, complaint


def test_a_csv_without_the_columns_is_refused_before_a_port_is_opened(
    folder: Path, tmp_path: Path
) -> None:
    data = tmp_path / "other.csv"
    data.write_text("a,b\n1,2\n")
    for command in (("predict",), ("stream",), ("grads", "--data"), ("gradcheck", "--data")):
        text = complaint(
            2, *command, data, "--port", "/dev/nothing", "--model", folder / "iris.json"
        )
        assert f"{data} has no column 's" in text


def test_a_sample_that_the_data_lacks_is_refused(folder: Path) -> None:
    text = complaint(
        2, "grads", "--port", "/dev/nothing", "--model", folder / "iris.json", "--data", IRIS,
        "--sample", "150",
    )  # fmt: skip
    assert "there is no sample 150: choose one from 0 to 149" in text


def test_a_file_that_is_there_is_not_overwritten(folder: Path, tmp_path: Path) -> None:
    taken = tmp_path / "taken.json"
    taken.write_text("kept")
    port = ("--port", "/dev/nothing", "--model", folder / "iris.json")
    for command in (
        ("info", *port, "--capture", taken),
        ("predict", IRIS, *port, "--output-file", taken),
        ("weights", "get", *port, "-o", taken),
        ("grads", *port, "--data", IRIS, "--csv", taken),
    ):
        assert "exists: choose another name or add --force" in complaint(2, *command)
    stream = ("stream", IRIS, *port, "--train", "--log")
    assert "exists: go on with it by --resume" in complaint(2, *stream, taken)
    assert "is read and would be overwritten" in complaint(2, *stream, IRIS)
    assert taken.read_text() == "kept"


def test_a_model_that_only_infers_is_not_trained(folder: Path) -> None:
    text = complaint(
        2, "stream", IRIS, "--port", "/dev/nothing", "--model", folder / "infer.json", "--train"
    )
    assert "infer.json can only infer" in text


@pytest.mark.parametrize("command", ON_A_BOARD)
def test_a_port_that_is_not_there_is_one_sentence(command: str) -> None:
    text = complaint(3, *command.split(), "--port", "/dev/ttyNONE7")
    assert "there is no port /dev/ttyNONE7" in text


def test_a_port_in_use_is_one_sentence(running: simulators.Simulator) -> None:
    taken = link.open_port(running.port)
    try:
        assert "is in use by another program" in complaint(3, "info", "--port", running.port)
    finally:
        taken.close()


def test_a_port_without_permission_names_the_group(
    monkeypatch: pytest.MonkeyPatch, running: simulators.Simulator
) -> None:
    """Root may open everything, so that the system's refusal is played."""
    import serial

    def refuse(self: object) -> None:
        raise serial.SerialException(errno.EACCES, "Permission denied")

    monkeypatch.setattr("serial.Serial.open", refuse)
    text = complaint(3, "info", "--port", running.port)
    assert f"you may not open {running.port}" in text
    assert re.search(r"sudo usermod -aG \w+ \$USER|ask for the right", text)


def test_firmware_of_another_machine_is_one_instruction(tmp_path: Path) -> None:
    image = tmp_path / "net.elf"
    image.write_text("no program")
    image.chmod(0o755)
    text = complaint(2, "simulate", "--board", "posix", "--firmware", image)
    assert f"check that {image} is a program for this machine" in text


def test_a_file_is_no_port(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "is no serial port" in complaint(3, "info", "--port", tmp_path / "file")


@pytest.mark.parametrize("baud", ["0", "fast", "123456789012"])
def test_a_rate_that_cannot_be_is_refused(baud: str) -> None:
    assert "'--baud'" in complaint(2, "info", "--port", "/dev/nothing", "--baud", baud)

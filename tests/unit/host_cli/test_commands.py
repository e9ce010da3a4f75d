"""What the other commands do, on firmware that runs in a process."""

from __future__ import annotations

import csv
import json
import re
import signal
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import bpgen
from bpgen import evaluate
from bpgen.model import IntModel
from bpgen.twin import Twin
from bpgen_host import diagnosis, link, simulators
from bpgen_host.commands.heatmap import WIDTH, matrices, print_heatmap
from bpgen_host.compare import Row
from bpgen_host.device import Device
from tests.unit.host_cli.command_runs import IRIS, complaint, done, figures, run, started
from tests.unit.host_cli.scripted_board import Scripted, silent


def test_info_shows_what_the_board_says(fresh: list[str], model: IntModel) -> None:
    found = figures("info", *fresh)
    assert found["model"] == model.hash
    assert found["sizes"] == [4, 8, 3]
    assert found["labels"] == list(model.labels)
    assert found["parameters"] == 67
    assert found["can"] == ["learns", "low byte", "store"]
    assert ", ".join(model.labels) in done("info", *fresh)


def test_a_simulated_board_is_built_and_started(folder: Path, model: IntModel) -> None:
    found = figures("info", "--simulate", "posix", "--model", folder / "iris.json")
    assert (found["model"], found["generation"]) == (model.hash, 0)


def test_predict_answers_as_the_twin_does(
    fresh: list[str], model: IntModel, tmp_path: Path
) -> None:
    data = evaluate.load_samples(IRIS, model)
    a0, _ = evaluate.raw_samples(model, data)
    expected = [model.labels[k] for k in Twin(model).predict(a0)]
    out = tmp_path / "out.csv"
    assert "wrote 150 predictions" in done("predict", IRIS, *fresh, "--output-file", out)
    with out.open(newline="") as file:
        assert [row["species"] for row in csv.DictReader(file)] == expected
    assert done("predict", IRIS, *fresh) == out.read_text()
    assert figures("predict", IRIS, *fresh) == [{"species": name} for name in expected]


def test_predict_needs_no_target_column(fresh: list[str], tmp_path: Path) -> None:
    with Path(IRIS).open(newline="") as file:
        rows = [row[:4] for row in csv.reader(file)]
    data = tmp_path / "inputs.csv"
    data.write_text("".join(",".join(row) + "\n" for row in rows))
    assert done("predict", data, *fresh) == done("predict", IRIS, *fresh)


def test_gradients_are_those_of_the_twin(fresh: list[str], model: IntModel, tmp_path: Path) -> None:
    table, image = tmp_path / "grads.csv", tmp_path / "grads.png"
    command = ("grads", *fresh, "--data", IRIS, "--sample", "17")
    text = done(*command, "--csv", table, "--heatmap", image, "--rows", "2")
    assert "67 elements" in text
    assert "0 differ from the twin, 0 outside the bound" in text
    assert image.read_bytes().startswith(b"\x89PNG")
    with table.open(newline="") as file:
        rows = {row["element"]: int(row["device"]) for row in csv.DictReader(file)}
    twin = Twin(model)
    a0, t = evaluate.raw_samples(model, evaluate.load_samples(IRIS, model))
    a = twin.forward(a0[[17]])
    gradient = twin.gradient(a, twin.backward(a, t[[17]]))
    assert gradient[1] is not None
    assert rows["dw2[2][5]"] == gradient[1][0][0, 2, 5]
    assert rows["db2[1]"] == gradient[1][1][0, 1]
    assert "dw2, db2 in the last column; @ is " in done(*command, "--heatmap")
    assert figures(*command)["different"] == 0


def test_gradcheck_passes_on_a_right_board(fresh: list[str]) -> None:
    found = figures("gradcheck", *fresh, "--data", IRIS, "--samples", "10")
    assert found["passed"]
    assert (found["samples"], found["elements"]) == (10, 670)
    assert 0 < found["worst_share"] < 1
    assert "0" in done("gradcheck", *fresh, "--data", IRIS, "--samples", "2")


@pytest.mark.parametrize("command", ["gradcheck", "grads"])
def test_one_wrong_element_of_a_gradient_ends_with_1(
    command: str, fresh: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Device.gradient

    def flipped(device: Device, tag: int) -> Any:
        values = read(device, tag)
        values[11] ^= 1
        return values

    monkeypatch.setattr(Device, "gradient", flipped)
    result = run(command, *fresh, "--data", IRIS, *(["--samples", "3"] * (command != "grads")))
    assert result.exit_code == 1
    assert "the firmware is not what bpgen generated" in result.stderr
    if command == "grads":
        assert "differs" in result.stdout.splitlines()[4]


@pytest.mark.parametrize("suffix", [".npz", ".json", ".csv"])
def test_weights_go_to_a_file_and_back(
    suffix: str, fresh: list[str], model: IntModel, tmp_path: Path
) -> None:
    file = tmp_path / f"learned{suffix}"
    done("stream", IRIS, *fresh, "--train", "--epochs", "1")
    assert "wrote 67 weights" in done("weights", "get", *fresh, "-o", file)
    assert "0 of 67 weights differ" in done("weights", "diff", file, *fresh)
    with Device(link.open_port(fresh[1])) as device:
        device.hello()
        device.reset_model()
    differs = run("weights", "diff", file, *fresh)
    assert differs.exit_code == 1
    assert "weights of the board are not those of" in differs.stderr
    assert "0 of 67 weights differ" in done("weights", "diff", *fresh)
    assert "has the 67 weights" in done("weights", "set", file, *fresh)
    assert "0 of 67 weights differ" in done("weights", "diff", file, *fresh)
    named = json.loads(run("weights", "diff", *fresh, "--json").stdout)["different"]
    assert {"weight", "board", "other", "difference"} == set(named[0])


def test_weights_that_do_not_fit_are_refused(
    fresh: list[str], model: IntModel, tmp_path: Path
) -> None:
    file = tmp_path / "w.json"
    right = json.loads(done("weights", "get", *fresh, "--json"))
    wrong: list[tuple[Any, str]] = [
        ([], "is not a weights file"),
        (right | {"hash": "00000000"}, "has the weights of model 00000000"),
        (right | {"b2": [1, 2]}, "tensor b2 in .* is no array of integers of the shape 3"),
        (right | {"b2": [0, 0, 1 << 23]}, "outside -8388608..8388607"),
        (right | {"b2": [0, 0, 0.5]}, "no array of integers"),
        (right | {"b2": [[0], [0, 1]]}, "no array of integers"),
        (right | {"b3": [0]}, "has an unknown tensor 'b3'"),
        ({k: v for k, v in right.items() if k != "w1"}, "lacks tensor 'w1'"),
    ]
    for content, expected in wrong:
        file.write_text(json.dumps(content))
        assert re.search(expected, complaint(2, "weights", "set", file, *fresh))
    for name, text in (("w.npz", "PK"), ("w.csv", "a,b\n1,2\n"), ("w.txt", "")):
        (tmp_path / name).write_text(text)
        complaint(2, "weights", "set", tmp_path / name, *fresh)
    complaint(2, "weights", "set", tmp_path / "none.json", *fresh)
    assert "0 of 67 weights differ" in done("weights", "diff", *fresh)


def test_save_and_load_bring_a_state_back(fresh: list[str], tmp_path: Path) -> None:
    done("stream", IRIS, *fresh, "--train", "--epochs", "1")
    done("weights", "get", *fresh, "-o", tmp_path / "w.npz")
    saved = figures("save", *fresh)
    assert saved["saves_in_a_life"] == 200_000
    done("stream", IRIS, *fresh, "--train", "--epochs", "1", "--keep-weights")
    assert figures("load", *fresh)["generation"] > saved["generation"]
    assert "0 of 67 weights differ" in done("weights", "diff", tmp_path / "w.npz", *fresh)
    assert "200,000 saves: one an hour for 22.8 years" in done("save", *fresh)


def test_stats_count_and_explain(fresh: list[str]) -> None:
    found = figures("stats", *fresh)
    assert found["bad"] == 0
    assert found["host"]["retries"] == 0
    assert "frames that arrived damaged" in done("stats", *fresh)


def test_monitor_shows_frames_both_ways(fresh: list[str], model: IntModel) -> None:
    text = done("monitor", *fresh, "--seconds", "0.3", "--every", "0.1")
    assert re.search(r"host  HELLO +seq", text)
    assert re.search(rf"board HELLO reply .* OK .*model_hash={model.hash}", text)
    assert text.count("STATS reply") >= 2
    raw = done("monitor", *fresh, "--seconds", "0.1", "--raw")
    assert re.search(r"host  00 00\n", raw)
    lines = done("monitor", *fresh, "--seconds", "0.1", "--json").splitlines()
    assert {json.loads(line)["from"] for line in lines} == {"host", "board"}


def test_monitor_goes_on_after_a_restart(running: simulators.Simulator, board: list[str]) -> None:
    press = threading.Timer(0.5, running.reset)
    press.start()
    text = done("monitor", *board, "--seconds", "1.5", "--every", "0.1")
    press.join()
    assert "board BOOT " in text
    assert text.rindex("STATS reply") > text.index("BOOT")


def test_monitor_that_only_listens_shows_garbage_as_numbers() -> None:
    with Scripted(silent, noise=b"\x1b[2J\x07 \0") as device:
        text = done("monitor", "--port", device.port, "--listen", "--seconds", "0.2")
        raw = done("monitor", "--port", device.port, "--listen", "--seconds", "0.2", "--raw")
    assert "no frame: bad " in text
    assert "1b 5b 32 4a 07 20 00" in raw
    assert "\x1b" not in text + raw


def test_a_recording_replays_and_a_changed_one_does_not(folder: Path, tmp_path: Path) -> None:
    recording = tmp_path / "run.bpcap"
    model = folder / "iris.json"
    done(
        "stream", IRIS, "--simulate", "posix", "--model", model, "--train", "--epochs", "1",
        "--capture", recording,
    )  # fmt: skip
    found = figures("replay", recording, "--model", model)
    assert not found["cut"]
    assert found["replays"]["host"]["passed"]
    assert found["replays"]["firmware"]["passed"]
    assert found["replays"]["firmware"]["frames"] > 10
    text = recording.read_text()
    place = text.index('"dir":"d"', len(text) // 2)
    place = text.index('"hex":"', place) + 30
    digit = "0" if text[place] != "0" else "1"
    recording.write_text(text[:place] + digit + text[place + 1 :])
    changed = run("replay", recording, "--model", model)
    assert changed.exit_code == 1
    assert "came out otherwise" in changed.stderr
    (tmp_path / "no.bpcap").write_text("hello")
    complaint(2, "replay", tmp_path / "no.bpcap")
    complaint(2, "replay", tmp_path / "none.bpcap")


@pytest.mark.usefixtures("running")
def test_simulate_prints_a_port_and_ends_with_ctrl_c(folder: Path, model: IntModel) -> None:
    image = str(folder / "firmware" / "build" / "net.elf")
    with started("simulate", "--board", "posix", "--firmware", image, "--json") as process:
        assert process.stdout is not None
        text = ""
        while "}" not in text and (line := process.stdout.readline()):
            text += line
        port = json.loads(text)["port"]
        assert figures("info", "--port", port)["model"] == model.hash
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=["TERM", "HUP"])
def test_a_signal_switches_a_simulated_board_off_and_removes_its_folders(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    model = str(folder / "iris.json")
    with started("simulate", "--board", "posix", "--model", model) as process:
        assert process.stdout is not None
        assert "posix runs at" in process.stdout.readline()
        assert len(list(tmp_path.iterdir())) == 2
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (128 + number, "bpgen-host: interrupted.\n")
    assert list(tmp_path.iterdir()) == []


def test_simulate_takes_one_firmware(folder: Path, tmp_path: Path) -> None:
    complaint(2, "simulate", "--board", "posix")
    complaint(2, "simulate", "--board", "posix", "--firmware", "a", "--model", "b")
    complaint(2, "simulate", "--board", "posix", "--firmware", tmp_path / "none.elf")
    complaint(2, "simulate", "--board", "nothing", "--firmware", "a")
    complaint(2, "simulate", "--board", "posix", "--pace", "--firmware", "a")


@pytest.mark.usefixtures("running")
def test_simulate_makes_the_folder_of_a_memory(folder: Path, tmp_path: Path) -> None:
    """The manual's own command was refused, as the folder was not there."""
    image, memory = str(folder / "firmware" / "build" / "net.elf"), tmp_path / "new" / "eeprom"
    command = ("simulate", "--board", "posix", "--firmware", image, "--memory", str(memory))
    with started(*command) as process:
        assert process.stdout is not None
        port = process.stdout.readline().split(",")[0].rpartition(" ")[2]
        done("save", "--port", port)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    store = memory / "store.bin"
    assert store.stat().st_size > 0
    for wrong in (store, store / "below"):
        text = complaint(2, *command[:-1], wrong)
        assert "choose another folder" in text


def test_doctor_names_ports_boards_and_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    there = [link.PortInfo("/dev/ttyUSB7", "FT232R \x1b[2J", "USB", 16)]
    monkeypatch.setattr(link, "ports", lambda: there)
    text = done("doctor")
    assert "FT232R ?[2J" in text
    assert "echo 1 | sudo tee /sys/bus/usb-serial/devices/ttyUSB7/latency_timer" in text
    assert "pyserial" in text
    found = figures("doctor")
    assert {board["board"] for board in found["boards"]} == set(bpgen.TARGETS)
    assert found["ports"][0]["latency_ms"] == 16


def test_doctor_says_which_group_may_open_a_port() -> None:
    port = diagnosis.PortReport("/dev/ttyACM0", "", None, False, "dialout")
    (sentence,) = diagnosis.advice((port,))
    assert "sudo usermod -aG dialout $USER" in sentence
    assert "ask for the right" in diagnosis.advice((replace(port, group=None),))[0]
    assert "use --simulate BOARD" in diagnosis.advice(())[0]


def test_a_wide_layer_keeps_its_largest_element_in_the_map(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = [
        Row(1, "w", 0, i, 0, 0, 5.0 if i == 200 else 0.01, None, None, None, None)
        for i in range(300)
    ]
    rows.append(Row(1, "b", 0, None, 0, 0, -0.02, None, None, None, None))
    assert matrices(rows)[1].shape == (1, 301)
    print_heatmap(rows)
    line = capsys.readouterr().out.splitlines()[1]
    assert len(line.rstrip()) <= WIDTH + 2
    assert line.count("@") == 1

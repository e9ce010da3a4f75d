"""Training and measuring over the line: stream, its log, and its end before time."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import bpgen
from bpgen import evaluate, wire
from bpgen.model import IntModel
from bpgen.twin import Twin
from bpgen_host import simulators
from tests.unit.host_cli.command_runs import IRIS, complaint, done, figures, run, started


@pytest.mark.parametrize("option", ["--log", "--capture"])
def test_a_full_disk_is_one_sentence(option: str, board: list[str], tmp_path: Path) -> None:
    # A limit of 0 bytes a file stands for a full disk.
    ended = subprocess.run(
        ["sh", "-c", 'ulimit -f 0; exec "$@"', "sh", sys.executable, "-m", "bpgen_host",
         "stream", IRIS, *board, "--train", option, str(tmp_path / "full")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 2
    assert re.fullmatch(r"bpgen-host: [^\n]+\.\n", ended.stderr), ended.stderr
    assert "cannot write" in ended.stderr
    assert os.strerror(errno.EFBIG) in ended.stderr


def test_stream_without_train_measures(fresh: list[str], model: IntModel) -> None:
    data = evaluate.load_samples(IRIS, model)
    found = figures("stream", IRIS, *fresh)
    assert found["accuracy"] == evaluate.twin_score(model, data)
    assert found["training"] is None
    assert found["faults"]["retries"] == 0


def test_stream_trains_as_the_simulation_does(
    fresh: list[str], model: IntModel, tmp_path: Path
) -> None:
    twin = Twin(model)
    a0, t = evaluate.raw_samples(model, evaluate.load_samples(IRIS, model))
    for epoch in range(3):
        for i in bpgen.sample_order(len(a0), epoch, 5):
            twin.train(a0[[i]], t[[i]])
    found = figures("stream", IRIS, *fresh, "--train", "--epochs", "3", "--seed", "5")
    expected = wire.zlib.crc32(twin.parameter_bytes())
    assert found["training"]["weights_crc32"] == f"{expected:08x}"
    assert found["training"]["steps"] == 450
    assert len(found["training"]["loss"]) == 3
    assert done("weights", "get", *fresh, "-o", tmp_path / "w.json")
    assert json.loads((tmp_path / "w.json").read_text())["b2"] == (
        twin.parameters()[0][-3:].tolist()
    )


def test_stream_says_how_it_went_in_lines_where_there_is_no_terminal(fresh: list[str]) -> None:
    text = done("stream", IRIS, *fresh, "--train", "--epochs", "2")
    assert re.search(r"^epoch 2/2  loss 0\.\d+  accuracy \d+\.\d+%  .* steps/s", text, re.M)
    assert re.search(r"^300 steps, .* equal the twin's", text, re.M)
    assert "\x1b" not in text


def test_stream_shows_a_live_view_in_a_terminal(fresh: list[str]) -> None:
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "bpgen_host", "stream", IRIS, *fresh, "--train", "--epochs", "60"],
        stdout=subprocess.DEVNULL, stderr=theirs, env=os.environ | {"TERM": "xterm", "CI": ""},
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    # At the end of the process reading its terminal fails.
    try:
        while data := os.read(ours, 4096):
            shown += data
    except OSError:
        pass
    finally:
        os.close(ours)
    assert process.wait() == 0
    text = shown.decode()
    for part in ("epoch ", "loss ", "accuracy ", "steps/s", "s left", "no faults"):
        assert part in text, part


def test_ctrl_c_in_training_keeps_what_resume_goes_on_from(
    fresh: list[str], tmp_path: Path
) -> None:
    log = tmp_path / "run.log"
    command = ["stream", IRIS, *fresh, "--train", "--epochs", "200", "--check-every", "50"]
    logged = [*command, "--log", str(log)]
    with started(*logged) as process:
        while process.poll() is None and (not log.exists() or log.read_text().count("crc32") <= 10):
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert re.fullmatch(
        r"bpgen-host: interrupted after [\d,]+ of 30,000 steps: the same command with --resume "
        r"goes on from .*run\.log\.\n",
        err,
    )
    result = run(*logged, "--resume", "--json")
    assert re.fullmatch(r"bpgen-host: going on after step \d+\.\n", result.stderr)
    resumed = json.loads(result.stdout)["training"]
    assert 0 < resumed["sent"] < 30_000
    whole = figures(*command)["training"]
    assert resumed["weights_crc32"] == whole["weights_crc32"]
    assert resumed["loss"] == whole["loss"]


def test_a_run_without_a_log_says_that_it_cannot_go_on(
    fresh: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("bpgen_host.session.Session._check", interrupt)
    text = complaint(130, "stream", IRIS, *fresh, "--train")
    assert "without --log a run cannot be resumed" in text


def test_a_log_of_another_run_is_refused(fresh: list[str], tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    command = ("stream", IRIS, *fresh, "--train", "--epochs", "1", "--log", log)
    done(*command)
    assert f"{log} exists: go on with it by --resume, choose another" in complaint(2, *command)
    assert "is of another run" in complaint(2, *command, "--resume", "--seed", "1")
    done(*command, "--force")


def test_a_board_that_is_unplugged_for_good_ends_training(
    running: simulators.Simulator, folder: Path, tmp_path: Path
) -> None:
    log = tmp_path / "run.log"
    with simulators.start("posix", folder / "firmware" / "build" / "net.elf") as other:
        pull = threading.Timer(1.0, other.close)
        pull.start()
        result = run(
            "stream", IRIS, "--port", other.port, "--model", folder / "iris.json", "--train",
            "--epochs", "100000", "--log", log, "--patience", "0.3",
        )  # fmt: skip
        pull.join()
    assert result.exit_code == 3, result.output
    last = result.stderr.splitlines()[-1]
    assert "was unplugged" in last
    assert f"the same command with --resume goes on from {log}" in last

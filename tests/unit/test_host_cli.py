"""bpgen-host: every command on firmware that runs in a process, every mistake on a scripted one."""

from __future__ import annotations

import contextlib
import csv
import errno
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import tty
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

import bpgen
from bpgen import evaluate, wire
from bpgen.emit.write import write_folder
from bpgen.model import IntModel
from bpgen.project import build, project_files
from bpgen.quantization import quantize
from bpgen.training import Training
from bpgen.twin import Twin
from bpgen.wire import Capability, Frame, Message, Status
from bpgen_host import diagnosis, link, simulators
from bpgen_host.cli import cli
from bpgen_host.commands.heatmap import WIDTH, matrices, print_heatmap
from bpgen_host.compare import Row
from bpgen_host.device import Device

IRIS = str(Path(__file__).parents[2] / "examples" / "data" / "iris.csv")
COMMANDS = (
    "info", "predict", "stream", "grads", "gradcheck", "weights", "save", "load", "stats",
    "monitor", "replay", "doctor", "simulate",
)  # fmt: skip
ON_A_BOARD = ("info", "save", "load", "stats", "monitor", "weights get")
PATIENCE_S = 0.6


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def done(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    return result.stdout


def figures(*arguments: object) -> Any:
    return json.loads(done(*arguments, "--json"))


def complaint(code: int, *arguments: object) -> str:
    """What a command says that ends with `code`: one sentence, and nothing on stdout."""
    result = run(*arguments)
    assert result.exit_code == code, result.output
    assert re.fullmatch(r"bpgen-host: [^\n]+\.\n", result.stderr), result.stderr
    assert result.stderr.isascii() or result.stderr.strip().isprintable()
    return result.stderr


# ---- Models and boards


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with iris.json, which can learn, infer.json, which cannot, and other.json."""
    place = tmp_path_factory.mktemp("models")
    data = bpgen.load_csv(IRIS, ["species"])
    checkpoint = bpgen.train(data, (4, 8, 3), Training(0.2, 5))
    model = quantize(checkpoint, initial=True)
    (place / "iris.json").write_text(model.to_json())
    (place / "infer.json").write_text(quantize(checkpoint, inference_only=True).to_json())
    (place / "other.json").write_text(quantize(checkpoint).to_json())
    return place


@pytest.fixture(scope="module")
def model(folder: Path) -> IntModel:
    return evaluate.load_model(folder / "iris.json")


@pytest.fixture(scope="module")
def running(
    folder: Path, model: IntModel, tool: Callable[[str], str]
) -> Iterator[simulators.Simulator]:
    """The firmware of iris.json as a process behind a pty."""
    tool("gcc")
    write_folder(folder / "firmware", project_files(model, board="posix"))
    with simulators.start("posix", build(folder / "firmware")) as simulator:
        yield simulator


@pytest.fixture
def board(running: simulators.Simulator, folder: Path) -> list[str]:
    """Options that name the running board and its model."""
    return ["--port", running.port, "--model", str(folder / "iris.json")]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for a board that does not answer no longer than a test should."""
    monkeypatch.setattr(Device.hello, "__defaults__", (PATIENCE_S,))


class Scripted:
    """A device on a pty: what `answer` makes of each frame goes back, and `noise` all the time."""

    def __init__(self, answer: Callable[[Frame], bytes], noise: bytes = b"") -> None:
        self.master, self.slave = os.openpty()
        tty.setraw(self.slave)
        os.set_blocking(self.master, False)
        self.port = os.ttyname(self.slave)
        self._answer, self._noise = answer, noise
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def __enter__(self) -> Scripted:
        return self

    def __exit__(self, *_: object) -> None:
        self.unplug()
        os.close(self.slave)

    def unplug(self) -> None:
        if not self._ends.is_set():
            self._ends.set()
            self._thread.join()
            os.close(self.master)

    def _serve(self) -> None:
        decoder = wire.Decoder()
        while not self._ends.wait(0.005):
            try:
                pieces = decoder.push(os.read(self.master, 4096))
            except BlockingIOError:
                pieces = []
            for piece in pieces:
                self._write(self._answer(wire.decode(piece)))
            self._write(self._noise)

    def _write(self, data: bytes) -> None:
        # A full pty is what a flood makes.
        with contextlib.suppress(BlockingIOError):
            os.write(self.master, data)


def hello(model: IntModel, description_bytes: int = 0) -> wire.Hello:
    """What the firmware of a model would answer."""
    count = sum(layer.count for layer in model.layers)
    flags = Capability.LEARNS | Capability.LOW_BYTE | Capability.STORE
    crc32 = Twin(model).parameter_bytes()
    return wire.Hello(
        wire.PROTOCOL, flags, int(model.hash, 16), 63, 46, 46, model.sizes[0], model.sizes[-1],
        count, description_bytes, 0, wire.zlib.crc32(crc32), 1, 1,
    )  # fmt: skip


def replying(answers: dict[Message, bytes]) -> Callable[[Frame], bytes]:
    """Answers by type: the payload of the reply, status included; E_TYPE to all else."""

    def answer(frame: Frame) -> bytes:
        payload = answers.get(Message(frame.type), bytes([Status.E_TYPE, 0, 0, 0, 0]))
        return wire.encode(Frame(frame.type | wire.REPLY, frame.seq, frame.session, payload))

    return answer


def silent(frame: Frame) -> bytes:
    return b""


# ---- The command line itself


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_shows_an_example(command: str) -> None:
    assert f"Example:\n    bpgen-host {command}" in done(command, "--help")


@pytest.mark.parametrize("command", ["get", "set", "diff"])
def test_every_help_of_weights_shows_an_example(command: str) -> None:
    assert f"Example:\n    bpgen-host weights {command}" in done("weights", command, "--help")


def test_help_lists_the_commands_in_the_order_of_use_and_the_exit_codes() -> None:
    text = done("--help")
    places = [text.index(f"\n  {command} ") for command in COMMANDS]
    assert places == sorted(places)
    assert "3 the board or the line failed" in text
    assert done() == text


def test_version_is_that_of_the_package() -> None:
    assert done("--version") == f"bpgen-host {bpgen.__version__}\n"


def test_help_needs_no_heavy_package() -> None:
    program = (
        "import sys\ntry:\n from bpgen_host.cli import cli; cli.main(['--help'])\n"
        "except SystemExit:\n"
        " print(sorted({'numpy', 'serial', 'rich', 'jinja2', 'matplotlib'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True).stdout
    assert out.decode().endswith("[]\n")


def test_the_manual_has_every_command_and_every_exit_code() -> None:
    text = (Path(__file__).parents[2] / "docs" / "host.md").read_text(encoding="utf-8")
    for command in COMMANDS:
        assert f"bpgen-host {command}" in text, command
    for code in (0, 1, 2, 3, 130):
        assert f"| {code} |" in text, code


@pytest.mark.parametrize("command", ON_A_BOARD)
def test_a_board_is_named_in_one_way(command: str) -> None:
    words = command.split()
    assert "name the board by --port or by --simulate, see" in complaint(2, *words)
    both = complaint(2, *words, "--port", "x", "--simulate", "uno")
    assert "name the board by --port or by --simulate, not by both" in both


def test_a_simulated_board_needs_a_model() -> None:
    assert "--simulate builds the firmware of a model, add --model FILE" in complaint(
        2, "info", "--simulate", "uno"
    )


def test_an_unknown_board_is_named_with_those_there_are(folder: Path) -> None:
    text = complaint(2, "info", "--simulate", "unu", "--model", folder / "iris.json")
    assert "there is no board 'unu' (did you mean uno?)" in text


def test_a_board_without_a_simulator_is_refused(folder: Path) -> None:
    text = complaint(2, "info", "--simulate", "bluepill", "--model", folder / "iris.json")
    assert "there is no simulator of bluepill" in text


@pytest.mark.parametrize(
    ("command", "needs"),
    [
        (("predict", IRIS), "columns become inputs"),
        (("stream", IRIS), "columns become inputs"),
        (("grads", "--data", IRIS), "the gradient is compared"),
        (("gradcheck", "--data", IRIS), "gradients are compared"),
        (("weights", "diff"), "the weights are compared"),
    ],
)
def test_what_needs_a_model_says_so(command: tuple[str, ...], needs: str) -> None:
    text = complaint(2, *command, "--port", "/dev/nothing")
    assert needs in text
    assert "add --model FILE" in text


def test_options_of_training_need_train(folder: Path) -> None:
    given = ("stream", IRIS, "--port", "x", "--model", folder / "iris.json")
    assert "--epochs needs --train" in complaint(2, *given, "--epochs", "3")
    assert "add --log FILE" in complaint(2, *given, "--train", "--resume")


# ---- Mistakes with files


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
        ("stream", IRIS, *port, "--train", "--log", taken),
        ("weights", "get", *port, "-o", taken),
        ("grads", *port, "--data", IRIS, "--csv", taken),
    ):
        assert "exists: choose another name or add --force" in complaint(2, *command)
    assert taken.read_text() == "kept"


def test_a_model_that_only_infers_is_not_trained(folder: Path) -> None:
    text = complaint(
        2, "stream", IRIS, "--port", "/dev/nothing", "--model", folder / "infer.json", "--train"
    )
    assert "infer.json can only infer" in text


# ---- Mistakes with ports


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


def test_a_file_is_no_port(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "is no serial port" in complaint(3, "info", "--port", tmp_path / "file")


@pytest.mark.parametrize("baud", ["0", "fast", "123456789012"])
def test_a_rate_that_cannot_be_is_refused(baud: str) -> None:
    assert "'--baud'" in complaint(2, "info", "--port", "/dev/nothing", "--baud", baud)


# ---- Mistakes at the other end of the line


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


# ---- What the commands do


@pytest.fixture
def fresh(running: simulators.Simulator, board: list[str]) -> list[str]:
    """`board`, with the weights of its firmware."""
    with Device(link.open_port(running.port)) as device:
        device.hello()
        device.reset_model()
    return board


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


@contextlib.contextmanager
def started(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The command line as a process of its own, to be interrupted."""
    # What a shell starts in the background ignores SIGINT, and so would all that the tests start.
    program = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from bpgen_host.__main__ import main; main()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


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
    assert "exists" in complaint(2, *command)
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


def test_simulate_takes_one_firmware(folder: Path, tmp_path: Path) -> None:
    complaint(2, "simulate", "--board", "posix")
    complaint(2, "simulate", "--board", "posix", "--firmware", "a", "--model", "b")
    complaint(2, "simulate", "--board", "posix", "--firmware", tmp_path / "none.elf")
    complaint(2, "simulate", "--board", "nothing", "--firmware", "a")
    complaint(2, "simulate", "--board", "posix", "--pace", "--firmware", "a")
    complaint(2, "simulate", "--board", "posix", "--firmware", "a", "--memory", tmp_path / "no")


# ---- What this machine has


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


# ---- The heat map


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

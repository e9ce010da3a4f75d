"""
Arduino sketches and self-training firmwares, run as they are: what they print is the twin's.

The sketches are built by Debian's arduino-builder from the library that `bpgen new` writes.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from bpgen import wire
from bpgen.cli import cli
from bpgen.emit.projects import Samples
from bpgen.emit.write import write_folder
from bpgen.evaluate import load_model
from bpgen.model import IntModel
from bpgen.project import arduino_files, build, firmware_files, plan
from bpgen.twin import Twin
from tests.compile.models import trainable

Tool = Callable[[str], str]

ROOT = Path(__file__).resolve().parents[2]
FIRMWARE = ROOT / "firmware"
EXAMPLES = ROOT / "examples"
EPOCHS = 4
QEMU = {"stm32f100": "stm32vldiscovery", "stm32f405": "netduinoplus2", "microbit": "microbit"}
MCU = {"uno": "atmega328p", "mega2560": "atmega2560"}
FQBN = {"uno": "arduino:avr:uno", "mega2560": "arduino:avr:mega:cpu=atmega2560"}

SQUARED = "squared_error"
SIGMOIDS = ("sigmoid", "sigmoid")
CLASSES = trainable((4, 8, 3), SIGMOIDS, SQUARED, "residual", labels=("a", "b", "c"))
VALUES = trainable((3, 5, 2), ("tanh_opt", "linear"), SQUARED, "stochastic")
BATCHES = trainable(
    (3, 4, 2), ("tanh", "softmax"), "cross_entropy", "momentum", labels=("a", "b")
)  # fmt: skip


def samples_for(model: IntModel, count: int = 21) -> Samples:
    """Random inputs; classes in turn, or random targets."""
    rng = np.random.default_rng(count)
    a0 = rng.integers(-4096, 4097, (count, model.input.size))
    outputs, one = model.output.outputs, 1 << model.output.a_format.frac
    t = rng.integers(-one, one + 1, (count, outputs))
    if model.labels:
        t = np.eye(outputs, dtype=np.int64)[np.arange(count) % outputs] * one
    rows = (tuple(tuple(row) for row in part.tolist()) for part in (a0, t))
    return Samples(*rows, epochs=EPOCHS)


def learned(model: IntModel, samples: Samples) -> Iterator[tuple[int, int, Twin]]:
    """After each epoch: the sum of losses, how many samples were right, and the twin."""
    twin = Twin(model)
    assert model.training is not None
    applies = model.training.update in ("batch", "momentum")
    for _ in range(samples.epochs):
        total = right = 0
        for i, (x, t) in enumerate(zip(samples.a0, samples.t, strict=True), start=1):
            a = twin.forward(np.array([x]))
            total += int(twin.losses(a[-1], np.array([t]))[0])
            right += int(a[-1][0].argmax()) == t.index(max(t))
            twin.step(a, twin.backward(a, np.array([t])))
            if applies and (i % model.training.batch_size == 0 or i == len(samples.a0)):
                twin.apply()
        yield total, right, twin


def printed_by_a_self_training_firmware(model: IntModel, samples: Samples) -> str:
    """What firmware/self_training/main.c has to print, from the twin."""
    count, lines = len(samples.a0), []
    for epoch, (total, right, twin) in enumerate(learned(model, samples), start=1):
        millionths = total * 1_000_000 // (count << twin.loss_frac)
        line = f"epoch {epoch} loss {millionths // 1_000_000}.{millionths % 1_000_000:06d}"
        lines.append(f"{line} right {right} of {count}" if model.labels else line)
        parameters = twin.parameter_bytes()
    lines.append(f"weights {zlib.crc32(parameters):08x}")
    return "".join(f"{line}\r\n" for line in lines)


@pytest.fixture(scope="session")
def avr(tool: Tool, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The AVR runner."""
    tool("/usr/include/simavr/sim_avr.h")
    program = tmp_path_factory.mktemp("avr") / "avr_sim"
    libraries = ("-lsimavr", "-lelf", "-lutil")
    source = FIRMWARE / "sim" / "avr.c"
    subprocess.run([tool("gcc"), "-O2", source, "-o", program, *libraries], check=True)
    return program


def run_avr(
    avr: Path, board: str, image: Path, folder: Path, cycles: int, rx: bytes = b""
) -> bytes:
    """All bytes that an image sends within so many cycles."""
    (folder / "rx.bin").write_bytes(rx)
    out = folder / "tx.bin"
    # fmt: off
    subprocess.run(
        [avr, "-m", MCU[board], "-f", "16000000", "--rx", folder / "rx.bin", "--tx", out,
         "--max-cycles", str(cycles), image],
        check=False, capture_output=True, timeout=120,
    )
    # fmt: on
    return out.read_bytes()


def run_qemu(qemu: str, board: str, image: Path, folder: Path, last: bytes) -> bytes:
    """What an image sends until a line that begins with `last` is there, for at most a minute."""
    out = folder / "tx.bin"
    # fmt: off
    with subprocess.Popen(
        [qemu, "-M", QEMU[board], "-display", "none", "-monitor", "none",
         "-serial", f"file:{out}", "-kernel", image],
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:
                said = out.read_bytes() if out.exists() else b""
                if said.endswith(b"\n") and said.splitlines()[-1].startswith(last):
                    break
                time.sleep(0.05)
        finally:
            process.kill()
    # fmt: on
    return said


# ---- Self-training firmware ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["CLASSES", "VALUES", "BATCHES"])
@pytest.mark.parametrize("board", MCU)
def test_an_avr_trains_itself_and_prints_the_losses_of_the_twin(
    board: str, name: str, avr: Path, tool: Tool, tmp_path: Path
) -> None:
    tool("avr-gcc")
    model: IntModel = globals()[name]
    samples = samples_for(model)
    write_folder(tmp_path / "p", firmware_files(plan(model, "net", board, samples=samples)))
    said = run_avr(avr, board, build(tmp_path / "p"), tmp_path, 60_000_000)
    assert said.decode() == printed_by_a_self_training_firmware(model, samples)


@pytest.mark.parametrize("board", QEMU)
def test_an_arm_trains_itself_and_prints_the_losses_of_the_twin(
    board: str, tool: Tool, tmp_path: Path
) -> None:
    tool("arm-none-eabi-gcc")
    qemu = tool("qemu-system-arm")
    samples = samples_for(CLASSES)
    write_folder(tmp_path / "p", firmware_files(plan(CLASSES, "net", board, samples=samples)))
    said = run_qemu(qemu, board, build(tmp_path / "p"), tmp_path, b"weights")
    assert said.decode() == printed_by_a_self_training_firmware(CLASSES, samples)


def test_a_wrong_bit_in_the_arithmetic_changes_what_is_printed(
    avr: Path, tool: Tool, tmp_path: Path
) -> None:
    tool("avr-gcc")
    samples = samples_for(CLASSES)
    files = firmware_files(plan(CLASSES, "net", "uno", samples=samples))
    network = files["net.c"]
    step = "    s->steps++;\n"
    assert step in network
    files["net.c"] = network.replace(step, f"    s->b1[0] ^= 16;\n{step}")
    write_folder(tmp_path / "p", files)
    said = run_avr(avr, "uno", build(tmp_path / "p"), tmp_path, 60_000_000)
    assert said.decode() != printed_by_a_self_training_firmware(CLASSES, samples)


# ---- Arduino -------------------------------------------------------------------------------------


def sketch(tool: Tool, source: Path, libraries: Path, board: str, folder: Path) -> Path:
    """The image of a sketch, built by arduino-builder with the libraries in a folder."""
    folder.mkdir()
    # fmt: off
    done = subprocess.run(
        [tool("arduino-builder"), "-compile",
         "-hardware", "/usr/share/arduino/hardware", "-hardware", "/usr/share/arduino-builder",
         "-tools", "/usr/bin", "-fqbn", FQBN[board], "-libraries", libraries,
         "-build-path", folder, "-warnings", "all",
         # gcc 5 in C++11 mode has no DECIMAL_DIG, which the core's WString.cpp uses.
         "-prefs=compiler.cpp.extra_flags=-DDECIMAL_DIG=__DECIMAL_DIG__", source],
        capture_output=True, text=True, check=False, timeout=300,
    )
    # fmt: on
    assert done.returncode == 0, done.stderr
    ours = [line for line in done.stderr.splitlines() if "warning:" in line]
    assert [line for line in ours if not line.startswith("/usr/share/arduino")] == []
    return folder / f"{source.name}.elf"


@pytest.mark.parametrize("board", FQBN)
def test_the_sketch_learn_of_a_library_prints_the_losses_of_the_twin(
    board: str, avr: Path, tool: Tool, tmp_path: Path
) -> None:
    model = CLASSES if board == "uno" else BATCHES
    samples = samples_for(model)
    library = tmp_path / "libraries" / "net"
    write_folder(library, arduino_files(plan(model, "net", board, samples=samples)))
    learn = library / "examples" / "Learn" / "Learn.ino"
    image = sketch(tool, learn, library.parent, board, tmp_path / "built")
    said = run_avr(avr, board, image, tmp_path, 60_000_000)
    expected = [
        f"epoch {epoch} loss {(total // len(samples.a0) * 1_000_000) >> twin.loss_frac}\r\n"
        for epoch, (total, _, twin) in enumerate(learned(model, samples), start=1)
    ]
    assert said.decode() == "".join(expected)


def test_the_sketch_serve_of_a_library_answers_a_host(
    avr: Path, tool: Tool, tmp_path: Path
) -> None:
    library = tmp_path / "libraries" / "net"
    write_folder(library, arduino_files(plan(CLASSES, "net", "uno")))
    serve = library / "examples" / "Serve" / "Serve.ino"
    image = sketch(tool, serve, library.parent, "uno", tmp_path / "built")
    hello = wire.encode(wire.Frame(wire.Message.HELLO, 1, 0x1234, bytes((1, 1))))
    said = run_avr(avr, "uno", image, tmp_path, 30_000_000, hello)
    frames = []
    for piece in wire.Decoder().push(said):
        with contextlib.suppress(wire.FrameError):
            frames.append(wire.decode(piece))
    replies = [f for f in frames if f.type == wire.Message.HELLO | wire.REPLY]
    assert replies, frames
    assert replies[0].session == 0x1234
    assert replies[0].payload[0] == wire.Status.OK
    assert wire.Hello.from_bytes(replies[0].payload[1:]).model_hash == int(CLASSES.hash, 16)


def test_the_sketch_of_the_examples_learns_xor_with_the_commands_of_its_readme(
    avr: Path, tool: Tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readme = (EXAMPLES / "arduino" / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"^    bpgen (.*)$", readme, re.MULTILINE)
    assert len(commands) == 3
    (tmp_path / "xor.csv").write_bytes((EXAMPLES / "arduino" / "xor.csv").read_bytes())
    monkeypatch.chdir(tmp_path)
    for command in commands:
        done = CliRunner().invoke(cli, command.replace("~/", "home/").split())
        assert done.exit_code == 0, done.output
    model = load_model("gate.model.json")
    source = EXAMPLES / "arduino" / "XorLearns" / "XorLearns.ino"
    libraries = tmp_path / "home" / "Arduino" / "libraries"
    image = sketch(tool, source, libraries, "uno", tmp_path / "built")
    said = run_avr(avr, "uno", image, tmp_path, 100_000_000).decode().splitlines()

    twin, one = Twin(model), 1 << model.output.a_format.frac
    a0 = twin.quantize_input(np.array([[0, 0], [0, 1], [1, 0], [1, 1]]))
    t = np.array([[0], [one], [one], [0]])
    expected = []
    for epoch in range(1, 1001):
        total, percent = 0, []
        for x, target in zip(a0, t, strict=True):
            a = twin.forward(x[np.newaxis])
            percent.append(int(a[-1][0, 0]) * 100 // one)
            total += int(twin.losses(a[-1], target[np.newaxis])[0])
            twin.train(x[np.newaxis], target[np.newaxis])
        if epoch % 100 == 0:
            millionths = (total // 4 * 1_000_000) >> twin.loss_frac
            expected.append(f"epoch {epoch} loss {millionths} {' '.join(map(str, percent))}")
    assert said == expected
    for line in re.findall(r"^    (epoch \d.*)$", readme, re.MULTILINE):
        assert line in expected
    assert [int(n) > 50 for n in said[-1].split()[-4:]] == [False, True, True, False]


def test_the_readme_of_the_self_training_example_shows_what_a_board_prints(
    avr: Path, tool: Tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool("avr-gcc")
    readme = (EXAMPLES / "self_training" / "README.md").read_text(encoding="utf-8")
    (tmp_path / "data").mkdir()
    data = EXAMPLES / "data" / "iris.csv"
    (tmp_path / "data" / "iris.csv").write_bytes(data.read_bytes())
    (tmp_path / "self").mkdir()
    monkeypatch.chdir(tmp_path / "self")
    for command in re.findall(r"^    bpgen (.*)$", readme, re.MULTILINE):
        done = CliRunner().invoke(cli, command.split())
        assert done.exit_code == 0, done.output
    image = build(Path("demo"))
    said = run_avr(avr, "uno", image, tmp_path, 100_000_000).decode().splitlines()
    shown = re.findall(r"^    ((?:epoch|weights) .*)$", readme, re.MULTILINE)
    assert len(shown) == 4
    assert set(shown) <= set(said)

"""Firmware projects: what is in them, what is refused, and what make's failures become."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from bpgen import project
from bpgen.cli import cli
from bpgen.data import FIRMWARE
from bpgen.dataset import load_csv
from bpgen.emit import cfmt
from bpgen.emit.projects import Samples
from bpgen.emit.write import write_folder
from bpgen.errors import BpgenError
from bpgen.generation import view_of
from bpgen.model import IntModel
from bpgen.project import (
    arduino_files,
    build,
    firmware_files,
    flash,
    plan,
    port_files,
    project_files,
)
from bpgen.targets import TARGETS, fits
from tests.compile.models import byte_model, trainable

Tool = Callable[[str], str]

ROOT = Path(__file__).resolve().parents[2]
BOARDS = [name for name, target in TARGETS.items() if target.port]
SQUARED = "squared_error"
SIGMOIDS = ("sigmoid", "sigmoid")
SMALL = trainable((4, 5, 3), SIGMOIDS, SQUARED, "residual", labels=("a", "b", "c"))
DIGITS = trainable((64, 32, 10), SIGMOIDS, SQUARED, "stochastic")
SAMPLES = Samples(((1, -2, 3, -4), (5, 6, 7, 8)), ((0, 2048, 0), (2048, 0, 0)), epochs=7)
LINK = {
    "bpgen_device.h", "bpgen_device.c", "bpgen_wire.h", "bpgen_link.h", "bpgen_link.c",
    "bpgen_link_requests.h", "bpgen_link_frames.h", "bpgen_link_network.h",
    "bpgen_store.h", "bpgen_store.c", "bpgen_port.h",
}  # fmt: skip
CORE = {"bpgen_fix.h", "bpgen_kernels.h", "bpgen_kernels.c"}


def saved(model: IntModel, folder: Path) -> Path:
    path = folder / "m.model.json"
    path.write_text(model.to_json(), encoding="utf-8")
    return path


def new(*arguments: str | Path) -> tuple[int, str]:
    """Run `bpgen new`: its exit code and all that it printed."""
    done = CliRunner().invoke(cli, ["new", *map(str, arguments)])
    return done.exit_code, done.output


@pytest.mark.parametrize("board", BOARDS)
def test_a_project_holds_everything_that_its_image_is_built_from(board: str) -> None:
    files = project_files(SMALL, "iris", board)
    own = {"iris.h", "iris.c", "iris.model.json", "main.c", "Makefile", "README.md"}
    assert files.keys() >= own | LINK | CORE | {"bpgen_port.c"}
    for name, text in files.items():
        for included in re.findall(r'#include "([^"]+)"', text):
            assert included in files, f"{name} includes {included}"
    scripts = [name for name in files if name.endswith(".ld")]
    assert len(scripts) == (TARGETS[board].family.core not in ("AVR", "host"))
    assert IntModel.from_json(files["iris.model.json"]) == SMALL


@pytest.mark.parametrize("board", BOARDS)
def test_no_file_of_a_port_hides_another(board: str) -> None:
    """A project is one folder, the ports are several."""
    port = TARGETS[board].port
    assert port is not None
    folders = [FIRMWARE / "ports" / name for name in (*port.shares, port.folder)]
    names = [path.name for folder in (FIRMWARE / "core", *folders) for path in folder.iterdir()]
    assert len(names) == len(set(names))
    texts = {p.name: p.read_text("utf-8") for folder in folders for p in folder.iterdir()}
    for name, text in port_files(port).items():
        assert texts[name] == text


def test_features_can_be_told_apart_whatever_their_names_are() -> None:
    """C stays ASCII and numbers them; Markdown has the names, and finds no markup in them."""
    names = ("größe", "grüße", "a_b_c * <b>|", "温\n*/\u202e\udcff")
    model = replace(SMALL, input=replace(SMALL.input, features=names))
    folded = ["gr..e", "gr..e", "a_b_c * <b>|", "..*..."]
    escaped = ["größe", "grüße", r"a\_b\_c \* \<b\>\|", r"温.\*/.."]
    files = project_files(model, "iris", "uno")
    assert files["iris.h"].isascii()
    for start, file, spelled in (
        (" *   ", files["iris.h"], folded),
        ("* ", files["README.md"], escaped),
        ("* ", arduino_files(plan(model, "iris", "uno"))["README.md"], escaped),
    ):
        lines = [line for line in file.split("\n") if line.endswith(": one count is 0.01")]
        named = [f"{start}[{i}] {name}: one count is 0.01" for i, name in enumerate(spelled)]
        assert lines == named


@pytest.mark.parametrize("board", BOARDS)
def test_no_prefix_replaces_a_file_of_the_project(board: str) -> None:
    files = [name for name in project_files(SMALL, "iris", board) if name.endswith((".c", ".h"))]
    for name in {Path(name).stem for name in files} - {"iris"}:
        with pytest.raises(BpgenError, match="is a reserved name"):
            cfmt.check_identifier(name)


@pytest.mark.parametrize("board", BOARDS)
def test_every_c_file_of_a_project_is_in_its_makefile(board: str) -> None:
    files = project_files(SMALL, "iris", board)
    listed = re.findall(r"^(?:FAST|SMALL) := (.*)$", files["Makefile"], re.MULTILINE)
    assert sorted(" ".join(listed).split()) == sorted(n for n in files if n.endswith(".c"))


def test_a_project_for_size_compiles_its_network_for_size(tmp_path: Path) -> None:
    model = saved(SMALL, tmp_path)
    code, _ = new(tmp_path / "p", "--model", model, "--board", "uno", "--optimize", "size")
    assert code == 0
    makefile = (tmp_path / "p" / "Makefile").read_text(encoding="utf-8")
    small = " ".join(TARGETS["uno"].family.small)
    assert f"$(FAST_OBJECTS): OPTIMISE := {small}\n" in makefile
    assert "#define BP_SMALL 1\n" in (tmp_path / "p" / "bpgen_fix.h").read_text(encoding="utf-8")


def test_the_same_model_and_board_give_the_same_bytes_in_every_process() -> None:
    program = (
        "from tests.unit.test_project import SMALL, SAMPLES\n"
        "from bpgen.project import arduino_files, firmware_files, plan\n"
        "import hashlib\n"
        "for board in ('uno', 'stm32f405', 'posix'):\n"
        "    for samples in (None, SAMPLES):\n"
        "        files = firmware_files(plan(SMALL, 'iris', board, samples=samples))\n"
        "        files |= arduino_files(plan(SMALL, 'iris', 'uno', samples=samples))\n"
        "        print(hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest())\n"
    )
    seen = set()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-c", program],
            env=environment,
            cwd="/",
            capture_output=True,
            text=True,
            check=True,
        )
        seen.add(done.stdout)
    assert len(seen) == 1


def test_a_board_without_a_port_is_refused_with_those_that_have_one() -> None:
    with pytest.raises(BpgenError, match=r"no firmware for rp2040.*bpgen generate.*uno, mega2560"):
        project_files(SMALL, "iris", "rp2040")


def test_a_baud_rate_that_the_clock_cannot_make_is_refused_with_those_it_can() -> None:
    assert (
        "BP_PORT_BAUD 1000000" in project_files(SMALL, "iris", "uno", 1_000_000)["bpgen_device.h"]
    )
    with pytest.raises(BpgenError, match=r"uno does not have 921600 baud.*500000, 1000000"):
        project_files(SMALL, "iris", "uno", 921_600)


def test_link_and_store_count_when_a_model_is_tried_on_a_board() -> None:
    """A state that fits the Uno alone, but not with the firmware around it."""
    wide = trainable((16, 20, 4), SIGMOIDS, SQUARED, "residual")
    assert fits(view_of(wide, "net"), TARGETS["uno"]).fits
    with pytest.raises(BpgenError, match=r"does not fit uno, which has \d+ bytes of RAM too few"):
        project_files(wide, "net", "uno")


def test_a_mega_keeps_digits_in_ram_but_not_in_its_eeprom_and_says_so(tmp_path: Path) -> None:
    assert "SAVE" not in new(
        tmp_path / "small", "--model", saved(SMALL, tmp_path), "--board", "mega2560"
    )[1]  # fmt: skip
    code, output = new(
        tmp_path / "digits", "--model", saved(DIGITS, tmp_path), "--board", "mega2560"
    )
    assert code == 0
    assert "generated without SAVE: two records of" in output
    assert "4096" in output
    assert "#define BP_STORE_BYTES 0" in (tmp_path / "digits/bpgen_device.h").read_text()
    assert "has no SAVE" in (tmp_path / "digits/README.md").read_text()


def test_a_project_is_written_whole_and_replaced_only_with_force(tmp_path: Path) -> None:
    folder, model = tmp_path / "a" / "iris", saved(SMALL, tmp_path)
    assert new(folder, "--model", model, "--board", "uno", "--prefix", "iris")[0] == 0
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert before.keys() == project_files(SMALL, "iris", "uno").keys()
    code, output = new(folder, "--model", model, "--board", "uno", "--prefix", "iris")
    assert code == 2
    assert "exists: choose another folder or add --force" in output
    again = new(folder, "--model", model, "--board", "uno", "--prefix", "iris", "--force")
    assert again[0] == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--board", "unno"), "did you mean uno"),
        (("--board", "uno", "--prefix", "main"), "reserved"),
        (("--board", "uno", "--baud", "7"), "does not have 7 baud"),
        (("--board", "rp2040"), "no firmware for rp2040"),
        (("--board", "uno", "--epochs", "3"), "--epochs needs --demo-data"),
        (("--board", "stm32f100", "--arduino"), "choose uno or mega2560"),
    ],
    ids=["unknown-board", "prefix", "baud", "no-port", "epochs", "no-arduino"],
)
def test_what_cannot_be_made_is_refused_in_one_sentence_and_nothing_is_written(
    arguments: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    code, output = new(tmp_path / "x", "--model", saved(SMALL, tmp_path), *arguments)
    assert code == 2
    assert said in output
    assert len(output.splitlines()) == 1
    assert not (tmp_path / "x").exists()


# ---- make ----------------------------------------------------------------------------------------


def written(folder: Path, board: str) -> Path:
    write_folder(folder, project_files(SMALL, "iris", board))
    return folder


def only(tools: dict[str, str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A PATH with a shell's and make's own tools, and scripts of these names and texts."""
    folder.mkdir()
    for name in ("make", "sh", "mkdir", "rm"):
        found = shutil.which(name)
        assert found is not None
        (folder / name).symlink_to(found)
    for name, text in tools.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


def test_a_project_of_this_machine_is_built_by_make(tool: Tool, tmp_path: Path) -> None:
    tool("gcc")
    image = build(written(tmp_path / "p", "posix"))
    assert image == tmp_path / "p" / "build" / "iris.elf"
    assert os.access(image, os.X_OK)


def test_a_missing_compiler_is_reported_with_the_line_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path / "p", "uno")
    only({}, tmp_path / "bin", monkeypatch)
    with pytest.raises(BpgenError, match="avr-gcc is missing: sudo apt-get install gcc-avr avr-li"):
        build(tmp_path / "p")


def test_a_missing_make_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path / "p", "uno")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BpgenError, match="make is missing: sudo apt-get install make"):
        build(tmp_path / "p")


def test_the_first_error_of_a_compiler_is_reported(tool: Tool, tmp_path: Path) -> None:
    tool("gcc")
    folder = written(tmp_path / "p", "posix")
    (folder / "main.c").write_text('#include "nowhere.h"\n')
    with pytest.raises(BpgenError, match=r"cannot be built: main\.c:1:10: fatal error: nowhere\.h"):
        build(folder)


def test_a_folder_that_is_no_project_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BpgenError, match="has no Makefile to read: make a project"):
        build(tmp_path)
    (tmp_path / "Makefile").write_text("all:\n")
    with pytest.raises(BpgenError, match="is no project"):
        build(tmp_path)


FLASHERS = {
    "uno": ("avrdude", "-p m328p -c arduino -P /dev/ttyX -b 115200 -D -U flash:w:"),
    "mega2560": ("avrdude", "-p m2560 -c wiring -P /dev/ttyX -b 115200 -D -U flash:w:"),
    "stm32f100": ("st-flash", "--reset --format ihex write build/iris.hex"),
    "bluepill": ("openocd", "-f target/stm32f1x.cfg -c program build/iris.hex verify"),
    "stm32f405": ("openocd", "-f target/stm32f4x.cfg -c program build/iris.hex verify"),
    "microbit": ("cp", "build/iris.hex"),
}


@pytest.mark.parametrize("board", FLASHERS)
def test_flash_calls_the_tool_of_the_board(
    board: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    flasher, arguments = FLASHERS[board]
    compiler = TARGETS[board].family.command
    tools = {
        compiler: "exit 0",
        compiler.replace("gcc", "objcopy"): "exit 0",
        compiler.replace("gcc", "size"): "exit 0",
        flasher: 'echo "$0 $*"',
    }
    folder = written(tmp_path / "p", board)
    only(tools, tmp_path / "bin", monkeypatch)
    drive = tmp_path / "drive"
    drive.mkdir()
    flash(folder, variables=["PORT=/dev/ttyX", f"DRIVE={drive}"])
    said = capfd.readouterr().out
    assert flasher in said
    assert arguments in said


def test_a_missing_flash_tool_is_said_with_the_line_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    tools = dict.fromkeys(("avr-gcc", "avr-objcopy", "avr-size"), "exit 0")
    folder = written(tmp_path / "p", "uno")
    only(tools, tmp_path / "bin", monkeypatch)
    with pytest.raises(BpgenError, match="did not get onto the board"):
        flash(folder)
    assert "avrdude is missing: sudo apt-get install avrdude" in capfd.readouterr().err


def test_a_board_that_only_a_simulator_has_cannot_be_flashed(tmp_path: Path) -> None:
    with pytest.raises(BpgenError, match="exists in a simulator only"):
        flash(written(tmp_path / "p", "rv32"))


# ---- Samples in flash ----------------------------------------------------------------------------


def test_a_self_training_project_has_its_samples_and_no_link() -> None:
    files = firmware_files(plan(SMALL, "iris", "uno", samples=SAMPLES))
    assert not files.keys() & {"bpgen_link.c", "bpgen_store.c"}
    header = files["bpgen_samples.h"]
    assert "#define BP_EPOCHS 7u" in header
    assert "#define BP_SAMPLES 2u" in header
    numbers = re.findall(r"\[\d+\] BP_ROM = \{([^}]*)\}", header)
    a0, classes = ([int(n) for n in re.findall(r"-?\d+", part)] for part in numbers)
    assert a0 == [1, -2, 3, -4, 5, 6, 7, 8]
    assert classes == [1, 0]


def test_targets_that_are_no_classes_are_raws_in_flash() -> None:
    model = trainable((4, 5, 3), SIGMOIDS, SQUARED, "residual")
    header = firmware_files(plan(model, "net", "uno", samples=SAMPLES))["bpgen_samples.h"]
    assert "static const int16_t bp_samples_t[6]" in header
    assert "#define BP_SAMPLES_CLASSES 0" in header


def test_samples_are_shuffled_once_by_the_seed() -> None:
    data = load_csv(ROOT / "examples" / "data" / "iris.csv", ["species"])
    one, same, other = (project.samples_of(SMALL, data, seed=seed) for seed in (0, 0, 1))
    assert one == same
    assert one != other
    assert sorted(one.a0) == sorted(other.a0)
    assert len(one.a0) == 150


def test_a_model_that_cannot_learn_takes_no_samples() -> None:
    with pytest.raises(BpgenError, match="can only infer and has nothing to learn"):
        plan(byte_model((4, 3), ("linear",), SQUARED), "net", "uno", samples=SAMPLES)


def test_samples_that_an_avr_cannot_read_are_refused() -> None:
    many = Samples(((0,) * 4,) * 5000, ((0, 1, 0),) * 5000, 1)
    with pytest.raises(BpgenError, match="5000 samples are more than the firmware for mega2560"):
        plan(SMALL, "net", "mega2560", samples=many)
    assert plan(SMALL, "net", "stm32f405", samples=many).fit.fits


def test_samples_count_as_flash() -> None:
    many = Samples(((0,) * 4,) * 2000, ((0, 1, 0),) * 2000, 1)
    needed = [plan(SMALL, "net", "mega2560", samples=s).fit.flash_needed for s in (None, many)]
    assert needed[1] - needed[0] == 2000 * (4 * 2 + 1)


# ---- Arduino library -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def library() -> dict[str, str]:
    return arduino_files(plan(SMALL, "iris", "uno", samples=SAMPLES))


def test_an_arduino_library_has_the_layout_of_the_specification(library: dict[str, str]) -> None:
    """The rules of Arduino's library specification 1.5 that a build or the library list checks."""
    top = {name.split("/")[0] for name in library}
    assert top == {
        "library.properties", "keywords.txt", "README.md", "LICENSE", "src", "examples", "extras",
    }  # fmt: skip
    for sketch in ("Serve", "Learn"):
        assert f"examples/{sketch}/{sketch}.ino" in library
    for line in library["keywords.txt"].splitlines():
        assert re.fullmatch(r"\w+\t(KEYWORD1|KEYWORD2|LITERAL1)", line)


def test_the_properties_of_an_arduino_library_are_complete(library: dict[str, str]) -> None:
    lines = [line.partition("=") for line in library["library.properties"].splitlines()]
    properties = {key: value for key, _, value in lines}
    needed = {
        "name", "version", "author", "maintainer", "sentence", "paragraph", "category", "url",
        "architectures", "includes",
    }  # fmt: skip
    assert properties.keys() == needed
    assert all(properties.values())
    assert re.fullmatch(r"[A-Za-z0-9][\w .-]{0,62}", properties["name"])
    assert re.fullmatch(r"\d+\.\d+\.\d+", properties["version"])
    assert properties["sentence"] != properties["paragraph"]
    assert properties["category"] == "Data Processing"
    assert f"src/{properties['includes']}" in library


def test_every_header_that_a_library_includes_is_in_it_or_in_the_arduino_core(
    library: dict[str, str],
) -> None:
    sources = {name.removeprefix("src/") for name in library if name.startswith("src/")}
    for name, text in library.items():
        for included in re.findall(r'#include "([^"]+)"', text):
            assert included in sources, f"{name} includes {included}"
        if name.endswith(".ino"):
            assert set(re.findall(r"#include <([^>]+)>", text)) <= sources


def test_a_library_is_written_with_its_folders(tmp_path: Path) -> None:
    folder = tmp_path / "iris"
    code, output = new(
        folder, "--model", saved(SMALL, tmp_path), "--board", "uno", "--prefix", "iris", "--arduino"
    )
    assert code == 0, output
    assert (folder / "src" / "iris.h").is_file()
    assert (folder / "examples" / "Serve" / "Serve.ino").is_file()
    assert not (folder / "examples" / "Learn").exists()


def test_the_data_may_be_clipped_but_not_without_a_word(tmp_path: Path) -> None:
    rows = np.linspace(-1000, 1000, 20)
    lines = ["x0,x1,x2,x3,y"] + [
        f"{v:.2f},{v:.2f},{v:.2f},{v:.2f},{'abc'[i % 3]}" for i, v in enumerate(rows)
    ]
    data = tmp_path / "odd.csv"
    data.write_text("\n".join(lines) + "\n")
    code, output = new(
        tmp_path / "p", "--model", saved(SMALL, tmp_path), "--board", "uno", "--demo-data", data
    )
    assert code == 0, output
    assert "beyond the range of the training" in output

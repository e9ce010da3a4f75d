"""Help, version and manual of bpgen-host, and boards and models that must be named."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import bpgen
from tests.unit.host_cli.command_runs import IRIS, ON_A_BOARD, complaint, done

COMMANDS = (
    "info", "predict", "stream", "grads", "gradcheck", "weights", "save", "load", "stats",
    "monitor", "replay", "doctor", "simulate",
)  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_shows_an_example(command: str) -> None:
    assert f"Example:\n    bpgen-host {command}" in done(command, "--help")


@pytest.mark.parametrize("command", ["get", "set", "diff"])
def test_every_help_of_weights_shows_an_example(command: str) -> None:
    assert f"Example:\n    bpgen-host weights {command}" in done("weights", command, "--help")


def test_weights_alone_prints_its_help_as_the_tool_alone_does() -> None:
    assert done("weights") == done("weights", "--help")


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
    text = (Path(__file__).parents[3] / "docs" / "host.md").read_text(encoding="utf-8")
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

"""Models, and the firmware of one of them as a process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import bpgen
from bpgen import evaluate
from bpgen.emit.write import write_folder
from bpgen.model import IntModel
from bpgen.project import build, project_files
from bpgen.quantization import quantize
from bpgen.training import Training
from bpgen_host import link, simulators
from bpgen_host.device import Device
from tests.unit.host_cli.command_runs import IRIS

PATIENCE_S = 0.6


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
def model(folder: Path) -> IntModel:
    return evaluate.load_model(folder / "iris.json")


@pytest.fixture(scope="session")
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


@pytest.fixture
def fresh(running: simulators.Simulator, board: list[str]) -> list[str]:
    """`board`, with the weights of its firmware."""
    with Device(link.open_port(running.port)) as device:
        device.hello()
        device.reset_model()
    return board

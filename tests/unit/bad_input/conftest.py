"""A folder with everything that a command may be given."""

from pathlib import Path

import pytest

from bpgen import checkpoint
from bpgen.dataset import load_csv
from bpgen.quantization import quantize
from bpgen.training import Training
from tests.unit.bad_input.refusal import HEADER, ROWS


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with samples, a checkpoint and a model in it."""
    monkeypatch.chdir(tmp_path)
    Path("data.csv").write_text(HEADER + ROWS)
    trained = checkpoint.train(load_csv("data.csv", ["kind"]), (2, 3, 2), Training(0.2, 3))
    trained.save("net.npz")
    Path("model.json").write_text(quantize(trained).to_json())
    return tmp_path

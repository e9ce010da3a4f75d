"""The wheel holds what a checkout holds, and runs where there is no checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy of the tracked and new files, so that no build output slips in."""
    copy = tmp_path_factory.mktemp("source") / "bpgen"
    copy.mkdir()
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, copy / name)
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(out), str(copy)],
        check=True,
        capture_output=True,
    )
    (built,) = out.glob("*.whl")
    return built


def test_the_wheel_installs_two_packages_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {
        "bpgen",
        "bpgen_host",
    }


@pytest.mark.parametrize(
    ("folder", "place"),
    [
        ("bpgen", "bpgen"),
        ("templates", "bpgen/_data/templates"),
        ("firmware", "bpgen/_data/firmware"),
        ("host/bpgen_host", "bpgen_host"),
    ],
)
def test_the_wheel_holds_every_file_of_a_folder(wheel: Path, folder: str, place: str) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    files = [
        path.relative_to(ROOT / folder)
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ]
    assert files
    assert {f"{place}/{path.as_posix()}" for path in files} <= names


def test_a_network_is_made_from_the_wheel_in_a_clean_environment(
    wheel: Path, tmp_path: Path
) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    binaries = tmp_path / "venv" / "bin"
    shutil.copyfile(ROOT / "examples" / "data" / "iris.csv", tmp_path / "iris.csv")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(program: str, *arguments: str) -> str:
        done = subprocess.run(
            [str(binaries / program), *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("pip", "install", "-q", "--disable-pip-version-check", str(wheel))
    assert run("python", "-c", "import bpgen; print(bpgen.__file__)").startswith(str(tmp_path))
    run(
        "bpgen", "train", "iris.csv", "--layers", "4-8-3", "--target-column", "species",
        "--epochs", "3", "-o", "iris.npz",
    )  # fmt: skip
    run("bpgen", "quantize", "iris.npz", "--data", "iris.csv", "-o", "iris.model.json")
    run("bpgen", "generate", "iris.model.json", "--prefix", "iris", "-o", "build/iris")
    run("bpgen", "simulate", "iris.model.json", "--data", "iris.csv", "--train", "--epochs", "2")
    assert (tmp_path / "build" / "iris" / "iris.c").is_file()

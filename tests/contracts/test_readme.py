"""What README.md shows is what happens: its commands run, its output and its C are real."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def run_lines(folder: Path, lines: list[str]) -> None:
    """Run lines of a shell, in a folder that has nothing but the data of the examples."""
    shutil.copytree(ROOT / "examples" / "data", folder / "examples" / "data")
    binaries = str(Path(sys.executable).parent)
    environment = {**os.environ, "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}"}
    for line in lines:
        run = subprocess.run(
            line,
            shell=True,
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, f"{line}\n{run.stdout}\n{run.stderr}"


@pytest.fixture(scope="module")
def after_the_commands(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which every line of every console block has been run, in order."""
    folder = tmp_path_factory.mktemp("readme")
    lines = [line for block in blocks("console") for line in block.splitlines()]
    assert lines
    assert all(line.startswith("$ ") for line in lines)
    run_lines(folder, [line[2:] for line in lines])
    return folder


def test_every_command_of_the_readme_runs(after_the_commands: Path) -> None:
    assert (after_the_commands / "build" / "iris" / "iris.h").is_file()


def test_the_manuals_make_the_files_that_they_use(tmp_path: Path) -> None:
    """The samples of boards.md and host.md were never brought to the folder that they work in."""
    manuals = "".join(
        (ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("boards.md", "host.md")
    )
    first, *_ = re.findall(r"(?:^    .+\n)+", manuals, re.MULTILINE)
    lines = [line.strip() for line in first.splitlines() if "pip install" not in line]
    run_lines(tmp_path, lines)
    named = set(re.findall(r"[ `](iris\.[a-z.]+[a-z])", manuals)) - {"iris.log"}
    assert named == {"iris.csv", "iris.model.json", "iris.npz"}
    assert [name for name in named if not (tmp_path / name).is_file()] == []


def test_the_c_that_the_readme_shows_is_in_the_generated_file(
    after_the_commands: Path,
) -> None:
    generated = (after_the_commands / "build" / "iris" / "iris.c").read_text(encoding="utf-8")
    shown = [block for block in blocks("c") if "static " in block and "#include" not in block]
    # A layer's constants; then two functions.
    parts = [shown[0], *re.split(r"\n(?=void)", shown[1])]
    assert len(parts) == 3
    assert [part for part in parts if part not in generated] == []


def test_the_demo_prints_what_the_readme_shows() -> None:
    """All rows but the speed and the faults of the line, which are this machine's."""
    (shown,) = [block for block in blocks("") if "parameters that differ" in block]
    run = subprocess.run(
        [sys.executable, "-m", "examples.demo"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    printed = run.stdout.splitlines()
    for row in shown.splitlines():
        assert row in printed or row.startswith(("steps a second", "the Uno:"))


def test_the_readme_names_the_test_command_that_ci_runs() -> None:
    assert "make test" in README
    assert "make test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")

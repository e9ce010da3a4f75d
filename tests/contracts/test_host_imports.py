"""Of the host tool, one module knows pyserial and only the command line prints."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.contracts.test_imports import imported

PACKAGE = Path(__file__).resolve().parents[2] / "host" / "bpgen_host"
MODULES = sorted(PACKAGE.rglob("*.py"))


def is_command_line(path: Path) -> bool:
    return path.parent.name == "commands" or path.name in ("cli.py", "__main__.py")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_only_the_link_knows_pyserial_and_only_the_command_line_the_terminal(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    packages = {name.split(".")[0] for name in imported(source)}
    assert "serial" not in packages or path.name == "link.py"
    if not is_command_line(path):
        assert not packages & {"click", "rich", "matplotlib"}
        assert not any(name.startswith("bpgen_host.commands") for name in imported(source))
        calls = [node.func for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
        assert not any(isinstance(call, ast.Name) and call.id == "print" for call in calls)

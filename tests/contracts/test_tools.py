"""A program that a test needs and that is missing fails the test, and says what to install."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import PACKAGES

INSTALLER = Path(__file__).parents[1] / "install_tools.sh"


@pytest.mark.parametrize("name", [name for name in PACKAGES if not name.startswith("/")])
def test_a_missing_program_fails_the_test_with_its_package(
    name: str, tool: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(pytest.fail.Exception) as failure:
        tool(name)
    message = f"{name} is missing: install {PACKAGES[name]}, or run tests/install_tools.sh"
    assert str(failure.value) == message


@pytest.mark.parametrize("name", PACKAGES)
def test_the_installer_knows_every_package(name: str) -> None:
    words = INSTALLER.read_text(encoding="utf-8").replace('"', " ").split()
    assert set(PACKAGES[name].split()) <= set(words)

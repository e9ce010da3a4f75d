"""
Three small models, all generated text byte for byte.

`pytest --update-golden tests/golden` rewrites the files; `git diff` is then the review.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bpgen.generation import CORE_FILES, generate
from tests.compile.models import byte_model, trainable

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parents[1]

MODELS = {
    "residual": trainable(
        (2, 3, 2), ("sigmoid", "sigmoid"), "squared_error", "residual", labels=("no", "yes")
    ),
    "stochastic": trainable(
        (4, 3, 2), ("tanh_opt", "softmax"), "cross_entropy", "stochastic", decay=9
    ),
    "inference_s8": byte_model((3, 5, 2), ("relu", "linear"), "squared_error"),
}


def generated(name: str) -> dict[str, str]:
    """The files that depend on the model; the core is under version control as it is."""
    files = generate(MODELS[name], name, main=True)
    return {file: text for file, text in files.items() if file not in CORE_FILES}


@pytest.mark.parametrize("name", MODELS)
def test_generated_text_is_the_text_under_version_control(
    name: str, pytestconfig: pytest.Config
) -> None:
    files = generated(name)
    if pytestconfig.getoption("--update-golden"):
        for file, text in files.items():
            (FOLDER / file).write_text(text, encoding="utf-8", newline="\n")
    for file, text in files.items():
        golden = (FOLDER / file).read_bytes().decode()
        assert text == golden, f"{file} changed: pytest --update-golden tests/golden, git diff"


PROGRAM = """
import hashlib
from tests.golden.test_golden import MODELS, generated
texts = [text for name in MODELS for text in generated(name).values()]
print(hashlib.sha256("".join(texts).encode()).hexdigest())
"""


def test_the_text_depends_on_neither_hash_seed_nor_locale_nor_folder(tmp_path: Path) -> None:
    said = set()
    for seed, locale, folder in (("0", "C", ROOT), ("1", "C.UTF-8", tmp_path), ("2", "C", ROOT)):
        environment = {
            **os.environ,
            "PYTHONHASHSEED": seed,
            "LC_ALL": locale,
            "PYTHONPATH": str(ROOT),
        }
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        said.add(done.stdout)
    assert len(said) == 1

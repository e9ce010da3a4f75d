"""Mistakes with files: one sentence, exit code 2, no files."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.bad_input.refusal import (
    HEADER,
    ROWS,
    refuses,
    run,
    train_arguments,
)

DAMAGED_CSV = {
    "empty": ("", "is empty"),
    "header_only": (HEADER, "no samples"),
    "ragged": (HEADER + ROWS + "1,2\n", "line 14 has 2 cells"),
    "nan": (HEADER + ROWS + "nan,1,red\n", "not a finite number"),
    "infinity": (HEADER + ROWS + "1,-inf,red\n", "not a finite number"),
    "text": (HEADER + ROWS + "1,tall,red\n", "'tall' is not a number"),
    "one_class": (HEADER + "1,2,red\n2,3,red\n", "one class only"),
    "too_few_samples": (HEADER + "1,2,red\n2,3,blue\n", "cannot be split"),
    "binary": ("\x00\x01", "header"),
}


@pytest.mark.parametrize("name", DAMAGED_CSV)
def test_a_csv_that_cannot_be_trained_on_is_refused(folder: Path, name: str) -> None:
    text, message = DAMAGED_CSV[name]
    Path("bad.csv").write_text(text)
    refuses(folder, message, *train_arguments("bad.csv"))


def test_a_missing_file_is_refused_by_every_command(folder: Path) -> None:
    refuses(folder, "there is no file none.csv", *train_arguments("none.csv"))
    refuses(folder, "there is no file none.npz", "quantize", "none.npz", "-o", "out.json")
    refuses(folder, "there is no file none.json", "check", "none.json", "--data", "data.csv")
    refuses(folder, "there is no file none.json", "generate", "none.json", "-o", "out")
    refuses(folder, "there is no file none.json", "simulate", "none.json", "--data", "data.csv")
    refuses(folder, "there is no file none.csv", "check", "model.json", "--data", "none.csv")
    refuses(folder, "there is no file none.csv", "simulate", "model.json", "--data", "none.csv")
    refuses(
        folder, "no file none.csv", "quantize", "net.npz", "--data", "none.csv", "-o", "out.json"
    )


def test_an_unknown_column_is_refused(folder: Path) -> None:
    refuses(folder, "did you mean 'kind'?", *train_arguments(target="kinds"))
    refuses(folder, "no column 'c'", *train_arguments(), "--feature", "c")
    Path("other.csv").write_text("x,b,kind\n1,2,red\n")
    refuses(folder, "no column 'a'", "check", "model.json", "--data", "other.csv")


@pytest.mark.parametrize("name", ["curve.xyz", "curve.gif", "curve"])
def test_a_plot_of_another_kind_than_help_says_is_refused(folder: Path, name: str) -> None:
    refuses(folder, f"{name} is no image", *train_arguments(), "--plot", name)


def test_an_output_is_named_after_what_is_written(folder: Path) -> None:
    training = train_arguments()[:-1]
    refuses(folder, "out.txt is no name for a trained network: name it .npz", *training, "out.txt")
    quantizing = ("quantize", "net.npz", "-o")
    refuses(folder, "out.csv is no name for a model: name it .json", *quantizing, "out.csv")
    refuses(folder, "out is no name for a model: name it .json", *quantizing, "out")


def edited(change: Callable[[dict[str, Any]], object]) -> str:
    data = json.loads(Path("model.json").read_text())
    change(data)
    return json.dumps(data)


DAMAGED_MODELS: dict[str, tuple[Callable[[], str], str]] = {
    "truncated": (lambda: Path("model.json").read_text()[:-40], "cut short"),
    "empty": (lambda: "", "cut short"),
    "list": (lambda: "[]", "must be an object"),
    "another_format": (lambda: edited(lambda d: d.update(format="x")), "not a bpgen model"),
    "another_version": (lambda: edited(lambda d: d.update(version=99)), "version 99"),
    "weight_out_of_range": (
        lambda: edited(lambda d: d["layers"][0]["w"][0].__setitem__(1, 32768)),
        "32768, outside",
    ),
    "weight_no_integer": (
        lambda: edited(lambda d: d["layers"][0]["w"][0].__setitem__(1, 0.5)),
        "must be an integer",
    ),
    "unknown_key": (lambda: edited(lambda d: d.update(colour="red")), "does not know"),
    "missing_key": (lambda: edited(lambda d: d.pop("loss")), "is missing"),
    "ragged": (lambda: edited(lambda d: d["layers"][0]["w"][0].pop()), "list of 2 integers"),
    "label_too_many": (lambda: edited(lambda d: d["labels"].append("x")), "must name 2 classes"),
    "unspellable_label": (
        lambda: edited(lambda d: d["labels"].__setitem__(0, "\ud800")),
        "damaged",
    ),
    "too_deep": (lambda: "[" * 100_000, "damaged"),
}


@pytest.mark.parametrize("name", DAMAGED_MODELS)
def test_a_damaged_model_is_refused(folder: Path, name: str) -> None:
    make, message = DAMAGED_MODELS[name]
    Path("bad.json").write_text(make())
    for arguments in (
        ("generate", "bad.json", "-o", "out"),
        ("check", "bad.json", "--data", "data.csv"),
        ("simulate", "bad.json", "--data", "data.csv"),
    ):
        refuses(folder, message, *arguments)


def test_a_model_that_is_no_text_is_refused(folder: Path) -> None:
    refuses(folder, "not a model.json", "generate", "net.npz", "-o", "out")


def test_a_checkpoint_that_is_none_is_refused(folder: Path) -> None:
    refuses(folder, "not a bpgen checkpoint", "quantize", "data.csv", "-o", "out.json")
    Path("cut.npz").write_bytes(Path("net.npz").read_bytes()[:900])
    refuses(folder, "cut short", "quantize", "cut.npz", "-o", "out.json")


def test_an_output_that_exists_is_refused_before_any_work(folder: Path) -> None:
    Path("out").mkdir()
    refuses(folder, "out exists", "generate", "model.json", "-o", "out")
    refuses(folder, "out exists", "simulate", "model.json", "--data", "data.csv", "--keep", "out")
    Path("out.npz").write_text("mine")
    refuses(folder, "out.npz exists", *train_arguments())
    refuses(folder, "out.npz exists", "quantize", "net.npz", "-o", "out.npz")
    Path("curve.png").write_text("mine")
    refuses(folder, "curve.png exists", "train", "data.csv", "--layers", "2-3-2",
            "--target-column", "kind", "-o", "new.npz", "--plot", "curve.png")  # fmt: skip


def test_an_output_in_a_folder_that_is_missing_is_refused(folder: Path) -> None:
    refuses(folder, "folder none does not exist",
            "quantize", "net.npz", "-o", "none/model.json")  # fmt: skip


def test_force_replaces_what_exists(folder: Path) -> None:
    Path("out").mkdir()
    (Path("out") / "mine.txt").write_text("mine")
    assert run("generate", "model.json", "-o", "out", "--force").exit_code == 0
    assert (Path("out") / "mine.txt").read_text() == "mine"
    assert (Path("out") / "net.c").exists()


def test_a_class_that_the_model_does_not_know_is_refused(folder: Path) -> None:
    Path("new.csv").write_text(HEADER + "1,2,green\n")
    refuses(folder, "class 'green' is unknown", "check", "model.json", "--data", "new.csv")


HOSTILE = ['say "hi"', "two\nlines", "back\\slash", "what??/", "??=define", "*/ int x; /*", "é %s"]


def test_labels_and_columns_of_any_text_become_c_that_compiles(
    folder: Path, tool: Callable[[str], str]
) -> None:
    tool("gcc")
    quoted = ['"' + text.replace('"', '""') + '"' for text in HOSTILE]
    rows = [f"{i % 5},{i},{quoted[i % len(quoted)]}" for i in range(35)]
    header = '"a */ ??/ ""x""\\",b,kind'
    Path("hostile.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    layers = f"2-3-{len(HOSTILE)}"
    assert run(*train_arguments("hostile.csv", layers), "--epochs", "1").exit_code == 0
    assert run("quantize", "out.npz", "-o", "out.json").exit_code == 0
    result = run("generate", "out.json", "-o", "out", "--main")
    assert result.exit_code == 0, result.output
    text = (folder / "out" / "net.h").read_text()
    for escaped in (r"say \042hi\042", r"two\012lines", r"back\134slash", r"what\077\077/"):
        assert escaped in text
    labels = "const char *l[] = NET_LABELS; for (i = 0; i < NET_N_OUT; i++) { puts(l[i]); }"
    program = (
        f'#include <stdio.h>\n#include "net.h"\nint main(void) {{ int i; {labels} return 0; }}'
    )
    Path("print.c").write_text(program)
    strict = ["gcc", "-std=c99", "-pedantic-errors", "-Wall", "-Wextra", "-Wtrigraphs", "-Werror"]
    sources = ["out/net.c", "out/net_main.c"]
    subprocess.run([*strict, "-c", *sources, "-Iout"], check=True)
    subprocess.run([*strict, "-Iout", "print.c", "-o", "print"], check=True)
    printed = subprocess.run(["./print"], check=True, capture_output=True).stdout.decode()
    assert printed == "\n".join([*sorted(HOSTILE), ""])


def test_an_output_that_is_an_input_or_another_output_is_refused_even_with_force(
    folder: Path,
) -> None:
    Path("link.csv").symlink_to("data.csv")
    Path("sub").mkdir()
    train = ("train", "data.csv", "--layers", "2-3-2", "--target-column", "kind", "--force")
    for name in ("data.csv", "./sub/../data.csv", "link.csv", str(folder / "data.csv")):
        refuses(folder, "would be overwritten", *train, "-o", name)
    refuses(folder, "would be overwritten", *train, "-o", "new.npz", "--plot", "data.csv")
    refuses(folder, "two outputs", *train, "-o", "x.png", "--plot", "sub/../x.png")
    quantizing = ("quantize", "net.npz", "--data", "data.csv", "--force", "-o")
    refuses(folder, "would be overwritten", *quantizing, "net.npz")
    refuses(folder, "would be overwritten", *quantizing, "data.csv")
    Path("net.h").write_text(Path("model.json").read_text())
    refuses(folder, "would be overwritten", "generate", "net.h", "-o", ".", "--force")
    simulate = ("simulate", "net.h", "--data", "data.csv", "--keep", ".", "--force")
    refuses(folder, "would be overwritten", *simulate)


@pytest.mark.parametrize("array", ["w1", "w2", "b2", "initial_w2"])
@pytest.mark.parametrize("shape", [(), (0,), (5,), (1, 1, 1)])
def test_a_checkpoint_with_an_array_of_another_shape_is_refused(
    folder: Path, array: str, shape: tuple[int, ...]
) -> None:
    with np.load("net.npz") as archive:
        arrays = dict(archive)
    np.savez("bad.npz", **{**arrays, array: np.zeros(shape)})
    refuses(folder, "damaged", "quantize", "bad.npz", "-o", "out.json")


def test_an_output_in_a_folder_that_may_not_be_entered_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.stat

    def stat(path: Path, **settings: Any) -> os.stat_result:
        if "locked" in path.parts[:-1]:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, **settings)

    monkeypatch.setattr(Path, "stat", stat)
    monkeypatch.setattr(Path, "exists", lambda path: bool(path.stat()))
    train = ("train", "data.csv", "--layers", "2-3-2", "--target-column", "kind")
    refuses(folder, "Permission denied", *train, "-o", "locked/net.npz")
    refuses(folder, "Permission denied", "quantize", "net.npz", "-o", "locked/out.json")
    refuses(folder, "Permission denied", "generate", "model.json", "-o", "locked/out")
    refuses(folder, "Permission denied", "simulate", "model.json", "--data", "data.csv", "--keep",
            "locked/out")  # fmt: skip


def test_an_output_name_that_cannot_be_is_refused(folder: Path) -> None:
    refuses(folder, "the name is empty", "quantize", "net.npz", "-o", "")
    refuses(folder, "the name is empty", "generate", "model.json", "-o", "")
    Path("sub").mkdir()
    refuses(folder, "sub is a folder", "quantize", "net.npz", "-o", "sub", "--force")
    refuses(folder, "cannot be looked up", "quantize", "net.npz", "-o", "x" * 300 + "/out.json")


def test_files_of_another_prefix_are_mentioned(folder: Path) -> None:
    assert "kept" not in run("generate", "model.json", "-o", "out").stdout
    again = ("generate", "model.json", "--prefix", "two", "-o", "out", "--force")
    assert "kept net.c, net.h, which this run did not write\n" in run(*again).stdout

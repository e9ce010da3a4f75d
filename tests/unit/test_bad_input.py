"""Every mistake a user can make with files and options: one sentence, exit code 2, no files."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from bpgen import checkpoint
from bpgen.cli import cli
from bpgen.dataset import load_csv
from bpgen.errors import BpgenError
from bpgen.evaluate import counts, input_fit, load_model
from bpgen.quantization import quantize
from bpgen.simulate import compiler
from bpgen.training import Training, decayed
from bpgen.twin import Twin

HEADER = "a,b,kind\n"
ROWS = "".join(f"{i},{i * 7 % 5},{('red', 'blue')[i % 2]}\n" for i in range(12))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with samples, a checkpoint and a model in it."""
    monkeypatch.chdir(tmp_path)
    Path("data.csv").write_text(HEADER + ROWS)
    trained = checkpoint.train(load_csv("data.csv", ["kind"]), (2, 3, 2), Training(0.2, 3))
    trained.save("net.npz")
    Path("model.json").write_text(quantize(trained).to_json())
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments)


def refuses(folder: Path, message: str, *arguments: str) -> None:
    """The command says one sentence that contains `message`, and leaves the folder as it was."""
    before = listing(folder)
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert is_one_sentence(result.stderr)
    assert message in result.stderr
    assert result.stdout == ""
    assert listing(folder) == before


def is_one_sentence(text: str) -> bool:
    return (
        text.startswith("bpgen: ")
        and text.endswith(".\n")
        and not text.endswith("..\n")
        and text.count("\n") == 1
        and "Traceback" not in text
    )


def listing(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() if p.is_file() else b"" for p in folder.rglob("*")}


def train_arguments(
    file: str = "data.csv", layers: str = "2-3-2", target: str = "kind"
) -> list[str]:
    return ["train", file, "--layers", layers, "--target-column", target, "-o", "out.npz"]


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


def test_a_target_column_must_be_named(folder: Path) -> None:
    refuses(folder, "no target column", "train", "data.csv", "--layers", "2-3-2", "-o", "out.npz")


def test_layers_that_do_not_match_the_data_name_the_number_to_change(folder: Path) -> None:
    refuses(folder, "change it to 2, as in 2-3-2", *train_arguments(layers="4-3-2"))
    refuses(folder, "last layer size is 3", *train_arguments(layers="2-3-3"))
    refuses(folder, "2 classes: change it to 2", *train_arguments(layers="2-3-3"))
    refuses(folder, "each 1 or more", *train_arguments(layers="2-0-2"))
    refuses(folder, "no list of layer sizes", *train_arguments(layers="2x3"))
    refuses(folder, "make no network", *train_arguments(layers="2"))


@pytest.mark.parametrize(
    ("message", "options"),
    [
        ("learning rate is 0", ("--learning-rate", "0")),
        ("learning rate is nan", ("--learning-rate", "nan")),
        ("epochs is -1", ("--epochs", "-1")),
        ("test fraction", ("--test-fraction", "1.5")),
        ("test fraction", ("--test-fraction", "nan")),
        ("seed", ("--seed", "-1")),
        ("go together", ("--sparsity-target", "0.1")),
        ("is empty", ("--stop-loss", "0.2", "0.1")),
        ("neither a number of samples nor 'full'", ("--batch-size", "half")),
        ("softmax output does not go", ("--output", "softmax", "--loss", "squared_error")),
        ("no such option", ("--layer", "2")),
        ("momentum", ("--momentum", "1")),
    ],
)
def test_a_setting_of_training_out_of_range_is_refused(
    folder: Path, message: str, options: tuple[str, ...]
) -> None:
    refuses(folder, message, *train_arguments(), *options)


def test_a_plot_that_is_no_image_is_refused(folder: Path) -> None:
    result = run(*train_arguments(), "--plot", "curve.xyz")
    assert result.exit_code == 2
    assert is_one_sentence(result.stderr)
    assert not Path("curve.xyz").exists()
    assert not Path("out.npz").exists()


@pytest.mark.parametrize(
    "prefix", ["", "1st", "my-net", "my net", "net;", "é", "x" * 32, "for", "class", "bp_x", "a\n"]
)
def test_a_prefix_that_is_no_free_identifier_is_refused(folder: Path, prefix: str) -> None:
    refuses(folder, "choose another prefix" if prefix in ("for", "class", "bp_x") else "prefix",
            "generate", "model.json", "--prefix", prefix, "-o", "out")  # fmt: skip


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


def test_settings_of_quantize_that_exclude_each_other_are_refused(folder: Path) -> None:
    base = ("quantize", "net.npz", "-o", "out.json")
    refuses(folder, "add --inference-only", *base, "--weights", "s8")
    refuses(folder, "layer 3 cannot be frozen", *base, "--freeze", "3")
    refuses(folder, "all layers are frozen", *base, "--freeze", "1", "--freeze", "2")
    refuses(folder, "the seed is 70000", *base, "--seed", "70000")
    refuses(folder, "needs samples", *base, "--weights", "s8", "--inference-only")


def test_a_model_that_only_infers_cannot_be_trained(folder: Path) -> None:
    assert run("quantize", "net.npz", "-o", "infer.json", "--inference-only").exit_code == 0
    refuses(folder, "can only infer", "simulate", "infer.json", "--data", "data.csv", "--train")


def test_a_learning_rate_that_the_model_cannot_use_is_refused(folder: Path) -> None:
    refuses(folder, "learning rate", "simulate", "model.json", "--data", "data.csv", "--train",
            "--learning-rate", "1e-9")  # fmt: skip


def test_a_board_that_does_not_exist_or_is_too_small_is_refused(folder: Path) -> None:
    refuses(folder, "did you mean uno?", "generate", "model.json", "-o", "out", "--board", "uni")
    wide = load_csv("data.csv", ["kind"])
    trained = checkpoint.train(wide, (2, 200, 2), Training(0.2, 1))
    Path("wide.json").write_text(quantize(trained).to_json())
    refuses(folder, "bytes of RAM too few", "generate", "wide.json", "-o", "out", "--board", "uno")


def test_a_class_that_the_model_does_not_know_is_refused(folder: Path) -> None:
    Path("new.csv").write_text(HEADER + "1,2,green\n")
    refuses(folder, "class 'green' is unknown", "check", "model.json", "--data", "new.csv")


def test_no_compiler_is_one_sentence_with_the_line_that_installs_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(folder))
    refuses(folder, "apt-get install gcc", "simulate", "model.json", "--data", "data.csv")


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


def command(*arguments: str, **settings: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bpgen", *arguments],
        capture_output=True, text=True, check=False, **settings,
    )  # fmt: skip


def test_the_real_command_line_prints_one_sentence_and_exits_with_2(folder: Path) -> None:
    for arguments in (
        train_arguments("none.csv"),
        ["generate", "model.json", "--prefix", "int", "-o", "out"],
        ["simulate", "model.json"],
        ["nonsense"],
    ):
        done = command(*arguments)
        assert done.returncode == 2
        assert is_one_sentence(done.stderr), done.stderr
        assert done.stdout == ""


def test_without_a_compiler_the_real_command_line_says_so(folder: Path) -> None:
    environment = os.environ | {"PATH": ""}
    done = command("simulate", "model.json", "--data", "data.csv", env=environment)
    assert done.returncode == 2
    assert is_one_sentence(done.stderr)


def test_ctrl_c_ends_quietly_with_130_and_writes_nothing(folder: Path) -> None:
    before = listing(folder)
    # What a shell starts in the background ignores SIGINT, and so would all that the tests start.
    program = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from bpgen.__main__ import main; main()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, *train_arguments(), "--epochs", "100000000"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        time.sleep(2.5)
        process.send_signal(signal.SIGINT)
        try:
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    assert out.strip() == ""
    assert err.strip() == ""
    assert listing(folder) == before


def test_an_interrupt_inside_a_command_gives_130(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "train", interrupt)
    result = run(*train_arguments())
    assert result.exit_code == 130
    assert result.stderr == ""
    assert not Path("out.npz").exists()


def test_a_reader_that_stops_reading_causes_no_complaint(folder: Path) -> None:
    for arguments in (["boards"], ["--help"]):
        process = subprocess.Popen(
            [sys.executable, "-m", "bpgen", *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
        process.stderr.close()
        assert process.wait(30) == 0


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


def test_a_learning_rate_that_grows_beyond_every_number_is_refused(folder: Path) -> None:
    grow = ("--learning-rate-decay", "1e300", "--epochs", "3")
    refuses(folder, "learning rate", *train_arguments(), *grow)
    with pytest.raises(BpgenError, match="epoch 3 too large"):
        decayed(0.1, 1e300, 2)
    with pytest.raises(BpgenError, match="epoch 2 too large"):
        decayed(1e300, 1e300, 1)


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


FAKE_COMPILERS = {
    "no_program": ("\x00\x01 no program", "cannot be run"),
    "silent": ("#!/bin/sh\nexit 0\n", "made no library"),
    "no_library": (
        '#!/bin/sh\nwhile [ "$1" != -o ]; do shift; done\necho text > "$2"\n',
        "TMPDIR",
    ),
    "refusing": (
        "#!/bin/sh\nexec >&2\necho In file:\necho 'net.c:1: error: first'\necho error: b\nexit 1\n",
        "fake refused the generated C: net.c:1: error: first.",
    ),
    "refusing_quietly": ("#!/bin/sh\nexit 3\n", "exit code 3"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAKE_COMPILERS)
def test_a_compiler_that_does_not_compile_is_one_sentence_and_leaves_nothing(
    folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, message = FAKE_COMPILERS[name]
    Path("fake").write_text(text)
    Path("fake").chmod(0o755)
    Path("temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder / "temporary"))
    monkeypatch.setenv("CC", str(folder / "fake"))
    refuses(folder, message, "simulate", "model.json", "--data", "data.csv")
    assert list(Path("temporary").iterdir()) == []


def test_a_compiler_in_cc_is_taken_with_its_options_if_it_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CC", f"'{sys.executable}' -m cc")
    assert compiler() == [sys.executable, "-m", "cc"]
    found = shutil.which("gcc") or shutil.which("cc") or shutil.which("clang")
    for useless in ("there-is-no-such-compiler", "", "'unclosed"):
        monkeypatch.setenv("CC", useless)
        if found:
            assert compiler() == [found]


def test_no_place_for_temporary_files_is_one_sentence(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(folder / "none"))
    monkeypatch.setenv("CC", sys.executable)
    refuses(folder, "TMPDIR", "simulate", "model.json", "--data", "data.csv")


def test_an_output_that_cannot_be_written_is_one_sentence(folder: Path) -> None:
    for arguments in ("boards", "boards --json", "--help", "check model.json --data data.csv"):
        # A limit of 0 bytes stands for a full disk.
        for limit, redirection in (("ulimit -f 0;", ">full"), ("", ">&-")):
            line = f'{limit} "{sys.executable}" -m bpgen {arguments} {redirection}'
            done = subprocess.run(line, shell=True, capture_output=True, text=True, check=False)
            assert done.returncode == 2, line
            assert is_one_sentence(done.stderr), done.stderr
            assert "output cannot be written" in done.stderr


def test_a_closed_stderr_changes_nothing_else(folder: Path) -> None:
    line = f'"{sys.executable}" -m bpgen check model.json --data data.csv 2>&-'
    assert subprocess.run(line, shell=True, capture_output=True, check=False).returncode == 0


def test_an_interrupt_during_the_first_imports_gives_130(folder: Path) -> None:
    Path("click.py").write_text("raise KeyboardInterrupt\n")
    done = command("boards", env=os.environ | {"PYTHONPATH": str(folder)})
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_messages_name_options_of_the_command_line(folder: Path) -> None:
    refuses(folder, "or full", *train_arguments(), "--batch-size", "0")
    base = train_arguments()
    for options, way_out in (
        (("--batch-size", "4"), "--batch-size 1"),
        (("--momentum", "0.5"), "--momentum 0"),
    ):
        assert run(*base, *options, "--epochs", "1", "--force").exit_code == 0
        for text in ("leave --update out", way_out):
            refuses(folder, text, "quantize", "out.npz", "--update", "stochastic", "-o", "x.json")
    s8 = ("--weights", "s8", "--inference-only", "-o", "x.json")
    refuses(folder, "--data FILE", "quantize", "net.npz", *s8)
    assert run(*base, "--scale", "standard", "--force").exit_code == 0
    refuses(folder, "--scale minmax", "quantize", "out.npz", "--data", "data.csv", *s8)
    Path("mixed.csv").write_text(HEADER + ROWS + "1,2,0.5\n")
    refuses(folder, "--task classify", *train_arguments("mixed.csv"), "--force")


def test_options_that_would_be_ignored_are_refused(folder: Path) -> None:
    simulate = ("simulate", "model.json", "--data", "data.csv")
    for option in ("--epochs", "--learning-rate", "--learning-rate-decay", "--compare-steps"):
        refuses(folder, f"{option} needs --train", *simulate, option, "1")
    quantizing = ("quantize", "net.npz", "-o", "x.json", "--inference-only")
    refuses(folder, "--update", *quantizing, "--update", "residual")
    refuses(folder, "--freeze", *quantizing, "--freeze", "1")


def test_mistakes_of_usage_are_sentences_that_name_the_command(folder: Path) -> None:
    refuses(folder, "'trian' (did you mean 'train'?), see 'bpgen --help'.", "trian")
    refuses(folder, "'bpgen train --help'.", "train", "data.csv", "--stop-loss", "1")
    refuses(folder, "(did you mean", "train", "data.csv", "--layer", "2")
    refuses(folder, "is too large", *train_arguments(layers="2-12345678-2"))


def test_data_beyond_the_range_of_the_training_is_warned_of(folder: Path) -> None:
    scaled = [f"{i},{i * 7000},{('red', 'blue')[i % 2]}" for i in range(12)]
    Path("far.csv").write_text(HEADER + "\n".join(scaled) + "\n")
    for arguments in (
        ("check", "model.json", "--data", "far.csv"),
        ("quantize", "net.npz", "--data", "far.csv", "-o", "x.json"),
    ):
        result = run(*arguments)
        assert result.exit_code == 0
        assert result.stderr.count("\n") == 1
        assert "most in column 'b' (91.7%)" in result.stderr
        near = [word.replace("far", "data").replace("x.json", "y.json") for word in arguments]
        assert run(*near).stderr == ""


def test_the_clipped_share_is_that_of_the_integers(folder: Path) -> None:
    model = load_model("model.json")
    data = load_csv("data.csv", ["kind"])
    data = replace(data, x=data.x * 5.0 - 3.0)
    twin = Twin(model)
    a0 = twin.quantize_input(counts(model, data))
    fit = input_fit(model, data)
    assert round(float(fit.clipped.sum()) * len(data)) == twin.counters.inputs > 0
    top = model.input.a_top
    low = -top if model.input.a_format.signed else 0
    assert np.array_equal(np.clip(np.ldexp(fit.x, model.input.a_format.frac), low, top), a0)


def test_samples_that_teach_little_are_warned_of(folder: Path) -> None:
    rows = [f"{i},4,{i * 100}" for i in range(12)]
    Path("flat.csv").write_text("a,same,value\n" + "\n".join(rows) + "\n")
    base = ("train", "flat.csv", "--layers", "2-3-1", "--target-column", "value", "--epochs", "1")
    result = run(*base, "--output", "linear", "--learning-rate", "1e-12", "-o", "out.npz")
    assert result.exit_code == 0, result.output
    constant, targets, rate = result.stderr.splitlines()
    assert "feature 'same' has the same value" in constant
    assert "targets reach 1100" in targets and "scale the targets" in targets
    assert "learning rate of 1e-12" in rate


def test_files_of_another_prefix_are_mentioned(folder: Path) -> None:
    assert "kept" not in run("generate", "model.json", "-o", "out").stdout
    again = ("generate", "model.json", "--prefix", "two", "-o", "out", "--force")
    assert "kept net.c, net.h, which this run did not write\n" in run(*again).stdout


def test_titles_of_check_are_whole_lines_without_what_there_is_none_of(folder: Path) -> None:
    lines = run("check", "model.json", "--data", "data.csv").stdout.splitlines()
    assert "Integers against float" in lines
    assert "Tables, error over every input in units of the last place" in lines


def test_a_decay_that_overflows_in_c_is_refused(folder: Path) -> None:
    simulate = ("simulate", "model.json", "--data", "data.csv", "--train", "--epochs", "3")
    refuses(folder, "learning rate", *simulate, "--learning-rate-decay", "1e300")

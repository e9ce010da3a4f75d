"""Mistakes with options: one sentence, exit code 2, no files; and what is warned of."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bpgen import checkpoint
from bpgen.dataset import load_csv
from bpgen.errors import BpgenError
from bpgen.evaluate import counts, input_fit, load_model
from bpgen.quantization import quantize
from bpgen.training import Training, decayed
from bpgen.twin import Twin
from tests.unit.bad_input.refusal import HEADER, ROWS, refuses, run, train_arguments


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


@pytest.mark.parametrize("prefix", ["", "1st", "my-net", "my net", "net;", "é", "x" * 32, "a\n"])
def test_a_prefix_that_is_no_identifier_is_refused(folder: Path, prefix: str) -> None:
    refuses(folder, "cannot be a prefix", "generate", "model.json", "--prefix", prefix, "-o", "out")


@pytest.mark.parametrize(
    "prefix",
    [
        "for", "class", "bp_x", "NULL", "int8_t", "uint_fast16_t", "intptr_t",
        # <prefix>.h would hide a header; <prefix>.c is a file of the project, in capitals too where
        # names are folded; on Windows a file of that name is a device.
        "stdint", "Arduino", "features", "Features", "termios", "immintrin", "Main", "start", "con",
        "PRN", "aux", "nul", "com1", "LPT9",
    ],
)  # fmt: skip
def test_a_prefix_that_is_not_free_is_refused(folder: Path, prefix: str) -> None:
    refuses(folder, f"'{prefix}' is a reserved name: choose another prefix",
            "generate", "model.json", "--prefix", prefix, "-o", "out")  # fmt: skip


@pytest.mark.parametrize("prefix", ["null", "com", "com10", "int8", "my_t", "starts"])
def test_a_prefix_that_only_looks_reserved_is_taken(folder: Path, prefix: str) -> None:
    assert run("generate", "model.json", "--prefix", prefix, "-o", "out").exit_code == 0


def test_an_s8_model_asks_for_data_by_the_name_of_its_option(folder: Path) -> None:
    refuses(folder, "is negative: add --data FILE.\n", "quantize", "net.npz", "-o", "out.json",
            "--weights", "s8", "--inference-only")  # fmt: skip


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


def test_a_learning_rate_that_grows_beyond_every_number_is_refused(folder: Path) -> None:
    grow = ("--learning-rate-decay", "1e300", "--epochs", "3")
    refuses(folder, "learning rate", *train_arguments(), *grow)
    with pytest.raises(BpgenError, match="epoch 3 too large"):
        decayed(0.1, 1e300, 2)
    with pytest.raises(BpgenError, match="epoch 2 too large"):
        decayed(1e300, 1e300, 1)


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


def test_titles_of_check_are_whole_lines_without_what_there_is_none_of(folder: Path) -> None:
    lines = run("check", "model.json", "--data", "data.csv").stdout.splitlines()
    assert "Integers against float" in lines
    assert "Tables, error over every input in units of the last place" in lines


def test_a_decay_that_overflows_in_c_is_refused(folder: Path) -> None:
    simulate = ("simulate", "model.json", "--data", "data.csv", "--train", "--epochs", "3")
    refuses(folder, "learning rate", *simulate, "--learning-rate-decay", "1e300")

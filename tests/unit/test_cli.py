"""The command line does what the Python calls do, and prints figures for people and programs."""

import json
import re
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

import bpgen
from bpgen import checkpoint, evaluate, floatnet, scaling
from bpgen.cli import cli
from bpgen.commands import shared
from bpgen.errors import BpgenError
from bpgen.floatnet import Sparsity
from bpgen.generation import generate
from bpgen.model import IntModel
from bpgen.quantization import inference_only, quantize
from bpgen.simulate import Simulation
from bpgen.training import Training
from bpgen.twin import Twin

DATA = Path(__file__).parents[2] / "examples" / "data"
IRIS = str(DATA / "iris.csv")
COMMANDS = ("train", "quantize", "check", "generate", "simulate", "boards")
TRAIN = ("train", IRIS, "--layers", "4-8-3", "--target-column", "species", "--epochs", "5")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with iris.npz and iris.json in it."""
    monkeypatch.chdir(tmp_path)
    assert run(*TRAIN, "-o", "iris.npz").exit_code == 0
    assert run("quantize", "iris.npz", "-o", "iris.json").exit_code == 0
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments)


def done(*arguments: str) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    return result.stdout


def figures(*arguments: str) -> Any:
    return json.loads(done(*arguments, "--json"))


def model(path: str) -> IntModel:
    return evaluate.load_model(path)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_shows_an_example(command: str) -> None:
    assert f"Example:\n    bpgen {command}" in done(command, "--help")


def test_help_lists_the_commands_in_the_order_of_use_and_the_exit_codes() -> None:
    text = done("--help")
    places = [text.index(f"\n  {command} ") for command in COMMANDS]
    assert places == sorted(places)
    assert "Exit codes: 0 all is well; 1 a check or comparison failed; 2" in text
    assert done() == text


def test_version_is_that_of_the_package() -> None:
    assert done("--version") == f"bpgen {bpgen.__version__}\n"


def test_help_needs_no_heavy_package() -> None:
    program = (
        "import sys\ntry:\n from bpgen.cli import cli; cli.main(['--help'])\nexcept SystemExit:\n"
        " print(sorted({'numpy', 'jinja2', 'rich', 'matplotlib'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True).stdout
    assert out.decode().endswith("[]\n")


def test_importing_the_package_imports_nothing_of_it() -> None:
    program = (
        "import sys, bpgen\n"
        "print([m for m in sys.modules if m.startswith('bpgen.') or m == 'numpy'])"
    )
    out = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True).stdout
    assert out == b"[]\n"


def test_each_name_of_the_python_api_exists_and_is_no_module() -> None:
    for name in bpgen.__all__:
        assert not isinstance(getattr(bpgen, name), ModuleType), name
    assert dir(bpgen) == sorted(bpgen.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = bpgen.nothing


def test_choices_on_the_command_line_are_those_of_the_modules() -> None:
    module = sys.modules["bpgen.commands.train"]
    assert floatnet.HIDDEN_ACTIVATIONS == module.HIDDEN
    assert floatnet.OUTPUT_ACTIVATIONS == module.OUTPUTS
    assert floatnet.LOSSES == module.LOSSES
    assert floatnet.INITS == module.INITS
    assert floatnet.REDUCTIONS == module.REDUCTIONS
    assert scaling.SCALINGS == module.SCALINGS


def test_train_saves_what_the_python_call_makes(folder: Path) -> None:
    data = bpgen.load_csv(IRIS, ["species"])
    expected = bpgen.train(data, (4, 8, 3), Training(0.2, 5))
    assert Path("iris.npz").read_bytes() == expected.to_bytes()


def test_every_setting_of_train_arrives(folder: Path) -> None:
    done(*TRAIN, "-o", "x.npz", "--activation", "tanh", "--output", "softmax", "--learning-rate",
         "0.05", "--learning-rate-decay", "0.9", "--batch-size", "7", "--reduction", "sum",
         "--momentum", "0.5", "--l2", "0.001", "--sparsity-target", "0.2", "--sparsity-weight",
         "0.01", "--stop-loss", "0", "0.0001", "--init", "normal", "--scale", "standard",
         "--test-fraction", "0.5", "--seed", "3", "--feature", "petal_width_cm", "--feature",
         "petal_length_cm", "--feature", "sepal_length_cm", "--feature",
         "sepal_width_cm")  # fmt: skip
    found = checkpoint.load("x.npz")
    assert found.training == Training(
        0.05, 5, 7, "sum", 0.5, 0.001, Sparsity(0.2, 0.01), 0.9, (0.0, 0.0001), 3
    )
    assert found.net.activations == ("tanh", "softmax")
    assert found.net.loss == "cross_entropy"
    assert found.scaling_kind == "standard"
    assert found.split == checkpoint.Split(0.5, 3, 75, 75)
    assert found.features[0] == "petal_width_cm"
    done(*TRAIN, "-o", "full.npz", "--batch-size", "full")
    assert checkpoint.load("full.npz").training.batch_size is None


def test_train_prints_accuracies_and_the_learning_curve(folder: Path) -> None:
    text = done(*TRAIN, "-o", "x.npz")
    assert re.search(r"^loss  0\.\d+ [▁-█]{5} 0\.\d+$", text, re.M)
    assert re.search(r"^train accuracy \d+\.\d\d% on 112 samples$", text, re.M)
    assert re.search(r"^test  accuracy \d+\.\d\d% on 38 samples$", text, re.M)
    found = figures(*TRAIN, "-o", "y.npz")
    assert len(found["loss"]) == 5
    assert found["samples"] == {"train": 112, "test": 38}
    assert set(found["accuracy"]) == {"train", "test"}


def regression(path: str, top: float) -> None:
    x = np.linspace(-1.0, 1.0, 40)
    rows = "".join(f"{v:.3f},{top * v * v:.4f}\n" for v in x)
    Path(path).write_text("x,y\n" + rows)


def test_a_regression_goes_all_the_way_and_prints_rmse(folder: Path) -> None:
    regression("square.csv", 1.0)
    text = done("train", "square.csv", "--layers", "1-6-1", "--target-column", "y", "-o", "s.npz",
                "--epochs", "300", "--learning-rate", "0.1", "--scale", "standard", "--output",
                "linear", "--hidden", "tanh")  # fmt: skip
    assert re.search(r"^test  RMSE 0\.\d+ on 10 samples$", text, re.M)
    assert "RMSE" in done("quantize", "s.npz", "--data", "square.csv", "-o", "s.json")
    assert figures("check", "s.json", "--data", "square.csv")["violations"] == 0
    found = figures("simulate", "s.json", "--data", "square.csv", "--train", "--epochs", "5")
    assert sum(found["different"].values()) == 0
    assert found["rmse"]["test"][1] < 0.3


def test_targets_that_a_squashing_output_cannot_reach_are_warned_of_in_one_line(
    folder: Path,
) -> None:
    regression("far.csv", 2.0)
    result = run("train", "far.csv", "--layers", "1-2-1", "--target-column", "y", "-o", "f.npz",
                 "--epochs", "1")  # fmt: skip
    assert result.exit_code == 0
    assert re.fullmatch(
        r"bpgen: warning: \d+ of 40 targets lie outside 0 to 1, which a sigmoid.*\n", result.stderr
    )


def test_identical_hidden_units_are_warned_of_in_one_line(folder: Path) -> None:
    result = run(*TRAIN, "-o", "z.npz", "--init", "zeros")
    assert result.exit_code == 0
    assert result.stderr.startswith("bpgen: warning: all 8 units of hidden layer 1")
    assert result.stderr.count("\n") == 1


def test_plot_writes_an_image_and_only_if_asked(folder: Path) -> None:
    done(*TRAIN, "-o", "p.npz", "--plot", "curve.png")
    assert Path("curve.png").read_bytes().startswith(b"\x89PNG")


def test_a_plot_without_matplotlib_says_how_to_install_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    result = run(*TRAIN, "-o", "p.npz", "--plot", "curve.png")
    assert result.exit_code == 2
    assert "pip install 'bpgen[plots]'" in result.stderr
    assert not Path("p.npz").exists()


def test_quantize_writes_what_the_python_call_makes_and_explains_it(folder: Path) -> None:
    text = done("quantize", "iris.npz", "--data", IRIS, "-o", "m.json")
    expected = quantize(checkpoint.load("iris.npz"))
    assert model("m.json") == expected
    assert "s16q12" in text
    assert "layer 1: w1 holds" in text
    assert f"model {expected.hash}" in text
    found = figures("quantize", "iris.npz", "--data", IRIS, "-o", "n.json")
    assert found["hash"] == expected.hash
    assert [row["layer"] for row in found["layers"]] == [0, 1, 2]
    assert found["measured"]["samples"] == 150


def test_every_setting_of_quantize_arrives(folder: Path) -> None:
    done("quantize", "iris.npz", "-o", "a.json", "--initial", "--update", "stochastic", "--freeze",
         "1", "--seed", "77", "--hidden-frac", "13")  # fmt: skip
    found = model("a.json")
    assert found.training is not None
    assert (found.training.update, found.training.seed) == ("stochastic", 77)
    assert found.layers[0].frozen
    assert found.layers[0].a_format.frac == 13
    done(
        "quantize",
        "iris.npz",
        "-o",
        "b.json",
        "--inference-only",
        "--weights",
        "s8",
        "--data",
        IRIS,
    )
    assert model("b.json").layers[0].w_format.bits == 8
    assert model("b.json").training is None


def test_check_finds_no_violation_and_prints_all_it_compared(folder: Path) -> None:
    text = done("check", "iris.json", "--data", IRIS)
    for part in ("in integers", "of its bound", "saturated: 0 inputs", "int32", "mega2560"):
        assert part in text
    found = figures("check", "iris.json", "--data", IRIS)
    tensors = [d["tensor"] for d in found["comparison"]["deviations"]]
    assert tensors == ["a1", "a2", "dz1", "dz2", "dw1", "dw2", "db1", "db2"]
    assert all(0.3 < d["bound_share"] <= 1.0 for d in found["comparison"]["deviations"])
    assert found["violations"] == 0
    assert {m["board"] for m in found["memory"]} >= {"uno", "rv32"}


def test_check_ends_with_1_when_a_value_leaves_its_bound(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    true = Twin.z

    def wrong(self: Twin, k: int, a: Any) -> Any:
        return true(self, k, a) + 8

    monkeypatch.setattr(Twin, "z", wrong)
    result = run("check", "iris.json", "--data", IRIS)
    assert result.exit_code == 1
    assert "outside the bound" in result.stderr
    assert result.stderr.count("\n") == 1


def test_the_bound_does_not_depend_on_how_samples_are_batched(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = bpgen.load_csv(IRIS, ["species"])
    whole = evaluate.compare_with_float(model("iris.json"), data)
    monkeypatch.setattr(evaluate, "BOUND_ELEMENTS", 32 * 7)
    batches: list[int] = []
    parts = evaluate.compare_with_float(model("iris.json"), data, batches.append)
    assert sum(batches) == 150
    assert max(batches) == 7
    assert [d.tensor for d in parts.deviations] == [d.tensor for d in whole.deviations]
    for one, other in zip(parts.deviations, whole.deviations, strict=True):
        assert one.largest == pytest.approx(other.largest, rel=1e-6)


def test_a_sparse_model_is_checked_without_its_penalty(folder: Path) -> None:
    done(*TRAIN, "-o", "s.npz", "--sparsity-target", "0.2", "--sparsity-weight", "0.01")
    done("quantize", "s.npz", "-o", "s.json")
    assert figures("check", "s.json", "--data", IRIS)["violations"] == 0
    found = figures("simulate", "s.json", "--data", IRIS, "--train", "--epochs", "3")
    assert sum(found["different"].values()) == 0
    assert found["compared"]["running means"] > 0


def test_generate_writes_what_the_python_call_makes(folder: Path) -> None:
    done(
        "generate", "iris.json", "--prefix", "iris", "-o", "build/iris", "--board", "uno", "--main"
    )
    expected = generate(model("iris.json"), "iris", main=True)
    assert {p.name: p.read_text() for p in Path("build/iris").iterdir()} == expected


def test_generate_makes_smaller_code_of_the_same_model(folder: Path) -> None:
    done("generate", "iris.json", "--prefix", "iris", "-o", "small", "--optimize", "size")
    small, fast = ((folder / f) for f in ("small", "fast"))
    done("generate", "iris.json", "--prefix", "iris", "-o", "fast")
    assert "#define BP_SMALL 1\n" in (small / "bpgen_fix.h").read_text()
    assert "#define BP_SMALL 0\n" in (fast / "bpgen_fix.h").read_text()
    # One pass that does the work of two is more code.
    assert "bp_learn_" in (fast / "iris.c").read_text()
    assert "bp_learn_" not in (small / "iris.c").read_text()


def test_generate_can_leave_training_out(folder: Path) -> None:
    done("generate", "iris.json", "-o", "infer", "--inference-only")
    assert "net_train" not in Path("infer/net.h").read_text()
    small = inference_only(model("iris.json"))
    a0 = np.arange(4)[np.newaxis] * 500
    one, other = Twin(small).forward(a0)[-1], Twin(model("iris.json")).forward(a0)[-1]
    assert np.array_equal(one, other)
    assert IntModel.from_json(small.to_json()) == small


def test_simulate_runs_and_trains_in_c_without_a_differing_bit(folder: Path) -> None:
    text = done("simulate", "iris.json", "--data", IRIS, "--train", "--epochs", "3")
    assert "336 training steps in C" in text
    assert "the twin repeated 336 of them" in text
    found = figures("simulate", "iris.json", "--data", IRIS, "--train", "--epochs", "3")
    assert set(found["different"].values()) == {0}
    assert found["compared"]["weights"] > 0
    assert len(found["training"]["loss"]) == 3
    assert len(found["accuracy"]["test"]) == 2
    alone = figures("simulate", "iris.json", "--data", IRIS)
    assert alone["training"] is None
    assert alone["samples"] == {"all": 150}


def test_the_integer_training_follows_the_float_one_from_the_same_start(folder: Path) -> None:
    done("quantize", "iris.npz", "-o", "start.json", "--initial")
    found = figures("simulate", "start.json", "--data", IRIS, "--train", "--epochs", "5")
    trained = checkpoint.load("iris.npz")
    data = trained.split.divide(bpgen.load_csv(IRIS, ["species"]))[0]
    float_accuracy = evaluate.float_score(trained, data)
    assert abs(found["accuracy"]["train"][1] - float_accuracy) <= 2 / len(data)


@pytest.mark.parametrize("steps", [0, 100, 1000])
def test_a_limited_comparison_still_compares_the_final_state(folder: Path, steps: int) -> None:
    found = figures("simulate", "iris.json", "--data", IRIS, "--train", "--epochs", "3",
                    "--compare-steps", str(steps))  # fmt: skip
    assert found["training"]["steps"] == 336
    assert min(steps, 336) <= found["training"]["compared_steps"] <= min(steps + 63, 336)
    assert found["compared"]["activations"] == 2 * 150 * 11
    assert sum(found["different"].values()) == 0


def test_batches_momentum_schedules_and_frozen_layers_are_compared_too(folder: Path) -> None:
    done(*TRAIN, "-o", "b.npz", "--batch-size", "9", "--momentum", "0.8", "--l2", "0.001")
    done("quantize", "b.npz", "-o", "b.json", "--freeze", "1")
    found = figures("simulate", "b.json", "--data", IRIS, "--train", "--epochs", "4",
                    "--learning-rate-decay", "0.7", "--compare-steps", "200")  # fmt: skip
    assert sum(found["different"].values()) == 0
    assert found["compared"]["accumulators"] > 0


def test_simulate_ends_with_1_when_a_bit_differs(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    true = Simulation.parameters

    def wrong(self: Simulation) -> Any:
        values = true(self)
        values[3] ^= 1
        return values

    monkeypatch.setattr(Simulation, "parameters", wrong)
    result = run("simulate", "iris.json", "--data", IRIS, "--train", "--epochs", "1")
    assert result.exit_code == 1
    assert "2 values of the C code differ from the twin" in result.stderr
    assert result.stderr.count("\n") == 1


def test_updates_that_round_to_zero_are_warned_of(folder: Path) -> None:
    done(*TRAIN, "-o", "slow.npz", "--learning-rate", "0.0005")
    done("quantize", "slow.npz", "-o", "slow.json", "--update", "stochastic")
    result = run("simulate", "slow.json", "--data", IRIS, "--train", "--epochs", "2")
    assert result.exit_code == 0
    assert re.fullmatch(r"bpgen: warning: \d+% of the updates rounded.*\n", result.stderr)


def test_keep_leaves_the_generated_c(folder: Path) -> None:
    done("simulate", "iris.json", "--data", IRIS, "--keep", "kept")
    assert {"net.c", "net.h", "net_main.c"} <= {p.name for p in Path("kept").iterdir()}


def test_boards_lists_every_board_with_its_memory() -> None:
    found = {board["name"]: board for board in json.loads(done("boards", "--json"))}
    assert found["uno"]["ram_bytes"] == 2048
    text = done("boards")
    assert all(name in text for name in found)


def test_a_single_message_of_several_lines_becomes_one(capsys: pytest.CaptureFixture[str]) -> None:
    shared.complain("one\n  two.")
    shared.warn("three\nfour")
    assert capsys.readouterr().err == "bpgen: one two.\nbpgen: warning: three four\n"


def test_the_curve_runs_from_the_first_to_the_last_loss() -> None:
    assert shared.curve([]) == ""
    assert shared.curve([0.0, 0.0]) == "▁▁"
    assert shared.curve([4.0, 2.0, 0.0]) == "█▄▁"
    long = shared.curve([float(n) for n in range(1000, 0, -1)])
    assert len(long) == shared.CURVE_WIDTH
    assert long[0] == "█"
    assert long[-1] == "▁"


def test_samples_that_do_not_fit_the_model_are_refused(folder: Path) -> None:
    data = replace(bpgen.load_csv(IRIS, ["species"]), t=np.zeros((150, 2)))
    with pytest.raises(BpgenError, match="2 targets per sample"):
        evaluate.raw_samples(model("iris.json"), data)


def test_warnings_that_are_no_users_business_stay_errors() -> None:
    with pytest.raises(DeprecationWarning), shared.warnings_as_lines():
        warnings.warn("old", DeprecationWarning, stacklevel=1)

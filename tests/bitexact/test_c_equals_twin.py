"""Generated C equals the twin in every bit: random networks, all compilers, long traces."""

import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bpgen.model import (
    HIDDEN_ACTIVATIONS,
    TABLE_ACTIVATIONS,
    UPDATES,
    IntModel,
    LearningRate,
)
from bpgen.proof import Sum, prove
from bpgen.simulate import Simulation
from tests.bitexact.build import (
    CONFIGS,
    KERNELS,
    UNIT,
    Config,
    compile_c,
    environment,
    kernels,
    library,
    replaced,
)
from tests.bitexact.cases import (
    CASES,
    COPIES,
    OUTPUTS,
    TRACE_STEPS,
    Case,
    case,
    dealt,
    shifts,
)
from tests.bitexact.compare import DifferenceError, compare

ROOT = Path(__file__).resolve().parents[2]
FEWEST = 20  # cases that show each thing that a model can have


def config_of(number: int) -> Config:
    return CONFIGS[dealt(4, number, [config.cases for config in CONFIGS])]


def run_sanitised(config: Config, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment(config),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="session")
def core_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("core")


@pytest.mark.parametrize(
    "number", range(CASES), ids=[f"case{n}-{config_of(n).name}" for n in range(CASES)]
)
def test_c_equals_the_twin(
    number: int, tmp_path: Path, core_folder: Path, tool: Callable[[str], str]
) -> None:
    config = config_of(number)
    tool(config.command)
    built = library(config, case(number).model, tmp_path, kernels(config, core_folder))
    if config.sanitised:
        run = run_sanitised(config, "-m", "tests.bitexact.worker", str(number), str(built))
        assert run.returncode == 0, run.stderr[-4000:]
    else:
        compare(case(number), built)


# What the cases are


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return [case(number) for number in range(CASES)]


def features(case: Case) -> set[str]:
    """What a case shows, in words."""
    model = case.model
    found = {case.kind, f"{model.output.activation} {model.loss}", f"{len(model.layers)} layers"}
    found |= {f"hidden {layer.activation}" for layer in model.layers[:-1]}
    for proof in prove(model):
        if model.input.a_format.bits == 16:
            found |= sum_features("forward", proof.forward)
        if proof.backward:
            found |= sum_features("backward", proof.backward)
    if model.training:
        found |= training_features(case)
    return found


def sum_features(name: str, sum_: Sum) -> set[str]:
    found = {f"{name} {'plain' if sum_.plain else 'blocks'}"}
    bound_of_one_more = sum_.bound + 32768 * sum_.top
    if sum_.plain and bound_of_one_more >= 2**31:
        found.add(f"{name} plain by a hair")
    if not sum_.plain and sum_.bound - 32768 * sum_.top < 2**31:
        found.add(f"{name} blocks by a hair")
    if not sum_.plain and sum_.terms >= sum_.block:
        rest = sum_.terms % sum_.block
        words = {0: "whole blocks", 1: "blocks and one", sum_.block - 1: "blocks but one"}
        found.add(f"{name} {words.get(rest, 'blocks and more')}")
    if not sum_.plain and sum_.block == 2:
        found.add(f"{name} blocks of two")
    return found


def training_features(case: Case) -> set[str]:
    model, training = case.model, case.model.training
    assert training is not None
    found = set()
    if any(layer.frozen for layer in model.layers):
        found.add("frozen")
    if not model.has_dz(1):
        found.add("no deltas below")
    if training.update == "momentum" and 1 < training.momentum < 65535:
        found.add("velocities fade")
    if training.decay:
        found.add(f"L2 {case.kind}")
    if any(layer.sparsity for layer in model.layers):
        found.add("sparsity")
        found |= {f"sparsity {layer.activation}" for layer in model.layers if layer.sparsity}
    for rate in case.rates:
        found |= {f"S = {shift}" for shift in shifts(model, rate.exponent)}
        found.add("power of two" if rate.mantissa == 32768 else "odd mantissa")
    return found


def test_every_choice_that_a_model_has_is_in_at_least_twenty_cases(cases: list[Case]) -> None:
    counted = Counter(feature for one in cases for feature in features(one))
    wanted = {f"hidden {kind}" for kind in HIDDEN_ACTIVATIONS}
    wanted |= {*UPDATES, "s8", "s16", *(" ".join(output) for output in OUTPUTS)}
    wanted |= {f"{depth} layers" for depth in range(1, 6)}
    wanted |= {f"L2 {update}" for update in UPDATES}
    wanted |= {f"sparsity {kind}" for kind in TABLE_ACTIVATIONS}
    wanted |= {f"S = {shift}" for shift in (-8, 0, 8, 16, 24)}
    wanted |= {"frozen", "no deltas below", "sparsity", "power of two", "odd mantissa"}
    for name in ("forward", "backward"):
        wanted |= {f"{name} plain", f"{name} blocks", f"{name} blocks of two"}
        wanted |= {f"{name} plain by a hair", f"{name} blocks by a hair"}
        wanted |= {f"{name} whole blocks", f"{name} blocks and one", f"{name} blocks but one"}
    rare = {feature: counted[feature] for feature in wanted if counted[feature] < FEWEST}
    assert rare == {}


def test_dimensions_are_at_least_two_and_pairwise_different(cases: list[Case]) -> None:
    for one in cases:
        assert min(one.model.sizes) >= 2
        assert len(set(one.model.sizes)) == len(one.model.sizes)
    assert max(max(one.model.sizes) for one in cases) == 70


def test_every_case_is_a_model_that_a_file_can_hold(cases: list[Case]) -> None:
    for one in cases:
        assert IntModel.from_json(one.model.to_json()) == one.model


def test_the_traces_add_up_to_a_million_steps(cases: list[Case]) -> None:
    trained = sum(one.model.training is not None for one in cases)
    assert TRACE_STEPS >= 200
    assert trained * TRACE_STEPS * COPIES >= 10**6


def test_every_compiler_and_flag_gets_its_share_of_the_cases() -> None:
    shares = Counter(config_of(number).name for number in range(CASES))
    assert all(shares[config.name] >= 40 for config in CONFIGS if not config.sanitised)
    assert sum(shares[config.name] for config in CONFIGS if config.sanitised) >= 60
    assert len([config for config in CONFIGS if not config.sanitised]) == 6


# The comparison can fail

FORWARD = "bpgen_kernels_forward.h"
UPDATE = "bpgen_kernels_update.h"

# Each is a slip of the pen in the C: file, what it says, what it says instead, and a case's kind.
SLIPS = {
    "rounding half dropped": (
        "bpgen_fix.h",
        "return shift == 0 ? x : bp_shr32(x + ((int32_t)1 << (shift - 1)), shift);",
        "return bp_shr32(x, shift);",
        "residual",
    ),
    "rounding half of 64 bits one off": (
        "bpgen_fix.h",
        "return shift == 0 ? x : bp_shr64(x + ((int64_t)1 << (shift - 1)), shift);",
        "return shift == 0 ? x : bp_shr64(x + ((int64_t)1 << (shift - 1)) - 1, shift);",
        "residual",
    ),
    "one shift off": (
        UPDATE,
        "-((int32_t)dz[j] * mantissa) * 2 + 32768, 16);",
        "-((int32_t)dz[j] * mantissa) + 32768, 16);",
        "residual",
    ),
    "update half one off": (
        UNIT,
        "int32_t step = bp_round32(product, (uint8_t)shift);",
        "int32_t step = bp_round32(product - 1, (uint8_t)shift);",
        "residual",
    ),
    "low byte of a hidden delta's sum dropped": (
        UNIT,
        "((uint32_t)(s & 255) * (uint16_t)derivative) >> 8",
        "((uint32_t)(s & 0) * (uint16_t)derivative) >> 8",
        "residual",
    ),
    "saturation of s24 removed": (UNIT, "        master = 8388607;\n", "", "residual"),
    "saturation of s16 removed": (UNIT, "        master = INT16_MAX;\n", "", "stochastic"),
    "saturation of activations and deltas one off": (
        "bpgen_fix.h",
        "        return (int16_t)-top;",
        "        return (int16_t)(1 - top);",
        "batch",
    ),
    "a clip not counted": (
        "bpgen_fix.h",
        "    if (x > 8388607) {\n        BP_COUNT(clipped);\n",
        "    if (x > 8388607) {\n",
        "momentum",
    ),
    "another Weyl step": (
        "bpgen_kernels.h",
        "#define BP_WEYL 40503u",
        "#define BP_WEYL 40505u",
        "stochastic",
    ),
    "the dither of the next row": (
        UPDATE,
        "uint16_t row = bp_dither_at(0, layer->inputs);",
        "uint16_t row = bp_dither_at(0, even_inputs(layer));",
        "odd inputs",
    ),
    "the second input of a pair dropped": (
        FORWARD,
        "sum += (int32_t)read_weight(w + 1, in_flash) * a_in[i + 1];",
        "(void)a_in[i + 1];",
        "residual",
    ),
    "Weyl values without the odd count": (
        "bpgen_kernels.h",
        "BP_WEYL * (count | 1u)",
        "BP_WEYL * count",
        "even",
    ),
    "velocity truncated": (
        UPDATE,
        "vw[i] = (int32_t)bp_round64((int64_t)velocity * momentum, 16);",
        "vw[i] = (int32_t)(((int64_t)velocity * momentum) >> 16);",
        "velocities fade",
    ),
    "batch residue forgotten": (
        UPDATE,
        "vw[i] = (int32_t)(sum - (int64_t)step * 65536);",
        "vw[i] = 0;",
        "batch",
    ),
    "zero updates half counted": (UNIT, "product != 0", "product > 0", "residual"),
    "checksum of another polynomial": (KERNELS, "0xEDB88320u, 0xF", "0xEDB88321u, 0xF", "residual"),
    "update below its saturated accumulator": (
        UPDATE,
        "? bp_saturate32((int64_t)product * 256)",
        "? (int32_t)((int64_t)product * 255)",
        "S = -8",
    ),
}


def case_for(kind: str) -> Case:
    """The first case that is of this kind, or shows this feature."""
    for number in range(CASES):
        one = case(number)
        if kind == "odd inputs":
            if one.kind == "stochastic" and one.model.sizes[0] % 2:
                return one
        elif kind == "even":
            if one.kind == "stochastic" and one.model.parameter_count % 2 == 0:
                return one
        elif kind in features(one) and len(one.model.layers) > 1:
            return one
    raise AssertionError(kind)


@pytest.mark.parametrize("slip", SLIPS)
def test_a_slip_in_the_c_is_seen(slip: str, tmp_path: Path, tool: Callable[[str], str]) -> None:
    tool("gcc")
    name, old, new, kind = SLIPS[slip]
    config = CONFIGS[0]
    one = case_for(kind)
    library(config, one.model, tmp_path)
    replaced(tmp_path, name, old, new)
    # Another name: a loader may hand out the library that it has already.
    broken = tmp_path / "broken.so"
    compile_c(config, "-shared", "-o", broken, *sorted(tmp_path.glob("*.c")))
    with pytest.raises(DifferenceError):
        compare(one, broken)


def test_a_changed_weight_in_flash_is_seen(tmp_path: Path, tool: Callable[[str], str]) -> None:
    """The model that the C was made from must be the twin's, to the last bit of one weight."""
    tool("gcc")
    one = case_for("residual")
    layer = one.model.layers[0]
    row = (layer.w[0][0] ^ 1, *layer.w[0][1:])
    layers = (replace(layer, w=(row, *layer.w[1:])), *one.model.layers[1:])
    built = library(CONFIGS[0], replace(one.model, layers=layers), tmp_path)
    with pytest.raises(DifferenceError, match="as generated"):
        compare(one, built)


SANITISED = [config for config in CONFIGS if config.sanitised]


@pytest.mark.parametrize("config", SANITISED, ids=lambda config: config.name)
@pytest.mark.parametrize(
    ("name", "old", "new", "words"),
    [
        (
            "net.c",
            "bp_clear((uint8_t *)s, sizeof(*s));",
            "bp_clear((uint8_t *)s, sizeof(*s) + 8);",
            "AddressSanitizer",
        ),
        (
            UNIT,
            "int32_t master = (int32_t)*w * 256 + *w_low + step;",
            "int32_t master = (int32_t)*w * 65536 * 256 + *w_low + step;",
            "signed integer overflow",
        ),
    ],
    ids=["a write behind the state", "a signed overflow"],
)
def test_a_fault_ends_a_sanitised_run(
    config: Config,
    name: str,
    old: str,
    new: str,
    words: str,
    tmp_path: Path,
    tool: Callable[[str], str],
) -> None:
    tool(config.command)
    one = case_for("residual")
    library(CONFIGS[0], one.model, tmp_path)
    replaced(tmp_path, name, old, new)
    broken = tmp_path / "broken.so"
    # The file that the bug is in is that of the portable C.
    counting = replace(config, counters=True)
    compile_c(counting, "-shared", "-o", broken, *sorted(tmp_path.glob("*.c")))
    run = run_sanitised(config, "-m", "tests.bitexact.worker", str(one.number), str(broken))
    assert run.returncode != 0
    assert words in run.stderr


def test_counters_do_not_change_a_bit(tmp_path: Path, tool: Callable[[str], str]) -> None:
    """Without counters the C is other code, so its bits are compared too."""
    tool("gcc")
    rng = np.random.default_rng(5)
    for kind in UPDATES:
        one = case_for(kind)
        x = rng.integers(-one.model.input.a_top, one.model.input.a_top, (40, one.model.sizes[0]))
        t = rng.integers(-32768, 32768, (40, one.model.sizes[-1]))
        checksums = []
        for counters in (False, True):
            with Simulation(one.model, flags=("-O2",), counters=counters) as c:
                c.set_learning_rate(LearningRate(32768, one.rates[0].exponent))
                c.train(x, t, np.arange(40), 7)
                checksums.append((c.crc32(), c.velocities().tolist(), c.means().tolist()))
        assert checksums[0] == checksums[1]

"""Networks under the harness: bpgen's in every mode, float C written by hand, emlearn's."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from benchmarks.speed.cores import HERE, Program
from benchmarks.tasks import Samples
from bpgen.floatnet import FloatArray, FloatNet, create
from bpgen.generation import generate
from bpgen.model import IntModel
from bpgen.qformat import IntArray
from bpgen.qformat import quantize as raws
from bpgen.quantization import inference_only, quantize_network
from bpgen.scaling import Scaling
from bpgen.training import Ranges, Training, train
from bpgen.twin import Twin, quantize_input

SEED = 7
LEARNING_RATE = 0.2  # its mantissa is 26215: no power of two, so no cheap case

# What is counted, by the name that rows have. In the first four the weights are in RAM.
MODES = (
    "inference, residual",
    "inference, stochastic",
    "training, residual",
    "training, stochastic",
    "training, residual, small",
    "inference, flash",
    "inference, s8",
)
FLOAT_MODES = ("inference, float C", "training, float C", "inference, emlearn float")


@dataclass(frozen=True)
class Subject:
    """
    A program to count `function` of, which is called once a step.

    `checksum` is what the harness must report: of the twin's outputs, or of float's classes.
    """

    program: Program
    function: str
    checksum: int


@dataclass(frozen=True, eq=False)
class Task:
    """An untrained float network, data to train it on, and what a training run saw."""

    net: FloatNet
    training: Training
    ranges: Ranges
    scaling: Scaling
    x: FloatArray
    t: FloatArray


@cache
def task(sizes: tuple[int, ...]) -> Task:
    """Random blobs, one a class, as many features and classes as there are inputs and outputs."""
    rng = np.random.default_rng([SEED, *sizes])
    classes = np.arange(60) % max(2, sizes[-1])
    x = rng.normal(size=(max(2, sizes[-1]), sizes[0]))[classes]
    x = (x + 0.4 * rng.normal(size=x.shape)).round(3)
    t = np.eye(sizes[-1])[classes] if sizes[-1] > 1 else classes[:, np.newaxis].astype(float)
    scaling = Scaling.fit(x, "minmax")
    net = create(sizes, seed=SEED)
    training = Training(LEARNING_RATE, epochs=10, seed=SEED)
    ranges = train(net.copy(), scaling.apply(x), t, training).ranges
    return Task(net, training, ranges, scaling, x, t)


@cache
def model(sizes: tuple[int, ...], mode: str) -> IntModel:
    """The integer network of a mode."""
    chosen = task(sizes)
    is_s8 = mode == "inference, s8"
    made = quantize_network(
        chosen.net,
        None if is_s8 else chosen.training,
        chosen.ranges,
        scaling=chosen.scaling,
        features=[f"x{i}" for i in range(sizes[0])],
        targets=["t"],
        labels=[f"class {i}" for i in range(sizes[-1])] if sizes[-1] > 1 else [],
        update=None if is_s8 else "stochastic" if "stochastic" in mode else "residual",
        weights="s8" if is_s8 else "s16",
        inputs=chosen.scaling.apply(chosen.x),
    )
    return inference_only(made) if mode == "inference, flash" else made


def integer(sizes: tuple[int, ...], mode: str, samples: int, steps: int) -> Subject:
    """bpgen's network in a mode, on the first samples of its data in turn."""
    network = model(sizes, mode)
    chosen = task(sizes)
    a0 = quantize_input(network, chosen.scaling.counts(chosen.x))[:samples]
    t = raws(chosen.t, network.output.a_format.frac, -32768, 32767)[:samples]
    order = [i % samples for i in range(steps)]
    return _integer(network, mode, a0, t, order, pairs=False)


def on_data(network: IntModel, mode: str, data: Samples, steps: int) -> Subject:
    """A network in a mode on the first samples of a data set, one a step and in turn."""
    a0, t = data.a0(network)[:steps], data.t(network)[:steps]
    order = [i % len(a0) for i in range(steps)]
    return _integer(network, mode, a0, t, order, pairs=False)


def corner(network: IntModel, a0: IntArray, t: IntArray) -> Subject:
    """Two steps on each sample, the first from the model's own weights."""
    twice = [i for i in range(len(a0)) for _ in range(2)]
    return _integer(network, "training", a0[twice], t[twice], list(range(len(twice))), pairs=True)


def _integer(
    network: IntModel, mode: str, a0: IntArray, t: IntArray, order: Sequence[int], *, pairs: bool
) -> Subject:
    trains = mode.startswith("training")
    small = mode.endswith("small")
    head = _bench_head(a0, len(order), trains, pairs)
    head += [
        f"#define BENCH_OUTPUTS {network.output.outputs}",
        f"#define BENCH_Y a{len(network.layers)}",
        *_array("bench_a0", "uint8_t" if network.input.a_format.bits == 8 else "int16_t", a0),
        *(_array("bench_t", "int16_t", t) if trains else []),
    ]
    program = Program(
        network=generate(network, "net", optimize="size" if small else "speed"),
        harness={"bench.h": _text(head), "subject.h": '#include "subject_bpgen.h"\n'},
        small=small,
    )
    twin, outputs = Twin(network), []
    for step, i in enumerate(order):
        if pairs and step % 2 == 0:
            twin.reset()
        outputs.append(twin.forward(a0[i : i + 1])[-1][0])
        if trains:
            twin.train(a0[i : i + 1], t[i : i + 1])
    words = (int(y) & 0xFFFF for row in outputs for y in row)
    return Subject(program, "net_train" if trains else "net_forward", _checksum(words))


def floating(sizes: tuple[int, ...], mode: str, samples: int, steps: int) -> Subject | None:
    """The same network in float, from the same first weights; None where emlearn is missing."""
    network = model(sizes, "training, residual")
    chosen = task(sizes)
    trains = mode.startswith("training")
    a0 = quantize_input(network, chosen.scaling.counts(chosen.x))[:samples]
    t = raws(chosen.t, network.output.a_format.frac, -32768, 32767)[:samples]
    units = [2.0**-layer.w_format.frac for layer in network.layers]
    head = _bench_head(a0, steps, trains, pairs=False)
    head += [
        f"#define BENCH_HIDDEN {sizes[1]}",
        f"#define BENCH_OUTPUTS {sizes[-1]}",
        f"#define BENCH_A0_UNIT {2.0**-network.input.a_format.frac!r}f",
        *_array("bench_a0", "int16_t", a0),
    ]
    includes: tuple[Path, ...] = ()
    if mode.endswith("float C"):
        head += [
            f"#define BENCH_T_UNIT {2.0**-network.output.a_format.frac!r}f",
            f"#define BENCH_LEARNING_RATE {LEARNING_RATE}f",
            *(f"#define BENCH_W{k}_UNIT {unit!r}f" for k, unit in enumerate(units, start=1)),
            *_array("bench_t", "int16_t", t),
        ]
        for k, layer in enumerate(network.layers, start=1):
            head += _array(f"bench_w{k}", "int16_t", np.array(layer.w))
        files = {"float_net.c": (HERE / "float_net.c").read_text(encoding="utf-8")}
        subject, function = "subject_float.h", "train" if trains else "forward"
    else:
        generated = _emlearn(network, units)
        if generated is None:
            return None
        code, folder = generated
        files, includes = {"emlearn_net.c": code}, (folder,)
        subject, function = "subject_emlearn.h", "peer_predict"
    program = Program(
        network=files,
        harness={"bench.h": _text(head), "subject.h": f'#include "{subject}"\n'}
        | {"bpgen_fix.h": generate(network, "net")["bpgen_fix.h"]},
        libraries=("-lm",),
        includes=includes,
    )
    inputs: FloatArray = np.ldexp(a0.astype(np.float64), -network.input.a_format.frac)
    targets: FloatArray = np.ldexp(t.astype(np.float64), -network.output.a_format.frac)
    net = FloatNet(
        [np.array(layer.w) * unit for layer, unit in zip(network.layers, units, strict=True)],
        [np.zeros(layer.outputs) for layer in network.layers],
        ("sigmoid", "sigmoid"),
        "squared_error",
    )
    classes = []
    for i in (step % samples for step in range(steps)):
        y = net.forward(inputs[i : i + 1]).a[-1][0]
        classes.append(int(y.argmax()) if len(y) > 1 else int(y[0] > 0.5))
        if trains:
            gradient = net.gradient(inputs[i : i + 1], targets[i : i + 1])
            for k in range(net.n_layers):
                net.w[k] -= LEARNING_RATE * gradient.dw[k]
                net.b[k] -= LEARNING_RATE * gradient.db[k]
    return Subject(program, function, _checksum(classes))


def emlearn_version() -> str | None:
    """Its version, or None where it is not installed."""
    if importlib.util.find_spec("emlearn") is None:
        return None
    return importlib.metadata.version("emlearn")


def _emlearn(network: IntModel, units: Sequence[float]) -> tuple[str, Path] | None:
    """emlearn's code for the float network, and where its headers are."""
    if emlearn_version() is None:
        return None
    import emlearn.net  # type: ignore[import-untyped]

    code = emlearn.net.c_generate_net_loadable(
        ["logistic"] * len(network.layers),
        [np.array(layer.w).T * unit for layer, unit in zip(network.layers, units, strict=True)],
        [np.zeros(layer.outputs) for layer in network.layers],
        prefix="peer",
    )
    return code, Path(emlearn.net.__file__).parent


def _bench_head(a0: IntArray, steps: int, trains: bool, pairs: bool) -> list[str]:
    return [
        '#include "bpgen_fix.h"',
        f"#define BENCH_STEPS {steps}",
        f"#define BENCH_SAMPLES {len(a0)}",
        f"#define BENCH_TRAIN {int(trains)}",
        f"#define BENCH_PAIRS {int(pairs)}",
        f"#define BENCH_INPUTS {a0.shape[1]}",
    ]


def _array(name: str, kind: str, values: IntArray) -> list[str]:
    reader = "bp_rom_u8" if kind == "uint8_t" else "bp_rom_s16"
    lines = [f"#define BENCH_ROM_A0(p) {reader}(p)"] if name == "bench_a0" else []
    numbers = ", ".join(str(int(value)) for value in np.asarray(values).ravel())
    return [
        *lines,
        f"typedef {kind} {name}_t;",
        f"static const {kind} {name}[] BP_ROM __attribute__((unused)) = {{ {numbers} }};",
    ]


def _text(lines: Iterable[str]) -> str:
    body = "\n".join(lines)
    return f"#ifndef BENCH_H\n#define BENCH_H\n{body}\n#endif\n"


def _checksum(words: Iterable[int]) -> int:
    """As in subject_*.h: rotate by one bit, then exclusive or."""
    checksum = 0
    for word in words:
        checksum = ((checksum << 1 | checksum >> 31) & 0xFFFFFFFF) ^ word
    return checksum

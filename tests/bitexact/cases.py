"""
Random integer models, and the states, inputs and targets that they are compared on.

Case n of a suite is the same everywhere: all of it follows from `default_rng([SUITE_SEED, n])`. The
models have any formats that `proof.prove` accepts, not only those that `quantize` would choose.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from bpgen import proof, ranges
from bpgen.errors import BpgenError
from bpgen.lut import activation_top
from bpgen.model import (
    HIDDEN_ACTIVATIONS,
    INT16_MAX,
    INT32_MAX,
    TABLE_ACTIVATIONS,
    Dense,
    Input,
    IntModel,
    IntTraining,
    LayerSparsity,
    LearningRate,
    Sparsity,
)
from bpgen.qformat import IntArray, QFormat

SUITE_SEED = 31
CASES = 300
COPIES = 16
SEGMENTS = 6  # of a training trace, each with its own learning rate
SEGMENT_STEPS = 50
TRACE_STEPS = SEGMENTS * SEGMENT_STEPS

# (kind of model, cases); what infers only has no trace, so it gets fewer.
KINDS = (
    ("residual", 65),
    ("stochastic", 65),
    ("batch", 60),
    ("momentum", 60),
    ("s16", 25),
    ("s8", 25),
)
OUTPUTS = (
    ("softmax", "cross_entropy"),
    ("sigmoid", "cross_entropy"),
    ("sigmoid", "squared_error"),
    ("linear", "squared_error"),
)
# Fan-ins next to the limits of int32 sums: 15 to 17 at a fraction of 12, 30 to 32 at 11.
EDGE_SIZES = (2, 3, 4, 6, 7, 8, 14, 15, 16, 17, 18, 29, 30, 31, 32, 33, 34, 47, 48, 49, 63, 64, 70)

Generator = np.random.Generator


@dataclass(frozen=True)
class Case:
    """`rates` are the learning rates of the segments of the training trace."""

    number: int
    kind: str
    model: IntModel
    rates: tuple[LearningRate, ...]


@cache
def _dealt(deal: int, counts: tuple[int, ...]) -> tuple[int, ...]:
    """Index i counts[i] times, shuffled: so that no two choices of a case go in step."""
    dealt = np.repeat(np.arange(len(counts)), counts)
    np.random.default_rng([SUITE_SEED, 0, deal]).shuffle(dealt)
    return tuple(dealt.tolist())


def dealt(deal: int, number: int, counts: Sequence[int]) -> int:
    """The choice of case `number` where choice i falls on exactly counts[i] of the cases."""
    assert sum(counts) == CASES
    return _dealt(deal, tuple(counts))[number]


@cache
def case(number: int) -> Case:
    """Case `number` of the suite, 0 to CASES - 1."""
    kind = KINDS[dealt(1, number, [count for _, count in KINDS])][0]
    output, loss = OUTPUTS[dealt(2, number, [CASES // 4] * 4)]
    depth = 1 + dealt(3, number, [CASES // 5] * 5)
    rng = np.random.default_rng([SUITE_SEED, number])
    while True:
        # Random formats may need a product that no type holds, or suit no common learning rate.
        try:
            model = random_model(rng, kind, depth, output, loss)
            proof.prove(model)
        except BpgenError:
            continue
        if model.training is None:
            return Case(number, kind, model, ())
        if len(ranges.solvable_exponents(model)) > 0:
            rates = random_rates(rng, model)
            training = IntTraining(**{**vars(model.training), "learning_rate": rates[0]})
            return Case(number, kind, IntModel(**{**_fields(model), "training": training}), rates)


def _fields(model: IntModel) -> dict[str, object]:
    return {name: getattr(model, name) for name in IntModel.__dataclass_fields__}


def pick(rng: Generator, choices: Sequence[int]) -> int:
    return int(choices[int(rng.integers(len(choices)))])


def between(rng: Generator, lowest: int, highest: int) -> int:
    return int(rng.integers(lowest, highest, endpoint=True))


def log_between(rng: Generator, lowest: int, highest: int) -> int:
    """Evenly spread in magnitude, for lowest >= 1."""
    return min(highest, int(lowest * (highest / lowest) ** rng.random() + 0.5))


def random_sizes(rng: Generator, depth: int) -> list[int]:
    largest = 70 if rng.random() < 0.3 else 35
    sizes: list[int] = []
    while len(sizes) <= depth:
        size = pick(rng, EDGE_SIZES) if rng.random() < 0.6 else between(rng, 2, largest)
        if size <= largest and size not in sizes:
            sizes.append(size)
    return sizes


def random_model(rng: Generator, kind: str, depth: int, output: str, loss: str) -> IntModel:
    """A model whose shape is legal; `proof.prove` may still refuse its formats."""
    sizes = random_sizes(rng, depth)
    if kind == "s8":
        return _byte_model(rng, sizes, output, loss)
    hidden = [HIDDEN_ACTIVATIONS[pick(rng, range(5))] for _ in range(depth - 1)]
    kinds = ["input", *hidden, output]
    learns = [kind != "s16"] * (depth + 1)
    if kind != "s16" and rng.random() < 0.35:
        for k in rng.permutation(depth)[: between(rng, 0, depth - 1)]:
            learns[k + 1] = False
    training = None if kind == "s16" else _training(rng, kind)
    # Index k of each list belongs to layer k; layer 0 is the input.
    a = [_activation_frac(rng, kinds[k], k == depth, sizes[k]) for k in range(depth + 1)]
    z = [a[k] if kinds[k] in ("relu", "linear") else 12 for k in range(depth + 1)]
    w = [0] * (depth + 1)
    for k in range(1, depth + 1):
        w[k] = between(rng, max(8, z[k] - a[k - 1]), 14)
        if kinds[k] == "softmax":
            z[k] = between(rng, 5, min(14, w[k] + a[k - 1]))
    tops = [
        activation_top(kinds[k], a[k])
        if kinds[k] in (*TABLE_ACTIVATIONS, "softmax")
        else random_top(
            rng,
            sizes[k],
            (1 << a[k], w[k + 1] + a[k] - z[k + 1]) if k < depth else (0, 0),
            min(INT16_MAX, (1 << (a[k] + 8)) - 1) if k < depth and learns[k + 1] else INT16_MAX,
        )
        for k in range(depth + 1)
    ]
    dz: list[tuple[int, int] | tuple[None, None]] = [(None, None)] * (depth + 1)
    if training:
        dz = list(_deltas(rng, sizes, w, a[-1], kinds[-1] == "sigmoid", loss))
    style = WEIGHT_STYLES[pick(rng, range(len(WEIGHT_STYLES)))]
    layers = []
    for k in range(1, depth + 1):
        masters = random_weights(rng, style, (sizes[k], sizes[k - 1] + 1), 16)
        has_dz = training is not None and any(learns[1 : k + 1])
        sparse = training and training.sparsity and k < depth and has_dz
        layers.append(
            Dense(
                activation=kinds[k],
                w_format=QFormat(True, 16, w[k]),
                z_format=QFormat(True, 16, z[k]),
                a_format=QFormat(True, 16, a[k]),
                a_top=tops[k],
                dz_frac=dz[k][0],
                dz_top=dz[k][1],
                frozen=training is not None and not learns[k],
                sparsity=_layer_sparsity(rng, kinds[k], a[k], tops[k], training)
                if sparse and kinds[k] in TABLE_ACTIVATIONS
                else None,
                w=_rows(masters[:, :-1]),
                b=_row(masters[:, -1]),
            )
        )
    labels = tuple(f"class {j}" for j in range(sizes[-1])) if rng.random() < 0.5 else ()
    return IntModel(
        input=_input(rng, sizes[0], QFormat(True, 16, a[0]), tops[0]),
        layers=tuple(layers),
        loss=loss,
        targets=("y",),
        labels=labels,
        training=training,
    )


def _activation_frac(rng: Generator, kind: str, is_output: bool, size: int) -> int:
    highest = 14 if is_output or kind in ("tanh", "tanh_opt") else 15
    lowest = 8 if kind in ("tanh", "tanh_opt") else 4
    if not is_output and kind in TABLE_ACTIVATIONS and rng.random() < 0.5:
        # The top is given, so the fraction decides on which side of the plain limit the sum is.
        frac = max(f for f in range(4, 16) if f == 4 or (size + 1) << f <= 65535)
        return min(highest, max(lowest, frac + between(rng, 0, 1)))
    return between(rng, lowest, highest)


def random_top(rng: Generator, terms: int, bias: tuple[int, int], highest: int) -> int:
    """A top on either side of the limits for `terms` products; bias is (its factor, the shift)."""
    one, shift = bias
    plain = ((INT32_MAX - proof.rounding_half(shift)) // 32768 - one) // terms
    block = 65535 // terms  # at this top a block has `terms` products
    halves = [65535 // size for size in (max(1, terms - 1), (terms + 1) // 2, terms // 2)]
    choices = [plain, plain + 1, block, block + 1, *halves, 4095, 4096, highest]
    top = pick(rng, choices) if rng.random() < 0.75 else log_between(rng, 1, highest)
    return min(max(1, top), highest)


def _deltas(
    rng: Generator, sizes: list[int], w: list[int], output_frac: int, wide: bool, loss: str
) -> list[tuple[int, int]]:
    """Fraction and top of dz, index 0 unused."""
    depth = len(sizes) - 1
    cap = output_frac + (16 if wide and loss == "squared_error" else 0)
    fractions = [0] * (depth + 1)
    for k in range(depth, 0, -1):
        highest = min(24, cap)
        lowest = max(0, highest - 5) if rng.random() < 0.7 else 0
        fractions[k] = between(rng, lowest, highest)
        cap = w[k] + fractions[k] - 4
    result = [(0, 0)]
    for k in range(1, depth + 1):
        shift = w[k] + fractions[k] - fractions[k - 1] - 4 if k > 1 else 0
        top = random_top(rng, sizes[k], (0, shift), INT16_MAX)
        result.append((fractions[k], INT16_MAX if rng.random() < 0.4 else top))
    return result


def _training(rng: Generator, update: str) -> IntTraining:
    sparsity = None
    if rng.random() < 0.4:
        sparsity = Sparsity(log_between(rng, 1, 32767), log_between(rng, 1, 65535))
    return IntTraining(
        update=update,
        learning_rate=LearningRate(32768, 0),
        batch_size=between(rng, 1, 20),
        momentum=pick(rng, (0, 1, 32768, 58982, 65535, between(rng, 0, 65535))),
        decay=pick(rng, (1, 32767, log_between(rng, 1, 32767))) if rng.random() < 0.5 else 0,
        seed=pick(rng, (0, 1, 65535, between(rng, 0, 65535))),
        sparsity=sparsity,
    )


def _layer_sparsity(
    rng: Generator, kind: str, frac: int, top: int, training: IntTraining | None
) -> LayerSparsity:
    """Section 11's constants for a random strength of the penalty."""
    assert training is not None
    assert training.sparsity is not None
    multiplier, shift = between(rng, 16384, 32767), between(rng, 0, 47)
    rho = training.sparsity.target
    if kind == "sigmoid":
        return LayerSparsity(0, 1 << (30 - frac), multiplier, shift, rho << frac)
    offset = top << 15
    reciprocal = ((1 << 30) + top) // (2 * top)
    return LayerSparsity(offset, reciprocal, multiplier, shift, 2 * top * rho - offset)


def _input(rng: Generator, size: int, a_format: QFormat, top: int) -> Input:
    return Input(
        features=tuple(f"feature {i}" for i in range(size)),
        a_format=a_format,
        a_top=top,
        decimals=_row(rng.integers(0, 9, size, endpoint=True)),
        offset=_row(corner_counts(rng, size)),
        multiplier=_row(np.where(rng.random(size) < 0.2, 65535, rng.integers(0, 65536, size))),
        shift=_row(rng.integers(0, 47, size, endpoint=True)),
    )


def _byte_model(rng: Generator, sizes: list[int], output: str, loss: str) -> IntModel:
    """Section 13: s8 weights, u8 activations, inference only."""
    depth = len(sizes) - 1
    previous = between(rng, 0, 15)
    input_ = _input(rng, sizes[0], QFormat(False, 8, previous), 255)
    layers = []
    for k in range(1, depth + 1):
        kind = output if k == depth else ("sigmoid", "relu")[pick(rng, (0, 1))]
        w_frac = between(rng, -8, 14)
        a_format, top, z_frac = QFormat(False, 8, 8), 255, 12
        if k == depth:
            a_format = QFormat(True, 16, between(rng, 4, 14))
            top = INT16_MAX if kind == "linear" else activation_top(kind, a_format.frac)
            if kind == "linear" and rng.random() < 0.5:
                top = log_between(rng, 1, INT16_MAX)
            z_frac = {"linear": a_format.frac, "softmax": between(rng, 5, 14)}.get(kind, 12)
        elif kind == "relu":
            z_frac = between(rng, 0, 15)
            a_format = QFormat(False, 8, z_frac)
        half = proof.rounding_half(w_frac + previous - z_frac)
        largest = INT32_MAX - half - sizes[k - 1] * 128 * 255
        b = [log_between(rng, 1, largest) * pick(rng, (-1, 1)) for _ in range(sizes[k])]
        if rng.random() < 0.2:
            b[0] = largest
        w = random_weights(rng, WEIGHT_STYLES[pick(rng, range(7))], (sizes[k], sizes[k - 1]), 8)
        layers.append(
            Dense(
                activation=kind,
                w_format=QFormat(True, 8, w_frac),
                z_format=QFormat(True, 16, z_frac),
                a_format=a_format,
                a_top=top,
                dz_frac=None,
                dz_top=None,
                frozen=False,
                sparsity=None,
                w=_rows(np.maximum(w, -127)),
                b=tuple(b),
            )
        )
        previous = a_format.frac
    return IntModel(input_, tuple(layers), loss, ("y",), (), None)


WEIGHT_STYLES = ("uniform", "small", "sparse", "ends", "lowest", "highest", "mixed")


def random_weights(
    rng: Generator, style: str, shape: Sequence[int], bits: int, middle: int | None = None
) -> IntArray:
    """Weights of `bits` bits; those of style "small" have magnitudes about `middle`."""
    end = 1 << (bits - 1)
    uniform = rng.integers(-end, end, shape)
    middle = middle or end >> 4
    small = np.clip(np.rint(rng.normal(0, middle, shape)), -end, end - 1).astype(np.int64)
    ends = rng.choice([-end, end - 1], shape)
    where = rng.random(shape)
    return {
        "uniform": uniform,
        "small": small,
        "sparse": np.where(where < 0.1, uniform, 0),
        "ends": ends,
        "lowest": np.full(shape, -end),
        "highest": np.full(shape, end - 1),
        "mixed": np.where(where < 0.8, small, np.where(where < 0.9, uniform, ends)),
    }[style]


def random_masters(rng: Generator, model: IntModel, bits: int) -> IntArray:
    """Masters of `bits` bits for every parameter, mostly of a size that lets a network work."""
    style = "small" if rng.random() < 0.5 else WEIGHT_STYLES[pick(rng, range(7))]
    middle = 1 << (bits - between(rng, 3, 7))
    return random_weights(rng, style, (model.parameter_count,), bits, middle)


def random_inputs(rng: Generator, model: IntModel, shape: tuple[int, ...]) -> IntArray:
    """a0 [..shape][n0]: samples at random, at the tops, sparse, and alternating signs."""
    top = model.input.a_top
    lowest = 0 if model.input.a_format.bits == 8 else -top
    n = (*shape, model.input.size)
    uniform = rng.integers(lowest, top, n, endpoint=True)
    style = rng.random(shape)[..., np.newaxis]
    ends = rng.choice([lowest, top], n)
    return np.where(
        style < 0.6,
        uniform,
        np.where(
            style < 0.7,
            top,
            np.where(
                style < 0.8,
                lowest,
                np.where(style < 0.9, ends, np.where(rng.random(n) < 0.2, uniform, 0)),
            ),
        ),
    )


def random_targets(rng: Generator, model: IntModel, shape: tuple[int, ...]) -> IntArray:
    """t [..shape][nL]: one-hot, inside the output's range, and anything s16 can be."""
    one = 1 << model.output.a_format.frac
    n = (*shape, model.output.outputs)
    style = rng.random(shape)[..., np.newaxis]
    hot = np.arange(n[-1]) == rng.integers(0, n[-1], (*shape, 1))
    inside = rng.integers(0, one, n, endpoint=True)
    anything = rng.integers(-32768, 32768, n)
    ends = rng.choice([-32768, -32767, -1, 0, one, 32767], n)
    return np.where(
        style < 0.4,
        np.where(hot, one, 0),
        np.where(style < 0.7, inside, np.where(style < 0.85, anything, ends)),
    )


def corner_counts(rng: Generator, size: int) -> IntArray:
    """Raw counts: any s32, its ends, and numbers of every magnitude."""
    magnitude = rng.integers(0, 32, size)
    some = rng.integers(-(2**31), 2**31, size) >> magnitude
    return np.where(rng.random(size) < 0.2, rng.choice([-(2**31), 2**31 - 1, 0], size), some)


def random_rates(rng: Generator, model: IntModel) -> tuple[LearningRate, ...]:
    """A learning rate for each segment, spread over all shifts that the model allows."""
    exponents = ranges.solvable_exponents(model)
    by_shift: dict[int, list[int]] = {}
    for e in exponents:
        for shift in shifts(model, e):
            by_shift.setdefault(shift, []).append(e)
    order = [by_shift[shift] for shift in rng.permutation(sorted(by_shift))]
    return tuple(
        LearningRate(
            32768 if rng.random() < 0.4 else 2 * between(rng, 8192, 16383) + 1,
            pick(rng, order[i % len(order)]),
        )
        for i in range(SEGMENTS)
    )


def shifts(model: IntModel, exponent: int) -> set[int]:
    """The shifts S that the learning layers use for a learning rate of 2^-exponent."""
    found = set()
    for k in range(1, len(model.layers) + 1):
        alignment = model.alignment(k, exponent) if model.learns(k) else None
        if alignment:
            found.add(alignment[0])
    return found


def _row(values: IntArray) -> tuple[int, ...]:
    return tuple(values.tolist())


def _rows(values: IntArray) -> tuple[tuple[int, ...], ...]:
    return tuple(_row(row) for row in values)

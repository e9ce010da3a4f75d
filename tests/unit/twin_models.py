"""Integer models for the tests of the twin: drawn, worked by hand, or of one unit."""

import math
from dataclasses import replace
from typing import Any

import numpy as np

from bpgen.model import Dense, Input, IntModel, IntTraining, LayerSparsity, LearningRate, Sparsity
from bpgen.qformat import QFormat
from tests.unit.scalar_network import FM_EXTRA, SQUASHING, TANH_KINDS

SUITE_SEED = 22


def top_of(kind: str, frac: int, chosen: int = 32767) -> int:
    tops = {
        "sigmoid": 2**frac - 1,
        "tanh": 2**frac - 1,
        "tanh_opt": math.floor(1.7159 * 2**frac + 0.5),
        "softmax": 2**frac,
    }
    return int(tops.get(kind, chosen))


def layer_sparsity(kind: str, frac: int, target: int, multiplier: int, shift: int) -> LayerSparsity:
    top = top_of(kind, frac)
    if kind == "sigmoid":
        return LayerSparsity(0, 2 ** (30 - frac), multiplier, shift, target * 2**frac)
    offset = top * 2**15
    reciprocal = math.floor(2**30 / (2 * top) + 0.5)
    return LayerSparsity(offset, reciprocal, multiplier, shift, 2 * top * target - offset)


def make_model(
    random: np.random.Generator,
    *,
    sizes: tuple[int, ...] = (3, 5, 2, 4),
    kinds: tuple[str, ...] = ("sigmoid", "sigmoid", "sigmoid"),
    loss: str = "squared_error",
    a_frac: tuple[int, ...] = (12, 12, 12, 12),
    input_top: int = 4095,
    chosen_top: int = 20000,
    w_frac: tuple[int, ...] = (11, 11, 11),
    dz_frac: tuple[int, ...] = (15, 15, 15),
    dz_top: int = 32767,
    softmax_z_frac: int = 10,
    spread: int = 6000,
    update: str = "residual",
    rate: LearningRate | None = None,
    decay: int = 0,
    momentum: int = 58982,
    sparsity: Sparsity | None = None,
    sparsity_shift: int | None = None,
    frozen: tuple[int, ...] = (),
) -> IntModel:
    """A net with random parameters within +-spread, or each -32768 or 32767 for spread 0."""

    def drawn(*shape: int) -> Any:
        if spread:
            return random.integers(-spread, spread, shape, endpoint=True).tolist()
        return random.choice([-32768, 32767], shape).tolist()

    def sparsity_of(k: int) -> LayerSparsity:
        assert sparsity
        shift = 22 - dz_frac[k - 1] if sparsity_shift is None else sparsity_shift
        return layer_sparsity(kinds[k - 1], a_frac[k], sparsity.target, 20000 + k, shift)

    layers = []
    for k in range(1, len(sizes)):
        kind, frac = kinds[k - 1], a_frac[k]
        z_frac = {"relu": frac, "linear": frac, "softmax": softmax_z_frac}.get(kind, 12)
        sparse = sparsity and k < len(sizes) - 1 and kind in SQUASHING
        layers.append(
            Dense(
                activation=kind,
                w_format=QFormat(True, 16, w_frac[k - 1]),
                z_format=QFormat(True, 16, z_frac),
                a_format=QFormat(True, 16, frac),
                a_top=top_of(kind, frac, chosen_top),
                dz_frac=dz_frac[k - 1],
                dz_top=dz_top,
                frozen=k in frozen,
                sparsity=sparsity_of(k) if sparse else None,
                w=tuple(map(tuple, drawn(sizes[k], sizes[k - 1]))),
                b=tuple(drawn(sizes[k])),
            )
        )
    n = sizes[0]
    return IntModel(
        input=Input(
            features=tuple(f"x{i}" for i in range(n)),
            a_format=QFormat(True, 16, a_frac[0]),
            a_top=input_top,
            decimals=(2,) * n,
            offset=(-100,) * n,
            multiplier=(40000,) * n,
            shift=(9,) * n,
        ),
        layers=tuple(layers),
        loss=loss,
        targets=("y",),
        labels=(),
        training=IntTraining(
            update=update,
            learning_rate=rate or LearningRate(26215, 3),
            batch_size=5,
            momentum=momentum,
            decay=decay,
            seed=int(random.integers(0, 65536)),
            sparsity=sparsity,
        ),
    )


def exponents(model: IntModel) -> dict[int, set[int]]:
    """Each usable exponent with the shifts S that it gives the layers that learn."""
    learning = [k for k, layer in enumerate(model.layers, start=1) if not layer.frozen]
    usable = {}
    for exponent in range(-16, 32):
        found = [model.alignment(k, exponent) for k in learning]
        if all(pair is not None and pair[1] >= 0 for pair in found):
            usable[exponent] = {pair[0] for pair in found if pair is not None}
    return usable


def with_rate(model: IntModel, mantissa: int, exponent: int) -> IntModel:
    assert model.training is not None
    rate = LearningRate(mantissa, exponent)
    return replace(model, training=replace(model.training, learning_rate=rate))


OUTPUTS = [
    ("sigmoid", "squared_error", 15),
    ("sigmoid", "cross_entropy", 12),
    ("softmax", "cross_entropy", 12),
    ("linear", "squared_error", 12),
]


def random_model(random: np.random.Generator) -> tuple[IntModel, list[int]]:
    """Any model that the rules of docs/numbers.md allow, with the exponents that it can use."""
    for _ in range(1000):
        depth = int(random.integers(1, 4))
        sizes = tuple(random.integers(1, 6, depth + 1).tolist())
        output, loss, _ = OUTPUTS[int(random.integers(0, 4))]
        hidden = random.choice(["sigmoid", "tanh", "tanh_opt", "relu", "linear"], depth - 1)
        kinds = (*hidden.tolist(), output)
        a_frac = [int(random.integers(4, 16))]
        for k, kind in enumerate(kinds, start=1):
            lowest = 8 if kind in TANH_KINDS else 4
            highest = 14 if kind in TANH_KINDS or k == depth else 15
            a_frac.append(int(random.integers(lowest, highest, endpoint=True)))
        w_frac = random.integers(8, 15, depth).tolist()
        most = a_frac[-1] + (16 if (output, loss) == ("sigmoid", "squared_error") else 0)
        dz_frac = [int(random.integers(0, min(most, 24), endpoint=True))]
        for k in range(depth - 1, 0, -1):
            most = min(w_frac[k] + dz_frac[0] - 4, 24)
            dz_frac.insert(0, int(random.integers(0, most, endpoint=True)))
        sparse = max(dz_frac) <= 22 and random.integers(0, 2)
        frozen = [k for k in range(1, depth + 1) if not random.integers(0, 4)]
        model = make_model(
            random,
            sizes=sizes,
            kinds=kinds,
            loss=loss,
            a_frac=tuple(a_frac),
            input_top=int(random.integers(1, 32768)),
            chosen_top=int(random.integers(1, 32768)),
            w_frac=tuple(w_frac),
            dz_frac=tuple(dz_frac),
            dz_top=int(random.choice([32767, 21845, 1000])),
            softmax_z_frac=int(random.integers(5, 15)),
            spread=int(random.choice([0, 3000, 32767])),
            update=str(random.choice(list(FM_EXTRA))),
            decay=int(random.choice([0, 1, 300, 32767])),
            momentum=int(random.choice([0, 58982, 65535])),
            sparsity=Sparsity(int(random.choice([1, 1638, 32767])), int(random.choice([7, 655])))
            if sparse
            else None,
            frozen=tuple(frozen),
        )
        sums = zip(a_frac[:-1], w_frac, model.layers, strict=True)
        if any(below + w < layer.z_format.frac for below, w, layer in sums):
            continue
        if len(frozen) < depth and exponents(model):
            return model, sorted(exponents(model))
    raise AssertionError("no model drawn can learn")


def tiny_model(update: str, rate: LearningRate, w: int = 1000, decay: int = 0) -> IntModel:
    """One linear unit with one input: w s16q11, a0 and a1 q12, dz q12; S = 12 + e - fm + fu."""
    random = np.random.default_rng(SUITE_SEED)
    model = make_model(
        random,
        sizes=(1, 1),
        kinds=("linear",),
        a_frac=(12, 12),
        w_frac=(11,),
        dz_frac=(12,),
        update=update,
        rate=rate,
        decay=decay,
        momentum=32768,
    )
    return replace(model, layers=(replace(model.layers[0], w=((w,),), b=(0,)),))

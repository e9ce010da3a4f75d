"""
The twin against a second network written with plain Python ints from docs/numbers.md alone.

`Scalar` is that network: one sample, one network, one number at a time, with each layer updated as
soon as its deltas are passed on (section 10), where the twin first makes all deltas and then all
updates. It also asserts the widths that docs/numbers.md promises.
"""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from bpgen import lut
from bpgen.errors import BpgenError
from bpgen.model import (
    Dense,
    Input,
    IntModel,
    IntTraining,
    LayerSparsity,
    LearningRate,
    Sparsity,
)
from bpgen.qformat import QFormat
from bpgen.twin import Counters, Twin, derivative, quantize_input

SUITE_SEED = 22

S32_MAX = 2**31 - 1
COUNTERS = ("inputs", "activations", "deltas", "weights", "zero_updates")
FM_EXTRA = {"residual": 8, "stochastic": 0, "batch": 16, "momentum": 16}
TANH_KINDS = ("tanh", "tanh_opt")
SQUASHING = ("sigmoid", *TANH_KINDS)


# A second implementation


def rounded(x: int, shift: int) -> int:
    return (2 * x + (1 << shift)) // (1 << (shift + 1))


def fits(x: int, bits: int) -> int:
    assert -(2 ** (bits - 1)) <= x < 2 ** (bits - 1), f"{x} does not fit s{bits}"
    return x


class Scalar:
    """One network on Python ints; every list is indexed by layer number, index 0 unused."""

    def __init__(self, model: IntModel, seed: int | None = None) -> None:
        self.model = model
        training = model.training
        assert training is not None
        self.training = training
        self.update = training.update
        self.layers: list[Any] = [None, *model.layers]
        self.last = len(model.layers)
        self.f = [model.input.a_format.frac, *(layer.a_format.frac for layer in model.layers)]
        self.top = [model.input.a_top, *(layer.a_top for layer in model.layers)]
        self.w: list[Any] = [None, *([list(row) for row in layer.w] for layer in model.layers)]
        self.b: list[Any] = [None, *(list(layer.b) for layer in model.layers)]
        self.w_low = [self._zeros(k) for k in range(self.last + 1)]
        self.b_low: list[Any] = [None, *([0] * layer.outputs for layer in model.layers)]
        self.vw = [self._zeros(k) for k in range(self.last + 1)]
        self.vb: list[Any] = [None, *([0] * layer.outputs for layer in model.layers)]
        self.p: list[Any] = [None] * (self.last + 1)
        for k, layer in enumerate(model.layers, start=1):
            if layer.sparsity:
                self.p[k] = [layer.sparsity.initial_mean] * layer.outputs
        self.steps = 0
        self.seed = training.seed if seed is None else seed
        self.count = sum(layer.outputs * (layer.inputs + 1) for layer in model.layers)
        self.counted = dict.fromkeys(COUNTERS, 0)
        self.set_rate(training.learning_rate)

    def _zeros(self, k: int) -> Any:
        return [[0] * self.layers[k].inputs for _ in range(self.layers[k].outputs)] if k else None

    def set_rate(self, rate: LearningRate) -> None:
        """S and fu of section 8, found by trying all eight fractions."""
        self.m, self.e = rate.mantissa, rate.exponent
        self.shift: list[Any] = [None] * (self.last + 1)
        for k in range(1, self.last + 1):
            if self.layers[k].frozen:
                continue
            i = 0
            while self.top[k - 1] >= 2 ** (self.f[k - 1] + i):
                i += 1
            offset = self.layers[k].dz_frac + self.e
            offset -= self.layers[k].w_format.frac + FM_EXTRA[self.update]
            (fu,) = (fu for fu in range(8 - i, 16 - i) if (offset + fu) % 8 == 0)
            self.shift[k] = (offset + fu, fu)

    def clamp(self, counter: str | None, x: int, lowest: int, highest: int) -> int:
        y = min(max(x, lowest), highest)
        if counter and y != x:
            self.counted[counter] += 1
        return y

    def has_dz(self, k: int) -> bool:
        return any(not layer.frozen for layer in self.layers[1 : k + 1])

    def forward(self, a0: list[int]) -> list[list[int]]:
        a = [a0]
        for k in range(1, self.last + 1):
            layer, below, n = self.layers[k], self.f[k - 1], self.layers[k].inputs
            shift = layer.w_format.frac + below - layer.z_format.frac
            half = 2**shift // 2
            plain = 32768 * (n * self.top[k - 1] + 2**below) + half <= S32_MAX
            z = []
            for row, bias in zip(self.w[k], self.b[k], strict=True):
                acc = sum(w * x for w, x in zip(row, a[k - 1], strict=True)) + bias * 2**below
                if plain:
                    fits(acc + half, 32)
                sum_ = rounded(acc, shift)
                if layer.activation == "relu":
                    z.append(self.clamp("activations", max(sum_, 0), 0, layer.a_top))
                elif layer.activation == "linear":
                    z.append(self.clamp("activations", sum_, -layer.a_top, layer.a_top))
                else:
                    z.append(self.clamp("activations", sum_, -32767, 32767))
            a.append(self.activation(layer, z))
        return a

    @staticmethod
    def activation(layer: Dense, z: list[int]) -> list[int]:
        kind, frac = layer.activation, layer.a_format.frac
        if kind == "softmax":
            z_frac = layer.z_format.frac
            bits = lut.exponential_table(z_frac, frac).bits
            e = [exponential(max(z) - x, z_frac, bits) for x in z]
            total = sum(e)
            for x in e:
                assert x * 2**frac + total // 2 < 2**32
            return [(x * 2**frac + total // 2) // total for x in e]
        if kind in SQUASHING:
            bits = lut.activation_table(kind, frac).bits
            return [squashed(kind, x, frac, bits) for x in z]
        return z

    def derivative(self, k: int, a: int) -> tuple[int, int]:
        kind, frac, top = self.layers[k].activation, self.f[k], self.top[k]
        if kind == "sigmoid":
            product = a * (2**frac - a)
            if frac < 8:
                return product * 2 ** (16 - 2 * frac), 16
            return rounded(product, 2 * frac - 16), 16
        if kind == "tanh":
            return rounded((2**frac - a) * (2**frac + a), 2 * frac - 14), 14
        if kind == "tanh_opt":
            return rounded(rounded(top * top - a * a, 2 * frac - 14) * 25462, 16), 14
        return (1 if kind == "linear" or a > 0 else 0), 0

    def output_delta(self, y: list[int], t: list[int]) -> list[int]:
        layer, frac = self.layers[self.last], self.f[self.last]
        dz = []
        for a, target in zip(y, t, strict=True):
            e = fits(a - target, 17)
            if self.model.loss == "squared_error":
                d, g = self.derivative(self.last, a)
                value = rounded(fits(e * d, 32), frac + g - layer.dz_frac)
            else:
                value = rounded(e, frac - layer.dz_frac)
            dz.append(self.clamp("deltas", value, -layer.dz_top, layer.dz_top))
        return dz

    def hidden_delta(self, k: int, a: list[int], dz: list[int]) -> list[int]:
        layer, above = self.layers[k], self.layers[k + 1]
        shift = above.w_format.frac + above.dz_frac - layer.dz_frac - 4
        half = 2**shift // 2
        plain = above.dz_top <= (S32_MAX - half) // (32768 * above.outputs)
        c = self.sparsity(k, a) if self.p[k] and self.training.sparsity else [0] * len(a)
        result = []
        for i, x in enumerate(a):
            acc = sum(self.w[k + 1][j][i] * dz[j] for j in range(above.outputs))
            if plain:
                fits(acc + half, 32)
            s = self.clamp("deltas", rounded(acc, shift) + c[i], -(2**23 - 1), 2**23 - 1)
            d, g = self.derivative(k, x)
            value = rounded(fits(s * d, 41), 4 + g)
            result.append(self.clamp("deltas", value, -layer.dz_top, layer.dz_top))
        return result

    def sparsity(self, k: int, a: list[int]) -> list[int]:
        layer, whole = self.layers[k].sparsity, self.training.sparsity
        assert whole is not None
        rho, terms = whole.target, []
        for i, x in enumerate(a):
            mean = self.p[k][i]
            self.p[k][i] = fits(mean + rounded((x * 2**15 - mean) * whole.rate, 16), 32)
            q = rounded((self.p[k][i] + layer.offset) * layer.reciprocal, 30)
            q = min(max(q, 33), 32735)
            off = 32768 - q
            slope = ((32768 - rho) * 2**15 + off // 2) // off - (rho * 2**15 + q // 2) // q
            c = rounded(slope * layer.multiplier, layer.shift)
            terms.append(min(max(c, -(2**23 - 1)), 2**23 - 1))
        return terms

    def place(self, k: int, j: int, i: int | None) -> int:
        """Index in canonical order of w{k}[j][i], or of b{k}[j] for i None."""
        layer = self.layers[k]
        before: int = sum(below.outputs * (below.inputs + 1) for below in self.layers[1:k])
        if i is None:
            return int(before + layer.outputs * layer.inputs + j)
        return int(before + j * layer.inputs + i)

    def change(self, product: int, shift: int, r: int) -> int:
        fits(product, 32)
        if shift == -8:
            dw = min(max(product * 256, -(2**31)), S32_MAX)
        elif shift == 0:
            dw = product
        elif self.update == "stochastic":
            dw = (product + r * 2**shift // 2**16) // 2**shift
        else:
            dw = rounded(product, shift)
        if product and not dw:
            self.counted["zero_updates"] += 1
        return dw

    def updated(self, k: int, j: int, i: int | None, product: int) -> None:
        is_bias = i is None
        w = self.b[k] if is_bias else self.w[k][j]
        low = self.b_low[k] if is_bias else self.w_low[k][j]
        v = self.vb[k] if is_bias else self.vw[k][j]
        at = j if i is None else i
        index = self.place(k, j, i)
        r = (self.seed + 40503 * (index + (self.count | 1) * self.steps)) % 2**16
        dw = self.change(product, self.shift[k][0], r)
        decay = 0 if is_bias else self.training.decay
        if self.update == "residual":
            master = w[at] * 256 + low[at]
            master = self.s24(master - rounded(w[at] * decay, 16))
            master = self.s24(master + dw)
            w[at], low[at] = master // 256, master % 256
        elif self.update == "stochastic":
            shrink = (w[at] * decay + r * 2**8) // 2**24
            master = self.clamp("weights", w[at] - shrink, -(2**15), 2**15 - 1)
            w[at] = self.clamp("weights", master + dw, -(2**15), 2**15 - 1)
        else:
            v[at] = self.s32(v[at] + dw)

    def s24(self, x: int) -> int:
        return self.clamp("weights", x, -(2**23), 2**23 - 1)

    def s32(self, x: int) -> int:
        return self.clamp("weights", x, -(2**31), S32_MAX)

    def update_layer(self, k: int, a: list[int], dz: list[int]) -> None:
        fu, below = self.shift[k][1], self.f[k - 1]
        u = [x * 2 ** (fu - below) if fu >= below else rounded(x, below - fu) for x in a]
        for j, delta in enumerate(dz):
            g = fits(rounded(-self.m * delta, 15), 16)
            if self.m == 32768:
                assert g == -delta
            for i, x in enumerate(u):
                self.updated(k, j, i, g * fits(x, 16))
            self.updated(k, j, None, g * 2**fu)

    def train(self, a0: list[int], t: list[int]) -> None:
        a = self.forward(a0)
        dz = self.output_delta(a[self.last], t)
        for k in range(self.last, 0, -1):
            if not self.has_dz(k):
                break
            below = self.hidden_delta(k - 1, a[k - 1], dz) if k > 1 and self.has_dz(k - 1) else []
            if not self.layers[k].frozen:
                self.update_layer(k, a[k - 1], dz)
            dz = below
        if self.update in ("residual", "stochastic"):
            self.steps += 1

    def apply(self) -> None:
        for k in range(1, self.last + 1):
            if self.layers[k].frozen:
                continue
            for j in range(self.layers[k].outputs):
                for i in range(self.layers[k].inputs):
                    shrink = rounded(self.w[k][j][i] * self.training.decay, 8)
                    self.vw[k][j][i] = self.s32(self.vw[k][j][i] - shrink)
                    self.apply_one(self.w[k][j], self.w_low[k][j], self.vw[k][j], i)
                self.apply_one(self.b[k], self.b_low[k], self.vb[k], j)
        self.steps += 1

    def apply_one(self, w: list[int], low: list[int], v: list[int], at: int) -> None:
        if self.update == "batch":
            c = rounded(v[at], 16)
            w[at] = self.clamp("weights", w[at] + c, -(2**15), 2**15 - 1)
            v[at] -= c * 2**16
        else:
            master = self.s24(w[at] * 256 + low[at] + rounded(v[at], 8))
            w[at], low[at] = master // 256, master % 256
            v[at] = rounded(v[at] * self.training.momentum, 16)
        fits(v[at], 32)


def squashed(kind: str, z: int, frac: int, bits: int) -> int:
    """Section 4, with entries computed on the spot."""
    n, r = 2**bits, 15 - bits
    u = min(abs(z) * (2 if kind == "tanh" else 1), 32767)
    i, fr = u >> r, u % 2**r

    def entry(i: int) -> int:
        x = i * 8 / n
        if kind == "tanh_opt":
            return math.floor(2**15 * 1.7159 * math.tanh(2 * x / 3) + 0.5)
        return math.floor(2**16 / (1 + math.exp(-x)) + 0.5)

    p = entry(i) * 2**r + (entry(i + 1) - entry(i)) * fr
    assert 0 <= p < 2**27
    if kind == "sigmoid":
        y = rounded(p, 16 + r - frac)
        return int(min(y, 2**frac - 1) if z >= 0 else 2**frac - y)
    if kind == "tanh":
        y = min(rounded(2 * p - 2 ** (16 + r), 16 + r - frac), 2**frac - 1)
    else:
        y = min(rounded(p, 15 + r - frac), math.floor(1.7159 * 2**frac + 0.5))
    return int(y if z >= 0 else -y)


def exponential(d: int, z_frac: int, bits: int) -> int:
    """Section 5, with entries computed on the spot."""
    if d >= 8 * 2**z_frac:
        return 0
    n, r = 2**bits, z_frac + 3 - bits
    i, fr = d >> r, d % 2**r
    low, high = (math.floor(2**15 * math.exp(-x * 8 / n) + 0.5) for x in (i, i + 1))
    return rounded(low * 2**r - (low - high) * fr, r)


# Models


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


# Comparison


def nested(state: list[Any], copy: int) -> list[Any]:
    return [None if part is None else part[copy].tolist() for part in state]


def assert_same_state(twin: Twin, scalars: list[Scalar]) -> None:
    update = scalars[0].update
    learns = [not layer.frozen for layer in twin.model.layers]
    accumulates = update in ("batch", "momentum")
    for copy, scalar in enumerate(scalars):
        assert nested(twin.w, copy) == scalar.w[1:]
        assert nested(twin.b, copy) == scalar.b[1:]
        for state, expected, exists in (
            (twin.w_low, scalar.w_low, update in ("residual", "momentum")),
            (twin.b_low, scalar.b_low, update in ("residual", "momentum")),
            (twin.vw, scalar.vw, accumulates),
            (twin.vb, scalar.vb, accumulates),
        ):
            assert nested(state, copy) == [
                part if exists and learning else None
                for part, learning in zip(expected[1:], learns, strict=True)
            ]
        means = [mean if scalar.has_dz(k) else None for k, mean in enumerate(scalar.p[1:], start=1)]
        assert nested(twin.p, copy) == means
        assert twin.steps == scalar.steps
    for counter in COUNTERS:
        total = sum(scalar.counted[counter] for scalar in scalars)
        assert getattr(twin.counters, counter) == total, counter


def assert_trains_alike(
    model: IntModel,
    random: np.random.Generator,
    *,
    steps: int = 50,
    copies: int = 2,
    extreme: bool = False,
    batch: int = 5,
) -> Twin:
    """Train twin and scalars on the same samples and compare everything after every step."""
    twin = Twin(model, copies)
    twin.seed[:] = random.integers(0, 65536, copies)
    scalars = [Scalar(model, int(seed)) for seed in twin.seed]
    top, one = model.input.a_top, 2**model.output.a_format.frac
    for number in range(1, steps + 1):
        shape0, shape1 = (copies, model.sizes[0]), (copies, model.sizes[-1])
        if extreme:
            a0 = random.choice([-top, 0, top], shape0)
            t = random.choice([-32767, 32767], shape1)
        else:
            a0 = random.integers(-top, top, shape0, endpoint=True)
            t = random.integers(0, one, shape1, endpoint=True)
        twin.train(a0, t)
        for copy, scalar in enumerate(scalars):
            scalar.train(a0[copy].tolist(), t[copy].tolist())
        if number % batch == 0 and scalars[0].update in ("batch", "momentum"):
            twin.apply()
            for scalar in scalars:
                scalar.apply()
        assert_same_state(twin, scalars)
    return twin


ALIGNED = [
    (update, shift)
    for update in FM_EXTRA
    for shift in (-8, 0, 8, 16, 24)
    if shift >= 0 or update in ("batch", "momentum")
]


@pytest.mark.parametrize("decay", [0, 700])
@pytest.mark.parametrize(("update", "shift"), ALIGNED)
def test_every_update_equals_the_scalar_network_at_every_shift(
    update: str, shift: int, decay: int
) -> None:
    random = np.random.default_rng([SUITE_SEED, 1, shift + 8, decay])
    model = make_model(random, update=update, decay=decay)
    exponent = max(e for e, shifts in exponents(model).items() if shifts == {shift})
    assert_trains_alike(with_rate(model, 26215, exponent), random)


OUTPUTS = [
    ("sigmoid", "squared_error", 15),
    ("sigmoid", "cross_entropy", 12),
    ("softmax", "cross_entropy", 12),
    ("linear", "squared_error", 12),
]


@pytest.mark.parametrize(("output", "loss", "dz_frac"), OUTPUTS)
@pytest.mark.parametrize("hidden", ["sigmoid", "tanh", "tanh_opt", "relu", "linear"])
@pytest.mark.parametrize("update", FM_EXTRA)
def test_every_kind_of_layer_equals_the_scalar_network(
    update: str, hidden: str, output: str, loss: str, dz_frac: int
) -> None:
    random = np.random.default_rng([SUITE_SEED, 2])
    model = make_model(
        random,
        kinds=(hidden, hidden, output),
        loss=loss,
        dz_frac=(13, 13, dz_frac),
        update=update,
    )
    usable = sorted(exponents(model))
    assert_trains_alike(with_rate(model, 32768, usable[len(usable) // 2]), random, copies=1)


@pytest.mark.parametrize("kind", SQUASHING)
@pytest.mark.parametrize("update", FM_EXTRA)
def test_sparsity_equals_the_scalar_network(update: str, kind: str) -> None:
    random = np.random.default_rng([SUITE_SEED, 3])
    model = make_model(
        random, kinds=(kind, kind, "sigmoid"), update=update, sparsity=Sparsity(1638, 655)
    )
    usable = sorted(exponents(model))
    assert_trains_alike(with_rate(model, 26215, usable[len(usable) // 2]), random)


@pytest.mark.parametrize("shift", [0, 7, 16])
@pytest.mark.parametrize("kind", SQUASHING)
def test_sparsity_at_its_ends_equals_the_scalar_network(kind: str, shift: int) -> None:
    """Units always on or always off, a mean that follows at once, terms that saturate or do not."""
    random = np.random.default_rng([SUITE_SEED, 21])
    model = make_model(
        random,
        kinds=(kind, kind, "sigmoid"),
        spread=0,
        sparsity=Sparsity(16384, 65535),
        sparsity_shift=shift,
    )
    twin = assert_trains_alike(model, random, extreme=True)
    assert shift == 16 or twin.counters.deltas > 0


@pytest.mark.parametrize(
    "frozen", [(1,), (2,), (3,), (1, 2), (1, 3), (2, 3)], ids=lambda ks: "-".join(map(str, ks))
)
@pytest.mark.parametrize("update", FM_EXTRA)
def test_frozen_layers_equal_the_scalar_network_and_keep_their_weights(
    update: str, frozen: tuple[int, ...]
) -> None:
    random = np.random.default_rng([SUITE_SEED, 4])
    model = make_model(random, update=update, frozen=frozen, sparsity=Sparsity(1638, 655))
    usable = sorted(exponents(model))
    twin = assert_trains_alike(with_rate(model, 26215, usable[len(usable) // 2]), random)
    for k in frozen:
        assert nested(twin.w, 0)[k - 1] == [list(row) for row in model.layers[k - 1].w]


@pytest.mark.parametrize("hidden", ["sigmoid", "tanh_opt", "relu", "linear"])
@pytest.mark.parametrize("update", FM_EXTRA)
def test_weights_inputs_and_targets_at_their_ends_equal_the_scalar_network(
    update: str, hidden: str
) -> None:
    random = np.random.default_rng([SUITE_SEED, 5])
    model = make_model(
        random,
        kinds=(hidden, hidden, "linear"),
        input_top=32767,
        chosen_top=32767,
        w_frac=(8, 8, 8),
        dz_frac=(8, 8, 8),
        update=update,
        spread=0,
        decay=32767,
        momentum=65535,
    )
    exponent = min(exponents(model))
    twin = assert_trains_alike(with_rate(model, 32767, exponent), random, extreme=True)
    assert twin.counters.activations > 0
    assert twin.counters.deltas > 0
    assert twin.counters.weights > 0


@pytest.mark.parametrize("case", range(60), ids=lambda case: f"case{case}")
def test_a_random_network_equals_the_scalar_network(case: int) -> None:
    random = np.random.default_rng([SUITE_SEED, 6, case])
    model, usable = random_model(random)
    exponent = int(random.choice(usable))
    mantissa = int(random.choice([32768, 16385, int(random.integers(8193, 16384)) * 2 + 1]))
    assert_trains_alike(
        with_rate(model, mantissa, exponent),
        random,
        steps=20,
        extreme=bool(random.integers(0, 2)),
        batch=int(random.integers(1, 6)),
    )


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


# Rules worked by hand


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


def test_a_residual_step_has_the_bits_worked_by_hand() -> None:
    # z = round(1000 * 3000, 11) = 1465; dz = 1465 - 1000 = 465; fm = 19, e = 3, fu = 12, S = 8.
    # M = 256000 + round(-465 * 3000, 8) = 256000 - 5449 = 250551 = 978 * 256 + 183.
    # b: round(-465 * 4096, 8) = -7440 = -30 * 256 + 240.
    twin = Twin(tiny_model("residual", LearningRate(32768, 3)))
    twin.train([[3000]], [[1000]])
    assert (twin.w[0].item(), twin.b[0].item()) == (978, -30)
    assert twin.parameters().tolist() == [[250551, -7440]]
    assert twin.parameter_bytes() == (250551).to_bytes(3, "little") + (2**24 - 7440).to_bytes(
        3, "little"
    )


def test_a_stochastic_step_has_the_bits_worked_by_hand() -> None:
    # fm = 11, e = 3, fu = 12, S = 16. r = seed for w, seed + 40503 for b (index 1, no steps yet).
    # w: (-465 * 3000 + 20000) >> 16 = -21; b: (-465 * 4096 + 60503) >> 16 = -29.
    twin = Twin(tiny_model("stochastic", LearningRate(32768, 3)))
    twin.seed[:] = 20000
    twin.train([[3000]], [[1000]])
    assert twin.parameters().tolist() == [[979, -29]]
    assert twin.parameter_bytes() == (979).to_bytes(2, "little") + (2**16 - 29).to_bytes(
        2, "little"
    )


def test_a_batch_has_the_bits_worked_by_hand() -> None:
    # fm = 27, e = 3, fu = 12, S = 0: vw = -465 * 3000 = -1395000, twice the same sample.
    # c = round(-2790000, 16) = -43, vw = -2790000 + 43 * 65536 = 28048.
    twin = Twin(tiny_model("batch", LearningRate(32768, 3)))
    twin.train([[3000]], [[1000]])
    twin.train([[3000]], [[1000]])
    assert twin.w[0].item() == 1000
    assert twin.steps == 0
    twin.apply()
    assert twin.w[0].item() == 957
    vw = twin.vw[0]
    assert vw is not None
    assert vw.item() == 28048
    assert twin.steps == 1


def test_momentum_has_the_bits_worked_by_hand() -> None:
    # vw = -1395000; M = 256000 + round(vw, 8) = 256000 - 5449; vw * 1/2 = -697500.
    twin = Twin(tiny_model("momentum", LearningRate(32768, 3)))
    twin.train([[3000]], [[1000]])
    twin.apply()
    assert twin.parameters()[0, 0] == 250551
    vw = twin.vw[0]
    assert vw is not None
    assert vw.item() == -697500


def test_decay_has_the_bits_worked_by_hand_and_leaves_the_bias_alone() -> None:
    # A sample without error: M = 256000 - round(1000 * 16384, 16) = 255750.
    twin = Twin(tiny_model("residual", LearningRate(32768, 3), decay=16384))
    twin.train([[3000]], [[1465]])
    assert twin.parameters().tolist() == [[255750, 0]]


def test_a_power_of_two_learning_rate_gives_exactly_minus_dz() -> None:
    # S is 0 and fu is 12, so the bias' accumulator moves by g * 2^12.
    dz = np.array([-32767, -32766, -3, -1, 0, 1, 2, 3, 32766, 32767])
    model = tiny_model("batch", LearningRate(32768, 3))
    assert model.alignment(1, 3) == (0, 12)
    twin = Twin(model, len(dz))
    twin.step([np.zeros((len(dz), 1), dtype=np.int64)], [dz[:, np.newaxis]])
    vb = twin.vb[0]
    assert vb is not None
    assert vb[:, 0].tolist() == (-dz * 2**12).tolist()


@pytest.mark.parametrize("mantissa", [16385, 26215, 32767])
def test_an_odd_mantissa_ties_at_a_single_dz(mantissa: int) -> None:
    """So g of dz and of -dz are opposite, and nothing drifts, but where |dz| is 16384."""
    dz = np.arange(1, 32768)
    tied = mantissa * dz % 2**15 == 2**14
    assert dz[tied].tolist() == [16384]


def test_the_accumulator_keeps_the_rest_when_the_change_exceeds_s16() -> None:
    # round(2^31 - 1, 16) = 32768, one more than an s16 holds; the rest is -1.
    twin = Twin(tiny_model("batch", LearningRate(32768, 3), w=-5))
    vw = twin.vw[0]
    assert vw is not None
    vw[...] = 2**31 - 1
    twin.apply()
    assert twin.w[0].item() == 32763
    assert vw.item() == -1


# Losses, inputs and inference


@pytest.mark.parametrize(("output", "loss", "_"), OUTPUTS)
def test_the_integer_loss_is_the_loss(output: str, loss: str, _: int) -> None:
    random = np.random.default_rng([SUITE_SEED, 7])
    model = make_model(random, kinds=("sigmoid", "sigmoid", output), loss=loss)
    twin = Twin(model)
    y = random.integers(1, 4096, (100, 4))
    t = random.integers(0, 4097, (100, 4))
    real_y, real_t = y / 4096, t / 4096
    if loss == "squared_error":
        expected = 0.5 * ((real_y - real_t) ** 2).sum(axis=1)
    else:
        expected = -(real_t * np.log(real_y)).sum(axis=1)
        if output == "sigmoid":
            expected -= ((1 - real_t) * np.log(1 - real_y)).sum(axis=1)
    actual = np.ldexp(twin.losses(y, t).astype(float), -twin.loss_frac)
    np.testing.assert_allclose(actual, expected, atol=1e-3 if loss == "cross_entropy" else 1e-12)


def test_the_loss_has_the_bits_worked_by_hand() -> None:
    # nl(2048) = 1 * 45426 at fa = 12; nl(4096) = 0.
    random = np.random.default_rng([SUITE_SEED, 8])
    twin = Twin(make_model(random, kinds=("sigmoid", "sigmoid", "softmax"), loss="cross_entropy"))
    y = np.array([[2048, 4096, 1, 0]])
    assert twin.losses(y, [[4096, 4096, 0, 0]]).tolist() == [4096 * 45426]
    assert twin.losses(y, [[0, 0, 1, 1]]).tolist() == [2 * 12 * 45426]


def test_raw_counts_become_inputs_and_clips_are_counted() -> None:
    # round((c + 100) * 40000, 9): 0 -> 7812.5 -> 7813, clamped to 4095; -50 -> 3906.25; -100 -> 0.
    random = np.random.default_rng([SUITE_SEED, 9])
    twin = Twin(make_model(random))
    counts = [[0, -50, -100], [-(2**31), 2**31 - 1, -99]]
    a0 = twin.quantize_input(counts)
    assert a0.tolist() == [[4095, 3906, 0], [-4095, 4095, 78]]
    assert twin.counters == Counters(inputs=3)
    assert quantize_input(twin.model, counts).tolist() == a0.tolist()


def test_an_s8_network_has_the_bits_worked_by_hand() -> None:
    # Layer 1, relu: shift 6 + 8 - 8 = 6; round(1000 + 100 * 255 - 127 * 10, 6) = 394 -> 255.
    # Layer 2, linear: shift -8 + 8 - 4 = -4; (5 - 2 * 255) * 2^4 = -8080.
    u8q8, s16q4 = QFormat(False, 8, 8), QFormat(True, 16, 4)
    model = IntModel(
        input=Input(("p", "q"), u8q8, 255, (0, 0), (0, 0), (1, 1), (0, 0)),
        layers=(
            byte_layer("relu", 6, u8q8, u8q8, 255, ((100, -127),), (1000,)),
            byte_layer("linear", -8, s16q4, s16q4, 9000, ((-2,),), (5,)),
        ),
        loss="squared_error",
        targets=("y",),
        labels=(),
        training=None,
    )
    twin = Twin(model)
    assert twin.quantize_input([[300, 10]]).tolist() == [[255, 10]]
    assert twin.counters.inputs == 1
    assert [a.tolist() for a in twin.forward([[255, 10]])] == [[[255, 10]], [[255]], [[-8080]]]
    assert twin.counters.activations == 1
    with pytest.raises(BpgenError, match="can only infer"):
        twin.backward(twin.forward([[255, 10]]), [[0]])
    with pytest.raises(BpgenError, match="no masters"):
        twin.parameter_bytes()


def byte_layer(
    kind: str,
    w_frac: int,
    z_format: QFormat,
    a_format: QFormat,
    a_top: int,
    w: tuple[tuple[int, ...], ...],
    b: tuple[int, ...],
) -> Dense:
    z_format = QFormat(True, 16, z_format.frac)
    w_format = QFormat(True, 8, w_frac)
    return Dense(kind, w_format, z_format, a_format, a_top, None, None, False, None, w, b)


def test_an_s8_sigmoid_reaches_255() -> None:
    u8q8 = QFormat(False, 8, 8)
    s16q12 = QFormat(True, 16, 12)
    model = IntModel(
        input=Input(("p",), u8q8, 255, (0,), (0,), (1,), (0,)),
        layers=(
            byte_layer("sigmoid", 4, s16q12, u8q8, 255, ((127,), (-127,)), (0, 0)),
            byte_layer("linear", 4, s16q12, s16q12, 32767, ((1, 0),), (0,)),
        ),
        loss="squared_error",
        targets=("y",),
        labels=(),
        training=None,
    )
    assert Twin(model).forward([[255]])[1].tolist() == [[255, 0]]


def test_many_samples_through_one_network_equal_one_by_one() -> None:
    random = np.random.default_rng([SUITE_SEED, 10])
    model = make_model(
        random, kinds=("tanh", "relu", "softmax"), loss="cross_entropy", dz_frac=(13, 13, 12)
    )
    twin = Twin(model)
    a0 = random.integers(-4095, 4096, (40, 3))
    t = random.integers(0, 4097, (40, 4))
    a = twin.forward(a0)
    dz = twin.backward(a, t)
    gradient = twin.gradient(a, dz)
    for n in range(40):
        one = twin.forward(a0[n : n + 1])
        one_dz = twin.backward(one, t[n : n + 1])
        one_gradient = twin.gradient(one, one_dz)
        for k in range(3):
            assert np.array_equal(a[k + 1][n], one[k + 1][0])
            whole, part = dz[k], one_dz[k]
            assert whole is not None
            assert part is not None
            assert np.array_equal(whole[n], part[0])
            whole_pair, part_pair = gradient[k], one_gradient[k]
            assert whole_pair is not None
            assert part_pair is not None
            assert np.array_equal(whole_pair[0][n], part_pair[0][0])
            assert np.array_equal(whole_pair[1][n], part_pair[1][0])
    assert twin.predict(a0).tolist() == a[-1].argmax(axis=1).tolist()


def test_the_gradient_is_the_outer_product_in_its_layers_fraction() -> None:
    random = np.random.default_rng([SUITE_SEED, 11])
    twin = Twin(make_model(random, frozen=(1,)))
    a = twin.forward(random.integers(-4095, 4096, (1, 3)))
    dz = twin.backward(a, random.integers(0, 4097, (1, 4)))
    gradient = twin.gradient(a, dz)
    assert dz[0] is None
    assert gradient[0] is None
    for k in (2, 3):
        delta, pair = dz[k - 1], gradient[k - 1]
        assert delta is not None
        assert pair is not None
        assert pair[0].tolist() == [np.outer(delta[0], a[k - 1][0]).tolist()]
        assert pair[1].tolist() == (delta * 4096).tolist()


@pytest.mark.parametrize("kind", ["sigmoid", "tanh", "tanh_opt"])
def test_a_derivative_is_within_its_rounding_of_the_real_one(kind: str) -> None:
    # Two roundings to q14 and the q16 constant for tanh_opt, one rounding for the others.
    for frac in range(8, 15):
        top = top_of(kind, frac)
        a = np.arange(0 if kind == "sigmoid" else -top, top + 1)
        x = a / 2.0**frac
        real_top = top / 2.0**frac
        exact = {
            "sigmoid": np.ldexp(x * (1 - x), 16),
            "tanh": np.ldexp(1 - x * x, 14),
            "tanh_opt": np.ldexp(2 / 3 / 1.7159 * (real_top**2 - x * x), 14),
        }[kind]
        bound = 1.5 if kind == "tanh_opt" else 0.5
        assert np.abs(derivative(kind, a, frac, top) - exact).max() <= bound


def test_no_relu_sum_below_zero_counts_as_clipped() -> None:
    random = np.random.default_rng([SUITE_SEED, 12])
    model = make_model(
        random, sizes=(1, 2, 1), kinds=("relu", "linear"), a_frac=(12, 12, 12), chosen_top=100
    )
    hidden = replace(model.layers[0], w=((2048,), (-2048,)), b=(0, 0))
    output = replace(model.layers[1], w=((0, 0),), b=(0,))
    twin = Twin(replace(model, layers=(hidden, output)))
    assert twin.forward([[4000]])[1].tolist() == [[100, 0]]
    assert twin.counters == Counters(activations=1)


def test_softmax_outputs_sum_to_one_within_a_unit_each() -> None:
    random = np.random.default_rng([SUITE_SEED, 13])
    model = make_model(random, kinds=("sigmoid", "sigmoid", "softmax"), loss="cross_entropy")
    twin = Twin(model)
    z = random.integers(-32767, 32768, (1000, 4))
    assert np.abs(twin.activation(3, z).sum(axis=1) - 4096).max() <= 2
    assert twin.activation(3, np.array([[32767, -32767, -32767, -32767]])).tolist() == [
        [4096, 0, 0, 0]
    ]


# Plain sums


@pytest.mark.parametrize("sign", [-1, 1])
def test_the_widest_plain_sum_fits_int32_for_every_weight(sign: int) -> None:
    """At the largest n that section 3 calls plain, the worst weights there are stay in int32."""
    top, a_frac, half = 4095, 12, 2**10
    n = (S32_MAX - half - 32768 * 2**a_frac) // (32768 * top)
    random = np.random.default_rng([SUITE_SEED, 14])
    model = make_model(random, sizes=(n, 1), kinds=("sigmoid",), a_frac=(12, 12), dz_frac=(15,))
    bias = -32768 if sign < 0 else 32767
    layer = replace(model.layers[0], w=((-32768,) * n,), b=(bias,))
    model = replace(model, layers=(layer,))
    acc = sign * n * 32768 * top + bias * 2**a_frac
    assert abs(acc) + half <= S32_MAX
    assert abs(acc) + half + 32768 * top > S32_MAX
    twin = Twin(model)
    assert twin.z(1, np.full((1, n), -sign * top)).tolist() == [[sign * 32767]]
    assert_trains_alike(model, random, steps=3, copies=1, extreme=True)


# Counters


def test_a_vanishing_learning_rate_counts_updates_that_round_to_zero() -> None:
    random = np.random.default_rng([SUITE_SEED, 15])
    model = make_model(random, update="residual")
    usable = exponents(model)
    twin = Twin(with_rate(model, 32767, max(usable)))
    twin.train([[1, 0, 4095]], [[0, 4096, 0, 4096]])
    assert twin.counters.zero_updates > 0
    assert twin.counters.weights == 0


def test_a_weight_at_its_end_counts_each_clip() -> None:
    twin = Twin(tiny_model("residual", LearningRate(32768, 3), w=32767), copies=3)
    twin.set_parameters([2**23 - 1, 0])
    dz = np.full((3, 1), -32767)
    twin.step([np.full((3, 1), 4095), np.zeros((3, 1), dtype=np.int64)], [dz])
    assert twin.counters == Counters(weights=3)
    assert twin.parameters()[:, 0].tolist() == [2**23 - 1] * 3


def test_an_accumulator_at_its_end_counts_a_clip() -> None:
    twin = Twin(tiny_model("batch", LearningRate(32768, 3)))
    vw = twin.vw[0]
    assert vw is not None
    vw[...] = -(2**31)
    twin.step([np.array([[4095]])], [np.array([[32767]])])
    assert vw.item() == -(2**31)
    assert twin.counters.weights == 1


# State


def test_reset_returns_to_the_model() -> None:
    random = np.random.default_rng([SUITE_SEED, 16])
    model = make_model(random, update="momentum", sparsity=Sparsity(1638, 655))
    twin = Twin(model, 3)
    for _ in range(5):
        twin.train(random.integers(-4095, 4096, (3, 3)), random.integers(0, 4097, (3, 4)))
    twin.apply()
    twin.seed[:] = 1
    twin.reset()
    assert_same_state(twin, [Scalar(model) for _ in range(3)])
    assert model.training is not None
    assert twin.seed.tolist() == [model.training.seed] * 3


@pytest.mark.parametrize("update", FM_EXTRA)
def test_parameters_written_come_back_in_canonical_order(update: str) -> None:
    random = np.random.default_rng([SUITE_SEED, 17])
    model = make_model(random, update=update)
    twin = Twin(model, 2)
    bits = 24 if update in ("residual", "momentum") else 16
    end = 2 ** (bits - 1)
    masters = random.integers(-end, end, (2, model.parameter_count))
    twin.set_parameters(masters)
    assert np.array_equal(twin.parameters(), masters)
    low = bits - 16
    assert twin.w[0][1].tolist() == (masters[1, :15].reshape(5, 3) >> low).tolist()
    assert twin.b[0][1].tolist() == (masters[1, 15:20] >> low).tolist()
    size = bits // 8
    expected = b"".join(
        value.to_bytes(size, "little", signed=True) for value in masters[0].tolist()
    )
    assert twin.parameter_bytes() == expected


def test_the_bytes_of_the_parameters_leave_frozen_layers_out() -> None:
    random = np.random.default_rng([SUITE_SEED, 22])
    twin = Twin(make_model(random, frozen=(2,)))
    masters = twin.parameters()[0].tolist()
    learning = masters[: 5 * 4] + masters[5 * 4 + 2 * 6 :]
    assert twin.parameter_bytes() == b"".join(
        m.to_bytes(3, "little", signed=True) for m in learning
    )


def test_parameters_of_another_shape_or_range_are_refused() -> None:
    twin = Twin(tiny_model("stochastic", LearningRate(32768, 3)), 2)
    for masters in ([1], [1, 2, 3], [[1, 2]], [1, 32768], [-32769, 0]):
        with pytest.raises(BpgenError):
            twin.set_parameters(masters)
    assert twin.parameters().tolist() == [[1000, 0], [1000, 0]]


def test_weights_cannot_be_written_past_their_masters() -> None:
    twin = Twin(tiny_model("residual", LearningRate(32768, 3)))
    with pytest.raises(ValueError, match="read-only"):
        twin.w[0][...] = 0


def test_a_learning_rate_without_a_shift_is_refused_and_changes_nothing() -> None:
    model = tiny_model("residual", LearningRate(32768, 3))
    twin, other = Twin(model), Twin(model)
    with pytest.raises(BpgenError, match="layer 1 cannot use the learning rate"):
        twin.set_learning_rate(LearningRate(32768, 31))
    assert twin.learning_rate == LearningRate(32768, 3)
    for one in (twin, other):
        one.train([[3000]], [[1000]])
    assert np.array_equal(twin.parameters(), other.parameters())


def test_a_learning_rate_that_makes_the_bias_less_than_a_unit_is_refused() -> None:
    """Inputs up to 2048 put fu in -3..4, and section 8 has no 2^fu for a negative one."""
    model = tiny_model("residual", LearningRate(32768, 3))
    wide = replace(model.input, a_format=QFormat(True, 16, 4), a_top=32767)
    model = replace(model, input=wide)
    assert model.alignment(1, 8) is None
    assert model.alignment(1, 7) == (0, 0)
    with pytest.raises(BpgenError, match="layer 1 cannot use the learning rate"):
        Twin(with_rate(model, 32768, 8))
    Twin(with_rate(model, 32768, 7))


def test_a_learning_rate_set_at_run_time_equals_one_from_the_model() -> None:
    random = np.random.default_rng([SUITE_SEED, 18])
    model = make_model(random)
    later, sooner = Twin(model), Twin(with_rate(model, 30001, 6))
    later.set_learning_rate(LearningRate(30001, 6))
    for _ in range(5):
        a0, t = random.integers(-4095, 4096, (1, 3)), random.integers(0, 4097, (1, 4))
        later.train(a0, t)
        sooner.train(a0, t)
    assert np.array_equal(later.parameters(), sooner.parameters())


def test_training_takes_one_sample_for_each_network() -> None:
    random = np.random.default_rng([SUITE_SEED, 19])
    twin = Twin(make_model(random))
    with pytest.raises(ValueError, match="one sample each"):
        twin.train(np.zeros((2, 3)), np.zeros((2, 4)))


def test_backward_refuses_many_samples_when_sparsity_keeps_a_mean() -> None:
    random = np.random.default_rng([SUITE_SEED, 20])
    twin = Twin(make_model(random, sparsity=Sparsity(1638, 655)))
    a = twin.forward(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="one sample each"):
        twin.backward(a, np.zeros((2, 4)))


@pytest.mark.parametrize("update", ["residual", "stochastic"])
def test_an_update_without_batches_has_no_apply(update: str) -> None:
    with pytest.raises(ValueError, match="have no apply"):
        Twin(tiny_model(update, LearningRate(32768, 3))).apply()


def test_each_copy_has_its_own_dither() -> None:
    model = tiny_model("stochastic", LearningRate(32768, 3))
    twin = Twin(model, 64)
    twin.seed[:] = np.arange(64) * 1024
    samples: npt.NDArray[np.int64] = np.full((64, 1), 3000)
    twin.train(samples, np.full((64, 1), 1000))
    assert len(set(twin.parameters()[:, 0].tolist())) == 2

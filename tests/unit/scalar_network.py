"""
The second implementation that the twin is compared with, in plain Python ints from docs/numbers.md.

`Scalar` is one network that takes one sample, one number at a time, with each layer updated as
soon as its deltas are passed on (section 10), where the twin first makes all deltas and then all
updates. It also asserts the widths that docs/numbers.md promises.
"""

import math
from typing import Any

import numpy as np

from bpgen import lut
from bpgen.model import Dense, IntModel, LearningRate
from bpgen.twin import Twin

S32_MAX = 2**31 - 1
COUNTERS = ("inputs", "activations", "deltas", "weights", "zero_updates")

FM_EXTRA = {"residual": 8, "stochastic": 0, "batch": 16, "momentum": 16}

TANH_KINDS = ("tanh", "tanh_opt")

SQUASHING = ("sigmoid", *TANH_KINDS)


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

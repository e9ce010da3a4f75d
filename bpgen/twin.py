"""
The integer network, bit for bit: docs/numbers.md stated a second time, in NumPy.

`Twin` mirrors `FloatNet` with every tensor an int64 array of raws; the generated C is compared with
it for equality. Section numbers in this module are those of docs/numbers.md.

A twin holds `copies` independent networks of one model, each with its own parameters: axis 0 of
every array. Lists that begin at layer 1 hold layer k at index k - 1; the list `a` begins at layer
0. Internally a bias is the last column of its layer's weights, as the weight of an input that is 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from bpgen.errors import BpgenError
from bpgen.lut import activate, activation_table, exponential, exponential_table, negative_log
from bpgen.model import TABLE_ACTIVATIONS, IntModel, IntTraining, LearningRate
from bpgen.qformat import IntArray, round_shift

S16 = (-(2**15), 2**15 - 1)
S24 = (-(2**23), 2**23 - 1)
S32 = (-(2**31), 2**31 - 1)

# 2/3 / 1.7159 as u16q16 (section 7).
TANH_OPT_SLOPE = 25462

# The running mean on a scale of 0 to 1, u16q15, is held 33 units away from both ends (section 11).
MEAN_LOWEST, MEAN_HIGHEST = 33, 32735

WEYL = 40503


@dataclass
class Counters:
    """How often each thing of section 12 has happened, summed over all copies."""

    inputs: int = 0
    activations: int = 0
    deltas: int = 0
    weights: int = 0
    zero_updates: int = 0


def quantize_input(model: IntModel, counts: npt.ArrayLike) -> IntArray:
    """Turn raw counts [..][n0] into the input a0 (section 2)."""
    return np.clip(_scaled_input(model, counts), *_input_range(model))


def derivative(kind: str, a: IntArray, frac: int, top: int) -> IntArray:
    """
    Give the derivative of an activation in terms of its output a (section 7).

    The result has `derivative_frac(kind)` fraction bits.
    """
    if kind == "sigmoid":
        product = a * ((1 << frac) - a)
        if frac < 8:
            return product << (16 - 2 * frac)
        return round_shift(product, 2 * frac - 16)
    if kind == "tanh":
        return round_shift(((1 << frac) - a) * ((1 << frac) + a), 2 * frac - 14)
    if kind == "tanh_opt":
        v = round_shift(top * top - a * a, 2 * frac - 14)
        return round_shift(v * TANH_OPT_SLOPE, 16)
    if kind == "relu":
        return (a > 0).astype(np.int64)
    assert kind == "linear"
    return np.ones_like(a)


def derivative_frac(kind: str) -> int:
    """The fraction g of section 7."""
    return {"sigmoid": 16, "tanh": 14, "tanh_opt": 14}.get(kind, 0)


class Twin:
    """
    Run and train `copies` networks that begin as `model`.

    `learning_rate`, `decay` and `momentum` begin as the model's and belong to all copies, like
    `steps`; `seed` has one value a copy. `decay` and `momentum` may be assigned, `learning_rate`
    changes through `set_learning_rate`.

    Raises BpgenError when a layer cannot use the model's learning rate.
    """

    def __init__(self, model: IntModel, copies: int = 1) -> None:
        self.model = model
        self.copies = copies
        layers = range(1, len(model.layers) + 1)
        self._learns = [model.learns(k) for k in layers]
        self._has_dz = [model.has_dz(k) for k in layers]
        self._bytes = model.layers[0].w_format.bits == 8
        training = model.training
        self._update = training.update if training else "none"
        self._low_bits = 8 if self._update in ("residual", "momentum") else 0
        self._master_range = S24 if self._low_bits else S16
        self._accumulates = self._update in ("batch", "momentum")
        self.decay = training.decay if training else 0
        self.momentum = training.momentum if training else 0
        self._alignments: list[tuple[int, int] | None] = []
        if training:
            self.set_learning_rate(training.learning_rate)
        self._weyl = [WEYL * index for index in _canonical_indices(model)]
        self.reset()

    def reset(self) -> None:
        """Go back to the model's parameters, no steps, no counts and the model's seed."""
        training = self.model.training
        seed = training.seed if training else 0
        self.seed = np.full(self.copies, seed, dtype=np.int64)
        self.steps = 0
        self.counters = Counters()
        self._master: list[IntArray] = []
        self._v: list[IntArray | None] = []
        self.p: list[IntArray | None] = []
        for layer, learns, has_dz in zip(
            self.model.layers, self._learns, self._has_dz, strict=True
        ):
            start = np.column_stack((layer.w, layer.b)).astype(np.int64) << self._low_bits
            self._master.append(np.repeat(start[np.newaxis], self.copies, axis=0))
            velocity = learns and self._accumulates
            self._v.append(np.zeros_like(self._master[-1]) if velocity else None)
            mean = layer.sparsity.initial_mean if layer.sparsity and has_dz else None
            self.p.append(None if mean is None else np.full((self.copies, layer.outputs), mean))
        self._w = [master >> self._low_bits for master in self._master]

    @property
    def w(self) -> list[IntArray]:
        """The weights [copies][out][in] that forward and backward read, to be read only."""
        return [_read_only(w[..., :-1]) for w in self._w]

    @property
    def b(self) -> list[IntArray]:
        """The biases [copies][out] that forward reads, to be read only."""
        return [_read_only(w[..., -1]) for w in self._w]

    @property
    def w_low(self) -> list[IntArray | None]:
        """The low bytes of the weights' masters; None where there are none."""
        return [None if low is None else low[..., :-1] for low in self._low()]

    @property
    def b_low(self) -> list[IntArray | None]:
        """The low bytes of the biases' masters; None where there are none."""
        return [None if low is None else low[..., -1] for low in self._low()]

    @property
    def vw(self) -> list[IntArray | None]:
        """The accumulators of the weights, writable; None where there are none."""
        return [None if v is None else v[..., :-1] for v in self._v]

    @property
    def vb(self) -> list[IntArray | None]:
        """The accumulators of the biases, writable; None where there are none."""
        return [None if v is None else v[..., -1] for v in self._v]

    def _low(self) -> list[IntArray | None]:
        return [
            _read_only(master & 255) if learns and self._low_bits else None
            for master, learns in zip(self._master, self._learns, strict=True)
        ]

    @property
    def _training(self) -> IntTraining:
        if self.model.training is None:
            raise BpgenError(
                "this model can only infer: make one that can learn with 'bpgen quantize'."
            )
        return self.model.training

    def set_learning_rate(self, rate: LearningRate) -> None:
        """
        Use another learning rate from here on; L2's `decay` stays as it is.

        Raises BpgenError, and changes nothing, when some layer has no shift for it (section 8).
        """
        assert self._training
        alignments: list[tuple[int, int] | None] = []
        for k, learns in enumerate(self._learns, start=1):
            found = self.model.alignment(k, rate.exponent) if learns else None
            if learns and found is None:
                raise BpgenError(
                    f"layer {k} cannot use the learning rate {rate.value:g}: "
                    "choose one nearer to the rate that the model was made for."
                )
            alignments.append(found)
        self.learning_rate = rate
        self._alignments = alignments

    def quantize_input(self, counts: npt.ArrayLike) -> IntArray:
        """Turn raw counts [..][n0] into the input a0, and count what is clipped (section 2)."""
        a0 = _scaled_input(self.model, counts)
        return self._saturate("inputs", a0, *_input_range(self.model))

    def forward(self, a0: npt.ArrayLike) -> list[IntArray]:
        """
        Compute the activations a0, a1, ..., aL (section 3).

        `a0` is [copies][n0], a sample for each network, or any number of samples for one network.
        """
        a = [np.asarray(a0, dtype=np.int64)]
        for k in range(1, len(self.model.layers) + 1):
            a.append(self.activation(k, self.z(k, a[-1])))
        return a

    def z(self, k: int, a: IntArray) -> IntArray:
        """Sum what layer k reads, `a` being the previous activation (sections 3 and 13)."""
        layer = self.model.layers[k - 1]
        a_frac = self.model.previous(k).a_format.frac
        w, b = self._w[k - 1][..., :-1], self._w[k - 1][..., -1]
        acc = _matvec(w, a) + (b if self._bytes else b << a_frac)
        shift = layer.w_format.frac + a_frac - layer.z_format.frac
        z = round_shift(acc, shift) if shift >= 0 else acc << -shift
        if layer.activation == "relu":
            return self._saturate("activations", np.maximum(z, 0), 0, layer.z_top)
        return self._saturate("activations", z, -layer.z_top, layer.z_top)

    def activation(self, k: int, z: IntArray) -> IntArray:
        """Apply layer k's activation to its sums (sections 3, 4 and 5)."""
        layer = self.model.layers[k - 1]
        frac = layer.a_format.frac
        if layer.activation in TABLE_ACTIVATIONS:
            return _activations(layer.activation, frac)[z]
        if layer.activation == "softmax":
            table = exponential_table(layer.z_format.frac, frac)
            e = exponential(table, z.max(axis=-1, keepdims=True) - z, layer.z_format.frac)
            total = e.sum(axis=-1, keepdims=True)
            return np.asarray(((e << frac) + (total >> 1)) // total)
        return z

    def backward(self, a: list[IntArray], t: npt.ArrayLike) -> list[IntArray | None]:
        """
        Back-propagate to dz1..dzL; None for a layer below the first that learns (section 7).

        `a` is what `forward` gave, `t` the targets [..][nL]. With sparsity this also moves the
        running means (section 11), so it then takes one sample for each network.

        Raises BpgenError for a model that cannot learn, ValueError for samples that do not fit.
        """
        assert self._training
        if any(p is not None for p in self.p):
            self._require_one_sample_each(a)
        last = len(self.model.layers)
        dz: list[IntArray | None] = [None] * last
        delta = self._output_delta(a[last], np.asarray(t, dtype=np.int64))
        for k in range(last, 0, -1):
            if not self._has_dz[k - 1]:
                break
            if k < last:
                delta = self._hidden_delta(k, a[k], delta)
            dz[k - 1] = delta
        return dz

    def _output_delta(self, y: IntArray, t: IntArray) -> IntArray:
        layer = self.model.output
        dz_frac, dz_top = layer.dz_frac, layer.dz_top
        assert dz_frac is not None
        assert dz_top is not None
        frac = layer.a_format.frac
        e = y - t
        if self.model.loss == "squared_error":
            d = _derivatives(layer.activation, frac, layer.a_top)[y]
            dz = round_shift(e * d, frac + derivative_frac(layer.activation) - dz_frac)
        else:
            dz = round_shift(e, frac - dz_frac)
        return self._saturate("deltas", dz, -dz_top, dz_top)

    def _hidden_delta(self, k: int, a: IntArray, dz_above: IntArray) -> IntArray:
        layer, above = self.model.layers[k - 1], self.model.layers[k]
        dz_frac, dz_top = layer.dz_frac, layer.dz_top
        assert dz_frac is not None
        assert dz_top is not None
        assert above.dz_frac is not None
        acc = _matvec(self._w[k][..., :-1].swapaxes(-1, -2), dz_above)
        s = round_shift(acc, above.w_format.frac + above.dz_frac - dz_frac - 4)
        mean = self.p[k - 1]
        if mean is not None:
            s = s + self._sparsity_term(k, a, mean)
        s = self._saturate("deltas", s, -S24[1], S24[1])
        d = _derivatives(layer.activation, layer.a_format.frac, layer.a_top)[a]
        dz = round_shift(s * d, 4 + derivative_frac(layer.activation))
        return self._saturate("deltas", dz, -dz_top, dz_top)

    def _sparsity_term(self, k: int, a: IntArray, p: IntArray) -> IntArray:
        """Move layer k's running mean towards a, then give c of section 11."""
        layer, whole = self.model.layers[k - 1].sparsity, self._training.sparsity
        assert layer is not None
        assert whole is not None
        p = p + round_shift(((a << 15) - p) * whole.rate, 16)
        self.p[k - 1] = p
        q = round_shift((p + layer.offset) * layer.reciprocal, 30)
        q = np.minimum(np.maximum(q, MEAN_LOWEST), MEAN_HIGHEST)
        on, off = q, 32768 - q
        slope = (((32768 - whole.target) << 15) + (off >> 1)) // off
        slope = slope - ((whole.target << 15) + (on >> 1)) // on
        c = round_shift(slope * layer.multiplier, layer.shift)
        return np.minimum(np.maximum(c, -S24[1]), S24[1])

    def gradient(
        self, a: list[IntArray], dz: list[IntArray | None]
    ) -> list[tuple[IntArray, IntArray] | None]:
        """
        Give (dw, db) of each layer that has dz, [..][out][in] and [..][out] (section 7).

        Both are s32 with the fraction of dz plus that of the previous activation.
        """
        gradient: list[tuple[IntArray, IntArray] | None] = []
        for k, delta in enumerate(dz, start=1):
            if delta is None:
                gradient.append(None)
            else:
                dw = delta[..., :, np.newaxis] * a[k - 1][..., np.newaxis, :]
                gradient.append((dw, delta << self.model.previous(k).a_format.frac))
        return gradient

    def step(self, a: list[IntArray], dz: list[IntArray | None]) -> None:
        """
        Update the masters, or for batch and momentum the accumulators (section 8).

        Takes one sample for each network. Raises ValueError for any other number of samples.
        """
        self._require_one_sample_each(a)
        for k in range(len(self.model.layers), 0, -1):
            if self._learns[k - 1]:
                delta = dz[k - 1]
                assert delta is not None
                self._step_layer(k, a[k - 1], delta)
        if not self._accumulates:
            self.steps += 1

    def _step_layer(self, k: int, a: IntArray, dz: IntArray) -> None:
        alignment = self._alignments[k - 1]
        assert alignment is not None
        shift, u_frac = alignment
        g = round_shift(-self.learning_rate.mantissa * dz, 15)
        product = g[..., np.newaxis] * self._rescaled(k, a, u_frac)[..., np.newaxis, :]
        dither = self._dither(k) if self._update == "stochastic" else None
        if shift == -8:
            dw = np.minimum(np.maximum(product << 8, S32[0]), S32[1])
        elif dither is None:
            dw = round_shift(product, shift)
        else:
            dw = _dithered_shift(product, shift, dither)
        # Rounded or dithered, a product of 0 gives a dw of 0.
        self.counters.zero_updates += int(np.count_nonzero(product) - np.count_nonzero(dw))
        velocity = self._v[k - 1]
        if velocity is not None:
            velocity[...] = self._saturate("weights", velocity + dw, *S32)
            return
        master = self._master[k - 1]
        if self.decay:
            shrink = self._decayed(k)
            if dither is None:
                shrink = round_shift(shrink, 16)
            else:
                shrink = _dithered_shift(shrink, 24, dither)
            master = self._saturate("weights", master - shrink, *self._master_range)
        self._set_master(k, self._saturate("weights", master + dw, *self._master_range))

    def _rescaled(self, k: int, a: IntArray, u_frac: int) -> IntArray:
        """Layer k's input with the fraction fu, and behind it the 1 that the bias multiplies."""
        a_frac = self.model.previous(k).a_format.frac
        u = np.empty((self.copies, a.shape[-1] + 1), dtype=np.int64)
        u[:, :-1] = a << (u_frac - a_frac) if u_frac >= a_frac else round_shift(a, a_frac - u_frac)
        u[:, -1] = 1 << u_frac
        return u

    def _decayed(self, k: int) -> IntArray:
        """w * decay; 0 for a bias (section 8, L2)."""
        product = self._w[k - 1] * self.decay
        product[..., -1] = 0
        return product

    def _dither(self, k: int) -> IntArray:
        """r of section 9 for each parameter of layer k."""
        count = self.model.parameter_count
        moved = WEYL * (count | 1) * self.steps % 65536
        return (self._weyl[k - 1] + (self.seed + moved)[:, np.newaxis, np.newaxis]) & 65535

    def apply(self) -> None:
        """
        End a batch: move the accumulators' content into the masters (section 8).

        Raises ValueError for residual and stochastic updates, which have no batches.
        """
        if not self._accumulates:
            raise ValueError(f"{self._update} updates end with each sample and have no apply")
        for k, velocity in enumerate(self._v, start=1):
            if velocity is None:
                continue
            v, master = velocity, self._master[k - 1]
            if self.decay:
                v = self._saturate("weights", v - round_shift(self._decayed(k), 8), *S32)
            if self._update == "batch":
                change = round_shift(v, 16)
                rest = v - (change << 16)
            else:
                change = round_shift(v, 8)
                rest = round_shift(v * self.momentum, 16)
            self._set_master(k, self._saturate("weights", master + change, *self._master_range))
            velocity[...] = rest
        self.steps += 1

    def train(self, a0: npt.ArrayLike, t: npt.ArrayLike) -> None:
        """Learn from one sample for each network: a0 [copies][n0], t [copies][nL] (section 10)."""
        a = self.forward(a0)
        self.step(a, self.backward(a, t))

    @property
    def loss_frac(self) -> int:
        """The fraction of `losses`."""
        frac = self.model.output.a_format.frac
        return 2 * frac + 1 if self.model.loss == "squared_error" else frac + 16

    def losses(self, y: IntArray, t: npt.ArrayLike) -> IntArray:
        """Give the loss of each sample for outputs y and targets t [..][nL] (section 6)."""
        target = np.asarray(t, dtype=np.int64)
        if self.model.loss == "squared_error":
            return np.asarray(((y - target) ** 2).sum(axis=-1))
        frac = self.model.output.a_format.frac
        loss: IntArray = target * negative_log(y, frac)
        if self.model.output.activation == "sigmoid":
            loss = loss + ((1 << frac) - target) * negative_log((1 << frac) - y, frac)
        return np.asarray(loss.sum(axis=-1))

    def predict(self, a0: npt.ArrayLike) -> IntArray:
        """Give the class of each sample: the first of its largest outputs."""
        return np.asarray(self.forward(a0)[-1].argmax(axis=-1))

    def parameters(self) -> IntArray:
        """
        Give all masters [copies][count] in canonical order (section 1).

        A master is w * 256 + w_low, or w; of a frozen layer its w_low is 0.
        """
        return np.concatenate(
            [
                part.reshape(self.copies, -1)
                for master in self._master
                for part in (master[..., :-1], master[..., -1])
            ],
            axis=1,
        )

    def set_parameters(self, masters: npt.ArrayLike) -> None:
        """
        Replace all masters, given as `parameters` gives them, or as [count] for every copy.

        Accumulators, running means and steps stay. Raises BpgenError when there are too few or too
        many or one is out of range.
        """
        given = np.asarray(masters, dtype=np.int64)
        count = self.model.parameter_count
        if given.shape not in ((count,), (self.copies, count)):
            raise BpgenError(
                f"parameters of shape {given.shape} do not fit: "
                f"give {count} for each of {self.copies} networks."
            )
        lowest, highest = S32 if self._bytes else self._master_range
        if given.min() < lowest or given.max() > highest:
            raise BpgenError(f"a parameter is out of range: give {lowest}..{highest}.")
        given = np.broadcast_to(given, (self.copies, count))
        start = 0
        for k, layer in enumerate(self.model.layers, start=1):
            middle = start + layer.outputs * layer.inputs
            master = np.empty_like(self._master[k - 1])
            master[..., :-1] = given[:, start:middle].reshape(master[..., :-1].shape)
            start = middle + layer.outputs
            master[..., -1] = given[:, middle:start]
            self._set_master(k, master)

    def parameter_bytes(self) -> bytes:
        """
        Give copy 0's masters of the layers that learn as bytes, what a checksum covers.

        Canonical order, little-endian, 3 bytes for an s24, else 2. Frozen layers are left out: they
        are in flash, and the model's hash covers them.

        Raises BpgenError for a model with s8 weights, which has no masters.
        """
        if self._bytes:
            raise BpgenError("a model with s8 weights has no masters: use one that can learn.")
        parts = [np.empty(0, dtype=np.int64)]
        for master, learns in zip(self._master, self._learns, strict=True):
            if learns:
                parts += [master[0, :, :-1].ravel(), master[0, :, -1]]
        raw = np.concatenate(parts).astype("<i8").view(np.uint8).reshape(-1, 8)
        return bytes(raw[:, : 3 if self._low_bits else 2].tobytes())

    def _set_master(self, k: int, master: IntArray) -> None:
        self._master[k - 1] = master
        self._w[k - 1] = master >> self._low_bits

    def _saturate(self, counter: str, x: IntArray, lowest: int, highest: int) -> IntArray:
        """x clamped to [lowest, highest]; what that changes is counted (section 12)."""
        y = np.minimum(np.maximum(x, lowest), highest)
        clipped = int(np.count_nonzero(y != x))
        if clipped:
            setattr(self.counters, counter, getattr(self.counters, counter) + clipped)
        return y

    def _require_one_sample_each(self, a: list[IntArray]) -> None:
        if a[0].shape != (self.copies, self.model.input.size):
            raise ValueError(
                f"inputs have shape {a[0].shape}, but {self.copies} networks of "
                f"{self.model.input.size} inputs learn from one sample each"
            )


def _matvec(w: IntArray, x: IntArray) -> IntArray:
    """The exact product of each [out][in] with its own [in]; one matrix serves many vectors."""
    if len(w) == 1:
        return np.asarray(x @ w[0].swapaxes(-1, -2))
    return np.asarray((w @ x[..., np.newaxis])[..., 0])


def _dithered_shift(x: IntArray, shift: int, r: IntArray) -> IntArray:
    """shift(x, S) of section 9: r, aligned to the dropped bits, takes the place of the half."""
    if shift == 0:
        return x
    aligned = r >> (16 - shift) if shift <= 16 else r << (shift - 16)
    return (x + aligned) >> shift


def _scaled_input(model: IntModel, counts: npt.ArrayLike) -> IntArray:
    product = (np.asarray(counts, dtype=np.int64) - model.input.offset) * model.input.multiplier
    shift = np.asarray(model.input.shift, dtype=np.int64)
    return (product + ((1 << shift) >> 1)) >> shift


def _input_range(model: IntModel) -> tuple[int, int]:
    top = model.input.a_top
    return (-top if model.input.a_format.signed else 0, top)


def _canonical_indices(model: IntModel) -> list[IntArray]:
    """The place of each parameter in canonical order, a bias behind its layer's weights."""
    indices = []
    start = 0
    for layer in model.layers:
        index = np.empty((layer.outputs, layer.inputs + 1), dtype=np.int64)
        weights = layer.outputs * layer.inputs
        index[:, :-1] = start + np.arange(weights).reshape(layer.outputs, layer.inputs)
        index[:, -1] = start + weights + np.arange(layer.outputs)
        indices.append(index)
        start += layer.count
    return indices


def _all_s16() -> IntArray:
    """Every s16 at the index that it is, negative ones counting from the end."""
    return np.concatenate((np.arange(2**15), np.arange(-(2**15), 0)))


@cache
def _activations(kind: str, frac: int) -> IntArray:
    """Section 4's activation of every s16 z, at index z."""
    return _read_only(activate(kind, activation_table(kind, frac), _all_s16(), frac))


@cache
def _derivatives(kind: str, frac: int, top: int) -> IntArray:
    """Section 7's derivative for every s16 a, at index a."""
    return _read_only(derivative(kind, _all_s16(), frac, top))


def _read_only(array: IntArray) -> IntArray:
    view: IntArray = array.view()
    view.setflags(write=False)
    return view

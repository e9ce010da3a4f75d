"""
How far the integer twin may be from float arithmetic on the same weights, sample by sample.

`running` follows one batch through the float network and carries along, per element, a limit on
what quantisation can have changed: every rounding adds half a unit, every table its measured
error, and each formula of docs/numbers.md passes errors on by the triangle inequality and by the
monotonicity of its activation. Nothing is estimated and no factor is tuned, so one violation means
that an implementation does not follow the contract.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from bpgen import lut
from bpgen.floatnet import FloatArray, FloatNet, activate, derivative
from bpgen.model import INT16_MAX, TABLE_ACTIVATIONS, Dense, IntModel

# float64 itself: far above its own error on numbers of this size, far below any half unit here.
_FLOAT_SLACK = 2.0**-44


@dataclass(frozen=True, eq=False)
class Values:
    """
    a0..aL, and z, dz, dw and db of layers 1..L, all with a leading batch axis.

    dz, dw and db are None where a layer has no deltas.
    """

    a: list[FloatArray]
    z: list[FloatArray]
    dz: list[FloatArray | None]
    dw: list[FloatArray | None]
    db: list[FloatArray | None]


@dataclass(frozen=True, eq=False)
class Bounds:
    """
    The float `reference` and, element by element, the largest |twin - reference| as `limit`.

    `valid` [batch] tells where no clamp cut the reference itself; elsewhere the contract clips
    and the limit does not hold. A clamp that only cuts the twin moves it towards the reference.
    """

    reference: Values
    limit: Values
    valid: npt.NDArray[np.bool_]


def running(
    model: IntModel,
    w: Sequence[npt.ArrayLike],
    b: Sequence[npt.ArrayLike],
    a0: npt.ArrayLike,
    t: npt.ArrayLike,
) -> Bounds:
    """
    Bound the twin's error on one batch, in real values.

    `w` and `b` are the raws that forward and backward read, `w[k-1]` [out][in]; `a0` [batch][n0]
    and `t` [batch][nL] are raws as well. Activations and z are bounded for every model, gradients
    where the model learns.

    Raises ValueError for a model with sparsity: its deltas depend on a running mean.
    """
    if model.training is not None and model.training.sparsity is not None:
        raise ValueError("the running bound does not cover sparsity")
    net = dequantized(model, w, b)
    previous = model.input
    x = np.ldexp(np.asarray(a0, dtype=np.float64), -previous.a_format.frac)
    targets = np.ldexp(np.asarray(t, dtype=np.float64), -model.output.a_format.frac)
    forward = net.forward(x)
    valid = np.ones(len(x), dtype=np.bool_)
    ea, ez = [np.zeros_like(x)], []
    for k, layer in enumerate(model.layers):
        shift = layer.w_format.frac + model.previous(k + 1).a_format.frac - layer.z_format.frac
        ez.append(ea[-1] @ np.abs(net.w[k]).T + _half(layer.z_format.frac, shift) + _FLOAT_SLACK)
        z, a = forward.z[k], forward.a[k + 1]
        ea.append(_activation_error(layer, z, a, ez[-1]) + _FLOAT_SLACK)
        if layer.activation not in TABLE_ACTIVATIONS:
            top = layer.z_top * 2.0**-layer.z_format.frac
            # A z below relu's zero is clamped by intent.
            cut = z if layer.activation == "relu" else np.abs(z)
            valid &= (cut <= top).all(axis=1)
    count = len(model.layers)
    dz: list[FloatArray | None] = [None] * count
    edz: list[FloatArray | None] = [None] * count
    if model.training is not None:
        _backward(model, net, forward.a, forward.z, targets, ea, ez, dz, edz, valid)
    reference = Values(list(forward.a), list(forward.z), dz, [], [])
    limit = Values(ea, ez, edz, [], [])
    for k in range(count):
        delta, error, a, e = dz[k], edz[k], forward.a[k], ea[k]
        if delta is None or error is None:
            for values in (reference, limit):
                values.dw.append(None)
                values.db.append(None)
            continue
        reference.dw.append(delta[:, :, None] * a[:, None, :])
        reference.db.append(delta)
        limit.dw.append(
            np.abs(delta)[:, :, None] * e[:, None, :]
            + error[:, :, None] * (np.abs(a) + e)[:, None, :]
        )
        limit.db.append(error)
    return Bounds(reference, limit, valid)


def dequantized(
    model: IntModel, w: Sequence[npt.ArrayLike], b: Sequence[npt.ArrayLike]
) -> FloatNet:
    """The float network with exactly the parameters that the raws `w` and `b` stand for."""
    weights, biases = [], []
    for k, layer in enumerate(model.layers):
        frac = layer.w_format.frac
        # The biases of an s8 model have the accumulator's fraction.
        carried = model.previous(k + 1).a_format.frac if layer.w_format.bits == 8 else 0
        weights.append(np.ldexp(np.asarray(w[k], dtype=np.float64), -frac))
        biases.append(np.ldexp(np.asarray(b[k], dtype=np.float64), -frac - carried))
    kinds = tuple(layer.activation for layer in model.layers)
    return FloatNet(weights, biases, kinds, model.loss)


def _half(frac: int, shift: int) -> float:
    """The error of rounding to `frac` fraction bits; dropping no bit costs nothing."""
    return 2.0 ** (-frac - 1) if shift > 0 else 0.0


def _activation_error(layer: Dense, z: FloatArray, a: FloatArray, ez: FloatArray) -> FloatArray:
    kind, frac = layer.activation, layer.a_format.frac
    if kind in ("relu", "linear"):
        return ez
    if kind == "softmax":
        return _softmax_error(layer, z, a, ez)
    # All three rise: the table sees a z between these two, as far as its own clamp lets it.
    clamp = _clamp(kind) * 2.0**-lut.Z_FRAC
    low = activate(kind, np.clip(z - ez, -clamp, clamp))
    high = activate(kind, np.clip(z + ez, -clamp, clamp))
    return np.maximum(high - a, a - low) + _table_error(kind, frac)


def _clamp(kind: str) -> int:
    """The |z| from which the table returns one value; s16q12."""
    return 16384 if kind == "tanh" else INT16_MAX


@cache
def _table_error(kind: str, frac: int) -> float:
    """The largest error of the look-up against the function of the clamped z, over every z."""
    z = np.arange(-INT16_MAX, INT16_MAX + 1, dtype=np.int64)
    clamped = np.ldexp(np.clip(z, -_clamp(kind), _clamp(kind)).astype(np.float64), -lut.Z_FRAC)
    y = lut.activate(kind, lut.activation_table(kind, frac), z, frac) * 2.0**-frac
    return float(np.abs(y - activate(kind, clamped)).max())


def _softmax_error(layer: Dense, z: FloatArray, y: FloatArray, ez: FloatArray) -> FloatArray:
    """
    From the errors of the logits to those of the probabilities.

    First the exact softmax of the twin's logits against y, an interval because each output rises
    with its own logit and falls with the others; then what the exp table does to it, with
    |e_i / S - x_i / X| <= (|d_i| (1 - y_i) + y_i sum of the other |d|) / S; then one rounding.
    """
    frac = layer.a_format.frac
    table = lut.exponential_table(layer.z_format.frac, frac)
    inside = table.max_error * 2.0**-frac
    centre = z.max(axis=1, keepdims=True)
    low, high = np.exp(z - ez - centre), np.exp(z + ez - centre)
    smallest = low / (low + high.sum(axis=1, keepdims=True) - high)
    largest = high / (high + low.sum(axis=1, keepdims=True) - low)
    first = np.maximum(largest - y, y - smallest)
    # The twin's d lies within these distances of the largest logit.
    e_max = ez.max(axis=1, keepdims=True)
    d_low = np.maximum(centre - z - ez - e_max, 0.0)
    d_high = centre - z + ez + e_max
    # Beyond 8 the table gives 0 for exp(-d).
    beyond = np.exp(-np.maximum(d_low, lut.RANGE))
    error = np.where(d_low < lut.RANGE, inside, 0.0)
    error = np.where(d_high >= lut.RANGE, np.maximum(error, beyond), error)
    # exp(0) is exact, so a logit that is largest beyond doubt has no error.
    others = np.where(z == centre, -np.inf, z + ez).max(axis=1, keepdims=True)
    error = np.where((z == centre) & (z - ez > others), 0.0, error)
    sums = error.sum(axis=1, keepdims=True)
    s = np.maximum(1.0, 1.0 / largest.max(axis=1, keepdims=True) - sums)
    second = (error * (1.0 - smallest) + largest * (sums - error)) / s
    return np.asarray(first + second + 2.0 ** (-frac - 1))


def _derivative_error(
    layer: Dense, z: FloatArray, a: FloatArray, ez: FloatArray, ea: FloatArray
) -> FloatArray:
    """Error of d, which the twin makes from its own output a."""
    kind, frac = layer.activation, layer.a_format.frac
    if kind == "sigmoid":
        return ea * (np.abs(1.0 - 2.0 * a) + ea) + _half(16, 2 * frac - 16)
    if kind == "tanh":
        return ea * (2.0 * np.abs(a) + ea) + _half(14, 2 * frac - 14)
    if kind == "tanh_opt":
        scale = lut.TANH_OPT_SCALE
        slope, exact_slope = 25462 * 2.0**-16, 2.0 / 3.0 / scale
        square = (layer.a_top * 2.0**-frac) ** 2
        return (
            slope * (ea * (2.0 * np.abs(a) + ea) + abs(square - scale**2))
            + abs(slope - exact_slope) * (scale**2 - a * a)
            + slope * _half(14, 2 * frac - 14)
            + 2.0**-15
        )
    if kind == "relu":
        # Which side of 0 the twin is on cannot be told here.
        return ((z - ez <= 0.0) & (z + ez > 0.0)).astype(np.float64)
    return np.zeros_like(a)


def _backward(
    model: IntModel,
    net: FloatNet,
    a: Sequence[FloatArray],
    z: Sequence[FloatArray],
    t: FloatArray,
    ea: Sequence[FloatArray],
    ez: Sequence[FloatArray],
    dz: list[FloatArray | None],
    edz: list[FloatArray | None],
    valid: npt.NDArray[np.bool_],
) -> None:
    """Fill dz and edz from the output down to the last layer that has deltas."""
    count = len(model.layers)
    for k in range(count - 1, -1, -1):
        layer = model.layers[k]
        if not model.has_dz(k + 1):
            return
        assert layer.dz_frac is not None
        assert layer.dz_top is not None
        output = k == count - 1
        if output and model.loss == "cross_entropy":
            delta = a[-1] - t
            error = ea[-1] + _half(layer.dz_frac, layer.a_format.frac - layer.dz_frac)
        else:
            g = {"sigmoid": 16, "tanh": 14, "tanh_opt": 14}.get(layer.activation, 0)
            d = derivative(layer.activation, a[k + 1])
            ed = _derivative_error(layer, z[k], a[k + 1], ez[k], ea[k + 1])
            if output:
                s, es = a[-1] - t, ea[-1]
                shift = layer.a_format.frac + g - layer.dz_frac
            else:
                upper, above, above_error = model.layers[k + 1], dz[k + 1], edz[k + 1]
                assert above is not None
                assert above_error is not None
                assert upper.dz_frac is not None
                s = above @ net.w[k + 1]
                dropped = upper.w_format.frac + upper.dz_frac - layer.dz_frac - 4
                es = above_error @ np.abs(net.w[k + 1]) + _half(layer.dz_frac + 4, dropped)
                valid &= (np.abs(s) <= (2**23 - 1) * 2.0 ** (-layer.dz_frac - 4)).all(axis=1)
                shift = 4 + g
            delta = s * d
            error = np.abs(s) * ed + (np.abs(d) + ed) * es + _half(layer.dz_frac, shift)
        valid &= (np.abs(delta) <= layer.dz_top * 2.0**-layer.dz_frac).all(axis=1)
        dz[k] = delta
        edz[k] = error + _FLOAT_SLACK

"""
Pick the fixed-point formats of a network from the magnitudes that a float training run logged
(`training.Ranges`), and the integers of a learning rate.

That nothing overflows in these formats, whatever a device learns, is shown by `proof`. Sections
are those of docs/numbers.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Context

import numpy as np
import numpy.typing as npt

from bpgen import lut
from bpgen.errors import BpgenError
from bpgen.model import (
    EXPONENTS,
    INT16_MAX,
    INT32_MAX,
    TABLE_ACTIVATIONS,
    IntModel,
    LearningRate,
)
from bpgen.proof import derivative_fraction, forward_bound, plain_delta_top
from bpgen.qformat import QFormat
from bpgen.training import Ranges

HEADROOM = 1.5  # of tops and weights over what the float run saw
DELTA_HEADROOM = 2  # clipped deltas do more harm than anything else, so they get more

# The fractions tried for an activation, best first, and the one that is used in blocks. 12 bits
# lose nothing measurable against 15 on seven data sets.
FRACTIONS = (15, 14, 13, 12, 11)
BLOCK_FRACTION = 12
UNLOGGED_WEIGHT_FRACTION = 11
UNLOGGED_LOGIT_FRACTION = 10
# Without a log a plain back-propagated sum must leave the deltas a quarter of s16.
UNLOGGED_DELTA_TOP = 8191


@dataclass(frozen=True)
class LayerFormats:
    """Formats and tops of one weight layer; `dz_frac` and `dz_top` are None without training."""

    w: QFormat
    z: QFormat
    a: QFormat
    a_top: int
    dz_frac: int | None
    dz_top: int | None


@dataclass(frozen=True)
class Formats:
    """Formats and tops of a network: the input's, and those of layers 1..L."""

    a0: QFormat
    a0_top: int
    layers: tuple[LayerFormats, ...]


def weight_fraction(peak: float) -> int:
    """Fraction of s16 weights that reached `peak` in training, 8..14."""
    if peak <= 0:
        return 14
    return min(14, max(8, 15 - math.ceil(math.log2(HEADROOM * peak))))


def choose_formats(
    sizes: Sequence[int],
    activations: Sequence[str],
    loss: str,
    ranges: Ranges | None,
    *,
    training: bool = True,
    freeze: Sequence[int] = (),
    hidden_frac: int | None = None,
) -> Formats:
    """
    Choose the formats of a 16-bit network with layer sizes n0, ..., nL.

    `freeze` names the layers, counted from 1, that do not learn. `hidden_frac` replaces the
    search for the fraction of hidden activations as far as each can take it. Without `ranges`
    the input, relu and linear get s16q12 with the whole range of s16, that is +-8.

    Raises BpgenError when something is too large for any format; the message says what to scale.
    """
    count = len(activations)
    w = [
        UNLOGGED_WEIGHT_FRACTION if ranges is None else weight_fraction(ranges.w[k])
        for k in range(count)
    ]
    learns = [training and k not in freeze for k in range(1, count + 1)]
    z = [lut.Z_FRAC] * count
    # a[k] and tops[k] belong to a{k}, w[k] and z[k] to layer k + 1.
    a = [0] * (count + 1)
    tops = [0] * (count + 1)
    output = activations[-1]
    if output == "softmax":
        z[-1] = _logit_fraction(ranges, w[-1])
    elif output == "linear":
        a[-1], tops[-1] = _linear_output(ranges, w[-1])
        z[-1] = a[-1]
    for k in range(count - 1, -1, -1):
        kind = activations[k - 1] if k > 0 else "input"
        reader = _Reader(sizes[k], w[k], z[k], learns[k])
        a[k], tops[k] = _activation(
            kind,
            f"the activations of layer {k}" if k else "the inputs",
            None if ranges is None else ranges.a[k],
            reader,
            w[k - 1] + 4 if kind in ("relu", "linear") else 15,
            hidden_frac if k > 0 else None,
        )
        if kind in ("relu", "linear"):
            z[k - 1] = a[k]
    if output != "linear":
        # Equal formats share one table; a coarse relu below is no reason for a coarse output.
        a[-1] = min(14, max(11, a[-2])) if count > 1 else BLOCK_FRACTION
        tops[-1] = lut.activation_top(output, a[-1])
    dz: Sequence[tuple[int | None, int | None]] = [(None, None)] * count
    if training:
        dz = _deltas(sizes, activations, loss, ranges, w, a[-1], learns)
    return Formats(
        QFormat(True, 16, a[0]),
        tops[0],
        tuple(
            LayerFormats(
                QFormat(True, 16, w[k]),
                QFormat(True, 16, z[k]),
                QFormat(True, 16, a[k + 1]),
                tops[k + 1],
                *dz[k],
            )
            for k in range(count)
        ),
    )


@dataclass(frozen=True)
class _Reader:
    """The layer that reads an activation: its fan-in, weight and z fractions, and if it learns."""

    inputs: int
    w_frac: int
    z_frac: int
    learns: bool

    def is_plain(self, top: int, frac: int) -> bool:
        shift = self.w_frac + frac - self.z_frac
        return shift >= 0 and forward_bound(self.inputs, top, frac, shift) <= INT32_MAX


def _ranged_top(peak: float | None, frac: int) -> int:
    """The top of a tensor that reached `peak`; a tensor that was always 0 is taken to reach 1."""
    if peak is None:
        return INT16_MAX
    return math.ceil(HEADROOM * (peak if peak > 0 else 1.0) * 2.0**frac)


def _activation(
    kind: str,
    name: str,
    peak: float | None,
    reader: _Reader,
    highest: int,
    wanted: int | None,
) -> tuple[int, int]:
    """Fraction and top of an input or hidden activation."""
    if kind in ("tanh", "tanh_opt"):
        highest = 14
    ranged = kind not in TABLE_ACTIVATIONS
    if ranged and peak is None:
        return min(BLOCK_FRACTION, highest), INT16_MAX
    # Below 7 a top can reach 2^8 and more, and section 8 has no place for the bias of an update.
    lowest = 7 if reader.learns else 4

    def top(frac: int) -> int:
        return _ranged_top(peak, frac) if ranged else lut.activation_top(kind, frac)

    fits = [f for f in range(highest, lowest - 1, -1) if top(f) <= INT16_MAX]
    if not fits:
        raise BpgenError(
            f"{name} reach {peak:g}, too large for 16 bits with a fraction of {lowest}: scale the "
            "inputs, for example with the scaling 'minmax' or 'standard'"
        )
    if wanted is not None:
        chosen = next((f for f in fits if f <= wanted), fits[-1])
        return chosen, top(chosen)
    for frac in fits:
        if frac in FRACTIONS and reader.is_plain(top(frac), frac):
            return frac, top(frac)
    chosen = next((f for f in fits if f <= BLOCK_FRACTION), fits[-1])
    return chosen, top(chosen)


def _logit_fraction(ranges: Ranges | None, w_frac: int) -> int:
    chosen = UNLOGGED_LOGIT_FRACTION
    if ranges is not None:
        peak = ranges.z[-1]
        chosen = 14 if peak <= 0 else math.floor(math.log2(INT16_MAX / (HEADROOM * peak)))
    return min(14, w_frac + 4, max(5, chosen))


def _linear_output(ranges: Ranges | None, w_frac: int) -> tuple[int, int]:
    highest = min(14, w_frac + 4)
    if ranges is None:
        return min(BLOCK_FRACTION, highest), INT16_MAX
    peak = max(ranges.a[-1], ranges.t)
    for frac in range(highest, 3, -1):
        top = _ranged_top(peak, frac)
        if top <= INT16_MAX:
            return frac, top
    raise BpgenError(
        f"the outputs or targets reach {peak:g}, too large for 16 bits with a fraction of 4: "
        "scale the targets, for example to 0..1"
    )


def _deltas(
    sizes: Sequence[int],
    activations: Sequence[str],
    loss: str,
    ranges: Ranges | None,
    w: Sequence[int],
    output_frac: int,
    learns: Sequence[bool],
) -> list[tuple[int, int]]:
    """Fraction and top of dz1..dzL."""
    count = len(activations)
    squared = loss == "squared_error"
    fractions = [0] * count
    for k in range(count - 1, -1, -1):
        peak = None if ranges is None else ranges.dz[k]
        is_output = k == count - 1
        if peak is None:
            wanted = (16 if is_output else 15) if squared else (14 if is_output else 13)
        elif peak > 0:
            wanted = math.floor(math.log2(INT16_MAX / (DELTA_HEADROOM * peak)))
        else:
            wanted = 24
        if wanted < 0:
            raise BpgenError(
                f"the deltas of layer {k + 1} reach {peak:g}, too large for 16 bits: scale the "
                "targets, or lower the learning rate of the float training"
            )
        if not is_output:
            cap = w[k + 1] + fractions[k + 1] - 4
        else:
            cap = output_frac + (derivative_fraction(activations[-1]) if squared else 0)
        fractions[k] = min(wanted, cap, 24)
    result = []
    for k in range(count):
        top = INT16_MAX
        if any(learns[:k]):
            limit = plain_delta_top(sizes[k + 1], w[k] + fractions[k] - fractions[k - 1] - 4)
            needed = float(UNLOGGED_DELTA_TOP)
            if ranges is not None:
                needed = DELTA_HEADROOM * ranges.dz[k] * 2.0 ** fractions[k]
            top = min(INT16_MAX, limit) if limit >= max(1.0, needed) else INT16_MAX
        result.append((fractions[k], top))
    return result


def choose_byte_formats(
    w: Sequence[npt.NDArray[np.float64]],
    activations: Sequence[str],
    ranges: Ranges | None,
    input_peak: float,
) -> Formats:
    """
    Choose the formats of an inference-only s8/u8 network (section 13).

    `w` is w1..wL. Inputs and hidden activations are u8: sigmoid u8q8, and relu from the log with
    1.5x headroom (u8q5 without one). Inputs get no headroom above `input_peak`, and 1.0 may be
    held as 255/256, so inputs in 0..1 are u8q8.

    Raises BpgenError for a hidden activation other than sigmoid and relu, and for magnitudes that
    no format holds.
    """
    count = len(activations)
    for k, kind in enumerate(activations[:-1], start=1):
        if kind not in ("sigmoid", "relu"):
            raise BpgenError(
                f"hidden layer {k} is {kind}, but s8 models have sigmoid or relu there: choose "
                "one of these, or s16 weights"
            )
    peak = input_peak if input_peak > 0 else 1.0
    a0 = min(15, math.floor(math.log2(256 / peak)))
    if a0 < 0:
        raise BpgenError(f"the inputs reach {peak:g}, more than a byte holds: use minmax scaling")
    layers = []
    for k, kind in enumerate(activations):
        w_frac = _byte_weight_fraction(k + 1, float(np.abs(w[k]).max()))
        z_frac, a_frac, a_format_bits = lut.Z_FRAC, BLOCK_FRACTION, 16
        if k == count - 1:
            a_top = lut.activation_top(kind, a_frac)
            if kind == "softmax":
                z_frac = _logit_fraction(ranges, 14)
            elif kind == "linear":
                a_frac, a_top = _linear_output(ranges, 14)
                z_frac = a_frac
        else:
            a_format_bits, a_frac, a_top = 8, 8, 255
            if kind == "relu":
                a_frac = z_frac = _byte_relu_fraction(k + 1, ranges)
        layers.append(
            LayerFormats(
                QFormat(True, 8, w_frac),
                QFormat(True, 16, z_frac),
                QFormat(a_format_bits == 16, a_format_bits, a_frac),
                a_top,
                None,
                None,
            )
        )
    return Formats(QFormat(False, 8, a0), 255, tuple(layers))


def _byte_weight_fraction(layer: int, peak: float) -> int:
    for frac in range(14, -9, -1):
        if math.floor(peak * 2.0**frac + 0.5) <= 127:
            return frac
    raise BpgenError(
        f"a weight of layer {layer} is {peak:g}, too large for 8 bits: scale the inputs and train "
        "again"
    )


def _byte_relu_fraction(layer: int, ranges: Ranges | None) -> int:
    if ranges is None:
        return 5
    peak = ranges.a[layer] if ranges.a[layer] > 0 else 1.0
    frac = min(15, math.floor(math.log2(255 / (HEADROOM * peak))))
    if frac < 0:
        raise BpgenError(
            f"the activations of layer {layer} reach {peak:g}, more than a byte holds: scale the "
            "inputs and train again, or choose s16 weights"
        )
    return frac


def learning_rate(value: float) -> LearningRate:
    """
    The integers of a learning rate, at most 1e-4 of its value away from it (section 8).

    A value that rounds to a power of two becomes one; any other mantissa is made odd.

    Raises BpgenError when it lies outside 2^-32..2^16.
    """
    if not (math.isfinite(value) and value > 0):
        raise BpgenError(f"the learning rate is {value}: choose a number above 0, for example 0.1")
    fraction, exponent = math.frexp(value)
    mantissa, exponent = math.floor(fraction * 2.0**15 + 0.5), -exponent
    if mantissa == 16384:
        mantissa, exponent = 32768, exponent + 1
    elif mantissa != 32768:
        mantissa |= 1
    if exponent not in EXPONENTS:
        nearest = _spelled_rate(EXPONENTS if exponent < 0 else EXPONENTS[1:], 1, exponent < 0)
        raise BpgenError(
            f"the learning rate {value:g} is outside what 16 bits can apply: the nearest one that "
            f"works is {nearest}"
        )
    return LearningRate(mantissa, exponent)


def solvable_exponents(model: IntModel) -> range:
    """The exponents of learning rates that every learning layer can use, possibly none."""
    solvable = [
        e
        for e in EXPONENTS
        if all(
            model.alignment(k, e) is not None
            for k in range(1, len(model.layers) + 1)
            if model.learns(k)
        )
    ]
    return range(solvable[0], solvable[-1] + 1) if solvable else range(0)


def check_learning_rate(model: IntModel, divisor: int = 1) -> None:
    """
    Refuse a learning rate that some learning layer cannot align (section 8).

    `divisor` is the batch size that the model's learning rate includes for a mean; the message
    speaks of the rate before it. Raises BpgenError naming the nearest learning rate that works.
    """
    if model.training is None:
        return
    rate = model.training.learning_rate
    exponents = solvable_exponents(model)
    if rate.exponent in exponents:
        return
    stuck = next(
        k
        for k in range(1, len(model.layers) + 1)
        if model.learns(k) and (not exponents or model.alignment(k, rate.exponent) is None)
    )
    if not exponents:
        raise BpgenError(
            "no learning rate suits all layers at once, their deltas differ too much: freeze layer "
            f"{stuck}, or scale the inputs and train again"
        )
    too_large = rate.exponent < exponents[0]
    raise BpgenError(
        f"the learning rate {rate.value * divisor:.3g} is too {'large' if too_large else 'small'} "
        f"for layer {stuck} in 16 bits: the nearest one that works is "
        f"{_spelled_rate(exponents, divisor, too_large)}"
    )


def _spelled_rate(exponents: range, divisor: int, largest: bool) -> str:
    """The largest or smallest rate with one of the exponents, in digits that stay inside."""
    value = (2.0 ** -exponents[0] if largest else 16385 * 2.0 ** (-15 - exponents[-1])) * divisor
    context = Context(prec=5, rounding=ROUND_FLOOR if largest else ROUND_CEILING)
    return f"{float(context.create_decimal(value)):.5g}"

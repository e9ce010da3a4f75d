"""
IntModel: the network as integers. The artefact everything after the float trainer reads.

It holds every integer of docs/numbers.md that is a choice, and nothing that follows from one;
there is no float in it. Its hash names it in generated code and on the wire. Its text is written
and checked in `model_json`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from bpgen.qformat import QFormat

HIDDEN_ACTIVATIONS = ("sigmoid", "tanh", "tanh_opt", "relu", "linear")
OUTPUT_ACTIVATIONS = ("sigmoid", "softmax", "linear")
TABLE_ACTIVATIONS = ("sigmoid", "tanh", "tanh_opt")
LOSSES = ("squared_error", "cross_entropy")

# update -> (bits of fraction that the updated quantity has beyond the weight's, bytes a weight)
UPDATES = {"residual": (8, 3), "stochastic": (0, 2), "batch": (16, 6), "momentum": (16, 7)}

# What a learning rate's exponent may be.
EXPONENTS = range(-16, 32)

INT16_MAX = 32767
INT32_MAX = 2**31 - 1


@dataclass(frozen=True)
class LearningRate:
    """`mantissa * 2^-15 * 2^-exponent`; the mantissa is 32768 or odd (section 8)."""

    mantissa: int
    exponent: int

    @property
    def value(self) -> float:
        return self.mantissa * 2.0 ** (-15 - self.exponent)


@dataclass(frozen=True)
class Input:
    """
    The input a0 and the rule that makes it from raw counts (section 2).

    One count of feature i is 10^-decimals[i] of the data's unit.
    """

    features: tuple[str, ...]
    a_format: QFormat
    a_top: int
    decimals: tuple[int, ...]
    offset: tuple[int, ...]
    multiplier: tuple[int, ...]
    shift: tuple[int, ...]

    @property
    def size(self) -> int:
        return len(self.features)


@dataclass(frozen=True)
class LayerSparsity:
    """Constants of section 11 that belong to one hidden layer."""

    offset: int
    reciprocal: int
    multiplier: int
    shift: int
    initial_mean: int


@dataclass(frozen=True)
class Dense:
    """
    A fully connected layer: `w` [outputs][inputs], `b` [outputs].

    `dz_frac` and `dz_top` are None in a model that cannot learn. In an s8 model `b` has the
    accumulator's fraction, otherwise that of `w`.
    """

    activation: str
    w_format: QFormat
    z_format: QFormat
    a_format: QFormat
    a_top: int
    dz_frac: int | None
    dz_top: int | None
    frozen: bool
    sparsity: LayerSparsity | None
    w: tuple[tuple[int, ...], ...] = field(repr=False)
    b: tuple[int, ...] = field(repr=False)

    @property
    def outputs(self) -> int:
        return len(self.w)

    @property
    def inputs(self) -> int:
        return len(self.w[0])

    @property
    def count(self) -> int:
        """Parameters: weights and biases."""
        return self.outputs * (self.inputs + 1)

    @property
    def z_top(self) -> int:
        """The clamp of z: the activation's top where z and a share a format, else all of s16."""
        return self.a_top if self.activation in ("relu", "linear") else INT16_MAX


@dataclass(frozen=True)
class Sparsity:
    """Target activation `target` (u16q15) and rate of the running mean `rate` (u16q16)."""

    target: int
    rate: int


@dataclass(frozen=True)
class IntTraining:
    """
    How the device learns: `update` is a key of UPDATES.

    `learning_rate` includes the 1 / batch size of a mean; `momentum` is u16q16, `decay` u15q24,
    `seed` u16.
    """

    update: str
    learning_rate: LearningRate
    batch_size: int
    momentum: int
    decay: int
    seed: int
    sparsity: Sparsity | None


@dataclass(frozen=True)
class IntModel:
    """The whole network. `training` is None in an inference-only model."""

    input: Input
    layers: tuple[Dense, ...]
    loss: str
    targets: tuple[str, ...]
    labels: tuple[str, ...]
    training: IntTraining | None

    @property
    def sizes(self) -> tuple[int, ...]:
        return (self.input.size, *(layer.outputs for layer in self.layers))

    @property
    def output(self) -> Dense:
        return self.layers[-1]

    @property
    def parameter_count(self) -> int:
        return sum(layer.count for layer in self.layers)

    def previous(self, k: int) -> Input | Dense:
        """What layer k reads, layers counted from 1."""
        return self.layers[k - 2] if k > 1 else self.input

    def learns(self, k: int) -> bool:
        """Whether layer k is updated."""
        return self.training is not None and not self.layers[k - 1].frozen

    def has_dz(self, k: int) -> bool:
        """Whether layer k needs deltas: it or a layer below it learns."""
        return any(self.learns(below) for below in range(1, k + 1))

    def alignment(self, k: int, exponent: int) -> tuple[int, int] | None:
        """
        Shift S and fraction fu of the rescaled activation for layer k (section 8).

        None when the learning rate 2^-exponent has no shift: it is out of the layer's range.
        """
        assert self.training is not None
        layer, previous = self.layers[k - 1], self.previous(k)
        assert layer.dz_frac is not None
        extra = UPDATES[self.training.update][0]
        if exponent not in EXPONENTS:
            return None
        offset = layer.dz_frac + exponent - (layer.w_format.frac + extra)
        lowest = 8 - magnitude_bits(previous)
        fu = lowest + (-(offset + lowest)) % 8
        shift = offset + fu
        smallest = -8 if extra == 16 else 0
        return (shift, fu) if fu >= 0 and smallest <= shift <= 24 else None

    @cached_property
    def hash(self) -> str:
        """First 8 hexadecimal digits of the SHA-256 of the model's canonical JSON."""
        from bpgen import model_json

        return model_json.digest(self)

    def to_json(self) -> str:
        """The model as JSON text, one row of weights a line; the same model gives the same text."""
        from bpgen import model_json

        return model_json.write(self)

    @staticmethod
    def from_json(text: str, name: str = "model.json") -> IntModel:
        """
        Read what `to_json` wrote.

        Raises BpgenError, naming the place, for text that is cut short, of another version, has an
        unknown or missing key, a shape that does not fit, or an integer outside its range.
        """
        from bpgen import model_json

        return model_json.read(text, name)


def magnitude_bits(a: Input | Dense) -> int:
    """The smallest i >= 0 with every |a| below 2^i."""
    return max(0, a.a_top.bit_length() - a.a_format.frac)

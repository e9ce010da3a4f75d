"""
Prove that no reachable state of a model overflows.

Reachable are any s16 weights, any activation up to its top and any s16 target: weights move, so a
bound taken from the trained ones is no proof. The generator prints the bounds above each loop.
"""

from __future__ import annotations

from dataclasses import dataclass

from bpgen import lut
from bpgen.errors import BpgenError
from bpgen.model import (
    INT16_MAX,
    INT32_MAX,
    TABLE_ACTIVATIONS,
    UPDATES,
    Dense,
    Input,
    IntModel,
    magnitude_bits,
)
from bpgen.qformat import round_shift

S24_MAX = 2**23 - 1
WEIGHT_LIMIT = 32768  # largest |w| and |b| of s16
_TARGET_LIMIT = 32768  # largest |t| of s16
_LIMITS = {"s32": INT32_MAX, "u32": 2**32 - 1, "s64": 2**63 - 1}


@dataclass(frozen=True)
class Sum:
    """
    A sum of products of 16-bit numbers, proven for every reachable state.

    `bound` limits every partial sum, the bias and the rounding half included. A plain sum keeps
    to int32; otherwise each `block` products do, and the blocks are added in 64 bits. `frac` is
    the fraction of the sum and `shift` what its rounding drops.
    """

    terms: int
    top: int
    frac: int
    shift: int
    bound: int
    plain: bool
    block: int


@dataclass(frozen=True)
class Product:
    """An intermediate result: its largest magnitude, and the type that holds it."""

    name: str
    bound: int
    type: str


@dataclass(frozen=True)
class LayerProof:
    """
    The proven bounds of layer k, counted from 1.

    `backward` is the sum over this layer's outputs that the deltas of layer k - 1 are made from,
    None where nothing below learns.
    """

    layer: int
    forward: Sum
    backward: Sum | None
    products: tuple[Product, ...]


def rounding_half(shift: int) -> int:
    """What a rounding right shift adds first."""
    return 1 << (shift - 1) if shift > 0 else 0


def forward_bound(inputs: int, a_top: int, a_frac: int, shift: int) -> int:
    """The largest magnitude of a layer's sum over every s16 w and b, docs/numbers.md, section 3."""
    return WEIGHT_LIMIT * (inputs * a_top + (1 << a_frac)) + rounding_half(shift)


def plain_delta_top(outputs: int, shift: int) -> int:
    """The largest top of dz that keeps the back-propagated sum in int32, below 1 if none does."""
    return (INT32_MAX - rounding_half(shift)) // (WEIGHT_LIMIT * outputs)


def block_size(top: int) -> int:
    """
    How many products of an s16 weight with a number up to `top` always fit int32; even, because
    kernels take the inputs in pairs.
    """
    return INT32_MAX // (WEIGHT_LIMIT * top) & ~1


def derivative_fraction(kind: str) -> int:
    """The fraction g of an activation's derivative (section 7)."""
    return {"sigmoid": 16, "tanh": 14, "tanh_opt": 14}.get(kind, 0)


def prove(model: IntModel) -> list[LayerProof]:
    """
    Bound every sum and product of layers 1..L over all reachable states.

    Reachable are any s16 weights and biases (in an s8 model: any s8 weights with its own biases),
    activations up to their tops, any s16 target, and any learning rate that the layers can align.

    Raises BpgenError, naming layer and product, when one does not fit the type it is computed in.
    """
    proofs = []
    for k in range(1, len(model.layers) + 1):
        products = [*_forward_products(model, k)]
        if model.has_dz(k):
            products += _delta_products(model, k)
        if model.learns(k):
            products += _update_products(model, k)
        backward = _backward_sum(model, k) if k > 1 and model.has_dz(k - 1) else None
        for product in products:
            if product.bound > _LIMITS[product.type]:
                raise BpgenError(
                    f"layer {k}: {product.name} reaches {product.bound}, more than "
                    f"{product.type} holds; make the model again with 'bpgen quantize'"
                )
        proofs.append(LayerProof(k, _forward_sum(model, k), backward, tuple(products)))
    return proofs


def _forward_sum(model: IntModel, k: int) -> Sum:
    layer, previous = model.layers[k - 1], model.previous(k)
    frac = layer.w_format.frac + previous.a_format.frac
    shift = frac - layer.z_format.frac
    top, n = previous.a_top, layer.inputs
    if layer.w_format.bits == 8:
        bound = max(abs(b) for b in layer.b) + n * 128 * 255 + rounding_half(shift)
        if bound > INT32_MAX:
            raise BpgenError(
                f"layer {k}: with a bias of {max(abs(b) for b in layer.b)} the sum reaches "
                f"{bound}, more than s32 holds; choose s16 weights"
            )
        return Sum(n, top, frac, shift, bound, True, n)
    if shift < 0:
        raise BpgenError(
            f"layer {k} has a z with {layer.z_format.frac} fraction bits, more than its sum's "
            f"{frac}; make the model again with 'bpgen quantize'"
        )
    bound = forward_bound(n, top, previous.a_format.frac, shift)
    return _sum(n, top, frac, shift, bound)


def _backward_sum(model: IntModel, k: int) -> Sum:
    layer, below = model.layers[k - 1], model.layers[k - 2]
    assert layer.dz_frac is not None
    assert layer.dz_top is not None
    assert below.dz_frac is not None
    frac = layer.w_format.frac + layer.dz_frac
    shift = frac - below.dz_frac - 4
    if shift < 0:
        raise BpgenError(
            f"layer {k - 1} has deltas finer than the sum they are made from; make the model "
            "again with 'bpgen quantize'"
        )
    bound = WEIGHT_LIMIT * layer.outputs * layer.dz_top + rounding_half(shift)
    return _sum(layer.outputs, layer.dz_top, frac, shift, bound)


def _sum(terms: int, top: int, frac: int, shift: int, bound: int) -> Sum:
    plain = bound <= INT32_MAX
    if bound > _LIMITS["s64"]:
        raise BpgenError(f"a sum of {terms} products reaches {bound}: use a smaller layer")
    return Sum(terms, top, frac, shift, bound, plain, terms if plain else block_size(top))


def _forward_products(model: IntModel, k: int) -> list[Product]:
    layer = model.layers[k - 1]
    frac = layer.a_format.frac
    products = []
    if k == 1:
        # counts - offset is a difference of two s32.
        bound = max(
            (2**32 - 1) * m + rounding_half(s)
            for m, s in zip(model.input.multiplier, model.input.shift, strict=True)
        )
        products.append(Product("(c - offset) * multiplier", bound, "s64"))
    if layer.w_format.bits == 8:
        total = _forward_sum(model, k)
        if total.shift < 0:
            products.append(Product("acc * 2^(fz - fw - fa)", total.bound << -total.shift, "s64"))
    if layer.activation in TABLE_ACTIVATIONS:
        if layer.a_top < lut.activation_top(layer.activation, frac):
            raise BpgenError(
                f"layer {k} has an a_top of {layer.a_top}, but its {layer.activation} reaches "
                f"{lut.activation_top(layer.activation, frac)}; make the model again with "
                "'bpgen quantize'"
            )
        table = lut.activation_table(layer.activation, frac)
        shift = 15 - table.bits
        entry = max(table.entries) << shift
        if layer.activation == "tanh":
            entry *= 2
        products.append(
            Product("interpolation", entry + rounding_half(table.frac + shift - frac), "s32")
        )
    if layer.activation == "softmax":
        exponential = lut.exponential_table(layer.z_format.frac, frac)
        shift = layer.z_format.frac + 3 - exponential.bits
        products.append(Product("interpolation", (32768 << shift) + rounding_half(shift), "s32"))
        products.append(Product("e * 2^fa + S / 2", (32768 << frac) + (layer.outputs << 14), "u32"))
    return products


def largest_derivative(layer: Dense) -> int:
    """The largest raw of an activation's derivative d (section 7)."""
    frac, top = layer.a_format.frac, layer.a_top
    if layer.activation == "sigmoid":
        return 1 << 14  # a = 2^(fa - 1)
    if layer.activation == "tanh":
        return 1 << 14  # a = 0
    if layer.activation == "tanh_opt":
        return round_shift(round_shift(top * top, 2 * frac - 14) * 25462, 16)
    return 1


def _delta_products(model: IntModel, k: int) -> list[Product]:
    layer = model.layers[k - 1]
    assert layer.dz_frac is not None
    frac, top, kind = layer.a_format.frac, layer.a_top, layer.activation
    g, d = derivative_fraction(kind), largest_derivative(layer)
    is_output = k == len(model.layers)
    products = []
    if kind in TABLE_ACTIVATIONS and not (is_output and model.loss == "cross_entropy"):
        if kind == "sigmoid":
            square, shift = 1 << (2 * frac - 2), 2 * frac - 16
        else:
            square, shift = (1 << 2 * frac) if kind == "tanh" else top * top, 2 * frac - 14
        products.append(Product("derivative", square + rounding_half(shift), "s32"))
        if kind == "tanh_opt":
            products.append(
                Product("v * 25462", round_shift(square, shift) * 25462 + (1 << 15), "s32")
            )
    if is_output:
        e = top + _TARGET_LIMIT
        shift = frac + g - layer.dz_frac if model.loss == "squared_error" else frac - layer.dz_frac
        if shift < 0:
            raise BpgenError(
                f"layer {k} has deltas finer than the product they are made from; make the model "
                "again with 'bpgen quantize'"
            )
        if model.loss == "squared_error":
            products.append(Product("e * d", e * d + rounding_half(shift), "s32"))
        else:
            products.append(Product("e", e + rounding_half(shift), "s32"))
        return products
    above = _backward_sum(model, k + 1)
    correction = S24_MAX if layer.sparsity else 0
    before_clamp = (above.bound >> above.shift) + correction
    products.append(
        Product("s before its clamp", before_clamp, "s32" if before_clamp <= INT32_MAX else "s64")
    )
    products.append(Product("s * d", S24_MAX * d + rounding_half(4 + g), "s64"))
    if layer.sparsity:
        products += _sparsity_products(model, layer)
    return products


def _sparsity_products(model: IntModel, layer: Dense) -> list[Product]:
    assert model.training is not None
    assert model.training.sparsity is not None
    assert layer.sparsity
    sparsity = layer.sparsity
    rho = model.training.sparsity.target
    mean = max(layer.a_top << 15, abs(sparsity.initial_mean))
    low = 0 if layer.activation == "sigmoid" else -mean
    quotient = (32768 * 32768 + 16384) // 33
    return [
        Product("a * 2^15 - p", mean - low, "s32"),
        Product("(a * 2^15 - p) * rate", (mean - low) * 65535 + (1 << 15), "s64"),
        Product(
            "(p + offset) * reciprocal",
            (mean + sparsity.offset) * sparsity.reciprocal + (1 << 29),
            "s64",
        ),
        Product("dividends of D", (max(rho, 32768 - rho) << 15) + 16384, "u32"),
        Product(
            "D * multiplier",
            quotient * sparsity.multiplier + rounding_half(sparsity.shift),
            "s64",
        ),
    ]


def update_activation_top(previous: Input | Dense, fraction: int) -> int:
    """The largest |u|: the top of a rescaled to `fraction` (section 8)."""
    excess = previous.a_format.frac - fraction
    return previous.a_top << -excess if excess <= 0 else round_shift(previous.a_top, excess)


def _update_products(model: IntModel, k: int) -> list[Product]:
    layer, previous, training = model.layers[k - 1], model.previous(k), model.training
    assert training is not None
    assert layer.dz_top is not None
    i = magnitude_bits(previous)
    if i > 8:
        raise BpgenError(
            f"layer {k} learns from activations up to 2^{i}, more than an update can take: scale "
            "the inputs"
        )
    extra = UPDATES[training.update][0]
    g = layer.dz_top
    fractions = range(8 - i, 16 - i)
    u = max(update_activation_top(previous, f) for f in fractions)
    if u > INT16_MAX:
        raise BpgenError(f"layer {k}: u reaches {u}, more than s16 holds; scale the inputs")
    weight = g * u
    bias = g << fractions[-1]
    largest = max(weight, bias)
    rounding = 2**24 - 1 if training.update == "stochastic" else rounding_half(24)
    products = [
        Product("m * dz", training.learning_rate.mantissa * g + (1 << 14), "s32"),
        Product("g * u", weight + rounding, "s32"),
        Product("g * 2^fu", bias + rounding, "s32"),
        Product("dz * a", g * previous.a_top, "s32"),
        Product("dz * 2^fa", g << previous.a_format.frac, "s32"),
    ]
    if training.update == "residual":
        products.append(Product("M + dw", 2**23 + largest, "s32"))
    elif training.update == "stochastic":
        products.append(Product("M + dw", 2**15 + largest, "s32"))
    if extra == 16:
        products.append(Product("dw * 2^8", largest << 8, "s64"))
        products.append(Product("vw + dw", 2**31 + 2**31, "s64"))
        products.append(Product("vw + half", 2**31 + 2**15, "s64"))
    if training.update == "momentum":
        products.append(Product("vw * mu", 2**31 * training.momentum + 2**15, "s64"))
        products.append(Product("M + vw", 2**23 + 2**23, "s32"))
    if training.decay:
        extra_bits = {"residual": 2**15, "stochastic": 65535 << 8}.get(training.update, 2**7)
        products.append(Product("w * decay", WEIGHT_LIMIT * training.decay + extra_bits, "s32"))
    return products

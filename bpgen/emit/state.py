"""The members of <prefix>_state_t: all that a network changes, in the order of its memory."""

from __future__ import annotations

from collections.abc import Iterator

from bpgen.emit.view import LayerView, StateMember
from bpgen.model import IntModel


def even(n: int) -> int:
    """The length in memory of what kernels read in pairs."""
    return n + n % 2


def members(model: IntModel, layers: tuple[LayerView, ...]) -> Iterator[StateMember]:
    """
    Members in an order that leaves no holes, arrays that kernels read by words on word boundaries.

    What a save keeps lies in two pieces: from behind the inputs of all layers and their deltas to
    the biases, and from the learning rate to the end.
    """
    yield from _inputs(model, layers)
    yield from _words(model, layers)
    yield from _halves(model, layers)
    yield from _bytes(model, layers)


def _inputs(model: IntModel, layers: tuple[LayerView, ...]) -> Iterator[StateMember]:
    a0 = model.input
    text = f"input, {a0.a_format}, at most {a0.a_top} in magnitude"
    sources = [("a0", a0.size, a0.a_format.bits, text)]
    for layer in layers[:-1]:
        bits = 8 if layer.a_cast else 16
        sources.append((layer.a, layer.outputs, bits, f"activations, {layer.a_format}"))
        if layer.dz:
            sources.append((layer.dz, layer.outputs, 16, f"delta, {layer.dz_format}"))
    for name, n, bits, comment in sources:
        # A whole number of words.
        kind, length = ("int16_t", even(n)) if bits == 16 else ("uint8_t", even(even(n) // 2) * 2)
        yield _array(kind, name, length, comment, bits // 8, "BP_ALIGNED ")


def _words(model: IntModel, layers: tuple[LayerView, ...]) -> Iterator[StateMember]:
    if model.training is None:
        return
    yield StateMember("uint32_t steps", "updates since the reset", 4)
    for layer in layers:
        velocity_frac = model.layers[layer.k - 1].w_format.frac + 16
        meaning = "velocity" if model.training.update == "momentum" else "sum over the batch"
        if layer.vw:
            text = f"{meaning}, s32q{velocity_frac}"
            yield _array("int32_t", f"vw{layer.k}", layer.stored, text, 4)
            yield _array("int32_t", f"vb{layer.k}", layer.outputs, text, 4)
        if layer.p:
            text = f"running means of a{layer.k}, s32q{layer.a_frac + 15}"
            yield _array("int32_t", layer.p, layer.outputs, text, 4)


def _halves(model: IntModel, layers: tuple[LayerView, ...]) -> Iterator[StateMember]:
    learning = [layer for layer in layers if model.learns(layer.k)]
    for layer in learning:
        w_format = model.layers[layer.k - 1].w_format
        shape = f"weights [{even(layer.inputs) // 2}][{layer.outputs}][2], {w_format}"
        yield _array("int16_t", f"w{layer.k}", layer.stored, shape, 2, "BP_ALIGNED ")
    for layer in learning:
        w_format = model.layers[layer.k - 1].w_format
        yield _array("int16_t", f"b{layer.k}", layer.outputs, f"biases, {w_format}", 2)
    output = layers[-1]
    yield _array("int16_t", output.a, output.outputs, f"activations, {output.a_format}", 2)
    if output.dz:
        yield _array("int16_t", output.dz, output.outputs, f"delta, {output.dz_format}", 2)
    if model.training is not None:
        yield StateMember("uint16_t learning_rate_mantissa", "u16q15, times 2^-exponent", 2)
        if model.training.update == "stochastic":
            yield StateMember("uint16_t seed", "of the dither", 2)
        if model.training.decay:
            yield StateMember("uint16_t decay", "learning rate * L2, u15q24", 2)
        if model.training.update == "momentum":
            yield StateMember("uint16_t momentum", "u16q16", 2)


def _bytes(model: IntModel, layers: tuple[LayerView, ...]) -> Iterator[StateMember]:
    low = [layer for layer in layers if layer.has_low]
    for layer in low:
        yield _array("uint8_t", f"w{layer.k}_low", layer.stored, "low byte of each master", 1)
    for layer in low:
        yield _array("uint8_t", f"b{layer.k}_low", layer.outputs, "low byte of each master", 1)
    for layer in layers:
        if model.learns(layer.k):
            text = f"how layer {layer.k} shifts its steps"
            yield StateMember(f"bp_alignment_t alignment{layer.k}", text, 2)
    if model.training is not None:
        yield StateMember("int8_t learning_rate_exponent", "set both by set_learning_rate", 1)


def _array(
    type_: str, name: str, length: int, comment: str, size: int, prefix: str = ""
) -> StateMember:
    return StateMember(f"{prefix}{type_} {name}[{length}]", comment, length * size)

"""
Make the integer model from a float network: FloatNet and formats -> IntModel.

The rules are those of docs/numbers.md; nothing is lost silently. A parameter, scaling or learning
rate that the integers cannot express raises BpgenError.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from bpgen.checkpoint import Checkpoint
from bpgen.errors import BpgenError
from bpgen.floatnet import FloatArray, FloatNet
from bpgen.floatnet import Sparsity as FloatSparsity
from bpgen.lut import TANH_OPT_SCALE
from bpgen.model import (
    TABLE_ACTIVATIONS,
    UPDATES,
    Dense,
    Input,
    IntModel,
    IntTraining,
    LayerSparsity,
    Sparsity,
)
from bpgen.proof import LayerProof, prove
from bpgen.ranges import (
    Formats,
    LayerFormats,
    check_learning_rate,
    choose_byte_formats,
    choose_formats,
    learning_rate,
)
from bpgen.scaling import Scaling
from bpgen.training import RUNNING_MEAN_DECAY, Ranges, Training

MAX_SHIFT = 47  # of the input rule and the sparsity multiplier
WEIGHTS = ("s16", "s8")


def quantize_network(
    net: FloatNet,
    training: Training | None,
    ranges: Ranges | None,
    *,
    scaling: Scaling,
    features: Sequence[str],
    targets: Sequence[str],
    labels: Sequence[str] = (),
    update: str | None = None,
    freeze: Sequence[int] = (),
    seed: int = 0,
    weights: str = "s16",
    sample_count: int | None = None,
    hidden_frac: int | None = None,
    inputs: FloatArray | None = None,
) -> IntModel:
    """
    Turn a float network into integers.

    Without `training` the model only infers. `update` is "residual" (the default), "stochastic",
    "batch" or "momentum"; momentum and batches decide it by themselves. `freeze` names layers,
    counted from 1, that do not learn. `sample_count` is the batch size of a full batch
    (`batch_size` None). `inputs`, scaled and [samples][n0], are only asked for by s8 weights,
    whose inputs have no sign.

    Raises BpgenError for whatever the integers cannot express: weights or scales out of range,
    settings that exclude each other, a learning rate without an alignment.
    """
    if weights not in WEIGHTS:
        raise BpgenError(f"there are no weights {weights!r}: choose s16 or s8")
    if training is not None and weights == "s8":
        raise BpgenError("s8 weights cannot learn: choose s16, or quantize without training")
    if not len(scaling.offset) == len(features) == net.sizes[0]:
        raise BpgenError(
            f"the network has {net.sizes[0]} inputs, but there are {len(features)} features and "
            f"{len(scaling.offset)} scales: use the data set it was trained on"
        )
    if labels and len(labels) != net.sizes[-1]:
        raise BpgenError(
            f"the network has {net.sizes[-1]} outputs, but there are {len(labels)} labels: give "
            "one per output"
        )
    frozen = _checked_freeze(net, training, freeze)
    if weights == "s8":
        formats = choose_byte_formats(net.w, net.activations, ranges, _unsigned_peak(inputs))
    else:
        formats = choose_formats(
            net.sizes,
            net.activations,
            net.loss,
            ranges,
            training=training is not None,
            freeze=sorted(frozen),
            hidden_frac=hidden_frac,
        )
    device: IntTraining | None = None
    divisor = 1
    if training is not None:
        batch_size = _batch_size(training, sample_count)
        divisor = batch_size if training.reduction == "mean" else 1
        device = _training(training, update, batch_size, divisor, seed)
    layers = []
    previous = formats.a0.frac
    for k, layer in enumerate(formats.layers, start=1):
        sparsity = None
        learns_here = any(below not in frozen for below in range(1, k + 1))
        if training is not None and k < net.n_layers and learns_here:
            sparsity = _layer_sparsity(training.sparsity, net.activations[k - 1], layer, k)
        layers.append(_dense(net, k, layer, previous, k in frozen, sparsity))
        previous = layer.a.frac
    model = IntModel(
        input=_input(scaling, tuple(features), formats),
        layers=tuple(layers),
        loss=net.loss,
        targets=tuple(targets),
        labels=tuple(labels),
        training=device,
    )
    check_learning_rate(model, divisor)
    prove(model)
    return model


def quantize(
    checkpoint: Checkpoint,
    *,
    initial: bool = False,
    inference_only: bool = False,
    update: str | None = None,
    freeze: Sequence[int] = (),
    seed: int = 0,
    weights: str = "s16",
    hidden_frac: int | None = None,
    inputs: FloatArray | None = None,
) -> IntModel:
    """
    Quantize what `bpgen.train` made; the settings are those of `quantize_network`.

    With `initial` the model has the weights from before the training, in the formats that the
    training needs, so that a device learns from scratch.
    """
    return quantize_network(
        checkpoint.initial if initial else checkpoint.net,
        None if inference_only else checkpoint.training,
        checkpoint.log.ranges,
        scaling=checkpoint.scaling,
        features=checkpoint.features,
        targets=checkpoint.targets,
        labels=checkpoint.labels,
        update=update,
        freeze=freeze,
        seed=seed,
        weights=weights,
        sample_count=checkpoint.split.train_count,
        hidden_frac=hidden_frac,
        inputs=inputs,
    )


def inference_only(model: IntModel) -> IntModel:
    """
    The same network without all that only learning needs.

    Its forward pass gives the same bits; its parameters stay in flash.
    """
    layers = tuple(
        replace(layer, dz_frac=None, dz_top=None, frozen=False, sparsity=None)
        for layer in model.layers
    )
    return replace(model, layers=layers, training=None)


def _checked_freeze(
    net: FloatNet, training: Training | None, freeze: Sequence[int]
) -> frozenset[int]:
    for k in freeze:
        if not 1 <= k <= net.n_layers:
            raise BpgenError(f"layer {k} cannot be frozen: the layers are 1 to {net.n_layers}")
    if training is not None and len(set(freeze)) == net.n_layers:
        raise BpgenError("all layers are frozen, so nothing can learn: leave one out of --freeze")
    return frozenset(freeze)


def _unsigned_peak(inputs: FloatArray | None) -> float:
    """The largest input, after making sure that none is negative."""
    if inputs is None:
        raise BpgenError(
            "an s8 model needs samples to see that no input is negative: add --data FILE"
        )
    if float(np.min(inputs)) < 0:
        raise BpgenError(
            f"an input is {float(np.min(inputs)):g}, but the inputs of an s8 model have no sign: "
            "train with --scale minmax, or choose s16 weights"
        )
    return float(np.max(inputs))


def _batch_size(training: Training, sample_count: int | None) -> int:
    if training.batch_size is not None:
        return training.batch_size
    if sample_count is None or sample_count < 1:
        raise BpgenError("a full batch needs the number of samples: give sample_count")
    return sample_count


def _training(
    training: Training, update: str | None, batch_size: int, divisor: int, seed: int
) -> IntTraining:
    needed = "momentum" if training.momentum > 0 else "batch" if training.batch_size != 1 else None
    if update is not None and update not in UPDATES:
        raise BpgenError(f"there is no update {update!r}: choose one of {', '.join(UPDATES)}")
    if needed is not None and update is not None and update != needed:
        what = "momentum" if needed == "momentum" else "batches"
        raise BpgenError(
            f"the update {update!r} does not go with {what}, which has its own: leave --update "
            f"out, or train with {'--momentum 0' if needed == 'momentum' else '--batch-size 1'}"
        )
    if not 0 <= seed <= 65535:
        raise BpgenError(f"the seed is {seed}: choose one from 0 to 65535")
    decay = math.floor(training.learning_rate * training.l2 * 2.0**24 + 0.5)
    if decay > 32767:
        raise BpgenError(
            f"learning rate times l2 is {training.learning_rate * training.l2:g}, 2^-9 or more: "
            "lower one of them"
        )
    if training.l2 > 0 and decay == 0:
        raise BpgenError(
            f"learning rate times l2 is {training.learning_rate * training.l2:g}, too small for "
            "16 bits to show: choose an l2 of at least "
            f"{2.0**-24 / training.learning_rate:.2g}, or 0"
        )
    sparsity = training.sparsity
    return IntTraining(
        update=update or needed or "residual",
        learning_rate=learning_rate(training.learning_rate / divisor),
        batch_size=batch_size,
        momentum=min(65535, math.floor(training.momentum * 2.0**16 + 0.5)),
        decay=decay,
        seed=seed,
        sparsity=None
        if sparsity is None or sparsity.weight == 0
        else Sparsity(
            min(32767, max(1, math.floor(sparsity.target * 2.0**15 + 0.5))),
            max(1, math.floor((1 - RUNNING_MEAN_DECAY ** (1 / batch_size)) * 2.0**16 + 0.5)),
        ),
    )


def _layer_sparsity(
    sparsity: FloatSparsity | None, kind: str, formats: LayerFormats, layer: int
) -> LayerSparsity | None:
    """The constants of docs/numbers.md, section 11, for one hidden layer."""
    if sparsity is None or sparsity.weight == 0:
        return None
    if kind not in TABLE_ACTIVATIONS:
        raise BpgenError(
            f"sparsity needs a bounded activation, but hidden layer {layer} is {kind}: use "
            "sigmoid, tanh or tanh_opt there, or leave sparsity out"
        )
    assert formats.dz_frac is not None
    slope = {"sigmoid": 1.0, "tanh": 0.5, "tanh_opt": 0.5 / TANH_OPT_SCALE}[kind]
    value = sparsity.weight * slope * 2.0 ** (formats.dz_frac + 4 - 15)
    fraction, exponent = math.frexp(value)
    multiplier, shift = math.floor(fraction * 2.0**15 + 0.5), 15 - exponent
    if multiplier == 32768:
        multiplier, shift = 16384, shift - 1
    if not 0 <= shift <= MAX_SHIFT:
        raise BpgenError(
            f"the sparsity weight {sparsity.weight:g} is too {'large' if shift < 0 else 'small'} "
            f"for the deltas of layer {layer}: choose one between "
            f"{sparsity.weight * 2.0 ** (shift - MAX_SHIFT):.2g} and "
            f"{sparsity.weight * 2.0**shift:.2g}"
        )
    target = min(32767, max(1, math.floor(sparsity.target * 2.0**15 + 0.5)))
    if kind == "sigmoid":
        frac = formats.a.frac
        return LayerSparsity(0, 1 << (30 - frac), multiplier, shift, target << frac)
    top = formats.a_top
    offset = top << 15
    reciprocal = ((1 << 31) // (2 * top) + 1) >> 1
    return LayerSparsity(offset, reciprocal, multiplier, shift, 2 * top * target - offset)


def _dense(
    net: FloatNet,
    k: int,
    formats: LayerFormats,
    previous_frac: int,
    frozen: bool,
    sparsity: LayerSparsity | None,
) -> Dense:
    byte = formats.w.bits == 8
    limit = 127 if byte else formats.w.highest
    w = _raws(net.w[k - 1], formats.w.frac, -127 if byte else formats.w.lowest, limit, "w", k)
    b_frac = formats.w.frac + (previous_frac if byte else 0)
    b_limit = 2**31 - 1 if byte else formats.w.highest
    b = _raws(net.b[k - 1], b_frac, -b_limit - 1, b_limit, "b", k)
    return Dense(
        activation=net.activations[k - 1],
        w_format=formats.w,
        z_format=formats.z,
        a_format=formats.a,
        a_top=formats.a_top,
        dz_frac=formats.dz_frac,
        dz_top=formats.dz_top,
        frozen=frozen,
        sparsity=sparsity,
        w=tuple(tuple(row) for row in w.tolist()),
        b=tuple(b.tolist()),
    )


def _raws(
    values: FloatArray, frac: int, lowest: int, highest: int, name: str, layer: int
) -> FloatArray:
    """Nearest raws, halves up; refuses one outside the format instead of clipping it."""
    raws = np.floor(np.ldexp(values, frac) + 0.5)
    outside = (raws < lowest) | (raws > highest)
    if outside.any():
        place = tuple(int(i) for i in np.argwhere(outside)[0])
        raise BpgenError(
            f"{name}{layer}{list(place)} of layer {layer} is {values[place]:g}, outside "
            f"{lowest * 2.0**-frac:g}..{highest * 2.0**-frac:g}, what {frac} fraction bits hold: "
            "quantize with the ranges of a training run, or train with smaller weights"
        )
    return raws.astype(np.int64)


def _input(scaling: Scaling, features: tuple[str, ...], formats: Formats) -> Input:
    rules = [
        _multiplier(scale, formats.a0.frac, name)
        for scale, name in zip(scaling.scale, features, strict=True)
    ]
    return Input(
        features=features,
        a_format=formats.a0,
        a_top=formats.a0_top,
        decimals=scaling.decimals,
        offset=scaling.offset,
        multiplier=tuple(m for m, _ in rules),
        shift=tuple(s for _, s in rules),
    )


def _multiplier(scale: float, frac: int, feature: str) -> tuple[int, int]:
    """
    u16 multiplier and shift of `scale` * 2^frac, with all 16 bits of the mantissa in use.

    Scales below 2^-32 units a count lose bits instead of needing a longer shift.
    """
    if scale < 0:
        raise BpgenError(f"the scale of feature {feature!r} is {scale:g}: it must not be negative")
    if scale == 0:
        return 0, 0
    value = math.ldexp(scale, frac)
    shift = min(MAX_SHIFT, 16 - math.frexp(value)[1])
    multiplier = math.floor(math.ldexp(value, shift) + 0.5)
    if multiplier == 65536:
        multiplier, shift = 32768, shift - 1
    if shift < 0:
        raise BpgenError(
            f"one count of feature {feature!r} is {scale:g} of the input's unit, too coarse for "
            f"{frac} fraction bits: scale the column with 'minmax' or 'standard', and quantize "
            "with the ranges of a training run"
        )
    return multiplier, shift


@dataclass(frozen=True)
class Row:
    """What the command line shows about one layer; layer 0 is the input."""

    layer: int
    shape: str
    activation: str
    w_format: str
    z_format: str
    a_format: str
    a_top: int
    dz_format: str
    dz_top: int | None
    forward: str
    backward: str
    shift: int | None
    update_frac: int | None
    state_bytes: int
    why: tuple[str, ...]


def explain(model: IntModel, ranges: Ranges | None = None) -> list[Row]:
    """
    Describe formats, sums, update alignment and state of the input and each layer.

    `shift` and `update_frac` are S and fu of section 8 at the model's learning rate. `ranges`
    adds to `why` what the float run saw.
    """
    rows = [
        Row(
            layer=0,
            shape=str(model.input.size),
            activation="input",
            w_format="",
            z_format="",
            a_format=str(model.input.a_format),
            a_top=model.input.a_top,
            dz_format="",
            dz_top=None,
            forward="",
            backward="",
            shift=None,
            update_frac=None,
            state_bytes=model.input.size * model.input.a_format.bits // 8,
            why=(_why_activation(model, 0, ranges),),
        )
    ]
    for proof, layer in zip(prove(model), model.layers, strict=True):
        k = proof.layer
        has_dz = model.has_dz(k)
        aligned = None
        if model.learns(k) and model.training is not None:
            aligned = model.alignment(k, model.training.learning_rate.exponent)
        rows.append(
            Row(
                layer=k,
                shape=f"{layer.inputs} -> {layer.outputs}",
                activation=layer.activation,
                w_format=str(layer.w_format),
                z_format=str(layer.z_format),
                a_format=str(layer.a_format),
                a_top=layer.a_top,
                dz_format=f"s16q{layer.dz_frac}" if has_dz else "",
                dz_top=layer.dz_top if has_dz else None,
                forward=_sum_text(proof.forward.plain, proof.forward.block),
                backward=_sum_text(proof.backward.plain, proof.backward.block)
                if proof.backward
                else "",
                shift=aligned[0] if aligned else None,
                update_frac=aligned[1] if aligned else None,
                state_bytes=sum(_layer_memory(model, k).values()),
                why=_why_layer(model, proof, ranges),
            )
        )
    return rows


def _sum_text(plain: bool, block: int) -> str:
    return "int32" if plain else f"int64, blocks of {block}"


def _why_activation(model: IntModel, k: int, ranges: Ranges | None) -> str:
    a = model.layers[k - 1] if k else model.input
    largest = a.a_top * 2.0**-a.a_format.frac
    text = f"a{k} holds +-{largest:.4g}"
    if ranges is not None:
        text += f", {ranges.a[k]:.4g} seen"
    return text


def _why_layer(model: IntModel, proof: LayerProof, ranges: Ranges | None) -> tuple[str, ...]:
    k = proof.layer
    layer = model.layers[k - 1]
    w = f"w{k} holds +-{2.0 ** (layer.w_format.bits - 1 - layer.w_format.frac):.4g}"
    if ranges is not None:
        w += f", {ranges.w[k - 1]:.4g} seen"
    why = [w, _why_activation(model, k, ranges)]
    if proof.forward.plain:
        why.append(f"z{k}: |sum| <= {proof.forward.bound}, below 2^31, for every weight")
    else:
        why.append(f"z{k}: |sum| reaches {proof.forward.bound}, beyond int32")
    if model.has_dz(k):
        assert layer.dz_top is not None
        assert layer.dz_frac is not None
        dz = f"dz{k} holds +-{layer.dz_top * 2.0**-layer.dz_frac:.4g}"
        if ranges is not None:
            dz += f", {ranges.dz[k - 1]:.4g} seen"
        why.append(dz)
    return tuple(why)


def memory(model: IntModel) -> dict[str, int]:
    """
    Bytes of state by array: a0, then per layer w, b, what the update adds, a, dz and p.

    Parameters of frozen layers, and of models that only infer, stay in flash. The few scalars of
    training and the padding of the C struct are not counted here.
    """
    sizes = {"a0": model.input.size * model.input.a_format.bits // 8}
    for k in range(1, len(model.layers) + 1):
        sizes.update(_layer_memory(model, k))
    return sizes


def _layer_memory(model: IntModel, k: int) -> dict[str, int]:
    layer = model.layers[k - 1]
    weights, biases = layer.inputs * layer.outputs, layer.outputs
    sizes: dict[str, int] = {}
    if model.learns(k):
        assert model.training is not None
        sizes[f"w{k}"], sizes[f"b{k}"] = 2 * weights, 2 * biases
        if model.training.update in ("residual", "momentum"):
            sizes[f"w{k}_low"], sizes[f"b{k}_low"] = weights, biases
        if model.training.update in ("batch", "momentum"):
            sizes[f"vw{k}"], sizes[f"vb{k}"] = 4 * weights, 4 * biases
    sizes[f"a{k}"] = layer.outputs * layer.a_format.bits // 8
    if model.has_dz(k):
        sizes[f"dz{k}"] = 2 * layer.outputs
    if layer.sparsity:
        sizes[f"p{k}"] = 4 * layer.outputs
    return sizes

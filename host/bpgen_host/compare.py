"""
Gradients of a board, of the twin and of float arithmetic, beside one another.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bpgen import bounds, wire
from bpgen.errors import BpgenError
from bpgen.floatnet import FloatArray
from bpgen.model import IntModel
from bpgen.qformat import IntArray
from bpgen.twin import Twin
from bpgen_host.device import Deltas, Device, Target, target_of
from bpgen_host.failures import Refused
from bpgen_host.follower import all_masters

# So often a gradient is asked for when a late repeat of the request takes it.
GRADIENT_TRIES = 3


@dataclass(frozen=True)
class Row:
    """
    One element of the gradient: dw[j][i] of layer `layer`, or db[j] with i None.

    `device` and `twin` are raws that must be equal, `value` what the raw means, `error` its
    distance from `reference` in float, `bound` the limit of bpgen.bounds and `share` error / bound.
    The last four are None where there is no bound.
    """

    layer: int
    kind: Literal["w", "b"]
    j: int
    i: int | None
    device: int
    twin: int
    value: float
    reference: float | None
    error: float | None
    bound: float | None
    share: float | None

    @property
    def name(self) -> str:
        """Spelled like the tensor: dw2[3][7], db1[0]."""
        return f"d{self.kind}{self.layer}[{self.j}]" + ("" if self.i is None else f"[{self.i}]")


@dataclass(frozen=True)
class Comparison:
    """
    The gradient of one sample: `rows` worst first, elements that differ from the twin before all.

    `bounded` is False where float cannot be compared: the contract clipped the sample, or the
    model has a sparsity penalty; `outputs_different` counts outputs and loss.
    """

    rows: tuple[Row, ...]
    y: tuple[int, ...]
    loss: float
    outputs_different: int
    different: int
    outside: int
    worst_share: float | None
    bounded: bool

    @property
    def passed(self) -> bool:
        """Whether all is equal to the twin and inside the bound."""
        return not (self.outputs_different or self.different or self.outside)


@dataclass(frozen=True)
class GradientCheck:
    """`compare_gradient` over many samples: sums, the worst element, and where it was."""

    samples: int
    elements: int
    outputs_different: int
    different: int
    outside: int
    unbounded: int
    worst_share: float | None
    worst_sample: int | None
    worst: Row | None

    @property
    def passed(self) -> bool:
        """Whether all is equal to the twin and inside the bound."""
        return not (self.outputs_different or self.different or self.outside)


def compare_gradient(
    device: Device, model: IntModel, a0: IntArray, t: IntArray, *, reset: bool = False
) -> Comparison:
    """
    Compare the gradient of one sample, raws a0 [n_in] and t [n_out], on the board's own weights.

    The weights are read from the board. With `reset` the board goes back to the weights of its
    firmware first; a model with a sparsity penalty needs that, because its running means cannot be
    read. Raises BpgenError for a model that cannot learn.
    """
    return _compare(device, _twin_of(device, model, reset), a0, t)


def check_gradients(
    device: Device,
    model: IntModel,
    a0: IntArray,
    t: IntArray,
    *,
    reset: bool = False,
    on_sample: Callable[[int], None] | None = None,
) -> GradientCheck:
    """`compare_gradient` for every sample of a0 [n][n_in] and t [n][n_out]."""
    twin = _twin_of(device, model, reset)
    elements = outputs = different = outside = unbounded = 0
    worst: tuple[int, Row] | None = None
    for sample, (x, target) in enumerate(zip(a0, t, strict=True)):
        comparison = _compare(device, twin, x, target)
        elements += len(comparison.rows)
        outputs += comparison.outputs_different
        different += comparison.different
        outside += comparison.outside
        unbounded += not comparison.bounded
        if comparison.rows and (worst is None or _badness(comparison.rows[0]) > _badness(worst[1])):
            worst = sample, comparison.rows[0]
        if on_sample is not None:
            on_sample(sample + 1)
    return GradientCheck(
        len(a0),
        elements,
        outputs,
        different,
        outside,
        unbounded,
        None if worst is None else worst[1].share,
        None if worst is None else worst[0],
        None if worst is None else worst[1],
    )


def _twin_of(device: Device, model: IntModel, reset: bool) -> Twin:
    """A twin in the state of the board."""
    if model.training is None:
        raise BpgenError(
            "this model can only infer and has no gradient: make one that can learn with 'bpgen "
            "quantize', without --inference-only"
        )
    device.check_model(model)
    if reset:
        device.reset_model(model.training.seed)
    elif wire.Capability.MEANS in device.info.capabilities:
        raise BpgenError(
            "the gradient of a model with a sparsity penalty depends on running means that cannot "
            "be read: add --reset-weights (reset=True) to start from the state of the firmware"
        )
    twin = Twin(model)
    twin.set_parameters(all_masters(twin, device.parameters()))
    return twin


def _gradient(device: Device, a0: IntArray, target: Target) -> tuple[Deltas, IntArray]:
    """
    The deltas of a sample and its gradient.

    A BACKWARD that is answered late is sent again. Where it does not raise gen the board does both,
    and the second may move the tag on while the gradient of the first is read.
    """
    tries = 1 if wire.Capability.MEANS in device.info.capabilities else GRADIENT_TRIES
    while True:
        answer = device.backward(a0, target)
        tries -= 1
        try:
            return answer, device.gradient(answer.tag)
        except Refused as error:
            if error.status != wire.Status.E_STATE or tries == 0:
                raise


def _compare(device: Device, twin: Twin, a0: IntArray, t: IntArray) -> Comparison:
    model = twin.model
    answer, raws = _gradient(device, a0, target_of(model, t))
    a = twin.forward(a0[np.newaxis])
    gradient = twin.gradient(a, twin.backward(a, t[np.newaxis]))
    loss = int(twin.losses(a[-1], t[np.newaxis])[0])
    wrong = int(np.count_nonzero(a[-1][0] != answer.y))
    wrong += answer.loss != wire.wire_loss([loss])
    limits = _limits(twin, a0, t)
    rows = [
        row
        for k, first in _layers(model)
        for row in _layer_rows(model, k, raws[first:], gradient[k - 1], limits)
    ]
    rows.sort(key=_badness, reverse=True)
    shares = [row.share for row in rows if row.share is not None]
    return Comparison(
        rows=tuple(rows),
        y=tuple(answer.y.tolist()),
        loss=answer.loss * 2.0**-twin.loss_frac,
        outputs_different=wrong,
        different=sum(row.device != row.twin for row in rows),
        outside=sum(share > 1.0 for share in shares),
        worst_share=max(shares, default=None),
        bounded=limits is not None,
    )


def _limits(twin: Twin, a0: IntArray, t: IntArray) -> bounds.Bounds | None:
    """The running bound, None where it does not hold."""
    training = twin.model.training
    if training is not None and training.sparsity is not None:
        return None
    w, b = [w[0] for w in twin.w], [b[0] for b in twin.b]
    # Logits far apart overflow the bound's exp, and then there is none.
    with np.errstate(all="ignore"):
        limits = bounds.running(twin.model, w, b, a0[np.newaxis], t[np.newaxis])
    tensors = (limit for limit in (*limits.limit.dw, *limits.limit.db) if limit is not None)
    finite = all(np.isfinite(limit).all() for limit in tensors)
    return limits if finite and bool(limits.valid.all()) else None


def _layers(model: IntModel) -> Iterator[tuple[int, int]]:
    """Each layer that learns, and the index of its first parameter among those that do."""
    first = 0
    for k, layer in enumerate(model.layers, start=1):
        if model.learns(k):
            yield k, first
            first += layer.count


def _layer_rows(
    model: IntModel,
    k: int,
    raws: IntArray,
    twin: tuple[IntArray, IntArray] | None,
    limits: bounds.Bounds | None,
) -> Iterator[Row]:
    layer = model.layers[k - 1]
    assert twin is not None
    assert layer.dz_frac is not None
    unit = 2.0 ** -(layer.dz_frac + model.previous(k).a_format.frac)
    weights = layer.outputs * layer.inputs
    kinds: tuple[tuple[Literal["w", "b"], IntArray, IntArray], ...] = (
        ("w", raws[:weights], twin[0][0]),
        ("b", raws[weights : layer.count], twin[1][0]),
    )
    for kind, device, expected in kinds:
        reference, limit = _reference(limits, kind, k)
        indices = np.ndindex(expected.shape)
        for raw, index in zip(device.tolist(), indices, strict=True):
            value = raw * unit
            real = None if reference is None else float(reference[index])
            bound = None if limit is None else float(limit[index])
            error = None if real is None else abs(value - real)
            share = None if error is None or bound is None else _share(error, bound)
            j, i = index if kind == "w" else (index[0], None)
            yield Row(k, kind, j, i, raw, int(expected[index]), value, real, error, bound, share)


def _reference(
    limits: bounds.Bounds | None, kind: Literal["w", "b"], k: int
) -> tuple[FloatArray | None, FloatArray | None]:
    """Float gradient and limit of one tensor."""
    if limits is None:
        return None, None
    sides = limits.reference, limits.limit
    reference, limit = ((v.dw if kind == "w" else v.db)[k - 1] for v in sides)
    assert reference is not None
    assert limit is not None
    return reference[0], limit[0]


def _share(error: float, bound: float) -> float:
    """The part of a bound that an error takes; the bound of an exact product with 0 is 0."""
    if error == 0.0:
        return 0.0
    return error / bound if bound else math.inf


def _badness(row: Row) -> tuple[bool, float]:
    return row.device != row.twin, row.share or 0.0

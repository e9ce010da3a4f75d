"""Models that between them need everything a template can print."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bpgen.lut import activation_top
from bpgen.model import (
    TABLE_ACTIVATIONS,
    Dense,
    Input,
    IntModel,
    IntTraining,
    LayerSparsity,
    LearningRate,
    Sparsity,
)
from bpgen.qformat import QFormat


def s16(frac: int) -> QFormat:
    return QFormat(True, 16, frac)


def trainable(
    sizes: tuple[int, ...],
    activations: tuple[str, ...],
    loss: str,
    update: str | None,
    *,
    frac: int = 11,
    decay: int = 0,
    frozen: tuple[int, ...] = (),
    sparse: bool = False,
    dz_top: int = 8000,
    labels: tuple[str, ...] = (),
) -> IntModel:
    """An s16 model with random weights; without an update it can only infer."""
    rng = np.random.default_rng(len(sizes))
    layers = []
    for k, kind in enumerate(activations, start=1):
        ranged = kind in ("relu", "linear")
        top = 32767 if ranged else activation_top(kind, frac)
        w = rng.integers(-3000, 3001, (sizes[k], sizes[k - 1]))
        is_sparse = sparse and kind in TABLE_ACTIVATIONS and k < len(activations)
        offset = 0 if kind == "sigmoid" else top << 15
        layers.append(
            Dense(
                activation=kind,
                w_format=s16(12),
                z_format=s16(frac if ranged else 10 if kind == "softmax" else 12),
                a_format=s16(frac),
                a_top=top,
                dz_frac=(frac if k == len(activations) else frac - 1) if update else None,
                dz_top=dz_top if update else None,
                frozen=k in frozen,
                sparsity=LayerSparsity(
                    offset,
                    1 << (30 - frac) if kind == "sigmoid" else (1 << 30) // (2 * top),
                    20000,
                    12,
                    1638 << frac if kind == "sigmoid" else 2 * top * 1638 - offset,
                )
                if is_sparse
                else None,
                w=tuple(tuple(row) for row in w.tolist()),
                b=tuple(rng.integers(-3000, 3001, sizes[k]).tolist()),
            )
        )
    training = IntTraining(
        update=update or "residual",
        learning_rate=LearningRate(26215, 2),
        batch_size=8 if update in ("batch", "momentum") else 1,
        momentum=58982 if update == "momentum" else 0,
        decay=decay,
        seed=1 if update == "stochastic" else 0,
        sparsity=Sparsity(1638, 655) if sparse else None,
    )
    return IntModel(
        input=_input(sizes[0], s16(12), 32767),
        layers=tuple(layers),
        loss=loss,
        targets=("y",),
        labels=labels,
        training=training if update else None,
    )


def _input(size: int, a_format: QFormat, top: int) -> Input:
    return Input(
        features=tuple(f"x{i}" for i in range(size)),
        a_format=a_format,
        a_top=top,
        decimals=(2,) * size,
        offset=tuple(-50 * i for i in range(size)),
        multiplier=(40960,) * size,
        shift=(10,) * size,
    )


def byte_model(sizes: tuple[int, ...], activations: tuple[str, ...], loss: str) -> IntModel:
    """An s8/u8 model; its layers shift both ways."""
    rng = np.random.default_rng(8)
    layers = []
    for k, kind in enumerate(activations, start=1):
        output = k == len(activations)
        a_format = s16(12) if output else QFormat(False, 8, 8 if kind == "sigmoid" else 5)
        w = rng.integers(-127, 128, (sizes[k], sizes[k - 1]))
        layers.append(
            Dense(
                activation=kind,
                # A fraction of -2 in the last layer makes its sum coarser than z.
                w_format=QFormat(True, 8, -2 if output else 6),
                z_format=s16({"relu": 5, "softmax": 10}.get(kind, 12)),
                a_format=a_format,
                a_top=activation_top(kind, 12) if output and kind != "linear" else 255,
                dz_frac=None,
                dz_top=None,
                frozen=False,
                sparsity=None,
                w=tuple(tuple(row) for row in w.tolist()),
                b=tuple(rng.integers(-100000, 100001, sizes[k]).tolist()),
            )
        )
    return IntModel(
        input=_input(sizes[0], QFormat(False, 8, 8), 255),
        layers=tuple(layers),
        loss=loss,
        targets=("y",),
        labels=(),
        training=None,
    )


def everything() -> dict[str, IntModel]:
    """The models by name; their sizes fit an ATmega328P."""
    squared, cross = "squared_error", "cross_entropy"
    residual = trainable(
        (4, 5, 3), ("sigmoid", "softmax"), cross, "residual", labels=("a", "b", "c")
    )
    return {
        "residual": residual,
        "residual-l2-sparsity": trainable(
            (4, 6, 5, 3), ("tanh", "tanh_opt", "sigmoid"), cross, "residual", decay=7, sparse=True
        ),
        "stochastic-l2": trainable((5, 4, 2), ("relu", "linear"), squared, "stochastic", decay=9),
        "batch": trainable((3, 4, 2), ("tanh_opt", "sigmoid"), squared, "batch"),
        "batch-l2-sparsity": trainable(
            (3, 6, 4, 2), ("sigmoid", "relu", "linear"), squared, "batch", decay=3, sparse=True
        ),
        "momentum-l2": trainable((3, 4, 2), ("linear", "softmax"), cross, "momentum", decay=5),
        "momentum": trainable((4, 3), ("sigmoid",), squared, "momentum"),
        "blocks": trainable(
            (18, 17, 5), ("sigmoid", "softmax"), cross, "stochastic", frac=13, dz_top=32767
        ),
        "blocks-relu": trainable((9, 8, 7), ("relu", "linear"), squared, "residual", dz_top=32767),
        "frozen-below": trainable(
            (4, 5, 3, 2), ("sigmoid", "tanh", "softmax"), cross, "residual", frozen=(1,)
        ),
        "frozen-above": trainable(
            (4, 5, 3, 2), ("tanh", "relu", "linear"), squared, "stochastic", frozen=(2, 3)
        ),
        "frozen-above-blocks": trainable(
            (4, 18, 17, 3),
            ("tanh", "sigmoid", "softmax"),
            cross,
            "stochastic",
            frac=13,
            frozen=(2, 3),
            dz_top=32767,
        ),
        "inference-s16": trainable((7, 6, 4), ("tanh", "softmax"), cross, None),
        "inference-s16-linear": trainable((30, 6, 4), ("relu", "linear"), squared, None),
        "inference-s8": byte_model((7, 6, 5, 4), ("sigmoid", "relu", "softmax"), cross),
        "inference-s8-sigmoid": byte_model((3, 4, 2), ("relu", "sigmoid"), squared),
        "inference-s8-linear": byte_model((3, 2), ("linear",), squared),
        "awkward-labels": replace(residual, labels=('"; }', "back\\slash\n", "tri??/graph*/")),
    }

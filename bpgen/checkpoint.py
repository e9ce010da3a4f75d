"""
What `bpgen train` makes and saves: the float network, how it was trained, and on what.

The file is an .npz of plain arrays, never a pickle: w1, b1, ..., the same before training as
initial_w1, initial_b1, ..., the loss of each epoch, and `meta`, a JSON text. The same training
gives the same bytes.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bpgen import floatnet
from bpgen.dataset import Dataset
from bpgen.emit.write import write_file
from bpgen.errors import BpgenError
from bpgen.floatnet import FloatNet, Sparsity
from bpgen.scaling import Scaling
from bpgen.training import Ranges, Training, TrainingLog
from bpgen.training import train as train_network

FORMAT = "bpgen-checkpoint"
VERSION = 1


@dataclass(frozen=True)
class Split:
    """
    How the samples were divided: those of `Dataset.split(test_fraction, seed)`.

    With a test fraction of 0 all samples were trained on and there is no test part.
    """

    test_fraction: float
    seed: int
    train_count: int
    test_count: int

    def divide(self, data: Dataset) -> tuple[Dataset, Dataset | None]:
        """The training and the test part of `data`, the set the checkpoint was made from."""
        return divide(data, self.test_fraction, self.seed)


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """
    A trained network and all that the integer model is made from.

    `initial` is the network before training, so that a device can learn from scratch with the
    same start; `log` has the loss of each epoch and the ranges that formats are chosen from.
    `scaling_kind` says how `scaling` was fitted, `split` which samples it and the training saw.
    """

    net: FloatNet
    initial: FloatNet
    training: Training
    log: TrainingLog
    scaling: Scaling
    scaling_kind: str
    features: tuple[str, ...]
    targets: tuple[str, ...]
    labels: tuple[str, ...]
    split: Split

    def save(self, path: str | Path, *, force: bool = False) -> None:
        """Write the checkpoint; BpgenError when the file exists and `force` is not set."""
        write_file(Path(path), self.to_bytes(), force=force)

    def to_bytes(self) -> bytes:
        """The content of the file."""
        meta = {
            "format": FORMAT,
            "version": VERSION,
            "activations": list(self.net.activations),
            "loss": self.net.loss,
            "training": asdict(self.training),
            "ranges": asdict(self.log.ranges),
            "scaling": asdict(self.scaling),
            "scaling_kind": self.scaling_kind,
            "features": list(self.features),
            "targets": list(self.targets),
            "labels": list(self.labels),
            "split": asdict(self.split),
        }
        arrays = {
            "meta": np.array(json.dumps(meta, sort_keys=True)),
            "epoch_loss": np.array(self.log.loss, dtype=np.float64),
        }
        for prefix, net in (("", self.net), ("initial_", self.initial)):
            for k, (w, b) in enumerate(zip(net.w, net.b, strict=True), start=1):
                arrays[f"{prefix}w{k}"], arrays[f"{prefix}b{k}"] = w, b
        file = io.BytesIO()
        np.savez(file, allow_pickle=False, **arrays)
        return file.getvalue()


def divide(data: Dataset, test_fraction: float, seed: int) -> tuple[Dataset, Dataset | None]:
    """`data.split`, or all of it and no test part for a test fraction of 0."""
    return data.split(test_fraction, seed) if test_fraction else (data, None)


def train(
    data: Dataset,
    layers: Sequence[int],
    training: Training | None = None,
    *,
    hidden: str | Sequence[str] = "sigmoid",
    output: str = "sigmoid",
    loss: str | None = None,
    init: str = "xavier",
    scaling: str = "minmax",
    test_fraction: float = 0.25,
    on_epoch: Callable[[int, float], None] | None = None,
) -> Checkpoint:
    """
    Split and scale samples, make a network with layer sizes n0, ..., nL, and train it in float.

    `training.seed` decides the split, the initial weights and the order of the samples. The
    scaling is fitted to the training part alone. `loss` defaults to cross_entropy behind softmax
    and to squared_error otherwise. `on_epoch` gets the epoch, counted from 0, and its loss.

    Warns with SymmetryWarning where hidden units start out identical. Raises BpgenError for
    whatever does not fit: layers, settings, too few samples, or a run that diverges.
    """
    training = training or Training()
    check_layers(data, layers)
    train_part, test_part = divide(data, test_fraction, training.seed)
    fitted = Scaling.fit(train_part.x, scaling, data.features)
    loss = loss or ("cross_entropy" if output == "softmax" else "squared_error")
    net = floatnet.create(layers, hidden, output, loss, init, training.seed)
    initial = net.copy()
    log = train_network(net, fitted.apply(train_part.x), train_part.t, training, on_epoch)
    return Checkpoint(
        net=net,
        initial=initial,
        training=training,
        log=log,
        scaling=fitted,
        scaling_kind=scaling,
        features=data.features,
        targets=data.targets,
        labels=data.labels,
        split=Split(
            test_fraction, training.seed, len(train_part), len(test_part) if test_part else 0
        ),
    )


def check_layers(data: Dataset, layers: Sequence[int]) -> None:
    """Raise BpgenError, naming the number to change, for layer sizes that do not fit the data."""
    if len(layers) < 2 or min(layers) < 1:
        raise BpgenError(
            f"layer sizes {_dashed(layers)} make no network: give at least an input and an output "
            "size, each 1 or more, for example 4-8-3"
        )
    inputs, outputs = data.x.shape[1], data.t.shape[1]
    kind = "classes" if data.labels else "target values"
    wanted = _dashed((inputs, *layers[1:-1], outputs))
    if layers[0] != inputs:
        raise BpgenError(
            f"the first layer size is {layers[0]}, but the data has {inputs} features: change it "
            f"to {inputs}, as in {wanted}"
        )
    if layers[-1] != outputs:
        raise BpgenError(
            f"the last layer size is {layers[-1]}, but the data has {outputs} {kind}: change it "
            f"to {outputs}, as in {wanted}"
        )


def load(path: str | Path) -> Checkpoint:
    """
    Read what `Checkpoint.save` wrote.

    Raises BpgenError for a file that is missing, cut short or damaged, that is something else, or
    that another version wrote.
    """
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise BpgenError(f"there is no file {path}: make it with 'bpgen train'") from None
    except (OSError, ValueError) as error:
        raise BpgenError(f"{path} cannot be read ({error}): check its name") from None
    # A damaged archive fails in zipfile, zlib, struct, tokenize or NumPy, each with its own
    # exception; to the user it is one mistake.
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive}
    except Exception:
        raise BpgenError(
            f"{path} is not a bpgen checkpoint, or it is cut short or damaged: make it again with "
            "'bpgen train'"
        ) from None
    meta = _meta(path, arrays)
    try:
        return _read(meta, arrays)
    except (BpgenError, KeyError, TypeError, ValueError, AttributeError, OverflowError):
        raise BpgenError(
            f"{path} is damaged, its parts do not fit together: make it again with 'bpgen train'"
        ) from None


def _meta(path: str | Path, arrays: dict[str, Any]) -> dict[str, Any]:
    text = arrays.get("meta")
    meta: Any = None
    if isinstance(text, np.ndarray) and text.dtype.kind == "U" and text.ndim == 0:
        try:
            meta = json.loads(str(text))
        except (ValueError, RecursionError):
            meta = None
    if not isinstance(meta, dict) or meta.get("format") != FORMAT:
        raise BpgenError(f"{path} is not a bpgen checkpoint: make one with 'bpgen train'")
    if meta.get("version") != VERSION:
        raise BpgenError(
            f"{path} has checkpoint version {meta.get('version')!r}, this bpgen reads version "
            f"{VERSION}: make it again with 'bpgen train'"
        )
    return meta


def _read(meta: dict[str, Any], arrays: dict[str, Any]) -> Checkpoint:
    """Put the parts together; any exception but MemoryError means that they do not fit."""
    net = _net(meta, arrays, "")
    initial = _net(meta, arrays, "initial_")
    if initial.sizes != net.sizes:
        raise ValueError("the initial weights have other shapes")
    settings = dict(meta["training"])
    if settings["sparsity"] is not None:
        settings["sparsity"] = Sparsity(**settings["sparsity"])
    if settings["stop_loss"] is not None:
        low, high = settings["stop_loss"]
        settings["stop_loss"] = (float(low), float(high))
    training = Training(**settings)
    for name in ("epochs", "seed", *(("batch_size",) if training.batch_size is not None else ())):
        _integer(getattr(training, name))
    scaling = Scaling(
        tuple(_integer(d) for d in meta["scaling"]["decimals"]),
        tuple(_integer(o) for o in meta["scaling"]["offset"]),
        tuple(float(s) for s in meta["scaling"]["scale"]),
    )
    features, targets, labels = (_texts(meta[key]) for key in ("features", "targets", "labels"))
    if not len(features) == len(scaling.offset) == net.sizes[0]:
        raise ValueError("the features do not fit the network")
    if len(labels) not in (0, net.sizes[-1]) or not isinstance(meta["scaling_kind"], str):
        raise ValueError("the labels do not fit the network")
    split = Split(**meta["split"])
    _integer(split.seed), _integer(split.train_count), _integer(split.test_count)
    if not 0.0 <= split.test_fraction < 1.0:
        raise ValueError("the test fraction is out of range")
    epochs = arrays["epoch_loss"]
    if epochs.dtype != np.float64 or epochs.ndim != 1 or not np.isfinite(epochs).all():
        raise ValueError("the losses are no finite numbers")
    log = TrainingLog([float(loss) for loss in epochs], _ranges(meta["ranges"], net.n_layers))
    return Checkpoint(
        net, initial, training, log, scaling, meta["scaling_kind"], features, targets, labels, split
    )


def _net(meta: dict[str, Any], arrays: dict[str, Any], prefix: str) -> FloatNet:
    layers = range(1, len(meta["activations"]) + 1)
    parts = [[arrays[f"{prefix}{name}{k}"] for k in layers] for name in "wb"]
    if any(part.dtype != np.float64 for group in parts for part in group):
        raise ValueError("the parameters are not float64")
    return FloatNet(parts[0], parts[1], _texts(meta["activations"]), meta["loss"])


def _ranges(data: dict[str, Any], n_layers: int) -> Ranges:
    ranges = Ranges(**data)
    for name, length in (("a", n_layers + 1), ("z", n_layers), ("w", n_layers), ("dz", n_layers)):
        values = getattr(ranges, name)
        if len(values) != length or not all(0.0 <= value < math.inf for value in values):
            raise ValueError(f"the ranges of {name} do not fit the network")
    if not 0.0 <= ranges.t < math.inf:
        raise ValueError("the range of the targets is no finite number")
    return ranges


def _texts(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise TypeError("a list of texts was expected")
    return tuple(values)


def _integer(value: Any) -> int:
    if type(value) is not int:
        raise TypeError("an integer was expected")
    return value


def _dashed(sizes: Sequence[int]) -> str:
    return "-".join(map(str, sizes))

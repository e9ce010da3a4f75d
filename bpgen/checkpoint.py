"""
What `bpgen train` makes and saves: the float network, how it was trained, and on what.

The file is an .npz of plain arrays, never a pickle: w1, b1, ..., the same before training as
initial_w1, initial_b1, ..., the loss of each epoch, and `meta`, a JSON text. The same training
gives the same bytes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from bpgen import floatnet
from bpgen.archive import ArchiveError, read_arrays, write_arrays
from bpgen.dataset import Dataset
from bpgen.emit.write import write_file
from bpgen.errors import BpgenError
from bpgen.floatnet import FloatArray, FloatNet, Sparsity
from bpgen.scaling import Scaling
from bpgen.training import Ranges, Training, TrainingLog
from bpgen.training import train as train_network

FORMAT = "bpgen-checkpoint"
VERSION = 1

Arrays: TypeAlias = dict[str, npt.NDArray[Any]]
Fields: TypeAlias = dict[str, Any]
# Takes a value of a JSON text and gives it back, or raises BpgenError when it is of another kind.
Reader: TypeAlias = Callable[[object], Any]


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
        arrays: Arrays = {
            "meta": np.array(json.dumps(meta, sort_keys=True)),
            "epoch_loss": np.array(self.log.loss, dtype=np.float64),
        }
        for prefix, net in (("", self.net), ("initial_", self.initial)):
            for k, (w, b) in enumerate(zip(net.w, net.b, strict=True), start=1):
                arrays[f"{prefix}w{k}"], arrays[f"{prefix}b{k}"] = w, b
        return write_arrays(arrays)


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
    try:
        arrays = read_arrays(data)
    except ArchiveError:
        raise BpgenError(
            f"{path} is not a bpgen checkpoint, or it is cut short or damaged: make it again with "
            "'bpgen train'"
        ) from None
    meta = _meta(path, arrays)
    try:
        return _read(meta, arrays)
    except BpgenError:
        raise BpgenError(
            f"{path} is damaged, its parts do not fit together: make it again with 'bpgen train'"
        ) from None


def _meta(path: str | Path, arrays: Arrays) -> Fields:
    text = arrays.get("meta")
    meta: object = None
    if text is not None and text.dtype.kind == "U" and text.ndim == 0:
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


def _read(meta: Fields, arrays: Arrays) -> Checkpoint:
    """Put the parts together. Raises BpgenError, whose text is for no user, if they do not fit."""
    top = _read_meta(meta)
    net = _net(top, arrays, "")
    initial = _net(top, arrays, "initial_")
    _check(initial.sizes == net.sizes, "the initial weights have other shapes")
    scaling = Scaling(**{name: tuple(values) for name, values in top["scaling"].items()})
    features, targets, labels = (tuple(top[name]) for name in ("features", "targets", "labels"))
    _check(len(features) == len(scaling.offset) == net.sizes[0], "the features do not fit")
    _check(len(labels) in (0, net.sizes[-1]), "the labels do not fit")
    split = Split(**top["split"])
    _check(0.0 <= split.test_fraction < 1.0, "the test fraction is out of range")
    epochs = _array(arrays, "epoch_loss")
    _check(epochs.ndim == 1 and bool(np.isfinite(epochs).all()), "the losses are no finite numbers")
    log = TrainingLog([float(loss) for loss in epochs], _ranges(top["ranges"], net.n_layers))
    return Checkpoint(
        net=net,
        initial=initial,
        training=_training(top["training"]),
        log=log,
        scaling=scaling,
        scaling_kind=top["scaling_kind"],
        features=features,
        targets=targets,
        labels=labels,
        split=split,
    )


def _net(top: Fields, arrays: Arrays, prefix: str) -> FloatNet:
    layers = range(1, len(top["activations"]) + 1)
    w, b = ([_array(arrays, f"{prefix}{name}{k}") for k in layers] for name in "wb")
    return FloatNet(w, b, tuple(top["activations"]), top["loss"])


def _training(fields: Fields) -> Training:
    sparsity, stop_loss = fields["sparsity"], fields["stop_loss"]
    if stop_loss is not None:
        _check(len(stop_loss) == 2, "a range of losses has two ends")
    return Training(
        **fields
        | {
            "sparsity": None if sparsity is None else Sparsity(**sparsity),
            "stop_loss": None if stop_loss is None else (stop_loss[0], stop_loss[1]),
        }
    )


def _ranges(fields: Fields, n_layers: int) -> Ranges:
    ranges = Ranges(**fields)
    for name, length in (("a", n_layers + 1), ("z", n_layers), ("w", n_layers), ("dz", n_layers)):
        values = fields[name]
        fit = len(values) == length and all(0.0 <= value < math.inf for value in values)
        _check(fit, f"the ranges of {name} do not fit the network")
    _check(0.0 <= ranges.t < math.inf, "the range of the targets is no finite number")
    return ranges


def _array(arrays: Arrays, name: str) -> FloatArray:
    _check(name in arrays and arrays[name].dtype == np.float64, f"there is no float64 {name}")
    return arrays[name]


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise BpgenError("true or false was expected")
    return value


def _integer(value: object) -> int:
    if type(value) is not int:
        raise BpgenError("an integer was expected")
    return value


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BpgenError("a number was expected")
    # JSON has integers that no float64 holds.
    if isinstance(value, int) and abs(value) >= 2**1023:
        raise BpgenError("the number is too large")
    return value


def _float(value: object) -> float:
    return float(_number(value))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise BpgenError("a text was expected")
    return value


def _optional(read: Reader) -> Reader:
    return lambda value: None if value is None else read(value)


def _list(read: Reader) -> Reader:
    def read_list(value: object) -> list[Any]:
        if not isinstance(value, list):
            raise BpgenError("a list was expected")
        return [read(one) for one in value]

    return read_list


def _object(kinds: dict[str, Reader]) -> Reader:
    def read_object(value: object) -> Fields:
        if not isinstance(value, dict) or value.keys() != kinds.keys():
            raise BpgenError(f"an object with {', '.join(kinds)} was expected")
        return {name: read(value[name]) for name, read in kinds.items()}

    return read_object


# The fields of `meta`, as `Checkpoint.to_bytes` writes them.
_read_meta = _object(
    {
        "format": _text,
        "version": _integer,
        "activations": _list(_text),
        "loss": _text,
        "training": _object(
            {
                "learning_rate": _number,
                "epochs": _integer,
                "batch_size": _optional(_integer),
                "reduction": _text,
                "momentum": _number,
                "l2": _number,
                "sparsity": _optional(_object({"target": _number, "weight": _number})),
                "learning_rate_decay": _number,
                "stop_loss": _optional(_list(_float)),
                "seed": _integer,
                "shuffle": _flag,
            }
        ),
        "ranges": _object({"t": _float} | {name: _list(_float) for name in ("a", "z", "w", "dz")}),
        "scaling": _object(
            {"decimals": _list(_integer), "offset": _list(_integer), "scale": _list(_float)}
        ),
        "scaling_kind": _text,
        "features": _list(_text),
        "targets": _list(_text),
        "labels": _list(_text),
        "split": _object(
            {
                "test_fraction": _number,
                "seed": _integer,
                "train_count": _integer,
                "test_count": _integer,
            }
        ),
    }
)


def _check(fits: bool, message: str) -> None:
    if not fits:
        raise BpgenError(message)


def _dashed(sizes: Sequence[int]) -> str:
    return "-".join(map(str, sizes))

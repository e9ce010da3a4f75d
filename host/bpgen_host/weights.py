"""
Weights of a board in files: .npz, .json or .csv, with one entry a tensor and the model's hash.

The numbers are masters, raws that hold every bit of the state: w * 256 + w_low, or w
(docs/numbers.md, section 8).
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from bpgen import wire
from bpgen.archive import ArchiveError, read_arrays, write_arrays
from bpgen.errors import BpgenError
from bpgen.model import IntModel
from bpgen.qformat import IntArray
from bpgen.twin import Twin
from bpgen_host.description import Description

FORMAT = "bpgen-weights"
SUFFIXES = (".npz", ".json", ".csv")

# What the readers below raise for bytes that are no weights file: text that is no UTF-8, JSON or
# number is a ValueError, an entry that is missing one of the next three, JSON nested too deep the
# last.
_DAMAGE = (ArchiveError, csv.Error, ValueError, KeyError, IndexError, TypeError, RecursionError)


@dataclass(frozen=True)
class Tensor:
    """Weights or biases of one layer; a raw means raw * 2^-frac."""

    name: str
    shape: tuple[int, ...]
    frac: int

    @property
    def size(self) -> int:
        return int(np.prod(self.shape))

    def element(self, index: int) -> str:
        """w2[1][0]."""
        places = np.unravel_index(index, self.shape)
        return self.name + "".join(f"[{place}]" for place in places)


@dataclass(frozen=True)
class Layout:
    """The tensors of the layers that learn, in canonical order, of the model with `hash`."""

    hash: str
    tensors: tuple[Tensor, ...]
    bits: int

    @classmethod
    def of(cls, hello: wire.Hello, description: Description) -> Layout:
        """
        What a board says of its weights.

        Raises BpgenError for one that cannot learn: its weights are in its program.
        """
        if not description.learns or hello.n_parameters == 0:
            raise BpgenError(
                "this firmware cannot learn, so its weights are those of its model: read them there"
            )
        low_bits = 8 if hello.master_bytes == 3 else 0
        tensors: list[Tensor] = []
        shapes = list(pairwise(description.sizes))
        for k in description.learns:
            inputs, outputs = shapes[k - 1]
            frac = description.w_frac[k - 1] + low_bits
            tensors.append(Tensor(f"w{k}", (outputs, inputs), frac))
            tensors.append(Tensor(f"b{k}", (outputs,), frac))
        return cls(f"{hello.model_hash:08x}", tuple(tensors), 8 * hello.master_bytes)

    @property
    def size(self) -> int:
        return sum(tensor.size for tensor in self.tensors)

    def split(self, masters: IntArray) -> dict[str, IntArray]:
        """The tensors by name, from masters [n_parameters]."""
        ends = np.cumsum([tensor.size for tensor in self.tensors])
        parts = np.split(np.asarray(masters, dtype=np.int64), ends[:-1])
        return {
            tensor.name: part.reshape(tensor.shape)
            for tensor, part in zip(self.tensors, parts, strict=True)
        }

    def join(self, given: dict[str, Any], path: Path) -> IntArray:
        """
        Masters [n_parameters] from tensors by name.

        Raises BpgenError, naming the tensor, for one that is missing, unknown, of another shape or
        out of range.
        """
        names = [tensor.name for tensor in self.tensors]
        for name in (*names, *given):
            if (name in given) != (name in names):
                state = "lacks" if name in names else "has an unknown"
                raise BpgenError(
                    f"{path} {state} tensor {name!r}: it needs {', '.join(names)}, as 'bpgen-host "
                    "weights get' writes them"
                )
        limit = 1 << (self.bits - 1)
        parts = []
        for tensor in self.tensors:
            try:
                values = np.array(given[tensor.name])
            except ValueError:
                values = np.empty(0, dtype=object)
            if values.shape != tensor.shape or values.dtype.kind not in "iu":
                raise BpgenError(
                    f"tensor {tensor.name} in {path} is no array of integers of the shape "
                    f"{'x'.join(map(str, tensor.shape))}: use one of this board's model"
                )
            if not (-limit <= int(values.min()) and int(values.max()) < limit):
                raise BpgenError(
                    f"tensor {tensor.name} in {path} has a value outside {-limit}..{limit - 1}: "
                    "correct it"
                )
            parts.append(values.astype(np.int64).ravel())
        return np.concatenate(parts)


def of_model(model: IntModel, layout: Layout) -> IntArray:
    """The masters [n_parameters] that a firmware of the model begins with."""
    data = Twin(model).parameter_bytes()
    return np.array(wire.masters_from_bytes(data, layout.bits // 8), dtype=np.int64)


def spelled(layout: Layout, masters: IntArray, suffix: str) -> bytes:
    """The content of a weights file; `suffix` decides its kind."""
    tensors = layout.split(masters)
    if suffix == ".npz":
        arrays = {name: part.astype(np.int32) for name, part in tensors.items()}
        return write_arrays({"hash": np.array(layout.hash), **arrays})
    if suffix == ".json":
        rows = {name: part.tolist() for name, part in tensors.items()}
        return (json.dumps({"format": FORMAT, "hash": layout.hash, **rows}) + "\n").encode()
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("hash", "tensor", "index", "raw", "value"))
    for tensor in layout.tensors:
        for index, raw in enumerate(tensors[tensor.name].ravel().tolist()):
            value = raw * 2.0**-tensor.frac
            writer.writerow((layout.hash, tensor.name, index, raw, value))
    return text.getvalue().encode()


def require_suffix(path: Path) -> str:
    """The suffix of a weights file; BpgenError for one that names no kind."""
    if path.suffix.lower() not in SUFFIXES:
        raise BpgenError(f"{path} is no weights file: name it {', '.join(SUFFIXES[:-1])} or .csv")
    return path.suffix.lower()


def read(path: Path, layout: Layout) -> IntArray:
    """
    The masters [n_parameters] of a file.

    Raises BpgenError for a damaged file, one of another model, or one whose tensors do not fit.
    """
    suffix = require_suffix(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BpgenError(f"{path} cannot be read ({error.strerror or error}): check it") from None
    try:
        found, tensors = _READERS[suffix](content, layout)
    except _DAMAGE:
        raise BpgenError(
            f"{path} is not a weights file, or it is damaged: write one with 'bpgen-host "
            "weights get'"
        ) from None
    if found != layout.hash:
        raise BpgenError(
            f"{path} has the weights of model {found[:8]}, but the board runs model {layout.hash}: "
            "use weights that were read from this firmware"
        )
    return layout.join(tensors, path)


def _read_npz(content: bytes, layout: Layout) -> tuple[str, dict[str, Any]]:
    arrays = read_arrays(content)
    return str(arrays.pop("hash")), dict(arrays)


def _read_json(content: bytes, layout: Layout) -> tuple[str, dict[str, Any]]:
    data = json.loads(content)
    if not isinstance(data, dict) or data.pop("format", None) != FORMAT:
        raise ValueError
    return str(data.pop("hash")), data


def _read_csv(content: bytes, layout: Layout) -> tuple[str, dict[str, Any]]:
    rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline="")))
    tensors: dict[str, list[int]] = {}
    for row in rows:
        values = tensors.setdefault(row["tensor"], [])
        if int(row["index"]) != len(values):
            raise ValueError
        values.append(int(row["raw"]))
    shapes = {tensor.name: tensor.shape for tensor in layout.tensors}
    shaped = {
        name: np.array(values).reshape(_fitting(shapes.get(name), values))
        for name, values in tensors.items()
    }
    return rows[0]["hash"], shaped


def _fitting(shape: tuple[int, ...] | None, values: Sequence[int]) -> tuple[int, ...]:
    """The shape where the values fill it; else a row, which then is complained of."""
    return shape if shape is not None and int(np.prod(shape)) == len(values) else (len(values),)


_READERS = {".npz": _read_npz, ".json": _read_json, ".csv": _read_csv}

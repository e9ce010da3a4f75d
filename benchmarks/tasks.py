"""The data sets and networks that figures are measured on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np

from bpgen.dataset import Dataset, load_csv
from bpgen.floatnet import FloatArray
from bpgen.model import IntModel
from bpgen.qformat import IntArray
from bpgen.qformat import quantize as raws
from bpgen.scaling import Scaling
from bpgen.twin import quantize_input

DATA = Path(__file__).parents[1] / "examples" / "data"
TEST_FRACTION = 0.25


@dataclass(frozen=True, eq=False)
class Samples:
    """Cells as in the file, and what the float network and the integer network make of them."""

    data: Dataset
    scaling: Scaling

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.data)

    @cached_property
    def inputs(self) -> FloatArray:
        """Scaled inputs of the float network [n][n0]."""
        return self.scaling.apply(self.data.x)

    def a0(self, model: IntModel) -> IntArray:
        """Raw inputs of the integer network, by its own rule for raw counts."""
        return quantize_input(model, self.scaling.counts(self.data.x))

    def t(self, model: IntModel) -> IntArray:
        """Raw targets."""
        return raws(self.data.t, model.output.a_format.frac, -32768, 32767)


@cache
def load(name: str) -> Dataset:
    """A data set of examples/data; its last column is the class."""
    path = DATA / f"{name}.csv"
    with path.open(encoding="utf-8") as file:
        target = file.readline().strip().split(",")[-1]
    return load_csv(path, [target], task="classify")


def halves(name: str, seed: int) -> tuple[Samples, Samples]:
    """Training part and stratified held-out quarter; minmax scaling fitted to the former."""
    train, test = load(name).split(TEST_FRACTION, seed)
    scaling = Scaling.fit(train.x, "minmax")
    return Samples(train, scaling), Samples(test, scaling)


def xor() -> Dataset:
    """The four samples of exclusive or, one output."""
    x = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    return Dataset(x, np.array([[0.0], [1.0], [1.0], [0.0]]), (), ("x0", "x1"), ("xor",))


def square() -> Dataset:
    """y = x^2 on 101 points in [-1, 1]."""
    x = np.linspace(-1.0, 1.0, 101).round(2)[:, np.newaxis]
    return Dataset(x, x**2, (), ("x",), ("y",))

"""
bpgen: train a small network in float, run and train it as integers in C99.

The names in `__all__` are the Python API; every command of `bpgen --help` is a few calls of it:

    data = bpgen.load_csv("iris.csv", ["species"])
    checkpoint = bpgen.train(data, (4, 8, 3), bpgen.Training(0.2, 200))
    model = bpgen.quantize_checkpoint(checkpoint)
    files = bpgen.generate(model, "iris")

They are imported when first used, so that `import bpgen` costs nothing.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

__version__ = "0.1.0"

_HOMES = {
    "BpgenError": "errors",
    "Checkpoint": "checkpoint",
    "Dataset": "dataset",
    "FloatNet": "floatnet",
    "IntModel": "model",
    "Scaling": "dataset",
    "Simulation": "simulate",
    "Sparsity": "floatnet",
    "TARGETS": "targets",
    "Training": "floatnet",
    "Twin": "twin",
    "compare_with_float": "evaluate",
    "explain": "quantize",
    "fits": "targets",
    "generate": "generate",
    "inference_only": "quantize",
    "load_checkpoint": "checkpoint",
    "load_csv": "dataset",
    "load_model": "evaluate",
    "load_npz": "dataset",
    "quantize": "quantize",
    "quantize_checkpoint": "quantize",
    "sample_order": "floatnet",
    "simulate_training": "evaluate",
    "train": "checkpoint",
}
_OTHER_NAMES = {"load_checkpoint": "load"}

__all__ = [
    "TARGETS",
    "BpgenError",
    "Checkpoint",
    "Dataset",
    "FloatNet",
    "IntModel",
    "Scaling",
    "Simulation",
    "Sparsity",
    "Training",
    "Twin",
    "__version__",
    "compare_with_float",
    "explain",
    "fits",
    "generate",
    "inference_only",
    "load_checkpoint",
    "load_csv",
    "load_model",
    "load_npz",
    "quantize",
    "quantize_checkpoint",
    "sample_order",
    "simulate_training",
    "train",
]

if TYPE_CHECKING:
    from bpgen.checkpoint import Checkpoint, train
    from bpgen.checkpoint import load as load_checkpoint
    from bpgen.dataset import Dataset, Scaling, load_csv, load_npz
    from bpgen.errors import BpgenError
    from bpgen.evaluate import compare_with_float, load_model, simulate_training
    from bpgen.floatnet import FloatNet, Sparsity, Training, sample_order
    from bpgen.generate import generate
    from bpgen.model import IntModel
    from bpgen.quantize import explain, inference_only, quantize, quantize_checkpoint
    from bpgen.simulate import Simulation
    from bpgen.targets import TARGETS, fits
    from bpgen.twin import Twin


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'bpgen' has no attribute {name!r}")
    value: object = getattr(import_module(f"bpgen.{_HOMES[name]}"), _OTHER_NAMES.get(name, name))
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


class _Package(ModuleType):
    """
    Keep `bpgen.generate` and `bpgen.quantize` the functions.

    The import system binds a submodule to its package once it is loaded, which would hide the
    function of the same name. `from bpgen.generate import ...` finds the module regardless.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package

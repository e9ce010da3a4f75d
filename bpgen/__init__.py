"""
bpgen: train a small network in float, run and train it as integers in C99.

The names in `__all__` are the Python API; every command of `bpgen --help` is a few calls of it:

    data = bpgen.load_csv("iris.csv", ["species"])
    checkpoint = bpgen.train(data, (4, 8, 3), bpgen.Training(0.2, 200))
    model = bpgen.quantize(checkpoint)
    files = bpgen.generate(model, "iris")

They are imported when first used, so that `import bpgen` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

_HOMES = {
    "BpgenError": "errors",
    "Checkpoint": "checkpoint",
    "Dataset": "dataset",
    "FloatNet": "floatnet",
    "IntModel": "model",
    "Scaling": "scaling",
    "Simulation": "simulate",
    "Sparsity": "floatnet",
    "TARGETS": "targets",
    "Training": "training",
    "Twin": "twin",
    "compare_with_float": "evaluate",
    "explain": "quantization",
    "fits": "targets",
    "generate": "generation",
    "inference_only": "quantization",
    "load_checkpoint": "checkpoint",
    "load_csv": "dataset",
    "load_model": "evaluate",
    "load_npz": "dataset",
    "quantize": "quantization",
    "sample_order": "training",
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
    "sample_order",
    "simulate_training",
    "train",
]

if TYPE_CHECKING:
    from bpgen.checkpoint import Checkpoint, train
    from bpgen.checkpoint import load as load_checkpoint
    from bpgen.dataset import Dataset, load_csv, load_npz
    from bpgen.errors import BpgenError
    from bpgen.evaluate import compare_with_float, load_model, simulate_training
    from bpgen.floatnet import FloatNet, Sparsity
    from bpgen.generation import generate
    from bpgen.model import IntModel
    from bpgen.quantization import explain, inference_only, quantize
    from bpgen.scaling import Scaling
    from bpgen.simulate import Simulation
    from bpgen.targets import TARGETS, fits
    from bpgen.training import Training, sample_order
    from bpgen.twin import Twin


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'bpgen' has no attribute {name!r}")
    value: object = getattr(import_module(f"bpgen.{_HOMES[name]}"), _OTHER_NAMES.get(name, name))
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)

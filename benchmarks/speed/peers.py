"""
What other libraries need on this machine for the same online training of one network.

None is a dependency: one that is missing is named, with how to install it, and left out.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bpgen.floatnet import FloatArray, FloatNet

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Problem:
    """A network before its training, samples and one-hot targets, and a learning rate."""

    net: FloatNet
    x: FloatArray
    t: FloatArray
    rate: float


@dataclass(frozen=True)
class Peer:
    """Samples a second of each run of one library; `right` is the share it classifies right."""

    name: str
    what: str  # "training" or "inference"
    rates: tuple[float, ...]
    right: float

    def and_rates_of(self, earlier: Sequence[Peer]) -> Peer:
        """With the rates of the same work in earlier runs."""
        same = [peer.rates for peer in earlier if (peer.name, peer.what) == (self.name, self.what)]
        return replace(self, rates=sum(same, ()) + self.rates)


@dataclass(frozen=True)
class Missing:
    """A library that is not there, and how it gets there."""

    name: str
    install: str

    def __str__(self) -> str:
        return f"{self.name} is missing, so its rows are left out: {self.install}"


def torch(problem: Problem, runs: int, steps: int) -> list[Peer] | Missing:
    """PyTorch's eager loop, in the first interpreter that has it."""
    for python in (sys.executable, "/usr/bin/python3", shutil.which("python3") or ""):
        if python and _has(python, "torch"):
            break
    else:
        return Missing("PyTorch", "sudo apt-get install python3-torch, or pip install torch")
    with tempfile.TemporaryDirectory() as folder:
        samples = Path(folder) / "samples.npz"
        w1, w2 = problem.net.w
        np.savez(samples, w1=w1, w2=w2, x=problem.x, t=problem.t, rate=problem.rate)
        said = json.loads(_said(python, HERE / "peer_torch.py", samples, runs, steps))
    rates = tuple(said["rates"])
    return [Peer(f"PyTorch {said['version']} eager", "training", rates, said["right"])]


def _has(python: str, module: str) -> bool:
    command = [python, "-c", f"import {module}"]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def fann(problem: Problem, runs: int, steps: int) -> list[Peer] | Missing:
    """FANN's incremental training and inference in float, and inference in its fixed point."""
    if not Path("/usr/include/floatfann.h").exists() and not shutil.which("fann"):
        return Missing("FANN", "sudo apt-get install libfann-dev")
    said = subprocess.run(
        ["pkg-config", "--modversion", "fann"], capture_output=True, text=True, check=False
    )
    name = f"FANN {said.stdout.strip()}".strip()
    peers = []
    with tempfile.TemporaryDirectory() as folder:
        samples, net = Path(folder) / "samples", Path(folder) / "net"
        head = [*problem.net.sizes, len(problem.x), problem.rate]
        parts = [np.array(head), *problem.net.w, problem.x, problem.t]
        flat = np.concatenate([np.asarray(part).ravel() for part in parts])
        samples.write_bytes(flat.astype(np.float32).tobytes())
        for kind in ("float", "fixed"):
            program = Path(folder) / kind
            flags = ["-DFIXEDFANN"] if kind == "fixed" else []
            source = HERE / "peer_fann.c"
            _said("gcc", "-O3", *flags, source, "-o", program, f"-l{kind}fann", "-lm")
            found = re.findall(
                r"^(\w+) ([\d.]+)$", _said(program, samples, net, runs, steps), re.MULTILINE
            )
            right = float(dict(found)["right"])
            for what in ("training", "inference"):
                rates = tuple(float(number) for word, number in found if word == what)
                if rates:
                    peers.append(Peer(f"{name} {kind}", what, rates, right))
    return peers


def sklearn_online(problem: Problem, runs: int, steps: int) -> list[Peer] | Missing:
    """
    scikit-learn's MLPRegressor with batches of one.

    It has no sigmoid in the output layer of a squared error; a linear one is less work.
    """
    if importlib.util.find_spec("sklearn") is None:
        return Missing("scikit-learn", "pip install scikit-learn")
    from sklearn.neural_network import MLPRegressor  # type: ignore[import-untyped]

    name = f"scikit-learn {importlib.metadata.version('scikit-learn')} MLPRegressor"
    rates = []
    epochs = max(1, round(steps / len(problem.x)))
    model = MLPRegressor(**_plain_sgd(problem, 1, epochs))
    for _ in range(runs):
        begin = time.perf_counter()
        _fit(model, problem.x, problem.t)
        rates.append(epochs * len(problem.x) / (time.perf_counter() - begin))
    right = float((model.predict(problem.x).argmax(1) == problem.t.argmax(1)).mean())
    return [Peer(name, "training", tuple(rates), right)]


def _plain_sgd(problem: Problem, batch_size: int, epochs: int) -> dict[str, Any]:
    """What makes scikit-learn do plain SGD for so many epochs."""
    return {
        "hidden_layer_sizes": problem.net.sizes[1:-1],
        "activation": "logistic",
        "solver": "sgd",
        "alpha": 0.0,
        "batch_size": batch_size,
        "learning_rate_init": problem.rate,
        "momentum": 0.0,
        "nesterovs_momentum": False,
        "max_iter": epochs,
        "tol": 0.0,
        "n_iter_no_change": epochs + 1,
        "random_state": 1,
    }


def sklearn_batches(
    problem: Problem, batch_size: int, epochs: int
) -> tuple[float, float] | Missing:
    """Samples a second of MLPClassifier, once, and the share that it classifies right."""
    if importlib.util.find_spec("sklearn") is None:
        return Missing("scikit-learn", "pip install scikit-learn")
    from sklearn.neural_network import MLPClassifier

    model = MLPClassifier(**_plain_sgd(problem, batch_size, epochs))
    classes = problem.t.argmax(1)
    begin = time.perf_counter()
    _fit(model, problem.x, classes)
    rate = epochs * len(problem.x) / (time.perf_counter() - begin)
    return rate, float((model.predict(problem.x) == classes).mean())


def _fit(model: object, x: FloatArray, t: object) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it did not converge, and need not
        model.fit(x, t)  # type: ignore[attr-defined]


def _said(*command: object) -> str:
    words: Sequence[str] = [str(word) for word in command]
    run = subprocess.run(words, capture_output=True, text=True, check=False)
    if run.returncode != 0:
        raise RuntimeError(f"{' '.join(words)} failed: {run.stderr.strip()[-400:]}")
    return run.stdout

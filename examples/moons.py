"""
Logistic regression, and what a hidden layer adds to it.

Two half moons that reach into each other cannot be divided by a straight line. A single sigmoid
unit with cross-entropy, 2-1, is logistic regression: its border is the line w x + b = 0, the best
line there is. With a hidden layer, 2-6-1, the border bends around the moons. Behind cross-entropy
the output's delta is y - t in both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from compare import ThreeWays, learn, table

from bpgen.floatnet import FloatArray, create
from bpgen.training import Training

TRAIN_SEED, TEST_SEED = 1, 2
WEIGHT_SEED = 2
PER_CLASS = 100
NOISE = 0.25
TRAINING = Training(learning_rate=0.2, epochs=50, batch_size=1, seed=0)


@dataclass
class Run:
    """A network after training: its mean losses, and the accuracies on points it never saw."""

    name: str
    ways: ThreeWays
    losses: tuple[float, float, float]
    accuracies: tuple[float, float, float]
    same_bits: bool


def moons(seed: int) -> tuple[FloatArray, FloatArray]:
    """x [200][2] with three decimals, as a sensor would give, and classes t [200][1]."""
    random = np.random.default_rng(seed)
    angle = random.uniform(0.0, np.pi, (2, PER_CLASS))
    upper = np.column_stack((np.cos(angle[0]), np.sin(angle[0])))
    lower = np.column_stack((1.0 - np.cos(angle[1]), 0.5 - np.sin(angle[1])))
    x = np.concatenate((upper, lower)) + random.normal(0.0, NOISE, (2 * PER_CLASS, 2))
    return x.round(3), np.repeat([[0.0], [1.0]], PER_CLASS, axis=0)


def run() -> list[Run]:
    x, t = moons(TRAIN_SEED)
    runs = []
    for sizes in ((2, 1), (2, 6, 1)):
        start = create(sizes, "tanh", "sigmoid", "cross_entropy", seed=WEIGHT_SEED)
        ways = learn(start, x, t, TRAINING, scaling="standard")
        name = "-".join(map(str, sizes))
        runs.append(Run(name, ways, ways.losses(), accuracies(ways), ways.same_bits()))
    return runs


def accuracies(ways: ThreeWays) -> tuple[float, float, float]:
    """Percent right on the test points in float, twin and C, at the threshold 0.5."""
    x, t = moons(TEST_SEED)
    counts = ways.scaling.counts(x)
    half = 1 << (ways.model.output.a_format.frac - 1)
    said = (
        ways.net.forward(ways.scaling.apply(x)).a[-1] > 0.5,
        ways.twin.forward(ways.twin.quantize_input(counts))[-1] > half,
        ways.c.forward(ways.c.quantize_input(counts))[-1] > half,
    )
    in_float, in_twin, in_c = (100.0 * float((y == (t > 0.5)).mean()) for y in said)
    return in_float, in_twin, in_c


def main() -> None:
    training = TRAINING
    print(
        f"Two moons, {2 * PER_CLASS} points (seed {TRAIN_SEED}), test on others (seed {TEST_SEED})."
    )
    print(f"Weights by seed {WEIGHT_SEED}; online, {training.epochs} epochs", end="")
    print(f" at learning rate {training.learning_rate:g}.\n")
    rows: list[tuple[object, ...]] = []
    names = {"2-1": "logistic regression, 2-1", "2-6-1": "with a hidden layer, 2-6-1"}
    runs = run()
    for one in runs:
        rows.append((names[one.name], "training loss", *one.losses))
        right = (f"{value:.1f} %" for value in one.accuracies)
        rows.append(("", "test accuracy", *right))
    print(table(["network", "", "float", "twin", "C"], rows))
    same = all(one.same_bits for one in runs)
    print(f"\nC and twin agree in every bit: {'yes' if same else 'NO'}")


if __name__ == "__main__":
    main()

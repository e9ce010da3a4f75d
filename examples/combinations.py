"""
[sigmoid | tanh_opt] hidden x [sigmoid | softmax | linear] output, with mini-batches and sparsity.

Iris, 4-8-3, from seeded weights. An update follows the mean gradient of 10 samples; a penalty draws
each hidden unit's mean activation towards 0.2 of its range. Softmax goes with cross-entropy, the
other two with half squared error, so losses compare along a row and not down a column.

Float and integers differ in one more place than rounding: the running mean of an activation starts
at the mean of the first batch in float, and at the target in the integers, which have seen no batch
when they start. In so short a run this is nearly all of the difference between their losses.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from pathlib import Path

from compare import ThreeWays, learn, table

from bpgen.dataset import load_csv
from bpgen.floatnet import Sparsity, create
from bpgen.training import Training
from bpgen.twin import Counters

DATA = Path(__file__).resolve().parent / "data" / "iris.csv"
HIDDEN = ("sigmoid", "tanh_opt")
OUTPUTS = ("sigmoid", "softmax", "linear")
SEED = 1
TRAINING = Training(
    learning_rate=0.2,
    epochs=10,
    batch_size=10,
    reduction="mean",
    sparsity=Sparsity(target=0.2, weight=0.01),
    seed=0,
)


@dataclass
class Run:
    """One combination after training; `counters` are those of the C."""

    hidden: str
    output: str
    ways: ThreeWays
    start: float
    losses: tuple[float, float, float]
    same_bits: bool
    counters: Counters

    @property
    def saturated(self) -> int:
        """How many inputs, sums, deltas and weights were clipped while C trained."""
        seen = self.counters
        return seen.inputs + seen.activations + seen.deltas + seen.weights


def run() -> list[Run]:
    data = load_csv(DATA, ["species"], task="classify")
    runs = []
    for hidden, output in product(HIDDEN, OUTPUTS):
        loss = "cross_entropy" if output == "softmax" else "squared_error"
        start = create((4, 8, 3), hidden, output, loss, seed=SEED)
        ways = learn(start, data.x, data.t, TRAINING, scaling="standard")
        before = float(start.losses(start.forward(ways.x).a[-1], data.t).mean())
        counters = ways.c.counters
        runs.append(Run(hidden, output, ways, before, ways.losses(), ways.same_bits(), counters))
    return runs


def main() -> None:
    print(f"Iris 4-8-3, weights by seed {SEED}; batches of 10, mean gradient, learning rate 0.2,")
    print(f"sparsity 0.2 with weight 0.01, {TRAINING.epochs} epochs. Mean training loss:\n")
    rows = [
        (
            one.hidden, one.output, one.start, *one.losses, one.saturated,
            one.same_bits,
        )
        for one in run()
    ]  # fmt: skip
    head = ["hidden", "output", "at start", "float", "twin", "C", "saturated", "C = twin"]
    print(table(head, rows))


if __name__ == "__main__":
    main()

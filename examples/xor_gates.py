"""
XOR from three hand-set gates: a sigmoid unit with large weights is a logic gate.

    gate   bias  weights     z for 00, 01, 10, 11
    AND    -30   20,  20     -30 -10 -10  10
    NOR     10  -20, -20      10 -10 -10 -30
    OR     -10   20,  20     -10  10  10  30

OR(AND(p, q), NOR(p, q)) is true where p and q are equal: that is XNOR, not XOR. XOR is its
negation, and a sigmoid is negated by the sign of its weights, s(-z) = 1 - s(z): an OR with all
signs turned is exactly the NOR above. So XOR = NOR(AND(p, q), NOR(p, q)).

Weights of 30 leave s16q9, which holds +-64. The sigmoid's table ends at +-8, where 1 - s is 0.0003:
z = 30 is clamped there and the counter of saturated activations counts it. Here that is intended.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from compare import ThreeWays, table, three_ways

from bpgen.floatnet import FloatNet
from bpgen.scaling import Scaling
from bpgen.training import Training, train

X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
THRESHOLD = 0.5

# bias, weight, weight
AND = (-30.0, 20.0, 20.0)
NOR = (10.0, -20.0, -20.0)
OR = (-10.0, 20.0, 20.0)

# Outputs for 00, 01, 10, 11.
TRUTH = {
    "AND": (0, 0, 0, 1),
    "NOR": (1, 0, 0, 0),
    "OR": (0, 1, 1, 1),
    "XNOR": (1, 0, 0, 1),
    "XOR": (0, 1, 1, 0),
}


@dataclass
class Result:
    """For each gate its outputs and truth tables in float, twin and C, and the networks."""

    outputs: dict[str, tuple[list[float], list[float], list[float]]]
    networks: tuple[ThreeWays, ThreeWays]

    def tables(self, gate: str) -> list[tuple[int, ...]]:
        """The truth table of a gate in float, twin and C."""
        return [tuple(int(y > THRESHOLD) for y in way) for way in self.outputs[gate]]


def layer(*gates: tuple[float, float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Weights [gates][2] and biases [gates] of gates that read the same two inputs."""
    rows = np.array(gates)
    return rows[:, 1:], rows[:, 0]


def build(layers: list[tuple[np.ndarray, np.ndarray]], names: tuple[str, ...]) -> ThreeWays:
    """Make integers of hand-set layers; their formats follow the weights as they are."""
    w, b = [w for w, _ in layers], [b for _, b in layers]
    net = FloatNet(w, b, ("sigmoid",) * len(layers), "squared_error")
    t = np.array([TRUTH[name] for name in names], dtype=np.float64).T
    # A run of 0 epochs looks at the ranges and trains nothing.
    log = train(net, X, t, Training(epochs=0))
    # Without a training the C has no code or memory for learning.
    return three_ways(net, None, log, Scaling.fit(X, "none"), X, t)


def run() -> Result:
    single, stacked = ("AND", "NOR", "OR"), ("XNOR", "XOR")
    gates = build([layer(AND, NOR, OR)], single)
    # Both outputs read AND and NOR; XNOR is their OR, XOR their NOR.
    pair = build([layer(AND, NOR), layer(OR, NOR)], stacked)
    outputs = {}
    for names, ways in ((single, gates), (stacked, pair)):
        in_float, in_twin, in_c = ways.outputs()
        for i, name in enumerate(names):
            outputs[name] = (in_float[:, i].tolist(), in_twin[:, i].tolist(), in_c[:, i].tolist())
    return Result(outputs, (gates, pair))


def main() -> None:
    result = run()
    rows: list[tuple[object, ...]] = []
    for gate, ways in result.outputs.items():
        for i, (p, q) in enumerate(X.astype(int).tolist()):
            rows.append((gate, p, q, TRUTH[gate][i], *(way[i] for way in ways)))
    print(table(["gate", "p", "q", "true", "float", "twin", "C"], rows))
    print()
    for gate, truth in TRUTH.items():
        exact = all(found == truth for found in result.tables(gate))
        print(f"{gate:5}truth table at threshold {THRESHOLD}: {'exact' if exact else 'WRONG'}")
    print("\nOR(AND, NOR) is XNOR; turning the signs of the OR gives NOR(AND, NOR), which is XOR.")
    print(f"Weights of 30 are held in {result.networks[1].model.layers[0].w_format}.")
    same = all(ways.same_bits() for ways in result.networks)
    print(f"C and twin agree in every bit: {'yes' if same else 'NO'}")


if __name__ == "__main__":
    main()

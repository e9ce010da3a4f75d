"""
Back-propagation through five weight layers, from the formulas for three layers of units.

Call three neighbouring layers h (below), i (this one) and j (above). For them the textbook has

    dE/dz_i  = (sum over j of  w_ji dE/dz_j) * a'(z_i)        j passes its deltas down
    dE/dw_ih = dE/dz_i * a_h                                  i meets what it was fed with

and for the output layer, which has nothing above it, dE/dz_i = (y_i - t_i) * a'(z_i). Nothing in
them asks how many layers there are: sliding the triple down one layer at a time gives the gradient
of a network of any depth. `triples` does so with the scalars of the formulas and loops; FloatNet
does it with matrices; and `paths` does without recursion, by the chain rule alone, adding the
product of weights and derivatives over every single path from a unit up to an output.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from compare import ThreeWays, table, three_ways

from bpgen.floatnet import FloatArray, FloatNet, Gradient, create
from bpgen.scaling import Scaling
from bpgen.training import Training, train

SIZES = (3, 7, 6, 5, 4, 2)  # five weight layers, no two layers alike
SEED = 3
SAMPLES = 50
LEARNING_RATE = 0.5


@dataclass
class Result:
    """
    Gradients of the first sample by loops, by paths and by FloatNet, each of layers 1..L.

    `shares` are the largest |twin - float| of each layer as a share of the running bound.
    """

    by_triples: Gradient
    by_paths: list[FloatArray]
    by_matrices: Gradient
    ways: ThreeWays
    shares: list[float]
    same_bits: bool


def network() -> FloatNet:
    """Five layers with biases that are not 0, so that nothing cancels."""
    net = create(SIZES, ("tanh", "sigmoid", "tanh", "sigmoid"), "sigmoid", seed=SEED)
    random = np.random.default_rng([SEED, 1])
    net.b = [random.normal(0.0, 0.3, b.shape) for b in net.b]
    return net


def samples() -> tuple[FloatArray, FloatArray]:
    random = np.random.default_rng([SEED, 2])
    x = random.uniform(-1.0, 1.0, (SAMPLES, SIZES[0])).round(3)
    return x, random.uniform(0.0, 1.0, (SAMPLES, SIZES[-1]))


def slope(kind: str, a: float) -> float:
    """a'(z), from a itself."""
    return a * (1 - a) if kind == "sigmoid" else 1 - a * a


def triples(net: FloatNet, a: list[FloatArray], t: FloatArray) -> Gradient:
    """The three-layer formulas, slid from the output down to the input, one scalar at a time."""
    last = net.n_layers
    dw: list[FloatArray] = []
    db: list[FloatArray] = []
    above: list[float] = []
    for k in range(last, 0, -1):
        kind, here, below = net.activations[k - 1], a[k], a[k - 1]
        dz = []
        for i in range(len(here)):
            if k == last:
                error = here[i] - t[i]
            else:
                error = 0.0
                for j in range(len(above)):
                    error += net.w[k][j, i] * above[j]
            dz.append(error * slope(kind, here[i]))
        dw.append(np.array([[dz[i] * below[h] for h in range(len(below))] for i in range(len(dz))]))
        db.append(np.array(dz))
        above = dz
    return Gradient(dw[::-1], db[::-1])


def paths(net: FloatNet, a: list[FloatArray], t: FloatArray) -> list[FloatArray]:
    """dE/dz of every unit of layers 1..L, as a sum over all its paths to the outputs."""

    def from_unit(k: int, i: int, product: float) -> float:
        product *= slope(net.activations[k - 1], a[k][i])
        if k == net.n_layers:
            return float(product * (a[k][i] - t[i]))
        return sum(from_unit(k + 1, j, product * w[i]) for j, w in enumerate(net.w[k]))

    return [
        np.array([from_unit(k, i, 1.0) for i in range(len(a[k]))])
        for k in range(1, net.n_layers + 1)
    ]


def run() -> Result:
    net, (x, t) = network(), samples()
    training = Training(LEARNING_RATE)
    # The formats follow what an epoch of float training sees.
    log = train(network(), x, t, Training(LEARNING_RATE, epochs=1))
    ways = three_ways(net, training, log, Scaling.fit(x, "none"), x, t)
    a = [layer[0] for layer in net.forward(ways.x[:1]).a]
    shares, same_bits = ways.bound_shares(), ways.same_bits()
    for sample in range(SAMPLES):
        ways.twin.train(ways.a0[[sample]], ways.targets[[sample]])
    ways.c.train(ways.a0, ways.targets, np.arange(SAMPLES))
    shares = [max(pair) for pair in zip(shares, ways.bound_shares(), strict=True)]
    return Result(
        triples(net, a, t[0]),
        paths(net, a, t[0]),
        net.gradient(ways.x[:1], t[:1]),
        ways,
        shares,
        same_bits and ways.same_bits(),
    )


def main() -> None:
    result = run()
    print(f"{'-'.join(map(str, SIZES))}, weights by seed {SEED}, gradient of one sample:\n")
    rows: list[tuple[object, ...]] = []
    layers = result.ways.model.layers
    for k, layer in enumerate(layers):
        by_triples, exact = result.by_triples, result.by_matrices
        ways_up = int(np.prod(SIZES[k + 2 :]))
        rows.append(
            (
                k + 1,
                layer.activation,
                ways_up,
                f"{np.abs(exact.dw[k]).max():.3e}",
                f"{np.abs(by_triples.dw[k] - exact.dw[k]).max():.0e}",
                f"{np.abs(result.by_paths[k] - exact.db[k]).max():.0e}",
                f"s16q{layer.dz_frac}",
                f"{result.shares[k]:.2f}",
            )
        )
    print(
        table(
            ["layer", "kind", "paths a unit", "max |dw|", "loops - matrices", "paths - matrices",
             "dz in", "twin/bound"],
            rows,
        )
    )  # fmt: skip
    print("\nDeltas shrink on their way down, so each layer's format has its own fraction.")
    print(f"twin/bound: |twin - float| as a share of its bound, over {SAMPLES} samples before and")
    print(f"after {SAMPLES} steps of training (seed {SEED}); below 1 is as it must be.")
    print(f"C and twin agree in every bit: {'yes' if result.same_bits else 'NO'}")


if __name__ == "__main__":
    main()

"""
One training step of the 2-2-1 network of the textbooks, every figure of it.

    inputs 1, 2        hidden 3, 4 (sigmoid)       output 5 (sigmoid)
    x1 = 0.35          w13 = 0.1   w14 = 0.4       w35 = 0.3   w45 = 0.9
    x2 = 0.90          w23 = 0.8   w24 = 0.6       target t = 0.5, E = (o5 - t)^2 / 2

A widely copied text prints o3 = 0.69 and dE/dz5 = 0.027 for this example. Both are slips:
z3 = 0.1 * 0.35 + 0.8 * 0.9 = 0.755 gives o3 = 1 / (1 + exp(-0.755)) = 0.6803 (0.69 is o5), and
dE/dz5 = (o5 - t) o5 (1 - o5) = 0.19 * 0.69 * 0.31 = 0.0406, or 0.0407 with more digits (0.0270 is
dE/dw45, two lines further down).

The network has no biases, bpgen's has: they begin at 0, so forward pass and all gradients are
those of the text. Their own gradients, dE/db = dE/dz, are shown apart. A step moves biases too,
therefore they are put back to 0 after it, which leaves exactly the step of the text.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from compare import ThreeWays, table, three_ways, to_float

from bpgen.floatnet import FloatArray, FloatNet
from bpgen.scaling import Scaling
from bpgen.training import Training, train

X = np.array([[0.35, 0.9]])
T = np.array([[0.5]])
LEARNING_RATE = 1.0

# The figures as a text prints them, to the digits it prints.
PRINTED = {
    "z3": "0.755",
    "z4": "0.680",
    "o3": "0.6803",
    "o4": "0.6637",
    "z5": "0.8014",
    "o5": "0.6903",
    "E": "0.0181",
    "dE/dz5": "0.0407",
}


@dataclass
class Result:
    """Every figure by its name in the text; C shows sums and weights through what it gives."""

    by_hand: dict[str, float]
    in_float: dict[str, float]
    in_twin: dict[str, float]
    in_c: dict[str, float]
    bound_shares: list[float]
    same_bits: bool


def network() -> FloatNet:
    """The network of the text: w{k} is [out][in], so unit 3 is the first row of w1."""
    w1 = np.array([[0.1, 0.8], [0.4, 0.6]])
    w2 = np.array([[0.3, 0.9]])
    return FloatNet([w1, w2], [np.zeros(2), np.zeros(1)], ("sigmoid",) * 2, "squared_error")


def by_hand() -> dict[str, float]:
    """Work every figure out with pencil and paper: no matrix, no library."""
    x1, x2, t = 0.35, 0.9, 0.5
    w13, w23, w14, w24, w35, w45 = 0.1, 0.8, 0.4, 0.6, 0.3, 0.9

    def sigmoid(z: float) -> float:
        return 1.0 / (1.0 + math.exp(-z))

    # Forward.
    z3 = w13 * x1 + w23 * x2
    z4 = w14 * x1 + w24 * x2
    o3, o4 = sigmoid(z3), sigmoid(z4)
    z5 = w35 * o3 + w45 * o4
    o5 = sigmoid(z5)
    e = (o5 - t) ** 2 / 2
    # Backward: the output's delta, then through w35 and w45, as they are before the step.
    dz5 = (o5 - t) * o5 * (1 - o5)
    dz3 = w35 * dz5 * o3 * (1 - o3)
    dz4 = w45 * dz5 * o4 * (1 - o4)
    gradients = {
        "dE/dw13": dz3 * x1,
        "dE/dw23": dz3 * x2,
        "dE/dw14": dz4 * x1,
        "dE/dw24": dz4 * x2,
        "dE/dw35": dz5 * o3,
        "dE/dw45": dz5 * o4,
    }
    # One step.
    w13 -= LEARNING_RATE * gradients["dE/dw13"]
    w23 -= LEARNING_RATE * gradients["dE/dw23"]
    w14 -= LEARNING_RATE * gradients["dE/dw14"]
    w24 -= LEARNING_RATE * gradients["dE/dw24"]
    w35 -= LEARNING_RATE * gradients["dE/dw35"]
    w45 -= LEARNING_RATE * gradients["dE/dw45"]
    stepped = {
        "w13 new": w13, "w23 new": w23, "w14 new": w14,
        "w24 new": w24, "w35 new": w35, "w45 new": w45,
    }  # fmt: skip
    p3, p4 = sigmoid(w13 * x1 + w23 * x2), sigmoid(w14 * x1 + w24 * x2)
    e_new = (sigmoid(w35 * p3 + w45 * p4) - t) ** 2 / 2
    return {
        "z3": z3, "z4": z4, "o3": o3, "o4": o4, "z5": z5, "o5": o5, "E": e,
        "dE/dz5": dz5, "dE/dz3": dz3, "dE/dz4": dz4,
        **gradients, **stepped, "E new": e_new,
    }  # fmt: skip


def in_float() -> dict[str, float]:
    """The same by `FloatNet`: one forward, one backward, and a step without the biases."""
    net = network()
    forward = net.forward(X)
    dz = net.backward(forward.a, T)
    gradient = net.gradient(X, T)
    stepped = FloatNet(
        [w - LEARNING_RATE * dw for w, dw in zip(net.w, gradient.dw, strict=True)],
        net.b,
        net.activations,
        net.loss,
    )
    after = stepped.losses(stepped.forward(X).a[-1], T)
    (o3, o4), (o5,) = forward.a[1][0], forward.a[2][0]
    (z3, z4), (z5,) = forward.z[0][0], forward.z[1][0]
    return {
        "z3": z3, "z4": z4, "o3": o3, "o4": o4, "z5": z5, "o5": o5,
        "E": net.losses(forward.a[-1], T)[0],
        **_deltas(dz[0][0], dz[1][0]),
        **_gradients(gradient.dw[0], gradient.dw[1]),
        **_weights(stepped.w[0], stepped.w[1]),
        "E new": after[0],
    }  # fmt: skip


def in_integers(ways: ThreeWays, use_c: bool) -> dict[str, float]:
    """
    The same by the twin or by the compiled C, which take the step.

    C keeps no sums z: they are in registers only. Gradients are the products of C's own deltas
    and activations, as a board computes them while it sends them.
    """
    model, twin, c = ways.model, ways.twin, ways.c
    frac = [model.input.a_format.frac, *(layer.a_format.frac for layer in model.layers)]
    dz_frac = [layer.dz_frac or 0 for layer in model.layers]
    a = c.forward(ways.a0) if use_c else twin.forward(ways.a0)
    dz = c.backward(ways.a0, ways.targets) if use_c else twin.backward(a, ways.targets)
    hidden, output = dz
    assert hidden is not None
    assert output is not None
    figures: dict[str, float] = {}
    if not use_c:
        (z3, z4), (z5,) = (
            to_float(twin.z(k, a[k - 1]), model.layers[k - 1].z_format.frac)[0] for k in (1, 2)
        )
        figures = {"z3": z3, "z4": z4, "z5": z5}
    (o3, o4), (o5,) = (to_float(a[k], frac[k])[0] for k in (1, 2))
    figures |= {"o3": o3, "o4": o4, "o5": o5, "E": _loss(ways, use_c)}
    figures |= _deltas(to_float(hidden[0], dz_frac[0]), to_float(output[0], dz_frac[1]))
    figures |= _gradients(
        to_float(np.outer(hidden[0], ways.a0[0]), dz_frac[0] + frac[0]),
        to_float(np.outer(output[0], a[1][0]), dz_frac[1] + frac[1]),
    )
    if use_c:
        c.train(ways.a0, ways.targets, [0])
    else:
        twin.train(ways.a0, ways.targets)
    # Masters in canonical order: w13 w23 w14 w24 b3 b4 w35 w45 b5.
    masters = (c.parameters() if use_c else twin.parameters()[0]).copy()
    masters[[4, 5, 8]] = 0
    if use_c:
        c.set_parameters(masters)
    else:
        twin.set_parameters(masters)
    fine = [layer.w_format.frac + 8 for layer in model.layers]
    figures |= _weights(
        to_float(masters[:4].reshape(2, 2), fine[0]), to_float(masters[6:8].reshape(1, 2), fine[1])
    )
    return figures | {"E new": _loss(ways, use_c)}


def _loss(ways: ThreeWays, use_c: bool) -> float:
    return ways.losses()[2 if use_c else 1]


def _deltas(hidden: FloatArray, output: FloatArray) -> dict[str, float]:
    return {"dE/dz5": output[0], "dE/dz3": hidden[0], "dE/dz4": hidden[1]}


def _gradients(dw1: FloatArray, dw2: FloatArray) -> dict[str, float]:
    return {f"dE/d{name}": value for name, value in _by_name(dw1, dw2).items()}


def _weights(w1: FloatArray, w2: FloatArray) -> dict[str, float]:
    return {f"{name} new": value for name, value in _by_name(w1, w2).items()}


def _by_name(first: FloatArray, second: FloatArray) -> dict[str, float]:
    return {
        "w13": first[0, 0], "w23": first[0, 1], "w14": first[1, 0], "w24": first[1, 1],
        "w35": second[0, 0], "w45": second[0, 1],
    }  # fmt: skip


def run() -> Result:
    """Take the step four times: by hand, in float, in the twin and in C."""
    training = Training(LEARNING_RATE, epochs=1)
    log = train(network(), X, T, training)
    ways = three_ways(network(), training, log, Scaling.fit(X, "none"), X, T)
    shares = ways.bound_shares()
    same_before = ways.same_bits()
    return Result(
        by_hand(),
        in_float(),
        in_integers(ways, use_c=False),
        in_integers(ways, use_c=True),
        shares,
        same_before and ways.same_bits(),
    )


def main() -> None:
    result = run()
    rows = [
        (
            name,
            PRINTED.get(name, ""),
            *(
                f"{way[name]:.6f}" if name in way else "-"
                for way in (result.by_hand, result.in_float, result.in_twin, result.in_c)
            ),
        )
        for name in result.by_hand
    ]
    print(f"2-2-1, x = (0.35, 0.9), t = 0.5, learning rate {LEARNING_RATE:g}\n")
    print(table(["figure", "text", "by hand", "float", "twin", "C"], rows))
    print("\nA copied text has o3 = 0.69 and dE/dz5 = 0.027; but 0.19 * 0.69 * 0.31 = 0.0406.")
    print("0.69 is o5, and 0.0270 is dE/dw45.")
    print("Gradients of the biases, which the text leaves out: dE/db = dE/dz of the same unit.")
    print(f"Twin - float, as a share of its bound: {max(result.bound_shares):.2f} (below 1).")
    print(f"C and twin agree in every bit: {'yes' if result.same_bits else 'NO'}")


if __name__ == "__main__":
    main()

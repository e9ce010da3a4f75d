"""
Online training of a two-layer perceptron in PyTorch's eager mode, one thread: a program of its own.

    python3 peer_torch.py SAMPLES.npz RUNS STEPS

Run by peers.py with an interpreter that has torch; prints its version and the samples a second of
each run as JSON. Batch 1, SGD without momentum, half squared error, sigmoid in both layers.
"""

import json
import sys
import time

import numpy as np
import torch  # type: ignore[import-not-found]


def main() -> None:
    torch.set_num_threads(1)
    data = np.load(sys.argv[1])
    runs, steps = int(sys.argv[2]), int(sys.argv[3])
    w1, w2 = data["w1"], data["w2"]
    x = torch.tensor(data["x"], dtype=torch.float32)
    t = torch.tensor(data["t"], dtype=torch.float32)
    net = torch.nn.Sequential(
        torch.nn.Linear(w1.shape[1], w1.shape[0]),
        torch.nn.Sigmoid(),
        torch.nn.Linear(w2.shape[1], w2.shape[0]),
        torch.nn.Sigmoid(),
    )
    with torch.no_grad():
        for layer, w in ((net[0], w1), (net[2], w2)):
            layer.weight.copy_(torch.tensor(w, dtype=torch.float32))
            layer.bias.zero_()
    optimizer = torch.optim.SGD(net.parameters(), lr=float(data["rate"]))
    rates = []
    for _ in range(runs):
        begin = time.perf_counter()
        for step in range(steps):
            i = step % len(x)
            optimizer.zero_grad()
            loss = 0.5 * ((net(x[i]) - t[i]) ** 2).sum()
            loss.backward()
            optimizer.step()
        rates.append(steps / (time.perf_counter() - begin))
    with torch.no_grad():
        right = float((net(x).argmax(1) == t.argmax(1)).float().mean())
    print(json.dumps({"version": torch.__version__, "rates": rates, "right": right}))


if __name__ == "__main__":
    main()

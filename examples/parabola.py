"""
Fit y = x^2 + noise: 1-10-1 sigmoid, full batch, summed gradient, learning rate 0.1, 1000 epochs.

100 points x in [-1, 1], noise from N(0, 0.1), weights from N(0, 1), biases 0. Some targets fall
outside [0, 1], where no sigmoid gets: negative ones around x = 0, and some above 1 near x = +-1.
They are kept as they are, not clipped: clipping would bias the fit. What happens to them:

* In the integers a target shares the format of the output, s16, whose range is far wider than 0..1.
* The output is drawn towards 0 (or 1) and saturates, so its derivative y (1 - y) shrinks and the
  pull ends; the rest of the loss stays.
* The delta (y - t) y (1 - y) can be larger than with targets in [0, 1]. Its format leaves twice the
  largest delta that the float run saw, so that none is clipped; a counter would tell.

    python examples/parabola.py [--folder build/examples]

writes the plot of points and fit there; it needs matplotlib.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from compare import ThreeWays, learn, table

from bpgen.floatnet import FloatArray, create
from bpgen.training import Training

SEED = 1  # of the noise
WEIGHT_SEED = 1
POINTS = 100
EVERY = 10  # epochs between two printed losses
TRAINING = Training(learning_rate=0.1, epochs=1000, batch_size=None, reduction="sum", shuffle=False)
FOLDER = Path(__file__).resolve().parents[1] / "build" / "examples"


@dataclass
class Result:
    """
    The three networks after training, and the mean loss every EVERY epochs in float and C.

    The twin is compared with C at the end only: equal bits then are equal bits all along.
    """

    ways: ThreeWays
    in_float: list[float]
    in_c: list[float]

    def rmse(self) -> tuple[list[float], list[float]]:
        """Root mean square error in float, twin and C: against the points, against x^2."""
        return (
            [_rms(y - self.ways.t) for y in self.ways.outputs()],
            [_rms(y - self.ways.x**2) for y in self.ways.outputs()],
        )


def points() -> tuple[FloatArray, FloatArray]:
    """x [100][1] evenly spaced in [-1, 1] and noisy targets [100][1]."""
    x = np.linspace(-1.0, 1.0, POINTS)[:, np.newaxis]
    return x, x**2 + np.random.default_rng(SEED).normal(0.0, 0.1, x.shape)


def run() -> Result:
    x, t = points()
    start = create((1, 10, 1), "sigmoid", "sigmoid", init="normal", seed=WEIGHT_SEED)
    in_c: list[float] = []

    def watch(epoch: int, ways: ThreeWays) -> None:
        if (epoch + 1) % EVERY == 0:
            losses = ways.c.losses(ways.a0, ways.targets)
            in_c.append(float(losses.mean()) * 2.0**-ways.twin.loss_frac)

    ways = learn(start, x, t, TRAINING, on_epoch=watch)
    return Result(ways, ways.log.loss[EVERY - 1 :: EVERY], in_c)


def draw(result: Result, folder: Path) -> Path | None:
    """Plot the points, the fits and the losses into `folder`; None without matplotlib."""
    try:
        import matplotlib as mpl
    except ImportError:
        return None
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    ways = result.ways
    in_float, _, in_c = ways.outputs()
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    x = ways.x[:, 0]
    outside = ((ways.t < 0.0) | (ways.t > 1.0))[:, 0]
    left.axhspan(0.0, 1.0, color="0.95", label="reach of the sigmoid")
    left.plot(x, x**2, color="0.6", linestyle=":", label="$x^2$")
    left.scatter(x[~outside], ways.t[~outside], s=14, color="C0", label="points")
    left.scatter(
        x[outside], ways.t[outside], s=18, facecolors="none", edgecolors="C3", label="outside 0..1"
    )
    left.plot(x, in_float, color="C1", linewidth=4, alpha=0.5, label="fit in float64")
    left.plot(x, in_c, color="black", linewidth=1.2, label="fit in integer C")
    left.set(xlabel="x", ylabel="y", title="y = x² + N(0, 0.1), 1-10-1 sigmoid")
    left.legend(fontsize=8)
    epochs = np.arange(1, len(result.in_c) + 1) * EVERY
    right.plot(epochs, result.in_float, color="C1", linewidth=4, alpha=0.5, label="float64")
    right.plot(epochs, result.in_c, color="black", linewidth=1.2, label="integer C")
    right.set(xlabel="epoch", ylabel="mean loss", yscale="log", title="Training loss")
    right.legend(fontsize=8)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "parabola.png"
    figure.savefig(path, dpi=120, metadata={"Software": None})
    plt.close(figure)
    return path


def _rms(error: FloatArray) -> float:
    return float(np.sqrt((error**2).mean()))


def _loss_lines(losses: list[float]) -> str:
    """The losses every EVERY epochs, a hundred epochs a line, in units of 10^-4."""
    a_line = 100 // EVERY
    head = ["epoch", *(f"+{EVERY * (i + 1)}" for i in range(a_line))]
    rows = [
        [str(i * EVERY), *(f"{1e4 * loss:.2f}" for loss in losses[i : i + a_line])]
        for i in range(0, len(losses), a_line)
    ]
    return table(head, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description="Fit y = x^2 + noise in float, twin and C.")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the plot goes")
    folder = parser.parse_args().folder
    print(f"1-10-1 sigmoid, {POINTS} points (seed {SEED}), weights N(0, 1) (seed {WEIGHT_SEED}),")
    print("full batch, summed gradient, learning rate 0.1. Mean of (y - t)^2 / 2, times 10^4:")
    result = run()
    print("\nfloat64")
    print(_loss_lines(result.in_float))
    print("\ninteger C")
    print(_loss_lines(result.in_c))
    against_points, against_curve = result.rmse()
    print()
    rows = [
        ["mean loss", *result.ways.losses()],
        ["RMSE to the points (the noise alone: 0.1)", *against_points],
        ["RMSE to x^2", *against_curve],
    ]
    print(table(["after 1000 epochs", "float", "twin", "C"], rows))
    t, targets = result.ways.t, result.ways.targets
    output = result.ways.model.output
    print(
        f"\n{int((t < 0).sum())} targets lie below 0, the lowest at {t.min():.4f}, and "
        f"{int((t > 1).sum())} above 1, the highest at {t.max():.4f}: kept as "
        f"{targets.min()} and {targets.max()} in {output.a_format}, where 1 is "
        f"{1 << output.a_format.frac}."
    )
    seen = result.ways.log.ranges.dz[-1]
    print(
        f"Output deltas: {seen:.4f} seen in float, room for "
        f"{(output.dz_top or 0) * 2.0 ** -(output.dz_frac or 0):.4f}, "
        f"{result.ways.c.counters.deltas} clipped."
    )
    print(f"C and twin agree in every bit: {'yes' if result.ways.same_bits() else 'NO'}")
    path = draw(result, folder)
    if path is None:
        print("No plot: matplotlib is missing, install it with: pip install matplotlib")
    else:
        print(f"Plot: {path}")


if __name__ == "__main__":
    main()

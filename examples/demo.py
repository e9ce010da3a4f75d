"""
From a CSV to C that learns: iris and digits, in about half a minute.

For each data set: train in float64, turn the *untrained* network into integers, generate C,
compile it, and let the C train itself from scratch on the same samples in the same order. Then
compare: every parameter with the integer twin (equality), accuracy and gradients with float. At the
end a simulated Uno learns iris over its serial line.

    python -m examples.demo
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bpgen.bounds import running
from bpgen.dataset import Dataset, load_csv
from bpgen.emit.write import write_folder
from bpgen.floatnet import FloatNet, create
from bpgen.generation import generate
from bpgen.model import IntModel
from bpgen.quantization import quantize_network
from bpgen.scaling import Scaling
from bpgen.simulate import Simulation
from bpgen.training import Training, sample_order, train
from bpgen.twin import Twin
from examples import board

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "examples" / "data"
OUT = ROOT / "build" / "demo"
SEED = 1
BOARD_EPOCHS = 30


@dataclass(frozen=True)
class Job:
    """One data set and the network that learns it."""

    name: str
    target_column: str
    sizes: tuple[int, ...]
    training: Training


@dataclass
class Outcome:
    """What one job showed; losses are means over the training set, one an epoch."""

    steps: int
    seconds: float
    float_loss: list[float]
    c_loss: list[float]
    float_accuracy: float
    c_accuracy: float
    differing: int
    parameters: int
    worst_gradient: float
    model: IntModel
    a0: npt.NDArray[np.int64]
    t: npt.NDArray[np.int64]


JOBS = (
    Job("iris", "species", (4, 8, 3), Training(learning_rate=0.2, epochs=200, seed=SEED)),
    Job("digits", "digit", (64, 32, 10), Training(learning_rate=0.2, epochs=20, seed=SEED)),
)


def run(job: Job) -> Outcome:
    """Train `job` in float, in C and in the twin, and compare the three."""
    data, held_out = load_csv(DATA / f"{job.name}.csv", [job.target_column]).split(0.25, seed=SEED)
    scaling = Scaling.fit(data.x, "minmax", data.features)

    net = create(job.sizes, seed=SEED)
    initial = net.copy()
    log = train(net, scaling.apply(data.x), data.t, job.training)
    model = quantize_network(
        initial,
        job.training,
        log.ranges,
        scaling=scaling,
        features=data.features,
        targets=data.targets,
        labels=data.labels,
    )
    folder = OUT / job.name
    write_folder(folder, generate(model, job.name, main=True), force=True)
    (folder / f"{job.name}.model.json").write_text(model.to_json(), encoding="utf-8")

    one = 1 << model.output.a_format.frac
    t = (data.t * one).astype(np.int64)
    with Simulation(model) as c:
        a0 = c.quantize_input(scaling.counts(data.x))
        twin = Twin(model)
        losses, seconds = [], 0.0
        for epoch in range(job.training.epochs):
            order = sample_order(len(data), epoch, SEED)
            start = time.perf_counter()
            c.train(a0, t, order)
            seconds += time.perf_counter() - start
            losses.append(float(c.losses(a0, t).mean()) / 2.0**twin.loss_frac)
            for i in order:
                twin.train(a0[i : i + 1], t[i : i + 1])
        return Outcome(
            steps=job.training.epochs * len(data),
            seconds=seconds,
            float_loss=log.loss,
            c_loss=losses,
            float_accuracy=float_accuracy(net, scaling, held_out),
            c_accuracy=c_accuracy(c, scaling, held_out),
            differing=int((c.parameters() != twin.parameters()[0]).sum()),
            parameters=model.parameter_count,
            worst_gradient=worst_gradient(model, twin, c, a0[:100], t[:100]),
            model=model,
            a0=a0,
            t=t,
        )


def float_accuracy(net: FloatNet, scaling: Scaling, data: Dataset) -> float:
    predicted = net.forward(scaling.apply(data.x)).a[-1].argmax(axis=1)
    return float((predicted == data.classes()).mean())


def c_accuracy(c: Simulation, scaling: Scaling, data: Dataset) -> float:
    outputs = c.forward(c.quantize_input(scaling.counts(data.x)))[-1]
    return float((outputs.argmax(axis=1) == data.classes()).mean())


def worst_gradient(
    model: IntModel, twin: Twin, c: Simulation, a0: npt.ArrayLike, t: npt.ArrayLike
) -> float:
    """The largest |C gradient - float gradient| as a share of its bound, over all weights."""
    bound = running(model, [w[0] for w in twin.w], [b[0] for b in twin.b], a0, t)
    worst = 0.0
    a, deltas = c.forward(a0), c.backward(a0, t)
    for k, dz in enumerate(deltas):
        reference, limit = bound.reference.dw[k], bound.limit.dw[k]
        assert dz is not None and reference is not None and limit is not None
        frac = (model.layers[k].dz_frac or 0) + model.previous(k + 1).a_format.frac
        dw = np.ldexp((dz[:, :, None] * a[k][:, None, :]).astype(np.float64), -frac)
        # An input of exactly 0 makes a gradient of exactly 0, in integers too: no error is allowed.
        error = np.abs(dw - reference)[bound.valid]
        share = np.divide(error, limit[bound.valid], where=error > 0, out=np.zeros_like(error))
        worst = max(worst, float(share.max()))
    return worst


def plot(outcomes: dict[str, Outcome], uno: board.BoardRun, path: Path) -> None:
    """Learning curves of float, of the C and of the board, drawn to `path`."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(outcomes) + 1, figsize=(13, 4), layout="constrained")
    for axis, (name, outcome) in zip(axes, outcomes.items(), strict=False):
        epochs = range(1, len(outcome.c_loss) + 1)
        axis.plot(epochs, outcome.float_loss, label="float64", linewidth=4, color="#c9d7ea")
        axis.plot(epochs, outcome.c_loss, label="generated C, integers", color="#b5402c")
        axis.set(title=name, xlabel="epoch", ylabel="training loss", yscale="log")
        axis.grid(alpha=0.3)
        axis.legend()
    axes[-1].plot(range(1, len(uno.loss) + 1), uno.loss, color="#3b7a57")
    axes[-1].set(
        title="iris on a simulated Uno, over serial", xlabel="epoch", ylabel="loss while learning"
    )
    axes[-1].grid(alpha=0.3)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def main() -> int:
    """Run both jobs, print the table and where the files are; 1 when anything differs."""
    start = time.perf_counter()
    outcomes = {}
    for job in JOBS:
        print(f"{job.name}: training {'-'.join(map(str, job.sizes))} in float, C and twin ...")
        outcomes[job.name] = run(job)
    print(f"iris: a simulated {board.BOARD} learns it at {board.BAUD:,} baud ...")
    iris = outcomes["iris"]
    uno = board.learn(iris.model, iris.a0, iris.t, BOARD_EPOCHS, SEED, OUT / "uno-iris")
    plot(outcomes, uno, OUT / "learning_curves.png")

    print()
    print(f"{'':28}" + "".join(f"{name:>12}" for name in outcomes))
    rows = {
        "accuracy, float64": lambda o: f"{o.float_accuracy:.1%}",
        "accuracy, generated C": lambda o: f"{o.c_accuracy:.1%}",
        "final loss, float64": lambda o: f"{o.float_loss[-1]:.5f}",
        "final loss, generated C": lambda o: f"{o.c_loss[-1]:.5f}",
        "training steps in C": lambda o: f"{o.steps:,}",
        "steps a second in C": lambda o: f"{o.steps / o.seconds:,.0f}",
        "parameters that differ": lambda o: f"{o.differing} of {o.parameters}",
        "worst gradient / its bound": lambda o: f"{o.worst_gradient:.2f}",
    }
    for label, show in rows.items():
        print(f"{label:28}" + "".join(f"{show(outcome):>12}" for outcome in outcomes.values()))
    print()
    print(
        f"the Uno: {uno.steps:,} steps in {uno.seconds:.1f} s, {uno.faults}, "
        f"loss {uno.loss[0]:.3f} to {uno.loss[-1]:.3f}, "
        f"{uno.differing} of {uno.parameters} parameters differ from the twin's"
    )
    print()
    for name in outcomes:
        print(f"C and model  {(OUT / name).relative_to(ROOT)}/")
    print(f"Uno project  {(OUT / 'uno-iris').relative_to(ROOT)}/")
    print(f"plot         {(OUT / 'learning_curves.png').relative_to(ROOT)}")
    print(f"took         {time.perf_counter() - start:.0f} s")
    failed = uno.differing or any(o.differing or o.worst_gradient > 1 for o in outcomes.values())
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

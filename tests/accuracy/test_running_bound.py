"""The integer twin stays within the running bound of float arithmetic on the same weights."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from bpgen import twin as twin_module
from bpgen.bounds import Bounds, running
from bpgen.dataset import load_csv
from bpgen.floatnet import FloatArray, FloatNet, Sparsity, create
from bpgen.model import IntModel
from bpgen.qformat import quantize as raws
from bpgen.qformat import round_shift
from bpgen.quantization import quantize_network
from bpgen.scaling import Scaling
from bpgen.training import Ranges, Training, sample_order, train
from bpgen.twin import Twin

SUITE_SEED = 24
DATA = Path(__file__).parents[2] / "examples" / "data"

# A bound that no error comes near would accept a wrong implementation.
TIGHT = 0.3

IntArray = npt.NDArray[np.int64]


@dataclass
class Worst:
    """Largest measured / bound of each kind of tensor, over all layers and valid samples."""

    z: float = 0.0
    a: float = 0.0
    dz: float = 0.0
    dw: float = 0.0
    db: float = 0.0

    def widen(self, other: "Worst") -> None:
        for name, value in vars(other).items():
            setattr(self, name, max(getattr(self, name), value))


def ratio(
    raw: IntArray,
    frac: int,
    reference: FloatArray | None,
    limit: FloatArray | None,
    valid: IntArray,
) -> float:
    """Largest |twin - reference| / limit; an error where the limit is 0 counts as infinite."""
    assert reference is not None
    assert limit is not None
    error = np.abs(np.ldexp(raw.astype(np.float64), -frac) - reference)[valid]
    limit = limit[valid]
    assert not np.any(error[limit == 0.0])
    return float((error[limit > 0.0] / limit[limit > 0.0]).max(initial=0.0))


def measure(twin: Twin, a0: IntArray, t: IntArray, valid_share: float = 0.9) -> Worst:
    model = twin.model
    bounds = running(model, [w[0] for w in twin.w], [b[0] for b in twin.b], a0, t)
    valid = np.flatnonzero(bounds.valid)
    assert len(valid) >= valid_share * len(a0)
    a = twin.forward(a0)
    z = [twin.z(k, a[k - 1]) for k in range(1, len(a))]
    worst = Worst()
    dz: list[IntArray | None] = [None] * len(model.layers)
    if model.training is not None:
        dz = twin.backward(a, t)
    gradient = twin.gradient(a, dz)
    for k, layer in enumerate(model.layers):
        reference, limit = bounds.reference, bounds.limit
        found = Worst(
            z=unsaturated_ratio(twin, z[k], k, bounds, valid),
            a=ratio(a[k + 1], layer.a_format.frac, reference.a[k + 1], limit.a[k + 1], valid),
        )
        delta, both = dz[k], gradient[k]
        if delta is not None and both is not None:
            assert layer.dz_frac is not None
            frac = layer.dz_frac + model.previous(k + 1).a_format.frac
            found.dz = ratio(delta, layer.dz_frac, reference.dz[k], limit.dz[k], valid)
            found.dw = ratio(both[0], frac, reference.dw[k], limit.dw[k], valid)
            found.db = ratio(both[1], frac, reference.db[k], limit.db[k], valid)
        worst.widen(found)
    return worst


def unsaturated_ratio(twin: Twin, z: IntArray, k: int, bounds: Bounds, valid: IntArray) -> float:
    """As `ratio` for z, but relu cuts a z below 0 on purpose and tables a large one."""
    layer = twin.model.layers[k]
    reference = bounds.reference.z[k]
    if layer.activation == "relu":
        reference = np.maximum(reference, 0.0)
    top = layer.z_top * 2.0**-layer.z_format.frac
    return ratio(z, layer.z_format.frac, np.clip(reference, -top, top), bounds.limit.z[k], valid)


def within(worst: Worst) -> bool:
    return all(value <= 1.0 for value in vars(worst).values())


def integer_model(
    net: FloatNet, training: Training | None, ranges: Ranges, scaling: Scaling
) -> IntModel:
    features = [f"x{i}" for i in range(net.sizes[0])]
    return quantize_network(
        net, training, ranges, scaling=scaling, features=features, targets=["t"]
    )


@dataclass
class Task:
    x: FloatArray
    t: FloatArray
    hidden: tuple[int, ...]
    learning_rate: float
    epochs: int
    steps: int


def xor() -> Task:
    x = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    return Task(x, np.array([[0.0], [1.0], [1.0], [0.0]]), (4,), 0.5, 3000, 12000)


def square() -> Task:
    x = np.linspace(-1.0, 1.0, 101).round(2)[:, np.newaxis]
    return Task(x, x**2, (10,), 0.2, 50, 3000)


def table(name: str, hidden: int, learning_rate: float) -> Callable[[], Task]:
    def load() -> Task:
        path = DATA / f"{name}.csv"
        with path.open() as file:
            target = file.readline().strip().split(",")[-1]
        data = load_csv(path, [target], task="classify")
        return Task(data.x, data.t, (hidden,), learning_rate, 5, 1000)

    return load


TASKS = {
    "xor": xor,
    "square": square,
    "iris": table("iris", 8, 0.2),
    "wine": table("wine", 8, 0.1),
    "breast_cancer": table("breast_cancer", 10, 0.1),
    "digits": table("digits", 16, 0.2),
}


@pytest.mark.parametrize("entropy", [False, True], ids=["squared_error", "cross_entropy"])
@pytest.mark.parametrize("name", TASKS)
def test_the_twin_is_within_the_bound_before_during_and_after_training(
    name: str, entropy: bool
) -> None:
    task = TASKS[name]()
    classes = task.t.shape[1]
    output = "softmax" if entropy and classes > 1 else "sigmoid"
    loss = "cross_entropy" if entropy else "squared_error"
    rate = task.learning_rate / (4 if entropy else 1)
    scaling = Scaling.fit(task.x, "minmax")
    inputs = scaling.apply(task.x)
    net = create((inputs.shape[1], *task.hidden, classes), "sigmoid", output, loss, seed=1)
    training = Training(rate, task.epochs)
    ranges = train(net.copy(), inputs, task.t, training).ranges
    twin = Twin(integer_model(net, training, ranges, scaling))
    a0 = twin.quantize_input(scaling.counts(task.x))
    t = raws(task.t, twin.model.output.a_format.frac, -32768, 32767)
    chosen = np.random.default_rng([SUITE_SEED, 0]).permutation(len(a0))[:100]
    worst = measure(twin, a0[chosen], t[chosen])
    order = np.concatenate([sample_order(len(a0), e, 0) for e in range(task.steps // len(a0) + 1)])
    for part in np.split(order[: task.steps], 2):
        for sample in part:
            twin.train(a0[[sample]], t[[sample]])
        worst.widen(measure(twin, a0[chosen], t[chosen]))
    assert within(worst), worst
    assert min(worst.z, worst.a, worst.dz, worst.dw, worst.db) >= TIGHT, worst


OUTPUTS = [
    ("sigmoid", "squared_error"),
    ("sigmoid", "cross_entropy"),
    ("softmax", "cross_entropy"),
    ("linear", "squared_error"),
]


def random_twin(hidden: str, output: str, loss: str, case: int) -> tuple[Twin, IntArray, IntArray]:
    """A net with three weight layers of random sizes, weights and samples."""
    random = np.random.default_rng([SUITE_SEED, case])
    sizes = tuple(int(n) for n in random.integers(2, 13, 4))
    net = create(sizes, hidden, output, loss, "normal", seed=case)
    for k in range(net.n_layers):
        net.w[k] *= random.uniform(0.3, 1.2)
        net.b[k] += random.standard_normal(len(net.b[k])) * 0.5
    x = random.standard_normal((150, sizes[0]))
    t = random.dirichlet(np.ones(sizes[-1]), 150)
    ranges = train(net, x, t, Training(0.01, 0)).ranges
    scaling = Scaling((0,) * sizes[0], (0,) * sizes[0], (2.0**-10,) * sizes[0])
    twin = Twin(integer_model(net, Training(0.01), ranges, scaling))
    model = twin.model
    a0 = raws(x, model.input.a_format.frac, -model.input.a_top, model.input.a_top)
    return twin, a0, raws(t, model.output.a_format.frac, -32768, 32767)


@pytest.mark.parametrize(("output", "loss"), OUTPUTS)
@pytest.mark.parametrize("hidden", ["sigmoid", "tanh", "tanh_opt", "relu", "linear"])
def test_every_activation_output_and_loss_is_within_the_bound(
    hidden: str, output: str, loss: str
) -> None:
    worst = Worst()
    for case in range(5):
        worst.widen(measure(*random_twin(hidden, output, loss, case)))
    assert within(worst), worst
    assert min(worst.z, worst.a, worst.dz, worst.dw, worst.db) >= TIGHT, worst


@pytest.mark.parametrize("output", ["sigmoid", "softmax", "linear"])
@pytest.mark.parametrize("hidden", ["sigmoid", "relu"])
def test_byte_models_are_within_the_bound(hidden: str, output: str) -> None:
    random = np.random.default_rng([SUITE_SEED, 9])
    loss = "cross_entropy" if output == "softmax" else "squared_error"
    net = create((6, 9, 3), hidden, output, loss, seed=2)
    x, t = random.uniform(0.0, 1.0, (150, 6)), random.dirichlet(np.ones(3), 150)
    model = quantize_network(
        net,
        None,
        train(net, x, t, Training(0.01, 0)).ranges,
        scaling=Scaling((0,) * 6, (0,) * 6, (2.0**-10,) * 6),
        features=list("abcdef"),
        targets=["t"],
        weights="s8",
        inputs=x,
    )
    worst = measure(Twin(model), raws(x, model.input.a_format.frac, 0, 255), raws(t, 12, 0, 4096))
    assert within(worst), worst
    assert min(worst.z, worst.a) >= TIGHT, worst


@pytest.mark.parametrize(
    ("place", "tensor"), [("z", "z"), ("_output_delta", "dz"), ("_hidden_delta", "dz")]
)
def test_a_twin_that_truncates_in_one_place_is_caught(
    place: str, tensor: str, monkeypatch: pytest.MonkeyPatch
) -> None:

    def truncating(x: IntArray, shift: int) -> IntArray:
        return x >> shift if sys._getframe(1).f_code.co_name == place else round_shift(x, shift)

    twin, a0, t = random_twin("tanh", "linear", "squared_error", 1)
    # Deltas this coarse owe their error to their own rounding alone.
    layers = tuple(replace(layer, dz_frac=6) for layer in twin.model.layers)
    samples = Twin(replace(twin.model, layers=layers)), a0, t
    assert within(measure(*samples))
    monkeypatch.setattr(twin_module, "round_shift", truncating)
    assert getattr(measure(*samples), tensor) > 1.0


def test_a_twin_that_reads_one_weight_a_unit_off_is_caught() -> None:
    twin, a0, t = random_twin("sigmoid", "sigmoid", "squared_error", 2)
    bounds = running(twin.model, [w[0] for w in twin.w], [b[0] for b in twin.b], a0, t)
    masters = twin.parameters()
    masters[0, 0] += 2 << 8
    twin.set_parameters(masters)
    z = twin.z(1, a0)
    layer = twin.model.layers[0]
    valid = np.flatnonzero(bounds.valid)
    assert ratio(z, layer.z_format.frac, bounds.reference.z[0], bounds.limit.z[0], valid) > 1.0


def test_a_clipped_reference_is_marked_as_not_valid() -> None:
    twin, a0, t = random_twin("relu", "linear", "squared_error", 3)
    w = [layer[0] for layer in twin.w]
    b = [layer[0] for layer in twin.b]
    assert running(twin.model, w, b, a0, t).valid.all()
    far = np.full_like(t, 32767)
    assert not running(twin.model, w, b, a0, far).valid.all()
    assert not running(twin.model, [4 * layer for layer in w], b, a0, t).valid.all()


def test_sparsity_is_not_covered_and_says_so() -> None:
    net = create((2, 3, 1), seed=1)
    x, t = np.array([[0.1, 0.2]]), np.array([[0.5]])
    training = Training(0.1, sparsity=Sparsity(0.1, 0.1))
    ranges = train(net, x, t, Training(0.1, 0)).ranges
    model = integer_model(net, training, ranges, Scaling((0, 0), (0, 0), (0.01, 0.01)))
    layers = model.layers
    with pytest.raises(ValueError, match="sparsity"):
        running(model, [layer.w for layer in layers], [layer.b for layer in layers], x, t)

"""What `bpgen train` saves: complete, without pickles, and refused when damaged."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bpgen import checkpoint, floatnet, training
from bpgen.checkpoint import Checkpoint, load, train
from bpgen.dataset import Dataset
from bpgen.errors import BpgenError
from bpgen.floatnet import Sparsity, SymmetryWarning
from bpgen.quantization import quantize
from bpgen.scaling import Scaling
from bpgen.training import Training

SUITE_SEED = 31
TRAINING = Training(0.1, 4, batch_size=3, sparsity=Sparsity(0.1, 0.01), stop_loss=(0.0, 0.001))


def samples(count: int = 24) -> Dataset:
    random = np.random.default_rng([SUITE_SEED, 0])
    t = np.eye(2)[np.arange(count) % 2]
    return Dataset(random.uniform(-1, 3, (count, 3)), t, ("no", 'y"es'), ("a", "b", "c"), ("t",))


@pytest.fixture
def trained() -> Checkpoint:
    return train(samples(), (3, 4, 2), TRAINING, hidden="tanh")


def test_saving_and_loading_keeps_every_bit(trained: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "net.npz"
    trained.save(path)
    found = load(path)
    assert found.to_bytes() == trained.to_bytes() == path.read_bytes()
    for name in ("training", "log", "scaling", "scaling_kind", "features", "targets", "labels"):
        assert getattr(found, name) == getattr(trained, name)
    assert found.split == trained.split
    for one, other in ((found.net, trained.net), (found.initial, trained.initial)):
        assert one.activations == other.activations
        assert all(
            np.array_equal(a, b) for a, b in zip(one.w + one.b, other.w + other.b, strict=True)
        )


def test_the_same_training_gives_the_same_bytes(trained: Checkpoint) -> None:
    assert train(samples(), (3, 4, 2), TRAINING, hidden="tanh").to_bytes() == trained.to_bytes()


def test_training_is_that_of_floatnet_on_the_scaled_training_part(trained: Checkpoint) -> None:
    part, held_out = samples().split(0.25, 0)
    net = floatnet.create((3, 4, 2), "tanh", seed=0)
    assert np.array_equal(trained.initial.w[0], net.w[0])
    training.train(net, Scaling.fit(part.x, "minmax").apply(part.x), part.t, TRAINING)
    assert np.array_equal(trained.net.w[1], net.w[1])
    assert (trained.split.train_count, trained.split.test_count) == (len(part), len(held_out))
    divided = trained.split.divide(samples())[1]
    assert divided is not None
    assert np.array_equal(divided.x, held_out.x)


def test_a_test_fraction_of_0_trains_on_all_samples() -> None:
    found = train(samples(), (3, 2), Training(0.1, 1), test_fraction=0.0)
    assert found.split.train_count == 24
    assert found.split.divide(samples())[1] is None


def test_the_initial_weights_make_a_model_in_the_formats_of_the_training() -> None:
    found = train(samples(), (3, 4, 2), Training(0.5, 50))
    trained, initial = quantize(found), quantize(found, initial=True)
    assert [x.w_format for x in trained.layers] == [x.w_format for x in initial.layers]
    assert trained.layers[0].w != initial.layers[0].w
    w = initial.layers[0].w_format.to_float(initial.layers[0].w)
    assert np.abs(w - found.initial.w[0]).max() <= 2.0 ** -(initial.layers[0].w_format.frac + 1)


def test_softmax_gets_cross_entropy_and_other_outputs_the_squared_error() -> None:
    assert train(samples(), (3, 2), Training(0.1, 1), output="softmax").net.loss == "cross_entropy"
    assert train(samples(), (3, 2), Training(0.1, 1)).net.loss == "squared_error"


def test_identical_hidden_units_are_warned_of() -> None:
    with pytest.warns(SymmetryWarning, match="identical"):
        train(samples(), (3, 4, 2), Training(0.1, 1), init="zeros")


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ((4, 4, 2), "change it to 3, as in 3-4-2"),
        ((3, 4, 1), "2 classes: change it to 2, as in 3-4-2"),
        ((3,), "make no network"),
        ((3, 0, 2), "each 1 or more"),
    ],
)
def test_layers_that_do_not_fit_name_the_number_to_change(
    layers: tuple[int, ...], message: str
) -> None:
    with pytest.raises(BpgenError, match=message):
        train(samples(), layers)


def test_a_file_that_exists_is_kept_unless_forced(trained: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "net.npz"
    path.write_text("mine")
    with pytest.raises(BpgenError, match="exists"):
        trained.save(path)
    assert path.read_text() == "mine"
    trained.save(path, force=True)
    assert load(path).labels == ("no", 'y"es')


def test_the_file_holds_no_pickles(trained: Checkpoint, tmp_path: Path) -> None:
    with np.load(io.BytesIO(trained.to_bytes()), allow_pickle=False) as archive:
        assert all(archive[name].dtype.kind in "fU" for name in archive)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BpgenError, match="there is no file"):
        load(tmp_path / "none.npz")
    with pytest.raises(BpgenError, match="cannot be read"):
        load(tmp_path)


def test_a_full_batch_is_the_training_part(tmp_path: Path) -> None:
    found = train(samples(), (3, 2), replace(Training(0.1, 1), batch_size=None))
    model = quantize(found)
    assert model.training is not None
    assert model.training.batch_size == found.split.train_count
    assert checkpoint.VERSION == 1

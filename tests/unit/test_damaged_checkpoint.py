"""Checkpoints that were cut, flipped, forged or made by others: one sentence, and no crash."""

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bpgen import checkpoint
from bpgen.archive import read_arrays, write_arrays
from bpgen.checkpoint import Checkpoint, load, train
from bpgen.dataset import Dataset
from bpgen.errors import BpgenError
from bpgen.floatnet import Sparsity
from bpgen.training import Training

SUITE_SEED = 32


@pytest.fixture(scope="module")
def trained() -> Checkpoint:
    random = np.random.default_rng([SUITE_SEED, 0])
    t = np.eye(2)[np.arange(24) % 2]
    samples = Dataset(random.uniform(-1, 3, (24, 3)), t, ("no", 'y"es'), ("a", "b", "c"), ("t",))
    settings = Training(0.1, 2, batch_size=3, sparsity=Sparsity(0.1, 0.01), stop_loss=(0.0, 0.001))
    return train(samples, (3, 4, 2), settings, hidden="tanh")


@pytest.fixture(scope="module")
def whole(trained: Checkpoint) -> bytes:
    return trained.to_bytes()


def refused(path: Path, content: bytes) -> bool:
    """Whether `content` is refused, with one sentence that names the file and the way out."""
    path.write_bytes(content)
    try:
        load(path)
    except BpgenError as error:
        text = str(error)
        assert text.startswith(f"{path} ")
        assert "\n" not in text
        assert "'bpgen train'" in text
        return True
    return False


# ---- Damage on the way: no bit may change unnoticed


def test_a_cut_at_any_place_is_refused(whole: bytes, tmp_path: Path) -> None:
    for end in range(0, len(whole), 3):
        assert refused(tmp_path / "cut.npz", whole[:end])


def test_a_flipped_bit_at_any_place_is_refused_or_changes_nothing(
    whole: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "flipped.npz"
    random = np.random.default_rng([SUITE_SEED, 1])
    for place in range(0, len(whole), 2):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(random.integers(8))
        assert refused(path, damaged) or load(path).to_bytes() == whole


def test_bytes_that_are_lost_added_or_replaced_are_refused_or_change_nothing(
    whole: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "damaged.npz"
    for case in range(2000):
        random = np.random.default_rng([SUITE_SEED, 2, case])
        damaged = bytearray(whole)
        first, count, kind = random.integers((0, 1, 0), (len(whole), 40, 3)).tolist()
        new = {0: b"", 1: damaged[first : first + count] + random.bytes(count)}
        damaged[first : first + count] = new.get(kind, random.bytes(count))
        assert refused(path, damaged) or load(path).to_bytes() == whole, case


def test_damaged_records_of_the_archive_are_refused_or_change_nothing(
    whole: bytes, tmp_path: Path
) -> None:
    """Versions, flags, compressions and lengths: here the readers have their own complaints."""
    path = tmp_path / "records.npz"
    records = [k for k in range(len(whole)) if whole[k : k + 2] == b"PK"]
    for record in records:
        for place in range(record, min(record + 46, len(whole))):
            for value in (0, 1, 12, 0x40, 0xFF):
                damaged = bytearray(whole)
                damaged[place] = value
                assert refused(path, damaged) or load(path).to_bytes() == whole, (place, value)


# ---- Archives in order whose arrays are not


PIECES = (
    b"'", b"(", b")", b"{", b"}", b",", b"9" * 13, b"9" * 30, b"-1", b"True", b"None", b"\n",
    b"\\", b'"""', b"O", b"<f4", b"[", b"0x", b"1e9", b"M8[", b"#", b"\0", b"\xff", b"(" * 60,
    b"'a': 1,", b"1: 1,", b"1j",
)  # fmt: skip


def test_an_array_with_a_damaged_beginning_is_one_sentence(whole: bytes, tmp_path: Path) -> None:
    """NumPy reads what is in front of an array as Python, and a check sum of zip hides nothing."""
    path = tmp_path / "forged.npz"
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    for case in range(3000):
        random = np.random.default_rng([SUITE_SEED, 3, case])
        name = list(members)[random.integers(len(members))]
        forged = bytearray(members[name])
        for _ in range(random.integers(1, 4)):
            place = int(random.integers(128))
            piece = PIECES[random.integers(len(PIECES))]
            forged[place : place + int(random.integers(2)) * len(piece)] = piece
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            for each, content in members.items():
                archive.writestr(each, forged if each == name else content)
        refused(path, file.getvalue())


def test_a_compressed_archive_is_read(trained: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "small.npz"
    np.savez_compressed(path, **read_arrays(trained.to_bytes()))
    assert load(path).to_bytes() == trained.to_bytes()


# ---- Metadata that does not fit


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value inside a JSON value."""
    yield path
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*path, key))
    if isinstance(value, list):
        for key, inner in enumerate(value):
            yield from places(inner, (*path, key))


WRONG = (None, True, 0, -1, 2, 0.5, 10**400, -(10**20), float("nan"), float("inf"), "", "tanh",
         [], [1], ["x"], [[]], {}, {"a": 1})  # fmt: skip


def test_every_value_of_the_metadata_replaced_by_every_kind_is_one_sentence(
    trained: Checkpoint, tmp_path: Path
) -> None:
    """What is still accepted is a checkpoint: it can be written and read again."""
    arrays = read_arrays(trained.to_bytes())
    text = str(arrays["meta"])
    path = tmp_path / "meta.npz"
    refusals = 0
    for way in places(json.loads(text)):
        for wrong in WRONG:
            meta = {"": json.loads(text)}
            inner: Any = meta
            *before, last = ("", *way)
            for key in before:
                inner = inner[key]
            inner[last] = wrong
            changed = arrays | {"meta": np.array(json.dumps(meta[""]))}
            if refused(path, write_arrays(changed)):
                refusals += 1
            else:
                load(path).to_bytes()
    assert refusals > 1000


def test_a_mistake_of_the_reader_itself_is_not_taken_for_damage(
    trained: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "net.npz"
    trained.save(path)
    for error in (AttributeError, KeyError, TypeError, ValueError):

        def mistaken(*_: object, error: type[Exception] = error, **__: object) -> None:
            raise error("a mistake in bpgen")

        monkeypatch.setattr(checkpoint, "FloatNet", mistaken)
        with pytest.raises(error, match="a mistake in bpgen"):
            load(path)


def rewritten(
    trained: Checkpoint, path: Path, change: Callable[[dict[str, Any], dict[str, Any]], object]
) -> None:
    """Save with changed metadata and arrays."""
    with np.load(io.BytesIO(trained.to_bytes())) as archive:
        arrays: dict[str, Any] = {name: archive[name] for name in archive}
    meta = json.loads(str(arrays.pop("meta")))
    change(meta, arrays)
    np.savez(path, **({"meta": np.array(json.dumps(meta))} | arrays))


DAMAGES: dict[str, Callable[[dict[str, Any], dict[str, Any]], object]] = {
    "no_weights": lambda meta, arrays: arrays.pop("w2"),
    "float32": lambda meta, arrays: arrays.update(w1=arrays["w1"].astype(np.float32)),
    "other_shape": lambda meta, arrays: arrays.update(w1=arrays["w1"][:, :-1]),
    "not_finite": lambda meta, arrays: arrays.update(b1=arrays["b1"] * np.nan),
    "other_initial": lambda meta, arrays: arrays.update(initial_w1=arrays["w1"][:, :-1]),
    "no_training": lambda meta, arrays: meta.pop("training"),
    "unknown_setting": lambda meta, arrays: meta["training"].update(colour=1),
    "rate_as_text": lambda meta, arrays: meta["training"].update(learning_rate="fast"),
    "rate_out_of_range": lambda meta, arrays: meta["training"].update(learning_rate=-1),
    "half_an_epoch": lambda meta, arrays: meta["training"].update(epochs=0.5),
    "feature_missing": lambda meta, arrays: meta["features"].pop(),
    "label_missing": lambda meta, arrays: meta["labels"].pop(),
    "label_no_text": lambda meta, arrays: meta.update(labels=[1, 2]),
    "scale_missing": lambda meta, arrays: meta["scaling"]["scale"].pop(),
    "ranges_missing": lambda meta, arrays: meta["ranges"]["a"].pop(),
    "range_infinite": lambda meta, arrays: meta["ranges"].update(t=float("inf")),
    "split_no_number": lambda meta, arrays: meta["split"].update(seed="x"),
    "loss_no_number": lambda meta, arrays: arrays.update(epoch_loss=np.array(["x"])),
    "activations_number": lambda meta, arrays: meta.update(activations=3),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_parts_that_do_not_fit_together_are_refused(
    trained: Checkpoint, tmp_path: Path, name: str
) -> None:
    path = tmp_path / "bad.npz"
    rewritten(trained, path, DAMAGES[name])
    with pytest.raises(BpgenError, match=r"bad\.npz is damaged"):
        load(path)


def test_another_version_is_refused_with_its_number(trained: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "new.npz"
    rewritten(trained, path, lambda meta, arrays: meta.update(version=7))
    with pytest.raises(BpgenError, match="version 7, this bpgen reads version 1"):
        load(path)


def test_other_archives_are_not_taken_for_checkpoints(tmp_path: Path) -> None:
    path = tmp_path / "other.npz"
    for arrays in (
        {"x": np.zeros(3)},
        {"meta": np.zeros(3)},
        {"meta": np.array("not json")},
        {"meta": np.array("[" * 5000)},
        {"meta": np.array('{"format": "other"}')},
    ):
        np.savez(path, **arrays)
        with pytest.raises(BpgenError, match="is not a bpgen checkpoint"):
            load(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("meta.npy", b"no array")
    with pytest.raises(BpgenError, match="is not a bpgen checkpoint"):
        load(path)


def test_a_pickle_is_never_opened(tmp_path: Path) -> None:
    path = tmp_path / "pickle.npz"
    np.savez(path, meta=np.array({"format": "bpgen-checkpoint"}, dtype=object))
    with pytest.raises(BpgenError, match="is not a bpgen checkpoint"):
        load(path)

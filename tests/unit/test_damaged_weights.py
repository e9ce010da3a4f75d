"""A weights file that is cut, flipped or forged is one sentence, and never another error."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bpgen.archive import write_arrays
from bpgen.errors import BpgenError
from bpgen_host import weights
from bpgen_host.weights import SUFFIXES, Layout, Tensor

LAYOUT = Layout("0badcafe", (Tensor("w1", (3, 2), 13), Tensor("b1", (3,), 13)), 24)
MASTERS = np.arange(-4, 5) * 900_000


def refused(path: Path, content: bytes) -> bool:
    """Whether a file of that content is refused, in a sentence that names it."""
    path.write_bytes(content)
    said = ""
    try:
        weights.read(path, LAYOUT)
    except BpgenError as error:
        said = str(error)
    return str(path) in said


@pytest.fixture(params=SUFFIXES)
def suffix(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


def test_a_whole_file_is_read_back(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"whole{suffix}"
    path.write_bytes(weights.spelled(LAYOUT, MASTERS, suffix))
    assert np.array_equal(weights.read(path, LAYOUT), MASTERS)


def test_a_file_that_is_cut_is_refused(suffix: str, tmp_path: Path) -> None:
    whole = weights.spelled(LAYOUT, MASTERS, suffix)
    path = tmp_path / f"cut{suffix}"
    # Of a text what is cut may be the line's end, or of .csv digits of a value nobody reads.
    least = {".npz": 1, ".json": 2, ".csv": len(whole.splitlines(keepends=True)[-1])}[suffix]
    for end in range(len(whole) - least + 1):
        assert refused(path, whole[:end]), end


def test_a_file_with_other_bytes_is_refused_or_read(suffix: str, tmp_path: Path) -> None:
    whole = weights.spelled(LAYOUT, MASTERS, suffix)
    path = tmp_path / f"flipped{suffix}"
    random = np.random.default_rng(11)
    found = 0
    for _ in range(1500):
        damaged = bytearray(whole)
        for _ in range(int(random.integers(1, 4))):
            damaged[int(random.integers(len(whole)))] = int(random.integers(256))
        found += refused(path, bytes(damaged))
    assert found > 500


def npz(**arrays: Any) -> bytes:
    return write_arrays({name: np.asarray(value) for name, value in arrays.items()})


def pickled() -> bytes:
    file = io.BytesIO()
    np.savez(file, hash=np.array([{"a": 1}], dtype=object))
    return file.getvalue()


FORGED: dict[str, tuple[str, Callable[[], bytes]]] = {
    "npz, empty": (".npz", lambda: b""),
    "npz, no hash": (".npz", lambda: npz(w1=np.zeros((3, 2), int))),
    "npz, a pickle": (".npz", pickled),
    "npz, JSON": (".npz", lambda: b"{}"),
    "json, a list": (".json", lambda: b"[]"),
    "json, a number": (".json", lambda: b"7"),
    "json, a text": (".json", lambda: b'"format"'),
    "json, empty": (".json", lambda: b"{}"),
    "json, no hash": (".json", lambda: json.dumps({"format": weights.FORMAT}).encode()),
    "json, nested": (".json", lambda: b"[" * 100_000),
    "json, no UTF-8": (".json", lambda: b'{"\xff": 1}'),
    "csv, empty": (".csv", lambda: b""),
    "csv, only a head": (".csv", lambda: b"hash,tensor,index,raw,value\n"),
    "csv, another head": (".csv", lambda: b"a,b\n1,2\n"),
    "csv, a short row": (".csv", lambda: b"hash,tensor,index,raw,value\n0badcafe,w1\n"),
    "csv, no number": (".csv", lambda: b"hash,tensor,index,raw,value\n0badcafe,w1,0,x,0\n"),
    "csv, no UTF-8": (".csv", lambda: b"hash,tensor,index,raw,value\n\xff,w1,0,1,0\n"),
    "csv, a long field": (".csv", lambda: b"hash,tensor,index,raw,value\n" + b"x" * 200_000),
    "csv, a zero byte": (".csv", lambda: b"hash,tensor,index,raw,value\n0bad\0,w1,0,1,0\n"),
}


@pytest.mark.parametrize("name", FORGED)
def test_what_is_no_weights_file_is_refused(name: str, tmp_path: Path) -> None:
    suffix, content = FORGED[name]
    assert refused(tmp_path / f"forged{suffix}", content())


def test_a_mistake_of_ours_is_not_taken_for_damage(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(*_: object) -> None:
        raise AssertionError

    monkeypatch.setitem(weights._READERS, ".json", broken)
    with pytest.raises(AssertionError):
        refused(tmp_path / "a.json", b"{}")

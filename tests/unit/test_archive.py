"""Archives of arrays as bytes: what NumPy and zip complain of is one exception."""

import io
import struct
import zipfile

import numpy as np
import pytest

from bpgen.archive import ArchiveError, read_arrays, write_arrays

SUITE_SEED = 33

ARRAY = {"a": np.arange(8.0)}
RIGHT = "{'descr': '<f8', 'fortran_order': False, 'shape': (8,)}"


def archive(header: str, compression: int = zipfile.ZIP_STORED) -> bytes:
    """An archive with one array of 64 bytes, with that text in front of it."""
    text = header.encode() + b"\n"
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        start = b"\x93NUMPY\1\0" + struct.pack("<H", len(text))
        archive.writestr("a.npy", start + text + ARRAY["a"].tobytes())
    return file.getvalue()


def test_arrays_come_back_and_the_same_arrays_are_the_same_bytes() -> None:
    found = read_arrays(write_arrays(ARRAY))
    assert found.keys() == ARRAY.keys()
    assert np.array_equal(found["a"], ARRAY["a"])
    assert write_arrays(found) == write_arrays(ARRAY)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_archive_of_others_is_read(compression: int) -> None:
    assert np.array_equal(read_arrays(archive(RIGHT, compression))["a"], ARRAY["a"])


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_compression_that_numpy_does_not_write_is_refused(compression: int) -> None:
    with pytest.raises(ArchiveError):
        read_arrays(archive(RIGHT, compression))


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(RIGHT.replace("8,", "9" * 14 + ","), id="more than any memory"),
        pytest.param(RIGHT.replace("8,", "9" * 30 + ","), id="a length beyond 64 bits"),
        pytest.param(RIGHT.replace("8,", "-8,"), id="a length below zero"),
        pytest.param(RIGHT.replace("8,", "9,"), id="more than there is"),
        pytest.param(RIGHT.replace("{", "{1: 1, "), id="keys that cannot be sorted"),
        pytest.param(RIGHT.replace("<f8", "(2 3)f8,"), id="a type that is no Python"),
        pytest.param(RIGHT.replace("<f8", "|O"), id="a pickle"),
        pytest.param(RIGHT.replace("<f8", "?8"), id="an unknown type"),
        pytest.param(RIGHT.replace("}", ""), id="brackets that stay open"),
        pytest.param("(" * 5000, id="brackets without end"),
        pytest.param("[1]", id="a list"),
        pytest.param("", id="nothing"),
    ],
)
def test_a_forged_beginning_of_an_array_is_refused(header: str) -> None:
    with pytest.raises(ArchiveError):
        read_arrays(archive(header))


def test_a_flipped_bit_of_a_compressed_archive_is_refused_or_changes_nothing() -> None:
    """NumPy may stop reading before zip compares sums: some bits of these would change numbers."""
    array = np.random.default_rng([SUITE_SEED, 500]).integers(0, 50, 500).astype(np.float64)
    file = io.BytesIO()
    np.savez_compressed(file, a=array)
    whole = file.getvalue()
    for place in range(whole.index(b"PK\1\2")):
        for bit in range(8):
            damaged = bytearray(whole)
            damaged[place] ^= 1 << bit
            try:
                found = read_arrays(damaged)
            except ArchiveError:
                continue
            assert found.keys() == {"a"}
            assert np.array_equal(found["a"], array), (place, bit)


def test_a_member_that_is_no_array_is_refused() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.npy", b"no array")
    with pytest.raises(ArchiveError):
        read_arrays(file.getvalue())


def test_what_is_no_archive_is_refused() -> None:
    file = io.BytesIO()
    np.save(file, ARRAY["a"])
    for content in (b"", b"PK", file.getvalue(), b"text\n"):
        with pytest.raises(ArchiveError):
            read_arrays(content)


def test_an_object_is_not_written() -> None:
    with pytest.raises(ValueError, match="Object arrays"):
        write_arrays({"a": np.array({"b": 1}, dtype=object)})

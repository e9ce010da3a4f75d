"""An .npz file of plain arrays as bytes, which may be damaged, forged or something else."""

from __future__ import annotations

import io
import tokenize
import warnings
import zipfile
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

# What zipfile, zlib and NumPy raise for bytes that are no archive of arrays, found by damaging
# archives at random in Python 3.10 to 3.13 and NumPy 1.24 to 2.5. ValueError, TypeError,
# OverflowError, SyntaxError, TokenError and MemoryError come from the text in front of an array,
# which NumPy parses as Python and believes: a forged shape asks for terabytes. RuntimeError
# is a feature of zip that Python lacks, or encryption.
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    RuntimeError,
    ValueError,
    TypeError,
    OverflowError,
    SyntaxError,
    tokenize.TokenError,
    MemoryError,
)

# Other compressions raise what they like, and NumPy writes none of them.
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class ArchiveError(Exception):
    """The bytes are no .npz file of plain arrays."""


def write_arrays(arrays: dict[str, npt.NDArray[Any]]) -> bytes:
    """
    Give the content of an .npz file: the same for the same arrays, without date or pickle.

    `numpy.savez` can be told to refuse pickles only from NumPy 2.1 on; before that it stores the
    wish as one more array.
    """
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
    return file.getvalue()


def read_arrays(data: bytes | bytearray) -> dict[str, npt.NDArray[Any]]:
    """
    Give the arrays of an .npz file by name; a pickle in it is never opened.

    Raises ArchiveError for any other bytes.
    """
    # NumPy would take anything else for a single array or a pickle.
    if not data.startswith(b"PK"):
        raise ArchiveError
    # Only calls into NumPy are in here, so that no mistake of ours passes for damage.
    try:
        with warnings.catch_warnings(), np.load(io.BytesIO(data), allow_pickle=False) as archive:
            # Of headers in the Python of long ago, and of oddities in forged ones.
            warnings.simplefilter("ignore")
            plain = all(entry.compress_type in _COMPRESSIONS for entry in archive.zip.infolist())
            # NumPy stops reading behind the last number, which may be before zip looks at the sum.
            sound = plain and archive.zip.testzip() is None
            arrays = {name: archive[name] for name in archive} if sound else {}
    except _DAMAGE as error:
        raise ArchiveError from error
    # A member that is no array comes back as its bytes.
    if not sound or not all(isinstance(array, np.ndarray) for array in arrays.values()):
        raise ArchiveError
    return arrays

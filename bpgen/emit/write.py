"""Files to disk, all or none."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from bpgen.errors import BpgenError


def write_file(path: Path, text: str | bytes, *, force: bool = False) -> None:
    """
    Write one file, whole or not at all.

    Raises BpgenError when it exists and `force` is not set, or cannot be written.
    """
    if path.exists() and not force:
        raise BpgenError(f"{path} exists: choose another name or add --force to replace it.")
    if not path.parent.is_dir():
        raise BpgenError(f"the folder {path.parent} does not exist: create it first.")
    data = text.encode() if isinstance(text, str) else text
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            Path(temporary).chmod(0o644)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise BpgenError(f"cannot write {path}: {error.strerror or error}.") from None


def write_folder(folder: Path, files: Mapping[str, str], *, force: bool = False) -> None:
    """
    Write `files` (name to text) into a new folder that appears complete or not at all.

    With `force` an existing folder is kept and the files in it that have these names are replaced.
    Raises BpgenError when the folder exists and `force` is not set, or cannot be written.
    """
    if folder.exists() and not force:
        raise BpgenError(f"{folder} exists: choose another folder or add --force to replace files.")
    if folder.exists() and not folder.is_dir():
        raise BpgenError(f"{folder} is a file: choose another folder.")
    try:
        if folder.is_dir():
            for name, text in files.items():
                write_file(folder / name, text, force=True)
            return
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
            whole = Path(temporary) / folder.name
            whole.mkdir()
            for name, text in files.items():
                (whole / name).write_bytes(text.encode())
            shutil.move(whole, folder)
    except OSError as error:
        raise BpgenError(f"cannot write {folder}: {error.strerror or error}.") from None

"""Files to disk, all or none."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from bpgen.errors import BpgenError


def check_free(path: Path, *, force: bool, folder: bool = False) -> None:
    """
    Refuse a place that is taken, unless `force` is set, or that cannot be written to.

    A file needs a folder that exists; a `folder` is made with those above it.
    """
    try:
        taken, is_folder = path.exists(), path.is_dir()
        no_parent = not folder and not path.parent.is_dir()
    except OSError as error:
        raise BpgenError(
            f"{path} cannot be looked up ({error.strerror or error}): choose another place"
        ) from None
    if taken and not force:
        other, replaced = ("folder", "files") if folder else ("name", "it")
        raise BpgenError(
            f"{path} exists: choose another {other} or add --force to replace {replaced}"
        )
    if taken and folder and not is_folder:
        raise BpgenError(f"{path} is a file: choose another folder")
    if taken and not folder and is_folder:
        raise BpgenError(f"{path} is a folder: choose another name")
    if no_parent:
        raise BpgenError(f"the folder {path.parent} does not exist: create it first")


def write_file(path: Path, text: str | bytes, *, force: bool = False) -> None:
    """
    Write one file, whole or not at all.

    Raises BpgenError when it exists and `force` is not set, or cannot be written.
    """
    check_free(path, force=force)
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
        raise BpgenError(f"cannot write {path}: {error.strerror or error}") from None


def write_folder(folder: Path, files: Mapping[str, str], *, force: bool = False) -> None:
    """
    Write `files` (name to text) into a new folder that appears complete or not at all.

    A name may have folders in it, separated by slashes. With `force` an existing folder is kept and
    the files in it that have these names are replaced.
    Raises BpgenError when the folder exists and `force` is not set, or cannot be written.
    """
    check_free(folder, force=force, folder=True)
    try:
        if folder.is_dir():
            for name, text in files.items():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                write_file(folder / name, text, force=True)
            return
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
            whole = Path(temporary) / folder.name
            whole.mkdir()
            for name, text in files.items():
                (whole / name).parent.mkdir(parents=True, exist_ok=True)
                (whole / name).write_bytes(text.encode())
            shutil.move(whole, folder)
    except OSError as error:
        raise BpgenError(f"cannot write {folder}: {error.strerror or error}") from None

"""The log of a session: JSON lines, of which a run that was cut leaves all but the last whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TextIO

from bpgen.errors import BpgenError

LOG_VERSION = 1


class Log:
    """Appends JSON lines, each flushed."""

    def __init__(self, path: Path, resume: bool, force: bool) -> None:
        self._path = path
        try:
            if resume:
                _drop_cut_line(path)
            self._file: TextIO = path.open(
                "a" if resume else "w" if force else "x", encoding="ascii"
            )
        except FileExistsError:
            raise log_is_taken(path) from None
        except OSError as error:
            raise self._failed(error) from None

    def write(self, line: dict[str, Any]) -> None:
        """Append a line; BpgenError on a full disk."""
        try:
            self._file.write(json.dumps(line, separators=(",", ":")) + "\n")
            self._file.flush()
        except OSError as error:
            raise self._failed(error) from None

    def close(self) -> None:
        """Close the file. May be called twice."""
        try:
            self._file.close()
        except OSError:
            # A line that could not be flushed was reported when it was written.
            return

    def _failed(self, error: OSError) -> BpgenError:
        return BpgenError(
            f"cannot write the log {self._path} ({error.strerror or error}): make room or choose "
            "another place, then go on with --resume"
        )


def log_is_taken(path: Path) -> BpgenError:
    """The sentence for a log that is there already, most likely that of a run which was stopped."""
    return BpgenError(
        f"{path} exists: go on with it by --resume, choose another name or add --force to replace "
        "it"
    )


def read_log(path: Path) -> list[dict[str, Any]]:
    """
    The lines of a log: header, then checks and events; a cut last line is left out.

    Raises BpgenError for a file that is no log.
    """
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except OSError as error:
        raise BpgenError(
            f"cannot read the log {path} ({error.strerror or error}): name the log of the run to "
            "continue"
        ) from None
    if lines and not lines[-1].endswith(b"\n"):
        lines.pop()
    try:
        read = [json.loads(line) for line in lines]
        if read[0]["bpgen_session"] != LOG_VERSION or not all(isinstance(x, dict) for x in read):
            raise ValueError
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        raise BpgenError(
            f"{path} is no log of this version of bpgen-host: name another, or start a new one"
        ) from None
    return read


def _drop_cut_line(path: Path) -> None:
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        with path.open("r+b") as file:
            file.truncate(len(whole))

"""
A board in this process: the firmware's link and network with a port in memory, compiled and loaded.

It answers as a board would, byte for byte, and has no clock: the same bytes always give the same
answers.
"""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from bpgen.data import FIRMWARE
from bpgen.emit.device import BoardConstants, device_files
from bpgen.errors import BpgenError
from bpgen.generation import generate, view_of
from bpgen.model import IntModel
from bpgen.project import LINK_FILES
from bpgen.simulate import WARNINGS, compiler

LOCAL = BoardConstants(
    window=4095,
    frame=254,
    baud=115_200,
    clock_hz=0,
    store_bytes=32_768,
    store_unit=1,
    store_erases=False,
    store_writes=100_000,
)

PREFIX = "net"
FLAGS = ("-O1", "-fPIC", "-shared")
PORT = ("bpgen_memory.h", "bpgen_port.c")

# BP_MEMORY_FEED and BP_MEMORY_ANSWERS of bpgen_memory.h.
FEED = 1024
ANSWERS = FEED * 32


def firmware(model: IntModel, constants: BoardConstants = LOCAL) -> dict[str, str]:
    """Give the C files of the firmware by name; it is meant to be compiled on this machine."""
    view = view_of(model, PREFIX)
    files = generate(model, PREFIX, view=view)
    files |= device_files(model, PREFIX, view, constants)
    for folder, names in (("core", LINK_FILES), ("ports/memory", PORT)):
        for name in names:
            files[name] = (FIRMWARE / folder / name).read_text(encoding="utf-8")
    return files


class LocalTransport:
    """
    A `Transport` to the firmware of `model`, which it compiles first.

    `constants` are those of the board it plays, `counters` compiles the counters in, and `files`
    replaces what `firmware` gives. Use as a context manager, or call `close`, to remove what it
    built.

    Raises BpgenError when there is no compiler, or when it refuses.
    """

    def __init__(
        self,
        model: IntModel,
        constants: BoardConstants = LOCAL,
        *,
        counters: bool = False,
        files: Mapping[str, str] | None = None,
    ) -> None:
        self.name = "local"
        self.baud: int | None = None
        self._arrived = bytearray()
        self._answers = ctypes.create_string_buffer(ANSWERS)
        self._store_bytes = constants.store_bytes
        self._folder = tempfile.TemporaryDirectory(prefix="bpgen-local-")
        try:
            self._library = _build(
                files or firmware(model, constants), Path(self._folder.name), counters=counters
            )
        except BaseException:
            self._folder.cleanup()
            raise
        self._library.bp_memory_take.restype = ctypes.c_size_t
        self._library.bp_memory_store.restype = ctypes.POINTER(ctypes.c_uint8)
        self.reset()

    def __enter__(self) -> LocalTransport:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(self, timeout: float) -> bytes:
        """Give what has arrived; without it wait `timeout` seconds, as at a silent port."""
        if not self._arrived:
            time.sleep(timeout)
        data = bytes(self._arrived)
        self._arrived.clear()
        return data

    def write(self, data: bytes) -> None:
        """Let the board work through `data`."""
        for start in range(0, len(data), FEED):
            piece = bytes(data[start : start + FEED])
            self._library.bp_memory_feed(piece, ctypes.c_size_t(len(piece)))
            self._take()

    def reset(self) -> None:
        """Restart the board: all is lost but its store."""
        self._library.bp_memory_reset()
        self._take()

    def discard(self) -> None:
        """Forget what has arrived and was not read."""
        self._arrived.clear()

    def close(self) -> None:
        """Remove the files; the loaded library stays usable."""
        self._folder.cleanup()

    @property
    def store(self) -> bytes:
        """The board's non-volatile memory; may be assigned. Empty where it has none."""
        pointer = self._library.bp_memory_store()
        return bytes(pointer[: self._store_bytes]) if pointer else b""

    @store.setter
    def store(self, content: bytes) -> None:
        ctypes.memmove(self._library.bp_memory_store(), content, len(content))

    def _take(self) -> None:
        count = self._library.bp_memory_take(self._answers)
        self._arrived += self._answers.raw[:count]


def _build(files: Mapping[str, str], folder: Path, *, counters: bool) -> ctypes.CDLL:
    command = compiler()
    library = folder / "board.so"
    try:
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8", newline="\n")
        sources = [str(folder / name) for name in files if name.endswith(".c")]
        flags = (*WARNINGS, *FLAGS, f"-DBPGEN_COUNTERS={int(counters)}")
        run = subprocess.run(
            [*command, *flags, "-o", str(library), *sources],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if run.returncode != 0:
            reason = next((x for x in run.stderr.splitlines() if "error" in x), run.stderr)
            raise BpgenError(f"the compiler {command[0]} refused the firmware: {reason.strip()}")
        return ctypes.CDLL(str(library))
    except OSError as error:
        raise BpgenError(
            f"the board in this process cannot be built ({error}): check the compiler and the "
            "folder for temporary files, TMPDIR"
        ) from None

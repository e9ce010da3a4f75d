"""
The generated C, compiled for this machine and called in batches.

`Simulation` has the operations of `Twin` for one network, so that the two can be compared.
"""

from __future__ import annotations

import ctypes
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bpgen.emit.render import render
from bpgen.errors import BpgenError
from bpgen.generation import generate, view_of
from bpgen.model import IntModel, LearningRate
from bpgen.qformat import IntArray
from bpgen.twin import Counters

# fmt: off
WARNINGS = (
    "-std=c99", "-pedantic-errors", "-Wall", "-Wextra", "-Werror", "-Wconversion",
    "-Wsign-conversion", "-Wshadow", "-Wundef", "-Wcast-qual", "-Wstrict-prototypes",
    "-Wmissing-prototypes", "-Wdouble-promotion", "-Wvla", "-Wcast-align",
)
# fmt: on
OPTIMISED = ("-O3", "-march=native", "-flto")
PREFIX = "net"


def compiler() -> list[str]:
    """
    The command of this machine's C compiler: that of the environment's CC, if it is there.

    Raises BpgenError, with what to install, when there is none.
    """
    try:
        wanted = shlex.split(os.environ.get("CC", ""))
    except ValueError:
        wanted = []
    if wanted and shutil.which(wanted[0]):
        return wanted
    for name in ("gcc", "cc", "clang"):
        found = shutil.which(name)
        if found:
            return [found]
    raise BpgenError("no C compiler found: install one, for instance 'sudo apt-get install gcc'")


def write_sources(model: IntModel, folder: Path, optimize: str = "speed") -> list[Path]:
    """Write the generated C, the core and the batch calls into `folder`, and name the files."""
    view = view_of(model, PREFIX, optimize)
    files = generate(model, PREFIX, view=view)
    for name in ("simulation.h", "simulation.c"):
        files[name] = render(name, view)
    try:
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise BpgenError(f"cannot write the C files into {folder}: {_reason(error)}") from None
    return [folder / name for name in files]


def build(
    model: IntModel, folder: Path, *, command: Sequence[str] = (), flags: Sequence[str] = OPTIMISED
) -> Path:
    """
    Generate C for `model` into `folder`, compile it there, and name the shared library.

    `command` is the compiler (default: this machine's), `flags` what is added to the warnings.
    Raises BpgenError when there is no compiler or it refuses.
    """
    library = folder / "simulation.so"
    shared = ("-fPIC", "-shared", "-o", str(library))
    sources = [str(path) for path in write_sources(model, folder) if path.suffix == ".c"]
    command = command or compiler()
    name = command[0]
    try:
        run = subprocess.run(
            [*command, *WARNINGS, *flags, *shared, *sources],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except OSError as error:
        raise BpgenError(
            f"the compiler {name} cannot be run ({_reason(error)}): install one, or name another "
            "in the variable CC"
        ) from None
    if run.returncode != 0:
        raise BpgenError(f"the compiler {name} refused the generated C: {_first_error(run)}")
    if not library.is_file():
        raise BpgenError(
            f"the compiler {name} made no library: name one that compiles C in the variable CC"
        )
    return library


def _first_error(run: subprocess.CompletedProcess[str]) -> str:
    """The first line in which a compiler complains of an error, or what it says at all."""
    lines = [line.strip() for line in f"{run.stderr}\n{run.stdout}".splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()]
    return (errors or lines or [f"exit code {run.returncode}"])[0]


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


class Simulation:
    """
    Networks in compiled C: their states, and batch calls over samples [n][...] of raws.

    Calls are for network `copy` of the `copies`, at first 0. Counters are compiled in only with
    `counters=True`; without them `counters` is all zeros. `library` names what `build` made of
    the model before, with its own compiler and flags. Use as a context manager, or call `close`,
    to remove the files it built.
    """

    def __init__(
        self,
        model: IntModel,
        *,
        command: Sequence[str] = (),
        flags: Sequence[str] = OPTIMISED,
        counters: bool = False,
        copies: int = 1,
        library: Path | None = None,
    ) -> None:
        self.model = model
        try:
            self._folder = tempfile.TemporaryDirectory(prefix="bpgen-simulation-")
        except OSError as error:
            raise BpgenError(
                f"there is no place for temporary files ({_reason(error)}): name a folder for them "
                "in the variable TMPDIR"
            ) from None
        try:
            if library is None:
                extra = ("-DBPGEN_COUNTERS=1",) if counters else ()
                folder = Path(self._folder.name)
                library = build(model, folder, command=command, flags=(*flags, *extra))
            self._library = _loaded(library)
        except BaseException:
            self._folder.cleanup()
            raise
        self._library.bp_sim_state_size.restype = ctypes.c_size_t
        if model.training:
            getattr(self._library, f"{PREFIX}_crc32").restype = ctypes.c_uint32
            self._library.bp_sim_get_steps.restype = ctypes.c_uint32
        # uint64 so that the state is aligned for any member.
        size = int(self._library.bp_sim_state_size())
        self.state_size = size
        self._states = [np.zeros((size + 7) // 8, dtype=np.uint64) for _ in range(copies)]
        for self.copy in reversed(range(copies)):
            self.reset()

    def __enter__(self) -> Simulation:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the files; the loaded library stays usable."""
        self._folder.cleanup()

    def reset(self) -> None:
        """Go back to the model's parameters and learning rate."""
        self._call("bp_sim_reset")

    def self_test(self) -> bool:
        """Whether the built-in vectors give the expected bits; the state is reset."""
        return self._call(f"{PREFIX}_self_test") == 0

    def quantize_input(self, counts: npt.ArrayLike) -> IntArray:
        """a0 [n][n0] of raw counts [n][n0]."""
        rows = np.ascontiguousarray(counts, dtype=np.int32)
        a0 = np.zeros(rows.shape, dtype=np.int16)
        self._call("bp_sim_quantize_input", rows, a0, ctypes.c_size_t(len(rows)))
        return a0.astype(np.int64)

    def predict(self, a0: npt.ArrayLike) -> IntArray:
        """Class of each sample [n]: the first of its largest outputs."""
        x = _int16(a0)
        classes = np.zeros(len(x), dtype=np.uint32)
        self._call("bp_sim_predict", x, classes, ctypes.c_size_t(len(x)))
        return classes.astype(np.int64)

    def forward(self, a0: npt.ArrayLike) -> list[IntArray]:
        """Activations a0, a1, ..., aL [n][n_k]."""
        x = _int16(a0)
        sizes = self.model.sizes[1:]
        a = np.zeros((len(x), sum(sizes)), dtype=np.int16)
        self._call("bp_sim_forward", x, a, ctypes.c_size_t(len(x)))
        # A u8 activation arrives as 0..255, an s16 one as it is.
        return [x.astype(np.int64), *_split(a, sizes)]

    def backward(self, a0: npt.ArrayLike, t: npt.ArrayLike) -> list[IntArray | None]:
        """Deltas dz1, ..., dzL [n][n_k]; None for a layer that has none."""
        x, target = _int16(a0), _int16(t)
        layers = range(1, len(self.model.layers) + 1)
        sizes = [self.model.sizes[k] if self.model.has_dz(k) else 0 for k in layers]
        dz = np.zeros((len(x), sum(sizes)), dtype=np.int16)
        self._call("bp_sim_backward", x, target, dz, ctypes.c_size_t(len(x)))
        return [part if part.shape[1] else None for part in _split(dz, sizes)]

    def losses(self, a0: npt.ArrayLike, t: npt.ArrayLike) -> IntArray:
        """Loss of each sample [n], with the fraction of docs/numbers.md, section 6."""
        x, target = _int16(a0), _int16(t)
        loss = np.zeros(len(x), dtype=np.int64)
        self._call("bp_sim_losses", x, target, loss, ctypes.c_size_t(len(x)))
        return loss

    def train(
        self, a0: npt.ArrayLike, t: npt.ArrayLike, order: npt.ArrayLike, batch: int = 1
    ) -> int:
        """
        Train on the samples `order` [steps]; with a batch update also apply every `batch` samples
        and at the end. Returns the sum of the losses, each taken before its sample's update.
        """
        x, target = _int16(a0), _int16(t)
        indices = np.ascontiguousarray(order, dtype=np.uint32)
        if len(indices) and int(indices.max()) >= min(len(x), len(target)):
            raise ValueError("order names a sample that does not exist")
        loss = ctypes.c_int64()
        self._call(
            "bp_sim_train",
            x,
            target,
            indices,
            ctypes.byref(loss),
            ctypes.c_size_t(batch),
            ctypes.c_size_t(len(indices)),
        )
        return loss.value

    def step(self) -> None:
        """Update from the sample that `backward` saw last."""
        self._call(f"{PREFIX}_step")

    def apply(self) -> None:
        """End a batch; only a model with batch or momentum updates has it."""
        self._call(f"{PREFIX}_apply")

    def set_learning_rate(self, rate: LearningRate, decay: int | None = None) -> None:
        """Change the learning rate, and the L2 decay that goes with it; BpgenError out of range."""
        assert self.model.training is not None
        refused = self._call(
            "bp_sim_set_learning_rate",
            ctypes.c_uint16(rate.mantissa),
            ctypes.c_int8(rate.exponent),
            ctypes.c_uint16(self.model.training.decay if decay is None else decay),
        )
        if refused:
            raise BpgenError(f"the model cannot use a learning rate of {rate.value:g}.")

    @property
    def steps(self) -> int:
        """Completed updates, u32; may be assigned."""
        return self._call("bp_sim_get_steps")

    @steps.setter
    def steps(self, steps: int) -> None:
        self._call("bp_sim_set_steps", ctypes.c_uint32(steps))

    def crc32(self) -> int:
        """CRC-32 of the learning layers' parameters."""
        return self._call(f"{PREFIX}_crc32")

    def parameters(self) -> IntArray:
        """Masters of the learning layers in canonical order."""
        return self._get("bp_sim_get_parameters", self._count())

    def set_parameters(self, masters: npt.ArrayLike) -> None:
        """Set the masters of the learning layers, in canonical order."""
        values = np.ascontiguousarray(masters, dtype=np.int32)
        if values.shape != (self._count(),):
            raise ValueError(f"expected {self._count()} masters, got shape {values.shape}")
        self._call("bp_sim_set_parameters", values)

    def velocities(self) -> IntArray:
        """vw and vb of the learning layers in canonical order; empty for an online update."""
        training = self.model.training
        applies = training is not None and training.update in ("batch", "momentum")
        return self._get("bp_sim_get_velocities", self._count() if applies else 0)

    def means(self) -> IntArray:
        """Running means p of the sparsity penalty, layer by layer."""
        layers = enumerate(self.model.layers, start=1)
        count = sum(layer.outputs for k, layer in layers if layer.sparsity and self.model.has_dz(k))
        return self._get("bp_sim_get_means", count)

    @property
    def counters(self) -> Counters:
        """What was clipped or lost since the reset."""
        values = np.zeros(5, dtype=np.uint32)
        self._call("bp_sim_counters", values)
        return Counters(*(int(v) for v in values))

    def _count(self) -> int:
        layers = enumerate(self.model.layers, start=1)
        return sum(layer.count for k, layer in layers if self.model.learns(k))

    def _get(self, name: str, count: int) -> IntArray:
        values = np.zeros(count, dtype=np.int32)
        if count:
            self._call(name, values)
        return values.astype(np.int64)

    def _call(self, name: str, *arguments: object) -> int:
        converted = [
            a.ctypes.data_as(ctypes.c_void_p) if isinstance(a, np.ndarray) else a
            for a in (self._states[self.copy], *arguments)
        ]
        return int(getattr(self._library, name)(*converted) or 0)


def _loaded(library: Path) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(str(library))
    except OSError as error:
        raise BpgenError(
            f"what the compiler made cannot be loaded ({error}): if programs may not run in "
            f"{library.parent}, name another folder in the variable TMPDIR"
        ) from None


def _int16(rows: npt.ArrayLike) -> npt.NDArray[np.int16]:
    values = np.asarray(rows)
    if values.size and (values.min() < -32768 or values.max() > 32767):
        raise ValueError("a raw is outside s16")
    return np.ascontiguousarray(values, dtype=np.int16)


def _split(rows: npt.NDArray[np.int16], sizes: Sequence[int]) -> list[IntArray]:
    return list(np.split(rows.astype(np.int64), np.cumsum(sizes)[:-1], axis=1))

"""
Read samples from CSV and NPZ files and scale them for the network.

Everything here is float64 or text; the integer form of the scaling is made elsewhere
from the numbers `Scaling` holds. Every mistake in a file or an argument raises
BpgenError with the file, the line and the column.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from bpgen.archive import ArchiveError, read_arrays
from bpgen.errors import BpgenError, suggestion
from bpgen.scaling import EXACT_LIMIT

FloatArray: TypeAlias = npt.NDArray[np.float64]
IntArray: TypeAlias = npt.NDArray[np.int64]
Task: TypeAlias = Literal["auto", "classify", "regress"]


# A column of whole numbers 0..k is taken for classes up to this many of them.
MAX_AUTO_CLASSES = 20
# A one-hot row per sample makes memory rows * classes * 8 B; past this the target is an
# identifier or a measurement that was taken for a class.
MAX_CLASSES = 1000

_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_NOT_FINITE = re.compile(r"[+-]?(?:nan|inf|infinity)", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class Dataset:
    """
    Hold samples as arrays.

    x [n][features] are raw cells in the units of the file; t [n][outputs] are one-hot
    rows when `labels` names the classes, and values when `labels` is empty. `features`
    names the columns of x; `targets` the target columns of the file, so a single name
    for a class column although t has one output per class.
    """

    x: FloatArray
    t: FloatArray
    labels: tuple[str, ...]
    features: tuple[str, ...]
    targets: tuple[str, ...]

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.x)

    def classes(self) -> IntArray:
        """Return the class index of every sample [n]: the largest target, the first on a tie."""
        classes: IntArray = np.argmax(self.t, axis=1).astype(np.int64)
        return classes

    def split(self, test_fraction: float = 0.25, seed: int = 0) -> tuple[Dataset, Dataset]:
        """
        Divide the samples into a training and a test part, each in random order.

        Classes keep their shares in both parts, to a sample; the seed decides which
        samples go where. The test part has round(n * test_fraction) samples as far as
        each part keeps one sample and the training part keeps one of each class.

        Raises BpgenError when there are too few samples for that, when a class has none,
        or when test_fraction is outside (0, 1) or seed below 0.
        """
        if not 0.0 < test_fraction < 1.0:
            raise BpgenError(
                f"the test fraction must lie between 0 and 1, not {test_fraction}: try 0.25"
            )
        if seed < 0:
            raise BpgenError(f"the seed must be 0 or more, not {seed}: choose another")
        classes = self.classes() if self.labels else np.zeros(len(self), dtype=np.int64)
        groups = [np.flatnonzero(classes == k) for k in range(max(1, len(self.labels)))]
        spare = len(self) - len(groups)
        if spare < 1:
            kinds = f" of {len(groups)} classes" if self.labels else ""
            raise BpgenError(
                f"{len(self)} sample{'s' * (len(self) != 1)}{kinds} cannot be split into a "
                f"training and a test part: that needs at least {len(groups) + 1} samples"
            )
        for k, group in enumerate(groups):
            if len(group) == 0:
                raise BpgenError(
                    f"class {self.labels[k]!r} has no samples, so no split can train it: "
                    "add samples of it or load the file without its label"
                )
        rng = np.random.default_rng(seed)
        wanted = min(max(1, round(len(self) * test_fraction)), spare)
        takes = _apportion([len(group) for group in groups], test_fraction, wanted)
        train: list[IntArray] = []
        test: list[IntArray] = []
        for group, take in zip(groups, takes, strict=True):
            mixed = rng.permutation(group)
            test.append(mixed[:take])
            train.append(mixed[take:])
        return (
            self._rows(rng.permutation(np.concatenate(train))),
            self._rows(rng.permutation(np.concatenate(test))),
        )

    def _rows(self, rows: IntArray) -> Dataset:
        return replace(self, x=self.x[rows], t=self.t[rows])


def load(
    path: str | Path,
    target_columns: Sequence[str] = (),
    features: Sequence[str] | None = None,
    labels: Sequence[str] | None = None,
    task: Task = "auto",
) -> Dataset:
    """
    Read a data set by its suffix: .csv with load_csv(), .npz with load_npz().

    Raises BpgenError for any other suffix and whatever is wrong with the file.
    """
    suffix = Path(path).suffix.lower()
    if suffix == ".csv":
        return load_csv(path, target_columns, features, labels, task)
    if suffix == ".npz":
        return load_npz(path, target_columns, features, labels, task)
    raise BpgenError(f"{path} is neither a .csv nor a .npz file: convert it to one of them")


def load_csv(
    path: str | Path,
    target_columns: Sequence[str],
    features: Sequence[str] | None = None,
    labels: Sequence[str] | None = None,
    task: Task = "auto",
) -> Dataset:
    """
    Read a CSV file: UTF-8, comma separated, a header row, one sample per line.

    `features` picks and orders the inputs; None takes every column that is no target.
    Other columns are not looked at. A single target column becomes classes when it holds
    text or only the whole numbers 0..k for k < 20, else values; `task` overrides this.
    Several target columns are values. Class names are sorted, by value if all are
    numbers, which are then spelt the shortest way ("1.0" is class "1").

    `labels` are those of a trained model: their order is kept, an unknown class is an
    error, and an empty sequence means a regression model.

    Raises BpgenError, naming file, line and column, for whatever is wrong in the file.
    """
    wanted = _names(target_columns)
    task = _task(task, labels, len(wanted))
    table = _read_table(path)
    if not wanted:
        raise BpgenError(
            f"no target column is given: choose from {path}'s columns {_list(table.header)}"
        )
    targets = [table.index(name, "target") for name in wanted]
    inputs = (
        [i for i in range(len(table.header)) if i not in targets]
        if features is None
        else [table.index(name, "feature") for name in _names(features)]
    )
    asked = targets + inputs
    for column in asked:
        if asked.count(column) > 1:
            raise BpgenError(
                f"column {_quote(table.header[column])} of {path} is asked for twice: name each "
                "column once, as a feature or as a target"
            )
    if not inputs:
        raise BpgenError(
            f"{path} leaves no column as an input besides the target {_list(wanted)}: "
            "add a feature column"
        )
    x = table.numbers(inputs)
    names: tuple[str, ...] = ()
    if len(targets) == 1 and _is_class_column(table, targets[0], task):
        names, t = _one_hot(table, targets[0], labels)
    else:
        t = table.numbers(targets)
    return Dataset(
        x, t, names, tuple(table.header[i] for i in inputs), tuple(table.header[i] for i in targets)
    )


def load_inputs(path: str | Path, features: Sequence[str]) -> Dataset:
    """
    Read samples without their targets: the columns `features` of a .csv, or x of an .npz file.

    Raises BpgenError, naming file, line and column, for whatever is wrong in the file.
    """
    if Path(path).suffix.lower() == ".csv":
        table = _read_table(path)
        x = table.numbers([table.index(name, "feature") for name in _names(features)])
        return Dataset(x, np.empty((len(x), 0)), (), tuple(features), ())
    return replace(load(path, (), features), labels=(), targets=())


def load_npz(
    path: str | Path,
    target_columns: Sequence[str] = (),
    features: Sequence[str] | None = None,
    labels: Sequence[str] | None = None,
    task: Task = "auto",
) -> Dataset:
    """
    Read the arrays x [n][features] and t [n][outputs] of an NPZ file; no pickles.

    The file holds no names: `features` and `target_columns`, when given, name the
    columns in order (else x0, x1, ... and t0, t1, ...). Rows of t that are all one-hot
    over two or more columns become classes, called `labels` or "0", "1", ...; `task` and
    an empty `labels` act as in load_csv().

    Raises BpgenError when the file cannot be read or an array is missing, no finite
    number matrix, or of the wrong size.
    """
    names = _names(target_columns)
    # One name for a class column is fine whatever the number of outputs.
    task = _task(task, labels, 1)
    x, t = _read_arrays(path)
    one_hot = bool(
        t.shape[1] >= 2 and ((t == 0.0) | (t == 1.0)).all() and (t.sum(axis=1) == 1.0).all()
    )
    if task == "classify" and not one_hot:
        raise BpgenError(
            f"the rows of array t in {path} are not one-hot over two or more columns: "
            "write a single 1 in each row, or load the values with --task regress"
        )
    found: tuple[str, ...] = ()
    if one_hot and task != "regress":
        found = tuple(labels) if labels else tuple(str(k) for k in range(t.shape[1]))
        if len(found) != t.shape[1]:
            raise BpgenError(
                f"array t in {path} has {t.shape[1]} columns for {len(found)} class labels: "
                "write one column per label"
            )
    inputs = _names(features) if features is not None else _numbered("x", x.shape[1])
    if len(inputs) != x.shape[1]:
        raise BpgenError(
            f"array x in {path} has {x.shape[1]} columns for {len(inputs)} feature names: "
            "give one name per column"
        )
    outputs = names or (("t",) if found else _numbered("t", t.shape[1]))
    if len(outputs) not in ({1, t.shape[1]} if found else {t.shape[1]}):
        raise BpgenError(
            f"array t in {path} has {t.shape[1]} columns for {len(outputs)} target names: "
            "give one name per column"
        )
    return Dataset(x, t, found, inputs, outputs)


def _apportion(sizes: list[int], fraction: float, wanted: int) -> list[int]:
    """
    Share `wanted` test samples among classes by largest remainder.

    Every class keeps at least one sample for training; `wanted` allows for that.
    """
    quotas = [size * fraction for size in sizes]
    # A float64 fraction below 1 keeps size * fraction below size, so the floor leaves one.
    takes = [int(quota) for quota in quotas]
    while sum(takes) < wanted:
        open_classes = [k for k, size in enumerate(sizes) if takes[k] < size - 1]
        takes[max(open_classes, key=lambda k: quotas[k] - takes[k])] += 1
    return takes


def _names(names: Sequence[str]) -> tuple[str, ...]:
    """Return column names without outer blanks; a lone string is one name."""
    return tuple(name.strip() for name in ([names] if isinstance(names, str) else names))


def _numbered(stem: str, count: int) -> tuple[str, ...]:
    return tuple(f"{stem}{i}" for i in range(count))


def _list(names: Sequence[str]) -> str:
    """Spell column names for a message; a long list keeps its two ends."""
    spelt = [_quote(name) for name in names]
    if len(spelt) > 40:
        spelt = [*spelt[:10], f"... {len(spelt) - 20} more ...", *spelt[-10:]]
    return ", ".join(spelt)


def _quote(cell: str) -> str:
    return repr(cell if len(cell) <= 40 else cell[:37] + "...")


def _task(task: Task, labels: Sequence[str] | None, targets: int) -> Task:
    """Settle the task as far as the arguments do, without the file."""
    if task not in get_args(Task):
        raise BpgenError(
            f"there is no task {task!r}: choose one of {', '.join(map(str, get_args(Task)))}"
        )
    if labels is not None:
        given = "classify" if len(labels) else "regress"
        if task not in ("auto", given):
            raise BpgenError(
                f"a model with {len(labels)} class labels does not {task}: use --task {given}"
            )
        if len(set(labels)) != len(labels):
            raise BpgenError(f"the class labels {_list(labels)} repeat a name: give each once")
        task = "classify" if len(labels) else "regress"
    if targets > 1:
        if task == "classify":
            raise BpgenError(
                f"classes come from one target column, not {targets}: name the one that "
                "holds the class, or use --task regress"
            )
        return "regress"
    return task


def _read_bytes(path: str | Path) -> bytes:
    try:
        if Path(path).is_dir():
            raise BpgenError(f"{path} is a directory: name the data file inside it")
        return Path(path).read_bytes()
    except FileNotFoundError as error:
        raise BpgenError(f"there is no file {path}: check the name and the directory") from error
    except OSError as error:
        why = (error.strerror or "the system refused").lower()
        raise BpgenError(
            f"{path} cannot be read ({why}): check its name and permissions"
        ) from error
    except ValueError as error:
        raise BpgenError(f"{str(path)!r} is no file name ({error}): correct it") from error


@dataclass(frozen=True)
class _Table:
    """Hold the cells of a CSV file with the line that each row starts on."""

    path: str | Path
    header: list[str]
    rows: list[list[str]]
    lines: list[int]

    def index(self, name: str, role: str) -> int:
        """Return the position of a column; `role` says what it was wanted for."""
        if name in self.header:
            return self.header.index(name)
        # The usual way to get here with UCI's files: measurements where names should be.
        missing = any(_NUMBER.fullmatch(other) for other in self.header)
        raise BpgenError(
            f"{self.path} has no column {_quote(name)} for the {role}"
            f"{suggestion(name, self.header)}: choose from {_list(self.header)}"
            + (", or add a header row if it is missing" if missing else "")
        )

    def place(self, row: int, column: int) -> str:
        return f"{self.path}, line {self.lines[row]}, column {_quote(self.header[column])}"

    def number(self, row: int, column: int) -> float:
        """Read one cell as a finite number."""
        text = self.rows[row][column].strip()
        numeric = _NUMBER.fullmatch(text)
        if numeric and math.isfinite(value := float(text)):
            return value
        if not text:
            wrong = "the cell is empty, fill it in or delete the line"
        elif numeric or _NOT_FINITE.fullmatch(text):
            wrong = f"{_quote(text)} is not a finite number, correct it or delete the line"
        else:
            wrong = f"{_quote(text)} is not a number, correct it or choose other columns"
        raise BpgenError(f"{self.place(row, column)}: {wrong}")

    def numbers(self, columns: list[int]) -> FloatArray:
        """Return the cells of some columns as a matrix [rows][columns]."""
        return np.array(
            [[self.number(row, column) for column in columns] for row in range(len(self.rows))],
            dtype=np.float64,
        )


def _read_table(path: str | Path) -> _Table:
    data = _read_bytes(path)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise BpgenError(
            f"{path}, line {line} is not UTF-8 text: save the file as CSV in UTF-8"
        ) from error
    if not text.strip():
        raise BpgenError(f"{path} is empty: it needs a header row and samples")
    header: list[str] = []
    rows: list[list[str]] = []
    lines: list[int] = []
    # newline="" leaves line ends inside quoted cells alone.
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    line = 1
    try:
        for row in reader:
            if row and not header:
                header = _header(path, row, line)
            elif row:
                if len(row) != len(header):
                    raise BpgenError(
                        f"{path}, line {line} has {len(row)} cells where the header has "
                        f"{len(header)}: complete the line or quote cells that hold commas"
                    )
                rows.append(row)
                lines.append(line)
            line = reader.line_num + 1
    except csv.Error as error:
        raise BpgenError(
            f"{path}, line {line} is not valid CSV ({error}): check its quotes and line ends"
        ) from error
    if not rows:
        raise BpgenError(f"{path} has a header but no samples: add one sample per line")
    return _Table(path, header, rows, lines)


def _header(path: str | Path, cells: list[str], line: int) -> list[str]:
    names = [cell.strip() for cell in cells]
    if all(_NUMBER.fullmatch(name) for name in names):
        raise BpgenError(
            f"{path}, line {line} holds only numbers, so a header row is missing: "
            "put a line with the column names first"
        )
    if len(names) == 1 and (mark := next((m for m in ";\t" if m in names[0]), "")):
        raise BpgenError(
            f"the columns of {path} are separated by {mark!r}: save the file with commas"
        )
    for i, name in enumerate(names):
        if not name:
            raise BpgenError(
                f"{path}, line {line}: column {i + 1} has no name: name it in the header, or "
                "delete the column"
            )
        if name in names[:i]:
            missing = _NUMBER.fullmatch(name) is not None
            raise BpgenError(
                f"{path}, line {line} names two columns {_quote(name)} ({names.index(name) + 1} "
                f"and {i + 1}): give each column its own name"
                + (", or add a header row if it is missing" if missing else "")
            )
    return names


def _is_class_column(table: _Table, column: int, task: Task) -> bool:
    """
    Tell whether a target column holds classes.

    An empty, NaN or infinite cell is an error either way. So is, unless the caller says
    what the column is, text among fractions: far likelier a slip in a measurement than a
    set of classes, and training on it would succeed in silence.
    """
    text: int | None = None
    values: set[float] = set()
    for row, cells in enumerate(table.rows):
        cell = cells[column].strip()
        if cell and not (_NUMBER.fullmatch(cell) or _NOT_FINITE.fullmatch(cell)):
            text = row if text is None else text
        else:
            values.add(table.number(row, column))
    if task != "auto":
        return task == "classify"
    if text is not None:
        if any(value != int(value) for value in values):
            raise BpgenError(
                f"{table.place(text, column)}: {_quote(table.rows[text][column])} is not a number "
                "but other cells are fractions, correct it, or use --task classify if these are "
                "class names"
            )
        return True
    return len(values) <= MAX_AUTO_CLASSES and values == set(range(len(values)))


def _class_name(cell: str) -> str:
    """Spell a number the shortest way: one class has one name. Other text stays as it is."""
    if not _NUMBER.fullmatch(cell.strip()):
        return cell
    value = float(cell)
    if abs(value) >= EXACT_LIMIT:
        return cell.strip()
    return str(int(value)) if value == int(value) else repr(value)


def _one_hot(
    table: _Table, column: int, labels: Sequence[str] | None
) -> tuple[tuple[str, ...], FloatArray]:
    """Return the class names and a row [classes] with a single 1 for every sample."""
    names = tuple(labels) if labels is not None else _sorted_labels(table, column)
    index = {name: k for k, name in enumerate(names)}
    numeric = {_class_name(name): k for k, name in enumerate(names)}
    t = np.zeros((len(table.rows), len(names)))
    for row, cells in enumerate(table.rows):
        cell = cells[column]
        k = index.get(cell, numeric.get(_class_name(cell)))
        if k is None:
            raise BpgenError(
                f"{table.place(row, column)}: class {_quote(cell)} is unknown"
                f"{suggestion(cell[:80], names)}, the model knows {_list(names)}: "
                "correct the cell or delete the line"
            )
        t[row, k] = 1.0
    return names, t


def _sorted_labels(table: _Table, column: int) -> tuple[str, ...]:
    cells = [row[column] for row in table.rows]
    if all(_NUMBER.fullmatch(cell.strip()) for cell in cells):
        names = sorted({_class_name(cell) for cell in cells}, key=lambda name: (float(name), name))
    else:
        names = sorted(set(cells))
    what = f"column {_quote(table.header[column])} of {table.path}"
    if len(names) < 2:
        raise BpgenError(
            f"{what} holds one class only ({_quote(names[0])}): "
            "add samples of at least a second class"
        )
    if len(names) > MAX_CLASSES:
        raise BpgenError(
            f"{what} holds {len(names)} different classes, more than {MAX_CLASSES}: "
            "choose another target column, or use --task regress for measured values"
        )
    return tuple(names)


def _read_arrays(path: str | Path) -> tuple[FloatArray, FloatArray]:
    """Return the checked float64 arrays x and t of an NPZ file."""
    data = _read_bytes(path)
    if not data:
        raise BpgenError(f"{path} is empty: write arrays x and t with numpy.savez")
    try:
        arrays = read_arrays(data)
    except ArchiveError as error:
        raise BpgenError(
            f"{path} is not a readable .npz file of plain arrays: write it again with "
            "numpy.savez(path, x=..., t=...)"
        ) from error
    others = _list(list(arrays)) or "none"
    for name in ("x", "t"):
        if name not in arrays:
            raise BpgenError(
                f"{path} has no array {name!r} among {others}: write it with "
                "numpy.savez(path, x=..., t=...)"
            )
    x, t = (_checked_array(path, name, arrays[name]) for name in ("x", "t"))
    if len(x) != len(t):
        raise BpgenError(
            f"{path} has {len(x)} rows in x but {len(t)} in t: write one row of each per sample"
        )
    return x, t


def _checked_array(path: str | Path, name: str, array: npt.NDArray[Any]) -> FloatArray:
    if array.dtype.kind not in "biuf":
        raise BpgenError(f"array {name} in {path} does not hold numbers: write it as float64")
    if array.ndim != 2:
        raise BpgenError(
            f"array {name} in {path} has {array.ndim} dimensions instead of 2: reshape it to "
            f"(samples, {'features' if name == 'x' else 'outputs'})"
        )
    if array.size == 0:
        raise BpgenError(
            f"array {name} in {path} is empty, with shape {array.shape}: add at least one sample"
        )
    with np.errstate(over="ignore"):
        values = array.astype(np.float64)
    if not np.isfinite(values).all():
        row, column = (int(i) for i in np.argwhere(~np.isfinite(values))[0])
        raise BpgenError(
            f"array {name} in {path} holds NaN or infinity at row {row}, column {column}: "
            "replace it or drop the sample"
        )
    return values

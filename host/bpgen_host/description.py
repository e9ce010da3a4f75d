"""What a board says of its model (docs/protocol.md, DESCRIBE), with nothing taken on trust."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from bpgen import wire

LONGEST_TEXT = 40
MOST_TEXTS = 1024

# Far more than any format has, and few enough for a float.
MOST_FRACTION_BITS = 64


@dataclass(frozen=True)
class Store:
    """The memory that keeps a save: its size, and how often a cell may be written."""

    bytes: int
    writes: int


@dataclass(frozen=True)
class Description:
    """
    What the board says of its model; texts are printable and short, whatever it sent.

    `dz_frac` and `w_frac` begin at layer 1; `update` is None for a model that can only infer.
    """

    name: str
    sizes: tuple[int, ...]
    hash: str
    update: str | None
    a_frac: tuple[int, ...]
    dz_frac: tuple[int | None, ...]
    w_frac: tuple[int, ...]
    learns: tuple[int, ...]
    labels: tuple[str, ...]
    store: Store | None


def printable(text: str, limit: int = LONGEST_TEXT) -> str:
    """`text` of a board, cut to `limit` characters and without any that steer a terminal."""
    clean = "".join(c if c.isprintable() else "?" for c in text[: limit + 1])
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"


def parse_description(text: bytes) -> Description:
    """The description in a board's JSON. Raises ValueError where it has not the form of one."""
    try:
        data = json.loads(text)
        store = data["store"]
        return Description(
            name=_text(data["name"]),
            sizes=_integers(data["sizes"]),
            hash=_text(data["hash"]),
            update=None if data["update"] is None else _text(data["update"]),
            a_frac=_integers(data["a_frac"]),
            dz_frac=tuple(None if f is None else _integer(f) for f in _list(data["dz_frac"])),
            w_frac=_integers(data["w_frac"]),
            learns=_integers(data["learns"]),
            labels=tuple(map(_text, _list(data["labels"]))),
            store=None
            if store is None
            else Store(_integer(store["bytes"]), _integer(store["writes"])),
        )
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError from error


def belongs(description: Description, info: wire.Hello) -> bool:
    """Whether a description is that of the model which the HELLO announced."""
    sizes, learns, store = description.sizes, description.learns, description.store
    layers = len(sizes) - 1
    fracs = (*description.a_frac, *description.w_frac, *description.dz_frac)
    if (
        layers < 1
        or min(sizes) < 1
        or list(learns) != sorted({*learns} & {*range(1, layers + 1)})
        or len(description.a_frac) != layers + 1
        or len(description.w_frac) != layers
        or len(description.dz_frac) != layers
        or any(frac is not None and abs(frac) > MOST_FRACTION_BITS for frac in fracs)
        or (store is not None and min(store.bytes, store.writes) < 0)
    ):
        return False
    counts = [(inputs + 1) * outputs for inputs, outputs in pairwise(sizes)]
    return (sizes[0], sizes[-1], sum(counts[k - 1] for k in learns), description.hash) == (
        info.n_in,
        info.n_out,
        info.n_parameters,
        f"{info.model_hash:08x}",
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return printable(value)


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list) or len(value) > MOST_TEXTS:
        raise TypeError
    return value


def _integers(value: Any) -> tuple[int, ...]:
    return tuple(map(_integer, _list(value)))


def _integer(value: Any) -> int:
    if type(value) is not int or not -(2**31) <= value < 2**32:
        raise TypeError
    return value

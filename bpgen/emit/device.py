"""
What binds the link and the store to one model on one board: bpgen_device.[ch], bpgen_wire.h.

As in `view`, the templates see frozen dataclasses of text, integers, booleans and tuples.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from itertools import pairwise

from bpgen import __version__, wire
from bpgen.emit import cfmt
from bpgen.emit.render import render
from bpgen.emit.view import LayerView, TrainingView, View
from bpgen.errors import BpgenError
from bpgen.model import IntModel

RECORD_OVERHEAD = 10
"""CRC-32, gen and sequence in front of a stored state: bpgen_store.h."""

U16_MAX = 65_535


@dataclass(frozen=True)
class BoardConstants:
    """
    What the link and the store know of a board.

    `window` bytes are received while it computes, no `frame` is longer before COBS. Of its
    `store_bytes` of non-volatile memory (0: none) `store_unit` are written at once,
    `store_writes` times before a cell wears out; `store_erases` where flash must be erased first.
    `clock_hz` is 0 where nothing counts in clock cycles.
    """

    window: int
    frame: int
    baud: int
    clock_hz: int
    store_bytes: int
    store_unit: int
    store_erases: bool
    store_writes: int


@dataclass(frozen=True)
class Constant:
    name: str
    value: str


@dataclass(frozen=True)
class Group:
    comment: str
    constants: tuple[Constant, ...]


@dataclass(frozen=True)
class WireView:
    """What the template of bpgen_wire.h sees."""

    version: str
    protocol: int
    reply: str
    max_frame: int
    overhead: int
    groups: tuple[Group, ...]


@dataclass(frozen=True)
class Neighbours:
    """Two arrays of the state, the second right behind the `size` bytes of the first."""

    first: str
    second: str
    size: int


@dataclass(frozen=True)
class DeviceView:
    """What the templates of bpgen_device.h and bpgen_device.c see."""

    version: str
    hash: str
    prefix: str
    upper: str
    board: BoardConstants
    stores: bool
    store_erases: int
    no_store_reason: str
    inputs: int
    outputs: int
    parameters: int
    master_bytes: int
    a0_lowest: int
    a0_top: int
    a0_cast: str
    one: int
    learns: int
    applies: int
    means: int
    output: str
    training: TrainingView | None
    step_text: str
    first_high: str
    first_low: str
    offset_type: str
    read_offset: str
    learning: tuple[LayerView, ...]
    block_count: int
    neighbours: tuple[Neighbours, ...]
    stored_weights: int
    saved_bytes: int
    saved_start: int
    saved_head: int
    description_bytes: int
    description_lines: tuple[str, ...]
    description_rows: tuple[str, ...]


def device_files(
    model: IntModel, prefix: str, view: View, board_constants: BoardConstants
) -> dict[str, str]:
    """
    Give bpgen_device.h, bpgen_device.c and bpgen_wire.h by name; `view` is that of `model`.

    Raises BpgenError for a model that the link cannot serve on the board.
    """
    device = build_device(model, prefix, view, board_constants)
    return {
        "bpgen_device.h": render("device.h", device),
        "bpgen_device.c": render("device.c", device),
        "bpgen_wire.h": render("wire.h", build_wire()),
    }


def build_wire() -> WireView:
    """The tables of bpgen.wire, spelled for C."""
    return WireView(
        version=__version__,
        protocol=wire.PROTOCOL,
        reply=f"0x{wire.REPLY:02X}",
        max_frame=wire.MAX_FRAME,
        overhead=wire.OVERHEAD,
        groups=(
            _group("Types of requests, and of the event BOOT.", "BP_", wire.Message),
            _group("First byte of a reply.", "BP_", wire.Status),
            _group("Flags of the requests that run the network.", "BP_FLAG_", wire.Flag),
            _group("What SET_PARAM sets.", "BP_PARAMETER_", wire.Parameter),
            _group("What a firmware can do.", "BP_CAPABILITY_", wire.Capability),
            _group("Why the board started.", "BP_RESET_", wire.ResetCause),
        ),
    )


def _group(comment: str, prefix: str, kind: type[IntEnum] | type[IntFlag]) -> Group:
    return Group(
        comment, tuple(Constant(f"{prefix}{item.name}", f"0x{item.value:02X}") for item in kind)
    )


def build_device(model: IntModel, prefix: str, view: View, board: BoardConstants) -> DeviceView:
    """
    Compute what the templates print.

    Raises BpgenError for a model that the link cannot serve on the board.
    """
    _check_sizes(model, board)
    training = view.training
    learning = training.learning if training else ()
    small = view.state_size <= U16_MAX
    no_store_reason = _no_store_reason(view, board)
    saved_start = _offset(view, "steps") if training else 0
    description = _description(model, prefix, view, None if no_store_reason else board)
    if len(description) > U16_MAX:
        raise BpgenError(
            f"the description of the model takes {len(description):,} bytes and the link serves at "
            f"most {U16_MAX:,}: use shorter labels."
        )
    return DeviceView(
        version=view.version,
        hash=view.hash,
        prefix=prefix,
        upper=view.upper,
        board=board,
        stores=not no_store_reason,
        store_erases=int(board.store_erases),
        no_store_reason=no_store_reason,
        inputs=view.inputs,
        outputs=view.outputs,
        parameters=_parameters(model),
        master_bytes=3 if any(layer.has_low for layer in learning) else 2,
        a0_lowest=view.input.lowest,
        a0_top=view.input.a_top,
        a0_cast=view.input.a_cast,
        one=view.one,
        learns=int(training is not None),
        applies=int(training is not None and training.applies),
        means=int(any(layer.p for layer in view.layers)),
        output=view.output.a,
        training=training,
        step_text=", as part of a batch" if training and training.applies else "",
        first_high=f"w{learning[0].k}" if learning else "",
        first_low=f"w{learning[0].k}_low" if learning and learning[0].has_low else "",
        offset_type="uint16_t" if small else "uint32_t",
        read_offset="bp_rom_u16" if small else "bp_rom_u32",
        learning=learning,
        block_count=2 * len(learning),
        neighbours=tuple(_neighbours(learning)),
        stored_weights=sum(layer.stored for layer in learning),
        saved_bytes=_saved_bytes(view),
        saved_start=saved_start,
        saved_head=_offset(view, view.output.a) - saved_start,
        description_bytes=len(description),
        description_lines=_lines(cfmt.comment(description.decode())),
        description_rows=cfmt.rows(tuple(description), width=3, per_row=16),
    )


def _check_sizes(model: IntModel, board: BoardConstants) -> None:
    room = board.frame - wire.OVERHEAD
    outputs = model.output.outputs
    # The longest reply with outputs is that to BACKWARD, or else to INFER.
    needed = (10 if model.training else 1) + 2 * outputs
    if needed > room:
        raise BpgenError(
            f"a reply with {outputs} outputs takes {needed} bytes and a frame of the board "
            f"holds {room}: use fewer outputs or another board."
        )
    # A layer with an odd number of inputs has one more in memory.
    stored = sum((layer.inputs + layer.inputs % 2 + 1) * layer.outputs for layer in model.layers)
    if stored > U16_MAX or model.input.size > U16_MAX:
        raise BpgenError(
            f"the model has {_parameters(model):,} parameters that learn and {model.input.size:,} "
            f"inputs, and the link counts up to {U16_MAX:,}: use a smaller model."
        )


def _lines(text: str, width: int = 96) -> tuple[str, ...]:
    return tuple(text[start : start + width] for start in range(0, len(text), width))


def _parameters(model: IntModel) -> int:
    layers = enumerate(model.layers, start=1)
    return sum(layer.count for k, layer in layers if model.learns(k))


def _no_store_reason(view: View, board: BoardConstants) -> str:
    """Why the board keeps no state; empty when it does."""
    if view.training is None:
        return "nothing changes in a model that cannot learn"
    if not board.store_bytes:
        return "the board has no memory for it"
    unit = board.store_unit
    record = -(-(RECORD_OVERHEAD + _saved_bytes(view)) // unit) * unit
    if record > board.store_bytes // 2:
        return f"two records of {record} bytes do not fit the board's {board.store_bytes}"
    return ""


def _name(declaration: str) -> str:
    return declaration.rsplit(maxsplit=1)[-1].partition("[")[0]


def _offset(view: View, name: str) -> int:
    """Bytes of the state in front of a member."""
    size = 0
    for member in view.state:
        if _name(member.declaration) == name:
            break
        size += member.size
    return size


def _saved_bytes(view: View) -> int:
    passing = {"a0"}
    for layer in view.layers:
        passing |= {layer.a, layer.dz}
    return sum(member.size for member in view.state if _name(member.declaration) not in passing)


def _neighbours(learning: tuple[LayerView, ...]) -> Iterator[Neighbours]:
    """The masters' arrays in memory: pairs that must touch."""
    kinds = [(2, "")]
    if any(layer.has_low for layer in learning):
        kinds.append((1, "_low"))
    for size, suffix in kinds:
        arrays = [(f"w{layer.k}{suffix}", layer.stored * size) for layer in learning]
        arrays += [(f"b{layer.k}{suffix}", layer.outputs * size) for layer in learning]
        for (first, length), (second, _) in pairwise(arrays):
            yield Neighbours(first, second, length)


def _description(model: IntModel, prefix: str, view: View, store: BoardConstants | None) -> bytes:
    """The JSON of docs/protocol.md, section 5."""
    layers = range(1, len(model.layers) + 1)
    description = {
        "name": prefix,
        "sizes": list(model.sizes),
        "hash": model.hash,
        "update": model.training.update if model.training else None,
        "a_frac": [model.input.a_format.frac, *(x.a_format.frac for x in model.layers)],
        "dz_frac": [model.layers[k - 1].dz_frac if model.has_dz(k) else None for k in layers],
        "w_frac": [layer.w_format.frac for layer in model.layers],
        "loss_frac": view.loss_frac,
        "learns": [k for k in layers if model.learns(k)],
        "labels": list(model.labels),
        "store": {"bytes": store.store_bytes, "writes": store.store_writes} if store else None,
    }
    return json.dumps(description, ensure_ascii=False, separators=(",", ":")).encode(
        errors="replace"
    )

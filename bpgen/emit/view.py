"""
What the templates place: a View holds everything, computed and spelled.

The templates compute nothing, so each number and name they print is a field here. Fields are
plain text, integers, booleans and tuples of such; names are those of docs/numbers.md.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RomArray:
    """A constant array in flash; `aligned` where kernels read it by words."""

    aligned: str
    type: str
    name: str
    length: int
    comment: str
    rows: tuple[str, ...]


@dataclass(frozen=True)
class StateMember:
    """A member of the state, and its bytes."""

    declaration: str
    comment: str
    size: int


@dataclass(frozen=True)
class InitialView:
    """The array in flash with what a reset copies into the members from `first` to `last`."""

    rom: str
    first: str
    last: str


@dataclass(frozen=True)
class ResetFill:
    """A state array that a reset fills with a number."""

    name: str
    length: int
    value: str


@dataclass(frozen=True)
class SumView:
    """One accumulator loop: its proven bound."""

    plain: bool
    bound: int
    block: int
    acc_frac: int


@dataclass(frozen=True)
class SparsityView:
    rate: int
    target: int
    offset: int
    reciprocal: int
    multiplier: int
    shift: int


@dataclass(frozen=True)
class InputView:
    a_format: str
    a_frac: int
    a_top: int
    a_cast: str
    lowest: int


@dataclass(frozen=True)
class LayerView:
    """Layer k. Fields about learning are 0 or empty where the layer does not need them."""

    k: int
    k_in: int
    constants: str
    inputs: int
    outputs: int
    outputs_even: int
    weights: int
    stored: int
    weight_index: str
    index: int
    block: int
    delta_block: int
    activation: str
    is_byte: bool
    narrows: bool
    is_table: bool
    is_fused: bool
    is_softmax: bool
    w: str
    b: str
    w_type: str
    rom: str
    a: str
    a_in: str
    a_in_frac: int
    a_in_signed: int
    a_format: str
    a_frac: int
    a_top: int
    a_cast: str
    z_format: str
    z_frac: int
    z_lowest: int
    z_top: int
    z_shift: int
    dz_in_top: int
    sum_shift: int
    table: str
    table_or_null: str
    pairs: int
    avr_sums: str
    avr_at_once: int
    avr_kernel: str
    avr_count: int
    avr_a_scale: int
    learn_kind: str
    table_bits: int
    forward: SumView
    dz: str
    dz_format: str
    dz_top: int
    derivative: str
    delta_rounded: str
    delta_call: str
    output_delta_call: str
    learn_output_call: str
    sum_frac: int
    backward: SumView | None
    p: str
    sparsity: SparsityView | None
    vw: str
    vb: str
    has_low: bool
    w_low: str
    b_low: str
    offset: int
    lowest_frac: int
    update_shift: int
    update_frac: int


@dataclass(frozen=True)
class HiddenDelta:
    layer: LayerView
    above: LayerView


@dataclass(frozen=True)
class TrainingView:
    residual: bool
    stochastic: bool
    seeded: bool
    online: bool
    applies: bool
    has_momentum: bool
    decays: bool
    decay: int
    decay_argument: str
    momentum: int
    seed: int
    mantissa: int
    exponent: int
    batch_size: int
    smallest_shift: int
    hidden_deltas: tuple[HiddenDelta, ...]
    learning: tuple[LayerView, ...]
    fused: tuple[LayerView, ...]
    chain: tuple[LayerView, ...]
    last: tuple[LayerView, ...]
    calls: tuple[str, ...]


@dataclass(frozen=True)
class SelfTest:
    """
    Test vectors: raws of `a0`, `t` and the outputs `a` of each sample, and the checksum after
    training on them in turn (0 without training).
    """

    a0: tuple[tuple[int, ...], ...]
    t: tuple[tuple[int, ...], ...]
    a: tuple[tuple[int, ...], ...]
    crc32: int


@dataclass(frozen=True)
class SelfTestView:
    samples: int
    read_a0: str
    crc32: int


@dataclass(frozen=True)
class FeatureView:
    """An input: its place, its name for a comment of C and for Markdown, the value of one count."""

    index: int
    comment: str
    markdown: str
    unit: str


@dataclass(frozen=True)
class View:
    """The whole of what the templates of net.h, net.c, main.c and simulation.c see, as `m`."""

    version: str
    hash: str
    prefix: str
    upper: str
    guard: str
    core_abi: int
    shape: str
    learns_text: str
    inputs: int
    outputs: int
    parameter_count: int
    one: int
    line_length: int
    loss_frac: int
    loss_text: str
    squared_error: bool
    labels: tuple[str, ...]
    features: tuple[FeatureView, ...]
    input: InputView
    layers: tuple[LayerView, ...]
    output: LayerView
    narrow_outputs: int
    training: TrainingView | None
    state: tuple[StateMember, ...]
    state_size: int
    rom: tuple[RomArray, ...]
    initial: InitialView | None
    fills: tuple[ResetFill, ...]
    self_test: SelfTestView
    small: bool
    avr_refusals: tuple[str, ...]

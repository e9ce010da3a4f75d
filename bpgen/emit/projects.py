"""What the templates of a project see: its Makefile, its README and its samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bpgen.emit import cfmt
from bpgen.emit.view import FeatureView, View
from bpgen.targets import Port, Target

DEFAULT_BAUD = 115200


@dataclass(frozen=True)
class Samples:
    """Raws of inputs `a0` and targets `t` to learn from in this order, `epochs` times."""

    a0: tuple[tuple[int, ...], ...]
    t: tuple[tuple[int, ...], ...]
    epochs: int


@dataclass(frozen=True)
class Variable:
    name: str
    value: str


@dataclass(frozen=True)
class ProjectView:
    """A project: `name` is the prefix of the network; files are separated by spaces."""

    version: str
    hash: str
    name: str
    upper: str
    shape: str
    features: tuple[FeatureView, ...]
    board: str
    title: str
    cross: bool
    compiler: str
    tools: str
    package: str
    cpu: str
    link: str
    fast: str
    fast_flags: str
    optimized_for: str
    small: str
    small_flags: str
    main_apart: bool
    made: str
    image: str
    flashes: bool
    flash: tuple[str, ...]
    variables: tuple[Variable, ...]
    wiring: str
    serial: str
    baud: int
    default_baud: bool
    learns: bool
    learns_text: str
    trained_text: str
    applies: bool
    classifies: bool
    has_samples: bool
    serves: bool
    simulates: bool
    stores: bool
    no_store: str


@dataclass(frozen=True)
class SamplesView:
    """What the template of bpgen_samples.h sees."""

    version: str
    hash: str
    prefix: str
    upper: str
    a_format: str
    epochs: int
    count: int
    classes: int
    applies: bool
    a0_length: int
    a0_rows: tuple[str, ...]
    t_type: str
    t_name: str
    t_length: int
    t_rows: tuple[str, ...]


def build_project(
    view: View, board: Target, port: Port, sources: Sequence[str], *, no_store: str,
    has_samples: bool,
) -> ProjectView:  # fmt: skip
    """
    Spell what is known of a project of the C files `sources` for a board with a port.

    `no_store` says why it cannot save ("": it can); with samples it trains itself.
    """
    family = board.family
    name = view.prefix
    fast = (f"{name}.c", "bpgen_kernels.c")
    made = [f"build/{name}.elf"]
    if port.image:
        made.append(f"build/{name}.{port.image}")
    return ProjectView(
        version=view.version,
        hash=view.hash,
        name=name,
        upper=view.upper,
        shape=view.shape,
        features=view.features,
        board=board.name,
        title=board.title,
        cross=family.command != "cc",
        compiler=family.command,
        tools=family.command.removesuffix("cc").removesuffix("g"),
        package=family.package,
        cpu=" ".join(family.flags),
        link=" ".join(("-Wl,--gc-sections", *port.link)),
        fast=" ".join(fast),
        fast_flags=" ".join(family.small if view.small else family.fast),
        optimized_for="size" if view.small else "speed",
        small=" ".join(source for source in sources if source not in fast),
        small_flags=" ".join(family.small),
        main_apart="-flto" in family.fast and not has_samples,
        made=" and ".join(made),
        image=port.image,
        flashes=bool(port.image),
        flash=port.flash,
        variables=tuple(Variable(name, value) for name, value in port.variables),
        wiring=port.wiring,
        serial=port.serial,
        baud=port.constants.baud,
        default_baud=port.constants.baud == DEFAULT_BAUD,
        learns=view.training is not None,
        learns_text=view.learns_text,
        trained_text=" and trains it" if view.training else "",
        applies=view.training is not None and view.training.applies,
        classifies=bool(view.labels),
        has_samples=has_samples,
        serves=not has_samples,
        simulates=board.simulator != "built only",
        stores=not no_store,
        no_store=cfmt.comment(no_store),
    )


def build_samples(view: View, samples: Samples) -> SamplesView:
    """Spell the samples of a self-training firmware; targets of a classifier are class numbers."""
    assert view.training is not None
    if view.labels:
        targets = tuple(row.index(max(row)) for row in samples.t)
    else:
        targets = tuple(value for row in samples.t for value in row)
    inputs = tuple(value for row in samples.a0 for value in row)
    return SamplesView(
        version=view.version,
        hash=view.hash,
        prefix=view.prefix,
        upper=view.upper,
        a_format=view.input.a_format,
        epochs=samples.epochs,
        count=len(samples.a0),
        classes=int(bool(view.labels)),
        applies=view.training.applies,
        a0_length=len(inputs),
        a0_rows=cfmt.rows(inputs),
        t_type="uint8_t" if view.labels else "int16_t",
        t_name="bp_samples_class" if view.labels else "bp_samples_t",
        t_length=len(targets),
        t_rows=cfmt.rows(targets, width=1, per_row=24) if view.labels else cfmt.rows(targets),
    )

"""
IntModel to a whole firmware for a board: its files, and their building with make.

A project holds all that its image is built from. `make` in its folder needs the board's compiler
and nothing else.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bpgen import targets
from bpgen.data import FIRMWARE
from bpgen.dataset import Dataset
from bpgen.emit.device import build_device, device_files
from bpgen.emit.projects import ProjectView, Samples, build_project, build_samples
from bpgen.emit.render import render
from bpgen.emit.view import View
from bpgen.errors import BpgenError
from bpgen.evaluate import raw_samples
from bpgen.generation import generate, view_of
from bpgen.model import IntModel
from bpgen.targets import Fit, Port, Target
from bpgen.training import sample_order

MOST_SAMPLES = 65_535  # what the firmware counts them in

LINK_FILES = (
    "bpgen_link.h", "bpgen_link_requests.h", "bpgen_link_frames.h", "bpgen_link_network.h",
    "bpgen_link.c", "bpgen_store.h", "bpgen_store.c", "bpgen_port.h",
)  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """
    What a firmware is made of, checked: `port` has its baud rate, `no_store` says why it cannot
    save ("": it can).
    """

    model: IntModel
    view: View
    target: Target
    port: Port
    samples: Samples | None
    no_store: str
    fit: Fit


def plan(
    model: IntModel,
    prefix: str,
    board: str,
    baud: int | None = None,
    *,
    samples: Samples | None = None,
    optimize: str = "speed",
) -> Plan:
    """
    Decide on the firmware that `firmware_files` and `arduino_files` write.

    `baud` is the rate of the serial line, by default the board's. With `samples` the firmware
    trains itself on them and prints its loss. `optimize` is that of `generate`.

    Raises BpgenError for a board without a port, a rate that it does not have, samples that it
    cannot hold, and a model that does not fit it.
    """
    target = targets.target(board)
    port = port_of(target, baud)
    view = view_of(model, prefix, optimize)
    device = build_device(model, prefix, view, port.constants)
    data = device.description_bytes
    if samples is not None:
        _check_samples(view, target, samples)
        data += _sample_bytes(view, samples)
    fit = targets.require_fit(view, target, firmware=True, data=data)
    return Plan(model, view, target, port, samples, device.no_store_reason, fit)


def project_files(
    model: IntModel,
    prefix: str = "net",
    board: str = "posix",
    baud: int | None = None,
    *,
    samples: Samples | None = None,
    optimize: str = "speed",
) -> dict[str, str]:
    """`firmware_files` of the `plan` with these arguments."""
    return firmware_files(plan(model, prefix, board, baud, samples=samples, optimize=optimize))


def firmware_files(plan: Plan) -> dict[str, str]:
    """
    All files of a firmware by name: one that serves its model to a host, or trains itself.

    The same plan gives the same text, on every machine.
    """
    files = _network_files(plan)
    files |= port_files(plan.port)
    if plan.samples is None:
        files |= _texts(FIRMWARE / "core", LINK_FILES)
        files |= _texts(FIRMWARE, ["main.c"])
    else:
        files |= _texts(FIRMWARE / "core", ["bpgen_port.h"])
        files |= _texts(FIRMWARE / "self_training", ["main.c"])
    project = _project_view(plan, sorted(name for name in files if name.endswith(".c")))
    files["Makefile"] = render("project_makefile", project)
    files["README.md"] = render("project_readme", project)
    files[f"{plan.view.prefix}.model.json"] = plan.model.to_json()
    return files


def arduino_files(plan: Plan) -> dict[str, str]:
    """
    All files of an Arduino library by their path in its folder.

    It has a sketch that serves the model to a host and, with samples, one that trains it on them.
    Raises BpgenError for a board that is no Arduino with an AVR.
    """
    if plan.target.family.core != "AVR":
        raise BpgenError(
            f"{plan.target.name} is no Arduino with an AVR: choose uno or mega2560, or leave "
            "--arduino out"
        )
    sources = _network_files(plan)
    sources |= _texts(FIRMWARE / "core", LINK_FILES)
    sources |= _texts(FIRMWARE / "ports" / "arduino", ["bpgen_port.cpp"])
    files = {f"src/{name}": text for name, text in sources.items()}
    project = _project_view(plan, ())
    files["examples/Serve/Serve.ino"] = render("arduino_serve.ino", project)
    if plan.samples is not None:
        files["examples/Learn/Learn.ino"] = render("arduino_learn.ino", project)
    files["library.properties"] = render("arduino_library.properties", project)
    files["keywords.txt"] = render("arduino_keywords.txt", project)
    files["README.md"] = render("arduino_readme", project)
    files |= _texts(FIRMWARE / "arduino", ["LICENSE"])
    files[f"extras/{plan.view.prefix}.model.json"] = plan.model.to_json()
    return files


def _network_files(plan: Plan) -> dict[str, str]:
    """The network on its board, and its samples."""
    prefix = plan.view.prefix
    files = generate(plan.model, prefix, view=plan.view)
    files |= device_files(plan.model, prefix, plan.view, plan.port.constants)
    if plan.samples is not None:
        files["bpgen_samples.h"] = render("samples.h", build_samples(plan.view, plan.samples))
    return files


def _project_view(plan: Plan, sources: Sequence[str]) -> ProjectView:
    return build_project(
        plan.view,
        plan.target,
        plan.port,
        sources,
        no_store=plan.no_store,
        has_samples=plan.samples is not None,
    )


def port_of(target: Target, baud: int | None = None) -> Port:
    """The port of a board, at that rate; BpgenError where it has none, or not this rate."""
    port = target.port
    if port is None:
        boards = ", ".join(t.name for t in targets.TARGETS.values() if t.port)
        raise BpgenError(
            f"there is no firmware for {target.name}, only 'bpgen generate --board {target.name}': "
            f"choose one of {boards}"
        )
    if baud is None:
        return port
    if baud not in port.bauds:
        raise BpgenError(
            f"{target.name} does not have {baud} baud: choose one of "
            f"{', '.join(str(rate) for rate in port.bauds)}"
        )
    return replace(port, constants=replace(port.constants, baud=baud))


def port_files(port: Port) -> dict[str, str]:
    """A port's files and those it shares; of the linker's scripts only the board's own."""
    files: dict[str, str] = {}
    for name in (*port.shares, port.folder):
        folder = FIRMWARE / "ports" / name
        names = sorted(path.name for path in folder.iterdir() if path.is_file())
        files |= _texts(folder, [n for n in names if not n.endswith(".ld") or n in port.link])
    return files


def samples_of(model: IntModel, data: Dataset, *, epochs: int = 50, seed: int = 0) -> Samples:
    """The samples of a self-training firmware, in the order of that seed's first epoch."""
    a0, t = raw_samples(model, data)
    order = sample_order(len(data), 0, seed)
    return Samples(
        tuple(tuple(row) for row in a0[order].tolist()),
        tuple(tuple(row) for row in t[order].tolist()),
        epochs,
    )


def _sample_bytes(view: View, samples: Samples) -> int:
    """What the samples take in flash."""
    return len(samples.a0) * (2 * view.inputs + (1 if view.labels else 2 * view.outputs))


def _check_samples(view: View, target: Target, samples: Samples) -> None:
    """BpgenError for samples that the self-training firmware cannot hold or learn from."""
    if view.training is None:
        raise BpgenError(
            "the model can only infer and has nothing to learn from samples: quantize it without "
            "--inference-only, or leave --demo-data out"
        )
    longest = 2 * len(samples.a0) * max(view.inputs, 1 if view.labels else view.outputs)
    total = targets.rom_bytes(view) + _sample_bytes(view, samples)
    near = longest <= targets.AVR_ARRAY_BYTES and total <= targets.AVR_NEAR_BYTES
    if len(samples.a0) > MOST_SAMPLES or (target.family.core == "AVR" and not near):
        raise BpgenError(
            f"{len(samples.a0)} samples are more than the firmware for {target.name} can read from "
            "its flash: use fewer"
        )


def build(folder: Path, *, variables: Sequence[str] = ()) -> Path:
    """
    Run make in the folder of a project; returns the image that it made.

    `variables` are settings such as "DEFINES=-DBPGEN_COUNTERS=1". Raises BpgenError, with the first
    error or the line that installs what is missing, when there is no image.
    """
    name = project_name(folder)
    run = _make(folder, "all", variables, capture=True)
    if run.returncode != 0:
        raise BpgenError(f"the project {folder} cannot be built: {_first_error(run)}")
    image = folder / "build" / f"{name}.elf"
    if not image.is_file():
        raise BpgenError(f"make built no {image}: generate the project again with 'bpgen new'")
    return image


def flash(folder: Path, *, variables: Sequence[str] = ()) -> None:
    """
    Run `make flash` in the folder of a project; what the tools say goes to the terminal.

    Raises BpgenError when it fails.
    """
    name = project_name(folder)
    if not re.search("^flash:", _makefile(folder), re.MULTILINE):
        raise BpgenError(f"the board of {name} exists in a simulator only: use make sim")
    if _make(folder, "flash", variables, capture=False).returncode != 0:
        raise BpgenError(f"the firmware {name} did not get onto the board: see the lines above")


def project_name(folder: Path) -> str:
    """The name that a project's Makefile gives; BpgenError where there is no project."""
    found = re.search(r"^NAME := (\w+)$", _makefile(folder), re.MULTILINE)
    if not found:
        raise BpgenError(f"{folder} is no project: make one with 'bpgen new {folder}'")
    return found[1]


def _makefile(folder: Path) -> str:
    try:
        return (folder / "Makefile").read_text(encoding="utf-8")
    except (OSError, UnicodeError):
        raise BpgenError(
            f"{folder} has no Makefile to read: make a project with 'bpgen new {folder}'"
        ) from None


def _make(
    folder: Path, goal: str, variables: Sequence[str], *, capture: bool
) -> subprocess.CompletedProcess[str]:
    make = shutil.which("make")
    if make is None:
        raise BpgenError("make is missing: sudo apt-get install make")
    # A make that runs this process must not pass its own flags and jobs on.
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    try:
        return subprocess.run(
            [make, "-s", "-j2", "-C", str(folder), goal, *variables],
            env=environment | {"LC_ALL": "C"},
            capture_output=capture,
            text=True,
            errors="replace",
            check=False,
        )
    except OSError as error:
        raise BpgenError(f"make cannot be run ({error.strerror or error}): {make}") from None


def _first_error(run: subprocess.CompletedProcess[str]) -> str:
    lines = [line.strip() for line in f"{run.stderr}\n{run.stdout}".splitlines() if line.strip()]
    telling = [
        line
        for line in lines
        if "error:" in line or " is missing: " in line or "undefined reference" in line
    ]
    return (telling or lines or [f"make ended with {run.returncode}"])[0]


def _texts(folder: Path, names: Sequence[str]) -> dict[str, str]:
    return {name: (folder / name).read_text(encoding="utf-8") for name in names}

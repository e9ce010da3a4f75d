"""The rooms of the house and who may enter which, held by walking every module's syntax tree."""

from __future__ import annotations

import ast
import re
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "bpgen"

# module -> what it may import of bpgen itself; "" is the package.
ALLOWED: dict[str, set[str]] = {
    # For type checkers; when it runs, the package imports nothing until a name is used.
    "": {
        "checkpoint", "dataset", "errors", "evaluate", "floatnet", "generation", "model",
        "quantization", "scaling", "simulate", "targets", "training", "twin",
    },
    "__main__": {"cli"},
    "errors": set(),
    "data": set(),
    "archive": set(),
    # float
    "scaling": {"errors"},
    "dataset": {"archive", "errors", "scaling"},
    "floatnet": {"errors"},
    "training": {"errors", "floatnet"},
    "checkpoint": {
        "archive", "dataset", "emit.write", "errors", "floatnet", "scaling", "training",
    },
    # integers
    "qformat": {"errors"},
    "lut": {"qformat"},
    # Each other: IntModel's methods call model_json when they are used, it makes the IntModel.
    "model": {"model_json", "qformat"},
    "model_json": {"errors", "lut", "model", "qformat"},
    "proof": {"errors", "lut", "model", "qformat"},
    "twin": {"errors", "lut", "model", "qformat"},
    # from float to integers, and back to compare
    "ranges": {"errors", "lut", "model", "proof", "qformat", "training"},
    "quantization": {
        "checkpoint", "errors", "floatnet", "lut", "model", "proof", "ranges", "scaling",
        "training",
    },
    "bounds": {"floatnet", "lut", "model"},
    # C
    "emit": set(),
    "emit.cfmt": {"errors"},
    "emit.view": set(),
    "emit.avr": {"lut", "model", "proof"},
    "emit.build": {"", "emit.avr", "emit.cfmt", "emit.state", "emit.view", "lut", "model", "proof"},
    "emit.state": {"emit.view", "model"},
    "emit.render": {"data"},
    "emit.write": {"errors"},
    "emit.device": {"", "emit.cfmt", "emit.render", "emit.view", "errors", "model", "wire"},
    "emit.projects": {"emit.cfmt", "emit.view", "targets"},
    "generation": {"data", "emit.build", "emit.render", "emit.view", "model", "twin"},
    "simulate": {"emit.render", "errors", "generation", "model", "qformat", "twin"},
    "targets": {"emit.device", "emit.view", "errors"},
    # bytes between host and board, and whole firmwares
    "wire": set(),
    "project": {
        "data", "dataset", "emit.device", "emit.projects", "emit.render", "emit.view", "errors",
        "evaluate", "generation", "model", "targets", "training",
    },
    "evaluate": {
        "bounds", "checkpoint", "dataset", "errors", "floatnet", "lut", "model", "qformat",
        "ranges", "simulate", "training", "twin",
    },
}  # fmt: skip

# third-party package -> the modules that may import it
OUTSIDE: dict[str, set[str]] = {
    "numpy": {
        "archive", "bounds", "checkpoint", "dataset", "evaluate", "floatnet", "generation", "lut",
        "qformat", "quantization", "ranges", "scaling", "simulate", "training", "twin",
    },
    "jinja2": {"emit.render"},
    "cobs": {"wire"},
    "serial": set(),
    "click": {"cli"},
    "rich": {"cli"},
    "matplotlib": {"cli"},
}  # fmt: skip

# module of the host tool -> what it may import of the host tool; of bpgen all but the command line.
# Who may import serial, click and rich is in test_host_imports.py.
HOST_PACKAGE = ROOT / "host" / "bpgen_host"
HOST_ALLOWED: dict[str, set[str]] = {
    "": set(),
    "link": set(),
    "local": set(),
    "simulators": set(),
    "follower": set(),
    "capture": {"link", "local"},
    "failures": {"link"},
    "exchange": {"capture", "failures", "link"},
    "window": {"exchange", "failures"},
    "description": set(),
    "device": {"capture", "description", "exchange", "failures", "link", "window"},
    "weights": {"description"},
    "compare": {"device", "failures", "follower"},
    "plan": {"follower"},
    "training_log": set(),
    "session": {"device", "failures", "follower", "link", "plan", "training_log"},
    "diagnosis": {"link", "simulators"},
}


def is_command_line(module: str) -> bool:
    """bpgen.cli and its commands: they may import all rooms, and no room may import them."""
    return module == "cli" or module.startswith("commands")


def module_name(path: Path, package: Path = PACKAGE) -> str:
    parts = path.relative_to(package).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(source: str) -> set[str]:
    """Every module an import statement names, wherever in the file it stands."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names.add(node.module or "")
            if node.module in ("bpgen", "bpgen.emit", "bpgen_host"):
                names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def complaints(module: str, source: str) -> list[str]:
    """What `source` imports that module `module` may not."""
    known = {f"bpgen.{name}".rstrip(".") for name in ALLOWED} | {"bpgen.cli"}
    found = []
    for name in sorted(imported(source)):
        top = name.split(".")[0]
        if top == "bpgen":
            inside = name.removeprefix("bpgen").lstrip(".")
            room = (name in known and inside not in ("", "emit")) or is_command_line(inside)
            forbidden = room and not is_command_line(module) and inside not in ALLOWED[module]
        else:
            library = top in sys.stdlib_module_names
            visitor = "cli" if is_command_line(module) else module
            forbidden = not library and visitor not in OUTSIDE.get(top, set())
        if forbidden:
            found.append(f"bpgen.{module} imports {name}")
    return found


def host_complaints(module: str, source: str) -> list[str]:
    """What `source` imports that module `module` of the host tool may not."""
    rooms = {f"bpgen_host.{name}".rstrip(".") for name in HOST_ALLOWED}
    allowed = {f"bpgen_host.{name}" for name in HOST_ALLOWED[module]} | {"bpgen_host"}
    return [
        f"bpgen_host.{module} imports {name}"
        for name in sorted(imported(source))
        if (name in rooms and name not in allowed)
        or name.startswith(("bpgen.cli", "bpgen.commands", "bpgen_host.cli", "bpgen_host.commands"))
    ]


MODULES = sorted(path for path in PACKAGE.rglob("*.py") if "_data" not in path.parts)


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_a_module_imports_only_what_its_room_may(path: Path) -> None:
    module = module_name(path)
    known = is_command_line(module) or module in ALLOWED
    assert known, f"say in ALLOWED what bpgen.{module} may import"
    assert complaints(module, path.read_text(encoding="utf-8")) == []


HOST_MODULES = sorted(
    path for path in HOST_PACKAGE.glob("*.py") if path.name not in ("cli.py", "__main__.py")
)


@pytest.mark.parametrize("path", HOST_MODULES, ids=lambda path: module_name(path, HOST_PACKAGE))
def test_a_module_of_the_host_tool_imports_only_what_its_room_may(path: Path) -> None:
    module = module_name(path, HOST_PACKAGE)
    assert module in HOST_ALLOWED, f"say in HOST_ALLOWED what bpgen_host.{module} may import"
    assert host_complaints(module, path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("link", "from bpgen_host.device import Device"),
        ("device", "from bpgen_host import session"),
        ("session", "from bpgen.commands.shared import warn"),
        ("compare", "def f():\n    from bpgen_host.commands import shared"),
    ],
)
def test_a_forbidden_import_of_the_host_tool_is_found(module: str, source: str) -> None:
    assert host_complaints(module, source) != []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("wire", "import serial"),
        ("emit.device", "import jinja2"),
        ("project", "from bpgen_host import simulators"),
        ("twin", "from bpgen.floatnet import FloatNet"),
        ("twin", "def f():\n    from bpgen import floatnet"),
        ("floatnet", "import bpgen.model"),
        ("emit.view", "import jinja2"),
        ("generation", "from bpgen_host import link"),
        ("dataset", "import serial"),
        ("model", "import numpy as np"),
        ("evaluate", "from bpgen.commands.shared import warn"),
    ],
)
def test_a_forbidden_import_is_found(module: str, source: str) -> None:
    assert complaints(module, source) != []


def test_rooms_enter_each_other_in_one_direction_only() -> None:
    """But for the package itself, whose names are imported when they are used."""
    graph = {module: set(rooms) for module, rooms in ALLOWED.items() if module}
    graph["model"].remove("model_json")
    for rooms in graph.values():
        rooms -= {"", "cli"}
    TopologicalSorter(graph).prepare()
    TopologicalSorter(HOST_ALLOWED).prepare()


def test_only_the_command_line_prints() -> None:
    for path in MODULES:
        if is_command_line(module_name(path)):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            printing = (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id == "print"
            )
            assert not printing, f"{path.name} prints"


def test_importing_bpgen_loads_nothing_heavy() -> None:
    names = imported((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    assert not names & {"numpy", "jinja2", "click", "rich"}


# The last two are the compilers' names for single instructions.
CORE_INCLUDES = {
    "stdint.h", "stddef.h", "limits.h", "avr/pgmspace.h", "arm_acle.h", "immintrin.h",
}  # fmt: skip
GENERATED = {"bpgen_device.h", "bpgen_wire.h"}


@pytest.mark.parametrize(
    "path", sorted((ROOT / "firmware" / "core").iterdir()), ids=lambda path: path.name
)
def test_the_core_includes_no_library_and_no_port(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert set(re.findall(r"#include <([^>]+)>", text)) <= CORE_INCLUDES
    for name in re.findall(r'#include "([^"]+)"', text):
        there = name in GENERATED or (path.parent / name).is_file()
        assert there, f"{path.name} includes {name} from elsewhere"
    arithmetic = path.name.startswith(("bpgen_fix", "bpgen_kernels"))
    assert not (arithmetic and re.search(r'#include "bpgen_(device|link|port|store|wire)', text))


def test_no_file_hides_a_module_of_the_standard_library() -> None:
    """A script's folder comes first where Python looks, and what it imports looks there too."""
    folders = (PACKAGE, ROOT / "host", ROOT / "benchmarks", ROOT / "examples")
    files = [path for folder in folders for path in folder.rglob("*.py")]
    assert files
    hiding = [str(path) for path in files if path.stem in sys.stdlib_module_names]
    assert hiding == []

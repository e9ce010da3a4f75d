"""What runs on a device has a stack that is known: no recursion, no array of variable length."""

from __future__ import annotations

import re
from collections.abc import Callable
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from bpgen.generation import generate
from tests.compile.models import everything
from tests.compile.test_compilers import run, write

MODELS = everything()
Tool = Callable[[str], str]

EDGE = re.compile(r'edge: \{ sourcename: "(?:[^"]*:)?([^":]+)" targetname: "(?:[^"]*:)?([^":]+)"')
# The last two are the compilers' names for single instructions.
INCLUDES = {
    "<limits.h>", "<stddef.h>", "<stdint.h>", "<avr/pgmspace.h>", "<arm_acle.h>", "<immintrin.h>",
}  # fmt: skip


def check_stack(gcc: str, folder: Path, *sources: str) -> int:
    """
    Compile without optimisation, which could hide a call, and look at calls and frames.

    Returns the number of functions. Raises CycleError for recursion, AssertionError for a frame
    of variable size.
    """
    run(gcc, "-O0", "-fcallgraph-info", "-fstack-usage", "-c", *sources, cwd=folder)
    calls: dict[str, set[str]] = {}
    frames = []
    for source in sources:
        graph = (folder / source).with_suffix(".ci").read_text(encoding="utf-8")
        for caller, called in EDGE.findall(graph):
            # An indirect call may reach anything, so there must be none.
            assert called != "__indirect_call", caller
            calls.setdefault(caller, set()).add(called)
        usage = (folder / source).with_suffix(".su").read_text(encoding="utf-8")
        frames += [line.split("\t") for line in usage.splitlines()]
    TopologicalSorter(calls).prepare()
    # A call's own arguments make a frame "dynamic,bounded"; "dynamic" alone has no bound.
    assert [name for name, _, kind in frames if kind == "dynamic"] == []
    return len(frames)


@pytest.mark.parametrize("name", MODELS)
def test_the_stack_has_a_size_that_is_known(name: str, tool: Tool, tmp_path: Path) -> None:
    write(tmp_path, MODELS[name], "net")
    assert check_stack(tool("gcc"), tmp_path, "net.c", "bpgen_kernels.c") > 20


def test_recursion_would_be_found_even_through_two_files(tool: Tool, tmp_path: Path) -> None:
    (tmp_path / "ping.c").write_text("int pong(int n);\nint ping(int n) { return pong(n - 1); }\n")
    (tmp_path / "pong.c").write_text(
        "int ping(int n);\nint pong(int n) { return n < 0 ? 0 : ping(n); }\n"
    )
    with pytest.raises(CycleError):
        check_stack(tool("gcc"), tmp_path, "ping.c", "pong.c")


def test_an_array_of_variable_length_would_be_found(tool: Tool, tmp_path: Path) -> None:
    (tmp_path / "array.c").write_text("int f(int n) { volatile int a[n]; return a[0] = n; }\n")
    with pytest.raises(AssertionError, match="array"):
        check_stack(tool("gcc"), tmp_path, "array.c")


@pytest.mark.parametrize("name", MODELS)
def test_a_generated_network_includes_only_freestanding_headers(name: str) -> None:
    files = generate(MODELS[name], "net")
    for text in files.values():
        for included in re.findall(r"^\s*#\s*include\s+(\S+)", text, flags=re.MULTILINE):
            assert included in INCLUDES or included.strip('"') in files

"""The whole firmware of every board, built by the project's own Makefile."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from bpgen.emit.projects import Samples
from bpgen.emit.write import write_folder
from bpgen.errors import BpgenError
from bpgen.model import IntModel
from bpgen.project import build, firmware_files, plan
from bpgen.simulate import WARNINGS
from bpgen.targets import TARGETS
from tests.compile.models import byte_model, trainable
from tests.compile.test_compilers import run

Tool = Callable[[str], str]

SQUARED = "squared_error"
SIGMOIDS = ("sigmoid", "sigmoid")
SIZES = {
    "2-2-1": (2, 2, 1), "4-8-3": (4, 8, 3), "3-5-2-4": (3, 5, 2, 4), "64-32-10": (64, 32, 10),
}  # fmt: skip
BOARDS = [name for name, target in TARGETS.items() if target.port]
BARE = [name for name in BOARDS if name != "posix"]
# Where 64-32-10 fits only with two bytes a weight, or not at all.
STOCHASTIC = {"mega2560", "stm32f100"}
TOO_SMALL = {"uno"}
STRICT = f"WARNINGS={' '.join(WARNINGS)}"

# What a bound may be above what is there, or it would refuse models that fit.
LOOSEST = 1.6

FORBIDDEN = re.compile(
    r"__\w*(add|sub|mul|div|neg|float|fix|eq|ne|lt|le|gt|ge|cmp|unord|extend|trunc)\w*[sd]f\w*$|"
    r"__aeabi_[fd]\w+|__fp_\w+|_*(malloc|calloc|realloc|free|sbrk|\w*printf|puts|putchar|fwrite)\w*$"
)


@cache
def model(name: str, update: str = "residual") -> IntModel:
    sizes = SIZES[name]
    return trainable(sizes, ("sigmoid",) * (len(sizes) - 1), SQUARED, update)


def made(
    folder: Path,
    network: IntModel,
    board: str,
    tool: Tool,
    samples: Samples | None = None,
    defines: str = "",
) -> Path:
    """Write the project into `folder` and build it without a warning; the image."""
    command = TARGETS[board].family.command
    tool("gcc" if command == "cc" else command)
    write_folder(folder, firmware_files(plan(network, "net", board, samples=samples)))
    return build(folder, variables=[STRICT, f"DEFINES={defines}"])


def binutil(board: str, name: str) -> str:
    return f"{TARGETS[board].family.command.removesuffix('cc').removesuffix('g')}{name}"


def sizes_of(board: str, file: Path) -> tuple[int, int]:
    """Bytes in flash and in RAM."""
    text, data, bss = (
        int(n) for n in run(binutil(board, "size"), file).splitlines()[1].split()[:3]
    )
    return text + data, data + bss


def functions(board: str, image: Path) -> set[str]:
    listed = run(binutil(board, "nm"), "--defined-only", image).splitlines()
    return {line.split()[2] for line in listed if line.split()[1] in "tTwW"}


CALLS = {"call", "rcall", "bl", "jal"}


def calls(board: str, image: Path) -> dict[str, set[str]]:
    """Who calls, or jumps into, whom: the disassembly, so that no compiler needs a flag for it."""
    graph: dict[str, set[str]] = {}
    caller, before = "", ""
    listing = run(binutil(board, "objdump"), "-d", image)
    reached = set(re.findall(r"0x([0-9a-f]+)\t?\s*<", listing))
    kernels = set(re.findall(r"^[0-9a-f]+ <(bp_avr_(?:parts|any)\w*)>:$", listing, re.M))
    for line in listing.splitlines():
        head = re.match(r"[0-9a-f]+ <(.+)>:$", line)
        if head:
            caller, before = head[1], ""
            continue
        instruction = " ".join(line.split("\t")[2:])
        # avr-gcc leaves jumps behind the end of a function with -mcall-prologues.
        dead = "<__epilogue_restores__" in before and line.split(":")[0].strip() not in reached
        before = "" if dead else instruction
        if dead:
            continue
        # A pointer may reach anything, so there must be no call through one, but for those that
        # BP_KERNEL puts into the layers of an AVR: assembly, for the forward pass alone.
        if instruction == "icall" and "_forward" in caller:
            graph.setdefault(caller, set()).update(kernels)
            continue
        assert not re.match(r"(e?icall|blx\s+r\d|jalr\s+(?!zero))", instruction), caller
        jump = re.match(r"(r?call|r?jmp|bl|b|b\.n|b\.w|jal|j)\s.*<([^+>]+)(\+?)", instruction)
        # A Thumb-1 core jumps far inside a function with bl, and AVR's rcall .+0 makes room.
        if jump and (jump[2] != caller or (jump[1] in CALLS and not jump[3])):
            graph.setdefault(caller, set()).add(jump[2])
    return graph


def check_image(board: str, image: Path) -> None:
    """No float, no heap, no stdio, no recursion in an image that runs without a system."""
    names = functions(board, image)
    assert not {name for name in names if FORBIDDEN.match(name)}
    graph = calls(board, image)
    graph.pop("__bad_interrupt", None)  # starts the program anew
    assert len(graph) > 10
    TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("board", BOARDS)
def test_a_project_builds_without_a_warning_or_a_float_or_recursion(
    board: str, name: str, tool: Tool, tmp_path: Path
) -> None:
    digits = name == "64-32-10"
    network = model(name, "stochastic" if digits and board in STOCHASTIC else "residual")
    if digits and board in TOO_SMALL:
        with pytest.raises(BpgenError, match=f"does not fit {board}"):
            plan(network, "net", board)
        return
    image = made(tmp_path / "project", network, board, tool)
    if board in BARE:
        check_image(board, image)


@pytest.mark.parametrize("board", BOARDS)
def test_a_self_training_project_builds_without_a_warning_or_a_float_or_recursion(
    board: str, tool: Tool, tmp_path: Path
) -> None:
    samples = Samples(((1, 2, 3, 4),) * 9, ((0, 2048, 0),) * 9, epochs=3)
    batches = trainable((4, 8, 3), SIGMOIDS, SQUARED, "momentum", labels=("a", "b", "c"))
    for number, network in enumerate((model("4-8-3"), batches)):
        image = made(tmp_path / str(number), network, board, tool, samples)
        if board in BARE:
            check_image(board, image)


@pytest.mark.parametrize("board", BARE)
def test_what_link_store_and_port_add_is_within_its_bounds_and_not_far_below(
    board: str, tool: Tool, tmp_path: Path
) -> None:
    """Flash beside the network's own code, RAM beside its state; the largest of three models."""
    target = TARGETS[board]
    assert target.port is not None
    code, ram = [], []
    for number, network in enumerate(
        (
            trainable(
                (4, 6, 5, 3), ("tanh", "tanh_opt", "sigmoid"), SQUARED, "momentum", decay=7,
                sparse=True,
            ),
            model("4-8-3"),
            byte_model((7, 6, 5, 4), ("sigmoid", "relu", "softmax"), "cross_entropy"),
        )
    ):  # fmt: skip
        folder = tmp_path / str(number)
        # Objects for link-time optimisation hold no code of their own otherwise.
        image = made(folder, network, board, tool, defines="-ffat-lto-objects")
        parts = [
            p for p in (folder / "build").glob("*.o") if p.stem not in ("net", "bpgen_kernels")
        ]
        text = (folder / "bpgen_device.h").read_text(encoding="utf-8")
        described = re.search(r"BP_DEVICE_DESCRIPTION_BYTES (\d+)u", text)
        assert described is not None
        code.append(sum(sizes_of(board, part)[0] for part in parts) - int(described[1]))
        firmware = plan(network, "net", board)
        state = -(-firmware.view.state_size // target.family.alignment) * target.family.alignment
        ram.append(sizes_of(board, image)[1] - state)
        assert sizes_of(board, image)[0] <= firmware.fit.flash_needed - target.port.kept_flash
    assert max(code) <= target.port.code <= LOOSEST * max(code), code
    assert max(ram) <= target.port.ram <= LOOSEST * max(ram), ram


def test_a_float_would_be_found(tool: Tool, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    made(folder, model("2-2-1"), "uno", tool)
    source = folder / "main.c"
    text = source.read_text(encoding="utf-8")
    floating = "bp_port_write((uint8_t)((float)bp_link_poll() * 1.5f));"
    source.write_text(text.replace("bp_port_idle();", floating), encoding="utf-8")
    with pytest.raises(AssertionError, match="__float"):
        check_image("uno", build(folder))


@pytest.mark.parametrize("board", ["uno", "microbit", "rv32"])
def test_recursion_would_be_found(board: str, tool: Tool, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    made(folder, model("2-2-1"), board, tool)
    source = folder / "main.c"
    text = source.read_text(encoding="utf-8")
    recursive = (
        "uint8_t ping(uint8_t n);\nuint8_t __attribute__((noinline)) ping(uint8_t n)\n"
        "{ bp_port_write(n); return n ? (uint8_t)(ping(n / 2) + ping(n / 3)) : n; }\nint main("
    )
    text = text.replace("int main(", recursive).replace("bp_port_idle();", "ping(bp_link_poll());")
    source.write_text(text, encoding="utf-8")
    with pytest.raises((CycleError, AssertionError)):
        check_image(board, build(folder))


def test_a_warning_fails_the_build_of_these_tests(tool: Tool, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    made(folder, model("2-2-1"), "posix", tool)
    with (folder / "main.c").open("a", encoding="utf-8") as source:
        source.write("static int unused;\n")
    with pytest.raises(BpgenError, match=r"error: .unused. defined but not used"):
        build(folder, variables=[STRICT])


def test_counters_are_compiled_in_by_a_setting_of_make(tool: Tool, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    made(folder, model("2-2-1"), "posix", tool)
    subprocess.run(["make", "-s", "-C", folder, "clean"], check=True)
    image = build(folder, variables=[STRICT, "DEFINES=-DBPGEN_COUNTERS=1"])
    assert "net_reset_counting" in functions("posix", image)

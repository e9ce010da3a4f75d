"""Kernels of a core beside the portable ones, in one program."""

from __future__ import annotations

import hashlib
import re
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.speed.cores import HERE, Core
from bpgen import lut
from bpgen.data import FIRMWARE
from bpgen.simulate import WARNINGS

CORE = FIRMWARE / "core"

Tool = Callable[[str], str]
Edit = Callable[[str], str]


def mutant(text: str, broken: str, which: int = 0) -> Edit:
    """An edit that replaces `text` in the n-th place that has it, below 0 counted from the last."""

    def edit(file: str) -> str:
        parts = file.split(text)
        assert len(parts) > 1
        at = which % (len(parts) - 1)
        return text.join(parts[: at + 1]) + broken + text.join(parts[at + 1 :])

    return edit


def copy_core(folder: Path, edited: str = "", edit: Edit = str) -> None:
    """The files of the core, of which `edit` may change the one named `edited`."""
    for source in CORE.iterdir():
        text = source.read_text(encoding="utf-8")
        (folder / source.name).write_text(edit(text) if source.name == edited else text, "utf-8")


def behind_portable(folder: Path, *, with_rom: bool = False) -> dict[str, str]:
    """Flags that put portable_ before the kernels' names; `with_rom` where flash has its own."""
    header = (folder / "bpgen_kernels.h").read_text(encoding="utf-8")
    names = set(re.findall(r"\b(bp_\w+)\(", header)) - {"bp_counters_agree"}
    # These only stand for others where a core has no such kernel.
    aliases = set(re.findall(r"#define (bp_\w+) bp_", header))
    names -= {name for name in aliases if not (with_rom and name.endswith("_rom"))}
    names |= {"bp_counters_are_on", "bp_counters_are_off"}
    return {name: f"-D{name}=portable_{name}" for name in sorted(names)}


_objects: dict[bytes, bytes] = {}


def compiled(folder: Path, name: str, source: Path, command: Sequence[str]) -> str:
    """
    The path of an object file `name` in a folder, which also has the headers.

    Mutants differ in one file of three, so an object is kept, and taken again for the same text.
    """
    own = [command[0], f"-I{folder}", *command[1:], str(source)]
    text = subprocess.run([*own, "-E", "-P"], check=True, capture_output=True).stdout
    key = hashlib.sha256("\0".join(command).encode() + b"\0" + text).digest()
    made = folder / name
    if key not in _objects:
        subprocess.run([*own, "-c", "-o", str(made)], check=True)
        _objects[key] = made.read_bytes()
    made.write_bytes(_objects[key])
    return str(made)


def counts(said: str) -> dict[str, int]:
    """How many results differ, by what a program names."""
    return {name: int(count) for name, count in re.findall(r"(\w+) (\d{5});", said)}


def tables() -> str:
    """Sigmoid tables of all sizes as C."""
    made = {}
    for frac in range(4, 16):
        table = lut.activation_table("sigmoid", frac)
        made[table.bits] = ", ".join(str(entry) for entry in table.entries)
    return "".join(
        f"static const uint16_t sigmoid_{bits}[] BP_ROM = {{{entries}}};\n"
        for bits, entries in sorted(made.items())
    )


def differing(
    folder: Path, tool: Tool, core: Core | str, program: Path, *flags: str,
    edited: str = "", edit: Edit = str,
) -> dict[str, int]:  # fmt: skip
    """
    How many results of each kernel differ in `program`, which includes tables.h.

    Runs on the machine of a core in QEMU, or here with the compiler that `core` names. `edit` may
    change the file `edited` of the core first.
    """
    copy_core(folder, edited, edit)
    (folder / "tables.h").write_text(tables(), encoding="utf-8")
    compiler = [tool(core)] if isinstance(core, str) else [tool(core.family.command)]
    family = () if isinstance(core, str) else core.family.flags
    compiler += [*family, *flags, f"-I{HERE}"]
    kernels, renamed = folder / "bpgen_kernels.c", behind_portable(folder).values()
    sources = [
        ("main.o", program, ["-std=gnu99", "-Wall", "-Wextra", "-Werror"]),
        ("fast.o", kernels, list(WARNINGS)),
        ("portable.o", kernels, ["-std=c99", "-DBP_PORTABLE", *renamed]),
    ]
    image, link, command = folder / "kernels.elf", [], [str(folder / "kernels.elf")]
    if not isinstance(core, str):
        machine = core.machines[-1]
        sources.append(("start.o", core.start, ["-std=gnu99"]))
        link, command = machine.link(), machine.command(image)
        command[0] = tool(command[0])
    objects = [compiled(folder, name, source, [*compiler, *more]) for name, source, more in sources]
    subprocess.run([*compiler, *objects, *link, "-o", str(image)], check=True)
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return counts(done.stdout + done.stderr)

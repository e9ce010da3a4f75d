"""Compilers and flags of the suite, and shared libraries built with them."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bpgen.data import FIRMWARE
from bpgen.model import IntModel
from bpgen.simulate import WARNINGS, write_sources

KERNELS = "bpgen_kernels.c"
UNIT = "bpgen_unit.h"


@dataclass(frozen=True)
class Config:
    """
    A compiler with its flags; a sanitised library needs `environment` in its process.

    The fast kernels of a core count nothing, so only code without counters has them.
    """

    name: str
    command: str
    flags: tuple[str, ...]
    cases: int
    counters: bool
    optimize: str = "speed"

    @property
    def sanitised(self) -> bool:
        return any(flag.startswith("-fsanitize") for flag in self.flags)


SANITISERS = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
CONFIGS = (
    *(
        Config(
            f"{command}{''.join(flags)}",
            command,
            flags,
            40,
            flags == ("-O0",),
            "size" if (command, flags) == ("gcc", ("-O2",)) else "speed",
        )
        for command in ("gcc", "clang")
        for flags in (("-O0",), ("-O2",), ("-O3", "-flto"))
    ),
    Config("gcc-sanitised", "gcc", SANITISERS, 30, True),
    Config("clang-sanitised", "clang", (*SANITISERS, "-shared-libasan"), 30, False),
)


def compile_c(config: Config, *arguments: str | Path) -> None:
    """Run the compiler with every warning an error; AssertionError with its words if it refuses."""
    counters = f"-DBPGEN_COUNTERS={int(config.counters)}"
    command = [config.command, *WARNINGS, *config.flags, counters, "-fPIC"]
    run = subprocess.run(
        [*command, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr


@cache
def kernels(config: Config, folder: Path) -> Path:
    """The core, compiled into `folder` once for all models."""
    made = folder / f"{config.name}.o"
    compile_c(config, "-c", "-o", made, FIRMWARE / "core" / KERNELS)
    return made


def library(config: Config, model: IntModel, folder: Path, core: Path | None = None) -> Path:
    """Generate and compile `model` in `folder`; `core` is an object file of the kernels."""
    written = write_sources(model, folder, config.optimize)
    sources = [path for path in written if path.suffix == ".c"]
    if core is not None:
        sources = [path for path in sources if path.name != KERNELS]
    made = folder / "simulation.so"
    compile_c(config, "-shared", "-o", made, *sources, *([core] if core else []))
    return made


@cache
def environment(config: Config) -> dict[str, str]:
    """What a process needs to load a sanitised library into a Python that is none."""
    name = "libclang_rt.asan-x86_64.so" if config.command == "clang" else "libasan.so"
    run = subprocess.run(
        [config.command, f"-print-file-name={name}"], capture_output=True, text=True, check=True
    )
    return {
        **os.environ,
        "LD_PRELOAD": run.stdout.strip(),
        # Python frees little when it ends. A fault ends the process with its own exit code.
        "ASAN_OPTIONS": "detect_leaks=0:exitcode=99",
        "UBSAN_OPTIONS": "print_stacktrace=1:exitcode=99",
    }


def replaced(folder: Path, name: str, old: str, new: str) -> None:
    """Put a bug into a copy of the C; AssertionError when the text is not there exactly once."""
    text = (folder / name).read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{name} has {text.count(old)} times: {old}"
    (folder / name).write_text(text.replace(old, new), encoding="utf-8")

"""Everything a template can print, under every compiler and core, without a warning."""

from __future__ import annotations

import platform
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from bpgen.data import FIRMWARE
from bpgen.generation import generate, view_of
from bpgen.model import IntModel
from bpgen.simulate import WARNINGS
from tests.compile.models import everything

MODELS = everything()
Tool = Callable[[str], str]


@dataclass(frozen=True)
class Compiler:
    """A compiler and what it is called with beside the common warnings."""

    command: str
    flags: tuple[str, ...]
    nm: str = "nm"

    @property
    def id(self) -> str:
        core = [f for f in self.flags if f.startswith(("-m", "-O", "-flto"))]
        return " ".join((self.command, *core)).replace(" ", "_")


ARM = ("-mthumb", "-O2", "-ffreestanding")
HOST = (
    Compiler("gcc", ("-O0", "-ffreestanding")),
    Compiler("gcc", ("-O3", "-flto", "-ffreestanding")),
    Compiler(
        "clang",
        (
            "-O2",
            "-ffreestanding",
            "-Weverything",
            # -padded speaks of the end of the state, the other of C89.
            "-Wno-padded",
            "-Wno-declaration-after-statement",
        ),
    ),
)
# Of the compiled simulation's machines; other hosts' compilers do not know them.
X86 = tuple(
    Compiler(command, (f"-march={core}", "-O3", "-ffreestanding"))
    for command in ("gcc", "clang")
    for core in ("haswell", "skylake-avx512")
    if platform.machine() == "x86_64"
)
CROSS = (
    Compiler("avr-gcc", ("-mmcu=atmega328p", "-O2", "-ffreestanding"), "avr-nm"),
    Compiler("avr-gcc", ("-mmcu=atmega2560", "-O2", "-ffreestanding"), "avr-nm"),
    Compiler("arm-none-eabi-gcc", ("-mcpu=cortex-m0plus", *ARM), "arm-none-eabi-nm"),
    Compiler("arm-none-eabi-gcc", ("-mcpu=cortex-m3", *ARM), "arm-none-eabi-nm"),
    Compiler("arm-none-eabi-gcc", ("-mcpu=cortex-m4", *ARM), "arm-none-eabi-nm"),
    Compiler(
        "riscv64-unknown-elf-gcc",
        ("-march=rv32imc", "-mabi=ilp32", "--specs=picolibc.specs", "-O2", "-ffreestanding"),
        "riscv64-unknown-elf-nm",
    ),
)
COMPILERS = [pytest.param(compiler, id=compiler.id) for compiler in (*HOST, *X86, *CROSS)]
CROSS_COMPILERS = [pytest.param(compiler, id=compiler.id) for compiler in CROSS]

# What the compilers' own libraries may add: 32- and 64-bit integers, and copying.
INTEGER_HELPERS = {
    "__adddi3", "__ashldi3", "__ashrdi3", "__cmpdi2", "__cmpdi2_s8", "__muldi3", "__mulhisi3",
    "__mulshisi3", "__mulsi3", "__mulsidi3", "__muluhisi3", "__subdi3", "__udivmodsi4",
    "__umulhisi3", "__usmulhisi3", "__aeabi_idiv", "__aeabi_lmul", "__aeabi_uidiv", "memcpy",
    "memcpy_P",
}  # fmt: skip


def run(*command: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}"
    return done.stdout


def write(folder: Path, model: IntModel, prefix: str, *, main: bool = False) -> list[Path]:
    """Write the generated files; returns those to compile."""
    files = generate(model, prefix, main=main)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
    return [folder / name for name in files if name.endswith(".c")]


def objects(folder: Path, compiler: Compiler, path: str, *extra: str) -> list[Path]:
    """Compile the core and every model with one compiler; the objects' files."""
    sources = []
    for number, model in enumerate(MODELS.values()):
        sources += write(folder, model, f"m{number}")
    wanted = sorted(set(sources))
    run(path, *WARNINGS, *compiler.flags, *extra, "-c", *wanted, cwd=folder)
    return [folder / f"{source.stem}.o" for source in wanted]


@pytest.mark.parametrize("counters", [0, 1], ids=["plain", "counters"])
@pytest.mark.parametrize("compiler", COMPILERS)
def test_every_model_compiles_without_a_warning(
    compiler: Compiler, counters: int, tool: Tool, tmp_path: Path
) -> None:
    objects(tmp_path, compiler, tool(compiler.command), f"-DBPGEN_COUNTERS={counters}")


@pytest.mark.parametrize("compiler", CROSS_COMPILERS)
def test_an_object_takes_only_integer_helpers_from_the_compiler(
    compiler: Compiler, tool: Tool, tmp_path: Path
) -> None:
    """No soft float, no malloc, no stdio: nm lists what the network and the core do not define."""
    built = objects(tmp_path, compiler, tool(compiler.command))
    defined = {
        line.split()[-1]
        for line in run(compiler.nm, "--defined-only", *built).splitlines()
        if " " in line
    }
    undefined = {
        line.split()[-1]
        for line in run(compiler.nm, "--undefined-only", *built).splitlines()
        if " " in line
    }
    assert undefined - defined <= INTEGER_HELPERS


def test_a_float_would_be_found(tool: Tool, tmp_path: Path) -> None:
    source = tmp_path / "float.c"
    source.write_text("float f(float x) { return x * 1.5f; }\n")
    run(tool("avr-gcc"), "-mmcu=atmega328p", "-c", source, cwd=tmp_path)
    undefined = run("avr-nm", "--undefined-only", tmp_path / "float.o").split()
    assert "__mulsf3" in undefined
    assert "__mulsf3" not in INTEGER_HELPERS


def test_every_name_a_model_exports_starts_with_its_prefix(tool: Tool, tmp_path: Path) -> None:
    for number, model in enumerate(MODELS.values()):
        write(tmp_path, model, f"m{number}")
        run(tool("gcc"), "-O0", "-c", f"m{number}.c", cwd=tmp_path)
        listed = run("nm", "--defined-only", tmp_path / f"m{number}.o").splitlines()
        names = {line.split()[-1] for line in listed}
        own = {name for name in names if name.startswith(f"m{number}_")}
        # Inline functions of the core are the only others, and local.
        assert {name for name in names - own if not name.startswith("bp_")} == set()
        exported = {line.split()[-1] for line in listed if line.split()[-2].isupper()}
        assert exported <= own
    run("gcc", "-O0", "-c", "bpgen_kernels.c", cwd=tmp_path)
    listed = run("nm", "--defined-only", "--extern-only", tmp_path / "bpgen_kernels.o")
    assert all(line.split()[-1].startswith("bp_") for line in listed.splitlines())


@pytest.mark.parametrize("compiler", COMPILERS)
def test_the_state_has_the_size_that_the_view_says(
    compiler: Compiler, tool: Tool, tmp_path: Path
) -> None:
    """The size in an array's length: a compiler that runs nothing can still be asked."""
    lines = []
    for number, model in enumerate(MODELS.values()):
        write(tmp_path, model, f"m{number}")
        size = view_of(model, f"m{number}").state_size
        rounding = 0 if compiler.command == "avr-gcc" else 3
        lines.append(f'#include "m{number}.h"')
        lines.append(
            f"BP_STATIC_ASSERT(sizeof(m{number}_state_t) >= {size} && "
            f"sizeof(m{number}_state_t) <= {size + rounding}, m{number}_size_is_known);"
        )
    (tmp_path / "sizes.c").write_text("\n".join(lines) + "\n")
    run(tool(compiler.command), *WARNINGS, *compiler.flags, "-c", "sizes.c", cwd=tmp_path)


def test_two_models_live_in_one_translation_unit_and_one_program(
    tool: Tool, tmp_path: Path
) -> None:
    for name, prefix in (("residual", "left"), ("batch-l2-sparsity", "right")):
        write(tmp_path, MODELS[name], prefix)
    (tmp_path / "both.c").write_text(
        '#include "left.c"\n#include "right.c"\n'
        "int main(void);\n"
        "static left_state_t one;\nstatic right_state_t other;\n"
        "int main(void) { return left_self_test(&one) | right_self_test(&other); }\n"
    )
    run(tool("gcc"), *WARNINGS, "-O2", "both.c", "bpgen_kernels.c", "-o", "both", cwd=tmp_path)
    run(tmp_path / "both")
    (tmp_path / "apart.c").write_text(
        '#include "left.h"\n#include "right.h"\n'
        "int main(void);\n"
        "static left_state_t one;\nstatic right_state_t other;\n"
        "int main(void) { return left_self_test(&one) | right_self_test(&other); }\n"
    )
    sources = ("apart.c", "left.c", "right.c", "bpgen_kernels.c")
    run("gcc", *WARNINGS, "-O2", *sources, "-o", "apart", cwd=tmp_path)
    run(tmp_path / "apart")


def test_the_headers_are_cplusplus_and_link_with_it(tool: Tool, tmp_path: Path) -> None:
    write(tmp_path, MODELS["residual"], "net")
    (tmp_path / "main.cpp").write_text(
        '#include "net.h"\nstatic net_state_t net;\nint main() { return net_self_test(&net); }\n'
    )
    run(tool("gcc"), "-O1", "-c", "net.c", "bpgen_kernels.c", cwd=tmp_path)
    flags = ("-std=c++11", "-Wall", "-Wextra", "-Werror", "-pedantic-errors", "-Wconversion")
    built = ("net.o", "bpgen_kernels.o")
    run(tool("g++"), *flags, "main.cpp", *built, "-o", "main", cwd=tmp_path)
    run(tmp_path / "main")


@pytest.mark.parametrize("name", MODELS)
def test_the_main_program_compiles_and_passes_its_self_test(
    name: str, tool: Tool, tmp_path: Path
) -> None:
    sources = write(tmp_path, MODELS[name], "net", main=True)
    run(tool("gcc"), *WARNINGS, "-O2", "-Wtrigraphs", *sources, "-o", "net_main", cwd=tmp_path)
    sample = " ".join(["40"] * MODELS[name].input.size)
    done = subprocess.run(
        [tmp_path / "net_main"], input=f"{sample}\n", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) >= MODELS[name].output.outputs


def test_files_that_disagree_about_counters_do_not_link(tool: Tool, tmp_path: Path) -> None:
    """Their states differ in size, and one would count through a null pointer."""
    write(tmp_path, MODELS["residual"], "net")
    (tmp_path / "use.c").write_text(
        '#include "net.h"\nint main(void);\nstatic net_state_t net;\n'
        "int main(void) { net_reset(&net); return 0; }\n"
    )
    with_counters = {"use.c": "1", "net.c": "1", "bpgen_kernels.c": "1"}
    for odd in (None, *with_counters):
        for name, on in with_counters.items():
            flag = f"-DBPGEN_COUNTERS={'0' if name == odd else on}"
            run(tool("gcc"), *WARNINGS, flag, "-c", name, cwd=tmp_path)
        linked = subprocess.run(
            ["gcc", "use.o", "net.o", "bpgen_kernels.o", "-o", "use"],
            cwd=tmp_path,
            capture_output=True,
            check=False,
        )
        assert (linked.returncode == 0) == (odd is None), odd


def test_a_core_of_another_abi_is_refused(tool: Tool, tmp_path: Path) -> None:
    write(tmp_path, MODELS["residual"], "net")
    header = tmp_path / "bpgen_fix.h"
    text = header.read_text(encoding="utf-8")
    header.write_text(re.sub(r"BPGEN_CORE_ABI \d+", "BPGEN_CORE_ABI 999", text), encoding="utf-8")
    done = subprocess.run(
        [tool("gcc"), "-c", "net.c"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "regenerate net.c" in done.stderr


@pytest.mark.parametrize("prefix", ["net", "gesture_recogniser_2"])
def test_lines_of_generated_c_are_at_most_100_columns(prefix: str) -> None:
    for model in MODELS.values():
        for name, text in generate(model, prefix, main=True).items():
            for number, line in enumerate(text.splitlines(), start=1):
                assert len(line) <= 100, f"{name}:{number}: {line}"


def test_device_code_has_no_float_and_no_library() -> None:
    for path in (FIRMWARE / "core").iterdir():
        code = re.sub(r"/\*.*?\*/", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        assert not re.search(r"\b(float|double|malloc|free|printf|memcpy|memset)\b", code), path


def test_cppcheck_has_nothing_to_say(tool: Tool, tmp_path: Path) -> None:
    write(tmp_path, MODELS["residual-l2-sparsity"], "net")
    # The right shift of bp_shr32() is implementation-defined, and asserted to be arithmetic.
    asserted = [
        f"--suppress=shift{kind}:bpgen_fix.h" for kind in ("NegativeLHS", "TooManyBitsSigned")
    ]
    # It knows no assembly, so it reads the C of a PC: the portable one, and the fast one.
    for path in ("-DBP_PORTABLE=1", "-D__OPTIMIZE__=1"):
        run(
            tool("cppcheck"), "--quiet", "--std=c99", "--enable=warning,performance,portability",
            *asserted, "--error-exitcode=1", "-D__GNUC__=12", path, "net.c", "bpgen_kernels.c",
            cwd=tmp_path,
        )  # fmt: skip

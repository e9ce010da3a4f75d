"""Options and fixtures that several folders of tests share."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

# The same examples on every run, and no verdict that depends on the machine's speed.
settings.register_profile("bpgen", deadline=None, derandomize=True)
settings.load_profile("bpgen")

# Debian packages, which tests/install_tools.sh installs.
PACKAGES = {
    "gcc": "gcc",
    "g++": "g++",
    "clang": "clang libclang-rt-dev",
    "avr-gcc": "gcc-avr avr-libc",
    "arm-none-eabi-gcc": "gcc-arm-none-eabi libnewlib-arm-none-eabi",
    "riscv64-unknown-elf-gcc": "gcc-riscv64-unknown-elf picolibc-riscv64-unknown-elf",
    "cppcheck": "cppcheck",
    "simavr": "simavr",
    "/usr/include/simavr/sim_avr.h": "libsimavr-dev libelf-dev",
    "qemu-system-arm": "qemu-system-arm",
    "qemu-system-riscv32": "qemu-system-misc",
    "arduino-builder": "arduino-builder arduino-core-avr",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden",
        action="store_true",
        help="rewrite the files of tests/golden; then read git diff",
    )
    parser.addoption(
        "--update-size",
        action="store_true",
        help="rewrite tests/size/sizes.csv; then read git diff",
    )
    parser.addoption("--port", help="run tests/host on the board at this port, and nothing else")
    parser.addoption("--board", default="uno", help="what board is at --port")


@pytest.fixture(scope="session")
def tool() -> Callable[[str], str]:
    """
    Find a program by name, or a header by its path: its path.

    A missing one fails the test with the line that installs it.
    """

    def find(name: str) -> str:
        header = name.startswith("/") and Path(name).is_file()
        found = name if header else shutil.which(name)
        if found is None:
            pytest.fail(
                f"{name} is missing: install {PACKAGES[name]}, or run tests/install_tools.sh",
                pytrace=False,
            )
        return found

    return find

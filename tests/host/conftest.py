"""The fixture `dut`: the same tests on the twin of a board, on simulated boards, on a real one."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from bpgen_host.device import Device
from bpgen_host.local import LOCAL, LocalTransport
from tests.host.boards import IN_PROCESS, SIMULATED, Dut, in_process, real, simulated, task
from tests.host.link_board import MODELS, UNO, Board

# Every dimension another, so that no index can stand for its neighbour.
SIZES = (3, 5, 2, 4)

TOOLS = {
    "posix": ("gcc",),
    "uno": ("avr-gcc", "gcc", "/usr/include/simavr/sim_avr.h"),
    "mega2560": ("avr-gcc", "gcc", "/usr/include/simavr/sim_avr.h"),
    "stm32f100": ("arm-none-eabi-gcc", "qemu-system-arm"),
    "stm32f405": ("arm-none-eabi-gcc", "qemu-system-arm"),
    "microbit": ("arm-none-eabi-gcc", "qemu-system-arm"),
    "rv32": ("riscv64-unknown-elf-gcc", "qemu-system-riscv32"),
    IN_PROCESS: ("gcc",),
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "dut" in metafunc.fixturenames:
        port = metafunc.config.getoption("--port")
        boards = (metafunc.config.getoption("--board"),) if port else (IN_PROCESS, *SIMULATED)
        metafunc.parametrize("dut", boards, indirect=True, scope="session")


@pytest.fixture(scope="session")
def dut(
    request: pytest.FixtureRequest,
    tool: Callable[[str], str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Dut]:
    """A board that serves a 3-5-2-4 network, started once for all tests."""
    board: str = request.param
    chosen = task(SIZES)
    port = request.config.getoption("--port")
    if port:
        with real(board, port, chosen, tmp_path_factory.mktemp(board) / "firmware") as found:
            yield found
        return
    for name in TOOLS[board]:
        tool(name)
    if board == IN_PROCESS:
        with in_process(chosen) as found:
            yield found
    else:
        with simulated(board, chosen, tmp_path_factory.mktemp(board) / "firmware") as found:
            yield found


@pytest.fixture
def device(dut: Dut) -> Iterator[Device]:
    """The board, greeted, with the weights of its firmware."""
    line = dut.open()
    with Device(line) as found:
        found.hello()
        found.reset_model()
        yield found


@pytest.fixture
def full_disk() -> Callable[[], AbstractContextManager[None]]:
    """What makes every file of this process too large to be written to, for a while."""

    @contextmanager
    def full() -> Iterator[None]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return full


@pytest.fixture(scope="session")
def boards() -> Iterator[Callable[..., Board]]:
    """Boards by the name of their model, each compiled once and restarted when asked for."""
    made: dict[tuple[str, bool], Board] = {}

    def board(name: str, *, uno: bool = False) -> Board:
        if (name, uno) not in made:
            constants = UNO if uno else LOCAL
            transport = LocalTransport(MODELS[name], constants, counters=not uno)
            made[name, uno] = Board(MODELS[name], transport)
        return made[name, uno].restart()

    yield board
    for one in made.values():
        one.transport.close()

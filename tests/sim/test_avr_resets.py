"""Resets of the simulated AVR: by the port, a signal, the watchdog, the boot loader."""

from __future__ import annotations

import signal

import pytest
import serial

from tests.sim.avr_bench import CORES, Bench

BOOTS = """
int main(void)
{
    uint8_t cause;
    uint16_t boots;

    bp_port_begin();
    boots = bp_port_reset(&cause);
    for (;;) {
        switch (bp_port_read()) {
        case '?':
            bp_port_write((uint8_t)('0' + boots));
            bp_port_write((uint8_t)('0' + cause));
            break;
        case 'w':
            wdt_enable(WDTO_15MS);
            break;
        }
    }
}
"""

POWER_ON, RESET_PIN, WATCHDOG = 1, 2, 4


def boots_and_cause(port: serial.Serial) -> tuple[int, int]:
    """Ask until the board answers: it loses what comes while it starts."""
    port.timeout = 0.3
    for _ in range(20):
        port.write(b"?")
        answer = port.read(2)
        if len(answer) == 2:
            return answer[0] - ord("0"), answer[1] - ord("0")
    raise AssertionError("no answer")


@pytest.mark.parametrize("core", CORES)
def test_opening_the_port_resets_the_board(bench: Bench, core: str) -> None:
    with bench.board(bench.build_with_port(BOOTS, core), "--reset-on-open") as board:
        for boots in (2, 3, 4):
            with board.open() as port:
                assert boots_and_cause(port) == (boots, RESET_PIN)


def test_without_reset_on_open_the_board_runs_on(bench: Bench) -> None:
    with bench.board(bench.build_with_port(BOOTS)) as board:
        for _ in range(3):
            with board.open() as port:
                assert boots_and_cause(port) == (1, POWER_ON)


@pytest.mark.parametrize("core", CORES)
def test_a_signal_and_the_watchdog_reset_the_board(bench: Bench, core: str) -> None:
    with bench.board(bench.build_with_port(BOOTS, core)) as board, board.open() as port:
        for boots in (2, 3):
            board.process.send_signal(signal.SIGUSR1)
            _until(port, (boots, RESET_PIN))
        port.write(b"w")
        _until(port, (4, WATCHDOG))


def _until(port: serial.Serial, wanted: tuple[int, int]) -> None:
    """Ask until the board has restarted."""
    answers = [boots_and_cause(port)]
    while answers[-1] != wanted:
        assert len(answers) < 10000, answers[-1]
        answers.append(boots_and_cause(port))


def test_a_boot_loader_eats_what_a_hasty_host_sends_and_hands_the_cause_over(bench: Bench) -> None:
    options = ("--reset-on-open", "--boot-ms", "300")
    with bench.board(bench.build_with_port(BOOTS), *options) as board, board.open() as port:
        port.timeout = 0.8
        port.write(b"?")
        assert port.read(2) == b""
        assert boots_and_cause(port) == (2, RESET_PIN)

"""The serial line of the simulated AVR, to the cycle."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
import serial

from tests.sim.avr_bench import CLOCK_HZ, CORES, ECHO, Bench, some_bytes


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize(("baud", "ubrr"), [(115200, 16), (250000, 7), (1000000, 1)])
def test_a_byte_takes_ten_bits_of_8_times_ubrr_plus_1_cycles(
    bench: Bench, core: str, baud: int, ubrr: int
) -> None:
    image = bench.build_with_port(
        """
        int main(void)
        {
            uint8_t n = 20;

            bp_port_begin();
            while (n) {
                int16_t byte = bp_port_read();

                if (byte >= 0) {
                    bp_port_write((uint8_t)byte);
                    n--;
                }
            }
            _delay_ms(3);
            GPIOR2 = 0;
            for (;;) {
            }
        }
        """,
        core,
        baud,
    )
    run = bench.run(image, rx=some_bytes(20))
    assert run.code == 0
    assert run.tx == some_bytes(20)
    assert set(np.diff(run.cycles("rx"))) == {10 * 8 * (ubrr + 1)}
    assert run.stats["baud"] == CLOCK_HZ // (8 * (ubrr + 1))


def test_without_u2x_a_bit_takes_twice_as_long(bench: Bench) -> None:
    image = bench.build(
        "int main(void) { line(51); UCSR0A = 0; send(1); send(2); send(3); finish(0); }"
    )
    assert set(np.diff(bench.run(image).cycles("tx"))) == {10 * 16 * 52}


def test_the_transmitter_holds_a_second_byte_and_ignores_a_third(bench: Bench) -> None:
    image = bench.build(
        """
        int main(void)
        {
            uint8_t first, second, done;

            line(16);
            UDR0 = 'a';
            first = UCSR0A & (1 << UDRE0);
            UDR0 = 'b';
            second = UCSR0A & (1 << UDRE0);
            UDR0 = 'c';
            _delay_us(100); /* in the middle of b */
            done = UCSR0A & ((1 << UDRE0) | (1 << TXC0));
            finish(first && !second && done == (1 << UDRE0) ? 0 : 1);
        }
        """
    )
    run = bench.run(image)
    assert (run.code, run.tx) == (0, b"ab")
    assert set(np.diff(run.cycles("tx"))) == {1360}


def test_a_firmware_that_is_deaf_for_20_ms_loses_all_but_three_bytes(bench: Bench) -> None:
    """The silicon has room for two bytes and the one in the shift register."""
    image = bench.build(
        """
        int main(void)
        {
            uint8_t before, after;

            line(16);
            _delay_ms(20);
            before = UCSR0A & (1 << DOR0);
            send(receive());
            after = UCSR0A & (1 << DOR0);
            send(receive());
            send(receive());
            finish(before && !after && !(UCSR0A & (1 << RXC0)) ? 0 : 1);
        }
        """
    )
    sent = bytes(range(30))
    run = bench.run(image, rx=sent)
    assert (run.code, run.tx) == (0, bytes((0, 1, 29)))
    assert run.stats["overruns"] == 27


@pytest.mark.parametrize("core", CORES)
def test_a_mebibyte_comes_back_from_a_firmware_at_1_megabaud(bench: Bench, core: str) -> None:
    sent = some_bytes(1 << 20)
    with bench.board(bench.build(ECHO % 1, core)) as board, board.open(1000000) as port:
        writer = threading.Thread(target=port.write, args=(sent,))
        writer.start()
        assert _read(port, len(sent)) == sent
        writer.join()
    assert bench.stats()["overruns"] == 0


def _read(port: serial.Serial, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        piece = port.read(min(count - len(data), 65536))
        assert piece, f"only {len(data)} bytes came"
        data += piece
    return bytes(data)


def test_another_baud_rate_than_the_hosts_garbles_bytes_both_ways(bench: Bench) -> None:
    image = bench.build(
        """
        int main(void)
        {
            uint8_t last = 0;

            line(16);
            for (;;) {
                uint8_t byte = receive();

                send(byte == '?' ? last : '!');
                last = byte;
            }
        }
        """
    )
    with bench.board(image) as board:
        with board.open(57600) as port:
            port.write(b"b")
            assert port.read(1) not in (b"", b"!")
        with board.open(115200) as port:
            port.write(b"?c?")
            heard, answer, repeated = _read(port, 3)
    assert heard != ord("b")
    assert (answer, repeated) == (ord("!"), ord("c"))
    assert board.complaints.count("57600 baud and the board 117647") == 1


def test_a_paced_line_is_no_faster_than_a_real_one(bench: Bench) -> None:
    with bench.board(bench.build(ECHO % 16), "--pace") as board, board.open() as port:
        begin = time.monotonic()
        port.write(bytes(3000))
        _read(port, 3000)
        # It makes up for at most 20 ms in which the machine was busy.
        assert time.monotonic() - begin > 3000 * 1360 / CLOCK_HZ - 0.025


def test_the_same_files_give_the_same_run(bench: Bench) -> None:
    image = bench.build(
        """
        int main(void)
        {
            uint16_t n;

            line(16);
            for (n = 0; n < 200; n++) {
                uint8_t byte = receive();

                _delay_us(60);
                send(byte ^ TCNT0);
                TCCR0B = 1;
            }
            finish(7);
        }
        """
    )
    first, second = (bench.run(image, rx=some_bytes(200)) for _ in range(2))
    assert first.code == 7
    assert first == second

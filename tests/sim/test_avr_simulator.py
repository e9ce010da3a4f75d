"""
firmware/sim/avr.c against the data sheets of ATmega328P and ATmega2560, and the AVR port on it.

Everything is compared in cycles of the simulated clock; each firmware stands beside its test.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import serial

from bpgen.emit.device import build_wire
from bpgen.emit.render import render
from bpgen.simulate import WARNINGS

FIRMWARE = Path(__file__).parents[2] / "firmware"
CLOCK_HZ = 16_000_000
CORES = ("atmega328p", "atmega2560")
CRASH, TIMEOUT = 99, 124
Tool = Callable[[str], str]

HEADS = """
#include <avr/interrupt.h>
#include <avr/io.h>
#include <util/delay.h>

static inline void line(uint8_t ubrr)
{
    UBRR0 = ubrr;
    UCSR0A = 1 << U2X0;
    UCSR0B = (1 << RXEN0) | (1 << TXEN0);
}

static inline void send(uint8_t byte)
{
    while (!(UCSR0A & (1 << UDRE0))) {
    }
    UDR0 = byte;
}

static inline uint8_t receive(void)
{
    while (!(UCSR0A & (1 << RXC0))) {
    }
    return UDR0;
}

static inline void finish(uint8_t code) /* when the line is quiet */
{
    _delay_ms(2);
    GPIOR2 = code;
    for (;;) {
    }
}
"""

ECHO = "int main(void) { line(%d); for (;;) { send(receive()); } }"

# What bpgen_device.h says of a board; the port needs nothing else.
BOARD = """
#include <stdint.h>
#define BP_LINK_WINDOW 63u
#ifndef BP_PORT_BAUD
#define BP_PORT_BAUD 115200
#endif
#define BP_PORT_CLOCK_HZ 16000000
#define BP_STORE_BYTES 1024u
"""

PORT_HEADS = """
#include <avr/interrupt.h>
#include <avr/io.h>
#include <avr/wdt.h>
#include <util/delay.h>
#include "bpgen_device.h"
#include "bpgen_port.h"
"""


@dataclass(frozen=True)
class Bench:
    """The simulator, compiled, and avr-gcc."""

    simulator: Path
    gcc: str
    folder: Path

    def build(self, code: str, core: str = "atmega328p", flags: Sequence[str] = ()) -> Path:
        """A bare firmware of `code`."""
        return self._compile(HEADS + code, core, flags)

    def build_with_port(self, code: str, core: str = "atmega328p", baud: int = 115200) -> Path:
        """A firmware of `code` and the AVR port, which is compiled with every warning."""
        (self.folder / "bpgen_device.h").write_text(BOARD)
        (self.folder / "bpgen_wire.h").write_text(render("wire.h", build_wire()))
        port = FIRMWARE / "ports" / "avr" / "bpgen_port.c"
        flags = (f"-DBP_PORT_BAUD={baud}", f"-I{self.folder}", f"-I{FIRMWARE / 'core'}")
        compiled = self.folder / "bpgen_port.o"
        # fmt: off
        subprocess.run(
            [self.gcc, f"-mmcu={core}", "-Os", *WARNINGS, *flags, "-c", port, "-o", compiled],
            check=True,
        )
        # fmt: on
        return self._compile(PORT_HEADS + code, core, (*flags, str(compiled)))

    def _compile(self, code: str, core: str, flags: Sequence[str]) -> Path:
        source, image = self.folder / "firmware.c", self.folder / f"{core}.elf"
        source.write_text(code)
        # fmt: off
        subprocess.run(
            [self.gcc, f"-mmcu={core}", f"-DF_CPU={CLOCK_HZ}UL", "-std=gnu99", "-O2", "-Wall",
             "-Werror", source, *flags, "-o", image],
            check=True,
        )
        # fmt: on
        return image

    def command(self, image: Path, *options: str) -> list[str]:
        stats = ("--stats", str(self.folder / "stats.json"))
        return [str(self.simulator), "-m", image.stem, *stats, *options, str(image)]

    def run(self, image: Path, *options: str, rx: bytes = b"") -> Run:
        """Run to the end, at most 20 simulated seconds, with `rx` on the line."""
        names = {name: self.folder / name for name in ("rx.bin", "tx.bin", "trace.csv")}
        names["rx.bin"].write_bytes(rx)
        # fmt: off
        done = subprocess.run(
            self.command(
                image, "--rx", str(names["rx.bin"]), "--tx", str(names["tx.bin"]),
                "--trace", str(names["trace.csv"]), "--max-cycles", str(20 * CLOCK_HZ), *options,
            ),
            capture_output=True, text=True, timeout=60, check=False,
        )
        # fmt: on
        rows = names["trace.csv"].read_text().splitlines()[1:]
        trace = [(int(cycle), kind, int(byte)) for cycle, kind, byte in map(_split, rows)]
        return Run(done.returncode, names["tx.bin"].read_bytes(), trace, done.stderr, self.stats())

    def stats(self) -> dict[str, Any]:
        stats = json.loads((self.folder / "stats.json").read_text())
        assert isinstance(stats, dict)
        return stats

    @contextmanager
    def board(self, image: Path, *options: str) -> Iterator[Board]:
        """A board behind a pty until the end of the context."""
        port = self.folder / "port"
        process = subprocess.Popen(
            self.command(image, "--pty", str(port), *options),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        board = Board(process, port)
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith(f"READY {port} -> /dev/pts/")
            yield board
        finally:
            process.terminate()
            board.complaints = process.communicate(timeout=10)[1]


@dataclass(frozen=True)
class Run:
    code: int
    tx: bytes
    trace: list[tuple[int, str, int]]
    complaints: str
    stats: dict[str, Any]

    def cycles(self, kind: str) -> list[int]:
        return [cycle for cycle, direction, _ in self.trace if direction == kind]


@dataclass
class Board:
    process: subprocess.Popen[str]
    port: Path
    complaints: str = ""

    def open(self, baud: int = 115200) -> serial.Serial:
        return serial.Serial(str(self.port), baud, timeout=5)


def _split(row: str) -> list[str]:
    return row.split(",")


@pytest.fixture(scope="session")
def simulator(tool: Tool, tmp_path_factory: pytest.TempPathFactory) -> Path:
    tool("/usr/include/simavr/sim_avr.h")
    program = tmp_path_factory.mktemp("avr") / "avr_sim"
    # fmt: off
    subprocess.run(
        [tool("gcc"), "-O2", "-Wall", "-Wextra", "-Werror", FIRMWARE / "sim" / "avr.c",
         "-o", program, "-lsimavr", "-lelf"],
        check=True,
    )
    # fmt: on
    return program


@pytest.fixture
def bench(simulator: Path, tool: Tool, tmp_path: Path) -> Bench:
    return Bench(simulator, tool("avr-gcc"), tmp_path)


def some_bytes(count: int) -> bytes:
    return np.random.default_rng(count).bytes(count)


# ---- The line -----------------------------------------------------------------------------------


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


# ---- Interrupts ---------------------------------------------------------------------------------

EMPTY_INTERRUPT = """
ISR(TIMER1_COMPA_vect, ISR_NAKED) { __asm__ volatile("reti"); }

void spin(void) __attribute__((naked, noinline));
void spin(void) /* 1 + 3 n - 1 cycles and its return */
{
    __asm__ volatile("ldi r24, 200\\n1: dec r24\\nbrne 1b\\nret" ::: "r24");
}

int main(void)
{
    spin();
    OCR1A = 300;
    TCCR1B = 1; /* one interrupt within spin(): it comes before the timer's 65536 cycles are up */
    TIMSK1 = 1 << OCIE1A;
    sei();
    spin();
    cli();
    GPIOR2 = 0;
    for (;;) {
    }
}
"""


@pytest.mark.parametrize(("core", "address"), [("atmega328p", 2), ("atmega2560", 3)])
def test_cycles_of_a_function_and_of_an_interrupt_are_those_of_the_data_sheet(
    bench: Bench, core: str, address: int
) -> None:
    """
    Return, entry and reti take longer by one where the program counter has a third byte: 4 and 5,
    4 and 5, 4 and 5, and the jump in the vector table 3.
    """
    run = bench.run(bench.build(EMPTY_INTERRUPT, core), "--count", "spin")
    spin = run.stats["functions"]["spin"]
    alone = 3 * 200 + 2 + address
    assert spin["calls"] == 2
    assert spin["min"] == alone
    assert spin["max"] == alone + (2 + address) + 3 + (2 + address)


WINDOW = """
ISR(USART_RX_vect)
{
    UDR0 = UDR0;
}

int main(void)
{
    line(16);
    UCSR0B |= 1 << RXCIE0;
    for (uint16_t n = 0; n < 20000; n++) {
        __asm__ volatile("sei\\n%s cli");
    }
    finish(0);
}
"""


def test_one_instruction_between_sei_and_cli_is_enough_for_an_interrupt(bench: Bench) -> None:
    assert bench.run(bench.build(WINDOW % "nop\\n"), rx=b"abc").tx == b"abc"


def test_no_interrupt_comes_between_sei_and_cli_that_follows_at_once(bench: Bench) -> None:
    assert bench.run(bench.build(WINDOW % ""), rx=b"abc").tx == b""


def test_one_instruction_of_the_program_runs_after_each_interrupt(bench: Bench) -> None:
    """The data register stays empty, so its interrupt asks again at once: each nop lets one in."""
    image = bench.build(
        """
        static volatile uint16_t served;

        ISR(USART_UDRE_vect)
        {
            served++;
        }

        int main(void)
        {
            line(16);
            UCSR0B |= 1 << UDRIE0;
            sei();
            __asm__ volatile(".rept 100\\nnop\\n.endr");
            cli();
            GPIOR2 = (uint8_t)served;
            for (;;) {
            }
        }
        """
    )
    assert bench.run(image).code == 100


def test_an_interrupt_that_was_raised_before_it_was_enabled_comes(bench: Bench) -> None:
    image = bench.build(
        """
        ISR(TIMER1_OVF_vect)
        {
            GPIOR2 = 3;
        }

        int main(void)
        {
            TCCR1B = 1;
            sei();
            _delay_ms(5); /* 65536 cycles are over */
            TIMSK1 = 1 << TOIE1;
            _delay_us(1);
            GPIOR2 = 1;
            for (;;) {
            }
        }
        """
    )
    assert bench.run(image).code == 3


def test_skipped_waiting_keeps_time_to_the_cycle(bench: Bench) -> None:
    """The loop does nothing but wait, and each overflow of the timer sends a byte."""
    image = bench.build(
        """
        static volatile uint8_t n;

        ISR(TIMER1_OVF_vect)
        {
            UDR0 = n++;
        }

        int main(void)
        {
            line(16);
            TCCR1B = 2; /* every 8 cycles */
            TIMSK1 = 1 << TOIE1;
            sei();
            while (n < 30) {
            }
            finish(0);
        }
        """
    )
    gaps = np.diff(bench.run(image).cycles("tx"))
    # An instruction of the loop takes at most 2 cycles, and the interrupt waits for its end.
    assert len(gaps) == 29
    assert max(abs(gaps - 8 * 65536)) <= 2


# ---- EEPROM -------------------------------------------------------------------------------------


def test_an_eeprom_byte_takes_3_3_to_3_5_ms_and_stays(bench: Bench) -> None:
    image = bench.build(
        """
        #include <avr/eeprom.h>

        uint8_t first[4] EEMEM = {1, 2, 3, 4};

        void __attribute__((noinline)) put(uint8_t value)
        {
            eeprom_write_byte(&first[0], value);
            eeprom_busy_wait();
        }

        int main(void)
        {
            uint8_t value = eeprom_read_byte(&first[0]);

            put((uint8_t)(value + eeprom_read_byte(&first[1])));
            GPIOR2 = value;
            for (;;) {
            }
        }
        """,
    )
    cells = bench.folder / "eeprom.bin"
    options = ("--eeprom", str(cells), "--count", "put")
    runs = [bench.run(image, *options) for _ in range(3)]
    assert [run.code for run in runs] == [1, 3, 5]
    assert cells.read_bytes() == bytes((7, 2, 3, 4)).ljust(1024, b"\xff")
    put = runs[0].stats["functions"]["put"]
    assert 0.0033 * CLOCK_HZ <= put["min"] <= 0.0035 * CLOCK_HZ
    assert runs[0].stats["eeprom_writes"] == 1


def test_the_eeprom_is_not_written_when_eepe_comes_late(bench: Bench) -> None:
    image = bench.build(
        """
        int main(void)
        {
            EEAR = 5;
            EEDR = 1;
            EECR |= 1 << EEMPE;
            __asm__ volatile("nop\\nnop\\nnop\\nnop\\nnop");
            EECR |= 1 << EEPE;
            GPIOR2 = EECR & (1 << EEPE);
            for (;;) {
            }
        }
        """
    )
    run = bench.run(image)
    assert run.code == 0
    assert run.stats["eeprom_writes"] == 0


def test_a_power_cut_in_the_middle_of_a_write_leaves_an_erased_byte(bench: Bench) -> None:
    image = bench.build(
        """
        #include <avr/eeprom.h>

        int main(void)
        {
            eeprom_write_byte((uint8_t *)3, 0x55);
            eeprom_write_byte((uint8_t *)3, 0x77);
            _delay_ms(1);
            GPIOR2 = 0;
            for (;;) {
            }
        }
        """
    )
    cells = bench.folder / "eeprom.bin"
    assert bench.run(image, "--eeprom", str(cells)).code == 0
    assert cells.read_bytes()[3] == 0xFF


# ---- Resets -------------------------------------------------------------------------------------

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


# ---- Port ---------------------------------------------------------------------------------------


def test_the_port_counts_bytes_that_it_had_no_room_for(bench: Bench) -> None:
    image = bench.build_with_port(
        """
        int main(void)
        {
            uint8_t n = 0;

            bp_port_begin();
            _delay_ms(15); /* 100 bytes arrive */
            while (bp_port_read() == n) {
                n++;
            }
            GPIOR2 = n == 63 ? (uint8_t)bp_port_lost() : 0;
            for (;;) {
            }
        }
        """
    )
    assert bench.run(image, rx=bytes(range(100))).code == 37


def test_the_port_counts_overruns_of_the_hardware(bench: Bench) -> None:
    image = bench.build_with_port(
        """
        int main(void)
        {
            bp_port_begin();
            while (bp_port_read() < 0) {
            }
            cli();
            _delay_ms(1); /* 11 bytes arrive, the hardware holds 3 */
            sei();
            _delay_ms(10);
            GPIOR2 = (uint8_t)bp_port_lost();
            for (;;) {
            }
        }
        """
    )
    run = bench.run(image, rx=bytes(30))
    assert run.stats["overruns"] > 1
    assert run.code == 1  # the flag does not tell how many


def test_the_clock_counts_microseconds_across_overflows(bench: Bench) -> None:
    image = bench.build_with_port(
        """
        int main(void)
        {
            uint32_t before, now, first;

            bp_port_begin();
            first = before = bp_port_clock();
            do {
                now = bp_port_clock();
                if (now < before || now - before > 40) {
                    GPIOR2 = 1;
                }
                before = now;
            } while (now - first < 1000000);
            cli();
            before = bp_port_clock();
            while (!(TIFR1 & (1 << TOV1))) {
            }
            now = bp_port_clock(); /* the overflow is not counted yet */
            GPIOR2 = now - before < 262144 ? 0 : 2;
            for (;;) {
            }
        }
        """
    )
    run = bench.run(image)
    assert run.code == 0
    # The second and what is left of the timer's 262 ms.
    overflow = 64 * 65536
    assert abs(run.stats["cycles"] - -(-CLOCK_HZ // overflow) * overflow) < 2000


@pytest.mark.parametrize("core", CORES)
def test_the_store_writes_without_waiting_and_only_what_differs(bench: Bench, core: str) -> None:
    image = bench.build_with_port(
        """
        int main(void)
        {
            uint8_t a = 0x12, b = 0x34, blank = 0xFF;

            bp_port_begin();
            GPIOR2 = bp_port_store_write(7, &a) != 0 ? 1
                : bp_port_store_write(8, &b) != 1 ? 2   /* busy */
                : bp_port_store_read(7) != a ? 3        /* waits */
                : bp_port_store_write(7, &a) != 0 ? 4
                : bp_port_store_write(9, &blank) != 0 ? 5
                : bp_port_store_write(1023, &b) != 0 ? 6 /* not busy: nothing was written */
                : bp_port_store_read(1023) != b ? 7 : 0;
            for (;;) {
            }
        }
        """,
        core,
    )
    run = bench.run(image)
    assert run.code == 0
    assert run.stats["eeprom_writes"] == 2


def test_the_receive_interrupt_takes_48_cycles_and_3_for_the_vector(bench: Bench) -> None:
    image = bench.build_with_port(
        """
        int main(void)
        {
            bp_port_begin();
            while (bp_port_read() < 0) {
            }
            GPIOR2 = 0;
            for (;;) {
            }
        }
        """
    )
    run = bench.run(image, "--count", "__vector_18", rx=b"x")
    assert run.stats["functions"]["__vector_18"]["max"] == 48


def test_a_baud_rate_that_the_clock_does_not_reach_is_refused(bench: Bench) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        bench.build_with_port("int main(void) { return 0; }", baud=230400)


# ---- Memory and crashes -------------------------------------------------------------------------

RECURSION = """
uint8_t __attribute__((noinline)) deep(uint8_t n)
{
    volatile uint8_t room[10];

    room[0] = n;
    return n == 0 ? 0 : (uint8_t)(deep((uint8_t)(n - 1)) + room[0]);
}

int main(void)
{
    GPIOR2 = deep(DEPTH);
    for (;;) {
    }
}
"""


def test_peak_stack_grows_by_the_same_with_each_level(bench: Bench) -> None:
    peaks = []
    for depth in (10, 20, 40):
        image = bench.build(RECURSION, flags=(f"-DDEPTH={depth}", "-fno-optimize-sibling-calls"))
        peaks.append(bench.run(image).stats["stack_peak"])
    level, rest = divmod(peaks[1] - peaks[0], 10)
    assert rest == 0
    assert peaks[2] - peaks[1] == 20 * level
    # Return address, the array, and at most the frame pointer and two saved registers.
    assert 12 <= level <= 18
    assert bench.stats()["ram_free_min"] == 2048 - peaks[2]


def test_a_function_with_a_large_frame_is_counted_once(bench: Bench) -> None:
    """Between the writes of its two halves the stack pointer points anywhere."""
    image = bench.build(
        """
        uint8_t __attribute__((noinline)) framed(uint8_t n)
        {
            volatile uint8_t room[300];

            room[n] = n;
            return room[n];
        }

        int main(void)
        {
            uint8_t n;

            for (n = 0; n < 5; n++) {
                framed(n);
            }
            GPIOR2 = 0;
            for (;;) {
            }
        }
        """
    )
    run = bench.run(image, "--count", "framed")
    framed = run.stats["functions"]["framed"]
    assert framed["calls"] == 5
    assert framed["min"] == framed["max"]
    assert 304 <= run.stats["stack_peak"] <= 312


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("*(volatile uint8_t *)0x0900 = 1;", "Invalid write address"),
        ("(void)*(volatile uint8_t *)0x0900;", "Invalid read address"),
        ('__asm__ volatile(".word 0x0001");', "Invalid Opcode"),
        ("((void (*)(void))0x3000)();", "a jump outside the code"),
    ],
)
def test_a_crash_ends_the_run_and_names_the_place(bench: Bench, code: str, reason: str) -> None:
    run = bench.run(bench.build(f"int main(void) {{ {code} for (;;) {{ }} }}"))
    assert run.code == CRASH
    assert reason in run.complaints
    assert "in main" in run.complaints or code.startswith("((")
    assert len(run.complaints.splitlines()) == 1


def test_a_firmware_that_never_ends_is_stopped_at_the_limit(bench: Bench) -> None:
    image = bench.build("int main(void) { for (;;) { } }")
    run = bench.run(image, "--max-cycles", "123456")
    assert run.code == TIMEOUT


def test_a_counted_function_that_is_not_there_is_refused(bench: Bench) -> None:
    image = bench.build("int main(void) { for (;;) { } }")
    command = bench.command(image, "--count", "nowhere")
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("avr_sim: the image has no function nowhere")


def test_the_simulator_ends_with_the_process_that_started_it(bench: Bench) -> None:
    port = bench.folder / "port"
    command = bench.command(bench.build(ECHO % 16), "--pty", str(port))
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import subprocess, sys; p = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE); "
            "p.stdout.readline(); print('started', flush=True); sys.stdin.read()",
            *command,
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    assert parent.stdout.readline() == "started\n"
    assert port.is_symlink()
    parent.kill()
    parent.communicate()
    limit = time.monotonic() + 10
    while port.is_symlink() and time.monotonic() < limit:
        time.sleep(0.02)
    assert not port.is_symlink()
    assert bench.stats()["cycles"] > 0

"""
Small C programs on a simulated AVR, with a host or a script at the other end of the line.

The tests hold firmware/sim/avr.c to the data sheets of ATmega328P and ATmega2560, and the AVR port
to its promises: all in cycles of the simulated clock. Each firmware stands beside its test.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import serial

from bpgen.emit.device import build_wire
from bpgen.emit.render import render
from bpgen.simulate import WARNINGS

FIRMWARE = Path(__file__).parents[2] / "firmware"

CLOCK_HZ = 16_000_000
CORES = ("atmega328p", "atmega2560")

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


def some_bytes(count: int) -> bytes:
    return np.random.default_rng(count).bytes(count)

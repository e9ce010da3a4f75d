"""Interrupts of the simulated AVR, to the cycle."""

from __future__ import annotations

import numpy as np
import pytest

from tests.sim.avr_bench import Bench

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

"""The AVR's port on the simulator: losses, store, the length of its interrupt."""

from __future__ import annotations

import subprocess

import pytest

from tests.sim.avr_bench import CORES, Bench


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


def test_the_port_leaves_the_timers_and_their_interrupts_to_the_user(bench: Bench) -> None:
    image = bench.build_with_port(
        """
        ISR(TIMER0_OVF_vect) { }
        ISR(TIMER1_OVF_vect) { }
        ISR(TIMER2_OVF_vect) { }

        int main(void)
        {
            bp_port_begin();
            GPIOR2 = TCCR0B | TCCR1B | TCCR2B | TIMSK0 | TIMSK1 | TIMSK2;
            for (;;) {
            }
        }
        """
    )
    assert bench.run(image).code == 0


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

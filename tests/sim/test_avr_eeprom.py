"""The EEPROM of the simulated AVR, and a power cut while it is written."""

from __future__ import annotations

from tests.sim.avr_bench import CLOCK_HZ, Bench


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

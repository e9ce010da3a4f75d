/* by_function.c -- cycles of each instruction of an AVR image while one function runs.
 *
 *     by_function MCU IMAGE ADDRESS CALLS
 *
 * Runs until the function at byte address ADDRESS has returned CALLS times, and prints lines of
 * address and cycles, in hexadecimal and decimal. Cycles are simavr's, which are the data sheet's.
 *
 * Links libsimavr, which is GPL-3, and so is this program. No firmware contains a line of it.
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <simavr/sim_avr.h>
#include <simavr/sim_core.h>
#include <simavr/sim_elf.h>

static uint64_t cycles[1 << 17];

static uint16_t stack_pointer(const avr_t *avr)
{
    return (uint16_t)(avr->data[R_SPL] | avr->data[R_SPH] << 8);
}

/* simavr says on stdout what it loads. */
static void say_nothing(avr_t *avr, const int level, const char *format, va_list arguments)
{
    (void)avr;
    (void)level;
    (void)format;
    (void)arguments;
}

int main(int argc, char **argv)
{
    elf_firmware_t firmware = {0};
    avr_t *avr;
    uint32_t function;
    long calls;
    bool inside = false;
    uint16_t sp = 0;

    avr_global_logger_set(say_nothing);
    if (argc != 5 || elf_read_firmware(argv[2], &firmware) != 0) {
        return 2;
    }
    avr = avr_make_mcu_by_name(argv[1]);
    if (avr == NULL) {
        return 2;
    }
    avr_init(avr);
    avr_load_firmware(avr, &firmware);
    function = (uint32_t)strtoul(argv[3], NULL, 0);
    calls = strtol(argv[4], NULL, 0);
    while (calls > 0 && avr->state == cpu_Running) {
        uint32_t at = avr->pc;
        uint64_t before = avr->cycle;

        if (!inside && at == function) {
            inside = true;
            sp = stack_pointer(avr);
        }
        avr->pc = avr_run_one(avr);
        if (inside) {
            cycles[at / 2] += avr->cycle - before;
            /* Only its own return lifts the stack pointer above where it was at its entry: where
             * SP is written in halves, it is lower.
             */
            if (stack_pointer(avr) == (uint16_t)(sp + avr->address_size)) {
                inside = false;
                calls--;
            }
        }
    }
    for (uint32_t i = 0; i < 1 << 17; i++) {
        if (cycles[i] > 0) {
            printf("%x %llu\n", 2 * i, (unsigned long long)cycles[i]);
        }
    }
    return calls > 0;
}

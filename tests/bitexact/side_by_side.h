/* side_by_side.h -- what the programs share that run kernels beside the portable ones.
 *
 * side_by_side.py gives the portable ones names behind portable_ and reads a line a kernel or layer:
 * its name, then how many results differ. AVR says it on its serial port, a small core through the
 * debugger (semihosting), this machine on its output.
 */
#ifndef SIDE_BY_SIDE_H
#define SIDE_BY_SIDE_H

#include <string.h>

#include "bpgen_kernels.h"

#define PORTABLE(name) __typeof__(name) portable_##name

/* ---- Random numbers ------------------------------------------------------------------------- */

static uint32_t state = 1;

static inline uint16_t random16(void)
{
    state = state * 1664525u + 1013904223u;
    return (uint16_t)(state >> 16);
}

static inline uint16_t below(uint32_t n) { return (uint16_t)(random16() * n >> 16); }

/* ---- The line to the test ------------------------------------------------------------------- */

#if defined(__AVR__)
#include <avr/interrupt.h>
#include <avr/io.h>
#include <avr/sleep.h>

static inline void say(const char *text)
{
    UCSR0B = 1 << TXEN0;
    for (; *text != '\0'; text++) {
        UDR0 = (uint8_t)*text;
        while (!(UCSR0A & (1 << UDRE0))) {
        }
    }
}

/* Asleep for ever: the simulator ends. */
static inline void finish(void)
{
    cli();
    sleep_enable();
    sleep_cpu();
}
#elif defined(__arm__) || defined(__riscv)
#include "semihosting.h"

static inline void say(const char *text) { (void)ask(0x04, text); } /* SYS_WRITE0 */
#else
#include <stdio.h>

static inline void say(const char *text) { fputs(text, stdout); }
static inline void finish(void) {}
#endif

/* Write a number over the zeros that end at `last`. */
static inline void write_number(char *last, uint16_t number)
{
    for (; number != 0; number /= 10) {
        *last-- = (char)('0' + number % 10);
    }
}

static inline void report(const char *name, uint16_t differing)
{
    char count[] = " 00000;\n";

    write_number(count + 5, differing);
    say(name);
    say(count);
}

static inline void report_layer(uint16_t number, uint16_t differing)
{
    char name[] = "000";

    write_number(name + 2, number);
    report(name, differing);
}

#endif

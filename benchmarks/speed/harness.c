/* harness.c -- runs a network on the samples of bench.h and says what came out and how deep its
 * stack was. Its calls are counted by the simulator, from outside.
 *
 * bench.h, written for each run, says BENCH_STEPS, BENCH_SAMPLES, which are taken in turn, and
 * whether the network is reset before every second step (BENCH_PAIRS); subject.h is one of
 * subject_*.h. No serial link, no interrupts, no library function and no division: what the linker
 * adds from a library is the network's. Prints "checksum stack state" in hexadecimal, then ends the
 * run.
 * SPDX-License-Identifier: 0BSD
 */
#include <stddef.h>
#include <stdint.h>

#include "bench.h"
#include "subject.h" /* BENCH_CALL and the subject_ functions */

#define PAINT 0xC5u
#define PAINTED 4096u /* bytes at most; a deeper stack would show as this number */

int main(void);

#if defined(__AVR__)
#include <avr/io.h>

extern uint8_t __heap_start[];
#define BENCH_HEAP __heap_start

static inline volatile uint8_t *stack_pointer(void) { return (volatile uint8_t *)SP + 1; }

static void put(char c)
{
    UCSR0B = 1 << TXEN0;
    while (!(UCSR0A & (1 << UDRE0))) {
    }
    UCSR0A = 1 << TXC0;
    UDR0 = (uint8_t)c;
}

static void finish(void)
{
    while (!(UCSR0A & (1 << TXC0))) {
    }
    GPIOR2 = 0; /* ends the simulator */
    for (;;) {
    }
}
#else
#include "semihosting.h"

extern uint8_t bench_heap[]; /* from the linker script */
#define BENCH_HEAP bench_heap

static inline volatile uint8_t *stack_pointer(void)
{
    volatile uint8_t *p;

#if defined(__riscv)
    __asm__ volatile("mv %0, sp" : "=r"(p));
#else
    __asm__ volatile("mov %0, sp" : "=r"(p));
#endif
    return p;
}

static void put(char c) { (void)ask(0x03, &c); } /* SYS_WRITEC */
#endif

static void put_number(uint32_t value, char after)
{
    uint8_t i;

    for (i = 0; i < 8; i++) {
        uint8_t digit = (uint8_t)(value >> 24) >> 4;

        put((char)(digit < 10 ? '0' + digit : 'a' - 10 + digit));
        value <<= 4;
    }
    put(after);
}

int main(void)
{
    volatile uint8_t *top, *bottom, *p;
    uint32_t checksum = 0;
    uint16_t step, sample = 0;

    subject_reset();
    /* What lies under the stack pointer is nobody's, until the next call. */
    top = stack_pointer();
    bottom = BENCH_HEAP;
    if ((uintptr_t)top - (uintptr_t)bottom > PAINTED) {
        bottom = top - PAINTED;
    }
    for (p = bottom; p < top; p++) {
        *p = PAINT;
    }
    for (step = 0; step < BENCH_STEPS; step++) {
#if BENCH_PAIRS
        if ((step & 1) == 0) {
            subject_reset();
        }
#endif
        subject_load(sample);
        BENCH_CALL;
        checksum = subject_checksum(checksum);
        sample = (uint16_t)(sample + 1 < BENCH_SAMPLES ? sample + 1 : 0);
    }
    for (p = bottom; p < top && *p == PAINT; p++) {
    }
    put_number(checksum, ' ');
    put_number((uint32_t)(top - p), ' ');
    put_number(BENCH_STATE, '\n');
    finish();
    return 0;
}

/* bpgen_avr_sigmoid.h -- the sigmoid in place for AVR cores with a multiplier, in assembly.
 *
 * bpgen_kernels_avr.h includes this, for layers whose kernels do not end with a sigmoid themselves.
 *
 * Of 128 or 256 intervals, and `scale` = 2^(frac - 8): u, doubled for the latter, has the index in
 * its upper byte and fr in the lower. What is left of 2^-8 of the interpolated entry never reaches
 * the result, since frac <= 15. 60 cycles a unit for 128 intervals and a positive z.
 * SPDX-License-Identifier: 0BSD
 */
#ifndef BPGEN_AVR_SIGMOID_H
#define BPGEN_AVR_SIGMOID_H

#include "bpgen_unit.h"

#if !BPGEN_COUNTERS

#define BP_FAST_SIGMOID

void bp_sigmoid(int16_t *a, const uint16_t *table, uint8_t bits, uint8_t frac, size_t n)
{
    uint8_t scale = bp_avr_power((uint8_t)(frac - 8));
    uint16_t z, low, rise;
    const uint16_t *at;

    if ((bits != 7 && bits != 8) || frac < 8) {
        for (; n != 0; n--, a++) {
            *a = sigmoid(*a, table, bits, frac);
        }
        return;
    }
    if (n == 0) {
        return;
    }
    __asm__ __volatile__("1:\n\t"
                         "ld %A[z], X+\n\t"
                         "ld %B[z], X\n\t"
                         "movw r30, %[table]\n\t"
                         "bst %B[z], 7\n\t"
                         "brts 5f\n"
                         "2:\n\t"
                         "sbrs %[bits], 0\n\t"
                         "rjmp 6f\n"
                         "3:\n\t"
                         "add r30, %B[z]\n\t"
                         "adc r31, %[zero]\n\t"
                         "add r30, %B[z]\n\t"
                         "adc r31, %[zero]\n\t"
                         "lpm %A[low], Z+\n\t"
                         "lpm %B[low], Z+\n\t"
                         "lpm %A[rise], Z+\n\t"
                         "lpm %B[rise], Z\n\t"
                         "sub %A[rise], %A[low]\n\t"
                         "sbc %B[rise], %B[low]\n\t"
                         "mul %B[rise], %A[z]\n\t"
                         "add %A[low], r0\n\t"
                         "adc %B[low], r1\n\t"
                         "mul %A[rise], %A[z]\n\t"
                         "add %A[low], r1\n\t"
                         "adc %B[low], %[zero]\n\t"
                         /* Times scale; the bit behind the last of the result rounds. */
                         "mul %A[low], %[scale]\n\t"
                         "lsl r0\n\t"
                         "adc r1, %[zero]\n\t"
                         "mov %A[low], r1\n\t"
                         "mul %B[low], %[scale]\n\t"
                         "movw %[rise], r0\n\t"
                         "add %A[rise], %A[low]\n\t"
                         "adc %B[rise], %[zero]\n\t"
                         "brts 7f\n\t"
                         /* No more than 2^frac - 1. */
                         "cp %B[rise], %[scale]\n\t"
                         "brlo 4f\n\t"
                         "dec %A[rise]\n\t"
                         "dec %B[rise]\n"
                         "4:\n\t"
                         "st X, %B[rise]\n\t"
                         "st -X, %A[rise]\n\t"
                         "adiw r26, 2\n\t"
                         "sbiw %[n], 1\n\t"
                         "brne 1b\n\t"
                         "rjmp 8f\n"
                         /* |z|, at most 32767. */
                         "5:\n\t"
                         "com %B[z]\n\t"
                         "neg %A[z]\n\t"
                         "sbci %B[z], 0xFF\n\t"
                         "brpl 2b\n\t"
                         "ldi %B[z], 0x7F\n\t"
                         "ldi %A[z], 0xFF\n\t"
                         "rjmp 2b\n"
                         "6:\n\t"
                         "lsl %A[z]\n\t"
                         "rol %B[z]\n\t"
                         "rjmp 3b\n"
                         /* 2^frac - y. */
                         "7:\n\t"
                         "neg %A[rise]\n\t"
                         "mov %B[low], %[scale]\n\t"
                         "sbc %B[low], %B[rise]\n\t"
                         "mov %B[rise], %B[low]\n\t"
                         "rjmp 4b\n"
                         "8:\n\t"
                         "clr __zero_reg__"
                         : [a] "+x"(a), [n] "+w"(n), [z] "=&d"(z), [low] "=&r"(low),
                           [rise] "=&r"(rise), [at] "=&z"(at)
                         : [table] "r"(table), [scale] "r"(scale), [bits] "r"(bits),
                           [zero] "r"((uint8_t)0)
                         : "r0", "memory");
}

#endif

#endif

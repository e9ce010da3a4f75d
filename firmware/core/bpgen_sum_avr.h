/* bpgen_sum_avr.h -- what a layer's sum is made of on AVR cores, in assembly.
 *
 * bpgen_avr_forward.h, bpgen_avr_parts.h and bpgen_dense_avr.h put these into their loops. A
 * product of 16-bit numbers is four of bytes, in r1:r0 each. MULSU leaves the sign of its product
 * in the carry, for SBC to extend, and takes r16..r23 only. Cycles are those of an ATmega328P.
 * SPDX-License-Identifier: 0BSD
 */
#ifndef BPGEN_SUM_AVR_H
#define BPGEN_SUM_AVR_H

/* Four sums of 32 bits side by side, A lowest. A group of fewer outputs has no P. */
#define BP_AVR_P "r2", "r3", "r4", "r5"
#define BP_AVR_Q "r6", "r7", "r8", "r9"
#define BP_AVR_R "r10", "r11", "r12", "r13"
#define BP_AVR_S "r14", "r15", "r24", "r25"

/* sum = b * 2^f + 2^(shift - 1) + 2^(15 + shift), f the inputs' fraction: the bias, the half that
 * rounds, and an offset that makes z + 2^15 of what is kept. `scale` is 2^(f - 8), and both the
 * half's second byte and the offset's fourth are h = 2^(shift - 9), so that the lowest byte is 0.
 * 13 cycles: r23:r22 the bias, r20 scale, r16 0, r17 h.
 */
#define BP_AVR_START(load, ...) BP_AVR_START_(load, __VA_ARGS__)
#define BP_AVR_START_(load, A, B, C, D) \
    load " r22, Z+\n\t" load " r23, Z+\n\t" \
    "mulsu r23, r20\n\t" \
    "movw " C ", r0\n\t" \
    "mul r22, r20\n\t" \
    "movw " A ", r16\n\t" \
    "add " B ", r0\n\t" \
    "adc " C ", r1\n\t" \
    "adc " D ", r17\n\t"

/* sum += w * a, 25 cycles, of which loading w takes 4, and one less for an a that is not negative:
 * `high_a` is the product of its upper byte and w's lower one. w is in r23 and r20, a in `high` and
 * `low`, and r21 is 0. The product of the high bytes takes the place of w's, beside r22.
 */
#define BP_AVR_SIGNED_A(high, D) "mulsu " high ", r20\n\tsbc " D ", r21\n\t"
#define BP_AVR_UNSIGNED_A(high, D) "mul " high ", r20\n\t"
#define BP_AVR_W_TIMES_A(load, high_a, low, high, A, B, C, D) \
    load " r20, Z+\n\t" load " r23, Z+\n\t" \
    "mulsu r23, " low "\n\t" \
    "sbc " D ", r21\n\t" \
    "add " B ", r0\n\t" \
    "adc " C ", r1\n\t" \
    "adc " D ", r21\n\t" high_a(high, D) \
    "add " B ", r0\n\t" \
    "adc " C ", r1\n\t" \
    "adc " D ", r21\n\t" \
    "muls r23, " high "\n\t" \
    "movw r22, r0\n\t" \
    "mul " low ", r20\n\t" \
    "add " A ", r0\n\t" \
    "adc " B ", r1\n\t" \
    "adc " C ", r22\n\t" \
    "adc " D ", r23\n\t"

/* A pair of inputs, in r16 to r19, and their two products. */
#define BP_AVR_INPUTS \
    "ld r16, X+\n\t" \
    "ld r17, X+\n\t" \
    "ld r18, X+\n\t" \
    "ld r19, X+\n\t"
#define BP_AVR_PRODUCTS(load, high_a, ...) BP_AVR_PRODUCTS_(load, high_a, __VA_ARGS__)
#define BP_AVR_PRODUCTS_(load, high_a, A, B, C, D) \
    BP_AVR_W_TIMES_A(load, high_a, "r16", "r17", A, B, C, D) \
    BP_AVR_W_TIMES_A(load, high_a, "r18", "r19", A, B, C, D)

#endif

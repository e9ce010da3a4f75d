/* bpgen_master_avr.h -- what a step of a master is made of on AVR cores, in assembly.
 *
 * bpgen_avr_update.h, bpgen_few_avr.h, bpgen_large_avr.h and bpgen_fused_avr.h put these into their
 * loops. Cycles are those of an ATmega328P.
 *
 * A master loses a step in one subtraction of bytes: where it overflows, the borrow makes the limit
 * in fewer instructions than the carry of an addition would. So the steps here are -g, called p,
 * and round the other way: just a half is dropped.
 * SPDX-License-Identifier: 0BSD
 */
#ifndef BPGEN_MASTER_AVR_H
#define BPGEN_MASTER_AVR_H

/* r25:r24:low1:low0 = p * u with p in r17:r16: 18 cycles, or 17 for a u that is not negative.
 * `last` is the product of u's upper byte and p's lower one.
 */
#define BP_AVR_PRODUCT(low0, low1, u_low, u_high, last)                                            \
    "muls r17, " u_high "\n\t"                                                                     \
    "movw r24, r0\n\t"                                                                             \
    "mul r16, " u_low "\n\t"                                                                       \
    "movw " low0 ", r0\n\t"                                                                        \
    "mulsu r17, " u_low "\n\t"                                                                     \
    "sbc r25, r2\n\t"                                                                              \
    "add " low1 ", r0\n\t"                                                                         \
    "adc r24, r1\n\t"                                                                              \
    "adc r25, r2\n\t" last "add " low1 ", r0\n\t"                                                  \
    "adc r24, r1\n\t"                                                                              \
    "adc r25, r2\n\t"
#define BP_AVR_SIGNED_TO(low0, low1, u_low, u_high)                                                \
    BP_AVR_PRODUCT(low0, low1, u_low, u_high, "mulsu " u_high ", r16\n\tsbc r25, r2\n\t")
#define BP_AVR_UNSIGNED_TO(low0, low1, u_low, u_high)                                              \
    BP_AVR_PRODUCT(low0, low1, u_low, u_high, "mul r16, " u_high "\n\t")
#define BP_AVR_SIGNED(u_low, u_high) BP_AVR_SIGNED_TO("r22", "r23", u_low, u_high)
#define BP_AVR_UNSIGNED(u_low, u_high) BP_AVR_UNSIGNED_TO("r22", "r23", u_low, u_high)

/* The master at Y and Z is in high:mid:low, and the overflow flag tells whether it left 24 bits:
 * then a borrow says that it was too high. 8 cycles, and 3 more at a limit.
 */
#define BP_AVR_STORE24(low, mid, high)                                                             \
    "brvc .+8\n\t"                                                                                 \
    "sbc " low ", " low "\n\t"                                                                     \
    "sbc " mid ", " mid "\n\t"                                                                     \
    "ldi " high ", 0x80\n\t"                                                                       \
    "sbc " high ", r2\n\t"                                                                         \
    "st Y+, " low "\n\t"                                                                           \
    "st Z+, " mid "\n\t"                                                                           \
    "st Z+, " high "\n\t"

/* The same of 16 bits at Z: 6 cycles, and 2 more at a limit. */
#define BP_AVR_STORE16(low, high)                                                                  \
    "brvc .+6\n\t"                                                                                 \
    "sbc " low ", " low "\n\t"                                                                     \
    "ldi " high ", 0x80\n\t"                                                                       \
    "sbc " high ", r2\n\t"                                                                         \
    "st Z+, " low "\n\t"                                                                           \
    "st Z+, " high "\n\t"

/* M -= round(product, 8), with 0x80 in `x80`: 10 cycles, and 18 with what may be too much. */
#define BP_AVR_LESS24_8(x80)                                                                       \
    "cp " x80 ", r22\n\t"                                                                          \
    "ld r22, Y\n\t"                                                                                \
    "sbc r22, r23\n\t"                                                                             \
    "ld r23, Z\n\t"                                                                                \
    "sbc r23, r24\n\t"                                                                             \
    "ldd r24, Z+1\n\t"                                                                             \
    "sbc r24, r25\n\t"
#define BP_AVR_LOSE24_8(x80) BP_AVR_LESS24_8(x80) BP_AVR_STORE24("r22", "r23", "r24")

/* M -= round(product, 16), with 0x80 in r8: 22 cycles. */
#define BP_AVR_LOSE24_16                                                                           \
    "mov r0, r25\n\t"                                                                              \
    "lsl r0\n\t"                                                                                   \
    "sbc r0, r0\n\t"                                                                               \
    "cp r2, r22\n\t"                                                                               \
    "cpc r8, r23\n\t"                                                                              \
    "ld r22, Y\n\t"                                                                                \
    "sbc r22, r24\n\t"                                                                             \
    "ld r23, Z\n\t"                                                                                \
    "sbc r23, r25\n\t"                                                                             \
    "ldd r24, Z+1\n\t"                                                                             \
    "sbc r24, r0\n\t" BP_AVR_STORE24("r22", "r23", "r24")

/* M -= (product + r) >> 16, with r, which is what the dither lacks to 65535, in Y: 8 cycles, and 14
 * with what may be too much.
 */
#define BP_AVR_LESS16_16                                                                           \
    "add r22, r28\n\t"                                                                             \
    "adc r23, r29\n\t"                                                                             \
    "ld r22, Z\n\t"                                                                                \
    "sbc r22, r24\n\t"                                                                             \
    "ldd r23, Z+1\n\t"                                                                             \
    "sbc r23, r25\n\t"
#define BP_AVR_LOSE16_16 BP_AVR_LESS16_16 BP_AVR_STORE16("r22", "r23")

/* The same with a shift of 24 and 255 below r: 18 cycles. */
#define BP_AVR_LOSE16_24                                                                           \
    "mov r0, r25\n\t"                                                                              \
    "lsl r0\n\t"                                                                                   \
    "sbc r0, r0\n\t"                                                                               \
    "cp r2, r22\n\t"                                                                               \
    "adc r23, r28\n\t"                                                                             \
    "adc r24, r29\n\t"                                                                             \
    "ld r22, Z\n\t"                                                                                \
    "sbc r22, r25\n\t"                                                                             \
    "ldd r23, Z+1\n\t"                                                                             \
    "sbc r23, r0\n\t" BP_AVR_STORE16("r22", "r23")

/* u = round(a * 2^(to - from)) of the next a, from X, with r22 = 2^(8 + to - from) where bits are
 * dropped: 12 cycles.
 */
#define BP_AVR_RESCALE_DOWN(u_low, u_high)                                                         \
    "ld r16, X+\n\t"                                                                               \
    "ld r17, X+\n\t"                                                                               \
    "mulsu r17, r22\n\t"                                                                           \
    "movw " u_low ", r0\n\t"                                                                       \
    "mul r16, r22\n\t"                                                                             \
    "lsl r0\n\t"                                                                                   \
    "adc " u_low ", r1\n\t"                                                                        \
    "adc " u_high ", r2\n\t"

/* The same with r22 = 2^(to - from) where up to 7 bits are added: 10 cycles; and with r22 =
 * 2^(to - from - 8) where more are, for |a| < 128: 8 cycles.
 */
#define BP_AVR_RESCALE_UP(u_low, u_high)                                                           \
    "ld r16, X+\n\t"                                                                               \
    "ld r17, X+\n\t"                                                                               \
    "mul r16, r22\n\t"                                                                             \
    "movw " u_low ", r0\n\t"                                                                       \
    "mul r17, r22\n\t"                                                                             \
    "add " u_high ", r0\n\t"

#define BP_AVR_RESCALE_FAR_UP(u_low, u_high)                                                       \
    "ld r16, X+\n\t"                                                                               \
    "ld r17, X+\n\t"                                                                               \
    "mul r16, r22\n\t"                                                                             \
    "clr " u_low "\n\t"                                                                            \
    "mov " u_high ", r0\n\t"

/* Or as it is: 4 cycles. And that or another for both inputs of a pair. */
#define BP_AVR_LOAD_U(u_low, u_high) "ld " u_low ", X+\n\tld " u_high ", X+\n\t"
#define BP_AVR_PAIR(load) load("r20", "r21") load("r18", "r19")

#define BP_AVR_LOAD_P "ld r18, X+\n\tld r19, X+\n\t"

/* p * 2^(fu & 7) to r25:r24:r0, for p in r19:r18 and that power of two in r20: 7 cycles. */
#define BP_AVR_SCALED_P                                                                            \
    "mulsu r19, r20\n\t"                                                                           \
    "movw r24, r0\n\t"                                                                             \
    "mul r18, r20\n\t"                                                                             \
    "add r24, r1\n\t"                                                                              \
    "adc r25, r2\n\t"

/* A bias loses that, where the shift drops the byte by which an fu of 8 or more moves it up: 17
 * cycles. And with r in Y, where it drops a byte more: 13 cycles.
 */
#define BP_AVR_LOSE_BIAS24                                                                         \
    "ld r22, Y\n\t"                                                                                \
    "sub r22, r0\n\t"                                                                              \
    "ld r23, Z\n\t"                                                                                \
    "sbc r23, r24\n\t"                                                                             \
    "ldd r24, Z+1\n\t"                                                                             \
    "sbc r24, r25\n\t"                                                                             \
    BP_AVR_STORE24("r22", "r23", "r24")
#define BP_AVR_LOSE_BIAS16                                                                         \
    "add r0, r29\n\t"                                                                              \
    "ld r22, Z\n\t"                                                                                \
    "sbc r22, r24\n\t"                                                                             \
    "ldd r23, Z+1\n\t"                                                                             \
    "sbc r23, r25\n\t"                                                                             \
    BP_AVR_STORE16("r22", "r23")

/* r in Y of the next parameter. */
#define BP_AVR_NEXT_DITHER                                                                         \
    "subi r28, lo8(40503)\n\t"                                                                     \
    "sbci r29, hi8(40503)\n\t"

/* A bias, and Y of the next. */
#define BP_AVR_BIAS24 BP_AVR_LOSE_BIAS24
#define BP_AVR_BIAS16 BP_AVR_LOSE_BIAS16 BP_AVR_NEXT_DITHER

#endif

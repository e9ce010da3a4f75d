/* bpgen_avr_update.h -- steps of masters for AVR cores with a multiplier, in assembly.
 *
 * bpgen_kernels_avr.h includes this; the C of bpgen_kernels_update.h says what each of these
 * computes, and bpgen_avr_backward.h how bytes are multiplied. No time depends on the data, but for
 * 4 cycles where a master of 24 bits saturates and 3 for one of 16. Cycles are those of an
 * ATmega328P.
 *
 * A master takes a step in one addition of bytes. Where it overflows, the carry is the sign of both
 * summands, and SBC makes the limit of it. All updates are two passes in assembly, one for each
 * width of the masters, called by bpgen_pass_avr.h.
 * SPDX-License-Identifier: 0BSD
 */
#ifndef BPGEN_AVR_UPDATE_H
#define BPGEN_AVR_UPDATE_H

#include "bpgen_avr_backward.h"

#if !BPGEN_COUNTERS

/* ---- Learning rate -------------------------------------------------------------------------- */

/* p = x * y for y of 0..65535: 17 cycles. */
#define BP_AVR_MIXED(p, x, y)                                                                      \
    "mulsu %B[" x "], %B[" y "]\n\t"                                                               \
    "movw %C[" p "], r0\n\t"                                                                       \
    "mul %A[" x "], %A[" y "]\n\t"                                                                 \
    "movw %A[" p "], r0\n\t"                                                                       \
    "mulsu %B[" x "], %A[" y "]\n\t"                                                               \
    "sbc %D[" p "], %[zero]\n\t"                                                                   \
    "add %B[" p "], r0\n\t"                                                                        \
    "adc %C[" p "], r1\n\t"                                                                        \
    "adc %D[" p "], %[zero]\n\t"                                                                   \
    "mul %A[" x "], %B[" y "]\n\t"                                                                 \
    "add %B[" p "], r0\n\t"                                                                        \
    "adc %C[" p "], r1\n\t"                                                                        \
    "adc %D[" p "], %[zero]\n\t"

/* With f = 2^16 - 2 * mantissa, which is below 2^15 for every mantissa: round(-2 * mantissa * dz,
 * 16) = round(dz * f, 16) - dz. 34 cycles an output.
 */
#define BP_FAST_DESCENT
void bp_descent(int16_t *g, const int16_t *dz, uint16_t mantissa, size_t n)
{
    uint16_t f = (uint16_t)(0u - 2u * mantissa);
    uint16_t d;
    int32_t p;

    __asm__ __volatile__("1:\n\t"
                         "ld %A[d], X+\n\t"
                         "ld %B[d], X+\n\t" BP_AVR_MIXED("p", "d", "f")
                         "lsl %B[p]\n\t"
                         "adc %C[p], %[zero]\n\t"
                         "adc %D[p], %[zero]\n\t"
                         "sub %C[p], %A[d]\n\t"
                         "sbc %D[p], %B[d]\n\t"
                         "st Z+, %C[p]\n\t"
                         "st Z+, %D[p]\n\t"
                         "sbiw %[n], 1\n\t"
                         "brne 1b\n\t"
                         "clr __zero_reg__"
                         : [d] "=&a"(d), [p] "=&r"(p), [dz] "+&x"(dz), [g] "+&z"(g), [n] "+&w"(n)
                         : [f] "a"(f), [zero] "r"((uint8_t)0)
                         : "r0", "memory");
}

/* ---- A weight ------------------------------------------------------------------------------- */

/* r25:r24:r23:r22 = g * u with g in r17:r16: 18 cycles. */
#define BP_AVR_SIGNED(u_low, u_high)                                                               \
    "muls r17, " u_high "\n\t"                                                                     \
    "movw r24, r0\n\t"                                                                             \
    "mul r16, " u_low "\n\t"                                                                       \
    "movw r22, r0\n\t"                                                                             \
    "mulsu r17, " u_low "\n\t"                                                                     \
    "sbc r25, r2\n\t"                                                                              \
    "add r23, r0\n\t"                                                                              \
    "adc r24, r1\n\t"                                                                              \
    "adc r25, r2\n\t"                                                                              \
    "mulsu " u_high ", r16\n\t"                                                                    \
    "sbc r25, r2\n\t"                                                                              \
    "add r23, r0\n\t"                                                                              \
    "adc r24, r1\n\t"                                                                              \
    "adc r25, r2\n\t"

/* The master at Y and Z is in high:mid:low, and the overflow flag tells whether it left 24 bits:
 * then the carry is the sign of both summands. 10 cycles, and 4 more at a limit.
 */
#define BP_AVR_STORE24(low, mid, high)                                                             \
    "brvc .+10\n\t"                                                                                \
    "sbc " low ", " low "\n\t"                                                                     \
    "com " low "\n\t"                                                                              \
    "mov " mid ", " low "\n\t"                                                                     \
    "mov " high ", " low "\n\t"                                                                    \
    "subi " high ", 0x80\n\t"                                                                      \
    "st Y+, " low "\n\t"                                                                           \
    "st Z+, " mid "\n\t"                                                                           \
    "st Z+, " high "\n\t"

/* The same of 16 bits at Z: 6 cycles, and 3 more at a limit. */
#define BP_AVR_STORE16(low, high)                                                                  \
    "brvc .+8\n\t"                                                                                 \
    "sbc " low ", " low "\n\t"                                                                     \
    "com " low "\n\t"                                                                              \
    "mov " high ", " low "\n\t"                                                                    \
    "subi " high ", 0x80\n\t"                                                                      \
    "st Z+, " low "\n\t"                                                                           \
    "st Z+, " high "\n\t"

/* M += round(product, 8): 18 cycles. The highest bit that is dropped rounds. */
#define BP_AVR_ADD24_8                                                                             \
    "lsl r22\n\t"                                                                                  \
    "ld r22, Y\n\t"                                                                                \
    "adc r22, r23\n\t"                                                                             \
    "ld r23, Z\n\t"                                                                                \
    "adc r23, r24\n\t"                                                                             \
    "ldd r24, Z+1\n\t"                                                                             \
    "adc r24, r25\n\t" BP_AVR_STORE24("r22", "r23", "r24")

/* M += round(product, 16): 21 cycles. */
#define BP_AVR_ADD24_16                                                                            \
    "mov r22, r25\n\t"                                                                             \
    "lsl r22\n\t"                                                                                  \
    "sbc r22, r22\n\t"                                                                             \
    "lsl r23\n\t"                                                                                  \
    "ld r23, Y\n\t"                                                                                \
    "adc r23, r24\n\t"                                                                             \
    "ld r24, Z\n\t"                                                                                \
    "adc r24, r25\n\t"                                                                             \
    "ldd r25, Z+1\n\t"                                                                             \
    "adc r25, r22\n\t" BP_AVR_STORE24("r23", "r24", "r25")

/* M += (product + r) >> 16, with the dither r in Y: 14 cycles. */
#define BP_AVR_ADD16_16                                                                            \
    "add r22, r28\n\t"                                                                             \
    "adc r23, r29\n\t"                                                                             \
    "ld r22, Z\n\t"                                                                                \
    "adc r22, r24\n\t"                                                                             \
    "ldd r23, Z+1\n\t"                                                                             \
    "adc r23, r25\n\t" BP_AVR_STORE16("r22", "r23")

/* The same with a shift of 24: 17 cycles. The dither has as many bits, the lowest eight 0. */
#define BP_AVR_ADD16_24                                                                            \
    "mov r22, r25\n\t"                                                                             \
    "lsl r22\n\t"                                                                                  \
    "sbc r22, r22\n\t"                                                                             \
    "add r23, r28\n\t"                                                                             \
    "adc r24, r29\n\t"                                                                             \
    "ld r23, Z\n\t"                                                                                \
    "adc r23, r25\n\t"                                                                             \
    "ldd r24, Z+1\n\t"                                                                             \
    "adc r24, r22\n\t" BP_AVR_STORE16("r23", "r24")

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

/* ---- Shifts that few learning rates have ---------------------------------------------------- */

/* r16 = the bytes that the shift in r5 drops. */
#define BP_AVR_BYTES_DROPPED                                                                       \
    "mov r16, r5\n\t"                                                                              \
    "lsr r16\n\t"                                                                                  \
    "lsr r16\n\t"                                                                                  \
    "lsr r16\n\t"                                                                                  \
    "andi r16, 3\n\t"

/* For the shifts that few learning rates have. Subroutine 75 makes the product with the first u,
 * which then trades places with the second, and subroutine 77 adds: M += round(product, shift),
 * byte by byte. The highest bit of the last byte dropped rounds; the fourth byte of the sum must
 * repeat the sign of the third.
 */
#define BP_AVR_ANY24                                                                               \
    "75:\n"                                                                                        \
    "movw r24, r20\n\t"                                                                            \
    "movw r20, r18\n\t"                                                                            \
    "movw r18, r24\n\t"                                                                            \
    BP_AVR_SIGNED("r18", "r19")                                                                    \
    "77:\n"                                                                                        \
    "push r16\n\t"                                                                                 \
    "push r17\n\t"                                                                                 \
    BP_AVR_BYTES_DROPPED                                                                           \
    "clr r17\n\t"                                                                                  \
    "78:\n"                                                                                        \
    "tst r16\n\t"                                                                                  \
    "breq 79f\n\t"                                                                                 \
    "mov r17, r22\n\t"                                                                             \
    "mov r22, r23\n\t"                                                                             \
    "mov r23, r24\n\t"                                                                             \
    "mov r24, r25\n\t"                                                                             \
    "lsl r25\n\t"                                                                                  \
    "sbc r25, r25\n\t"                                                                             \
    "dec r16\n\t"                                                                                  \
    "rjmp 78b\n\t"                                                                                 \
    "79:\n"                                                                                        \
    "lsl r17\n\t"                                                                                  \
    "ld r17, Y\n\t"                                                                                \
    "adc r22, r17\n\t"                                                                             \
    "ld r17, Z\n\t"                                                                                \
    "adc r23, r17\n\t"                                                                             \
    "ldd r17, Z+1\n\t"                                                                             \
    "adc r24, r17\n\t"                                                                             \
    "adc r25, r2\n\t"                                                                              \
    "sbrc r17, 7\n\t"                                                                              \
    "dec r25\n\t"                                                                                  \
    "mov r17, r24\n\t"                                                                             \
    "lsl r17\n\t"                                                                                  \
    "sbc r17, r17\n\t"                                                                             \
    "cp r17, r25\n\t"                                                                              \
    "breq 78f\n\t"                                                                                 \
    "lsl r25\n\t"                                                                                  \
    "sbc r22, r22\n\t"                                                                             \
    "com r22\n\t"                                                                                  \
    "mov r23, r22\n\t"                                                                             \
    "mov r24, r22\n\t"                                                                             \
    "subi r24, 0x80\n\t"                                                                           \
    "78:\n"                                                                                        \
    "st Y+, r22\n\t"                                                                               \
    "st Z+, r23\n\t"                                                                               \
    "st Z+, r24\n\t"                                                                               \
    "pop r17\n\t"                                                                                  \
    "pop r16\n\t"                                                                                  \
    "ret\n\t"

/* The same with the dither in Y: before the last two bytes go where two or three do, its upper byte
 * alone where one does, and not at all where none. Subroutine 76 drops a byte.
 */
#define BP_AVR_ANY16                                                                               \
    "75:\n"                                                                                        \
    "movw r24, r20\n\t"                                                                            \
    "movw r20, r18\n\t"                                                                            \
    "movw r18, r24\n\t"                                                                            \
    BP_AVR_SIGNED("r18", "r19")                                                                    \
    "77:\n"                                                                                        \
    "push r16\n\t"                                                                                 \
    BP_AVR_BYTES_DROPPED                                                                           \
    "breq 79f\n\t"                                                                                 \
    "sbrs r16, 1\n\t"                                                                              \
    "rjmp 78f\n\t"                                                                                 \
    "sbrc r16, 0\n\t"                                                                              \
    "rcall 76f\n\t"                                                                                \
    "add r22, r28\n\t"                                                                             \
    "adc r23, r29\n\t"                                                                             \
    "adc r24, r2\n\t"                                                                              \
    "adc r25, r2\n\t"                                                                              \
    "rcall 76f\n\t"                                                                                \
    "rcall 76f\n\t"                                                                                \
    "rjmp 79f\n\t"                                                                                 \
    "78:\n"                                                                                        \
    "add r22, r29\n\t"                                                                             \
    "adc r23, r2\n\t"                                                                              \
    "adc r24, r2\n\t"                                                                              \
    "adc r25, r2\n\t"                                                                              \
    "rcall 76f\n\t"                                                                                \
    "79:\n"                                                                                        \
    "ld r16, Z\n\t"                                                                                \
    "add r22, r16\n\t"                                                                             \
    "ldd r16, Z+1\n\t"                                                                             \
    "adc r23, r16\n\t"                                                                             \
    "adc r24, r2\n\t"                                                                              \
    "adc r25, r2\n\t"                                                                              \
    "sbrs r16, 7\n\t"                                                                              \
    "rjmp 78f\n\t"                                                                                 \
    "subi r24, 1\n\t"                                                                              \
    "sbci r25, 0\n\t"                                                                              \
    "78:\n"                                                                                        \
    "mov r16, r23\n\t"                                                                             \
    "lsl r16\n\t"                                                                                  \
    "sbc r16, r16\n\t"                                                                             \
    "cp r16, r24\n\t"                                                                              \
    "cpc r16, r25\n\t"                                                                             \
    "breq 78f\n\t"                                                                                 \
    "lsl r25\n\t"                                                                                  \
    "sbc r22, r22\n\t"                                                                             \
    "com r22\n\t"                                                                                  \
    "mov r23, r22\n\t"                                                                             \
    "subi r23, 0x80\n\t"                                                                           \
    "78:\n"                                                                                        \
    "st Z+, r22\n\t"                                                                               \
    "st Z+, r23\n\t"                                                                               \
    "pop r16\n\t"                                                                                  \
    "ret\n\t"                                                                                      \
    "76:\n"                                                                                        \
    "mov r22, r23\n\t"                                                                             \
    "mov r23, r24\n\t"                                                                             \
    "mov r24, r25\n\t"                                                                             \
    "lsl r25\n\t"                                                                                  \
    "sbc r25, r25\n\t"                                                                             \
    "ret\n\t"

/* ---- Biases --------------------------------------------------------------------------------- */

/* r20 = 2^(r21 & 7): 7 cycles. */
#define BP_AVR_POWER                                                                               \
    "ldi r20, 1\n\t"                                                                               \
    "sbrc r21, 1\n\t"                                                                              \
    "ldi r20, 4\n\t"                                                                               \
    "sbrc r21, 0\n\t"                                                                              \
    "lsl r20\n\t"                                                                                  \
    "sbrc r21, 2\n\t"                                                                              \
    "swap r20\n\t"

/* The biases: g * 2^fu is g * 2^(fu & 7), moved up a byte where fu is 8 or more, as most are. Those
 * take 31 cycles each for a shift of 8.
 *
 *     r5       shift and flags      r18, r19  g[j]                  X  g
 *     r10, r11 outputs left         r20       2^(fu & 7)            Y  b_low or dither
 *     T        fu is 8 or more      r22-r25   product               Z  b
 */
#define BP_AVR_SCALED_G                                                                            \
    "ld r18, X+\n\t"                                                                               \
    "ld r19, X+\n\t"                                                                               \
    "mulsu r19, r20\n\t"                                                                           \
    "movw r24, r0\n\t"                                                                             \
    "mul r18, r20\n\t"                                                                             \
    "add r24, r1\n\t"                                                                              \
    "adc r25, r2\n\t"

#define BP_AVR_DROP_BYTE                                                                           \
    "mov r22, r23\n\t"                                                                             \
    "mov r23, r24\n\t"                                                                             \
    "mov r24, r25\n\t"                                                                             \
    "lsl r25\n\t"                                                                                  \
    "sbc r25, r25\n\t"

#define BP_AVR_BIASES24                                                                            \
    "sbrc r5, 0\n\t"                                                                               \
    "brts 41f\n\t"                                                                                 \
    "42:\n"                                                                                        \
    BP_AVR_SCALED_G                                                                                \
    "mov r23, r0\n\t"                                                                              \
    "clr r22\n\t"                                                                                  \
    "brts 43f\n\t"                                                                                 \
    BP_AVR_DROP_BYTE                                                                               \
    "43:\n"                                                                                        \
    "sbrc r5, 0\n\t"                                                                               \
    "rjmp 45f\n\t"                                                                                 \
    "sbrs r5, 1\n\t"                                                                               \
    "rjmp 44f\n\t"                                                                                 \
    BP_AVR_DROP_BYTE                                                                               \
    "45:\n"                                                                                        \
    BP_AVR_ADD24_8                                                                                 \
    "46:\n"                                                                                        \
    "dec r10\n\t"                                                                                  \
    "brne 42b\n\t"                                                                                 \
    "dec r11\n\t"                                                                                  \
    "brne 42b\n\t"                                                                                 \
    "rjmp 47f\n\t"                                                                                 \
    "44:\n"                                                                                        \
    "rcall 77f\n\t"                                                                                \
    "rjmp 46b\n\t"                                                                                 \
    "41:\n"                                                                                        \
    BP_AVR_SCALED_G                                                                                \
    "ld r22, Y\n\t"                                                                                \
    "add r22, r0\n\t"                                                                              \
    "ld r23, Z\n\t"                                                                                \
    "adc r23, r24\n\t"                                                                             \
    "ldd r24, Z+1\n\t"                                                                             \
    "adc r24, r25\n\t"                                                                             \
    BP_AVR_STORE24("r22", "r23", "r24")                                                            \
    "dec r10\n\t"                                                                                  \
    "brne 41b\n\t"                                                                                 \
    "dec r11\n\t"                                                                                  \
    "brne 41b\n\t"                                                                                 \
    "47:\n"

/* The same with dither: 29 cycles for a shift of 16. */
#define BP_AVR_BIASES16                                                                            \
    "sbrc r5, 0\n\t"                                                                               \
    "brts 41f\n\t"                                                                                 \
    "42:\n"                                                                                        \
    BP_AVR_SCALED_G                                                                                \
    "mov r23, r0\n\t"                                                                              \
    "clr r22\n\t"                                                                                  \
    "brts 43f\n\t"                                                                                 \
    BP_AVR_DROP_BYTE                                                                               \
    "43:\n"                                                                                        \
    "sbrs r5, 4\n\t"                                                                               \
    "rjmp 44f\n\t"                                                                                 \
    "sbrc r5, 3\n\t"                                                                               \
    "rjmp 48f\n\t"                                                                                 \
    BP_AVR_ADD16_16                                                                                \
    "rjmp 45f\n\t"                                                                                 \
    "48:\n"                                                                                        \
    BP_AVR_ADD16_24                                                                                \
    "rjmp 45f\n\t"                                                                                 \
    "44:\n"                                                                                        \
    "rcall 77f\n\t"                                                                                \
    "45:\n"                                                                                        \
    "subi r28, lo8(-40503)\n\t"                                                                    \
    "sbci r29, hi8(-40503)\n\t"                                                                    \
    "dec r10\n\t"                                                                                  \
    "brne 42b\n\t"                                                                                 \
    "dec r11\n\t"                                                                                  \
    "brne 42b\n\t"                                                                                 \
    "rjmp 47f\n\t"                                                                                 \
    "41:\n"                                                                                        \
    BP_AVR_SCALED_G                                                                                \
    "add r0, r29\n\t"                                                                              \
    "ld r22, Z\n\t"                                                                                \
    "adc r22, r24\n\t"                                                                             \
    "ldd r23, Z+1\n\t"                                                                             \
    "adc r23, r25\n\t"                                                                             \
    BP_AVR_STORE16("r22", "r23")                                                                   \
    "subi r28, lo8(-40503)\n\t"                                                                    \
    "sbci r29, hi8(-40503)\n\t"                                                                    \
    "dec r10\n\t"                                                                                  \
    "brne 41b\n\t"                                                                                 \
    "dec r11\n\t"                                                                                  \
    "brne 41b\n\t"                                                                                 \
    "47:\n"

/* ---- Weights -------------------------------------------------------------------------------- */

/* The weights of a pair of inputs: 79 and 85 cycles for two, with shifts of 8 and 16.
 *
 *     r3       pairs left           r12, r13  outputs, or twos      X  a_in, g
 *     r4       scale of a           r14, r15  g                     Y  low, or dither
 *     r5       shift and flags      r16, r17  a; g[j]               Z  w
 *     r6, r7   a_in; or row         r18-r21   u of both
 *     r8, r9   or dither            r22-r25   products
 *     r10, r11 outputs left
 */
#define BP_AVR_LOOPS24                                                                             \
    "sbrs r5, 0\n\t"                                                                               \
    "rjmp 32f\n\t"                                                                                 \
    "31:\n"                                                                                        \
    "ld r16, X+\n\t"                                                                               \
    "ld r17, X+\n\t"                                                                               \
    BP_AVR_SIGNED("r20", "r21")                                                                    \
    BP_AVR_ADD24_8                                                                                 \
    BP_AVR_SIGNED("r18", "r19")                                                                    \
    BP_AVR_ADD24_8                                                                                 \
    "dec r10\n\t"                                                                                  \
    "brne 31b\n\t"                                                                                 \
    "dec r11\n\t"                                                                                  \
    "breq .+2\n\t"                                                                                 \
    "rjmp 31b\n\t"                                                                                 \
    "34:\n"

/* Those of other shifts. */
#define BP_AVR_RARE24                                                                              \
    "32:\n"                                                                                        \
    "sbrs r5, 1\n\t"                                                                               \
    "rjmp 33f\n\t"                                                                                 \
    "35:\n"                                                                                        \
    "ld r16, X+\n\t"                                                                               \
    "ld r17, X+\n\t"                                                                               \
    BP_AVR_SIGNED("r20", "r21")                                                                    \
    BP_AVR_ADD24_16                                                                                \
    BP_AVR_SIGNED("r18", "r19")                                                                    \
    BP_AVR_ADD24_16                                                                                \
    "dec r10\n\t"                                                                                  \
    "breq .+2\n\t"                                                                                 \
    "rjmp 35b\n\t"                                                                                 \
    "dec r11\n\t"                                                                                  \
    "breq .+2\n\t"                                                                                 \
    "rjmp 35b\n\t"                                                                                 \
    "rjmp 34b\n\t"                                                                                 \
    "33:\n"                                                                                        \
    "ld r16, X+\n\t"                                                                               \
    "ld r17, X+\n\t"                                                                               \
    "rcall 75f\n\t"                                                                                \
    "rcall 75f\n\t"                                                                                \
    "dec r10\n\t"                                                                                  \
    "brne 33b\n\t"                                                                                 \
    "dec r11\n\t"                                                                                  \
    "brne 33b\n\t"                                                                                 \
    "rjmp 34b\n\t"                                                                                 \
    BP_AVR_ANY24

/* The same with dither, for two outputs at a time: 74 cycles for two weights with a shift of 16.
 * Where the number of outputs is odd, which bit 2 of r5 tells, the first is alone.
 */
#define BP_AVR_OUTPUT16                                                                            \
    "ld r16, X+\n\t"                                                                               \
    "ld r17, X+\n\t"                                                                               \
    BP_AVR_SIGNED("r20", "r21")                                                                    \
    BP_AVR_ADD16_16                                                                                \
    "subi r28, lo8(-40503)\n\t"                                                                    \
    "sbci r29, hi8(-40503)\n\t"                                                                    \
    BP_AVR_SIGNED("r18", "r19")                                                                    \
    BP_AVR_ADD16_16                                                                                \
    "add r28, r6\n\t"                                                                              \
    "adc r29, r7\n\t"

#define BP_AVR_LOOPS16                                                                             \
    "movw r28, r8\n\t"                                                                             \
    "movw r16, r8\n\t"                                                                             \
    "subi r16, lo8(-2*40503)\n\t"                                                                  \
    "sbci r17, hi8(-2*40503)\n\t"                                                                  \
    "movw r8, r16\n\t"                                                                             \
    "sbrs r5, 0\n\t"                                                                               \
    "rjmp 33f\n\t"                                                                                 \
    "sbrc r5, 2\n\t"                                                                               \
    "rjmp 36f\n\t"                                                                                 \
    "31:\n"                                                                                        \
    BP_AVR_OUTPUT16                                                                                \
    "36:\n"                                                                                        \
    BP_AVR_OUTPUT16                                                                                \
    "dec r10\n\t"                                                                                  \
    "breq .+2\n\t"                                                                                 \
    "rjmp 31b\n\t"                                                                                 \
    "dec r11\n\t"                                                                                  \
    "breq .+2\n\t"                                                                                 \
    "rjmp 31b\n\t"                                                                                 \
    "34:\n"

/* A shift of 24, subroutine 74 an output: 88 cycles for two weights. And other shifts. */
#define BP_AVR_OUTPUT16_24                                                                         \
    "74:\n"                                                                                        \
    "ld r16, X+\n\t"                                                                               \
    "ld r17, X+\n\t"                                                                               \
    BP_AVR_SIGNED("r20", "r21")                                                                    \
    BP_AVR_ADD16_24                                                                                \
    "subi r28, lo8(-40503)\n\t"                                                                    \
    "sbci r29, hi8(-40503)\n\t"                                                                    \
    BP_AVR_SIGNED("r18", "r19")                                                                    \
    BP_AVR_ADD16_24                                                                                \
    "add r28, r6\n\t"                                                                              \
    "adc r29, r7\n\t"                                                                              \
    "ret\n\t"

#define BP_AVR_ANY_OUTPUT16                                                                        \
    "ld r16, X+\n\t"                                                                               \
    "ld r17, X+\n\t"                                                                               \
    "rcall 75f\n\t"                                                                                \
    "subi r28, lo8(-40503)\n\t"                                                                    \
    "sbci r29, hi8(-40503)\n\t"                                                                    \
    "rcall 75f\n\t"                                                                                \
    "add r28, r6\n\t"                                                                              \
    "adc r29, r7\n\t"

#define BP_AVR_RARE16                                                                              \
    "33:\n"                                                                                        \
    "sbrc r5, 3\n\t"                                                                               \
    "sbrs r5, 4\n\t"                                                                               \
    "rjmp 37f\n\t"                                                                                 \
    "sbrc r5, 2\n\t"                                                                               \
    "rjmp 39f\n\t"                                                                                 \
    "38:\n"                                                                                        \
    "rcall 74f\n\t"                                                                                \
    "39:\n"                                                                                        \
    "rcall 74f\n\t"                                                                                \
    "dec r10\n\t"                                                                                  \
    "brne 38b\n\t"                                                                                 \
    "dec r11\n\t"                                                                                  \
    "brne 38b\n\t"                                                                                 \
    "rjmp 34b\n\t"                                                                                 \
    "37:\n"                                                                                        \
    "sbrc r5, 2\n\t"                                                                               \
    "rjmp 35f\n\t"                                                                                 \
    "32:\n"                                                                                        \
    BP_AVR_ANY_OUTPUT16                                                                            \
    "35:\n"                                                                                        \
    BP_AVR_ANY_OUTPUT16                                                                            \
    "dec r10\n\t"                                                                                  \
    "brne 32b\n\t"                                                                                 \
    "dec r11\n\t"                                                                                  \
    "brne 32b\n\t"                                                                                 \
    "rjmp 34b\n\t"                                                                                 \
    BP_AVR_OUTPUT16_24                                                                             \
    BP_AVR_ANY16

/* ---- A pass over a layer -------------------------------------------------------------------- */

/* Lower bits of r5: a shift with a loop of its own, which one, and an odd number of outputs. */
#define BP_AVR_MARK24                                                                              \
    "cpi r18, 8\n\t"                                                                               \
    "brne .+2\n\t"                                                                                 \
    "ori r18, 0x01\n\t"                                                                            \
    "cpi r18, 16\n\t"                                                                              \
    "brne .+2\n\t"                                                                                 \
    "ori r18, 0x02\n\t"
#define BP_AVR_MARK16                                                                              \
    "cpi r18, 16\n\t"                                                                              \
    "brne .+2\n\t"                                                                                 \
    "ori r18, 0x01\n\t"                                                                            \
    "sbrc r22, 0\n\t"                                                                              \
    "ori r18, 0x04\n\t"

/* Where a pass has its inputs between pairs: a dither leaves it no registers. */
#define BP_AVR_FIRST_A24 "movw r6, r14\n\tmovw r12, r22\n\t"
#define BP_AVR_LOAD_A24 "movw r26, r6\n\t"
#define BP_AVR_SAVE_A24 "movw r6, r26\n\t"
#define BP_AVR_LAST_A24
#define BP_AVR_FIRST_A16 "push r14\n\tpush r15\n\t"
#define BP_AVR_LOAD_A16 "pop r27\n\tpop r26\n\t"
#define BP_AVR_SAVE_A16 "push r26\n\tpush r27\n\t"
#define BP_AVR_LAST_A16 "pop r27\n\tpop r26\n\t"

/* A pass: biases, then all pairs. On entry
 *
 *     r4, r5   g                    r16, r17  w                     X  alignment
 *     r6, r7   row                  r18, r19  b_low or its dither   Z  b
 *     r8, r9   low or dither        r20       fraction of a_in
 *     r12, r13 twos of outputs      r22-r25   outputs, pairs
 *     r14, r15 a_in
 *
 * of which row and twos are for dithers. r2 is zero. In r5, above the shift in bits 3 and 4, bit 7,
 * which T repeats, says that u has no fewer bits than a_in, bit 6 that it has more than 7 more, and
 * bit 5 that u is a_in.
 */
#define BP_AVR_PASS_TEXT(bits)                                                                     \
    "push r28\n\t"                                                                                 \
    "push r29\n\t"                                                                                 \
    "push r25\n\t"                                                                                 \
    BP_AVR_FIRST_A##bits                                                                           \
    "movw r14, r4\n\t"                                                                             \
    "movw r28, r18\n\t"                                                                            \
    "mov r3, r24\n\t"                                                                              \
    "clr r2\n\t"                                                                                   \
    "ld r18, X+\n\t"                                                                               \
    "ld r21, X\n\t"                                                                                \
    "mov r19, r21\n\t"                                                                             \
    BP_AVR_MARK##bits                                                                              \
    "sub r21, r20\n\t"                                                                             \
    "subi r21, 256-8\n\t"                                                                          \
    BP_AVR_POWER                                                                                   \
    "mov r4, r20\n\t"                                                                              \
    "sbrc r21, 4\n\t"                                                                              \
    "ori r18, 0x40\n\t"                                                                            \
    "cpi r21, 8\n\t"                                                                               \
    "brlo .+6\n\t"                                                                                 \
    "brne .+2\n\t"                                                                                 \
    "ori r18, 0x20\n\t"                                                                            \
    "ori r18, 0x80\n\t"                                                                            \
    "mov r5, r18\n\t"                                                                              \
    "mov r21, r19\n\t"                                                                             \
    BP_AVR_POWER                                                                                   \
    "bst r21, 3\n\t"                                                                               \
    "movw r26, r14\n\t"                                                                            \
    "movw r10, r22\n\t"                                                                            \
    BP_AVR_BIASES##bits                                                                            \
    "movw r28, r8\n\t"                                                                             \
    "movw r30, r16\n\t"                                                                            \
    "bst r5, 7\n\t"                                                                                \
    "rjmp 1f\n\t"                                                                                  \
    "5:\n"                                                                                         \
    BP_AVR_RESCALE_FAR_UP("r20", "r21")                                                            \
    BP_AVR_RESCALE_FAR_UP("r18", "r19")                                                            \
    "rjmp 2f\n\t"                                                                                  \
    "6:\n"                                                                                         \
    "ld r20, X+\n\t"                                                                               \
    "ld r21, X+\n\t"                                                                               \
    "ld r18, X+\n\t"                                                                               \
    "ld r19, X+\n\t"                                                                               \
    "rjmp 2f\n\t"                                                                                  \
    "3:\n"                                                                                         \
    "sbrc r5, 5\n\t"                                                                               \
    "rjmp 6b\n\t"                                                                                  \
    "sbrc r5, 6\n\t"                                                                               \
    "rjmp 5b\n\t"                                                                                  \
    BP_AVR_RESCALE_UP("r20", "r21")                                                                \
    BP_AVR_RESCALE_UP("r18", "r19")                                                                \
    "rjmp 2f\n\t"                                                                                  \
    "1:\n"                                                                                         \
    BP_AVR_LOAD_A##bits                                                                            \
    "mov r22, r4\n\t"                                                                              \
    "brts 3b\n\t"                                                                                  \
    BP_AVR_RESCALE_DOWN("r20", "r21")                                                              \
    BP_AVR_RESCALE_DOWN("r18", "r19")                                                              \
    "2:\n"                                                                                         \
    BP_AVR_SAVE_A##bits                                                                            \
    "movw r26, r14\n\t"                                                                            \
    "movw r10, r12\n\t"                                                                            \
    BP_AVR_LOOPS##bits                                                                             \
    "dec r3\n\t"                                                                                   \
    "breq .+2\n\t"                                                                                 \
    "rjmp 1b\n\t"                                                                                  \
    BP_AVR_LAST_A##bits                                                                            \
    "pop r16\n\t"                                                                                  \
    "dec r16\n\t"                                                                                  \
    "breq 4f\n\t"                                                                                  \
    "push r16\n\t"                                                                                 \
    BP_AVR_SAVE_A##bits                                                                            \
    "rjmp 1b\n\t"                                                                                  \
    "4:\n"                                                                                         \
    "pop r29\n\t"                                                                                  \
    "pop r28\n\t"                                                                                  \
    "clr __zero_reg__\n\t"                                                                         \
    "ret\n\t"                                                                                      \
    BP_AVR_RARE##bits

/* These save no register but Y: who calls them does, once for all. */
__attribute__((naked)) void bp_avr_pass24(void) { __asm__ __volatile__(BP_AVR_PASS_TEXT(24)); }

__attribute__((naked)) void bp_avr_pass16(void) { __asm__ __volatile__(BP_AVR_PASS_TEXT(16)); }

/* For files that are compiled without optimisation. */
#define BP_FAST_RESIDUAL
void(bp_update_residual)(int16_t *w, uint8_t *w_low, int16_t *b, uint8_t *b_low,
                         const bp_layer_t *layer, const int16_t *a_in, const int16_t *g,
                         bp_alignment_t alignment, bp_counters_t *counters)
{
    (void)counters;
    bp_avr_update_residual(w, w_low, b, b_low, layer, a_in, g, &alignment);
}

#define BP_FAST_STOCHASTIC
void(bp_update_stochastic)(int16_t *w, int16_t *b, const bp_layer_t *layer, const int16_t *a_in,
                           const int16_t *g, bp_alignment_t alignment, uint16_t dither,
                           bp_counters_t *counters)
{
    (void)counters;
    bp_avr_update_stochastic(w, b, layer, a_in, g, &alignment, dither);
}

/* ---- Layers that are not plain: first the deltas, then the step ----------------------------- */

void bp_learn_residual(int16_t *dz_in, int16_t *w, uint8_t *w_low, int16_t *b, uint8_t *b_low,
                       const bp_layer_t *layer, const int16_t *a_in, const int16_t *dz,
                       const int16_t *g, bp_alignment_t alignment, bp_counters_t *counters)
{
    bp_avr_deltas(dz_in, layer, w, a_in, dz);
    bp_update_residual(w, w_low, b, b_low, layer, a_in, g, alignment, counters);
}

void bp_learn_stochastic(int16_t *dz_in, int16_t *w, int16_t *b, const bp_layer_t *layer,
                         const int16_t *a_in, const int16_t *dz, const int16_t *g,
                         bp_alignment_t alignment, uint16_t dither, bp_counters_t *counters)
{
    bp_avr_deltas(dz_in, layer, w, a_in, dz);
    bp_update_stochastic(w, b, layer, a_in, g, alignment, dither, counters);
}

#endif

#endif

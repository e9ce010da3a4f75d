/* bpgen_delta_avr.h -- what a delta is made of on AVR cores with a multiplier, in assembly.
 *
 * bpgen_avr_backward.h, bpgen_learn_avr.h and bpgen_fused_avr.h put these into their loops.
 *
 * A product of 16-bit numbers is four of bytes, in r1:r0 each. MULSU leaves its sign in the carry,
 * for SBC to extend, and takes r16..r23 only, the constraint "a". r1 is the compiler's zero: r2
 * stands in for it, and each block that multiplies clears it at the end.
 * SPDX-License-Identifier: 0BSD
 */
#ifndef BPGEN_DELTA_AVR_H
#define BPGEN_DELTA_AVR_H

#include "bpgen_master_avr.h"

/* ---- Products, derivatives and clips -------------------------------------------------------- */

/* For an output a = r17:r16 of a sigmoid, r23:r22 = A = a * 2^(16 - frac), of which r14 is the
 * lowest byte, or for fracs up to 8, with T set, 2^(8 - frac): 6 and 9 cycles.
 */
#define BP_AVR_BYTES                                                                               \
    "mul r16, r14\n\t"                                                                             \
    "movw r22, r0\n\t"                                                                             \
    "mul r17, r14\n\t"                                                                             \
    "add r23, r0\n\t"

#define BP_AVR_NORMAL                                                                              \
    BP_AVR_BYTES                                                                                   \
    "brtc .+4\n\t"                                                                                 \
    "mov r23, r22\n\t"                                                                             \
    "clr r22\n\t"

/* A from a in r23:r22, for a frac from 14 up that the compiler knows: 2 or 4 cycles. */
#define BP_AVR_MOVE_A                                                                              \
    ".rept 16 - %[frac]\n\t"                                                                       \
    "lsl r22\n\t"                                                                                  \
    "rol r23\n\t"                                                                                  \
    ".endr\n\t"

/* The derivative of A is (2^30 + 2^15 - x * x) >> 16 with x = A - 2^15, to r17:r16: 18 cycles,
 * or 17 where `quarter`, which makes that 2^14, copies it. The lower half of x * x is never 2^15,
 * for 15 is odd, so its highest bit tells on which side it is.
 */
#define BP_AVR_QUARTER "ldi r16, 0x00\n\tldi r17, 0x40\n\t"
#define BP_AVR_DERIVATIVE(quarter)                                                                 \
    "subi r23, 0x80\n\t"                                                                           \
    "muls r23, r23\n\t"                                                                            \
    "movw r24, r0\n\t"                                                                             \
    "mul r22, r22\n\t"                                                                             \
    "mov r16, r1\n\t"                                                                              \
    "fmulsu r23, r22\n\t"                                                                          \
    "sbc r25, r2\n\t"                                                                              \
    "add r16, r0\n\t"                                                                              \
    "adc r24, r1\n\t"                                                                              \
    "adc r25, r2\n\t"                                                                              \
    "lsl r16\n\t"                                                                                  \
    quarter                                                                                        \
    "sbc r16, r24\n\t"                                                                             \
    "sbc r17, r25\n\t"

/* r22:r23, and above them the highest four bits of r25, = round(s * d, 20) for s = s2:s1:s0 and a
 * derivative d = r17:r16 up to 2^14: 38 cycles. `spare` and s0 may be spoilt. An s of -2^23 gives
 * what -2^23 + 1 would. The product's third byte starts with the half; nibbles move at the end.
 */
#define BP_AVR_DELTA(spare, s0, s1, s2)                                                            \
    "mul " s0 ", r16\n\t"                                                                          \
    "mov " spare ", r1\n\t"                                                                        \
    "mulsu " s2 ", r17\n\t"                                                                        \
    "movw r24, r0\n\t"                                                                             \
    "mul " s0 ", r17\n\t"                                                                          \
    "ldi r23, 8\n\t"                                                                               \
    "add " spare ", r0\n\t"                                                                        \
    "adc r23, r1\n\t"                                                                              \
    "mul " s1 ", r16\n\t"                                                                          \
    "add " spare ", r0\n\t"                                                                        \
    "adc r23, r1\n\t"                                                                              \
    "adc r24, r2\n\t"                                                                              \
    "adc r25, r2\n\t"                                                                              \
    "mul " s1 ", r17\n\t"                                                                          \
    "add r23, r0\n\t"                                                                              \
    "adc r24, r1\n\t"                                                                              \
    "adc r25, r2\n\t"                                                                              \
    "mulsu " s2 ", r16\n\t"                                                                        \
    "sbc r25, r2\n\t"                                                                              \
    "add r23, r0\n\t"                                                                              \
    "adc r24, r1\n\t"                                                                              \
    "adc r25, r2\n\t"                                                                              \
    "swap r23\n\t"                                                                                 \
    "swap r24\n\t"                                                                                 \
    "eor r23, r24\n\t"                                                                             \
    "andi r23, 0x0F\n\t"                                                                           \
    "eor r23, r24\n\t"                                                                             \
    "mov r22, r25\n\t"                                                                             \
    "swap r22\n\t"                                                                                 \
    "eor r24, r22\n\t"                                                                             \
    "andi r24, 0x0F\n\t"                                                                           \
    "eor r22, r24\n\t"

/* above:high:low clipped to [-top, top], in 8, 12 or 13 cycles: what is above top becomes top, and
 * the rest moves by top, loses what is below 0 and moves back.
 */
#define BP_AVR_CLIP_BY_TOP(above, high, low, top1, top0)                                           \
    "cp " top0 ", " low "\n\t"                                                                     \
    "cpc " top1 ", " high "\n\t"                                                                   \
    "cpc r2, " above "\n\t"                                                                        \
    "brge 3f\n\t"                                                                                  \
    "mov " low ", " top0 "\n\t"                                                                    \
    "mov " high ", " top1 "\n\t"                                                                   \
    "rjmp 5f\n"                                                                                    \
    "3:\n\t"                                                                                       \
    "add " low ", " top0 "\n\t"                                                                    \
    "adc " high ", " top1 "\n\t"                                                                   \
    "adc " above ", r2\n\t"                                                                        \
    "brpl 4f\n\t"                                                                                  \
    "clr " low "\n\t"                                                                              \
    "clr " high "\n"                                                                               \
    "4:\n\t"                                                                                       \
    "sub " low ", " top0 "\n\t"                                                                    \
    "sbc " high ", " top1 "\n"                                                                     \
    "5:\n\t"

/* high:mid:low clipped to 24 bits where fifth:high does not fit 8: 6 cycles, or 12. */
#define BP_AVR_CLIP40(fifth, high, mid, low)                                                       \
    "mov r22, " high "\n\t"                                                                        \
    "lsl r22\n\t"                                                                                  \
    "sbc r22, r22\n\t"                                                                             \
    "cp r22, " fifth "\n\t"                                                                        \
    "breq .+14\n\t"                                                                                \
    "lsl " fifth "\n\t"                                                                            \
    "sbc " low ", " low "\n\t"                                                                     \
    "com " low "\n\t"                                                                              \
    "mov " mid ", " low "\n\t"                                                                     \
    "mov " high ", " low "\n\t"                                                                    \
    "ldi r22, 0x80\n\t"                                                                            \
    "eor " high ", r22\n\t"

/* The step of a delta, p = dz - round(dz * f, 16), to high:low for a dz there and f = f1:f0, which
 * is 2^16 - 2 * mantissa and below 2^15: 20 cycles. Masters lose a step: the g of bpgen_kernels.h
 * is its negative, and a half, which a mantissa makes of 2^14, rounds the other way.
 */
#define BP_AVR_STEP(spare, high, low, f1, f0)                                                      \
    "mulsu " high ", " f1 "\n\t"                                                                   \
    "movw r24, r0\n\t"                                                                             \
    "mul " low ", " f0 "\n\t"                                                                      \
    "mov " spare ", r1\n\t"                                                                        \
    "mulsu " high ", " f0 "\n\t"                                                                   \
    "sbc r25, r2\n\t"                                                                              \
    "add " spare ", r0\n\t"                                                                        \
    "adc r24, r1\n\t"                                                                              \
    "adc r25, r2\n\t"                                                                              \
    "mul " low ", " f1 "\n\t"                                                                      \
    "add " spare ", r0\n\t"                                                                        \
    "adc r24, r1\n\t"                                                                              \
    "adc r25, r2\n\t"                                                                              \
    "lsl " spare "\n\t"                                                                            \
    "sbc " low ", r24\n\t"                                                                         \
    "sbc " high ", r25\n\t"

/* The delta of an output a = r17:r16, before it is clipped, to r1:r23:r22: e = a - t has 17 bits,
 * in r20:r19:r18, and the derivative is up to 2^14. `load_t` loads a byte of t to r0, `normal`
 * makes A, and r21 is 2^(16 - shift): 70 cycles with BP_AVR_BYTES.
 */
#define BP_AVR_OUTPUT_DELTA(load_t, normal)                                                        \
    "movw r18, r16\n\t" load_t "sub r18, r0\n\t" load_t "sbc r19, r0\n\t"                          \
    "ldi r20, 0xFF\n\t"                                                                            \
    "brlt .+2\n\t"                                                                                 \
    "ldi r20, 0x00\n\t" normal BP_AVR_DERIVATIVE(BP_AVR_QUARTER)                                   \
    "mul r19, r17\n\t"                                                                             \
    "movw r24, r0\n\t"                                                                             \
    "mul r18, r16\n\t"                                                                             \
    "movw r22, r0\n\t"                                                                             \
    "mul r19, r16\n\t"                                                                             \
    "add r23, r0\n\t"                                                                              \
    "adc r24, r1\n\t"                                                                              \
    "adc r25, r2\n\t"                                                                              \
    "mul r18, r17\n\t"                                                                             \
    "add r23, r0\n\t"                                                                              \
    "adc r24, r1\n\t"                                                                              \
    "adc r25, r2\n\t"                                                                              \
    "and r16, r20\n\t"                                                                             \
    "and r17, r20\n\t"                                                                             \
    "sub r24, r16\n\t"                                                                             \
    "sbc r25, r17\n\t"                                                                             \
    "mov r18, r25\n\t"                                                                             \
    "mul r23, r21\n\t"                                                                             \
    "mov r20, r0\n\t"                                                                              \
    "mov r22, r1\n\t"                                                                              \
    "mul r24, r21\n\t"                                                                             \
    "or r22, r0\n\t"                                                                               \
    "mov r23, r1\n\t"                                                                              \
    "mulsu r18, r21\n\t"                                                                           \
    "or r23, r0\n\t"                                                                               \
    "lsl r20\n\t"                                                                                  \
    "adc r22, r2\n\t"                                                                              \
    "adc r23, r2\n\t"                                                                              \
    "adc r1, r2\n\t"

/* ---- Sums of a pair of inputs --------------------------------------------------------------- */

/* s += w * dz in five bytes, which hold 512 products, as no delta is -2^15: w in r23:r22, dz in
 * r17:r16, and the product in r25:r24:r13:r12. 25 cycles.
 */
#define BP_AVR_ADD_WIDE(a, b, c, d, fifth)                                                         \
    BP_AVR_SIGNED_TO("r12", "r13", "r22", "r23")                                                   \
    "add " a ", r12\n\t"                                                                           \
    "adc " b ", r13\n\t"                                                                           \
    "adc " c ", r24\n\t"                                                                           \
    "adc " d ", r25\n\t"                                                                           \
    "adc " fifth ", r2\n\t"                                                                        \
    "sbrc r25, 7\n\t"                                                                              \
    "dec " fifth "\n\t"

#define BP_AVR_LOAD_W "ld r22, Z+\n\tld r23, Z+\n\t"

/* Those of a pair of inputs, with the fifth bytes in r20 and r21. */
#define BP_AVR_CLIP_SUMS                                                                           \
    BP_AVR_CLIP40("r20", "r7", "r6", "r5")                                                         \
    BP_AVR_CLIP40("r21", "r11", "r10", "r9")

/* A shift other than 8 first moves the sums of a pair down by r16 bits, or up by as many as that is
 * below 0. Those that move up have to start with 32 bits.
 */
#define BP_AVR_MOVE_DOWN                                                                           \
    "14:\n\t"                                                                                      \
    "asr r20\n\t"                                                                                  \
    "ror r7\n\t"                                                                                   \
    "ror r6\n\t"                                                                                   \
    "ror r5\n\t"                                                                                   \
    "asr r21\n\t"                                                                                  \
    "ror r11\n\t"                                                                                  \
    "ror r10\n\t"                                                                                  \
    "ror r9\n\t"                                                                                   \
    "dec r16\n\t"                                                                                  \
    "brne 14b\n\t"

#define BP_AVR_MOVE_UP                                                                             \
    BP_AVR_CLIP_SUMS                                                                               \
    "mov r20, r7\n\t"                                                                              \
    "lsl r20\n\t"                                                                                  \
    "sbc r20, r20\n\t"                                                                             \
    "mov r21, r11\n\t"                                                                             \
    "lsl r21\n\t"                                                                                  \
    "sbc r21, r21\n"                                                                               \
    "17:\n\t"                                                                                      \
    "lsl r4\n\t"                                                                                   \
    "rol r5\n\t"                                                                                   \
    "rol r6\n\t"                                                                                   \
    "rol r7\n\t"                                                                                   \
    "rol r20\n\t"                                                                                  \
    "lsl r8\n\t"                                                                                   \
    "rol r9\n\t"                                                                                   \
    "rol r10\n\t"                                                                                  \
    "rol r11\n\t"                                                                                  \
    "rol r21\n\t"                                                                                  \
    "inc r16\n\t"                                                                                  \
    "brne 17b\n\t"

/* The sums of a pair, of 24 bits. */
#define BP_AVR_PUSH_SUMS                                                                           \
    "push r5\n\t"                                                                                  \
    "push r6\n\t"                                                                                  \
    "push r7\n\t"                                                                                  \
    "push r9\n\t"                                                                                  \
    "push r10\n\t"                                                                                 \
    "push r11\n\t"

#endif

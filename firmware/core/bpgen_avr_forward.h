/* bpgen_avr_forward.h -- layers forward, in assembly for AVR cores with a multiplier.
 *
 * A product of 16-bit numbers is four of bytes, in r1:r0 each. MULSU leaves the sign of its product
 * in the carry, for SBC to extend, and takes r16..r23 only. ICALL is for what ends a neuron: the
 * layer says which activation. Cycles are those of an ATmega328P.
 * SPDX-License-Identifier: 0BSD
 */
#ifndef BPGEN_AVR_FORWARD_H
#define BPGEN_AVR_FORWARD_H

#include "bpgen_unit.h"

#if !BPGEN_COUNTERS

/* The layer's constants for this file, by their place after bp_layer_t.fast. */
BP_STATIC_ASSERT(offsetof(bp_layer_t, fast) == 21, avr_layer_fast);
BP_STATIC_ASSERT(sizeof(bp_layer_fast_t) == 14, avr_layer_fast_size);

/* The stack frame at Y of a layer that needs one: more than three outputs, or a sum in parts.
 * Pushed from the last to the first; what follows F_PAIRS is there for a sum in parts only.
 */
#define F_LEFT "1"     /* outputs to do */
#define F_LEFT_2 "2"
#define F_STRIDE "3"   /* 4 * outputs - 16: from a pair's weights of one group to the next pair's */
#define F_STRIDE_2 "4"
#define F_KIND "5"     /* bit 0: a sum in parts, bit 1: any shift */
#define F_PART "6"     /* pairs of inputs in a part of the sum */
#define F_SCALE "7"
#define F_HALF "8"
#define F_LAYER "9"    /* address in flash of the constants that a neuron's end needs */
#define F_LAYER_2 "10"
#define F_A_IN "11"
#define F_A_IN_2 "12"
#define F_OUT "13"
#define F_OUT_2 "14"
#define F_B "15"
#define F_B_2 "16"
#define F_W "17"
#define F_W_2 "18"
#define F_SIZE "18"
#define F_PAIRS "19"   /* pairs of inputs */
#define F_PAIRS_2 "20"
#define F_TO_DO "21"   /* and how many are to do */
#define F_TO_DO_2 "22"
#define F_STEP "23"    /* the stride of this group */
#define F_TOPS "24"    /* the sums' upper bytes before this part */
#define F_WRAPS "28"   /* and how often each went around 32 bits */
#define F_PARTS_SIZE "13"

/* Four sums of 32 bits side by side, A lowest. A group of fewer outputs has no P. */
#define P "r2", "r3", "r4", "r5"
#define Q "r6", "r7", "r8", "r9"
#define R "r10", "r11", "r12", "r13"
#define S "r14", "r15", "r24", "r25"

/* ---- A sum's start ---------------------------------------------------------------------------
 *
 * sum = b * 2^f + 2^(shift - 1) + 2^(15 + shift), f the inputs' fraction: the bias, the half that
 * rounds, and an offset that makes z + 2^15 of what is kept. `scale` is 2^(f - 8), and both the
 * half's second byte and the offset's fourth are h = 2^(shift - 9), so that the lowest byte is 0.
 * 13 cycles: r23:r22 the bias, r20 scale, r16 0, r17 h.
 */
#define START(load, ...) START_(load, __VA_ARGS__)
#define START_(load, A, B, C, D)                                                                   \
    load " r22, Z+\n\t" load " r23, Z+\n\t"                                                        \
    "mulsu r23, r20\n\t"                                                                           \
    "movw " C ", r0\n\t"                                                                           \
    "mul r22, r20\n\t"                                                                             \
    "movw " A ", r16\n\t"                                                                          \
    "add " B ", r0\n\t"                                                                            \
    "adc " C ", r1\n\t"                                                                            \
    "adc " D ", r17\n\t"

/* ---- Two products ----------------------------------------------------------------------------
 *
 * sum += w * a, 25 cycles, of which loading w takes 4: w in r23 and r20, a in `high` and `low`. The
 * product of the high bytes takes the place of w's, beside r22.
 */
#define PRODUCT(load, low, high, A, B, C, D)                                                       \
    load " r20, Z+\n\t" load " r23, Z+\n\t"                                                        \
    "mulsu r23, " low "\n\t"                                                                       \
    "sbc " D ", r21\n\t"                                                                           \
    "add " B ", r0\n\t"                                                                            \
    "adc " C ", r1\n\t"                                                                            \
    "adc " D ", r21\n\t"                                                                           \
    "mulsu " high ", r20\n\t"                                                                      \
    "sbc " D ", r21\n\t"                                                                           \
    "add " B ", r0\n\t"                                                                            \
    "adc " C ", r1\n\t"                                                                            \
    "adc " D ", r21\n\t"                                                                           \
    "muls r23, " high "\n\t"                                                                       \
    "movw r22, r0\n\t"                                                                             \
    "mul " low ", r20\n\t"                                                                         \
    "add " A ", r0\n\t"                                                                            \
    "adc " B ", r1\n\t"                                                                            \
    "adc " C ", r22\n\t"                                                                           \
    "adc " D ", r23\n\t"
#define PRODUCTS(load, ...) PRODUCTS_(load, __VA_ARGS__)
#define PRODUCTS_(load, A, B, C, D)                                                                \
    PRODUCT(load, "r16", "r17", A, B, C, D) PRODUCT(load, "r18", "r19", A, B, C, D)

/* ---- A sum in parts --------------------------------------------------------------------------
 *
 * A part adds less than 2^31 - 2^24 either way. So the upper byte changes by -128..127, and where
 * that is not the difference of the two bytes as signed numbers, which the overflow flag tells, the
 * sum has gone around: up if it is negative now, which AROUND counts. 6 cycles, and 10 more then.
 */
#define FOLD(n, ...) FOLD_(n, __VA_ARGS__)
#define FOLD_(n, A, B, C, D)                                                                       \
    "ldd r16, Y+" F_TOPS "+" n "\n\t"                                                              \
    "cp " D ", r16\n\t"                                                                            \
    "std Y+" F_TOPS "+" n ", " D "\n\t"                                                            \
    "brvs 6" n "f\n"                                                                               \
    "5" n ":\n\t"
#define AROUND(n, ...) AROUND_(n, __VA_ARGS__)
#define AROUND_(n, A, B, C, D)                                                                     \
    "6" n ":\n\t"                                                                                  \
    "ldd r16, Y+" F_WRAPS "+" n "\n\t"                                                             \
    "dec r16\n\t"                                                                                  \
    "sbrc " D ", 7\n\t"                                                                            \
    "subi r16, -2\n\t"                                                                             \
    "std Y+" F_WRAPS "+" n ", r16\n\t"                                                             \
    "rjmp 5" n "b\n"

/* The fifth byte, and back to 32 bits, by 80. */
#define UNFOLD(n, ...) UNFOLD_(n, __VA_ARGS__)
#define UNFOLD_(n, A, B, C, D)                                                                     \
    "ldd r16, Y+" F_WRAPS "+" n "\n\t"                                                             \
    "sbrc " D ", 7\n\t"                                                                            \
    "dec r16\n\t"                                                                                  \
    "movw r22, " C "\n\t"                                                                          \
    "mov r20, " B "\n\t"                                                                           \
    "rcall 80f\n\t"                                                                                \
    "movw " C ", r22\n\t"                                                                          \
    "mov " B ", r20\n\t"

/* ---- A sum's end -----------------------------------------------------------------------------
 *
 * r23:r22:r20 = sum >> shift for shifts from 9 to 16: the upper bytes of the sum times r16, that is
 * 2^(16 - shift); then what r29:r28 points at. 10 cycles, and 4 for the call.
 */
#define END(...) END_(__VA_ARGS__)
#define END_(A, B, C, D)                                                                           \
    "mul " D ", r16\n\t"                                                                           \
    "movw r22, r0\n\t"                                                                             \
    "mul " C ", r16\n\t"                                                                           \
    "mov r20, r0\n\t"                                                                              \
    "or r22, r1\n\t"                                                                               \
    "mul " B ", r16\n\t"                                                                           \
    "or r20, r1\n\t"                                                                               \
    "movw r30, r28\n\t"                                                                            \
    "icall\n\t"

/* What a neuron's end needs, from Z: r16 scale, r29:r28 what to call, r17 and r14, r19:r18. */
#define CONSTANTS                                                                                  \
    "lpm r16, Z+\n\t"                                                                              \
    "lpm r28, Z+\n\t"                                                                              \
    "lpm r29, Z+\n\t"                                                                              \
    "lpm r17, Z+\n\t"                                                                              \
    "lpm r14, Z+\n\t"                                                                              \
    "lpm r18, Z+\n\t"                                                                              \
    "lpm r19, Z\n\t"

/* The place of a group of one to three outputs: r2 is one more than their number. */
#define TAIL(q, r, s)                                                                              \
    "sbrc r2, 2\n\t"                                                                               \
    "rjmp " q "\n\t"                                                                               \
    "sbrc r2, 0\n\t"                                                                               \
    "rjmp " r "\n\t"                                                                               \
    "rjmp " s "\n"

/* ---- A layer ---------------------------------------------------------------------------------
 *
 *     r0, r1    a product                      r24, r25  S, upper half; on entry w
 *     r2..r5    P, or of a smaller group: r2 its outputs + 1, r3 whether there is a frame, r5:r4
 *               the layer's constants          r26, r27  X: a_in, out
 *     r6..r9    Q                              r28       pairs to do
 *     r10..r13  R                              r29       stride
 *     r14, r15  S, lower half                  r30, r31  Z: w, b, flash; on entry the layer
 *     r16..r19  two inputs                     r20..r23  w, 0, w's product; on entry out, b
 *     T         a group of four
 *
 * A pair of inputs takes 215 cycles for four outputs, 26.9 a product; 169, 117 and 66 for 3, 2, 1.
 */
#define LAYER(load)                                                                                \
    "push r2\n\t"                                                                                  \
    "push r3\n\t"                                                                                  \
    "push r28\n\t"                                                                                 \
    "push r29\n\t"                                                                                 \
    "adiw r30, 21\n\t"                                                                             \
    "lpm r16, Z+\n\t"                                                                              \
    "lpm r17, Z+\n\t"                                                                              \
    "lpm r28, Z+\n\t"                                                                              \
    "tst r16\n\t"                                                                                  \
    "brne 10f\n\t"                                                                                 \
    "cpi r17, 4\n\t"                                                                               \
    "brsh 10f\n\t"                                                                                 \
                                                                                                   \
    /* One small group, and no frame. */                                                           \
    "clt\n\t"                                                                                      \
    "mov r2, r17\n\t"                                                                              \
    "inc r2\n\t"                                                                                   \
    "clr r3\n\t"                                                                                   \
    "clr r29\n\t"                                                                                  \
    "push r20\n\t"                                                                                 \
    "push r21\n\t"                                                                                 \
    "movw r18, r24\n\t"                                                                            \
    "lpm r20, Z+\n\t"                                                                              \
    "lpm r17, Z+\n\t"                                                                              \
    "movw r4, r30\n\t"                                                                             \
    "movw r30, r22\n"                                                                              \
                                                                                                   \
    "2:\n\t"                                                                                       \
    "clr r16\n\t" TAIL("22f", "23f", "24f")                                                        \
                                                                                                   \
    "10:\n\t"                                                                                      \
    "sbrs r16, 0\n\t"                                                                              \
    "rjmp 11f\n\t"                                                                                 \
    /* Room for the sums of parts; the number of pairs is the last of the constants. */            \
    "adiw r30, 9\n\t"                                                                              \
    "lpm r18, Z+\n\t"                                                                              \
    "lpm r19, Z\n\t"                                                                               \
    "sbiw r30, 10\n\t"                                                                             \
    "ldi r29, 11\n"                                                                                \
    "1:\n\t"                                                                                       \
    "push r1\n\t"                                                                                  \
    "dec r29\n\t"                                                                                  \
    "brne 1b\n\t"                                                                                  \
    "push r19\n\t"                                                                                 \
    "push r18\n"                                                                                   \
    "11:\n\t"                                                                                      \
    "push r25\n\t"                                                                                 \
    "push r24\n\t"                                                                                 \
    "push r23\n\t"                                                                                 \
    "push r22\n\t"                                                                                 \
    "push r21\n\t"                                                                                 \
    "push r20\n\t"                                                                                 \
    "push r27\n\t"                                                                                 \
    "push r26\n\t"                                                                                 \
    "lpm r18, Z+\n\t"                                                                              \
    "lpm r19, Z+\n\t"                                                                              \
    "push r31\n\t"                                                                                 \
    "push r30\n\t"                                                                                 \
    "push r19\n\t"                                                                                 \
    "push r18\n\t"                                                                                 \
    "push r28\n\t"                                                                                 \
    "push r16\n\t"                                                                                 \
    "push r1\n\t"                                                                                  \
    "mov r18, r17\n\t"                                                                             \
    "lsl r18\n\t"                                                                                  \
    "lsl r18\n\t"                                                                                  \
    "subi r18, 16\n\t"                                                                             \
    "push r18\n\t"                                                                                 \
    "push r1\n\t"                                                                                  \
    "push r17\n\t"                                                                                 \
    "in r28, __SP_L__\n\t"                                                                         \
    "in r29, __SP_H__\n\t"                                                                         \
    "sbrs r16, 1\n\t"                                                                              \
    "rjmp 13f\n\t"                                                                                 \
    "rjmp 90f\n"                                                                                   \
                                                                                                   \
    "12:\n\t"                                                                                      \
    "in r28, __SP_L__\n\t"                                                                         \
    "in r29, __SP_H__\n\t"                                                                         \
    "std Y+" F_OUT ", r26\n\t"                                                                     \
    "std Y+" F_OUT_2 ", r27\n"                                                                     \
    "13:\n\t"                                                                                      \
    "ldd r20, Y+" F_SCALE "\n\t"                                                                   \
    "ldd r17, Y+" F_HALF "\n\t"                                                                    \
    "ldd r30, Y+" F_B "\n\t"                                                                       \
    "ldd r31, Y+" F_B_2 "\n\t"                                                                     \
    "ldd r16, Y+" F_LEFT "\n\t"                                                                    \
    "subi r16, 4\n\t"                                                                              \
    "brsh 21f\n\t"                                                                                 \
    "subi r16, -5\n\t"                                                                             \
    "mov r2, r16\n\t"                                                                              \
    "subi r16, 1\n\t"                                                                              \
    "breq 19f\n\t"                                                                                 \
    "std Y+" F_LEFT ", r1\n\t"                                                                     \
    "clt\n\t"                                                                                      \
    "clr r3\n\t"                                                                                   \
    "inc r3\n\t"                                                                                   \
    "rjmp 2b\n"                                                                                    \
                                                                                                   \
    /* The end: give the frame back. */                                                            \
    "19:\n\t"                                                                                      \
    "ldd r16, Y+" F_KIND "\n\t"                                                                    \
    "sbrs r16, 0\n\t"                                                                              \
    "rjmp 1f\n\t"                                                                                  \
    "adiw r28, " F_PARTS_SIZE "\n"                                                                 \
    "1:\n\t"                                                                                       \
    "adiw r28, " F_SIZE "\n\t"                                                                     \
    "in r0, __SREG__\n\t"                                                                          \
    "cli\n\t"                                                                                      \
    "out __SP_H__, r29\n\t"                                                                        \
    "out __SREG__, r0\n\t"                                                                         \
    "out __SP_L__, r28\n\t"                                                                        \
    "pop r29\n\t"                                                                                  \
    "pop r28\n\t"                                                                                  \
    "pop r3\n\t"                                                                                   \
    "pop r2\n\t"                                                                                   \
    "ret\n"                                                                                        \
                                                                                                   \
    "21:\n\t"                                                                                      \
    "std Y+" F_LEFT ", r16\n\t"                                                                    \
    "set\n\t"                                                                                      \
    "clr r16\n\t" START(load, P)                                                                   \
    "22:\n\t" START(load, Q)                                                                       \
    "23:\n\t" START(load, R)                                                                       \
    "24:\n\t" START(load, S)                                                                       \
    "clr r21\n\t"                                                                                  \
    "brts 25f\n\t"                                                                                 \
    "sbrc r3, 0\n\t"                                                                               \
    "rjmp 25f\n\t"                                                                                 \
    "movw r30, r18\n\t"                                                                            \
    "rjmp 30f\n"                                                                                   \
                                                                                                   \
    "25:\n\t"                                                                                      \
    "std Y+" F_B ", r30\n\t"                                                                       \
    "std Y+" F_B_2 ", r31\n\t"                                                                     \
    "ldd r26, Y+" F_A_IN "\n\t"                                                                    \
    "ldd r27, Y+" F_A_IN_2 "\n\t"                                                                  \
    "ldd r30, Y+" F_W "\n\t"                                                                       \
    "ldd r31, Y+" F_W_2 "\n\t"                                                                     \
    "ldd r17, Y+" F_STRIDE "\n\t"                                                                  \
    "ldd r18, Y+" F_KIND "\n\t"                                                                    \
    "ldd r16, Y+" F_PART "\n\t"                                                                    \
    "brtc 26f\n\t"                                                                                 \
    "movw r20, r30\n\t"                                                                            \
    "subi r20, -16\n\t"                                                                            \
    "sbci r21, -1\n\t"                                                                             \
    "std Y+" F_W ", r20\n\t"                                                                       \
    "std Y+" F_W_2 ", r21\n\t"                                                                     \
    "clr r21\n\t"                                                                                  \
    "sbrc r18, 0\n\t"                                                                              \
    "rjmp 70f\n\t"                                                                                 \
    "movw r28, r16\n\t"                                                                            \
    "rjmp 30f\n"                                                                                   \
                                                                                                   \
    /* The last outputs, less than four: the stride is 4 * (4 - their number) more. */             \
    "26:\n\t"                                                                                      \
    "mov r19, r2\n\t"                                                                              \
    "lsl r19\n\t"                                                                                  \
    "lsl r19\n\t"                                                                                  \
    "subi r17, -20\n\t"                                                                            \
    "sub r17, r19\n\t"                                                                             \
    "sbrc r18, 0\n\t"                                                                              \
    "rjmp 70f\n\t"                                                                                 \
    "movw r28, r16\n\t"                                                                            \
    "rjmp 30f\n"                                                                                   \
                                                                                                   \
    "29:\n\t" TAIL("32f", "33f", "34f")                                                            \
                                                                                                   \
    "30:\n\t"                                                                                      \
    "ld r16, X+\n\t"                                                                               \
    "ld r17, X+\n\t"                                                                               \
    "ld r18, X+\n\t"                                                                               \
    "ld r19, X+\n\t"                                                                               \
    "brtc 29b\n\t" PRODUCTS(load, P)                                                               \
    "32:\n\t" PRODUCTS(load, Q)                                                                    \
    "33:\n\t" PRODUCTS(load, R)                                                                    \
    "34:\n\t" PRODUCTS(load, S)                                                                    \
    "add r30, r29\n\t"                                                                             \
    "adc r31, r21\n\t"                                                                             \
    "dec r28\n\t"                                                                                  \
    "breq 40f\n\t"                                                                                 \
    "rjmp 30b\n"                                                                                   \
                                                                                                   \
    "40:\n\t"                                                                                      \
    "brts 41f\n\t"                                                                                 \
    "sbrc r3, 0\n\t"                                                                               \
    "rjmp 41f\n\t"                                                                                 \
    "pop r27\n\t"                                                                                  \
    "pop r26\n\t"                                                                                  \
    "movw r30, r4\n\t" CONSTANTS                                                                   \
    "42:\n\t" TAIL("46f", "47f", "48f")                                                            \
                                                                                                   \
    "41:\n\t"                                                                                      \
    "in r28, __SP_L__\n\t"                                                                         \
    "in r29, __SP_H__\n\t"                                                                         \
    "ldd r16, Y+" F_KIND "\n\t"                                                                    \
    "sbrc r16, 0\n\t"                                                                              \
    "rjmp 71f\n"                                                                                   \
    "43:\n\t"                                                                                      \
    "ldd r30, Y+" F_LAYER "\n\t"                                                                   \
    "ldd r31, Y+" F_LAYER_2 "\n\t"                                                                 \
    "ldd r26, Y+" F_OUT "\n\t"                                                                     \
    "ldd r27, Y+" F_OUT_2 "\n\t" CONSTANTS                                                         \
    "brtc 42b\n\t" END(P)                                                                          \
    "46:\n\t" END(Q)                                                                               \
    "47:\n\t" END(R)                                                                               \
    "48:\n\t" END(S)                                                                               \
    "clr r1\n\t"                                                                                   \
    "brtc 49f\n\t"                                                                                 \
    "rjmp 12b\n"                                                                                   \
    "49:\n\t"                                                                                      \
    "sbrc r3, 0\n\t"                                                                               \
    "rjmp 12b\n\t"                                                                                 \
    "pop r29\n\t"                                                                                  \
    "pop r28\n\t"                                                                                  \
    "pop r3\n\t"                                                                                   \
    "pop r2\n\t"                                                                                   \
    "ret\n"                                                                                        \
                                                                                                   \
    /* A sum in parts starts without the offset, which comes at the end. */                        \
    "70:\n\t"                                                                                      \
    "std Y+" F_STEP ", r17\n\t"                                                                    \
    "ldd r17, Y+" F_HALF "\n\t"                                                                    \
    "sub r5, r17\n\t"                                                                              \
    "sub r9, r17\n\t"                                                                              \
    "sub r13, r17\n\t"                                                                             \
    "sub r25, r17\n\t"                                                                             \
    "std Y+" F_TOPS "+0, r5\n\t"                                                                   \
    "std Y+" F_TOPS "+1, r9\n\t"                                                                   \
    "std Y+" F_TOPS "+2, r13\n\t"                                                                  \
    "std Y+" F_TOPS "+3, r25\n\t"                                                                  \
    "std Y+" F_WRAPS "+0, r21\n\t"                                                                 \
    "std Y+" F_WRAPS "+1, r21\n\t"                                                                 \
    "std Y+" F_WRAPS "+2, r21\n\t"                                                                 \
    "std Y+" F_WRAPS "+3, r21\n\t"                                                                 \
    "ldd r16, Y+" F_PAIRS_2 "\n\t"                                                                 \
    "std Y+" F_TO_DO_2 ", r16\n\t"                                                                 \
    "ldd r16, Y+" F_PAIRS "\n\t"                                                                   \
    "rjmp 73f\n\t"                                                                                 \
                                                                                                   \
    /* What this part did to the sums. */                                                          \
    "71:\n\t"                                                                                      \
    "sbrc r16, 1\n\t"                                                                              \
    "rjmp 84f\n\t"                                                                                 \
    "brtc 72f\n\t"                                                                                 \
    FOLD("0", P)                                                                                   \
    "72:\n\t"                                                                                      \
    FOLD("1", Q) FOLD("2", R) FOLD("3", S)                                                         \
    "ldd r16, Y+" F_TO_DO "\n\t"                                                                   \
                                                                                                   \
    /* The next part, or the rest; r16 is the lower byte of what is to do. */                      \
    "73:\n\t"                                                                                      \
    "ldd r18, Y+" F_PART "\n\t"                                                                    \
    "sub r16, r18\n\t"                                                                             \
    "brsh 74f\n\t"                                                                                 \
    "ldd r17, Y+" F_TO_DO_2 "\n\t"                                                                 \
    "subi r17, 1\n\t"                                                                              \
    "brlo 77f\n\t"                                                                                 \
    "std Y+" F_TO_DO_2 ", r17\n\t"                                                                 \
    "74:\n\t"                                                                                      \
    "std Y+" F_TO_DO ", r16\n\t"                                                                   \
    "ldd r19, Y+" F_STEP "\n\t"                                                                    \
    "movw r28, r18\n\t"                                                                            \
    "rjmp 30b\n\t"                                                                                 \
    "77:\n\t"                                                                                      \
    "add r18, r16\n\t"                                                                             \
    "breq 75f\n\t"                                                                                 \
    "clr r16\n\t"                                                                                  \
    "rjmp 74b\n\t"                                                                                 \
                                                                                                   \
    AROUND("0", P) AROUND("1", Q) AROUND("2", R) AROUND("3", S)                                    \
                                                                                                   \
    "75:\n\t"                                                                                      \
    "ldd r16, Y+" F_KIND "\n\t"                                                                    \
    "sbrc r16, 1\n\t"                                                                              \
    "rjmp 92f\n\t"                                                                                 \
    "ldd r17, Y+" F_HALF "\n\t"                                                                    \
    "ldi r18, 0x7F\n\t"                                                                            \
    "add r18, r17\n\t"                                                                             \
    "brtc 76f\n\t"                                                                                 \
    UNFOLD("0", P)                                                                                 \
    "76:\n\t"                                                                                      \
    UNFOLD("1", Q) UNFOLD("2", R) UNFOLD("3", S)                                                   \
    "rjmp 43b\n\t"                                                                                 \
                                                                                                   \
    /* Add the offset to r16:r23:r22:r20. Sums below 0, and those above what TOO_FAR takes for */  \
    /* too high, become the limits: r18 is the upper byte of the latter. */                        \
    "80:\n\t"                                                                                      \
    "add r23, r17\n\t"                                                                             \
    "adc r16, r21\n\t"                                                                             \
    "brmi 82f\n\t"                                                                                 \
    "brne 81f\n\t"                                                                                 \
    "cp r18, r23\n\t"                                                                              \
    "brsh 83f\n\t"                                                                                 \
    "81:\n\t"                                                                                      \
    "mov r23, r18\n\t"                                                                             \
    "ser r22\n\t"                                                                                  \
    "ser r20\n\t"                                                                                  \
    "ret\n\t"                                                                                      \
    "82:\n\t"                                                                                      \
    "clr r23\n\t"                                                                                  \
    "clr r22\n\t"                                                                                  \
    "clr r20\n\t"                                                                                  \
    "83:\n\t"                                                                                      \
    "ret\n\t"                                                                                      \
                                                                                                   \
    /* Any fractions and shift, one output at a time, to 48 bits. A part may add up to */          \
    /* 2^31 - 2^16, so two bytes tell, and two count. */                                           \
    "84:\n\t"                                                                                      \
    "ldd r17, Y+" F_WRAPS "+2\n\t"                                                                 \
    "ldd r18, Y+" F_TOPS "+3\n\t"                                                                  \
    "cp r24, r17\n\t"                                                                              \
    "cpc r25, r18\n\t"                                                                             \
    "std Y+" F_WRAPS "+2, r24\n\t"                                                                 \
    "std Y+" F_TOPS "+3, r25\n\t"                                                                  \
    "brvc 85f\n\t"                                                                                 \
    "ldd r16, Y+" F_WRAPS "+3\n\t"                                                                 \
    "ldd r17, Y+" F_WRAPS "\n\t"                                                                   \
    "subi r16, 1\n\t"                                                                              \
    "sbci r17, 0\n\t"                                                                              \
    "sbrs r25, 7\n\t"                                                                              \
    "rjmp 1f\n\t"                                                                                  \
    "subi r16, -2\n\t"                                                                             \
    "sbci r17, -1\n\t"                                                                             \
    "1:\n\t"                                                                                       \
    "std Y+" F_WRAPS "+3, r16\n\t"                                                                 \
    "std Y+" F_WRAPS ", r17\n\t"                                                                   \
    "85:\n\t"                                                                                      \
    "ldd r16, Y+" F_STRIDE_2 "\n\t"                                                                \
    "add r31, r16\n\t"                                                                             \
    "ldd r16, Y+" F_TO_DO "\n\t"                                                                   \
    "rjmp 73b\n\t"                                                                                 \
                                                                                                   \
    "90:\n\t"                                                                                      \
    "ldd r30, Y+" F_LAYER "\n\t"                                                                   \
    "ldd r31, Y+" F_LAYER_2 "\n\t"                                                                 \
    "sbiw r30, 24\n\t"                                                                             \
    "lpm r16, Z+\n\t"                                                                              \
    "lpm r17, Z\n\t"                                                                               \
    "std Y+" F_LEFT ", r16\n\t"                                                                    \
    "std Y+" F_LEFT_2 ", r17\n\t"                                                                  \
    "lsl r16\n\t"                                                                                  \
    "rol r17\n\t"                                                                                  \
    "lsl r16\n\t"                                                                                  \
    "rol r17\n\t"                                                                                  \
    "subi r16, 4\n\t"                                                                              \
    "sbci r17, 0\n\t"                                                                              \
    "std Y+" F_STRIDE_2 ", r17\n\t"                                                                \
    "subi r16, 12\n\t"                                                                             \
    "std Y+" F_STRIDE ", r16\n\t"                                                                  \
                                                                                                   \
    "91:\n\t"                                                                                      \
    "ldd r16, Y+" F_LEFT "\n\t"                                                                    \
    "ldd r17, Y+" F_LEFT_2 "\n\t"                                                                  \
    "subi r16, 1\n\t"                                                                              \
    "sbci r17, 0\n\t"                                                                              \
    "brsh 1f\n\t"                                                                                  \
    "rjmp 19b\n\t"                                                                                 \
    "1:\n\t"                                                                                       \
    "std Y+" F_LEFT ", r16\n\t"                                                                    \
    "std Y+" F_LEFT_2 ", r17\n\t"                                                                  \
    "clt\n\t"                                                                                      \
    "ldi r16, 2\n\t"                                                                               \
    "mov r2, r16\n\t"                                                                              \
    "mov r3, r16\n\t"                                                                              \
    "dec r3\n\t"                                                                                   \
    "clr r14\n\t"                                                                                  \
    "clr r15\n\t"                                                                                  \
    "clr r24\n\t"                                                                                  \
    "clr r25\n\t"                                                                                  \
    "clr r21\n\t"                                                                                  \
    "ldd r30, Y+" F_B "\n\t"                                                                       \
    "ldd r31, Y+" F_B_2 "\n\t"                                                                     \
    "rjmp 25b\n\t"                                                                                 \
                                                                                                   \
    /* The sum in r27:r23:r22:r20:r19:r18, the bias in r14:r14:r25:r24:r17:r16. */                 \
    "92:\n\t"                                                                                      \
    "ldd r23, Y+" F_WRAPS "+3\n\t"                                                                 \
    "ldd r27, Y+" F_WRAPS "\n\t"                                                                   \
    "sbrs r25, 7\n\t"                                                                              \
    "rjmp 1f\n\t"                                                                                  \
    "subi r23, 1\n\t"                                                                              \
    "sbci r27, 0\n\t"                                                                              \
    "1:\n\t"                                                                                       \
    "mov r18, r14\n\t"                                                                             \
    "mov r19, r15\n\t"                                                                             \
    "mov r20, r24\n\t"                                                                             \
    "mov r22, r25\n\t"                                                                             \
    "ldd r30, Y+" F_B "\n\t"                                                                       \
    "ldd r31, Y+" F_B_2 "\n\t"                                                                     \
    load " r16, Z+\n\t"                                                                            \
    load " r17, Z+\n\t"                                                                            \
    "std Y+" F_B ", r30\n\t"                                                                       \
    "std Y+" F_B_2 ", r31\n\t"                                                                     \
    "ldd r30, Y+" F_W "\n\t"                                                                       \
    "ldd r31, Y+" F_W_2 "\n\t"                                                                     \
    "adiw r30, 4\n\t"                                                                              \
    "std Y+" F_W ", r30\n\t"                                                                       \
    "std Y+" F_W_2 ", r31\n\t"                                                                     \
    "mov r24, r17\n\t"                                                                             \
    "lsl r24\n\t"                                                                                  \
    "sbc r24, r24\n\t"                                                                             \
    "mov r25, r24\n\t"                                                                             \
    "mov r14, r24\n\t"                                                                             \
    "ldd r30, Y+" F_LAYER "\n\t"                                                                   \
    "ldd r31, Y+" F_LAYER_2 "\n\t"                                                                 \
    "sbiw r30, 12\n\t"                                                                             \
    "lpm r15, Z+\n\t"                                                                              \
    "lpm r26, Z\n\t"                                                                               \
    "tst r15\n\t"                                                                                  \
    "breq 94f\n\t"                                                                                 \
    "93:\n\t"                                                                                      \
    "lsl r16\n\t"                                                                                  \
    "rol r17\n\t"                                                                                  \
    "rol r24\n\t"                                                                                  \
    "rol r25\n\t"                                                                                  \
    "dec r15\n\t"                                                                                  \
    "brne 93b\n\t"                                                                                 \
    "94:\n\t"                                                                                      \
    "add r18, r16\n\t"                                                                             \
    "adc r19, r17\n\t"                                                                             \
    "adc r20, r24\n\t"                                                                             \
    "adc r22, r25\n\t"                                                                             \
    "adc r23, r14\n\t"                                                                             \
    "adc r27, r14\n\t"                                                                             \
                                                                                                   \
    /* Shifted; the last bit that leaves is the one that rounds. */                                \
    "clc\n\t"                                                                                      \
    "tst r26\n\t"                                                                                  \
    "breq 96f\n\t"                                                                                 \
    "95:\n\t"                                                                                      \
    "asr r27\n\t"                                                                                  \
    "ror r23\n\t"                                                                                  \
    "ror r22\n\t"                                                                                  \
    "ror r20\n\t"                                                                                  \
    "ror r19\n\t"                                                                                  \
    "ror r18\n\t"                                                                                  \
    "dec r26\n\t"                                                                                  \
    "brne 95b\n\t"                                                                                 \
    "96:\n\t"                                                                                      \
    "adc r18, r21\n\t"                                                                             \
    "adc r19, r21\n\t"                                                                             \
    "adc r20, r21\n\t"                                                                             \
    "adc r22, r21\n\t"                                                                             \
    "adc r23, r21\n\t"                                                                             \
    "adc r27, r21\n\t"                                                                             \
                                                                                                   \
    /* The limit where the upper bytes do not repeat the sign. */                                  \
    "mov r16, r19\n\t"                                                                             \
    "lsl r16\n\t"                                                                                  \
    "sbc r16, r16\n\t"                                                                             \
    "cp r20, r16\n\t"                                                                              \
    "cpc r22, r16\n\t"                                                                             \
    "cpc r23, r16\n\t"                                                                             \
    "cpc r27, r16\n\t"                                                                             \
    "breq 97f\n\t"                                                                                 \
    "lsl r27\n\t"                                                                                  \
    "sbc r18, r18\n\t"                                                                             \
    "mov r19, r18\n\t"                                                                             \
    "com r18\n\t"                                                                                  \
    "ldi r16, 0x7F\n\t"                                                                            \
    "eor r19, r16\n\t"                                                                             \
    "97:\n\t"                                                                                      \
    "mov r20, r18\n\t"                                                                             \
    "mov r22, r19\n\t"                                                                             \
    "subi r22, 0x80\n\t"                                                                           \
    "clr r23\n\t"                                                                                  \
    "ldd r26, Y+" F_OUT "\n\t"                                                                     \
    "ldd r27, Y+" F_OUT_2 "\n\t"                                                                   \
    "ldd r30, Y+" F_LAYER "\n\t"                                                                   \
    "ldd r31, Y+" F_LAYER_2 "\n\t"                                                                 \
    CONSTANTS                                                                                      \
    "movw r30, r28\n\t"                                                                            \
    "icall\n\t"                                                                                    \
    "clr r1\n\t"                                                                                   \
    "in r28, __SP_L__\n\t"                                                                         \
    "in r29, __SP_H__\n\t"                                                                         \
    "std Y+" F_OUT ", r26\n\t"                                                                     \
    "std Y+" F_OUT_2 ", r27\n\t"                                                                   \
    "rjmp 91b\n\t"

/* ---- What ends a neuron ----------------------------------------------------------------------
 *
 * z + 2^15 in r22:r20, unless r23 says that it leaves 16 bits: then the upper 9 of the sum's 32 are
 * more than r16 where it is too low (the offset is 2^(15 + shift), so such sums start at 2^31 +
 * 2^(15 + shift), and those too high end below). Stores at X; r21 is 0.
 */

/* r22:r20 in range, or at the limit that TOO_FAR, behind the end, makes of it: 2 cycles. */
#define LIMIT                                                                                      \
    "tst r23\n\t"                                                                                  \
    "brne 8f\n"                                                                                    \
    "9:\n\t"
#define TOO_FAR                                                                                    \
    "8:\n\t"                                                                                       \
    "lsl r22\n\t"                                                                                  \
    "rol r23\n\t"                                                                                  \
    "cp r16, r23\n\t"                                                                              \
    "sbc r22, r22\n\t"                                                                             \
    "com r22\n\t"                                                                                  \
    "mov r20, r22\n\t"                                                                             \
    "rjmp 9b"

/* z clipped to r14:r17 and r19:r18. */
__attribute__((naked, noinline)) void bp_avr_clip(void)
{
    __asm__ __volatile__(LIMIT 
                         "subi r22, 0x80\n\t"
                         "cp r20, r17\n\t"
                         "cpc r22, r14\n\t"
                         "brge 1f\n\t"
                         "mov r20, r17\n\t"
                         "mov r22, r14\n"
                         "1:\n\t"
                         "cp r18, r20\n\t"
                         "cpc r19, r22\n\t"
                         "brge 2f\n\t"
                         "mov r20, r18\n\t"
                         "mov r22, r19\n"
                         "2:\n\t"
                         "st X+, r20\n\t"
                         "st X+, r22\n\t"
                         "ret\n" TOO_FAR);
}

/* r23:r22 = round((E[i] * 2^8 + (E[i + 1] - E[i]) * fr) * r17, 16): the table at r19:r18, 2i in
 * r22, `index` adds what is above, fr in r20. The lowest 8 bits of the sum never reach the result.
 */
#define LOOK_UP(index, more_fr, more_product)                                                      \
    "movw r30, r18\n\t"                                                                            \
    "add r30, r22\n\t"                                                                             \
    "adc r31, r21\n\t" index                                                                       \
    "lpm r22, Z+\n\t"                                                                              \
    "lpm r23, Z+\n\t"                                                                              \
    "lpm r6, Z+\n\t"                                                                               \
    "lpm r10, Z\n\t"                                                                               \
    "sub r6, r22\n\t"                                                                              \
    "sbc r10, r23\n\t" more_fr                                                                     \
    "mul r6, r20\n\t" more_product                                                                 \
    "add r22, r1\n\t"                                                                              \
    "adc r23, r21\n\t"                                                                             \
    "mul r10, r20\n\t"                                                                             \
    "add r22, r0\n\t"                                                                              \
    "adc r23, r1\n\t"                                                                              \
    "mul r22, r17\n\t"                                                                             \
    "lsl r0\n\t"                                                                                   \
    "adc r1, r21\n\t"                                                                              \
    "mov r6, r1\n\t"                                                                               \
    "mul r23, r17\n\t"                                                                             \
    "movw r22, r0\n\t"                                                                             \
    "add r22, r6\n\t"                                                                              \
    "adc r23, r21\n\t"

/* A sigmoid of 2^fa = r17 * 2^8, fa from 11 up, where no y reaches 1: the last entry is 65514, and
 * half a unit 16. With u = |z|, at most 32767, `positive` has 2 * (u >> 8) in r22 and
 * `negative` u >> 8, both the rest in r20, and make the index in r22 and fr of them.
 */
#define SIGMOID(positive, negative, index, more_fr, more_product)                                  \
    LIMIT "lsl r22\n\t"                                                                            \
    "brcc 1f\n\t" positive LOOK_UP(index, more_fr, more_product)                                   \
    "st X+, r22\n\t"                                                                               \
    "st X+, r23\n\t"                                                                               \
    "ret\n" TOO_FAR "\n"                                                                           \
    "1:\n\t"                                                                                       \
    "lsr r22\n\t"                                                                                  \
    "ldi r23, 0x80\n\t"                                                                            \
    "neg r20\n\t"                                                                                  \
    "sbc r23, r22\n\t"                                                                             \
    "mov r22, r23\n\t"                                                                             \
    "brmi 5f\n"                                                                                    \
    "4:\n\t" negative LOOK_UP(index, more_fr, more_product)                                        \
    "mov r6, r17\n\t"                                                                              \
    "neg r22\n\t"                                                                                  \
    "sbc r6, r23\n\t"                                                                              \
    "st X+, r22\n\t"                                                                               \
    "st X+, r6\n\t"                                                                                \
    "ret\n"                                                                                        \
    "5:\n\t"                                                                                       \
    "ldi r22, 0x7F\n\t"                                                                            \
    "ser r20\n\t"                                                                                  \
    "rjmp 4b"

/* 128 intervals. */
__attribute__((naked, noinline)) void bp_avr_sigmoid_7(void)
{
    __asm__ __volatile__(SIGMOID("", "lsl r22\n\t", "", "", ""));
}

/* 256: twice the index has 9 bits. */
__attribute__((naked, noinline)) void bp_avr_sigmoid_8(void)
{
    __asm__ __volatile__(SIGMOID("lsl r20\n\t"
                                 "adc r22, r21\n\t",
                                 "lsl r20\n\t"
                                 "rol r22\n\t",
                                 "add r30, r22\n\t"
                                 "adc r31, r21\n\t",
                                 "", ""));
}

/* 64: fr has a ninth bit, of half the weight of r20's lowest; r2 is -1 where it is set. */
#define INDEX_6                                                                                    \
    "lsr r22\n\t"                                                                                  \
    "ror r20\n\t"                                                                                  \
    "sbc r2, r2\n\t"                                                                               \
    "lsl r22\n\t"

__attribute__((naked, noinline)) void bp_avr_sigmoid_6(void)
{
    __asm__ __volatile__(SIGMOID("lsr r22\n\t" INDEX_6, INDEX_6, "",
                                 "mov r30, r6\n\t"
                                 "mov r31, r10\n\t"
                                 "lsr r31\n\t"
                                 "ror r30\n\t"
                                 "and r30, r2\n\t"
                                 "and r31, r2\n\t",
                                 "add r0, r30\n\t"
                                 "adc r22, r31\n\t"
                                 "adc r23, r21\n\t"));
}

/* ---- The kernels ----------------------------------------------------------------------------- */

__attribute__((naked, noinline)) static void bp_avr_layer(void)
{
    __asm__ __volatile__(LAYER("ld"));
}

__attribute__((naked, noinline)) static void bp_avr_layer_rom(void)
{
    __asm__ __volatile__(LAYER("lpm"));
}

/* Where LAYER finds its arguments, and what it leaves alone: the caller saves for all its layers,
 * but keeps two pointers over a call, r2 and r28.
 */
#define CALL_LAYER(f)                                                                              \
    register int16_t *at __asm__("r20") = out;                                                     \
    register const int16_t *biases __asm__("r22") = b;                                             \
    register const int16_t *weights __asm__("r24") = w;                                            \
                                                                                                   \
    (void)counters;                                                                                \
    __asm__ __volatile__("%~call %x[function]"                                                     \
                         : "+z"(layer), "+x"(a_in), "+r"(at), "+r"(biases), "+r"(weights)          \
                         : [function] "i"(f)                                                       \
                         : "r0", "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11",                 \
                           "r12", "r13", "r14", "r15", "r16", "r17", "r18", "r19", "memory")

#define BP_FAST_DENSE

void bp_dense(int16_t *out, const bp_layer_t *layer, const int16_t *w, const int16_t *b,
              const int16_t *a_in, bp_counters_t *counters)
{
    CALL_LAYER(bp_avr_layer);
}

void bp_dense_sigmoid(int16_t *out, const bp_layer_t *layer, const int16_t *w, const int16_t *b,
                      const int16_t *a_in, bp_counters_t *counters)
{
    CALL_LAYER(bp_avr_layer);
}

#define BP_FAST_DENSE_ROM

void bp_dense_rom(int16_t *out, const bp_layer_t *layer, const int16_t *w, const int16_t *b,
                  const int16_t *a_in, bp_counters_t *counters)
{
    CALL_LAYER(bp_avr_layer_rom);
}

void bp_dense_sigmoid_rom(int16_t *out, const bp_layer_t *layer, const int16_t *w,
                          const int16_t *b, const int16_t *a_in, bp_counters_t *counters)
{
    CALL_LAYER(bp_avr_layer_rom);
}

#endif

#endif

/* bpgen_avr_parts.h -- a layer forward whose sums are made in parts, for AVR cores.
 *
 * bpgen_avr_forward.h includes this, has the products and ends that it is made of, and says what
 * the registers hold. A part of a sum fits 32 bits; between parts, its upper byte tells how often
 * the sum went around them.
 * SPDX-License-Identifier: 0BSD
 */
#ifndef BPGEN_AVR_PARTS_H
#define BPGEN_AVR_PARTS_H

#include "bpgen_sum_avr.h"

/* The stack frame at Y of a sum in parts, pushed from the last to the first. */
#define F_LEFT "1"    /* outputs to do */
#define F_OUT "2"
#define F_OUT_2 "3"
#define F_B "4"
#define F_B_2 "5"
#define F_W "6"
#define F_W_2 "7"
#define F_A_IN "8"
#define F_A_IN_2 "9"
#define F_COUNT "10"
#define F_STRIDE "11" /* 4 * outputs - 16: from a pair's weights of one group to the next pair's */
#define F_SCALE "12"
#define F_HALF "13"
#define F_END "14"    /* address of the table in flash */
#define F_END_HIGH "15"
#define F_PAIRS "16"  /* pairs of inputs */
#define F_PAIRS_2 "17"
#define F_TO_DO "18"  /* and how many are to do */
#define F_TO_DO_2 "19"
#define F_STEP "20"   /* the stride of this group */
#define F_TOPS "21"   /* the sums' upper bytes before this part */
#define F_WRAPS "25"  /* and how often each went around 32 bits */
#define F_PARTS_SIZE "28"

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

/* The kind byte, and back to 32 bits, by 80. */
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

/* ---- What ends of a sum in parts need ---------------------------------------------------------
 *
 * From flash, Z at the table. A clip takes r29, and so Y.
 */
#define SIGMOID_FROM_FLASH(last)                                                                   \
    "lpm r18, Z+\n\t"                                                                              \
    "lpm r19, Z+\n\t"                                                                              \
    "lpm r16, Z+\n\t"                                                                              \
    "lpm r17, Z\n\t"                                                                               \
    "subi r18, lo8(-" last ")\n\t"                                                                 \
    "sbci r19, hi8(-" last ")\n\t"
#define SIGMOID_7_FROM_FLASH SIGMOID_FROM_FLASH("254")
#define SIGMOID_7_FRAME_AGAIN
#define SIGMOID_8_FROM_FLASH SIGMOID_FROM_FLASH("510")
#define SIGMOID_8_FRAME_AGAIN

#define CLIP_FROM_FLASH                                                                            \
    "sbiw r30, 11\n\t"                                                                             \
    "lpm r17, Z+\n\t"                                                                              \
    "lpm r29, Z+\n\t"                                                                              \
    "lpm r18, Z+\n\t"                                                                              \
    "lpm r19, Z+\n\t"                                                                              \
    "adiw r30, 9\n\t"                                                                              \
    "lpm r16, Z\n\t"
#define CLIP_FRAME_AGAIN "in r29, __SP_H__\n\t"

/* ---- A layer --------------------------------------------------------------------------------- */

/* A sum in parts; the count is the pairs of inputs in a part. */
#define LAYER_IN_PARTS(load, kind, far)                                                            \
    "push r28\n\t"                                                                                 \
    "push r29\n\t"                                                                                 \
    "movw r4, r30\n\t"                                                                             \
    "adiw r30, 10\n\t"                                                                             \
    "lpm r2, Z+\n\t"                                                                               \
    "lpm r3, Z\n\t"                                                                                \
    "ldi r30, 11\n\t"                                                                              \
    "1:\n\t"                                                                                       \
    "push r1\n\t"                                                                                  \
    "dec r30\n\t"                                                                                  \
    "brne 1b\n\t"                                                                                  \
    "push r3\n\t"                                                                                  \
    "push r2\n\t"                                                                                  \
    "push r5\n\t"                                                                                  \
    "push r4\n\t"                                                                                  \
    "push r17\n\t"                                                                                 \
    "push r20\n\t"                                                                                 \
    "mov r30, r21\n\t"                                                                             \
    "lsl r30\n\t"                                                                                  \
    "lsl r30\n\t"                                                                                  \
    "subi r30, 16\n\t"                                                                             \
    "push r30\n\t"                                                                                 \
    "push r16\n\t"                                                                                 \
    "push r27\n\t"                                                                                 \
    "push r26\n\t"                                                                                 \
    "push r19\n\t"                                                                                 \
    "push r18\n\t"                                                                                 \
    "push r23\n\t"                                                                                 \
    "push r22\n\t"                                                                                 \
    "push r25\n\t"                                                                                 \
    "push r24\n\t"                                                                                 \
    "push r21\n\t"                                                                                 \
    "in r28, __SP_L__\n\t"                                                                         \
    "in r29, __SP_H__\n\t"                                                                         \
                                                                                                   \
    "13:\n\t"                                                                                      \
    "ldd r20, Y+" F_SCALE "\n\t"                                                                   \
    "ldd r17, Y+" F_HALF "\n\t"                                                                    \
    "ldd r30, Y+" F_B "\n\t"                                                                       \
    "ldd r31, Y+" F_B_2 "\n\t"                                                                     \
    "clr r16\n\t"                                                                                  \
    "set\n\t"                                                                                      \
    "ldd r18, Y+" F_LEFT "\n\t"                                                                    \
    "subi r18, 4\n\t"                                                                              \
    "brsh 21f\n\t"                                                                                 \
    "clt\n\t"                                                                                      \
    "subi r18, -4\n\t"                                                                             \
    "breq 19f\n\t"                                                                                 \
    "subi r18, 1\n\t"                                                                              \
    "mov r2, r18\n\t"                                                                              \
    "std Y+" F_LEFT ", r16\n\t"                                                                    \
    TAIL("r2", "22f", "23f", "24f")                                                                \
                                                                                                   \
    "19:\n\t"                                                                                      \
    "adiw r28, " F_PARTS_SIZE "\n\t"                                                               \
    "in r0, __SREG__\n\t"                                                                          \
    "cli\n\t"                                                                                      \
    "out __SP_H__, r29\n\t"                                                                        \
    "out __SREG__, r0\n\t"                                                                         \
    "out __SP_L__, r28\n\t"                                                                        \
    RETURN                                                                                         \
                                                                                                   \
    "21:\n\t"                                                                                      \
    "std Y+" F_LEFT ", r18\n\t"                                                                    \
    BP_AVR_START(load, BP_AVR_P)                                                                   \
    "22:\n\t" BP_AVR_START(load, BP_AVR_Q)                                                         \
    "23:\n\t" BP_AVR_START(load, BP_AVR_R)                                                         \
    "24:\n\t" BP_AVR_START(load, BP_AVR_S)                                                         \
    "clr r21\n\t"                                                                                  \
    "std Y+" F_B ", r30\n\t"                                                                       \
    "std Y+" F_B_2 ", r31\n\t"                                                                     \
    "ldd r26, Y+" F_A_IN "\n\t"                                                                    \
    "ldd r27, Y+" F_A_IN_2 "\n\t"                                                                  \
    "ldd r18, Y+" F_W "\n\t"                                                                       \
    "ldd r19, Y+" F_W_2 "\n\t"                                                                     \
    "ldd r17, Y+" F_STRIDE "\n\t"                                                                  \
    "movw r30, r18\n\t"                                                                            \
    "brtc 26f\n\t"                                                                                 \
    "subi r18, -16\n\t"                                                                            \
    "sbci r19, -1\n\t"                                                                             \
    "std Y+" F_W ", r18\n\t"                                                                       \
    "std Y+" F_W_2 ", r19\n\t"                                                                     \
    "rjmp 1070f\n\t"                                                                               \
                                                                                                   \
    /* The last outputs, less than four: the stride is 4 * (4 - their number) more. */             \
    "26:\n\t"                                                                                      \
    "mov r19, r2\n\t"                                                                              \
    "lsl r19\n\t"                                                                                  \
    "lsl r19\n\t"                                                                                  \
    "subi r17, -12\n\t"                                                                            \
    "sub r17, r19\n\t"                                                                             \
                                                                                                   \
    /* A sum in parts starts without the offset, which comes at the end. */                        \
    "1070:\n\t"                                                                                    \
    "std Y+" F_STEP ", r17\n\t"                                                                    \
    "ldd r17, Y+" F_HALF "\n\t"                                                                    \
    "sub r5, r17\n\t"                                                                              \
    "std Y+" F_TOPS "+0, r5\n\t"                                                                   \
    "std Y+" F_WRAPS "+0, r21\n\t"                                                                 \
    "sub r9, r17\n\t"                                                                              \
    "std Y+" F_TOPS "+1, r9\n\t"                                                                   \
    "std Y+" F_WRAPS "+1, r21\n\t"                                                                 \
    "sub r13, r17\n\t"                                                                             \
    "std Y+" F_TOPS "+2, r13\n\t"                                                                  \
    "std Y+" F_WRAPS "+2, r21\n\t"                                                                 \
    "sub r25, r17\n\t"                                                                             \
    "std Y+" F_TOPS "+3, r25\n\t"                                                                  \
    "std Y+" F_WRAPS "+3, r21\n\t"                                                                 \
                                                                                                   \
    "ldd r16, Y+" F_PAIRS_2 "\n\t"                                                                 \
    "std Y+" F_TO_DO_2 ", r16\n\t"                                                                 \
    "ldd r16, Y+" F_PAIRS "\n\t"                                                                   \
    "rjmp 1073f\n\t"                                                                               \
                                                                                                   \
    "29:\n\t" TAIL("r2", "32f", "33f", "34f")                                                      \
                                                                                                   \
    "30:\n\t" BP_AVR_INPUTS                                                                        \
    "brtc 29b\n\t"                                                                                 \
    BP_AVR_PRODUCTS(load, BP_AVR_SIGNED_A, BP_AVR_P)                                               \
    "32:\n\t" BP_AVR_PRODUCTS(load, BP_AVR_SIGNED_A, BP_AVR_Q)                                     \
    "33:\n\t" BP_AVR_PRODUCTS(load, BP_AVR_SIGNED_A, BP_AVR_R)                                     \
    "34:\n\t" BP_AVR_PRODUCTS(load, BP_AVR_SIGNED_A, BP_AVR_S)                                     \
    "add r30, r29\n\t"                                                                             \
    "adc r31, r21\n\t"                                                                             \
                                                                                                   \
    "dec r28\n\t"                                                                                  \
    "breq 40f\n\t"                                                                                 \
    "rjmp 30b\n\t"                                                                                 \
                                                                                                   \
    /* What this part did to the sums. */                                                          \
    "40:\n\t"                                                                                      \
    "in r28, __SP_L__\n\t"                                                                         \
    "in r29, __SP_H__\n\t"                                                                         \
    "brtc 1072f\n\t"                                                                               \
    FOLD("0", BP_AVR_P)                                                                            \
    "1072:\n\t" FOLD("1", BP_AVR_Q) FOLD("2", BP_AVR_R) FOLD("3", BP_AVR_S)                        \
    "ldd r16, Y+" F_TO_DO "\n\t"                                                                   \
                                                                                                   \
    /* The next part, or the rest; r16 is the lower byte of what is to do. */                      \
    "1073:\n\t"                                                                                    \
    "ldd r18, Y+" F_COUNT "\n\t"                                                                   \
    "sub r16, r18\n\t"                                                                             \
    "brsh 1074f\n\t"                                                                               \
    "ldd r17, Y+" F_TO_DO_2 "\n\t"                                                                 \
    "subi r17, 1\n\t"                                                                              \
    "brlo 1077f\n\t"                                                                               \
    "std Y+" F_TO_DO_2 ", r17\n\t"                                                                 \
    "1074:\n\t"                                                                                    \
    "std Y+" F_TO_DO ", r16\n\t"                                                                   \
    "ldd r19, Y+" F_STEP "\n\t"                                                                    \
    "movw r28, r18\n\t"                                                                            \
    "rjmp 30b\n\t"                                                                                 \
    "1077:\n\t"                                                                                    \
    "add r18, r16\n\t"                                                                             \
    "breq 1075f\n\t"                                                                               \
    "clr r16\n\t"                                                                                  \
    "rjmp 1074b\n\t"                                                                               \
                                                                                                   \
    AROUND("0", BP_AVR_P) AROUND("1", BP_AVR_Q) AROUND("2", BP_AVR_R) AROUND("3", BP_AVR_S)        \
                                                                                                   \
    "1075:\n\t"                                                                                    \
    "ldd r17, Y+" F_HALF "\n\t"                                                                    \
    "ldi r18, 0x7F\n\t"                                                                            \
    "add r18, r17\n\t"                                                                             \
    "brtc 1076f\n\t"                                                                               \
    UNFOLD("0", BP_AVR_P)                                                                          \
    "1076:\n\t" UNFOLD("1", BP_AVR_Q) UNFOLD("2", BP_AVR_R) UNFOLD("3", BP_AVR_S)                  \
    "ldd r26, Y+" F_OUT "\n\t"                                                                     \
    "ldd r27, Y+" F_OUT_2 "\n\t"                                                                   \
    "ldd r30, Y+" F_END "\n\t"                                                                     \
    "ldd r31, Y+" F_END_HIGH "\n\t"                                                                \
    kind##_FROM_FLASH                                                                              \
    "brts 45f\n\t"                                                                                 \
    TAIL("r2", "46f", "47f", "48f")                                                                \
    "45:\n\t" kind("0", BP_AVR_P)                                                                  \
    "46:\n\t" kind("1", BP_AVR_Q)                                                                  \
    "47:\n\t" kind("2", BP_AVR_R)                                                                  \
    "48:\n\t" kind("3", BP_AVR_S)                                                                  \
    kind##_FRAME_AGAIN                                                                             \
    "std Y+" F_OUT ", r26\n\t"                                                                     \
    "std Y+" F_OUT_2 ", r27\n\t"                                                                   \
    "rjmp 13b\n\t"                                                                                 \
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
    "ret\n"                                                                                        \
    far

#endif

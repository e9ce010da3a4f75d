/* bpgen_avr_small.h -- layers, deltas and updates for AVR cores, in as little flash as possible.
 *
 * --optimize size takes these in place of the files named bpgen_avr_ but not small. What several
 * kernels do is there once, as a subroutine: a product, the loop over products, forward as well as
 * backward and for the steps of an update, and what ends a number, rounding and clipping. All sums
 * have 40 bits, so there is no second path for those that leave 32, and no shift is a constant, so
 * there is none for formats either. 40 bits hold what inputs * top < 2^24 allows: 511 numbers of
 * the largest top.
 *
 *     r0, r1    a product of bytes                 r10..r14  sum, lowest byte first
 *     r2        0                                  r15       a shift that stays
 *     r3        1, in loops over columns 2         r16, r17  x: a number from the array at X
 *     r4, r5    bytes from a pair of numbers at    r18, r19  the count of a pass, or a shift's
 *               Z to the next pair                 r20, r21  y: a number from the array at Z
 *     r6, r7    r3 * (numbers in a pass - 1)       r22..r25  p: x * y, lowest byte first
 *     r8, r9    passes or units to do              X, Y, Z   r26 to r31
 *     T         an update
 *
 * A function says what else it keeps there. MULSU leaves the sign of its product in the carry, for
 * SBC to extend, and takes r16..r23 only.
 * SPDX-License-Identifier: 0BSD
 */
#ifndef BPGEN_AVR_SMALL_H
#define BPGEN_AVR_SMALL_H

#include "bpgen_unit.h"

#if !BPGEN_COUNTERS

/* A function in assembly, and one that calls the functions behind `__VA_ARGS__`. */
#define BP_ASM(name, text)                                                                         \
    __attribute__((naked, noinline)) static void name(void)                                        \
    {                                                                                              \
        __asm__ __volatile__(text);                                                                \
    }
#define BP_ASM_CALLS(name, text, ...)                                                              \
    __attribute__((naked, noinline)) static void name(void)                                        \
    {                                                                                              \
        __asm__ __volatile__(text : : __VA_ARGS__);                                                \
    }
#define BP_CALLS(name) [name] "i"(bp_avr_##name)
#define BP_CALL(name) "%~call %x[" #name "]\n\t"
#define BP_JUMP(name) "%~jmp %x[" #name "]\n\t"

/* One less in r9:r8: BRNE follows. */
#define BP_COUNT_DOWN                                                                              \
    "sub r8, r3\n\t"                                                                               \
    "sbc r9, r2\n\t"

/* ---- Calls from C --------------------------------------------------------------------------- */

/* A kernel starts with BP_ENTER, which sets r2, r3 and T, and jumps to `leave` with the stack as it
 * was then. It keeps what C keeps, where a caller has its pointers: without r2 to r15 that spills
 * more than is saved here.
 */
#define BP_PUSH                                                                                    \
    "push r2\n\t"                                                                                  \
    "push r3\n\t"                                                                                  \
    "push r4\n\t"                                                                                  \
    "push r5\n\t"                                                                                  \
    "push r6\n\t"                                                                                  \
    "push r7\n\t"                                                                                  \
    "push r8\n\t"                                                                                  \
    "push r9\n\t"                                                                                  \
    "push r10\n\t"                                                                                 \
    "push r11\n\t"                                                                                 \
    "push r12\n\t"                                                                                 \
    "push r13\n\t"                                                                                 \
    "push r14\n\t"                                                                                 \
    "push r15\n\t"                                                                                 \
    "push r28\n\t"                                                                                 \
    "push r29\n\t"
#define BP_SET                                                                                     \
    "clr r2\n\t"                                                                                   \
    "clr r3\n\t"                                                                                   \
    "inc r3\n\t"                                                                                   \
    "clt\n\t"

#if defined(__AVR_3_BYTE_PC__)
#define BP_ENTER BP_PUSH BP_SET
#define BP_ENTERS [leave] "i"(bp_avr_leave)
#else
#define BP_ENTER BP_CALL(enter)
#define BP_ENTERS [enter] "i"(bp_avr_enter), [leave] "i"(bp_avr_leave)

BP_ASM(bp_avr_enter, "pop r0\n\t"
                     "pop r1\n\t" BP_PUSH
                     "push r1\n\t"
                     "push r0\n\t" BP_SET
                     "ret")
#endif

BP_ASM(bp_avr_leave, "clr r1\n\t"
                     "pop r29\n\t"
                     "pop r28\n\t"
                     "pop r15\n\t"
                     "pop r14\n\t"
                     "pop r13\n\t"
                     "pop r12\n\t"
                     "pop r11\n\t"
                     "pop r10\n\t"
                     "pop r9\n\t"
                     "pop r8\n\t"
                     "pop r7\n\t"
                     "pop r6\n\t"
                     "pop r5\n\t"
                     "pop r4\n\t"
                     "pop r3\n\t"
                     "pop r2\n\t"
                     "ret")

#define BP_CLOBBERS "r0", "memory"

/* ---- Sums ----------------------------------------------------------------------------------- */

BP_ASM(bp_avr_clear, "clr r10\n\t"
                     "clr r11\n\t"
                     "movw r12, r10\n\t"
                     "clr r14\n\t"
                     "ret")

/* p = x * y. */
#define BP_PRODUCT                                                                                 \
    "muls r17, r21\n\t"                                                                            \
    "movw r24, r0\n\t"                                                                             \
    "mul r16, r20\n\t"                                                                             \
    "movw r22, r0\n\t"                                                                             \
    "mulsu r17, r20\n\t"                                                                           \
    "sbc r25, r2\n\t"                                                                              \
    "add r23, r0\n\t"                                                                              \
    "adc r24, r1\n\t"                                                                              \
    "adc r25, r2\n\t"                                                                              \
    "mulsu r21, r16\n\t"                                                                           \
    "sbc r25, r2\n\t"                                                                              \
    "add r23, r0\n\t"                                                                              \
    "adc r24, r1\n\t"                                                                              \
    "adc r25, r2\n\t"

/* sum += p. */
#define BP_ADD                                                                                     \
    "mov r0, r25\n\t"                                                                              \
    "lsl r0\n\t"                                                                                   \
    "sbc r0, r0\n\t"                                                                               \
    "add r10, r22\n\t"                                                                             \
    "adc r11, r23\n\t"                                                                             \
    "adc r12, r24\n\t"                                                                             \
    "adc r13, r25\n\t"                                                                             \
    "adc r14, r0\n\t"

BP_ASM(bp_avr_product, BP_PRODUCT BP_ADD "ret")

/* sum = round(sum, r18). The last bit that is dropped is what rounds, halves up. */
BP_ASM(bp_avr_round, "clr r0\n"
                     "1:\n\t"
                     "subi r18, 8\n\t"
                     "brcs 2f\n\t"
                     "mov r0, r10\n\t"
                     "mov r10, r11\n\t"
                     "mov r11, r12\n\t"
                     "mov r12, r13\n\t"
                     "mov r13, r14\n\t"
                     "lsl r14\n\t"
                     "sbc r14, r14\n\t"
                     "rjmp 1b\n"
                     "2:\n\t"
                     "subi r18, -8\n\t"
                     "lsl r0\n\t"
                     "rjmp 4f\n"
                     "3:\n\t"
                     "asr r14\n\t"
                     "ror r13\n\t"
                     "ror r12\n\t"
                     "ror r11\n\t"
                     "ror r10\n"
                     "4:\n\t"
                     "dec r18\n\t"
                     "brpl 3b\n\t"
                     "adc r10, r2\n\t"
                     "adc r11, r2\n\t"
                     "adc r12, r2\n\t"
                     "adc r13, r2\n\t"
                     "adc r14, r2\n\t"
                     "ret")

/* sum = round(a * 2^16, the lower six bits of r15) for the next number a at X. */
BP_ASM_CALLS(bp_avr_scaled, "clr r10\n\t"
                            "clr r11\n\t"
                            "ld r12, X+\n\t"
                            "ld r13, X+\n\t"
                            "mov r14, r13\n\t"
                            "lsl r14\n\t"
                            "sbc r14, r14\n\t"
                            "mov r18, r15\n\t"
                            "andi r18, 0x3F\n\t" BP_JUMP(round),
             BP_CALLS(round))

/* r17:r16 = round(sum, r18) clipped to [r21:r20, r17:r16], of which the lower is at most 0 and the
 * upper at least. Of the limit on the sum's side it is enough to know whether it is below the sum.
 */
BP_ASM_CALLS(bp_avr_narrow, BP_CALL(round)
                            "sbrc r14, 7\n\t"
                            "movw r16, r20\n\t"
                            "mov r0, r17\n\t"
                            "lsl r0\n\t"
                            "sbc r0, r0\n\t"
                            "cp r16, r10\n\t"
                            "cpc r17, r11\n\t"
                            "cpc r0, r12\n\t"
                            "cpc r0, r13\n\t"
                            "cpc r0, r14\n\t"
                            "brge 1f\n\t"
                            "com r14\n"
                            "1:\n\t"
                            "sbrs r14, 7\n\t"
                            "movw r16, r10\n\t"
                            "ret",
             BP_CALLS(round))

/* r24:r23:r22 of the number in r25..r22 clipped to 24 bits; Z is clear if that changed it. */
#define BP_CLIP24(label)                                                                           \
    "mov r0, r24\n\t"                                                                              \
    "lsl r0\n\t"                                                                                   \
    "sbc r0, r0\n\t"                                                                               \
    "cp r0, r25\n\t"                                                                               \
    "breq " #label "f\n\t"                                                                         \
    "lsl r25\n\t"                                                                                  \
    "sbc r22, r22\n\t"                                                                             \
    "com r22\n\t"                                                                                  \
    "mov r23, r22\n\t"                                                                             \
    "mov r24, r22\n\t"                                                                             \
    "subi r24, 0x80\n" #label ":\n\t"

BP_ASM(bp_avr_clip24, BP_CLIP24(1) "ret")

/* ---- A pass ---------------------------------------------------------------------------------- */

/* M += round(p, shift) for the master at Z and, its lowest byte, at Y; the shift is 8 * the upper
 * two bits of r15. Z and Y go on, Y by r3.
 */
BP_ASM(bp_avr_step, "clr r0\n\t"
                    "mov r16, r15\n\t"
                    "rjmp 2f\n"
                    "1:\n\t"
                    "mov r0, r22\n\t"
                    "mov r22, r23\n\t"
                    "mov r23, r24\n\t"
                    "mov r24, r25\n\t"
                    "lsl r25\n\t"
                    "sbc r25, r25\n"
                    "2:\n\t"
                    "subi r16, 64\n\t"
                    "brcc 1b\n\t"
                    "lsl r0\n\t"
                    "ld r0, Y\n\t"
                    "adc r22, r0\n\t"
                    "ld r0, Z\n\t"
                    "adc r23, r0\n\t"
                    "ldd r0, Z+1\n\t"
                    "adc r24, r0\n\t"
                    "adc r25, r2\n\t"
                    "sbrc r0, 7\n\t"
                    "dec r25\n\t" BP_CLIP24(3)
                    "st Y, r22\n\t"
                    "st Z+, r23\n\t"
                    "st Z+, r24\n\t"
                    "add r28, r3\n\t"
                    "adc r29, r2\n\t"
                    "ret")

/* sum += x * y for the numbers at X, one after the other, and those at Z. With T set y stays, and
 * x * y is the step of the master at Z instead. Where the count is even, pairs at Z end.
 */
BP_ASM_CALLS(bp_avr_pass, "movw r18, r6\n"
                          "1:\n\t"
                          "ld r16, X+\n\t"
                          "ld r17, X+\n\t"
                          "brts 2f\n\t"
                          "ld r20, Z+\n\t"
                          "ld r21, Z+\n"
                          "2:\n\t" BP_PRODUCT
                          "brts 5f\n\t" BP_ADD
                          "3:\n\t"
                          "sbrc r18, 0\n\t"
                          "rjmp 4f\n\t"
                          "add r30, r4\n\t"
                          "adc r31, r5\n"
                          "4:\n\t"
                          "sub r18, r3\n\t"
                          "sbc r19, r2\n\t"
                          "brcc 1b\n\t"
                          "ret\n"
                          "5:\n\t" BP_CALL(step)
                          "rjmp 3b",
             BP_CALLS(step))

#include "bpgen_avr_small_forward.h"
#include "bpgen_avr_small_learn.h"

#endif

#endif

/* bpgen_avr_small.h -- layers, deltas and updates for AVR cores, in as little flash as possible.
 *
 * --optimize size takes these in place of bpgen_avr_forward.h and bpgen_avr_learn.h. One loop adds
 * up products, forward as well as backward, and makes the steps of an update; what ends a number,
 * rounding and clipping, is there once. All sums have 40 bits, so there is no second path for those
 * that leave 32, and shifts go bit by bit, so there is none for formats either. 40 bits hold what
 * inputs * top < 2^24 allows: 511 numbers of the largest top.
 *
 *     r0, r1    a product of bytes                 r15       a shift that stays
 *     r2        0                                  r16, r17  x: a number from the array at X
 *     r3        skipped after each x, in bytes     r18, r19  the count of PASS, or a shift's
 *     r4, r5    from a y to the next, in bytes     r20, r21  y: a number from the array at Z
 *     r6, r7    numbers in a pass                  r22..r25  p: x * y, lowest byte first
 *     r8, r9    passes or units to do              r26, r27  X
 *     r10..r13  sum, and r14 how often it has      r28, r29  Y
 *               gone around 32 bits                r30, r31  Z
 *
 * A function says what else it keeps there. MULSU leaves the sign of its product in the carry, for
 * SBC to extend, and takes r16..r23 only.
 * SPDX-License-Identifier: 0BSD
 */
#ifndef BPGEN_AVR_SMALL_H
#define BPGEN_AVR_SMALL_H

#include "bpgen_unit.h"

#if !BPGEN_COUNTERS

/* A function in assembly, which calls the functions behind `__VA_ARGS__`. */
#define BP_ASM(name, text, ...)                                                                    \
    __attribute__((naked, noinline)) static void name(void)                                        \
    {                                                                                              \
        __asm__ __volatile__(text : : __VA_ARGS__);                                                \
    }
#define BP_CALLS(name) [name] "i"(bp_avr_##name)
#define BP_CALL(name) "%~call %x[" #name "]\n\t"

#define BP_JUMP(name) "%~jmp %x[" #name "]\n\t"

/* ---- Calls from C --------------------------------------------------------------------------- */

/* Such a function starts with BP_ENTER, which clears r2, and jumps to `leave` with the stack as it
 * was then. It keeps what C keeps.
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

#if defined(__AVR_3_BYTE_PC__)
#define BP_ENTER BP_PUSH "clr r2\n\t"
#define BP_ENTERS [leave] "i"(bp_avr_leave)
#else
#define BP_ENTER BP_CALL(enter)
#define BP_ENTERS [enter] "i"(bp_avr_enter), [leave] "i"(bp_avr_leave)

BP_ASM(bp_avr_enter, "pop r0\n\t"
                     "pop r1\n\t" BP_PUSH
                     "push r1\n\t"
                     "push r0\n\t"
                     "clr r1\n\t"
                     "clr r2\n\t"
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

/* ---- Limits --------------------------------------------------------------------------------- */

/* r24:r23:r22 of the number in r25..r22 clipped to 24 bits: `fill` makes the limit that the carry,
 * the number's sign, tells.
 */
BP_ASM(bp_avr_fill, "sbc r22, r22\n\t"
                    "com r22\n\t"
                    "mov r23, r22\n\t"
                    "mov r24, r22\n\t"
                    "subi r24, 0x80\n\t"
                    "ret")

BP_ASM(bp_avr_clip24, "mov r0, r24\n\t"
                      "lsl r0\n\t"
                      "sbc r0, r0\n\t"
                      "cp r0, r25\n\t"
                      "breq 1f\n\t"
                      "lsl r25\n\t" BP_CALL(fill)
                      "1:\n\t"
                      "ret",
       BP_CALLS(fill))

/* sum = round(sum, r18), in 40 bits with r14 the highest byte. The last bit that is dropped is what
 * rounds, halves up.
 */
BP_ASM(bp_avr_round, "sbrc r13, 7\n\t"
                     "dec r14\n\t"
                     "clr r0\n"
                     "1:\n\t"
                     "cpi r18, 8\n\t"
                     "brlo 2f\n\t"
                     "mov r0, r10\n\t"
                     "mov r10, r11\n\t"
                     "mov r11, r12\n\t"
                     "mov r12, r13\n\t"
                     "mov r13, r14\n\t"
                     "lsl r14\n\t"
                     "sbc r14, r14\n\t"
                     "subi r18, 8\n\t"
                     "rjmp 1b\n"
                     "2:\n\t"
                     "lsl r0\n\t"
                     "tst r18\n\t"
                     "breq 4f\n"
                     "3:\n\t"
                     "asr r14\n\t"
                     "ror r13\n\t"
                     "ror r12\n\t"
                     "ror r11\n\t"
                     "ror r10\n\t"
                     "dec r18\n\t"
                     "brne 3b\n"
                     "4:\n\t"
                     "adc r10, r2\n\t"
                     "adc r11, r2\n\t"
                     "adc r12, r2\n\t"
                     "adc r13, r2\n\t"
                     "adc r14, r2\n\t"
                     "ret")

/* r23:r22 = round(sum, r18) clipped to [r21:r20, r17:r16]. */
BP_ASM(bp_avr_narrow, BP_CALL(round)
                      "movw r22, r10\n\t"
                      "mov r0, r11\n\t"
                      "lsl r0\n\t"
                      "sbc r0, r0\n\t"
                      "cp r0, r12\n\t"
                      "cpc r0, r13\n\t"
                      "cpc r0, r14\n\t"
                      "breq 1f\n\t"
                      "lsl r14\n\t"
                      "sbc r22, r22\n\t"
                      "com r22\n\t"
                      "mov r23, r22\n\t"
                      "subi r23, 0x80\n"
                      "1:\n\t"
                      "cp r16, r22\n\t"
                      "cpc r17, r23\n\t"
                      "brge 2f\n\t"
                      "movw r22, r16\n"
                      "2:\n\t"
                      "cp r22, r20\n\t"
                      "cpc r23, r21\n\t"
                      "brge 3f\n\t"
                      "movw r22, r20\n"
                      "3:\n\t"
                      "ret",
       BP_CALLS(round))

/* ---- A pass ---------------------------------------------------------------------------------- */

/* sum += x * y for r7:r6 numbers of each array, 42 cycles a product. Where an addition overflows,
 * the carry is the sign of both summands.
 */
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

/* With T set y stays, and M += round(x * y, shift) for the masters at Z and Y instead: r10 is the
 * shift in bytes, r11 the way from a low byte to the next. bp_avr_one makes a single product, of x
 * and y as they are, which stays in p.
 */
BP_ASM(bp_avr_pass, "movw r18, r6\n"
                    "1:\n\t"
                    "ld r16, X+\n\t"
                    "ld r17, X+\n\t"
                    "brts 2f\n\t"
                    "ld r20, Z\n\t"
                    "ldd r21, Z+1\n"
                    "2:\n\t" BP_PRODUCT
                    "brts 5f\n\t"
                    "add r10, r22\n\t"
                    "adc r11, r23\n\t"
                    "adc r12, r24\n\t"
                    "adc r13, r25\n\t"
                    "brvc 4f\n\t"
                    "brcs 3f\n\t"
                    "inc r14\n\t"
                    "inc r14\n"
                    "3:\n\t"
                    "dec r14\n"
                    "4:\n\t"
                    "add r26, r3\n\t"
                    "adc r27, r2\n\t"
                    "add r30, r4\n\t"
                    "adc r31, r5\n\t"
                    "subi r18, 1\n\t"
                    "sbci r19, 0\n\t"
                    "brne 1b\n\t"
                    "ret\n"

                    ".global bp_avr_one\n"
                    "bp_avr_one:\n\t"
                    "clt\n\t"
                    "ldi r18, 1\n\t"
                    "ldi r19, 0\n\t"
                    "rjmp 2b\n"

                    /* A bias, by its r4 of 2: y is 2^15 where it looks like -2^15. */
                    "11:\n\t"
                    "sbrs r21, 7\n\t"
                    "rjmp 6f\n\t"
                    "add r24, r16\n\t"
                    "adc r25, r17\n\t"
                    "rjmp 6f\n"
                    "5:\n\t"
                    "sbrc r4, 1\n\t"
                    "rjmp 11b\n"
                    "6:\n\t"
                    "mov r12, r10\n\t"
                    "dec r12\n\t"
                    "breq 8f\n\t"
                    "brmi 10f\n"
                    "7:\n\t"
                    "mov r22, r23\n\t"
                    "mov r23, r24\n\t"
                    "mov r24, r25\n\t"
                    "lsl r25\n\t"
                    "sbc r25, r25\n\t"
                    "dec r12\n\t"
                    "brne 7b\n"
                    "8:\n\t"
                    "lsl r22\n\t"
                    "ld r22, Y\n\t"
                    "adc r22, r23\n\t"
                    "ld r23, Z\n\t"
                    "adc r23, r24\n\t"
                    "ldd r24, Z+1\n\t"
                    "adc r24, r25\n\t"
                    "brvc 9f\n\t" BP_CALL(fill)
                    "9:\n\t"
                    "st Y, r22\n\t"
                    "st Z, r23\n\t"
                    "std Z+1, r24\n\t"
                    "add r28, r11\n\t"
                    "adc r29, r2\n\t"
                    "rjmp 4b\n"
                    /* No shift: the step has 32 bits. */
                    "10:\n\t"
                    "ld r0, Y\n\t"
                    "add r22, r0\n\t"
                    "ld r0, Z\n\t"
                    "adc r23, r0\n\t"
                    "ldd r0, Z+1\n\t"
                    "adc r24, r0\n\t"
                    "adc r25, r2\n\t"
                    "sbrc r0, 7\n\t"
                    "dec r25\n\t" BP_CALL(clip24)
                    "rjmp 9b",
       BP_CALLS(fill), BP_CALLS(clip24))

#define BP_CALL_ONE "%~call bp_avr_one\n\t"

/* Clear the sum. */
#define BP_CLEAR                                                                                   \
    "clr r10\n\t"                                                                                  \
    "clr r11\n\t"                                                                                  \
    "movw r12, r10\n\t"                                                                            \
    "clr r14\n\t"

/* One less to do: BRNE follows. */
#define BP_COUNT_DOWN                                                                              \
    "movw r24, r8\n\t"                                                                             \
    "sbiw r24, 1\n\t"                                                                              \
    "movw r8, r24\n\t"

/* ---- Forward --------------------------------------------------------------------------------- */

/* z of all outputs: Z the layer, X a_in, w in r25:r24, b in r23:r22, z in r21:r20. The stack holds,
 * from Y on, layer, a_in, w, b and z. A sum takes the even inputs first; r15 = 16 - a_in_frac.
 */
BP_ASM(bp_avr_dense, BP_ENTER
                     "push r21\n\t"
                     "push r20\n\t"
                     "push r23\n\t"
                     "push r22\n\t"
                     "push r25\n\t"
                     "push r24\n\t"
                     "push r27\n\t"
                     "push r26\n\t"
                     "push r31\n\t"
                     "push r30\n\t"
                     "in r28, __SP_L__\n\t"
                     "in r29, __SP_H__\n\t"
                     "ldi r18, 2\n\t"
                     "mov r3, r18\n\t"
                     "lpm r24, Z+\n\t"
                     "lpm r25, Z+\n\t"
                     "adiw r24, 1\n\t"
                     "lsr r25\n\t"
                     "ror r24\n\t"
                     "movw r6, r24\n\t"
                     "lpm r8, Z+\n\t"
                     "lpm r9, Z+\n\t"
                     "movw r4, r8\n\t"
                     "lsl r4\n\t"
                     "rol r5\n\t"
                     "lsl r4\n\t"
                     "rol r5\n\t"
                     "adiw r30, 10\n\t"
                     "lpm r0, Z\n\t"
                     "ldi r18, 16\n\t"
                     "sub r18, r0\n\t"
                     "mov r15, r18\n"
                     "1:\n\t"
                     "ldd r30, Y+7\n\t"
                     "ldd r31, Y+8\n\t"
                     "clr r10\n\t"
                     "clr r11\n\t"
                     "clr r14\n\t"
                     "ld r12, Z+\n\t"
                     "ld r13, Z+\n\t"
                     "std Y+7, r30\n\t"
                     "std Y+8, r31\n\t"
                     "mov r18, r15\n"
                     "2:\n\t"
                     "asr r13\n\t"
                     "ror r12\n\t"
                     "ror r11\n\t"
                     "ror r10\n\t"
                     "dec r18\n\t"
                     "brne 2b\n\t"
                     "clt\n\t"
                     "ldd r26, Y+3\n\t"
                     "ldd r27, Y+4\n\t"
                     "ldd r30, Y+5\n\t"
                     "ldd r31, Y+6\n\t" BP_CALL(pass)
                     "ldd r26, Y+3\n\t"
                     "ldd r27, Y+4\n\t"
                     "adiw r26, 2\n\t"
                     "ldd r30, Y+5\n\t"
                     "ldd r31, Y+6\n\t"
                     "adiw r30, 4\n\t"
                     "std Y+5, r30\n\t"
                     "std Y+6, r31\n\t"
                     "sbiw r30, 2\n\t" BP_CALL(pass)
                     "ldd r30, Y+1\n\t"
                     "ldd r31, Y+2\n\t"
                     "adiw r30, 8\n\t"
                     "lpm r20, Z+\n\t"
                     "lpm r21, Z+\n\t"
                     "lpm r16, Z+\n\t"
                     "lpm r17, Z+\n\t"
                     "adiw r30, 3\n\t"
                     "lpm r18, Z\n\t" BP_CALL(narrow)
                     "ldd r26, Y+9\n\t"
                     "ldd r27, Y+10\n\t"
                     "st X+, r22\n\t"
                     "st X+, r23\n\t"
                     "std Y+9, r26\n\t"
                     "std Y+10, r27\n\t" BP_COUNT_DOWN
                     "brne 1b\n\t"
                     "pop r30\n\t"
                     "pop r31\n\t"
                     "ldi r18, 6\n"
                     "3:\n\t"
                     "pop r0\n\t"
                     "dec r18\n\t"
                     "brne 3b\n\t"
                     "pop r26\n\t"
                     "pop r27\n\t"
                     BP_JUMP(leave),
       BP_ENTERS, BP_CALLS(pass), BP_CALLS(narrow))

#define BP_CLOBBERS "r0", "memory"

#define BP_FAST_DENSE

void bp_dense(int16_t *z, const bp_layer_t *layer, const int16_t *w, const int16_t *b,
              const int16_t *a_in, bp_counters_t *counters)
{
    register int16_t *r20 __asm__("r20") = z;
    register const int16_t *r22 __asm__("r22") = b;
    register const int16_t *r24 __asm__("r24") = w;

    (void)counters;
    __asm__ __volatile__("%~call %x[dense]"
                         : "+z"(layer), "+x"(a_in), "+r"(r20), "+r"(r22), "+r"(r24)
                         : BP_CALLS(dense)
                         : "r16", "r17", "r18", "r19", BP_CLOBBERS);
}

/* a in place: X a, the table in r17:r16, bits in r22, frac in r20, r9:r8 how many. r7:r6 is 1,
 * r15 = 16 - frac, and the stack holds bits + 1. With u = |z|, u * 2^(bits + 1) has the index above
 * its lower 16 bits, and in these fr, of which half is a y; the sum starts as the table's entry.
 */
BP_ASM(bp_avr_sigmoid, BP_ENTER
                       "inc r22\n\t"
                       "push r22\n\t"
                       "movw r8, r18\n\t"
                       "movw r28, r16\n\t"
                       "clr r3\n\t"
                       "ldi r18, 16\n\t"
                       "sub r18, r20\n\t"
                       "mov r15, r18\n\t"
                       "clr r6\n\t"
                       "clr r7\n\t"
                       "sec\n"
                       "1:\n\t"
                       "ror r7\n\t"
                       "ror r6\n\t"
                       "dec r18\n\t"
                       "brne 1b\n"
                       "2:\n\t"
                       "ld r20, X+\n\t"
                       "ld r21, X\n\t"
                       "sbrs r21, 7\n\t"
                       "rjmp 3f\n\t"
                       "com r21\n\t"
                       "neg r20\n\t"
                       "sbci r21, -1\n\t"
                       "brpl 3f\n\t"
                       "subi r20, 1\n\t"
                       "sbci r21, 0\n"
                       "3:\n\t"
                       "clr r30\n\t"
                       "clr r31\n\t"
                       "pop r18\n\t"
                       "push r18\n"
                       "4:\n\t"
                       "lsl r20\n\t"
                       "rol r21\n\t"
                       "rol r30\n\t"
                       "rol r31\n\t"
                       "dec r18\n\t"
                       "brne 4b\n\t"
                       "lsl r30\n\t"
                       "rol r31\n\t"
                       "add r30, r28\n\t"
                       "adc r31, r29\n\t"
                       "lsr r21\n\t"
                       "ror r20\n\t"
                       "clr r10\n\t"
                       "clr r11\n\t"
                       "lpm r12, Z+\n\t"
                       "lpm r13, Z+\n\t"
                       "lpm r16, Z+\n\t"
                       "lpm r17, Z\n\t"
                       "sub r16, r12\n\t"
                       "sbc r17, r13\n\t" BP_CALL_ONE BP_CALL_ONE
                       "mov r18, r15\n"
                       "5:\n\t"
                       "lsr r13\n\t"
                       "ror r12\n\t"
                       "dec r18\n\t"
                       "brne 5b\n\t"
                       "adc r12, r2\n\t"
                       "adc r13, r2\n\t"
                       "movw r20, r6\n\t"
                       "ld r0, X\n\t"
                       "sbrc r0, 7\n\t"
                       "rjmp 6f\n\t"
                       "subi r20, 1\n\t"
                       "sbci r21, 0\n\t"
                       "cp r20, r12\n\t"
                       "cpc r21, r13\n\t"
                       "brlo 7f\n\t"
                       "movw r20, r12\n\t"
                       "rjmp 7f\n"
                       "6:\n\t"
                       "sub r20, r12\n\t"
                       "sbc r21, r13\n"
                       "7:\n\t"
                       "st X, r21\n\t"
                       "st -X, r20\n\t"
                       "adiw r26, 2\n\t" BP_COUNT_DOWN
                       "breq 8f\n\t"
                       "rjmp 2b\n"
                       "8:\n\t"
                       "pop r0\n\t"
                       BP_JUMP(leave),
       BP_ENTERS, BP_CALLS(pass))

/* The same, and their sigmoids: `dense` leaves the layer in Z and the end of z in X. */
BP_ASM(bp_avr_dense_sigmoid, BP_CALL(dense)
                             "adiw r30, 2\n\t"
                             "lpm r18, Z+\n\t"
                             "lpm r19, Z\n\t"
                             "sub r26, r18\n\t"
                             "sbc r27, r19\n\t"
                             "sub r26, r18\n\t"
                             "sbc r27, r19\n\t"
                             "adiw r30, 14\n\t"
                             "lpm r20, Z+\n\t"
                             "lpm r22, Z+\n\t"
                             "lpm r16, Z+\n\t"
                             "lpm r17, Z\n\t" BP_JUMP(sigmoid),
       BP_CALLS(dense), BP_CALLS(sigmoid))

void bp_dense_sigmoid(int16_t *a, const bp_layer_t *layer, const int16_t *w, const int16_t *b,
                      const int16_t *a_in, bp_counters_t *counters)
{
    register int16_t *r20 __asm__("r20") = a;
    register const int16_t *r22 __asm__("r22") = b;
    register const int16_t *r24 __asm__("r24") = w;

    (void)counters;
    __asm__ __volatile__("%~call %x[dense_sigmoid]"
                         : "+z"(layer), "+x"(a_in), "+r"(r20), "+r"(r22), "+r"(r24)
                         : BP_CALLS(dense_sigmoid)
                         : "r16", "r17", "r18", "r19", BP_CLOBBERS);
}

#define BP_FAST_SIGMOID

void bp_sigmoid(int16_t *a, const uint16_t *table, uint8_t bits, uint8_t frac, size_t n)
{
    register size_t r18 __asm__("r18") = n;
    register const uint16_t *r16 __asm__("r16") = table;
    register uint8_t r20 __asm__("r20") = frac;
    register uint8_t r22 __asm__("r22") = bits;

    __asm__ __volatile__("%~call %x[sigmoid]"
                         : "+x"(a), "+r"(r18), "+r"(r16), "+r"(r20), "+r"(r22)
                         : BP_CALLS(sigmoid)
                         : "r21", "r23", "r24", "r25", "r30", "r31", BP_CLOBBERS);
}

/* ---- Backward -------------------------------------------------------------------------------- */

/* The sums of all inputs: Z the layer, X dz, w in r25:r24, sum in r23:r22. r15 is their shift; Y
 * is for sum, and the stack holds dz, and w in a pass.
 */
BP_ASM(bp_avr_backward, BP_ENTER
                        "push r27\n\t"
                        "push r26\n\t"
                        "movw r28, r22\n\t"
                        "clr r3\n\t"
                        "clr r5\n\t"
                        "ldi r18, 4\n\t"
                        "mov r4, r18\n\t"
                        "lpm r22, Z+\n\t"
                        "lpm r23, Z+\n\t"
                        "subi r22, -1\n\t"
                        "sbci r23, -1\n\t"
                        "andi r22, 0xFE\n\t"
                        "movw r8, r22\n\t"
                        "lpm r6, Z+\n\t"
                        "lpm r7, Z+\n\t"
                        "adiw r30, 12\n\t"
                        "lpm r15, Z\n\t"
                        "movw r30, r24\n"
                        "1:\n\t"
                        "pop r26\n\t"
                        "pop r27\n\t"
                        "push r27\n\t"
                        "push r26\n\t"
                        "push r31\n\t"
                        "push r30\n\t" BP_CLEAR
                        "clt\n\t" BP_CALL(pass)
                        "mov r18, r15\n\t" BP_CALL(round)
                        "movw r22, r10\n\t"
                        "movw r24, r12\n\t"
                        "mov r0, r25\n\t"
                        "lsl r0\n\t"
                        "sbc r0, r0\n\t"
                        "cp r0, r14\n\t"
                        "breq 2f\n\t"
                        "lsl r14\n\t" BP_CALL(fill)
                        "mov r25, r24\n\t"
                        "mov r24, r23\n"
                        "2:\n\t"
                        "st Y+, r22\n\t"
                        "st Y+, r23\n\t"
                        "st Y+, r24\n\t"
                        "st Y+, r25\n\t"
                        /* From the pass's start to the odd input, from its end to the next pair. */
                        "pop r24\n\t"
                        "pop r25\n\t"
                        "sbiw r30, 4\n\t"
                        "sbrs r8, 0\n\t"
                        "movw r30, r24\n\t"
                        "adiw r30, 2\n\t" BP_COUNT_DOWN
                        "brne 1b\n\t"
                        "pop r26\n\t"
                        "pop r27\n\t"
                        BP_JUMP(leave),
       BP_ENTERS, BP_CALLS(pass), BP_CALLS(round), BP_CALLS(fill))

#define BP_FAST_BACKWARD

void bp_backward(int32_t *sum, const bp_layer_t *layer, const int16_t *w, const int16_t *dz)
{
    register int32_t *r22 __asm__("r22") = sum;
    register const int16_t *r24 __asm__("r24") = w;

    __asm__ __volatile__("%~call %x[backward]"
                         : "+z"(layer), "+x"(dz), "+r"(r22), "+r"(r24)
                         : BP_CALLS(backward)
                         : "r16", "r17", "r18", "r19", "r20", "r21", BP_CLOBBERS);
}

/* Load a; y = its derivative, and the sum is clear. With A = a * 2^(16 - frac), by r15, and
 * x = A - 2^15 it is (2^30 + 2^15 - x * x) >> 16. The lower half of x * x is never 2^15, for 15 is
 * odd, so its highest bit tells on which side it is.
 */
BP_ASM(bp_avr_derivative, "ld r16, X+\n\t"
                          "ld r17, X+\n\t"
                          "mov r18, r15\n"
                          "1:\n\t"
                          "lsl r16\n\t"
                          "rol r17\n\t"
                          "dec r18\n\t"
                          "brne 1b\n\t"
                          "subi r17, 0x80\n\t"
                          "movw r20, r16\n\t" BP_CALL_ONE
                          "lsl r23\n\t"
                          "ldi r20, 0\n\t"
                          "ldi r21, 0x40\n\t"
                          "sbc r20, r24\n\t"
                          "sbc r21, r25\n\t" BP_CLEAR
                          "ret",
       BP_CALLS(pass))

/* Store a delta at Y: the sum rounded by r18 and clipped to r7:r6 either way. One less to do. */
BP_ASM(bp_avr_delta, "movw r16, r6\n\t"
                     "clr r20\n\t"
                     "clr r21\n\t"
                     "sub r20, r6\n\t"
                     "sbc r21, r7\n\t" BP_CALL(narrow)
                     "st Y+, r22\n\t"
                     "st Y+, r23\n\t" BP_COUNT_DOWN
                     "ret",
       BP_CALLS(narrow))

/* No strides, and r15 = 16 - frac in r22. */
#define BP_START_DELTAS                                                                            \
    BP_ENTER                                                                                       \
    "movw r28, r24\n\t"                                                                            \
    "movw r8, r18\n\t"                                                                             \
    "clr r3\n\t"                                                                                   \
    "clr r4\n\t"                                                                                   \
    "clr r5\n\t"                                                                                   \
    "ldi r18, 16\n\t"                                                                              \
    "sub r18, r22\n\t"                                                                             \
    "mov r15, r18\n"

/* (s * d) >> 8 of a sum s, but for what its lowest byte adds below 1: X a, Z sum, dz in r25:r24. */
BP_ASM(bp_avr_hidden, BP_START_DELTAS
       "1:\n\t" BP_CALL(derivative)
       "ld r22, Z+\n\t"
       "ld r23, Z+\n\t"
       "ld r24, Z+\n\t"
       "ld r25, Z+\n\t" BP_CALL(clip24)
       "push r24\n\t"
       "push r23\n\t"
       "mov r16, r22\n\t"
       "clr r17\n\t" BP_CALL_ONE
       "mov r10, r11\n\t"
       "mov r11, r12\n\t"
       "clr r12\n\t"
       "pop r16\n\t"
       "pop r17\n\t" BP_CALL_ONE
       "ldi r18, 12\n\t" BP_CALL(delta)
       "brne 1b\n\t" BP_JUMP(leave),
       BP_ENTERS, BP_CALLS(derivative), BP_CALLS(clip24), BP_CALLS(delta), BP_CALLS(pass))

/* a * d - t * d: X a, Z t, dz in r25:r24, the shift in r20. */
BP_ASM(bp_avr_output, BP_START_DELTAS
       "push r20\n"
       "1:\n\t" BP_CALL(derivative)
       "sbiw r26, 2\n\t"
       "ld r16, X+\n\t"
       "ld r17, X+\n\t" BP_CALL_ONE
       "com r21\n\t"
       "neg r20\n\t"
       "sbci r21, -1\n\t"
       "ld r16, Z+\n\t"
       "ld r17, Z+\n\t" BP_CALL_ONE
       "pop r18\n\t"
       "push r18\n\t" BP_CALL(delta)
       "brne 1b\n\t"
       "pop r0\n\t" BP_JUMP(leave),
       BP_ENTERS, BP_CALLS(derivative), BP_CALLS(delta), BP_CALLS(pass))

#define BP_DELTA_CLOBBERS "r0", "r16", "r17", "r21", "r23", "memory"

#define BP_FAST_OUTPUT_DELTA
void bp_output_delta_sigmoid(int16_t *dz, const int16_t *a, const int16_t *t, uint8_t frac,
                             uint8_t shift, int16_t top, bp_counters_t *counters, size_t n)
{
    register size_t r18 __asm__("r18") = n;
    register int16_t r6 __asm__("r6") = top;
    register uint8_t r20 __asm__("r20") = shift;
    register uint8_t r22 __asm__("r22") = frac;
    register int16_t *r24 __asm__("r24") = dz;

    (void)counters;
    __asm__ __volatile__("%~call %x[output]"
                         : "+x"(a), "+z"(t), "+r"(r18), "+r"(r20), "+r"(r22), "+r"(r24)
                         : "r"(r6), BP_CALLS(output)
                         : BP_DELTA_CLOBBERS);
}

#define BP_FAST_DELTA_SIGMOID
void bp_delta_sigmoid(int16_t *dz, const int32_t *sum, const int16_t *a, uint8_t frac, int16_t top,
                      bp_counters_t *counters, size_t n)
{
    register size_t r18 __asm__("r18") = n;
    register int16_t r6 __asm__("r6") = top;
    register uint8_t r22 __asm__("r22") = frac;
    register int16_t *r24 __asm__("r24") = dz;

    (void)counters;
    __asm__ __volatile__("%~call %x[hidden]"
                         : "+x"(a), "+z"(sum), "+r"(r18), "+r"(r22), "+r"(r24)
                         : "r"(r6), BP_CALLS(hidden)
                         : "r20", BP_DELTA_CLOBBERS);
}

/* ---- Updates --------------------------------------------------------------------------------- */

/* g = (-m * dz * 2 + 2^15) >> 16: X dz, Z g, m in r21:r20. */
BP_ASM(bp_avr_descent, BP_ENTER "movw r8, r18\n\t"
                       "clr r3\n\t"
                       "clr r4\n\t"
                       "clr r5\n\t"
                       "com r21\n\t"
                       "neg r20\n\t"
                       "sbci r21, -1\n"
                       "1:\n\t"
                       "ld r16, X+\n\t"
                       "ld r17, X+\n\t" BP_CALL_ONE
                       "lsl r23\n\t"
                       "rol r24\n\t"
                       "rol r25\n\t"
                       "lsl r23\n\t"
                       "adc r24, r2\n\t"
                       "adc r25, r2\n\t"
                       "st Z+, r24\n\t"
                       "st Z+, r25\n\t" BP_COUNT_DOWN
                       "brne 1b\n\t"
                       BP_JUMP(leave),
       BP_ENTERS, BP_CALLS(pass))

#define BP_FAST_DESCENT
void bp_descent(int16_t *g, const int16_t *dz, uint16_t mantissa, size_t n)
{
    register size_t r18 __asm__("r18") = n;
    register uint16_t r20 __asm__("r20") = mantissa;

    __asm__ __volatile__("%~call %x[descent]"
                         : "+x"(dz), "+z"(g), "+r"(r18), "+r"(r20)
                         : BP_CALLS(descent)
                         : "r0", "r16", "r17", "r22", "r23", "r24", "r25", "memory");
}

/* All weights and biases: Z the layer, X a_in, w in r25:r24, its low bytes in r23:r22, g in
 * r21:r20, b in r19:r18, its low bytes in r17:r16, the shift in r10, u's fraction in r12. r13 is
 * that less a_in's, r15:r14 is g, and the stack holds what Y and Z start from.
 */
BP_ASM(bp_avr_update, BP_ENTER
                      "push r17\n\t"
                      "push r16\n\t"
                      "push r19\n\t"
                      "push r18\n\t"
                      "push r12\n\t"
                      "push r27\n\t"
                      "push r26\n\t"
                      "movw r28, r22\n\t"
                      "movw r14, r20\n\t"
                      "clr r3\n\t"
                      "clr r5\n\t"
                      "ldi r18, 4\n\t"
                      "mov r4, r18\n\t"
                      "lsr r10\n\t"
                      "lsr r10\n\t"
                      "lsr r10\n\t"
                      "ldi r18, 2\n\t"
                      "mov r11, r18\n\t"
                      "lpm r22, Z+\n\t"
                      "lpm r23, Z+\n\t"
                      "subi r22, -1\n\t"
                      "sbci r23, -1\n\t"
                      "andi r22, 0xFE\n\t"
                      "movw r8, r22\n\t"
                      "lpm r6, Z+\n\t"
                      "lpm r7, Z+\n\t"
                      "adiw r30, 10\n\t"
                      "lpm r0, Z\n\t"
                      "sub r12, r0\n\t"
                      "mov r13, r12\n\t"
                      "movw r30, r24\n\t"
                      "set\n"
                      "1:\n\t"
                      "pop r26\n\t"
                      "pop r27\n\t"
                      "ld r20, X+\n\t"
                      "ld r21, X+\n\t"
                      "push r27\n\t"
                      "push r26\n\t"
                      "mov r18, r13\n\t"
                      "tst r18\n\t"
                      "breq 4f\n\t"
                      "brmi 3f\n"
                      "2:\n\t"
                      "lsl r20\n\t"
                      "rol r21\n\t"
                      "dec r18\n\t"
                      "brne 2b\n\t"
                      "rjmp 4f\n"
                      "3:\n\t"
                      "asr r21\n\t"
                      "ror r20\n\t"
                      "inc r18\n\t"
                      "brne 3b\n\t"
                      "adc r20, r2\n\t"
                      "adc r21, r2\n"
                      "4:\n\t"
                      "movw r26, r14\n\t"
                      "push r29\n\t"
                      "push r28\n\t"
                      "push r31\n\t"
                      "push r30\n\t" BP_CALL(pass)
                      "pop r24\n\t"
                      "pop r25\n\t"
                      "pop r22\n\t"
                      "pop r23\n\t"
                      "sbiw r28, 2\n\t"
                      "sbiw r30, 4\n\t"
                      "sbrc r8, 0\n\t"
                      "rjmp 5f\n\t"
                      "movw r28, r22\n\t"
                      "movw r30, r24\n"
                      "5:\n\t"
                      "adiw r28, 1\n\t"
                      "adiw r30, 2\n\t" BP_COUNT_DOWN
                      "brne 1b\n\t"
                      "pop r26\n\t"
                      "pop r27\n\t"
                      "pop r18\n\t"
                      "pop r30\n\t"
                      "pop r31\n\t"
                      "pop r28\n\t"
                      "pop r29\n\t"
                      "ldi r20, 1\n\t"
                      "ldi r21, 0\n\t"
                      "rjmp 7f\n"
                      "6:\n\t"
                      "lsl r20\n\t"
                      "rol r21\n"
                      "7:\n\t"
                      "dec r18\n\t"
                      "brpl 6b\n\t"
                      "lsr r4\n\t"
                      "lsr r11\n\t"
                      "movw r26, r14\n\t" BP_CALL(pass)
                      BP_JUMP(leave),
       BP_ENTERS, BP_CALLS(pass))

#define BP_FAST_RESIDUAL
void bp_update_residual(int16_t *w, uint8_t *w_low, int16_t *b, uint8_t *b_low,
                        const bp_layer_t *layer, const int16_t *a_in, const int16_t *g,
                        bp_alignment_t alignment, bp_counters_t *counters)
{
    register int8_t r10 __asm__("r10") = alignment.shift;
    register uint8_t r12 __asm__("r12") = alignment.frac;
    register uint8_t *r16 __asm__("r16") = b_low;
    register int16_t *r18 __asm__("r18") = b;
    register const int16_t *r20 __asm__("r20") = g;
    register uint8_t *r22 __asm__("r22") = w_low;
    register int16_t *r24 __asm__("r24") = w;

    (void)counters;
    __asm__ __volatile__("%~call %x[update]"
                         : "+z"(layer), "+x"(a_in), "+r"(r16), "+r"(r18), "+r"(r20), "+r"(r22),
                           "+r"(r24)
                         : "r"(r10), "r"(r12), BP_CALLS(update)
                         : BP_CLOBBERS);
}

#endif

#endif

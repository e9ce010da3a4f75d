/* bpgen_avr_small_learn.h -- deltas and updates, for AVR cores in as little flash as possible.
 *
 * bpgen_avr_small.h alone includes this, and says what the registers hold.
 * SPDX-License-Identifier: 0BSD
 */
#ifndef BPGEN_AVR_SMALL_LEARN_H
#define BPGEN_AVR_SMALL_LEARN_H

/* ---- Columns --------------------------------------------------------------------------------- */

/* For passes over the weights of one input each, the layer at Z: r8 counts the inputs in memory. Z
 * ends at the layer's block.
 */
BP_ASM(bp_avr_columns, "inc r3\n\t"
                       "lpm r24, Z+\n\t"
                       "lpm r25, Z+\n\t"
                       "adiw r24, 1\n\t"
                       "andi r24, 0xFE\n\t"
                       "movw r8, r24\n\t"
                       "lpm r24, Z+\n\t"
                       "lpm r25, Z+\n\t"
                       "sbiw r24, 1\n\t"
                       "lsl r24\n\t"
                       "rol r25\n\t"
                       "movw r6, r24\n\t"
                       "mov r4, r3\n\t"
                       "clr r5\n\t"
                       "ret")

/* From the end of a column at Z to the next one: back to the odd input of a pair, or on to the next
 * pair. With T set the same for Y, but for one byte. One less to do.
 */
BP_ASM(bp_avr_next, "sbiw r30, 2\n\t"
                    "sbrc r8, 0\n\t"
                    "rjmp 1f\n\t"
                    "sub r30, r6\n\t"
                    "sbc r31, r7\n\t"
                    "sub r30, r6\n\t"
                    "sbc r31, r7\n\t"
                    "brtc 1f\n\t"
                    "sub r28, r6\n\t"
                    "sbc r29, r7\n"
                    "1:\n\t"
                    "movw r24, r8\n\t"
                    "sbiw r24, 1\n\t"
                    "movw r8, r24\n\t"
                    "ret")

/* ---- Backward -------------------------------------------------------------------------------- */

/* The sums of all inputs: Z the layer, X dz, w in r23:r22, sum in r25:r24. r15 is their shift; Y
 * is for sum, and the stack holds dz.
 */
BP_ASM_CALLS(bp_avr_backward, BP_ENTER
                              "push r27\n\t"
                              "push r26\n\t"
                              "movw r28, r24\n\t" BP_CALL(columns)
                              "adiw r30, 12\n\t"
                              "lpm r15, Z\n\t"
                              "movw r30, r22\n"
                              "1:\n\t"
                              "pop r26\n\t"
                              "pop r27\n\t"
                              "push r27\n\t"
                              "push r26\n\t" BP_CALL(clear) BP_CALL(pass)
                              "mov r18, r15\n\t" BP_CALL(round)
                              "mov r22, r11\n\t"
                              "mov r23, r12\n\t"
                              "mov r24, r13\n\t"
                              "mov r25, r14\n\t" BP_CALL(clip24)
                              "breq 2f\n\t"
                              "mov r10, r22\n"
                              "2:\n\t"
                              "st Y+, r10\n\t"
                              "st Y+, r22\n\t"
                              "st Y+, r23\n\t"
                              "st Y+, r24\n\t" BP_CALL(next)
                              "brne 1b\n\t"
                              "pop r26\n\t"
                              "pop r27\n\t" BP_JUMP(leave),
             BP_ENTERS, BP_CALLS(columns), BP_CALLS(clear), BP_CALLS(pass), BP_CALLS(round),
             BP_CALLS(clip24), BP_CALLS(next))

#define BP_FAST_BACKWARD

void bp_backward(int32_t *sum, const bp_layer_t *layer, const int16_t *w, const int16_t *dz)
{
    register const int16_t *r22 __asm__("r22") = w;
    register int32_t *r24 __asm__("r24") = sum;

    __asm__ __volatile__("%~call %x[backward]"
                         : "+z"(layer), "+x"(dz), "+r"(r22), "+r"(r24)
                         : BP_CALLS(backward)
                         : "r16", "r17", "r18", "r19", "r20", "r21", BP_CLOBBERS);
}

/* Load a, of r15 fraction bits; y = its derivative, and the sum is clear. With x = A - 2^15 and
 * A = a * 2^(16 - r15) it is (2^30 + 2^15 - x * x) >> 16. The lower half of x * x is never 2^15,
 * for 15 is odd, so its highest bit tells on which side it is.
 */
BP_ASM_CALLS(bp_avr_derivative, BP_CALL(scaled)
                                "movw r16, r10\n\t"
                                "subi r17, 0x80\n\t"
                                "movw r20, r16\n\t" BP_CALL(product)
                                "lsl r23\n\t"
                                "ldi r20, 0\n\t"
                                "ldi r21, 0x40\n\t"
                                "sbc r20, r24\n\t"
                                "sbc r21, r25\n\t" BP_JUMP(clear),
             BP_CALLS(scaled), BP_CALLS(product), BP_CALLS(clear))

/* Store a delta at Y: the sum rounded by r18 and clipped to r7:r6 either way. One less to do. */
BP_ASM_CALLS(bp_avr_delta, "movw r16, r6\n\t"
                           "clr r20\n\t"
                           "clr r21\n\t"
                           "sub r20, r6\n\t"
                           "sbc r21, r7\n\t" BP_CALL(narrow)
                           "st Y+, r16\n\t"
                           "st Y+, r17\n\t" BP_COUNT_DOWN
                           "ret",
             BP_CALLS(narrow))

/* dz in r25:r24, n in r19:r18, frac in r22. */
#define BP_START_DELTAS                                                                            \
    BP_ENTER                                                                                       \
    "movw r28, r24\n\t"                                                                            \
    "movw r8, r18\n\t"                                                                             \
    "mov r15, r22\n"

/* (s * d) >> 8 of a sum s, but for what its lowest byte adds below 1: X a, Z sum. */
BP_ASM_CALLS(bp_avr_hidden, BP_START_DELTAS
       "1:\n\t" BP_CALL(derivative)
       "ld r22, Z+\n\t"
       "ld r23, Z+\n\t"
       "ld r24, Z+\n\t"
       "ld r25, Z+\n\t" BP_CALL(clip24)
       "mov r4, r23\n\t"
       "mov r5, r24\n\t"
       "mov r16, r22\n\t"
       "clr r17\n\t" BP_CALL(product)
       "mov r10, r11\n\t"
       "mov r11, r12\n\t"
       "clr r12\n\t"
       "movw r16, r4\n\t" BP_CALL(product)
       "ldi r18, 12\n\t" BP_CALL(delta)
       "brne 1b\n\t" BP_JUMP(leave),
             BP_ENTERS, BP_CALLS(derivative), BP_CALLS(clip24), BP_CALLS(delta), BP_CALLS(product))

/* a * d - t * d: X a, Z t, the shift in r20. */
BP_ASM_CALLS(bp_avr_output, BP_START_DELTAS
       "mov r4, r20\n"
       "1:\n\t" BP_CALL(derivative)
       "sbiw r26, 2\n\t"
       "ld r16, X+\n\t"
       "ld r17, X+\n\t" BP_CALL(product)
       "com r21\n\t"
       "neg r20\n\t"
       "sbci r21, -1\n\t"
       "ld r16, Z+\n\t"
       "ld r17, Z+\n\t" BP_CALL(product)
       "mov r18, r4\n\t" BP_CALL(delta)
       "brne 1b\n\t" BP_JUMP(leave),
             BP_ENTERS, BP_CALLS(derivative), BP_CALLS(delta), BP_CALLS(product))

#define BP_DELTA_CLOBBERS "r16", "r17", "r21", "r23", BP_CLOBBERS

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

/* g = (-m * dz * 2 + 2^15) >> 16: X dz, Z g, m in r21:r20, n in r19:r18. */
BP_ASM_CALLS(bp_avr_descent, BP_ENTER
                             "movw r8, r18\n\t"
                             "com r21\n\t"
                             "neg r20\n\t"
                             "sbci r21, -1\n"
                             "1:\n\t"
                             "ld r16, X+\n\t"
                             "ld r17, X+\n\t" BP_CALL(product)
                             "lsl r23\n\t"
                             "rol r24\n\t"
                             "rol r25\n\t"
                             "lsl r23\n\t"
                             "adc r24, r2\n\t"
                             "adc r25, r2\n\t"
                             "st Z+, r24\n\t"
                             "st Z+, r25\n\t" BP_COUNT_DOWN
                             "brne 1b\n\t" BP_JUMP(leave),
             BP_ENTERS, BP_CALLS(product))

#define BP_FAST_DESCENT
void bp_descent(int16_t *g, const int16_t *dz, uint16_t mantissa, size_t n)
{
    register size_t r18 __asm__("r18") = n;
    register uint16_t r20 __asm__("r20") = mantissa;

    __asm__ __volatile__("%~call %x[descent]"
                         : "+x"(dz), "+z"(g), "+r"(r18), "+r"(r20)
                         : BP_CALLS(descent)
                         : "r16", "r17", "r22", "r23", "r24", "r25", BP_CLOBBERS);
}

/* Start of an update, the layer's a_in_frac at Z: push that and a_in. r15 has what `scaled` shifts
 * a_in by, and what `step` shifts by; X becomes g, and Z w.
 */
#define BP_UPDATE                                                                                  \
    "lpm r18, Z\n\t"                                                                               \
    "push r18\n\t"                                                                                 \
    "push r27\n\t"                                                                                 \
    "push r26\n\t"                                                                                 \
    "subi r18, -16\n\t"                                                                            \
    "sub r18, r12\n\t"                                                                             \
    "lsl r10\n\t"                                                                                  \
    "lsl r10\n\t"                                                                                  \
    "lsl r10\n\t"                                                                                  \
    "add r18, r10\n\t"                                                                             \
    "mov r15, r18\n\t"                                                                             \
    "movw r26, r20\n\t"                                                                            \
    "movw r30, r22\n\t"

/* y = the next input, scaled; a_in is on the stack. */
#define BP_UPDATE_COLUMN                                                                           \
    "movw r24, r26\n\t"                                                                            \
    "pop r26\n\t"                                                                                  \
    "pop r27\n\t" BP_CALL(scaled)                                                                  \
    "push r27\n\t"                                                                                 \
    "push r26\n\t"                                                                                 \
    "movw r26, r24\n\t"                                                                            \
    "movw r20, r10\n\t"

/* All weights and biases: Z the layer, X a_in, w in r23:r22, its low bytes in r25:r24, g in
 * r21:r20, b in r19:r18, its low bytes in r17:r16, the shift in r10, u's fraction in r12. The stack
 * holds b and its low bytes, a_in_frac and a_in.
 */
BP_ASM_CALLS(bp_avr_update, BP_ENTER
                            "push r17\n\t"
                            "push r16\n\t"
                            "push r19\n\t"
                            "push r18\n\t"
                            "movw r28, r24\n\t" BP_CALL(columns)
                            "adiw r30, 10\n\t" BP_UPDATE
                            "set\n"
                            "1:\n\t" BP_UPDATE_COLUMN BP_CALL(pass)
                            "sub r26, r6\n\t"
                            "sbc r27, r7\n\t"
                            "sbiw r26, 2\n\t"
                            "sbiw r28, 1\n\t" BP_CALL(next)
                            "brne 1b\n\t"
                            "pop r0\n\t"
                            "pop r0\n\t"
                            "pop r0\n\t"
                            "sub r15, r0\n\t"
                            "pop r30\n\t"
                            "pop r31\n\t"
                            "pop r28\n\t"
                            "pop r29\n\t"
                            "dec r3\n"
                            "2:\n\t" BP_CALL(scaled)
                            "movw r22, r10\n\t"
                            "movw r24, r12\n\t" BP_CALL(step)
                            "sub r6, r4\n\t"
                            "sbc r7, r5\n\t"
                            "brcc 2b\n\t" BP_JUMP(leave),
             BP_ENTERS, BP_CALLS(columns), BP_CALLS(scaled), BP_CALLS(pass), BP_CALLS(next),
             BP_CALLS(step))

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
    register int16_t *r22 __asm__("r22") = w;
    register uint8_t *r24 __asm__("r24") = w_low;

    (void)counters;
    __asm__ __volatile__("%~call %x[update]"
                         : "+z"(layer), "+x"(a_in), "+r"(r16), "+r"(r18), "+r"(r20), "+r"(r22),
                           "+r"(r24)
                         : "r"(r10), "r"(r12), BP_CALLS(update)
                         : BP_CLOBBERS);
}

/* M += (p + r) >> shift for the 16-bit master at Z, r the dither in Y moved to the bits that are
 * dropped, of which r0:r1 are the upper 16; r15 is as in `step`. Z goes on, and Y by r5:r4.
 */
BP_ASM(bp_avr_step16, "clr r0\n\t"
                      "clr r1\n\t"
                      "mov r16, r15\n\t"
                      "rjmp 2f\n"
                      "1:\n\t"
                      "mov r1, r0\n\t"
                      "mov r0, r22\n\t"
                      "mov r22, r23\n\t"
                      "mov r23, r24\n\t"
                      "mov r24, r25\n\t"
                      "lsl r25\n\t"
                      "sbc r25, r25\n"
                      "2:\n\t"
                      "subi r16, 64\n\t"
                      "brcc 1b\n\t"
                      "add r1, r28\n\t"
                      "adc r0, r29\n\t"
                      "ld r0, Z\n\t"
                      "adc r22, r0\n\t"
                      "ldd r0, Z+1\n\t"
                      "adc r23, r0\n\t"
                      "adc r24, r2\n\t"
                      "adc r25, r2\n\t"
                      "sbrc r0, 7\n\t"
                      "sbiw r24, 1\n\t"
                      "mov r0, r23\n\t"
                      "lsl r0\n\t"
                      "sbc r0, r0\n\t"
                      "cp r0, r24\n\t"
                      "cpc r0, r25\n\t"
                      "breq 3f\n\t"
                      "lsl r25\n\t"
                      "sbc r22, r22\n\t"
                      "com r22\n\t"
                      "mov r23, r22\n\t"
                      "subi r23, 0x80\n"
                      "3:\n\t"
                      "st Z+, r22\n\t"
                      "st Z+, r23\n\t"
                      "add r28, r4\n\t"
                      "adc r29, r5\n\t"
                      "ret")

/* The same with 16-bit masters: Z the layer, X a_in, w in r23:r22, g in r21:r20, b in r19:r18, the
 * dither in r17:r16, the shift in r10, u's fraction in r12. The stack holds b, the dither,
 * a_in_frac, a_in and the dither of a column's first weight; r5:r4 is from one to the next, in a
 * column 40503 * inputs. As far as from a column's start to its end, which is r11:r10, it is from
 * the first weight's to the first bias's.
 */
BP_ASM_CALLS(bp_avr_update16, BP_ENTER
                              "push r19\n\t"
                              "push r18\n\t"
                              "push r17\n\t"
                              "push r16\n\t"
                              "movw r28, r16\n\t" BP_CALL(columns)
                              "sbiw r30, 4\n\t"
                              "lpm r16, Z+\n\t"
                              "lpm r17, Z+\n\t"
                              "ldi r18, lo8(40503)\n\t"
                              "ldi r19, hi8(40503)\n\t"
                              "mul r16, r18\n\t"
                              "movw r4, r0\n\t"
                              "mul r16, r19\n\t"
                              "add r5, r0\n\t"
                              "mul r17, r18\n\t"
                              "add r5, r0\n\t"
                              "adiw r30, 12\n\t" BP_UPDATE
                              "1:\n\t" BP_UPDATE_COLUMN
                              "push r29\n\t"
                              "push r28\n\t"
                              "movw r18, r6\n"
                              "2:\n\t"
                              "ld r16, X+\n\t"
                              "ld r17, X+\n\t" BP_CALL(product) BP_CALL(step16)
                              "adiw r30, 2\n\t"
                              "sub r18, r3\n\t"
                              "sbc r19, r2\n\t"
                              "brcc 2b\n\t"
                              "movw r10, r28\n\t"
                              "pop r28\n\t"
                              "pop r29\n\t"
                              "sub r10, r28\n\t"
                              "sbc r11, r29\n\t"
                              "subi r28, lo8(-40503)\n\t"
                              "sbci r29, hi8(-40503)\n\t"
                              "sub r26, r6\n\t"
                              "sbc r27, r7\n\t"
                              "sbiw r26, 2\n\t" BP_CALL(next)
                              "brne 1b\n\t"
                              "pop r0\n\t"
                              "pop r0\n\t"
                              "pop r0\n\t"
                              "sub r15, r0\n\t"
                              "pop r28\n\t"
                              "pop r29\n\t"
                              "pop r30\n\t"
                              "pop r31\n\t"
                              "add r28, r10\n\t"
                              "adc r29, r11\n\t"
                              "ldi r24, lo8(40503)\n\t"
                              "ldi r25, hi8(40503)\n\t"
                              "movw r4, r24\n"
                              "3:\n\t" BP_CALL(scaled)
                              "movw r22, r10\n\t"
                              "movw r24, r12\n\t" BP_CALL(step16)
                              "sub r6, r3\n\t"
                              "sbc r7, r2\n\t"
                              "brcc 3b\n\t" BP_JUMP(leave),
             BP_ENTERS, BP_CALLS(columns), BP_CALLS(scaled), BP_CALLS(product), BP_CALLS(step16),
             BP_CALLS(next))

#define BP_FAST_STOCHASTIC
void bp_update_stochastic(int16_t *w, int16_t *b, const bp_layer_t *layer, const int16_t *a_in,
                          const int16_t *g, bp_alignment_t alignment, uint16_t dither,
                          bp_counters_t *counters)
{
    register int8_t r10 __asm__("r10") = alignment.shift;
    register uint8_t r12 __asm__("r12") = alignment.frac;
    register uint16_t r16 __asm__("r16") = dither;
    register int16_t *r18 __asm__("r18") = b;
    register const int16_t *r20 __asm__("r20") = g;
    register int16_t *r22 __asm__("r22") = w;

    (void)counters;
    __asm__ __volatile__("%~call %x[update16]"
                         : "+z"(layer), "+x"(a_in), "+r"(r16), "+r"(r18), "+r"(r20), "+r"(r22)
                         : "r"(r10), "r"(r12), BP_CALLS(update16)
                         : "r24", "r25", BP_CLOBBERS);
}

#endif

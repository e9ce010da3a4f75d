/* bpgen_avr_update.h -- steps of masters for AVR cores with a multiplier, in assembly.
 *
 * bpgen_kernels_avr.h includes this; the C of bpgen_kernels_update.h says what each of these
 * computes, and bpgen_master_avr.h of what a step is made. No time depends on the data, but for 3
 * cycles where a master of 24 bits saturates and 2 for one of 16. Cycles: those of an ATmega328P.
 *
 * All updates are two passes in assembly, one for each width of the masters, called by
 * bpgen_pass_avr.h, but those of layers of few outputs (bpgen_few_avr.h) and of large ones
 * (bpgen_fused_avr.h, and bpgen_large_avr.h where no deltas are passed on).
 * SPDX-License-Identifier: 0BSD
 */
#ifndef BPGEN_AVR_UPDATE_H
#define BPGEN_AVR_UPDATE_H

#include "bpgen_avr_backward.h"
#include "bpgen_avr_shifts.h"
#include "bpgen_master_avr.h"

#if !BPGEN_COUNTERS

/* ---- Learning rate -------------------------------------------------------------------------- */

/* The steps of deltas: 32 cycles each. */
void bp_avr_steps(int16_t *p, const int16_t *dz, uint16_t rate, size_t n)
{
    uint16_t d;
    uint8_t spare;

    __asm__ __volatile__("clr r2\n"
                         "1:\n\t"
                         "ld %A[d], X+\n\t"
                         "ld %B[d], X+\n\t"
                         BP_AVR_STEP("%[spare]", "%B[d]", "%A[d]", "%B[rate]", "%A[rate]")
                         "st Z+, %A[d]\n\t"
                         "st Z+, %B[d]\n\t"
                         "subi %A[n], 1\n\t"
                         "sbci %B[n], 0\n\t"
                         "brne 1b\n\t"
                         "clr __zero_reg__"
                         : [d] "=&a"(d), [spare] "=&r"(spare), [dz] "+&x"(dz), [p] "+&z"(p),
                           [n] "+&d"(n)
                         : [rate] "a"(rate)
                         : "r0", "r2", "r24", "r25", "memory");
}

/* From g to p or back, in place: what is const is as it was after a call. */
static __attribute__((noinline)) void bp_avr_negate(const int16_t *g, uint16_t n)
{
    int16_t *p = (int16_t *)(uint16_t)g;

    do {
        *p = (int16_t)-*p;
        p++;
    } while (--n != 0);
}

#define BP_FAST_DESCENT
void bp_descent(int16_t *g, const int16_t *dz, uint16_t mantissa, size_t n)
{
    bp_avr_steps(g, dz, bp_avr_rate(mantissa), n);
    bp_avr_negate(g, (uint16_t)n);
}

/* ---- Biases --------------------------------------------------------------------------------- */

/* The biases: p * 2^fu is p * 2^(fu & 7), moved up a byte where fu is 8 or more, as most are. Those
 * take 31 cycles each for a shift of 8.
 *
 *     r5       shift and flags      r18, r19  p[j]                  X  p
 *     r10, r11 outputs left         r20       2^(fu & 7)            Y  b_low or dither
 *     T        fu is 8 or more      r22-r25   product               Z  b
 */
#define BP_AVR_NEXT_BIAS(first)                                                                    \
    "dec r10\n\t"                                                                                  \
    "brne " first "b\n\t"                                                                          \
    "dec r11\n\t"                                                                                  \
    "brne " first "b\n\t"

#define BP_AVR_BIASES24                                                                            \
    "sbrc r5, 4\n\t"                                                                               \
    "rjmp 43f\n\t"                                                                                 \
    "sbrc r5, 3\n\t"                                                                               \
    "brts 41f\n\t"                                                                                 \
    "sbrs r5, 3\n\t"                                                                               \
    "rjmp 44f\n\t"                                                                                 \
    "rjmp 42f\n"                                                                                   \
    "43:\n\t"                                                                                      \
    "brtc .+2\n\t"                                                                                 \
    "sbrc r5, 3\n\t"                                                                               \
    "rjmp 44f\n\t"                                                                                 \
    "rjmp 42f\n"                                                                                   \
    "30:\n\t"                                                                                      \
    "rjmp 32f\n"                                                                                   \
    "41:\n\t"                                                                                      \
    BP_AVR_LOAD_P BP_AVR_SCALED_P BP_AVR_BIAS24                                                    \
    BP_AVR_NEXT_BIAS("41")                                                                         \
    "47:\n\t"

/* The same with dither: 29 cycles for a shift of 16. */
#define BP_AVR_BIASES16                                                                            \
    "sbrs r5, 4\n\t"                                                                               \
    "rjmp 44f\n\t"                                                                                 \
    "sbrc r5, 3\n\t"                                                                               \
    "rjmp 43f\n\t"                                                                                 \
    "brts 41f\n\t"                                                                                 \
    "rjmp 42f\n"                                                                                   \
    "43:\n\t"                                                                                      \
    "brtc .+2\n\t"                                                                                 \
    "rjmp 42f\n\t"                                                                                 \
    "rjmp 44f\n"                                                                                   \
    "30:\n\t"                                                                                      \
    "rjmp 32f\n"                                                                                   \
    "41:\n\t"                                                                                      \
    BP_AVR_LOAD_P BP_AVR_SCALED_P BP_AVR_BIAS16                                                    \
    BP_AVR_NEXT_BIAS("41")                                                                         \
    "47:\n\t"

/* ---- Weights -------------------------------------------------------------------------------- */

/* The weights of a pair of inputs: 79 and 88 cycles for two, with shifts of 8 and 16.
 *
 *     r3       pairs left           r12, r13  outputs, or twos      X  a_in, p
 *     r4       scale of a           r14, r15  p                     Y  low, or dither
 *     r5       shift and flags      r16, r17  a; p[j]               Z  w
 *     r6, r7   a_in; or row         r18-r21   u of both             T  the usual shift
 *     r8, r9   0x80; or dither      r22-r25   products
 *     r10, r11 outputs left
 */
#define BP_AVR_LOOPS24                                                                             \
    "brtc 30b\n"                                                                                   \
    "31:\n\t"                                                                                      \
    "ld r16, X+\n\t"                                                                               \
    "ld r17, X+\n\t"                                                                               \
    BP_AVR_SIGNED("r20", "r21")                                                                    \
    BP_AVR_LOSE24_8("r8")                                                                          \
    BP_AVR_SIGNED("r18", "r19")                                                                    \
    BP_AVR_LOSE24_8("r8")                                                                          \
    "dec r10\n\t"                                                                                  \
    "brne 31b\n\t"                                                                                 \
    "dec r11\n\t"                                                                                  \
    "brne 31b\n"                                                                                   \
    "34:\n\t"

/* The same with dither, for two outputs at a time: 74 cycles for two weights with a shift of 16.
 * Where the number of outputs is odd, which bit 2 of r5 tells, the first is alone.
 */
#define BP_AVR_NEXT_OUTPUT                                                                         \
    "sub r28, r6\n\t"                                                                              \
    "sbc r29, r7\n\t"

#define BP_AVR_OUTPUT16(lose)                                                                      \
    "ld r16, X+\n\t"                                                                               \
    "ld r17, X+\n\t"                                                                               \
    BP_AVR_SIGNED("r20", "r21")                                                                    \
    lose                                                                                           \
    BP_AVR_NEXT_DITHER                                                                             \
    BP_AVR_SIGNED("r18", "r19")                                                                    \
    lose                                                                                           \
    BP_AVR_NEXT_OUTPUT

#define BP_AVR_LOOPS16                                                                             \
    "movw r28, r8\n\t"                                                                             \
    "movw r16, r8\n\t"                                                                             \
    "subi r16, lo8(2 * 40503)\n\t"                                                                 \
    "sbci r17, hi8(2 * 40503)\n\t"                                                                 \
    "movw r8, r16\n\t"                                                                             \
    "brtc 30b\n\t"                                                                                 \
    "sbrc r5, 2\n\t"                                                                               \
    "rjmp 36f\n"                                                                                   \
    "31:\n\t"                                                                                      \
    BP_AVR_OUTPUT16(BP_AVR_LOSE16_16)                                                              \
    "36:\n\t"                                                                                      \
    BP_AVR_OUTPUT16(BP_AVR_LOSE16_16)                                                              \
    "dec r10\n\t"                                                                                  \
    "breq .+2\n\t"                                                                                 \
    "rjmp 31b\n\t"                                                                                 \
    "dec r11\n\t"                                                                                  \
    "breq .+2\n\t"                                                                                 \
    "rjmp 31b\n"                                                                                   \
    "34:\n\t"

/* ---- A pass over a layer -------------------------------------------------------------------- */

/* From the biases to the weights: where their masters are, and whether the shift is the usual. */
#define BP_AVR_TO_WEIGHTS24                                                                        \
    "movw r28, r8\n\t"                                                                             \
    "ldi r18, 0x80\n\t"                                                                            \
    "mov r8, r18\n\t"                                                                              \
    "bst r5, 3\n\t"                                                                                \
    "sbrc r5, 4\n\t"                                                                               \
    "clt\n\t"
#define BP_AVR_TO_WEIGHTS16                                                                        \
    "bst r5, 4\n\t"                                                                                \
    "sbrc r5, 3\n\t"                                                                               \
    "clt\n\t"

/* Bit 2 of r5. */
#define BP_AVR_ODD24
#define BP_AVR_ODD16                                                                               \
    "sbrc r22, 0\n\t"                                                                              \
    "ori r18, 0x04\n\t"

/* Where a pass has its inputs between pairs: a dither leaves it no registers, so there they are on
 * the stack, and cover the upper byte of the pairs.
 */
#define BP_AVR_FIRST_A24 "movw r6, r4\n\tmovw r12, r22\n\t"
#define BP_AVR_LOAD_A24 "movw r26, r6\n\t"
#define BP_AVR_SAVE_A24 "movw r6, r26\n\t"
#define BP_AVR_UNCOVER24
#define BP_AVR_COVER24
#define BP_AVR_FIRST_A16 "push r4\n\tpush r5\n\t"
#define BP_AVR_LOAD_A16 "pop r27\n\tpop r26\n\t"
#define BP_AVR_SAVE_A16 "push r26\n\tpush r27\n\t"
#define BP_AVR_UNCOVER16 BP_AVR_LOAD_A16
#define BP_AVR_COVER16 BP_AVR_SAVE_A16

/* A pass: biases, then all pairs. On entry
 *
 *     r4, r5   a_in                 r16, r17  w                     X  alignment
 *     r6, r7   row                  r18, r19  b_low or its dither   Z  b
 *     r8, r9   low or dither        r20       fraction of a_in
 *     r12, r13 twos of outputs      r21       2^(-fraction & 7)
 *     r14, r15 p                    r22-r25   outputs, pairs
 *
 * of which row and twos are for dithers. r2 is zero. In r5, beside the shift in bits 3 and 4, bit 7
 * says that u has fewer bits than a_in, bit 6 else that it has more than 7 more, and bit 5 that it
 * is a_in.
 */
#define BP_AVR_PASS_TEXT(bits)                                                                     \
    "push r28\n\t"                                                                                 \
    "push r29\n\t"                                                                                 \
    "push r25\n\t"                                                                                 \
    BP_AVR_FIRST_A##bits                                                                           \
    "movw r28, r18\n\t"                                                                            \
    "mov r3, r24\n\t"                                                                              \
    "clr r2\n\t"                                                                                   \
    "ld r18, X+\n\t"                                                                               \
    "ld r19, X\n\t"                                                                                \
    BP_AVR_ODD##bits                                                                               \
    "movw r10, r22\n\t"                                                                            \
    "ldi r22, 1\n\t"                                                                               \
    "sbrc r19, 1\n\t"                                                                              \
    "ldi r22, 4\n\t"                                                                               \
    "sbrc r19, 0\n\t"                                                                              \
    "lsl r22\n\t"                                                                                  \
    "sbrc r19, 2\n\t"                                                                              \
    "swap r22\n\t"                                                                                 \
    "mul r22, r21\n\t"                                                                             \
    "mov r4, r0\n\t"                                                                               \
    "or r4, r1\n\t"                                                                                \
    "bst r19, 3\n\t"                                                                               \
    "sub r19, r20\n\t"                                                                             \
    "brne .+2\n\t"                                                                                 \
    "ori r18, 0x20\n\t"                                                                            \
    "sbrc r19, 3\n\t"                                                                              \
    "ori r18, 0x40\n\t"                                                                            \
    "sbrc r19, 7\n\t"                                                                              \
    "ori r18, 0x80\n\t"                                                                            \
    "mov r5, r18\n\t"                                                                              \
    "mov r20, r22\n\t"                                                                             \
    "movw r26, r14\n\t"                                                                            \
    BP_AVR_BIASES##bits                                                                            \
    "movw r30, r16\n\t"                                                                            \
    BP_AVR_TO_WEIGHTS##bits                                                                        \
    "1:\n\t"                                                                                       \
    BP_AVR_LOAD_A##bits                                                                            \
    "mov r22, r4\n\t"                                                                              \
    "sbrs r5, 5\n\t"                                                                               \
    "rjmp 3f\n\t"                                                                                  \
    BP_AVR_PAIR(BP_AVR_LOAD_U)                                                                     \
    "2:\n\t"                                                                                       \
    BP_AVR_SAVE_A##bits                                                                            \
    "movw r26, r14\n\t"                                                                            \
    "movw r10, r12\n\t"                                                                            \
    BP_AVR_LOOPS##bits                                                                             \
    "dec r3\n\t"                                                                                   \
    "breq .+2\n\t"                                                                                 \
    "rjmp 1b\n\t"                                                                                  \
    BP_AVR_UNCOVER##bits                                                                           \
    "pop r16\n\t"                                                                                  \
    "dec r16\n\t"                                                                                  \
    "breq 4f\n\t"                                                                                  \
    "push r16\n\t"                                                                                 \
    BP_AVR_COVER##bits                                                                             \
    "rjmp 1b\n"                                                                                    \
    "4:\n\t"                                                                                       \
    "pop r29\n\t"                                                                                  \
    "pop r28\n\t"                                                                                  \
    "clr __zero_reg__\n\t"                                                                         \
    "ret\n"                                                                                        \
    "3:\n\t"                                                                                       \
    "sbrs r5, 7\n\t"                                                                               \
    "rjmp 5f\n\t"                                                                                  \
    BP_AVR_PAIR(BP_AVR_RESCALE_DOWN)                                                               \
    "rjmp 2b\n"                                                                                    \
    "5:\n\t"                                                                                       \
    "sbrc r5, 6\n\t"                                                                               \
    "rjmp 6f\n\t"                                                                                  \
    BP_AVR_PAIR(BP_AVR_RESCALE_UP)                                                                 \
    "rjmp 2b\n"                                                                                    \
    "6:\n\t"                                                                                       \
    BP_AVR_PAIR(BP_AVR_RESCALE_FAR_UP)                                                             \
    "rjmp 2b\n"                                                                                    \
    BP_AVR_RARE_BIASES##bits                                                                       \
    BP_AVR_RARE##bits

/* These save no register but Y: who calls them does, once for all. */
__attribute__((naked)) void bp_avr_pass24(void) { __asm__ __volatile__(BP_AVR_PASS_TEXT(24)); }

__attribute__((naked)) void bp_avr_pass16(void) { __asm__ __volatile__(BP_AVR_PASS_TEXT(16)); }

/* ---- The separate calls --------------------------------------------------------------------- */

#define BP_FAST_RESIDUAL
void bp_update_residual(int16_t *w, uint8_t *w_low, int16_t *b, uint8_t *b_low,
                        const bp_layer_t *layer, const int16_t *a_in, const int16_t *g,
                        bp_alignment_t alignment, bp_counters_t *counters)
{
    uint16_t outputs = bp_rom_u16(&layer->outputs);

    (void)counters;
    bp_avr_negate(g, outputs);
    bp_avr_update_residual(w, w_low, b, b_low, layer, a_in, g, &alignment);
    bp_avr_negate(g, outputs);
}

#define BP_FAST_STOCHASTIC
void bp_update_stochastic(int16_t *w, int16_t *b, const bp_layer_t *layer, const int16_t *a_in,
                          const int16_t *g, bp_alignment_t alignment, uint16_t dither,
                          bp_counters_t *counters)
{
    uint16_t outputs = bp_rom_u16(&layer->outputs);

    (void)counters;
    bp_avr_negate(g, outputs);
    bp_avr_update_stochastic(w, b, layer, a_in, g, &alignment, dither);
    bp_avr_negate(g, outputs);
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

/* bpgen_large_avr.h -- how AVR cores update a large layer that passes no deltas on.
 *
 * bpgen_pass_avr.h includes this. As in bpgen_few_avr.h a layer's constants are instructions and
 * the rate has the usual shift. It is for layers that the generator calls large: of a loop over the
 * outputs there are three copies, each for what the last master did. One expects that masters stay
 * inside their range, one that they reach the upper limit and one the lower one. Where all those of
 * a pair of inputs reach one limit, as a whole layer does, the first takes 1 or 2 cycles more and
 * no other does; a change from limit to limit takes 1 or 3. Cycles are those of an ATmega328P.
 * SPDX-License-Identifier: 0BSD
 */
#ifndef BPGEN_LARGE_AVR_H
#define BPGEN_LARGE_AVR_H

#include "bpgen_few_avr.h"

/* The master at Y and Z becomes what these registers have. */
#define BP_AVR_PUT24(low, mid, high) "st Y+, " low "\n\tst Z+, " mid "\n\tst Z+, " high "\n\t"
#define BP_AVR_PUT16(low, mid, high) "st Z+, " mid "\n\tst Z+, " high "\n\t"
#define BP_AVR_PUT_RESULT24 BP_AVR_PUT24("r22", "r23", "r24")
#define BP_AVR_PUT_RESULT16 BP_AVR_PUT16("", "r22", "r23")
#define BP_AVR_PUT_UPPER(bits) BP_AVR_PUT##bits("r9", "r9", "r10")
#define BP_AVR_PUT_LOWER(bits) BP_AVR_PUT##bits("r2", "r2", "r8")

/* The next p, and what is left of the masters of an output and both inputs. */
#define BP_AVR_LARGE_FIRST(bits)                                                                   \
    "ld r16, X+\n\t"                                                                               \
    "ld r17, X+\n\t"                                                                               \
    BP_AVR_SIGNED("r20", "r21")                                                                    \
    BP_AVR_LARGE_LESS##bits
#define BP_AVR_LARGE_SECOND(bits)                                                                  \
    BP_AVR_SIGNED("r18", "r19")                                                                    \
    BP_AVR_LARGE_LESS##bits
#define BP_AVR_LARGE_LESS24 BP_AVR_LESS24_8("r8")
#define BP_AVR_LARGE_LESS16 BP_AVR_LESS16_16

/* r in Y of the other input's weight, of the next output's, and from behind the last one's of the
 * next pair's.
 */
#define BP_AVR_LARGE_TO_INPUT24
#define BP_AVR_LARGE_TO_INPUT16 BP_AVR_NEXT_DITHER
#define BP_AVR_LARGE_TO_OUTPUT24
#define BP_AVR_LARGE_TO_OUTPUT16 BP_AVR_FEW_NEXT_OUTPUT16
#define BP_AVR_LARGE_TO_PAIR24
#define BP_AVR_LARGE_TO_PAIR16                                                                     \
    "subi r28, lo8(40503 * (2 - %[inputs] * %[outputs]))\n\t"                                      \
    "sbci r29, hi8(40503 * (2 - %[inputs] * %[outputs]))\n\t"

/* The end of a copy that starts at `head`. */
#define BP_AVR_LARGE_NEXT(bits, head)                                                              \
    BP_AVR_LARGE_TO_OUTPUT##bits                                                                   \
    "dec r11\n\t"                                                                                  \
    "brne " head "\n\t"                                                                            \
    "rjmp 34f\n"

/* Biases; then all pairs of inputs, with 79 cycles for two weights and 75 with dither:
 *
 *     r2       zero                 r11       outputs left          X  a_in, p
 *     r3       scale of a           r12       pairs left            Y  low, or dither
 *     r4, r5   the caller's Y       r13       fu - fraction of a    Z  b, w
 *     r6, r7   a_in                 r14, r15  p
 *     r8       0x80                 r16, r17  p[j]
 *     r9, r10  0xFF; 0x7F           r18-r21   u of both
 *                                   r22-r25   a, products
 *
 * Labels: 31 to 33 are the copy without limits, 51 to 53
 * the upper limit's, 41 to 43 the lower one's, each with its first and second store behind its
 * head. Where a copy has the wrong limit it does the second store itself. The order is such that
 * all branches reach.
 */
#define BP_AVR_LARGE_UPDATE(bits)                                                                  \
    "movw r4, r28\n\t"                                                                             \
    "movw r28, r18\n\t"                                                                            \
    "clr r2\n\t"                                                                                   \
    BP_AVR_SCALES                                                                                  \
    "mov r13, r22\n\t"                                                                             \
    "movw r26, r14\n\t"                                                                            \
    "ldi r16, %[outputs]\n"                                                                        \
    "1:\n\t"                                                                                       \
    BP_AVR_LOAD_P BP_AVR_SCALED_P BP_AVR_BIAS##bits                                          \
    "dec r16\n\t"                                                                                  \
    "brne 1b\n\t"                                                                                  \
    "movw r30, r8\n\t"                                                                             \
    "movw r28, r10\n\t"                                                                            \
    "ldi r16, 0x80\n\t"                                                                            \
    "ldi r17, 0xFF\n\t"                                                                            \
    "movw r8, r16\n\t"                                                                             \
    "ldi r16, 0x7F\n\t"                                                                            \
    "mov r10, r16\n\t"                                                                             \
    "ldi r16, (%[inputs] + 1) / 2\n\t"                                                             \
    "mov r12, r16\n\t"                                                                             \
    "rjmp 35f\n"                                                                                   \
    "55:\n\t"                                                                                      \
    BP_AVR_PUT_LOWER(bits)                                                                         \
    BP_AVR_LARGE_NEXT(bits, "51f")                                                                 \
    "54:\n\t"                                                                                      \
    "rjmp 42f\n"                                                                                   \
    "51:\n\t"                                                                                      \
    BP_AVR_LARGE_FIRST(bits)                                                                       \
    "brvc 32f\n\t"                                                                                 \
    "brcc 54b\n"                                                                                   \
    "52:\n\t"                                                                                      \
    BP_AVR_PUT_UPPER(bits)                                                                         \
    BP_AVR_LARGE_TO_INPUT##bits                                                                    \
    BP_AVR_LARGE_SECOND(bits)                                                                      \
    "brvc 33f\n\t"                                                                                 \
    "brcc 55b\n"                                                                                   \
    "53:\n\t"                                                                                      \
    BP_AVR_PUT_UPPER(bits)                                                                         \
    BP_AVR_LARGE_NEXT(bits, "51b")                                                                 \
    "31:\n\t"                                                                                      \
    BP_AVR_LARGE_FIRST(bits)                                                                       \
    "brvc 32f\n\t"                                                                                 \
    "brcs 52b\n\t"                                                                                 \
    "rjmp 42f\n"                                                                                   \
    "32:\n\t"                                                                                      \
    BP_AVR_PUT_RESULT##bits                                                                        \
    BP_AVR_LARGE_TO_INPUT##bits                                                                    \
    BP_AVR_LARGE_SECOND(bits)                                                                      \
    "brvc 33f\n\t"                                                                                 \
    "brcs 53b\n\t"                                                                                 \
    "rjmp 43f\n"                                                                                   \
    "33:\n\t"                                                                                      \
    BP_AVR_PUT_RESULT##bits                                                                        \
    BP_AVR_LARGE_NEXT(bits, "31b")                                                                 \
    "41:\n\t"                                                                                      \
    BP_AVR_LARGE_FIRST(bits)                                                                       \
    "brvc 32b\n\t"                                                                                 \
    "brcs 44f\n"                                                                                   \
    "42:\n\t"                                                                                      \
    BP_AVR_PUT_LOWER(bits)                                                                         \
    BP_AVR_LARGE_TO_INPUT##bits                                                                    \
    BP_AVR_LARGE_SECOND(bits)                                                                      \
    "brvc 33b\n\t"                                                                                 \
    "brcs 45f\n"                                                                                   \
    "43:\n\t"                                                                                      \
    BP_AVR_PUT_LOWER(bits)                                                                         \
    BP_AVR_LARGE_NEXT(bits, "41b")                                                                 \
    "44:\n\t"                                                                                      \
    "rjmp 52b\n"                                                                                   \
    "45:\n\t"                                                                                      \
    BP_AVR_PUT_UPPER(bits)                                                                         \
    BP_AVR_LARGE_NEXT(bits, "41b")                                                                 \
    "34:\n\t"                                                                                      \
    BP_AVR_LARGE_TO_PAIR##bits                                                                     \
    "dec r12\n\t"                                                                                  \
    "breq 9f\n"                                                                                    \
    "35:\n\t"                                                                                      \
    "movw r26, r6\n\t"                                                                             \
    "mov r22, r3\n\t"                                                                              \
    "tst r13\n\t"                                                                                  \
    "brne 37f\n\t"                                                                                 \
    BP_AVR_PAIR(BP_AVR_LOAD_U)                                                                     \
    "36:\n\t"                                                                                      \
    "movw r6, r26\n\t"                                                                             \
    "movw r26, r14\n\t"                                                                            \
    "ldi r16, %[outputs]\n\t"                                                                      \
    "mov r11, r16\n\t"                                                                             \
    "rjmp 31b\n"                                                                                   \
    "37:\n\t"                                                                                      \
    "brpl 38f\n\t"                                                                                 \
    BP_AVR_PAIR(BP_AVR_RESCALE_DOWN)                                                               \
    "rjmp 36b\n"                                                                                   \
    "38:\n\t"                                                                                      \
    BP_AVR_PAIR(BP_AVR_RESCALE_UP)                                                                 \
    "rjmp 36b\n"                                                                                   \
    "9:\n\t"                                                                                       \
    "movw r28, r4\n\t"                                                                             \
    "clr r1"

/* `low` and `b_low` are addresses, or what the dithers lack to 65535; u has u_frac. */
#define BP_AVR_LARGE_STEP(bits)                                                                    \
    __asm__ __volatile__(BP_AVR_LARGE_UPDATE(bits)                                                 \
                         : "+r"(in_b), "+r"(in_b_low), "+r"(in_p), "+r"(in_a), "+r"(in_w),         \
                           "+r"(in_low), "+r"(in_frac)                                             \
                         : [inputs] "n"(layer->inputs), [outputs] "n"(layer->outputs),             \
                           [frac] "n"(layer->a_in_frac)                                            \
                         : "r0", "r2", "r3", "r4", "r5", "r12", "r13", "r16", "r17", "r20", "r21", \
                           "r23", "r24", "r25", "r26", "r27", "memory")

BP_AVR_INLINE void bp_avr_large(uint8_t bits, int16_t *w, uint16_t low, int16_t *b,
                                uint16_t b_low, const bp_layer_t *layer, const int16_t *a_in,
                                const int16_t *p, uint8_t u_frac)
{
    register int16_t *in_b __asm__("r30") = b;
    register uint16_t in_b_low __asm__("r18") = b_low;
    register const int16_t *in_p __asm__("r14") = p;
    register const int16_t *in_a __asm__("r6") = a_in;
    register int16_t *in_w __asm__("r8") = w;
    register uint16_t in_low __asm__("r10") = low;
    register uint8_t in_frac __asm__("r22") = u_frac;

    if (bits == 24) {
        BP_AVR_LARGE_STEP(24);
    } else {
        BP_AVR_LARGE_STEP(16);
    }
}

BP_AVR_INLINE void bp_avr_large_residual(int16_t *w, uint8_t *w_low, int16_t *b, uint8_t *b_low,
                                         const bp_layer_t *layer, const int16_t *a_in,
                                         const int16_t *p, uint8_t u_frac)
{
    bp_avr_large(24, w, (uint16_t)w_low, b, (uint16_t)b_low, layer, a_in, p, u_frac);
}

BP_AVR_INLINE void bp_avr_large_stochastic(int16_t *w, int16_t *b, const bp_layer_t *layer,
                                           const int16_t *a_in, const int16_t *p, uint8_t u_frac,
                                           uint16_t dither)
{
    uint16_t low = (uint16_t)~dither;

    bp_avr_large(16, w, low, b, bp_avr_dither_after(low, layer->inputs, layer->outputs), layer,
                 a_in, p, u_frac);
}

/* Whether that is for a layer, which the compiler knows, and for an alignment. */
#define BP_AVR_IS_LARGE_STEP(layer, alignment, usual)                                              \
    (__builtin_constant_p((layer)->outputs) && (layer)->outputs <= 255 &&                          \
     (layer)->inputs <= 510 && (layer)->a_in_frac >= 8 && BP_AVR_IS_USUAL(alignment, usual))

#endif

/* bpgen_fused_avr.h -- deltas and step of a layer in one loop over its weights, for AVR cores.
 *
 * bpgen_pass_avr.h includes this. Each weight is loaded once, for the sum of its input and for its
 * own step, and stored once. As in bpgen_few_avr.h a layer's constants are instructions. It is for
 * layers that the generator calls large, at rates of the usual shift.
 *
 * No time depends on the data, but for 5 cycles where a master of 24 bits saturates, 4 for one of
 * 16, 6 or 12 where a sum is clipped, 4 for a delta whose lower byte is 0, and those of deltas near
 * their top. Cycles are those of an ATmega328P.
 * SPDX-License-Identifier: 0BSD
 */
#ifndef BPGEN_FUSED_AVR_H
#define BPGEN_FUSED_AVR_H

#include "bpgen_few_avr.h"
#include "bpgen_kernels.h"
#include "bpgen_learn_avr.h"

/* ---- A weight in high:mid, and r25:r24:r13:r12 = g * u --------------------------------------- */

/* A weight that is loaded already can gain a step as fast as lose it, and no register is left for
 * the 0x80 by which BP_AVR_LOSE24_8 rounds.
 */

/* M += round(product, 8): 14 cycles, and 5 more at a limit, which is -2^23 with the carry. */
#define BP_AVR_GAIN24(mid, high)                                                                   \
    "lsl r12\n\t"                                                                                  \
    "ld r12, Y\n\t"                                                                                \
    "adc r12, r13\n\t"                                                                             \
    "adc " mid ", r24\n\t"                                                                         \
    "adc " high ", r25\n\t"                                                                        \
    "brvc .+12\n\t"                                                                                \
    "sbc r12, r12\n\t"                                                                             \
    "com r12\n\t"                                                                                  \
    "mov " mid ", r12\n\t"                                                                         \
    "mov " high ", r12\n\t"                                                                        \
    "ldi r24, 0x80\n\t"                                                                            \
    "eor " high ", r24\n\t"                                                                        \
    "st Y+, r12\n\t"                                                                               \
    "st Z+, " mid "\n\t"                                                                           \
    "st Z+, " high "\n\t"

/* M += (product + r) >> 16 with the dither r in Y: 10 cycles, and 4 more at a limit. */
#define BP_AVR_GAIN16(low, high)                                                                   \
    "add r12, r28\n\t"                                                                             \
    "adc r13, r29\n\t"                                                                             \
    "adc " low ", r24\n\t"                                                                         \
    "adc " high ", r25\n\t"                                                                        \
    "brvc .+10\n\t"                                                                                \
    "sbc " low ", " low "\n\t"                                                                     \
    "com " low "\n\t"                                                                              \
    "mov " high ", " low "\n\t"                                                                    \
    "ldi r24, 0x80\n\t"                                                                            \
    "eor " high ", r24\n\t"                                                                        \
    "st Z+, " low "\n\t"                                                                           \
    "st Z+, " high "\n\t"

/* What goes on with dithers: from a weight to that of the other input, on to the next output's, and
 * from the last one to the next pair of inputs.
 */
#define BP_AVR_TO_INPUT24
#define BP_AVR_TO_INPUT16 BP_AVR_MOVE_DITHER("1")
#define BP_AVR_TO_OUTPUT24
#define BP_AVR_TO_OUTPUT16 BP_AVR_MOVE_DITHER("(%[inputs] - 1)")
#define BP_AVR_TO_PAIR24
#define BP_AVR_TO_PAIR16 BP_AVR_MOVE_DITHER("(2 - %[inputs] * %[outputs])")
#define BP_AVR_MOVE_DITHER(parameters)                                                             \
    "subi r28, lo8(-40503 * " parameters ")\n\t"                                                   \
    "sbci r29, hi8(-40503 * " parameters ")\n\t"

/* ---- A layer --------------------------------------------------------------------------------- */

/* The fifth byte of up to 32 products is -8 to 7, as no delta is -2^15, so one register has those
 * of both sums, each in a nibble and 8 more. This makes bytes of them.
 */
#define BP_AVR_FIFTH_BYTES                                                                         \
    "mov r20, r3\n\t"                                                                              \
    "andi r20, 0x0F\n\t"                                                                           \
    "subi r20, 8\n\t"                                                                              \
    "mov r21, r3\n\t"                                                                              \
    "swap r21\n\t"                                                                                 \
    "andi r21, 0x0F\n\t"                                                                           \
    "subi r21, 8\n\t"

/* The shift is known to the compiler. */
#define BP_AVR_MOVE_KNOWN_SUMS                                                                     \
    ".if %[shift] > 8\n\t"                                                                         \
    "ldi r16, %[shift] - 8\n\t"                                                                    \
    BP_AVR_MOVE_DOWN                                                                               \
    ".elseif %[shift] < 8\n\t"                                                                     \
    "ldi r16, %[shift] - 8\n\t"                                                                    \
    BP_AVR_MOVE_UP                                                                                 \
    ".endif\n\t"

/* Half a unit of the result, where both sums start. */
#define BP_AVR_START_SUMS                                                                          \
    ".if %[shift] > 8\n\t"                                                                         \
    "clr r4\n\t"                                                                                   \
    "ldi r16, 1 << (%[shift] - 9)\n\t"                                                             \
    "mov r5, r16\n\t"                                                                              \
    ".else\n\t"                                                                                    \
    "ldi r16, 1 << (%[shift] - 1)\n\t"                                                             \
    "mov r4, r16\n\t"                                                                              \
    "clr r5\n\t"                                                                                   \
    ".endif\n\t"                                                                                   \
    "clr r6\n\t"                                                                                   \
    "clr r7\n\t"                                                                                   \
    "movw r8, r4\n\t"                                                                              \
    "movw r10, r6\n\t"

/* Biases; then, onto the stack, Y for the end of a pair, -2^15, which is no delta, to tell that
 * end, and each output's delta and g, from the last; then all pairs of inputs, and the deltas of
 * their sums. On entry
 *
 *     r4, r5   w                    r18, r19  b_low, or ~dither     X  p
 *     r12, r13 low or dither        r20       2^(fu & 7)            Z  b
 *     r14, r15 end of dz            r24, r25  what it is told
 *
 * and in the loop, of 135 cycles for two weights and 131 with dither,
 *
 *     r3       both fifth bytes     r14, r15  w[j] of the first     X  dz and g
 *     r4-r7    sum of the first     r16, r17  dz[j], g[j]           Y  low, or dither
 *     r8-r11   sum of the second    r18-r21   u of both             Z  w
 *     r12, r13 product, lower half  r22-r25   w[j], products
 *
 * Between pairs Y is what it is told, and r12, r13 what Y is in the loop. The list's end is told
 * by the lower byte first, which is 0 there and in few deltas, and in none at its top, of which a
 * worst case has many.
 */
#define BP_AVR_FUSED_TEXT(bits)                                                                    \
    "push r28\n\t"                                                                                 \
    "push r29\n\t"                                                                                 \
    "clr r2\n\t"                                                                                   \
    "movw r8, r24\n\t"                                                                             \
    "movw r28, r18\n\t"                                                                            \
    "ldi r16, %[outputs]\n"                                                                        \
    "41:\n\t"                                                                                      \
    BP_AVR_LOAD_P BP_AVR_SCALED_P BP_AVR_BIAS##bits                                          \
    "dec r16\n\t"                                                                                  \
    "brne 41b\n\t"                                                                                 \
    "movw r28, r8\n\t"                                                                             \
    "movw r30, r14\n\t"                                                                            \
    "push r29\n\t"                                                                                 \
    "push r28\n\t"                                                                                 \
    "ldi r16, 0x80\n\t"                                                                            \
    "push r16\n\t"                                                                                 \
    "push r2\n\t"                                                                                  \
    "ldi r18, %[outputs]\n"                                                                        \
    "42:\n\t"                                                                                      \
    "ld r17, -X\n\t"                                                                               \
    "ld r16, -X\n\t"                                                                               \
    "com r17\n\t"                                                                                  \
    "neg r16\n\t"                                                                                  \
    "sbci r17, 0xFF\n\t"                                                                           \
    "push r17\n\t"                                                                                 \
    "push r16\n\t"                                                                                 \
    "ld r17, -Z\n\t"                                                                               \
    "ld r16, -Z\n\t"                                                                               \
    "push r17\n\t"                                                                                 \
    "push r16\n\t"                                                                                 \
    "dec r18\n\t"                                                                                  \
    "brne 42b\n\t"                                                                                 \
    "in r16, __SP_L__\n\t"                                                                         \
    "in r17, __SP_H__\n\t"                                                                         \
    "subi r16, 0xFF\n\t"                                                                           \
    "sbci r17, 0xFF\n\t"                                                                           \
    "std Y+%[list], r16\n\t"                                                                       \
    "std Y+%[list]+1, r17\n\t"                                                                     \
    "movw r30, r4\n\t"                                                                             \
    "rcall 43f\n\t"                                                                                \
    "in r16, __SP_L__\n\t"                                                                         \
    "in r17, __SP_H__\n\t"                                                                         \
    "subi r16, lo8(-4 - 4 * %[outputs])\n\t"                                                       \
    "sbci r17, hi8(-4 - 4 * %[outputs])\n\t"                                                       \
    "in r0, __SREG__\n\t"                                                                          \
    "cli\n\t"                                                                                      \
    "out __SP_H__, r17\n\t"                                                                        \
    "out __SREG__, r0\n\t"                                                                         \
    "out __SP_L__, r16\n\t"                                                                        \
    "rjmp 9f\n"                                                                                    \
    "43:\n\t"                                                                                      \
    "push r28\n\t"                                                                                 \
    "push r29\n\t"                                                                                 \
    "rjmp 1f\n"                                                                                    \
    "5:\n\t"                                                                                       \
    BP_AVR_TO_PAIR##bits                                                                           \
    "movw r12, r28\n\t"                                                                            \
    "ld r28, X+\n\t"                                                                               \
    "ld r29, X\n\t"                                                                                \
    BP_AVR_FIFTH_BYTES                                                                             \
    BP_AVR_MOVE_KNOWN_SUMS                                                                         \
    BP_AVR_CLIP_SUMS                                                                               \
    BP_AVR_PUSH_SUMS                                                                               \
    "ldd r16, Y+%[left]\n\t"                                                                       \
    "dec r16\n\t"                                                                                  \
    "std Y+%[left], r16\n\t"                                                                       \
    "brne 1f\n\t"                                                                                  \
    "%~jmp %x[deltas]\n"                                                                           \
    "3:\n\t"                                                                                       \
    BP_AVR_PAIR(BP_AVR_RESCALE_DOWN)                                                               \
    "rjmp 2f\n"                                                                                    \
    "4:\n\t"                                                                                       \
    BP_AVR_PAIR(BP_AVR_RESCALE_UP)                                                                 \
    "rjmp 2f\n"                                                                                    \
    "1:\n\t"                                                                                       \
    "ldd r26, Y+%[a]\n\t"                                                                          \
    "ldd r27, Y+%[a]+1\n\t"                                                                        \
    "ldd r22, Y+%[u_scale]\n\t"                                                                    \
    "ldd r16, Y+%[u_moves]\n\t"                                                                    \
    "tst r16\n\t"                                                                                  \
    "brmi 3b\n\t"                                                                                  \
    "brne 4b\n\t"                                                                                  \
    BP_AVR_PAIR(BP_AVR_LOAD_U)                                                                     \
    "2:\n\t"                                                                                       \
    "std Y+%[a], r26\n\t"                                                                          \
    "std Y+%[a]+1, r27\n\t"                                                                        \
    BP_AVR_START_SUMS                                                                              \
    "ldi r16, 0x88\n\t"                                                                            \
    "mov r3, r16\n\t"                                                                              \
    "ldd r26, Y+%[list]\n\t"                                                                       \
    "ldd r27, Y+%[list]+1\n\t"                                                                     \
    "movw r28, r12\n\t"                                                                            \
    "rjmp 11f\n"                                                                                   \
    "6:\n\t"                                                                                       \
    "cpi r17, 0x80\n\t"                                                                            \
    "brne 7f\n\t"                                                                                  \
    "rjmp 5b\n"                                                                                    \
    "11:\n\t"                                                                                      \
    "ld r16, X+\n\t"                                                                               \
    "ld r17, X+\n\t"                                                                               \
    "tst r16\n\t"                                                                                  \
    "breq 6b\n"                                                                                    \
    "7:\n\t"                                                                                       \
    "ld r22, Z\n\t"                                                                                \
    "ldd r23, Z+1\n\t"                                                                             \
    BP_AVR_ADD_WIDE("r4", "r5", "r6", "r7", "r3")                                                  \
    "swap r3\n\t"                                                                                  \
    "movw r14, r22\n\t"                                                                            \
    "ldd r22, Z+2\n\t"                                                                             \
    "ldd r23, Z+3\n\t"                                                                             \
    BP_AVR_ADD_WIDE("r8", "r9", "r10", "r11", "r3")                                                \
    "swap r3\n\t"                                                                                  \
    "ld r16, X+\n\t"                                                                               \
    "ld r17, X+\n\t"                                                                               \
    BP_AVR_UNSIGNED_TO("r12", "r13", "r20", "r21")                                                 \
    BP_AVR_GAIN##bits("r14", "r15")                                                                \
    BP_AVR_TO_INPUT##bits                                                                          \
    BP_AVR_UNSIGNED_TO("r12", "r13", "r18", "r19")                                                 \
    BP_AVR_GAIN##bits("r22", "r23")                                                                \
    BP_AVR_TO_OUTPUT##bits                                                                         \
    "rjmp 11b\n"                                                                                   \
    "9:\n\t"                                                                                       \
    "pop r29\n\t"                                                                                  \
    "pop r28\n\t"

/* What it is told: the kernel of deltas, and what changes between pairs or with the rate. */
typedef struct {
    bp_avr_deltas_t deltas; /* first */
    const int16_t *a;
    uint16_t list;
    uint8_t left;    /* pairs of inputs */
    uint8_t u_scale; /* 2^(u_moves & 7) */
    int8_t u_moves;  /* bits of u more than of a */
} bp_avr_fused_t;

#define BP_AVR_FUSED_AT(member) [member] "i"(offsetof(bp_avr_fused_t, member))
#define BP_AVR_FUSED(bits)                                                                         \
    __asm__ __volatile__(BP_AVR_FUSED_TEXT(bits)                                                   \
                         : "+r"(in_b), "+r"(in_b_low), "+r"(in_p), "+r"(in_fused), "+r"(in_w),     \
                           "+r"(in_low), "+r"(in_dz_end), "+r"(in_power)                           \
                         : [inputs] "n"(layer->inputs), [outputs] "n"(layer->outputs),             \
                           [shift] "n"(layer->sum_shift), BP_AVR_FUSED_AT(a),                      \
                           BP_AVR_FUSED_AT(list), BP_AVR_FUSED_AT(u_scale),                        \
                           BP_AVR_FUSED_AT(u_moves),                                               \
                           BP_AVR_FUSED_AT(left),                                                  \
                           [deltas] "i"(bp_avr_deltas_of_sums)                                     \
                         : "r0", "r2", "r3", "r6", "r7", "r8", "r9", "r10", "r11", "r16", "r17",   \
                           "r21", "r22", "r23", "memory")

/* Where the arrays of a layer are in *s: there is no register for more addresses than that of s. */
typedef struct {
    int16_t dz_in, w, w_low, b, b_low, a_in, dz;
} bp_avr_places_t;

#define BP_AVR_PLACES(s, dz_in, w, w_low, b, b_low, a_in, dz)                                      \
    (&(const bp_avr_places_t){BP_AVR_DISTANCE(dz_in, s), BP_AVR_DISTANCE(w, s),                    \
                              BP_AVR_DISTANCE(w_low, s), BP_AVR_DISTANCE(b, s),                    \
                              BP_AVR_DISTANCE(b_low, s), BP_AVR_DISTANCE(a_in, s),                 \
                              BP_AVR_DISTANCE(dz, s)})
#define BP_AVR_AT_PLACE(place) ((int16_t *)(base + (uint16_t)at->place))

/* `low` and `b_low` are addresses, or a dither and what one lacks to 65535; u has u_frac. */
BP_AVR_INLINE void bp_avr_fused(uint8_t bits, uint16_t base, const bp_avr_places_t *at,
                                uint16_t low, uint16_t b_low, int16_t *p_in,
                                const bp_layer_t *layer, const int16_t *p, uint16_t mantissa,
                                uint8_t u_frac)
{
    uint8_t power = bp_avr_power(u_frac & 7u);
    uint16_t scales = (uint16_t)(power * (1u << (-layer->a_in_frac & 7)));
    bp_avr_fused_t fused;

    bp_avr_init_deltas(&fused.deltas, BP_AVR_AT_PLACE(dz_in), p_in, layer, BP_AVR_AT_PLACE(a_in),
                       mantissa);
    fused.left = (uint8_t)bp_avr_half(layer->inputs);
    fused.a = BP_AVR_AT_PLACE(a_in);
    fused.u_scale = (uint8_t)(scales | scales >> 8);
    fused.u_moves = (int8_t)(u_frac - layer->a_in_frac);
    {
        register int16_t *in_b __asm__("r30") = BP_AVR_AT_PLACE(b);
        register uint16_t in_b_low __asm__("r18") = b_low;
        register const int16_t *in_p __asm__("r26") = p;
        register bp_avr_fused_t *in_fused __asm__("r24") = &fused;
        register int16_t *in_w __asm__("r4") = BP_AVR_AT_PLACE(w);
        register uint16_t in_low __asm__("r12") = low;
        register const int16_t *in_dz_end __asm__("r14") = BP_AVR_AT_PLACE(dz) + layer->outputs;
        register uint8_t in_power __asm__("r20") = power;

        if (bits == 24) {
            BP_AVR_FUSED(24);
        } else {
            BP_AVR_FUSED(16);
        }
    }
}

BP_AVR_INLINE void bp_avr_fused_residual(const void *s, const bp_avr_places_t *at, int16_t *p_in,
                                         const bp_layer_t *layer, const int16_t *p,
                                         uint16_t mantissa, uint8_t u_frac)
{
    uint16_t base = (uint16_t)s;

    BP_FORGET(base);
    bp_avr_fused(24, base, at, (uint16_t)BP_AVR_AT_PLACE(w_low), (uint16_t)BP_AVR_AT_PLACE(b_low),
                 p_in, layer, p, mantissa, u_frac);
}

BP_AVR_INLINE void bp_avr_fused_stochastic(const void *s, const bp_avr_places_t *at, int16_t *p_in,
                                           const bp_layer_t *layer, const int16_t *p,
                                           uint16_t mantissa, uint8_t u_frac, uint16_t dither)
{
    uint16_t base = (uint16_t)s;

    BP_FORGET(base);
    bp_avr_fused(16, base, at, dither,
                 bp_avr_dither_after((uint16_t)~dither, layer->inputs, layer->outputs), p_in,
                 layer, p, mantissa, u_frac);
}

/* Whether that is for a layer, which the compiler knows and whose sums and pairs of inputs fit
 * their registers, and for an alignment.
 */
#define BP_AVR_IS_FUSED(layer, alignment, usual)                                                   \
    (__builtin_constant_p((layer)->outputs) && (layer)->outputs <= 32 && (layer)->inputs <= 510 && \
     BP_AVR_IS_USUAL(alignment, usual))

#endif

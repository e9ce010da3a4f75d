/* bpgen_few_avr.h -- how AVR cores update a layer of one to three outputs.
 *
 * bpgen_kernels.h includes this. All of such a layer's steps p stay in registers: part of the
 * network's own code, where all constants are known, for the shift that most learning rates have.
 * The passes of bpgen_avr_update.h do the others. Cycles are those of an ATmega328P.
 * SPDX-License-Identifier: 0BSD
 */
#ifndef BPGEN_FEW_AVR_H
#define BPGEN_FEW_AVR_H

#include "bpgen_learn_avr.h"
#include "bpgen_master_avr.h"

/* From the fu of a rate in r22: r20 = 2^(fu & 7), r22 = fu - fraction of a, and the scale of a,
 * 2^(r22 & 7), in r3.
 */
#define BP_AVR_SCALES                                                                              \
    "ldi r20, 1\n\t"                                                                               \
    "sbrc r22, 1\n\t"                                                                              \
    "ldi r20, 4\n\t"                                                                               \
    "sbrc r22, 0\n\t"                                                                              \
    "lsl r20\n\t"                                                                                  \
    "sbrc r22, 2\n\t"                                                                              \
    "swap r20\n\t"                                                                                 \
    "ldi r21, 1 << (-%[frac] & 7)\n\t"                                                             \
    "mul r20, r21\n\t"                                                                             \
    "mov r3, r0\n\t"                                                                               \
    "or r3, r1\n\t"                                                                                \
    "subi r22, %[frac]\n\t"

#define BP_AVR_FEW_BIAS(bits, p) "movw r18, " p "\n\t" BP_AVR_SCALED_P BP_AVR_BIAS##bits

/* What the dither of the first bias lacks to 65535, where that of the first weight lacks `low`. */
BP_AVR_INLINE uint16_t bp_avr_dither_after(uint16_t low, uint16_t inputs, uint16_t outputs)
{
    return (uint16_t)(low - BP_WEYL * inputs * outputs);
}

/* The two weights of an output and a pair of inputs: 71 cycles, and 67 with dither. */
#define BP_AVR_FEW_WEIGHTS24(product, p)                                                           \
    "movw r16, " p "\n\t"                                                                          \
    product("r20", "r21")                                                                          \
    BP_AVR_LOSE24_8("r14")                                                                         \
    product("r18", "r19")                                                                          \
    BP_AVR_LOSE24_8("r14")
#define BP_AVR_FEW_WEIGHTS16(product, p)                                                           \
    "movw r16, " p "\n\t"                                                                          \
    product("r20", "r21")                                                                          \
    BP_AVR_LOSE16_16                                                                               \
    BP_AVR_NEXT_DITHER                                                                             \
    product("r18", "r19")                                                                          \
    BP_AVR_LOSE16_16

/* r in Y of the same inputs' weights of the next output, and of the first output's of the next pair
 * of inputs.
 */
#define BP_AVR_FEW_NEXT_OUTPUT24
#define BP_AVR_FEW_NEXT_PAIR24
#define BP_AVR_FEW_NEXT_OUTPUT16                                                                   \
    "subi r28, lo8(40503 * (%[inputs] - 1))\n\t"                                                   \
    "sbci r29, hi8(40503 * (%[inputs] - 1))\n\t"
#define BP_AVR_FEW_NEXT_PAIR16                                                                     \
    "subi r28, lo8(40503 - 40503 * %[inputs] * (%[outputs] - 1))\n\t"                              \
    "sbci r29, hi8(40503 - 40503 * %[inputs] * (%[outputs] - 1))\n\t"

/* Biases, then all pairs:
 *
 *     r2       zero                 r12       pairs left            X  a_in
 *     r3       scale of a           r14       0x80                  Y  low, or dither
 *     r4-r9    p                    r15       fu - fraction of a    Z  b, w
 *     r10, r11 the caller's Y       r16-r21   p[j]; u of both
 *                                   r22-r25   a, products
 */
#define BP_AVR_FEW_UPDATE(bits, product)                                                           \
    "movw r10, r28\n\t"                                                                            \
    "movw r28, r24\n\t"                                                                            \
    BP_AVR_LOAD_FEW("r4", "r5")                                                                    \
    "movw r28, r18\n\t"                                                                            \
    "clr r2\n\t"                                                                                   \
    BP_AVR_SCALES                                                                                  \
    "mov r16, r22\n\t"                                                                             \
    BP_AVR_FEW_BIAS(bits, "r4")                                                                    \
    ".if %[outputs] > 1\n\t"                                                                       \
    BP_AVR_FEW_BIAS(bits, "r6")                                                                    \
    ".endif\n\t"                                                                                   \
    ".if %[outputs] > 2\n\t"                                                                       \
    BP_AVR_FEW_BIAS(bits, "r8")                                                                    \
    ".endif\n\t"                                                                                   \
    "movw r30, r12\n\t"                                                                            \
    "movw r28, r14\n\t"                                                                            \
    "mov r15, r16\n\t"                                                                             \
    "ldi r16, 0x80\n\t"                                                                            \
    "mov r14, r16\n\t"                                                                             \
    "ldi r16, (%[inputs] + 1) / 2\n\t"                                                             \
    "mov r12, r16\n\t"                                                                             \
    "rjmp 1f\n"                                                                                    \
    "3:\n\t"                                                                                       \
    "brpl 4f\n\t"                                                                                  \
    BP_AVR_PAIR(BP_AVR_RESCALE_DOWN)                                                               \
    "rjmp 2f\n"                                                                                    \
    "4:\n\t"                                                                                       \
    BP_AVR_PAIR(BP_AVR_RESCALE_UP)                                                                 \
    "rjmp 2f\n"                                                                                    \
    "1:\n\t"                                                                                       \
    "mov r22, r3\n\t"                                                                              \
    "tst r15\n\t"                                                                                  \
    "brne 3b\n\t"                                                                                  \
    BP_AVR_PAIR(BP_AVR_LOAD_U)                                                                     \
    "2:\n\t"                                                                                       \
    BP_AVR_FEW_WEIGHTS##bits(product, "r4")                                                        \
    ".if %[outputs] > 1\n\t"                                                                       \
    BP_AVR_FEW_NEXT_OUTPUT##bits                                                                   \
    BP_AVR_FEW_WEIGHTS##bits(product, "r6")                                                        \
    ".endif\n\t"                                                                                   \
    ".if %[outputs] > 2\n\t"                                                                       \
    BP_AVR_FEW_NEXT_OUTPUT##bits                                                                   \
    BP_AVR_FEW_WEIGHTS##bits(product, "r8")                                                        \
    ".endif\n\t"                                                                                   \
    BP_AVR_FEW_NEXT_PAIR##bits                                                                     \
    "dec r12\n\t"                                                                                  \
    "breq .+2\n\t"                                                                                 \
    "rjmp 1b\n\t"                                                                                  \
    "movw r28, r10\n\t"                                                                            \
    "clr r1"

/* `low` and `b_low` are addresses, or what the dithers lack to 65535; u has u_frac. */
#define BP_AVR_FEW_REGISTERS                                                                       \
    register const int16_t *in_p __asm__("r24") = p;                                               \
    register const int16_t *in_a __asm__("r26") = a_in;                                            \
    register int16_t *in_b __asm__("r30") = b;                                                     \
    register uint16_t in_b_low __asm__("r18") = b_low;                                             \
    register int16_t *in_w __asm__("r12") = w;                                                     \
    register uint16_t in_low __asm__("r14") = low;                                                 \
    register uint8_t in_frac __asm__("r22") = u_frac

#define BP_AVR_FEW_STEPS(bits, product)                                                            \
    __asm__ __volatile__(BP_AVR_FEW_UPDATE(bits, product)                                          \
                         : "+r"(in_p), "+r"(in_a), "+r"(in_b), "+r"(in_w), "+r"(in_b_low),         \
                           "+r"(in_low), "+r"(in_frac)                                             \
                         : [inputs] "n"(layer->inputs), [outputs] "n"(layer->outputs),             \
                           [frac] "n"(layer->a_in_frac)                                            \
                         : "r0", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11",     \
                           "r16", "r17", "r20", "r21", "r23", "memory")

/* Inputs of the `first` layer that learns may be negative; those of others are sigmoids. */
BP_AVR_INLINE void bp_avr_few_residual(uint8_t first, int16_t *w, uint16_t low, int16_t *b,
                                       uint16_t b_low, const bp_layer_t *layer,
                                       const int16_t *a_in, const int16_t *p, uint8_t u_frac)
{
    BP_AVR_FEW_REGISTERS;

    if (first != 0) {
        BP_AVR_FEW_STEPS(24, BP_AVR_SIGNED);
    } else {
        BP_AVR_FEW_STEPS(24, BP_AVR_UNSIGNED);
    }
}

BP_AVR_INLINE void bp_avr_few_stochastic(uint8_t first, int16_t *w, uint16_t dither, int16_t *b,
                                         const bp_layer_t *layer, const int16_t *a_in,
                                         const int16_t *p, uint8_t u_frac)
{
    uint16_t low = (uint16_t)~dither;
    uint16_t b_low = bp_avr_dither_after(low, layer->inputs, layer->outputs);
    BP_AVR_FEW_REGISTERS;

    if (first != 0) {
        BP_AVR_FEW_STEPS(16, BP_AVR_SIGNED);
    } else {
        BP_AVR_FEW_STEPS(16, BP_AVR_UNSIGNED);
    }
}

/* Whether that is for a layer, which the compiler knows, and for an alignment: of the usual shift,
 * and with a byte in 2^fu, so that biases drop whole bytes.
 */
#define BP_AVR_IS_FEW_STEP(layer, most)                                                            \
    (BP_AVR_IS_FEW(layer) && (layer)->outputs <= (most) && (layer)->a_in_frac >= 8)
#define BP_AVR_IS_USUAL(alignment, usual) ((alignment)->shift == (usual) && (alignment)->frac >= 8)

#endif

/* bpgen_layer_avr.h -- what assembly for AVR cores wants of a layer: bytes that save it shifts.
 *
 * bpgen_kernels.h includes this for AVR cores, but not in small code; the macros fill the last two
 * members of bp_layer_t.
 * SPDX-License-Identifier: 0BSD
 */
#ifndef BPGEN_LAYER_AVR_H
#define BPGEN_LAYER_AVR_H

#include "bpgen_fix.h"

/* For bpgen_avr_forward.h. */
typedef struct {
    uint8_t end_scale; /* 2^(16 - z_shift) */
    uint8_t a_scale;   /* 2^(a_frac - 8) */
    void (*kernel)(void);
    uint8_t count;     /* at once: 4 * (pairs of inputs - 1) + the outputs above a multiple of 4,
                        * less 1; in parts: pairs in a part of the sum */
    uint8_t outputs;
    uint8_t scale;     /* 2^(a_in_frac - 8) */
    uint8_t half;      /* 2^(z_shift - 9) */
    uint16_t pairs;
} bp_layer_fast_t;

void bp_avr_plain_clip(void);
void bp_avr_plain_clip_rom(void);
void bp_avr_plain_sigmoid_7(void);
void bp_avr_plain_sigmoid_7_rom(void);
void bp_avr_plain_sigmoid_8(void);
void bp_avr_plain_sigmoid_8_rom(void);
void bp_avr_parts_clip(void);
void bp_avr_parts_clip_rom(void);
void bp_avr_parts_sigmoid_7(void);
void bp_avr_parts_sigmoid_7_rom(void);
void bp_avr_parts_sigmoid_8(void);
void bp_avr_parts_sigmoid_8_rom(void);
void bp_avr_any(void);
void bp_avr_any_rom(void);

/* Make the compiler find the members of *s from s again: a kernel of bpgen_avr_forward.h leaves one
 * pointer alone, and no register for a second that lasts.
 */
#define BP_FORGET(s) __asm__("" : "+r"(s))

#if BP_AVR && !BPGEN_COUNTERS
#define BP_KERNEL(kernel) (void (*)(void))(kernel)
#else
#define BP_KERNEL(kernel) 0
#endif
#define BP_POWER(bit) (uint8_t)(1u << ((bit) & 7))
#define BP_LAYER_FAST(kernel, count, outputs, pairs, a_in_frac, z_shift, a_frac)                   \
    {                                                                                              \
        BP_POWER(16 - (z_shift)), BP_POWER(a_frac), BP_KERNEL(kernel), count, (uint8_t)(outputs),  \
            BP_POWER(a_in_frac), BP_POWER((z_shift) + 7), pairs                                    \
    },

/* For bpgen_avr_s8.h. */
void bp_avr_s8_clip(void);
void bp_avr_s8_sigmoid(void);
void bp_avr_u8_clip(void);
void bp_avr_u8_sigmoid(void);
void bp_avr_s8_any(int16_t *z, const int32_t *b, const uint8_t *table, const bp_w8_t *w,
                   const uint8_t *a_in);
void bp_avr_u8_any(uint8_t *a, const int32_t *b, const uint8_t *table, const bp_w8_t *w,
                   const uint8_t *a_in);

/* The same members: end_scale is 2^(8 - z_shift), count the outputs of the first group, scale the
 * inputs in memory, and half 2^(z_shift - 1).
 */
#define BP_LAYER_FAST_S8(kernel, inputs, outputs, z_shift, a_frac)                                 \
    {                                                                                              \
        BP_POWER(8 - (z_shift)), BP_POWER(a_frac), BP_KERNEL(kernel), (outputs) % 6,               \
            (uint8_t)(outputs), (uint8_t)((inputs) + ((inputs) & 1)), BP_POWER((z_shift) + 7), 0   \
    },

/* For bpgen_avr_learn.h, read in this order. Counts are for two loops of bytes. */
typedef struct {
    uint16_t outputs;
    uint16_t pairs;
    uint8_t odd;     /* the last pair is one input */
    uint8_t scale_a; /* 2^(16 - a_in_frac) */
    int16_t top;     /* dz_in_top */
    uint16_t row;    /* from the dither of an output's second weight to the next one's first */
    uint16_t biases; /* from the first weight's to the first bias's */
} bp_layer_learn_t;

#define BP_COUNT_BYTES(n) (uint16_t)(((n) & 255) | (((n) + 255) & 0xFF00))
#define BP_LAYER_LEARN(inputs, outputs, a_in_frac, dz_in_top)                                      \
    {                                                                                              \
        BP_COUNT_BYTES(outputs), BP_COUNT_BYTES(((inputs) + 1) / 2), (inputs) & 1,                 \
            (uint8_t)(1u << ((16 - (a_in_frac)) & 7)), dz_in_top,                                  \
            (uint16_t)(40503ul * ((inputs) - 1)), (uint16_t)(40503ul * (inputs) * (outputs))       \
    },

#endif

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
    void (*kernel)(void);
    uint8_t count;     /* at once: 4 * (pairs of inputs - 1) + the outputs above a multiple of 4,
                        * less 1; in parts: pairs in a part of the sum */
    uint8_t outputs;
    uint8_t scale;     /* 2^(a_in_frac - 8) */
    uint8_t half;      /* 2^(z_shift - 9) */
    uint8_t end_scale; /* 2^(16 - z_shift) */
    uint16_t first;    /* a sigmoid's 2^(a_frac - 8) + 2^(23 - a_frac), or z_lowest */
    const void *second; /* its table, or z_top */
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
void bp_avr_any(int16_t *z, const int16_t *b, const uint8_t *constants, const int16_t *w,
                const int16_t *a_in);
void bp_avr_any_rom(int16_t *z, const int16_t *b, const uint8_t *constants, const int16_t *w,
                    const int16_t *a_in);

#if BP_AVR && !BPGEN_COUNTERS
#define BP_KERNEL(kernel) (void (*)(void))(kernel)
#else
#define BP_KERNEL(kernel) 0
#endif
#define BP_POWER(bit) (uint8_t)(1u << ((bit) & 7))
#define BP_LAYER_FAST(kernel, count, outputs, pairs, a_in_frac, z_shift, first, second)            \
    {                                                                                              \
        BP_KERNEL(kernel), count, (uint8_t)(outputs), BP_POWER(a_in_frac),                         \
            BP_POWER((z_shift) + 7), BP_POWER(16 - (z_shift)), first, (const void *)(second),      \
            pairs                                                                                  \
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

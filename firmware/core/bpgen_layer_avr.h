/* bpgen_layer_avr.h -- what assembly for AVR cores wants of a layer: bytes that save it shifts.
 *
 * bpgen_kernels.h includes this for AVR cores, but not in small code; the macros fill the last
 * member of bp_layer_t.
 * SPDX-License-Identifier: 0BSD
 */
#ifndef BPGEN_LAYER_AVR_H
#define BPGEN_LAYER_AVR_H

#include "bpgen_fix.h"

/* For bpgen_avr_forward.h. */
typedef struct {
    uint8_t end_scale; /* 2^(16 - z_shift) */
    uint8_t a_scale;   /* 2^(a_frac - 8), 0 where z is clipped */
    void (*kernel)(void); /* of a sum at once, what ends it */
    uint8_t count;     /* at once: 4 * (pairs of inputs - 1) + the outputs above a multiple of 4,
                        * less 1; in parts: pairs in a part of the sum */
    uint8_t outputs;
    uint8_t scale;     /* 2^(a_in_frac - 8) */
    uint8_t half;      /* 2^(z_shift - 9) */
    uint16_t pairs;
    uint8_t at_once;   /* pairs of a sum at once, else 0 */
    void (*sums)(void); /* and what makes it */
    uint8_t a_in_signed; /* whether inputs may be negative, for sums of few outputs */
} bp_layer_fast_t;

void bp_avr_sums(void);
void bp_avr_sums_rom(void);
void bp_avr_ends_clip(void);
void bp_avr_ends_sigmoid_7(void);
void bp_avr_ends_sigmoid_8(void);
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
#define BP_FORGET(s) __asm__ __volatile__("" : "+r"(s))

#if BP_AVR && !BPGEN_COUNTERS
#define BP_KERNEL(kernel) (void (*)(void))(kernel)
#else
#define BP_KERNEL(kernel) 0
#endif
#define BP_POWER(bit) (uint8_t)(1u << ((bit) & 7))
#define BP_LAYER_FAST(sums, at_once, kernel, count, outputs, pairs, a_in_frac, z_shift, a_scale,   \
                      a_in_signed)                                                                 \
    {                                                                                              \
        BP_POWER(16 - (z_shift)), a_scale, BP_KERNEL(kernel), count, (uint8_t)(outputs),           \
            BP_POWER(a_in_frac), BP_POWER((z_shift) + 7), pairs, at_once, BP_KERNEL(sums),         \
            a_in_signed                                                                            \
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
            (uint8_t)(outputs), (uint8_t)((inputs) + ((inputs) & 1)), BP_POWER((z_shift) + 7), 0,  \
            0, 0, 0                                                                                \
    },

#endif

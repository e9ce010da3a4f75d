/* bpgen_layer_avr.h -- what assembly for AVR cores wants of a layer: bytes that save it shifts.
 *
 * bpgen_kernels.h includes this for AVR cores; the macro fills the last member of bp_layer_t.
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

#if BP_AVR && !BPGEN_COUNTERS && !BP_SMALL
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

#endif

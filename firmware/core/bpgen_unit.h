/* bpgen_unit.h -- what happens to one unit or one weight: the steps that the kernels repeat.
 *
 * bpgen_kernels.c and the files of single cores share these. Section numbers are those of
 * docs/numbers.md.
 * SPDX-License-Identifier: 0BSD
 */
#ifndef BPGEN_UNIT_H
#define BPGEN_UNIT_H

#include "bpgen_kernels.h"

/* ---- Layers --------------------------------------------------------------------------------- */

static inline bp_layer_t read_layer(const bp_layer_t *layer)
{
#if defined(__AVR__)
    bp_layer_t copy;

    (void)memcpy_P(&copy, layer, sizeof copy);
    return copy;
#else
    return *layer;
#endif
}

/* The number of inputs in memory. */
static inline size_t even_inputs(const bp_layer_t *layer)
{
    return ((size_t)layer->inputs + 1) & ~(size_t)1;
}

static inline int16_t read_weight(const int16_t *w, uint8_t in_flash)
{
    return in_flash != 0 ? bp_rom_s16(w) : *w;
}

/* ---- Forward (sections 3 and 4) -------------------------------------------------------------- */

static inline int16_t clip_z(int64_t z, const bp_layer_t *layer, bp_counters_t *counters)
{
    if (z > layer->z_top) {
        BP_COUNT(BP_COUNTER(counters, activations));
        return layer->z_top;
    }
    if (z < layer->z_lowest) {
        if (layer->z_lowest != 0) {
            BP_COUNT(BP_COUNTER(counters, activations));
        }
        return layer->z_lowest;
    }
    return (int16_t)z;
}

static inline uint16_t magnitude(int32_t x)
{
    if (x < 0) {
        x = -x;
    }
    return (uint16_t)(x > INT16_MAX ? INT16_MAX : x);
}

/* The entry at u with `shift` more fraction bits: (E[i] << shift) + (E[i + 1] - E[i]) * fr. In no
 * interval does a table rise or fall by more than s16, and fr is below 2^15.
 */
static inline int32_t interpolate(const uint16_t *table, uint16_t u, uint8_t shift)
{
    size_t i = (size_t)(u >> shift);
    uint16_t fr = (uint16_t)(u - (i << shift));
    uint16_t low = bp_rom_u16(table + i);
    int16_t rise = (int16_t)(bp_rom_u16(table + i + 1) - low);

    return (int32_t)((uint32_t)low << shift) + (int32_t)rise * (int16_t)fr;
}

static inline int16_t sigmoid(int16_t z, const uint16_t *table, uint8_t bits, uint8_t frac)
{
    uint8_t shift = (uint8_t)(15 - bits);
    int32_t one = (int32_t)1 << frac;
    int32_t y = bp_round32(interpolate(table, magnitude(z), shift), (uint8_t)(16 + shift - frac));

    if (z < 0) {
        return (int16_t)(one - y);
    }
    return (int16_t)(y < one ? y : one - 1);
}

/* ---- Backward (section 7) -------------------------------------------------------------------- */

#define SIGMOID_SHIFT 20 /* 4 + 16: the fractions that the sum and the derivative have too many */
#define TANH_SHIFT 18    /* 4 + 14 */
#define LINEAR_SHIFT 4

/* round(sum * derivative * 2^-shift) clipped to [-top, top]: the derivative is below 2^15, shift
 * from 17 to 24.
 */
static inline int16_t hidden_delta(int32_t sum, int32_t derivative, uint8_t shift, int16_t top,
                                   bp_counters_t *counters)
{
    /* s = high * 256 + low; what low adds below a unit of high never reaches the result. */
    int32_t s = bp_clamp24(sum, BP_COUNTER(counters, deltas));
    int32_t product = (int32_t)(int16_t)bp_shr32(s, 8) * (int16_t)derivative;

    product += (int32_t)(((uint32_t)(s & 255) * (uint16_t)derivative) >> 8);
    return bp_clamp(bp_round32(product, (uint8_t)(shift - 8)), top, BP_COUNTER(counters, deltas));
}

/* ---- Updates (sections 8 and 9) ------------------------------------------------------------- */

/* u: an input moved to the fraction that makes the shift a multiple of 8. */
static inline int16_t rescale(int16_t a, uint8_t from_frac, uint8_t to_frac)
{
    if (to_frac >= from_frac) {
        return (int16_t)(a * ((int32_t)1 << (to_frac - from_frac)));
    }
    return (int16_t)bp_round32(a, (uint8_t)(from_frac - to_frac));
}

/* The dither moved to the bits that `shift` drops. */
static inline int32_t aligned_dither(uint16_t dither, int8_t shift)
{
    return shift > 16 ? (int32_t)((uint32_t)dither << (shift - 16))
                      : (int32_t)((uint32_t)dither >> (16 - shift));
}

static inline int32_t round_dithered(int32_t product, int8_t shift, uint16_t dither)
{
    return bp_shr32(product + aligned_dither(dither, shift), (uint8_t)shift);
}

static inline void count_zero(int32_t product, int32_t step, bp_counters_t *counters)
{
    if (step == 0 && product != 0) {
        BP_COUNT(BP_COUNTER(counters, zero_updates));
    }
}

static inline void add_to_master24(int16_t *w, uint8_t *w_low, int32_t step,
                                   bp_counters_t *counters)
{
    int32_t master = (int32_t)*w * 256 + *w_low + step;

    if (master > 8388607) {
        BP_COUNT(BP_COUNTER(counters, weights));
        master = 8388607;
    }
    if (master < -8388608) {
        BP_COUNT(BP_COUNTER(counters, weights));
        master = -8388608;
    }
    *w = (int16_t)bp_shr32(master, 8);
    *w_low = (uint8_t)(master & 255);
}

static inline void add_to_master16(int16_t *w, int32_t step, bp_counters_t *counters)
{
    int32_t master = *w + step;

    if (master > INT16_MAX) {
        BP_COUNT(BP_COUNTER(counters, weights));
        master = INT16_MAX;
    }
    if (master < INT16_MIN) {
        BP_COUNT(BP_COUNTER(counters, weights));
        master = INT16_MIN;
    }
    *w = (int16_t)master;
}

static inline void step_residual(int16_t *w, uint8_t *w_low, int32_t product, int8_t shift,
                                 bp_counters_t *counters)
{
    int32_t step = bp_round32(product, (uint8_t)shift);

    count_zero(product, step, counters);
    add_to_master24(w, w_low, step, counters);
}

static inline void step_stochastic(int16_t *w, int32_t product, int8_t shift, uint16_t dither,
                                   bp_counters_t *counters)
{
    int32_t step = round_dithered(product, shift, dither);

    count_zero(product, step, counters);
    add_to_master16(w, step, counters);
}

#endif

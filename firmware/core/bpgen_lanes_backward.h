/* bpgen_lanes_backward.h -- deltas of several units at a time.
 *
 * bpgen_kernels_lanes.h alone includes this; the portable C says what each of these computes.
 * SPDX-License-Identifier: 0BSD
 */
#ifndef BPGEN_LANES_BACKWARD_H
#define BPGEN_LANES_BACKWARD_H

/* The half that rounds, with which sums for deltas start. */
INLINE sum_t sum_of_half(const bp_layer_t *layer)
{
    return sum_of(bp_shr64((int64_t)1 << layer->sum_shift, 1));
}

#if BP_THUMB
#include "bpgen_thumb_backward.h"
#elif BP_AVX512
#include "bpgen_avx512_backward.h"
#endif

/* The derivative of a sigmoid from its output a: ((a * (one - a) + half) >> down) << up,
 * where down or up is 0.
 */
typedef struct {
    int32_t one;
    int32_t half;
    uint8_t down;
    uint8_t up;
} slope_t;

/* With so many more fraction bits. */
INLINE slope_t slope_of(uint8_t frac, uint8_t more)
{
    slope_t slope;

    slope.one = (int32_t)1 << frac;
    slope.down = (uint8_t)(frac < 8 ? 0 : 2 * frac - 16);
    slope.up = (uint8_t)(frac < 8 ? more + 16 - 2 * frac : more);
    slope.half = half_of(slope.down);
    return slope;
}

INLINE int32_t slope_at(int32_t a, slope_t slope)
{
    int32_t product = bp_shr32(a * (slope.one - a) + slope.half, slope.down);

    return (int32_t)((uint32_t)product << slope.up);
}

void bp_output_delta_sigmoid(int16_t *dz, const int16_t *a, const int16_t *t, uint8_t frac,
                             uint8_t shift, int16_t top, bp_counters_t *counters, size_t n)
{
    const slope_t slope = slope_of(frac, 0);
    const int32_t half = half_of(shift);
    const int16_t *const end = a + n;

    (void)counters;
#if defined(__ARM_ARCH_6M__)
    if (slope.up == 0 && n != 0) {
        output_deltas(dz + n, end, t + n, -2 * (int32_t)n, slope.one, slope.half, slope.down, half,
                      shift, top);
        return;
    }
#endif
    while (a != end) {
        int32_t y = *a++;
        int32_t product = (y - *t++) * slope_at(y, slope);

        *dz++ = (int16_t)clip(bp_shr32(product + half, shift), -top, top);
    }
}

/* The delta of a unit from its sum and slope: their product without its last 20 bits, rounded. The
 * slope is below 2^15. Clipping to -2^23 instead of 1 - 2^23 changes no result.
 */
#if defined(__ARM_ARCH_6M__)
/* The sum is high * 256 + low; what low adds below a unit of high never reaches the result. */
#define SLOPE_FRAC 0
INLINE int32_t delta_of(int32_t sum, int32_t slope, int32_t top)
{
    int32_t s = clip(sum, -8388607, 8388607);
    int32_t product = bp_shr32(s, 8) * slope;

    product += (int32_t)((uint32_t)((s & 255) * slope) >> 8);
    return clip(bp_shr32(product + 2048, 12), -top, top);
}
#else
/* Of 64 bits the upper half, which is one instruction, is twice the result. */
#define SLOPE_FRAC 13
INLINE int32_t delta_of(int32_t sum, int32_t slope, int32_t top)
{
    int32_t s = clip(sum, -8388607, 8388607);
    int32_t twice = (int32_t)bp_shr64((int64_t)s * slope, 32);

    return clip(bp_shr32(twice + 1, 1), -top, top);
}
#endif

void bp_delta_sigmoid(int16_t *dz, const int32_t *sum, const int16_t *a, uint8_t frac, int16_t top,
                      bp_counters_t *counters, size_t n)
{
    const slope_t slope = slope_of(frac, SLOPE_FRAC);
    const int16_t *const end = a + n;

    (void)counters;
    while (a != end) {
        *dz++ = (int16_t)delta_of(*sum++, slope_at(*a++, slope), top);
    }
}

/* Sums of two inputs. */
typedef struct {
    sum_t sum[2];
} sums_t;

/* The weights of two inputs start at w. */
INLINE sums_t pair_of_sums(sum_t half, const int16_t *w, const int16_t *dz, size_t n)
{
    const int16_t *const end = dz + (n & ~(size_t)1);
    sums_t s = {{half, half}};

    while (dz != end) {
        int32_t dz0 = dz[0];
        int32_t dz1 = dz[1];

        add_two(&s.sum[0], w[0], dz0, w[2], dz1);
        add_two(&s.sum[1], w[1], dz0, w[3], dz1);
        w += 4;
        dz += 2;
    }
    if (n % 2 != 0) {
        add_two(&s.sum[0], w[0], dz[0], 0, 0);
        add_two(&s.sum[1], w[1], dz[0], 0, 0);
    }
    return s;
}

void bp_backward(int32_t *sum, const bp_layer_t *layer, const int16_t *w, const int16_t *dz)
{
    const bp_layer_t l = *layer;
    const sum_t half = sum_of_half(layer);
    size_t i;

    for (i = 0; i < l.inputs; i += 2) {
        sums_t s = pair_of_sums(half, w + i * l.outputs, dz, l.outputs);

        sum[i] = shift_sum(s.sum[0], l.sum_shift);
        sum[i + 1] = shift_sum(s.sum[1], l.sum_shift);
    }
}

/* bp_backward() and bp_delta_sigmoid(). */
#if defined(__ARM_ARCH_6M__)
NOINLINE void deltas_of_inputs(int16_t *dz_in, const bp_layer_t *layer, const int16_t *w,
                               const int16_t *a_in, const int16_t *dz)
{
    const size_t outputs = layer->outputs;
    const uint8_t shift = layer->sum_shift;
    const slope_t slope = slope_of(layer->a_in_frac, SLOPE_FRAC);
    const sum_t half = sum_of_half(layer);
    const size_t even = layer->inputs & ~(size_t)1;
    deltas_t deltas = {half.low,   half.high + 32768, -2 * (int32_t)outputs, slope.one,
                       slope.half, slope.down,        shift,                 32u - shift,
                       8388607,    layer->dz_in_top,  dz_in,                 a_in + even};
    size_t i = 0, j;

    /* Sums are below (outputs + 2) * 2^30. */
    if (shift < 30 && outputs + 2 <= (size_t)2 << shift && slope.up == 0 && even != 0) {
        delta_rows(&deltas, w, dz + outputs, a_in);
        i = even;
    }
    for (; i < layer->inputs; i++) {
        sum_t sum = half;

        for (j = 0; j < outputs; j++) {
            add_two(&sum, w[bp_weight_index(layer, j, i)], dz[j], 0, 0);
        }
        dz_in[i] = (int16_t)delta_of(shift_sum(sum, shift), slope_at(a_in[i], slope),
                                     layer->dz_in_top);
    }
}
#elif LANES == 16
/* The sums of n inputs; of an odd n one more. */
INLINE void sums_of_inputs(int32_t *sum, const bp_layer_t *layer, const int16_t *w,
                           const int16_t *dz, size_t n)
{
    const sum_t half = sum_of_half(layer);
    size_t k;

#if BP_AVX512
    if (layer->outputs > NARROW) {
        wide_sums(sum, layer, w, dz, n);
        return;
    }
#endif
    for (k = 0; k < n; k += 2) {
        sums_t s = pair_of_sums(half, w + k * layer->outputs, dz, layer->outputs);

        sum[k] = shift_sum(s.sum[0], layer->sum_shift);
        sum[k + 1] = shift_sum(s.sum[1], layer->sum_shift);
    }
}

/* The deltas of many sums, which become vectors. */
NOINLINE void deltas_of_inputs(int16_t *dz_in, const bp_layer_t *layer, const int16_t *w,
                               const int16_t *a_in, const int16_t *dz)
{
    const bp_layer_t l = *layer;
    int32_t sum[2 * LANES];
    size_t i;

    for (i = 0; i < l.inputs; i += 2 * LANES) {
        const size_t n = l.inputs - i < 2 * LANES ? l.inputs - i : 2 * LANES;

        sums_of_inputs(sum, &l, w + i * l.outputs, dz, n);
        bp_delta_sigmoid(dz_in + i, sum, a_in + i, l.a_in_frac, l.dz_in_top, NULL, n);
    }
}
#else
NOINLINE void deltas_of_inputs(int16_t *dz_in, const bp_layer_t *layer, const int16_t *w,
                               const int16_t *a_in, const int16_t *dz)
{
    const size_t outputs = layer->outputs;
    const uint8_t shift = layer->sum_shift;
    const int32_t top = layer->dz_in_top;
    const slope_t slope = slope_of(layer->a_in_frac, SLOPE_FRAC);
    const sum_t half = sum_of_half(layer);
    /* Sums are below (outputs + 2) * 2^30. */
    const int fits = shift < 30 && outputs + 2 <= (size_t)2 << shift;
    size_t left = layer->inputs;

    for (;;) {
        sums_t s = pair_of_sums(half, w, dz, outputs);
        int32_t sum;

        sum = fits ? fitting_sum(s.sum[0], shift) : shift_sum(s.sum[0], shift);
        dz_in[0] = (int16_t)delta_of(sum, slope_at(a_in[0], slope), top);
        if (left == 1) {
            return;
        }
        sum = fits ? fitting_sum(s.sum[1], shift) : shift_sum(s.sum[1], shift);
        dz_in[1] = (int16_t)delta_of(sum, slope_at(a_in[1], slope), top);
        left -= 2;
        if (left == 0) {
            return;
        }
        w += 2 * outputs;
        dz_in += 2;
        a_in += 2;
    }
}
#endif

#endif

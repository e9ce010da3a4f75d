/* bpgen_lanes_learn.h -- deltas and updates several weights at a time.
 *
 * bpgen_kernels_lanes.h alone includes this; the portable C says what each of these computes.
 * SPDX-License-Identifier: 0BSD
 */
#ifndef BPGEN_LANES_LEARN_H
#define BPGEN_LANES_LEARN_H

/* How an input becomes u, without a branch. */
typedef struct {
    uint8_t left;
    uint8_t right;
    int32_t half;
} scale_t;

INLINE scale_t scale_of(const bp_layer_t *layer, bp_alignment_t alignment)
{
    int finer = alignment.frac >= layer->a_in_frac;
    scale_t scale;

    scale.left = (uint8_t)(finer ? alignment.frac - layer->a_in_frac : 0);
    scale.right = (uint8_t)(finer ? 0 : layer->a_in_frac - alignment.frac);
    scale.half = half_of(scale.right);
    return scale;
}

/* The half that rounds, with which sums for deltas start. */
INLINE sum_t sum_of_half(const bp_layer_t *layer)
{
    return sum_of(bp_shr64((int64_t)1 << layer->sum_shift, 1));
}

#if BP_THUMB
#include "bpgen_thumb_learn.h"
#elif BP_AVX512
#include "bpgen_avx512_learn.h"
#endif

/* ---- Backward ------------------------------------------------------------------------------- */

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

/* g = round(-mantissa * dz * 2^-15), the product doubled, for which it still fits. */
void bp_descent(int16_t *g, const int16_t *dz, uint16_t mantissa, size_t n)
{
#if defined(__ARM_ARCH_6M__)
    if (n != 0) {
        descents(g + n, dz + n, -(int32_t)mantissa, -2 * (int32_t)n);
    }
#else
    const int32_t scale = -2 * (int32_t)mantissa;
    const int16_t *const end = dz + n;

    while (dz != end) {
        *g++ = (int16_t)bp_shr32(*dz++ * scale + 32768, 16);
    }
#endif
}

/* ---- Updates -------------------------------------------------------------------------------- */

#if RV32_ASM
/* Add a step to a master: after the sum every way has five instructions in add24() and four in
 * add16(), with nops. "memory" keeps gcc from loading masters ahead until it spills.
 */
INLINE void add24(int16_t *w, uint8_t *w_low, int32_t step)
{
    int32_t upper;

    __asm__("blt %[master], %[lowest], 1f\n\t"
            "bge %[top], %[master], 2f\n\t"
            "sh %[upper_top], %[w]\n\t"
            "sb %[upper_top], %[low]\n\t"
            "j 3f\n"
            "1:\n\t"
            "lui %[upper], 0xFFFF8\n\t"
            "sh %[upper], %[w]\n\t"
            "sb %[upper], %[low]\n\t"
            "j 3f\n"
            "2:\n\t"
            "srai %[upper], %[master], 8\n\t"
            "sh %[upper], %[w]\n\t"
            "sb %[master], %[low]\n"
            "3:"
            : [w] "=m"(*w), [low] "=m"(*w_low), [upper] "=&r"(upper)
            : [master] "r"(*w * 256 + *w_low + step), [lowest] "r"(-8388608), [top] "r"(8388607),
              [upper_top] "r"(INT16_MAX)
            : "memory");
}

INLINE void add16(int16_t *w, int32_t step)
{
    __asm__("blt %[master], %[lowest], 1f\n\t"
            "blt %[top], %[master], 2f\n\t"
            "sh %[master], %[w]\n\t"
            "j 3f\n"
            "1:\n\t"
            "nop\n\t"
            "sh %[lowest], %[w]\n\t"
            "j 3f\n"
            "2:\n\t"
            "nop\n\t"
            "sh %[top], %[w]\n"
            "3:"
            : [w] "=m"(*w)
            : [master] "r"(*w + step), [lowest] "r"(INT16_MIN), [top] "r"(INT16_MAX)
            : "memory");
}
#elif BP_THUMB
/* Of biases alone, whose loops need no copy of their own. */
#define add24(w, w_low, step) add_to_master24(w, w_low, step, NULL)
#define add16(w, step) add_to_master16(w, step, NULL)
#else
INLINE void add24(int16_t *w, uint8_t *w_low, int32_t step)
{
    int32_t master = clip((int32_t)((uint32_t)*w << 8 | *w_low) + step, -8388608, 8388607);

    *w = (int16_t)bp_shr32(master, 8);
    *w_low = (uint8_t)(master & 255);
}

INLINE void add16(int16_t *w, int32_t step)
{
    *w = (int16_t)clip(*w + step, INT16_MIN, INT16_MAX);
}
#endif

#if !BP_THUMB
INLINE void residual_lanes(int16_t *restrict w, uint8_t *restrict w_low, const bp_layer_t *layer,
                           const int16_t *restrict a_in, const int16_t *restrict g,
                           bp_alignment_t alignment, size_t lanes)
{
    const size_t stride = 2 * (size_t)layer->outputs;
    const scale_t scale = scale_of(layer, alignment);
    const uint8_t shift = (uint8_t)alignment.shift;
    const int32_t half = half_of(shift);
    int32_t step[2 * LANES];
    size_t i, k;

    /* Shifts to the left are done here, once. */
    EACH (k, 2 * lanes) {
        step[k] = g[k / 2] * ((int32_t)1 << scale.left);
    }
    for (i = 0; i < layer->inputs; i += 2) {
        int32_t u0 = bp_shr32(a_in[i] + scale.half, scale.right);
        int32_t u1 = bp_shr32(a_in[i + 1] + scale.half, scale.right);

        EACH (k, 2 * lanes) {
            int32_t product = step[k] * (k % 2 == 0 ? u0 : u1);

            add24(w + k, w_low + k, bp_shr32(product + half, shift));
        }
        w += stride;
        w_low += stride;
    }
}

INLINE void residual_weights(int16_t *w, uint8_t *w_low, const bp_layer_t *layer,
                             const int16_t *a_in, const int16_t *g, bp_alignment_t alignment)
{
    const bp_layer_t l = *layer;
    size_t j;

#define RESIDUAL(j, lanes)                                                                \
    residual_lanes(w + 2 * (j), w_low + 2 * (j), &l, a_in, g + (j), alignment, lanes)
    IN_LANES(LANES, j, l.outputs, RESIDUAL);
}

INLINE void stochastic_lanes(int16_t *restrict w, const bp_layer_t *layer,
                             const int16_t *restrict a_in, const int16_t *restrict g,
                             bp_alignment_t alignment, uint16_t dither, size_t lanes)
{
    const size_t stride = 2 * (size_t)layer->outputs;
    const scale_t scale = scale_of(layer, alignment);
    const uint8_t shift = (uint8_t)alignment.shift;
    /* Dithers are in the upper half; none for shift 0. */
    const uint32_t weyl = shift == 0 ? 0 : BP_WEYL << 16;
    const uint32_t row = weyl * layer->inputs;
    uint32_t first = shift == 0 ? 0 : (uint32_t)dither << 16;
    int32_t step[2 * LANES];
    size_t i, k;

    /* Shifts to the left are done here, once. */
    EACH (k, 2 * lanes) {
        step[k] = g[k / 2] * ((int32_t)1 << scale.left);
    }
    for (i = 0; i < layer->inputs; i += 2) {
        int32_t u0 = bp_shr32(a_in[i] + scale.half, scale.right);
        int32_t u1 = bp_shr32(a_in[i + 1] + scale.half, scale.right);

        EACH (k, 2 * lanes) {
            uint32_t r = first + (uint32_t)(k / 2) * row + (uint32_t)(k % 2) * weyl;
            int32_t aligned = (int32_t)(r >> ((32 - shift) & 31));
            int32_t product = step[k] * (k % 2 == 0 ? u0 : u1);

            add16(w + k, bp_shr32(product + aligned, shift));
        }
        first += 2 * weyl;
        w += stride;
    }
}

INLINE void stochastic_weights(int16_t *w, const bp_layer_t *layer, const int16_t *a_in,
                               const int16_t *g, bp_alignment_t alignment, uint16_t dither)
{
    const bp_layer_t l = *layer;
    size_t j;

#define STOCHASTIC(j, lanes)                                        \
    stochastic_lanes(w + 2 * (j), &l, a_in, g + (j), alignment,      \
                     bp_dither_at(dither, (j) * l.inputs), lanes)
    IN_LANES(LANES, j, l.outputs, STOCHASTIC);
}
#endif

void bp_update_residual(int16_t *w, uint8_t *w_low, int16_t *b, uint8_t *b_low,
                        const bp_layer_t *layer, const int16_t *a_in, const int16_t *g,
                        bp_alignment_t alignment, bp_counters_t *counters)
{
    const uint8_t shift = (uint8_t)alignment.shift;
    const int32_t half = half_of(shift);
    size_t j;

    (void)counters;
#if BP_AVX512
    if (layer->outputs > NARROW) {
        wide_update(w, w_low, b, b_low, layer, a_in, g, alignment);
        return;
    }
#endif
    residual_weights(w, w_low, layer, a_in, g, alignment);
#if defined(__ARM_ARCH_6M__)
    if (shift >= 8) {
        biases24(b, b_low, g, layer->outputs, alignment);
        return;
    }
#endif
    for (j = 0; j < layer->outputs; j++) {
        int32_t product = g[j] * ((int32_t)1 << alignment.frac);

        add24(b + j, b_low + j, bp_shr32(product + half, shift));
    }
}

void bp_update_stochastic(int16_t *w, int16_t *b, const bp_layer_t *layer, const int16_t *a_in,
                          const int16_t *g, bp_alignment_t alignment, uint16_t dither,
                          bp_counters_t *counters)
{
    size_t j;

    (void)counters;
    stochastic_weights(w, layer, a_in, g, alignment, dither);
#if defined(__ARM_ARCH_6M__)
    if (alignment.shift >= 16) {
        dither = (uint16_t)(dither + bp_dither_at(0, layer->inputs) * (uint32_t)layer->outputs);
        biases16(b, g, layer->outputs, alignment, dither);
        return;
    }
#endif
    dither = bp_dither_at(dither, (size_t)layer->inputs * layer->outputs);
    for (j = 0; j < layer->outputs; j++) {
        int32_t product = g[j] * ((int32_t)1 << alignment.frac);

        add16(b + j, round_dithered(product, alignment.shift, dither));
        dither = bp_dither_at(dither, 1);
    }
}

void bp_learn_residual(int16_t *dz_in, int16_t *w, uint8_t *w_low, int16_t *b, uint8_t *b_low,
                       const bp_layer_t *layer, const int16_t *a_in, const int16_t *dz,
                       const int16_t *g, bp_alignment_t alignment, bp_counters_t *counters)
{
    deltas_of_inputs(dz_in, layer, w, a_in, dz);
    bp_update_residual(w, w_low, b, b_low, layer, a_in, g, alignment, counters);
}

void bp_learn_stochastic(int16_t *dz_in, int16_t *w, int16_t *b, const bp_layer_t *layer,
                         const int16_t *a_in, const int16_t *dz, const int16_t *g,
                         bp_alignment_t alignment, uint16_t dither, bp_counters_t *counters)
{
    deltas_of_inputs(dz_in, layer, w, a_in, dz);
    bp_update_stochastic(w, b, layer, a_in, g, alignment, dither, counters);
}

#endif

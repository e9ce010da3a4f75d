/* bpgen_lanes_update.h -- steps of several weights at a time.
 *
 * bpgen_kernels_lanes.h alone includes this; the portable C says what each of these computes.
 * SPDX-License-Identifier: 0BSD
 */
#ifndef BPGEN_LANES_UPDATE_H
#define BPGEN_LANES_UPDATE_H

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

#if BP_THUMB
#include "bpgen_thumb_update.h"
#elif BP_AVX512
#include "bpgen_avx512_update.h"
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

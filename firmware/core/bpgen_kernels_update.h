/* bpgen_kernels_update.h -- portable kernels: the steps of masters.
 *
 * bpgen_kernels.c alone includes this. Section numbers are those of docs/numbers.md.
 * SPDX-License-Identifier: 0BSD
 */
#ifndef BPGEN_KERNELS_UPDATE_H
#define BPGEN_KERNELS_UPDATE_H

#include "bpgen_kernels_backward.h"

/* ---- Learning rate (section 8) -------------------------------------------------------------- */

int bp_align(bp_alignment_t *alignment, int8_t exponent, int8_t offset, int8_t lowest,
             int8_t smallest)
{
    int16_t shift = (int16_t)(exponent + offset + lowest);
    /* To the one of the eight fractions that makes the shift a multiple of 8. */
    uint8_t up = (uint8_t)(-shift & 7);
    int16_t frac = (int16_t)(lowest + up);

    shift = (int16_t)(shift + up);
    if (frac < 0 || shift < smallest || shift > 24) {
        return -1;
    }
    alignment->shift = (int8_t)shift;
    alignment->frac = (uint8_t)frac;
    return 0;
}

int bp_is_mantissa(uint16_t mantissa)
{
    return mantissa == 32768u || (mantissa > 16384u && mantissa < 32768u && mantissa % 2u == 1u);
}

#if !defined(BP_FAST_DESCENT)
void bp_descent(int16_t *g, const int16_t *dz, uint16_t mantissa, size_t n)
{
    size_t j;

    for (j = 0; j < n; j++) {
        /* Doubled, so that the shift is by whole bytes; |dz| <= 32767, hence within 32 bits. */
        g[j] = (int16_t)bp_shr32(-((int32_t)dz[j] * mantissa) * 2 + 32768, 16);
    }
}
#endif

/* ---- Updates (sections 8 and 9) ------------------------------------------------------------- */

static int32_t clamp32(int64_t x, bp_counters_t *counters)
{
    int32_t y = bp_saturate32(x);

    if (y != x) {
        BP_COUNT(BP_COUNTER(counters, weights));
    }
    return y;
}

#if !defined(BP_FAST_RESIDUAL) || !defined(BP_FAST_STOCHASTIC)

/* The deltas of inputs i and i + 1, the latter only if there is one. */
static inline void delta_pair(int16_t *dz_in, const bp_layer_t *layer, const int16_t *w,
                              const int16_t *a_in, const int16_t *dz, bp_counters_t *counters,
                              size_t i)
{
    int32_t sum[2];

    backward_pair(sum, layer, w + i * layer->outputs, dz, 0);
    bp_delta_sigmoid(dz_in + i, sum, a_in + i, layer->a_in_frac, layer->dz_in_top, counters,
                     layer->inputs - i < 2 ? 1 : 2);
}

#endif

#if !defined(BP_FAST_RESIDUAL)

/* The weights of inputs i and i + 1. */
static inline void update_pair_residual(int16_t *w, uint8_t *w_low, const bp_layer_t *layer,
                                        const int16_t *a_in, const int16_t *g,
                                        bp_alignment_t alignment, bp_counters_t *counters, size_t i)
{
    size_t first = i * layer->outputs;
    int16_t u0 = rescale(a_in[i], layer->a_in_frac, alignment.frac);
    int16_t u1 = rescale(a_in[i + 1], layer->a_in_frac, alignment.frac);
    size_t j;

    w += first;
    w_low += first;
    for (j = 0; j < layer->outputs; j++) {
        step_residual(w++, w_low++, (int32_t)g[j] * u0, alignment.shift, counters);
        step_residual(w++, w_low++, (int32_t)g[j] * u1, alignment.shift, counters);
    }
}

static inline void update_biases_residual(int16_t *b, uint8_t *b_low, const bp_layer_t *layer,
                                   const int16_t *g, bp_alignment_t alignment,
                                   bp_counters_t *counters)
{
    size_t j;

    for (j = 0; j < layer->outputs; j++) {
        int32_t product = g[j] * ((int32_t)1 << alignment.frac);
        step_residual(b + j, b_low + j, product, alignment.shift, counters);
    }
}

void bp_update_residual(int16_t *w, uint8_t *w_low, int16_t *b, uint8_t *b_low,
                        const bp_layer_t *layer, const int16_t *a_in, const int16_t *g,
                        bp_alignment_t alignment, bp_counters_t *counters)
{
    const bp_layer_t l = read_layer(layer);
    size_t i;

    for (i = 0; i < l.inputs; i += 2) {
        update_pair_residual(w, w_low, &l, a_in, g, alignment, counters, i);
    }
    update_biases_residual(b, b_low, &l, g, alignment, counters);
}

void bp_learn_residual(int16_t *dz_in, int16_t *w, uint8_t *w_low, int16_t *b, uint8_t *b_low,
                       const bp_layer_t *layer, const int16_t *a_in, const int16_t *dz,
                       const int16_t *g, bp_alignment_t alignment, bp_counters_t *counters)
{
    const bp_layer_t l = read_layer(layer);
    size_t i;

    for (i = 0; i < l.inputs; i += 2) {
        delta_pair(dz_in, &l, w, a_in, dz, counters, i);
        update_pair_residual(w, w_low, &l, a_in, g, alignment, counters, i);
    }
    update_biases_residual(b, b_low, &l, g, alignment, counters);
}

#endif

#if !defined(BP_FAST_STOCHASTIC)

static inline void update_pair_stochastic(int16_t *w, const bp_layer_t *layer, const int16_t *a_in,
                                          const int16_t *g, bp_alignment_t alignment,
                                          uint16_t dither, bp_counters_t *counters, size_t i)
{
    int16_t u0 = rescale(a_in[i], layer->a_in_frac, alignment.frac);
    int16_t u1 = rescale(a_in[i + 1], layer->a_in_frac, alignment.frac);
    uint16_t row = bp_dither_at(0, layer->inputs);
    size_t j;

    w += i * layer->outputs;
    dither = bp_dither_at(dither, i);
    for (j = 0; j < layer->outputs; j++) {
        uint16_t next = bp_dither_at(dither, 1);
        step_stochastic(w++, (int32_t)g[j] * u0, alignment.shift, dither, counters);
        step_stochastic(w++, (int32_t)g[j] * u1, alignment.shift, next, counters);
        dither = (uint16_t)(dither + row);
    }
}

static inline void update_biases_stochastic(int16_t *b, const bp_layer_t *layer, const int16_t *g,
                                     bp_alignment_t alignment, uint16_t dither,
                                     bp_counters_t *counters)
{
    size_t j;

    dither = bp_dither_at(dither, (size_t)layer->inputs * layer->outputs);
    for (j = 0; j < layer->outputs; j++) {
        int32_t product = g[j] * ((int32_t)1 << alignment.frac);
        step_stochastic(b + j, product, alignment.shift, bp_dither_at(dither, j), counters);
    }
}

void bp_update_stochastic(int16_t *w, int16_t *b, const bp_layer_t *layer, const int16_t *a_in,
                          const int16_t *g, bp_alignment_t alignment, uint16_t dither,
                          bp_counters_t *counters)
{
    const bp_layer_t l = read_layer(layer);
    size_t i;

    for (i = 0; i < l.inputs; i += 2) {
        update_pair_stochastic(w, &l, a_in, g, alignment, dither, counters, i);
    }
    update_biases_stochastic(b, &l, g, alignment, dither, counters);
}

void bp_learn_stochastic(int16_t *dz_in, int16_t *w, int16_t *b, const bp_layer_t *layer,
                         const int16_t *a_in, const int16_t *dz, const int16_t *g,
                         bp_alignment_t alignment, uint16_t dither, bp_counters_t *counters)
{
    const bp_layer_t l = read_layer(layer);
    size_t i;

    for (i = 0; i < l.inputs; i += 2) {
        delta_pair(dz_in, &l, w, a_in, dz, counters, i);
        update_pair_stochastic(w, &l, a_in, g, alignment, dither, counters, i);
    }
    update_biases_stochastic(b, &l, g, alignment, dither, counters);
}

#endif

/* product * 2^-shift into a sum of s32, for shifts of -8 to 24. */
static void add_to_sum(int32_t *sum, int32_t product, int8_t shift, bp_counters_t *counters)
{
    /* The clip of a step is not one of the sum, so it is not counted. */
    int32_t step = shift < 0 ? bp_saturate32((int64_t)product * 256)
                             : bp_round32(product, (uint8_t)shift);

    count_zero(product, step, counters);
    *sum = clamp32((int64_t)*sum + step, counters);
}

void bp_accumulate(int32_t *vw, int32_t *vb, const bp_layer_t *layer, const int16_t *a_in,
                   const int16_t *g, bp_alignment_t alignment, bp_counters_t *counters)
{
    const bp_layer_t l = read_layer(layer);
    size_t i, j;

    for (i = 0; i < even_inputs(&l); i++) {
        int16_t u = rescale(a_in[i], l.a_in_frac, alignment.frac);
        for (j = 0; j < l.outputs; j++) {
            int32_t *sum = vw + bp_weight_index(layer, j, i);
            add_to_sum(sum, (int32_t)g[j] * u, alignment.shift, counters);
        }
    }
    for (j = 0; j < l.outputs; j++) {
        int32_t product = g[j] * ((int32_t)1 << alignment.frac);
        add_to_sum(vb + j, product, alignment.shift, counters);
    }
}

void bp_apply_batch(int16_t *w, int32_t *vw, uint16_t decay, bp_counters_t *counters, size_t n)
{
    size_t i;

    for (i = 0; i < n; i++) {
        int32_t shrink = bp_round32((int32_t)w[i] * decay, 8);
        int32_t sum = clamp32((int64_t)vw[i] - shrink, counters);
        int32_t step = (int32_t)bp_round64(sum, 16);
        add_to_master16(w + i, step, counters);
        vw[i] = (int32_t)(sum - (int64_t)step * 65536);
    }
}

void bp_apply_momentum(int16_t *w, uint8_t *w_low, int32_t *vw, uint16_t decay, uint16_t momentum,
                       bp_counters_t *counters, size_t n)
{
    size_t i;

    for (i = 0; i < n; i++) {
        int32_t shrink = bp_round32((int32_t)w[i] * decay, 8);
        int32_t velocity = clamp32((int64_t)vw[i] - shrink, counters);
        add_to_master24(w + i, w_low + i, (int32_t)bp_round64(velocity, 8), counters);
        vw[i] = (int32_t)bp_round64((int64_t)velocity * momentum, 16);
    }
}

void bp_decay_residual(int16_t *w, uint8_t *w_low, uint16_t decay, bp_counters_t *counters,
                       size_t n)
{
    size_t i;

    for (i = 0; i < n; i++) {
        add_to_master24(w + i, w_low + i, -bp_round32((int32_t)w[i] * decay, 16), counters);
    }
}

void bp_decay_stochastic(int16_t *w, const bp_layer_t *layer, uint16_t decay, uint16_t dither,
                         bp_counters_t *counters)
{
    const bp_layer_t l = read_layer(layer);
    size_t i, j;

    for (j = 0; j < l.outputs; j++) {
        for (i = 0; i < l.inputs; i++) {
            int16_t *weight = w + bp_weight_index(layer, j, i);
            int32_t product = (int32_t)*weight * decay;
            add_to_master16(weight, -bp_shr32(product + aligned_dither(dither, 24), 24), counters);
            dither = bp_dither_at(dither, 1);
        }
    }
}

#endif

/* bpgen_kernels_backward.h -- portable kernels: deltas and the sparsity penalty.
 *
 * bpgen_kernels.c alone includes this. Section numbers are those of docs/numbers.md.
 * SPDX-License-Identifier: 0BSD
 */
#ifndef BPGEN_KERNELS_BACKWARD_H
#define BPGEN_KERNELS_BACKWARD_H

#include "bpgen_unit.h"

/* ---- Backward (section 7) ------------------------------------------------------------------- */

int32_t bp_sigmoid_derivative(int16_t a, uint8_t frac)
{
    int32_t one = (int32_t)1 << frac;

    if (frac < 8) {
        return a * (one - a) * ((int32_t)1 << (16 - 2 * frac));
    }
    return bp_round32(a * (one - a), (uint8_t)(2 * frac - 16));
}

int32_t bp_tanh_derivative(int16_t a, uint8_t frac)
{
    int32_t one = (int32_t)1 << frac;

    return bp_round32((one - a) * (one + a), (uint8_t)(2 * frac - 14));
}

int32_t bp_tanh_opt_derivative(int16_t a, int16_t top, uint8_t frac)
{
    int32_t v = bp_round32((int32_t)top * top - (int32_t)a * a, (uint8_t)(2 * frac - 14));

    return bp_round32(v * 25462, 16); /* 2/3 / 1.7159 as u16q16 */
}

#if !defined(BP_FAST_OUTPUT_DELTA)
void bp_output_delta_sigmoid(int16_t *dz, const int16_t *a, const int16_t *t, uint8_t frac,
                             uint8_t shift, int16_t top, bp_counters_t *counters, size_t n)
{
    size_t j;

    for (j = 0; j < n; j++) {
        int32_t error = (int32_t)a[j] - t[j];
        int32_t product = error * bp_sigmoid_derivative(a[j], frac);
        dz[j] = bp_clamp(bp_round32(product, shift), top, BP_COUNTER(counters, deltas));
    }
}
#endif

/* AVR cores have no other kernel for weights in flash. */
#if defined(__AVR__) || !defined(BP_FAST_BACKWARD) || !defined(BP_FAST_RESIDUAL) || \
    !defined(BP_FAST_STOCHASTIC)

/* sum w[j][i] * dz[j] of the input whose weight to output 0 is at w. */
static inline int64_t dot_column(const bp_layer_t *layer, const int16_t *w, const int16_t *dz,
                                 uint8_t in_flash)
{
    size_t n = layer->outputs;
    int64_t acc = 0;
    size_t j = 0;

    while (j < n) {
        size_t end = n - j > layer->delta_block ? j + layer->delta_block : n;
        int32_t sum = 0;
        for (; j < end; j++) {
            sum += (int32_t)read_weight(w + 2 * j, in_flash) * dz[j];
        }
        acc += sum;
    }
    return acc;
}

/* The sums of two inputs, whose weights start at w. */
static inline void backward_pair(int32_t sum[2], const bp_layer_t *layer, const int16_t *w,
                                 const int16_t *dz, uint8_t in_flash)
{
    sum[0] = bp_saturate32(bp_round64(dot_column(layer, w, dz, in_flash), layer->sum_shift));
    sum[1] = bp_saturate32(bp_round64(dot_column(layer, w + 1, dz, in_flash), layer->sum_shift));
}

static inline void backward(int32_t *sum, const bp_layer_t *layer, const int16_t *w,
                            const int16_t *dz, uint8_t in_flash)
{
    size_t i;

    for (i = 0; i < layer->inputs; i += 2) {
        backward_pair(sum + i, layer, w + i * layer->outputs, dz, in_flash);
    }
}

#endif

#if !defined(BP_FAST_BACKWARD)
void bp_backward(int32_t *sum, const bp_layer_t *layer, const int16_t *w, const int16_t *dz)
{
    const bp_layer_t l = read_layer(layer);

    backward(sum, &l, w, dz, 0);
}
#endif

#if defined(__AVR__)
void bp_backward_rom(int32_t *sum, const bp_layer_t *layer, const int16_t *w, const int16_t *dz)
{
    const bp_layer_t l = read_layer(layer);

    backward(sum, &l, w, dz, 1);
}
#endif

#if !defined(BP_FAST_DELTA_SIGMOID)
void bp_delta_sigmoid(int16_t *dz, const int32_t *sum, const int16_t *a, uint8_t frac, int16_t top,
                      bp_counters_t *counters, size_t n)
{
    size_t i;

    for (i = 0; i < n; i++) {
        int32_t d = bp_sigmoid_derivative(a[i], frac);
        dz[i] = hidden_delta(sum[i], d, SIGMOID_SHIFT, top, counters);
    }
}
#endif

void bp_delta_tanh(int16_t *dz, const int32_t *sum, const int16_t *a, uint8_t frac, int16_t top,
                   bp_counters_t *counters, size_t n)
{
    size_t i;

    for (i = 0; i < n; i++) {
        int32_t d = bp_tanh_derivative(a[i], frac);
        dz[i] = hidden_delta(sum[i], d, TANH_SHIFT, top, counters);
    }
}

void bp_delta_tanh_opt(int16_t *dz, const int32_t *sum, const int16_t *a, int16_t a_top,
                       uint8_t frac, int16_t top, bp_counters_t *counters, size_t n)
{
    size_t i;

    for (i = 0; i < n; i++) {
        int32_t d = bp_tanh_opt_derivative(a[i], a_top, frac);
        dz[i] = hidden_delta(sum[i], d, TANH_SHIFT, top, counters);
    }
}

void bp_delta_linear(int16_t *dz, const int32_t *sum, int16_t top, bp_counters_t *counters,
                     size_t n)
{
    size_t i;

    for (i = 0; i < n; i++) {
        int32_t s = bp_clamp24(sum[i], BP_COUNTER(counters, deltas));
        dz[i] = bp_clamp(bp_round32(s, LINEAR_SHIFT), top, BP_COUNTER(counters, deltas));
    }
}

void bp_delta_relu(int16_t *dz, const int32_t *sum, const int16_t *a, int16_t top,
                   bp_counters_t *counters, size_t n)
{
    size_t i;

    for (i = 0; i < n; i++) {
        int32_t s = bp_clamp24(sum[i], BP_COUNTER(counters, deltas));
        dz[i] = bp_clamp(a[i] > 0 ? bp_round32(s, LINEAR_SHIFT) : 0, top,
                         BP_COUNTER(counters, deltas));
    }
}

/* ---- Sparsity (section 11) ------------------------------------------------------------------ */

int32_t bp_running_mean(int32_t p, int16_t a, uint16_t rate)
{
    int64_t distance = (int64_t)a * 32768 - p;

    return p + (int32_t)bp_round64(distance * rate, 16);
}

int32_t bp_sparsity_term(int32_t p, uint16_t target, int32_t offset, int32_t reciprocal,
                         int16_t multiplier, uint8_t shift)
{
    int64_t mean = bp_round64(((int64_t)p + offset) * reciprocal, 30);
    uint32_t on = (uint32_t)(mean < 33 ? 33 : mean > 32735 ? 32735 : mean); /* u16q15 */
    uint32_t off = 32768u - on;
    uint32_t pull_on = (((uint32_t)target << 15) + (on >> 1)) / on;
    uint32_t pull_off = (((uint32_t)(32768u - target) << 15) + (off >> 1)) / off;
    int64_t slope = (int64_t)pull_off - pull_on; /* s26q15 */
    uint32_t uncounted = 0;

    return bp_clamp24_wide(bp_round64(slope * multiplier, shift), &uncounted);
}

#endif

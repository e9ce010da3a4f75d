/* bpgen_kernels_forward.h -- portable kernels: inputs, layers, activations, losses.
 *
 * bpgen_kernels.c alone includes this. Section numbers are those of docs/numbers.md.
 * SPDX-License-Identifier: 0BSD
 */
#ifndef BPGEN_KERNELS_FORWARD_H
#define BPGEN_KERNELS_FORWARD_H

#include "bpgen_unit.h"

/* ---- Input ---------------------------------------------------------------------------------- */

int16_t bp_quantize_input(int32_t count, int32_t offset, uint16_t multiplier, uint8_t shift,
                          int16_t lowest, int16_t top, uint32_t *clipped)
{
    /* 33 bits by 16 bits. */
    int64_t a = bp_round64(((int64_t)count - offset) * multiplier, shift);

    if (a < lowest) {
        BP_COUNT(clipped);
        return lowest;
    }
    if (a > top) {
        BP_COUNT(clipped);
        return top;
    }
    return (int16_t)a;
}

/* ---- Forward (section 3) -------------------------------------------------------------------- */

#if !defined(BP_FAST_DENSE) || (defined(__AVR__) && !defined(BP_FAST_DENSE_ROM))

/* sum w[j][i] * a_in[i] of the output whose first weight is at w. */
static inline int64_t dot(const bp_layer_t *layer, const int16_t *w, const int16_t *a_in,
                          uint8_t in_flash)
{
    size_t n = even_inputs(layer);
    int64_t acc = 0;
    size_t i = 0;

    while (i < n) {
        size_t end = n - i > layer->block ? i + layer->block : n;
        int32_t sum = 0;
        for (; i < end; i += 2) {
            sum += (int32_t)read_weight(w, in_flash) * a_in[i];
            sum += (int32_t)read_weight(w + 1, in_flash) * a_in[i + 1];
            w += 2 * (size_t)layer->outputs;
        }
        acc += sum;
    }
    return acc;
}

static inline void dense(int16_t *z, const bp_layer_t *layer, const int16_t *w, const int16_t *b,
                         const int16_t *a_in, bp_counters_t *counters, uint8_t in_flash)
{
    size_t j;

    for (j = 0; j < layer->outputs; j++) {
        int64_t acc = dot(layer, w + 2 * j, a_in, in_flash) +
                      (int64_t)read_weight(b + j, in_flash) * ((int32_t)1 << layer->a_in_frac);
        z[j] = clip_z(bp_round64(acc, (uint8_t)layer->z_shift), layer, counters);
    }
}

#endif

#if !defined(BP_FAST_DENSE)
void bp_dense(int16_t *z, const bp_layer_t *layer, const int16_t *w, const int16_t *b,
              const int16_t *a_in, bp_counters_t *counters)
{
    const bp_layer_t l = read_layer(layer);

    dense(z, &l, w, b, a_in, counters, 0);
}

void bp_dense_sigmoid(int16_t *a, const bp_layer_t *layer, const int16_t *w, const int16_t *b,
                      const int16_t *a_in, bp_counters_t *counters)
{
    const bp_layer_t l = read_layer(layer);

    dense(a, &l, w, b, a_in, counters, 0);
    bp_sigmoid(a, l.table, l.table_bits, l.a_frac, l.outputs);
}
#endif

#if defined(__AVR__) && !defined(BP_FAST_DENSE_ROM)

void bp_dense_rom(int16_t *z, const bp_layer_t *layer, const int16_t *w, const int16_t *b,
                  const int16_t *a_in, bp_counters_t *counters)
{
    const bp_layer_t l = read_layer(layer);

    dense(z, &l, w, b, a_in, counters, 1);
}

void bp_dense_sigmoid_rom(int16_t *a, const bp_layer_t *layer, const int16_t *w, const int16_t *b,
                          const int16_t *a_in, bp_counters_t *counters)
{
    const bp_layer_t l = read_layer(layer);

    dense(a, &l, w, b, a_in, counters, 1);
    bp_sigmoid(a, l.table, l.table_bits, l.a_frac, l.outputs);
}

#endif

#if !defined(BP_FAST_DENSE_S8)
void bp_dense_s8(int16_t *z, const bp_layer_t *layer, const bp_w8_t *w, const int32_t *b,
                 const uint8_t *a_in, bp_counters_t *counters)
{
    const bp_layer_t l = read_layer(layer);
    size_t stride = 2 * (size_t)l.outputs;
    size_t j;

    for (j = 0; j < l.outputs; j++) {
        const bp_w8_t *column = w + 2 * j;
        int32_t acc = bp_rom_s32(b + j);
        size_t i;
        /* A product is at most 128 * 255, which fits 16 bits. */
        for (i = 0; i < even_inputs(&l); i += 2) {
            acc += bp_rom_w8(column) * a_in[i];
            acc += bp_rom_w8(column + 1) * a_in[i + 1];
            column += stride;
        }
        z[j] = clip_z(l.z_shift < 0 ? (int64_t)acc * ((int32_t)1 << -l.z_shift)
                                    : bp_round32(acc, (uint8_t)l.z_shift),
                      &l, counters);
    }
}
#endif

#if defined(__AVR__) && !defined(BP_FAST_LAYER_S8)
void bp_dense_sigmoid_s8(int16_t *a, const bp_layer_t *layer, const bp_w8_t *w, const int32_t *b,
                         const uint8_t *a_in, bp_counters_t *counters)
{
    const bp_layer_t l = read_layer(layer);

    bp_dense_s8(a, layer, w, b, a_in, counters);
    bp_sigmoid(a, l.table, l.table_bits, l.a_frac, l.outputs);
}

void bp_dense_u8(uint8_t *a, int16_t *z, const bp_layer_t *layer, const bp_w8_t *w,
                 const int32_t *b, const uint8_t *a_in, bp_counters_t *counters)
{
    const bp_layer_t l = read_layer(layer);

    bp_dense_s8(z, layer, w, b, a_in, counters);
    if (l.table != NULL) {
        bp_sigmoid(z, l.table, l.table_bits, l.a_frac, l.outputs);
    }
    bp_narrow(a, z, l.outputs);
}
#endif

/* ---- Activations (sections 4 and 5) --------------------------------------------------------- */

#if !defined(BP_FAST_SIGMOID)
void bp_sigmoid(int16_t *a, const uint16_t *table, uint8_t bits, uint8_t frac, size_t n)
{
    size_t j;

    for (j = 0; j < n; j++) {
        a[j] = sigmoid(a[j], table, bits, frac);
    }
}
#endif

static inline int16_t hyperbolic(int16_t z, const uint16_t *sigmoid_table, uint8_t bits,
                                 uint8_t frac)
{
    /* tanh(z) = 2 sigmoid(2z) - 1 */
    uint8_t shift = (uint8_t)(15 - bits);
    int32_t one = (int32_t)1 << frac;
    int32_t p = interpolate(sigmoid_table, magnitude((int32_t)z * 2), shift);
    int32_t y = bp_round32(2 * p - ((int32_t)1 << (16 + shift)), (uint8_t)(16 + shift - frac));

    if (y >= one) {
        y = one - 1;
    }
    return (int16_t)(z < 0 ? -y : y);
}

void bp_tanh(int16_t *a, const uint16_t *sigmoid_table, uint8_t bits, uint8_t frac, size_t n)
{
    size_t j;

    for (j = 0; j < n; j++) {
        a[j] = hyperbolic(a[j], sigmoid_table, bits, frac);
    }
}

void bp_tanh_opt(int16_t *a, const uint16_t *table, uint8_t bits, uint8_t frac, size_t n)
{
    uint8_t shift = (uint8_t)(15 - bits);
    size_t j;

    for (j = 0; j < n; j++) {
        int32_t y = bp_round32(interpolate(table, magnitude(a[j]), shift),
                               (uint8_t)(15 + shift - frac));
        a[j] = (int16_t)(a[j] < 0 ? -y : y);
    }
}

/* exp(-d) as u16q15, d with z_frac fraction bits; 0 from d = 8 on. */
static uint32_t exponential(const uint16_t *table, uint32_t d, uint8_t bits, uint8_t z_frac)
{
    uint8_t shift = (uint8_t)(z_frac + 3 - bits);

    if (d >= (uint32_t)8 << z_frac) {
        return 0;
    }
    return (uint32_t)bp_round32(interpolate(table, (uint16_t)d, shift), shift);
}

void bp_softmax(int16_t *a, const uint16_t *exp_table, uint8_t bits, uint8_t z_frac, uint8_t frac,
                size_t n)
{
    int32_t highest = a[bp_argmax(a, n)];
    uint32_t sum = 0;
    size_t j;

    for (j = 0; j < n; j++) {
        sum += exponential(exp_table, (uint32_t)(highest - a[j]), bits, z_frac);
    }
    /* e <= 2^15 and frac <= 14, so e * 2^frac + sum / 2 <= 2^29 + n * 2^14 fits u32. */
    for (j = 0; j < n; j++) {
        uint32_t e = exponential(exp_table, (uint32_t)(highest - a[j]), bits, z_frac);
        a[j] = (int16_t)(((e << frac) + (sum >> 1)) / sum);
    }
}

void bp_narrow(uint8_t *a, const int16_t *z, size_t n)
{
    size_t j;

    for (j = 0; j < n; j++) {
        a[j] = (uint8_t)z[j];
    }
}

size_t bp_argmax(const int16_t *a, size_t n)
{
    size_t best = 0;
    size_t j;

    for (j = 1; j < n; j++) {
        if (a[j] > a[best]) {
            best = j;
        }
    }
    return best;
}

/* ---- Losses (section 6) --------------------------------------------------------------------- */

#define LN2_U16Q16 45426u
#define LN_TABLE_SHIFT 9 /* 64 intervals over 15 bits */

int64_t bp_squared_error(const int16_t *a, const int16_t *t, size_t n)
{
    int64_t sum = 0;
    size_t j;

    for (j = 0; j < n; j++) {
        int32_t error = (int32_t)a[j] - t[j];
        sum += (int64_t)error * error;
    }
    return sum;
}

/* -ln(y * 2^-frac) as u32q16, y in [1, 2^15]; smaller y count as 1. */
static int32_t negative_log(int32_t y, const uint16_t *ln_table, uint8_t frac)
{
    uint32_t mantissa = (uint32_t)(y < 1 ? 1 : y);
    uint8_t k = 15;

    while (mantissa < 32768u) {
        mantissa <<= 1;
        k--;
    }
    return ((int32_t)frac - k) * (int32_t)LN2_U16Q16 -
           bp_round32(interpolate(ln_table, (uint16_t)(mantissa - 32768u), LN_TABLE_SHIFT),
                      LN_TABLE_SHIFT);
}

int64_t bp_cross_entropy_softmax(const int16_t *a, const int16_t *t, const uint16_t *ln_table,
                                 uint8_t frac, size_t n)
{
    int64_t sum = 0;
    size_t j;

    for (j = 0; j < n; j++) {
        sum += (int64_t)t[j] * negative_log(a[j], ln_table, frac);
    }
    return sum;
}

int64_t bp_cross_entropy_sigmoid(const int16_t *a, const int16_t *t, const uint16_t *ln_table,
                                 uint8_t frac, size_t n)
{
    int32_t one = (int32_t)1 << frac;
    int64_t sum = 0;
    size_t j;

    for (j = 0; j < n; j++) {
        sum += (int64_t)t[j] * negative_log(a[j], ln_table, frac);
        sum += (int64_t)(one - t[j]) * negative_log(one - a[j], ln_table, frac);
    }
    return sum;
}

#endif

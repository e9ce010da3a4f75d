/* bpgen_lanes_forward.h -- forward kernels several outputs at a time.
 *
 * bpgen_kernels_lanes.h alone includes this; the portable C says what each of these computes.
 * SPDX-License-Identifier: 0BSD
 */
#ifndef BPGEN_LANES_FORWARD_H
#define BPGEN_LANES_FORWARD_H

/* ---- Forward -------------------------------------------------------------------------------- */

#if BP_THUMB
#include "bpgen_thumb_forward.h"
#elif BP_AVX512
#include "bpgen_avx512_forward.h"
#endif

/* Of a negative z one - y, else y. Hosts guess signs, and wrongly: theirs has no branch. */
INLINE int32_t mirror(int32_t y, int32_t one, int32_t z)
{
#if LANES == 16
    int32_t sign = bp_shr32(z, 31);

    return (y ^ sign) + ((one + 1) & sign);
#else
    return z < 0 ? one - y : y;
#endif
}

void bp_sigmoid(int16_t *a, const uint16_t *table, uint8_t bits, uint8_t frac, size_t n)
{
    const uint32_t shift = 15u - bits;
    const uint32_t surplus = 16 + shift - frac;
    const uint32_t half = (uint32_t)half_of((uint8_t)surplus);
    const uint32_t mask = ((uint32_t)1 << shift) - 1;
    const uint32_t one = (uint32_t)1 << frac;
    int16_t *const end = a + n;

#if defined(__ARM_ARCH_6M__)
    if (n != 0) {
        sigmoids(a, end, table, shift, surplus, half, mask, one);
    }
#else
    while (a != end) {
        int32_t z = *a;
        uint32_t u = (uint32_t)(z < 0 ? -z : z);
        const uint16_t *entry;
        uint32_t p;
        int32_t y;

        u -= u >> 15; /* 2^15 becomes one less */
        entry = table + (u >> shift);
        p = ((uint32_t)entry[0] << shift) + ((uint32_t)entry[1] - entry[0]) * (u & mask);
        y = (int32_t)((p + half) >> surplus);
        y = mirror(y, (int32_t)one, z);
        *a++ = (int16_t)(y - bp_shr32(y, frac)); /* `one` becomes one less */
    }
#endif
}

#if !BP_THUMB
/* sum[k] += the products of n pairs of inputs. */
INLINE void add_pairs(int32_t *sum, const int16_t *w, size_t stride, const int16_t *a_in, size_t n,
                      size_t lanes)
{
    const int16_t *const end = a_in + 2 * n;
    size_t k;

    do {
        int32_t a0 = a_in[0];
        int32_t a1 = a_in[1];

        EACH (k, lanes) {
            sum[k] += w[2 * k] * a0;
            sum[k] += w[2 * k + 1] * a1;
        }
        a_in += 2;
        w += stride;
    } while (a_in != end);
}

#if defined(__AVX2__)
/* The same for 8 or 16 lanes, a pair of products in one instruction. */
INLINE void add_pairs_avx2(int32_t *sums, const int16_t *w, size_t stride, const int16_t *a_in,
                           size_t n, size_t lanes)
{
    __m256i sum[LANES / 8];
    size_t k;

    for (k = 0; k < lanes / 8; k++) {
        sum[k] = _mm256_loadu_si256((const __m256i_u *)(const void *)(sums + 8 * k));
    }
    do {
        uint32_t word = (uint16_t)a_in[0] | (uint32_t)(uint16_t)a_in[1] << 16;
        __m256i pair = _mm256_set1_epi32((int32_t)word);

        for (k = 0; k < lanes / 8; k++) {
            __m256i words = _mm256_loadu_si256((const __m256i_u *)(const void *)(w + 16 * k));

            sum[k] = _mm256_add_epi32(sum[k], _mm256_madd_epi16(words, pair));
        }
        a_in += 2;
        w += stride;
    } while (--n != 0);
    for (k = 0; k < lanes / 8; k++) {
        _mm256_storeu_si256((__m256i_u *)(void *)(sums + 8 * k), sum[k]);
    }
}
#endif

/* A sum is high * 2^15 + low. What a block adds to low fits, for whole multiples of 2^15 that fit
 * 32 bits leave room for 15 bits; then low keeps its 15 bits, and high takes the others.
 */
INLINE void dense_lanes(int16_t *z, const bp_layer_t *layer, const int16_t *restrict w,
                        const int16_t *restrict b, const int16_t *restrict a_in, size_t lanes)
{
    const size_t stride = 2 * (size_t)layer->outputs;
    const uint8_t shift = (uint8_t)layer->z_shift;
    const uint8_t low_shift = shift < 15 ? shift : 15;
    const uint8_t high_shift = (uint8_t)(shift - low_shift);
    const int32_t half = half_of(shift);
    const size_t pairs = layer->block / 2;
    size_t left = even_inputs(layer) / 2;
    int32_t low[DENSE_LANES];
    int32_t high[DENSE_LANES];
    size_t k;

    EACH (k, lanes) {
        int32_t bias = (int32_t)b[k] * ((int32_t)1 << layer->a_in_frac) + half;

        low[k] = bias & 32767;
        high[k] = bp_shr32(bias, 15);
    }
    do {
        size_t n = left < pairs ? left : pairs;

#if defined(__AVX2__)
        if (lanes % 8 == 0) {
            add_pairs_avx2(low, w, stride, a_in, n, lanes);
        } else
#endif
        {
            add_pairs(low, w, stride, a_in, n, lanes);
        }
        EACH (k, lanes) {
            high[k] += bp_shr32(low[k], 15);
            low[k] &= 32767;
        }
        a_in += 2 * n;
        w += stride * n;
        left -= n;
    } while (left != 0);
    EACH (k, lanes) {
        /* Beyond 32 bits the sum is beyond s16 after the shift. */
        int32_t sum = clip(bp_shr32(high[k], high_shift), -65536, 65535) * 32768 + low[k];

        z[k] = (int16_t)clip(bp_shr32(sum, low_shift), layer->z_lowest, layer->z_top);
    }
}

void bp_dense(int16_t *z, const bp_layer_t *layer, const int16_t *w, const int16_t *b,
              const int16_t *a_in, bp_counters_t *counters)
{
    const bp_layer_t l = *layer;
    size_t j;

    (void)counters;
#if BP_AVX512
    if (layer->outputs > NARROW) {
        wide_dense(z, layer, w, b, a_in);
        return;
    }
#endif
#define DENSE(j, lanes) dense_lanes(z + (j), &l, w + 2 * (j), b + (j), a_in, lanes)
    IN_LANES(DENSE_LANES, j, l.outputs, DENSE);
}
#endif

#if !defined(__ARM_ARCH_6M__)
void bp_dense_sigmoid(int16_t *a, const bp_layer_t *layer, const int16_t *w, const int16_t *b,
                      const int16_t *a_in, bp_counters_t *counters)
{
    bp_dense(a, layer, w, b, a_in, counters);
    bp_sigmoid(a, layer->table, layer->table_bits, layer->a_frac, layer->outputs);
}
#endif

#endif

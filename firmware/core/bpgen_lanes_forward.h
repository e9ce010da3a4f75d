/* bpgen_lanes_forward.h -- forward kernels several outputs at a time.
 *
 * bpgen_kernels_lanes.h alone includes this; the portable C says what each of these computes.
 * SPDX-License-Identifier: 0BSD
 */
#ifndef BPGEN_LANES_FORWARD_H
#define BPGEN_LANES_FORWARD_H

/* ---- Forward -------------------------------------------------------------------------------- */

#if defined(__ARM_ARCH_6M__)
/* The loop of bp_sigmoid(), below. r3 is z, u, then y, and r5 all ones where z is negative. */
INLINE void sigmoids(int16_t *first, int16_t *behind, const uint16_t *entries, uint32_t index_shift,
                     uint32_t result_shift, uint32_t rounds, uint32_t remainder, uint32_t unit)
{
    register int16_t *a __asm__("r0") = first;
    register const uint16_t *table __asm__("r1") = entries;
    register uint32_t shift __asm__("r2") = index_shift;
    register uint32_t mask __asm__("r7") = remainder;
    register uint32_t half __asm__("r8") = rounds;
    register uint32_t surplus __asm__("r9") = result_shift;
    register uint32_t one __asm__("r10") = unit;
    register int16_t *end __asm__("r11") = behind;
    register uint32_t more __asm__("r12") = unit + 1; /* -y - 1 and this are one - y */

    __asm__ volatile(".syntax unified\n"
                     "1:\n\t"
                     "ldrh r3, [r0]\n\t"
                     "sxth r3, r3\n\t"
                     "asrs r5, r3, #31\n\t"
                     "eors r3, r5\n\t"
                     "subs r3, r3, r5\n\t"
                     "lsrs r4, r3, #15\n\t"
                     "subs r3, r3, r4\n\t"
                     "movs r4, r3\n\t"
                     "lsrs r4, r2\n\t"
                     "lsls r4, r4, #1\n\t"
                     "adds r4, r4, r1\n\t"
                     "ldrh r6, [r4]\n\t"
                     "ldrh r4, [r4, #2]\n\t"
                     "subs r4, r4, r6\n\t"
                     "ands r3, r7\n\t"
                     "muls r3, r4\n\t"
                     "lsls r6, r2\n\t"
                     "adds r3, r3, r6\n\t"
                     "add r3, r8\n\t"
                     "mov r6, r9\n\t"
                     "lsrs r3, r6\n\t"
                     "eors r3, r5\n\t"
                     "mov r6, r12\n\t"
                     "ands r5, r6\n\t"
                     "adds r3, r3, r5\n\t"
                     "cmp r3, r10\n\t"
                     "bne 2f\n\t"
                     "subs r3, #1\n"
                     "2:\n\t"
                     "strh r3, [r0]\n\t"
                     "adds r0, #2\n\t"
                     "cmp r0, r11\n\t"
                     "bne 1b"
                     : "+r"(a)
                     : "r"(table), "r"(shift), "r"(mask), "r"(half), "r"(surplus), "r"(one),
                       "r"(end), "r"(more)
                     : "r3", "r4", "r5", "r6", "cc", "memory");
}
#endif

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
        y = z < 0 ? (int32_t)one - y : y;
        *a++ = (int16_t)(y - bp_shr32(y, frac)); /* `one` becomes one less */
    }
#endif
}

/* z of the sum, which has half a unit of z in it. What is beyond 32 bits is beyond s16 after any
 * shift below 16.
 */
INLINE int16_t z_of(sum_t sum, const bp_layer_t *layer)
{
    const uint8_t shift = (uint8_t)layer->z_shift;
    int32_t z = upper(sum);

    if (shift >= 16) {
        z = bp_shr32(z, (uint8_t)(shift - 16));
    } else {
        z = bp_shr32(z == (int16_t)z ? lower(sum) : bp_shr32(z, 31) ^ INT32_MAX, shift);
    }
    return (int16_t)clip(z, layer->z_lowest, layer->z_top);
}

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
INLINE int32_t scaled(int16_t a, scale_t scale)
{
    return bp_shr32(a * ((int32_t)1 << scale.left) + scale.half, scale.right);
}

#include "bpgen_kernels_thumb.h"
#else
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
#define DENSE(j, lanes) dense_lanes(z + (j), &l, w + 2 * (j), b + (j), a_in, lanes)
    IN_LANES(DENSE_LANES, j, l.outputs, DENSE);
}
#endif

void bp_dense_sigmoid(int16_t *a, const bp_layer_t *layer, const int16_t *w, const int16_t *b,
                      const int16_t *a_in, bp_counters_t *counters)
{
    bp_dense(a, layer, w, b, a_in, counters);
    bp_sigmoid(a, layer->table, layer->table_bits, layer->a_frac, layer->outputs);
}

#endif

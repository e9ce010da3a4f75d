/* bpgen_kernels_lanes.h -- kernels several outputs at a time.
 *
 * Hosts' compilers make vectors of them; on small cores outputs share the loads of their inputs.
 * bpgen_kernels.c alone includes this, and its C says what each of these computes. Needs GNU C and
 * an optimising compiler; with counters the portable kernels stay.
 * SPDX-License-Identifier: 0BSD
 */
#ifndef BPGEN_KERNELS_LANES_H
#define BPGEN_KERNELS_LANES_H

#include "bpgen_unit.h"

#if defined(__GNUC__) && defined(__OPTIMIZE__) && !BPGEN_COUNTERS

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#define BP_FAST_DENSE
#define BP_FAST_SIGMOID
#define BP_FAST_BACKWARD
#define BP_FAST_DELTA_SIGMOID
#define BP_FAST_OUTPUT_DELTA
#define BP_FAST_DESCENT
#define BP_FAST_RESIDUAL
#define BP_FAST_STOCHASTIC

/* Else gcc 12 moves loads apart until it spills: 1,600 instructions of a 64-32-10 inference. */
#if defined(__riscv) && !defined(__clang__)
#pragma GCC optimize("no-schedule-insns")
#endif

#define INLINE static inline __attribute__((always_inline))
#define NOINLINE static __attribute__((noinline))

/* Cores without a multiplier for pairs of numbers: their loops are in assembly. */
#if defined(__ARM_ARCH_6M__) || defined(__ARM_ARCH_7M__)
#define BP_THUMB 1
#else
#define BP_THUMB 0
#endif

/* RV32 clips in assembly, in as many instructions where it clips as where it does not. */
#if defined(__riscv) && __riscv_xlen == 32
#define RV32_ASM 1
#else
#define RV32_ASM 0
#endif

/* Outputs at a time, as many as vectors or registers hold; and a loop over them, which a host's
 * compiler turns into vectors and another one unrolls.
 */
#if UINTPTR_MAX > 0xFFFFFFFFu
#define LANES 16
#define DENSE_LANES 16
#define LOOP "GCC unroll 1"
#elif BP_SMALL
#define LANES 2
#define DENSE_LANES 4
#define LOOP "GCC unroll 4"
#else
#define LANES 4
#define DENSE_LANES 8
#define LOOP "GCC unroll 8"
#endif
#if defined(__clang__)
#define EACH(k, n) for (k = 0; k < (n); k++)
#else
#define EACH(k, n) _Pragma(LOOP) for (k = 0; k < (n); k++)
#endif

/* `call` with as many outputs from j on, and so many lanes, as there are. */
#define IN_LANES(most, j, outputs, call)                              \
    do {                                                              \
        for ((j) = 0; (outputs) - (j) >= (most); (j) += (most)) {     \
            call(j, most);                                            \
        }                                                             \
        for (; (outputs) - (j) >= (most) / 2; (j) += (most) / 2) {    \
            call(j, (most) / 2);                                      \
        }                                                             \
        for (; (j) < (outputs); (j)++) {                              \
            call(j, 1);                                               \
        }                                                             \
    } while (0)

/* ---- Sums ----------------------------------------------------------------------------------- */

/* What is added so that a shift rounds. */
INLINE int32_t half_of(uint8_t shift) { return (int32_t)(((uint32_t)1 << shift) >> 1); }

#if RV32_ASM
/* Every way has three instructions. */
INLINE int32_t clip(int32_t x, int32_t lowest, int32_t top)
{
    __asm__("blt %[x], %[lowest], 1f\n\t"
            "blt %[top], %[x], 2f\n\t"
            "j 3f\n"
            "1:\n\t"
            "mv %[x], %[lowest]\n\t"
            "j 3f\n"
            "2:\n\t"
            "mv %[x], %[top]\n"
            "3:"
            : [x] "+r"(x)
            : [lowest] "r"(lowest), [top] "r"(top));
    return x;
}
#else
INLINE int32_t clip(int32_t x, int32_t lowest, int32_t top)
{
    return x > top ? top : x < lowest ? lowest : x;
}
#endif

#if defined(__ARM_ARCH_7M__)
/* SMLAL adds a product to 64 bits. */
typedef int64_t sum_t;

INLINE sum_t sum_of(int64_t x) { return x; }

INLINE sum_t sum_of32(int32_t x) { return x; }

/* Two products, which fit 32 bits. */
INLINE void add_two(sum_t *sum, int32_t w0, int32_t x0, int32_t w1, int32_t x1)
{
    *sum += (int64_t)w0 * x0;
    *sum += (int64_t)w1 * x1;
}

/* The sum's bits from 16 up, and its last 32. */
INLINE int32_t upper(sum_t sum) { return (int32_t)bp_shr64(sum, 16); }
INLINE int32_t lower(sum_t sum) { return (int32_t)sum; }
#else
/* A sum of blocks that each fit 32 bits: modulo 2^32, and of the blocks' upper halves. */
typedef struct {
    uint32_t low;
    int32_t high;
} sum_t;

INLINE sum_t sum_of(int64_t x)
{
    sum_t sum = {(uint32_t)x, (int32_t)bp_shr64(x, 16)};

    return sum;
}

INLINE sum_t sum_of32(int32_t x)
{
    sum_t sum = {(uint32_t)x, bp_shr32(x, 16)};

    return sum;
}

/* Two products, which fit 32 bits. */
INLINE void add_two(sum_t *sum, int32_t w0, int32_t x0, int32_t w1, int32_t x1)
{
    int32_t block = w0 * x0 + w1 * x1;

    sum->low += (uint32_t)block;
    sum->high += bp_shr32(block, 16);
}

/* The sum's bits from 16 up, which are the upper halves and what the lower ones carry; and its last
 * 32.
 */
INLINE int32_t upper(sum_t sum)
{
    return sum.high + (int32_t)((sum.low - ((uint32_t)sum.high << 16)) >> 16);
}
INLINE int32_t lower(sum_t sum) { return (int32_t)sum.low; }
#endif

/* floor(sum * 2^-shift) where it fits 32 bits; shifts from 1 to 29. */
INLINE int32_t fitting_sum(sum_t sum, uint8_t shift)
{
    return (int32_t)((uint32_t)lower(sum) >> shift |
                     (uint32_t)bp_shr32(upper(sum), 16) << (32 - shift));
}

/* floor(sum * 2^-shift), beyond 32 bits clipped. */
INLINE int32_t shift_sum(sum_t sum, uint8_t shift)
{
    int32_t high = upper(sum);
    uint8_t up = (uint8_t)(16 - shift);
    int32_t shifted;

    if (shift >= 16) {
        return bp_shr32(high, (uint8_t)(shift - 16));
    }
    shifted = (int32_t)((uint32_t)high << up);
    if (bp_shr32(shifted, up) != high) {
        return bp_shr32(high, 31) ^ INT32_MAX;
    }
    return shifted | (int32_t)((uint16_t)lower(sum) >> shift);
}

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

/* Sums of two inputs, which start with the half that rounds. */
typedef struct {
    sum_t sum[2];
} sums_t;

INLINE sum_t sum_of_half(const bp_layer_t *layer)
{
    return sum_of(bp_shr64((int64_t)1 << layer->sum_shift, 1));
}

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
    int32_t master = clip(*w * 256 + *w_low + step, -8388608, 8388607);

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
    const uint32_t weyl = shift == 0 ? 0 : WEYL << 16;
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
                     dither_at(dither, (j) * l.inputs), lanes)
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
        dither = (uint16_t)(dither + dither_at(0, layer->inputs) * (uint32_t)layer->outputs);
        biases16(b, g, layer->outputs, alignment, dither);
        return;
    }
#endif
    dither = dither_at(dither, (size_t)layer->inputs * layer->outputs);
    for (j = 0; j < layer->outputs; j++) {
        int32_t product = g[j] * ((int32_t)1 << alignment.frac);

        add16(b + j, round_dithered(product, alignment.shift, dither));
        dither = dither_at(dither, 1);
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

#endif

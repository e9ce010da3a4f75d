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

#if defined(__AVX512BW__) && defined(__AVX512VL__) && UINTPTR_MAX > 0xFFFFFFFFu
#define BP_AVX512 1
#else
#define BP_AVX512 0
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

#include "bpgen_lanes_forward.h"
#include "bpgen_lanes_backward.h"
#include "bpgen_lanes_update.h"

#endif

#endif

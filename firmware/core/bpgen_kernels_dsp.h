/* bpgen_kernels_dsp.h -- kernels for Arm cores with the DSP extension: Cortex-M4, M7, M33.
 *
 * bpgen_kernels.c alone includes this, and its C says what each of these computes. A word of
 * weights is the pair of one output, w[j][i] in its bottom half (B) and w[j][i + 1] in its top (T);
 * a multiplication names the halves that it takes, so nothing is unpacked. Sums are exact in 64
 * bits, steps saturate in single instructions, and no time depends on the data.
 *
 * Instructions a weight, in loops: forward 1.05, backward 1.6, update 6.6 (residual) and 4.4
 * (stochastic). Loops are assembly where they take all 14 registers. Counters are left to the
 * portable C, and so is a build without optimisation, which has no registers to give.
 * SPDX-License-Identifier: 0BSD
 */
#ifndef BPGEN_KERNELS_DSP_H
#define BPGEN_KERNELS_DSP_H

#include "bpgen_unit.h"

#if !BPGEN_COUNTERS && defined(__OPTIMIZE__) && defined(__thumb2__) && defined(__ARMEL__)

#include <arm_acle.h>

#define BP_FAST_DENSE
#define BP_FAST_DENSE_S8
#define BP_FAST_BACKWARD
#define BP_FAST_DELTA_SIGMOID
#define BP_FAST_OUTPUT_DELTA
#define BP_FAST_DESCENT
#define BP_FAST_RESIDUAL
#define BP_FAST_STOCHASTIC

/* Two weights, inputs, steps or table entries, and one that need not be aligned. */
typedef int32_t pair_t __attribute__((may_alias));
typedef struct {
    int32_t pair;
} __attribute__((packed, may_alias)) loose_pair_t;

/* Weights and inputs begin on a word (BP_ALIGNED), so each pair of them does. */
static inline const pair_t *pair_at(const int16_t *p)
{
    return (const pair_t *)(const void *)p;
}

/* What rounds when `shift` bits are dropped. */
static inline int32_t half_of(uint32_t shift)
{
    return (int32_t)(1u << shift >> 1);
}

#include "bpgen_dsp_forward.h"
#include "bpgen_dsp_backward.h"
#include "bpgen_dsp_update.h"

#endif

#endif

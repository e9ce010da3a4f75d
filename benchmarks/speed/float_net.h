/* float_net.h -- a two-layer perceptron in float, as one writes it by hand.
 *
 * The sizes and first weights are those of bench.h.
 * SPDX-License-Identifier: 0BSD
 */
#ifndef FLOAT_NET_H
#define FLOAT_NET_H

#include "bench.h"

#define INPUTS BENCH_INPUTS
#define HIDDEN BENCH_HIDDEN
#define OUTPUTS BENCH_OUTPUTS

extern float w1[HIDDEN][INPUTS], b1[HIDDEN], w2[OUTPUTS][HIDDEN], b2[OUTPUTS];
extern float a0[INPUTS], a1[HIDDEN], a2[OUTPUTS];

void reset(void);
void forward(void);

#if BENCH_TRAIN
extern float dz1[HIDDEN], dz2[OUTPUTS];

void train(const float t[OUTPUTS]);
#endif

#endif

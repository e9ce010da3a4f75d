/* float_net.c -- a two-layer perceptron in float, as one writes it by hand: see float_net.h.
 *
 * SPDX-License-Identifier: 0BSD
 */
#include <math.h>

#include "float_net.h"

float w1[HIDDEN][INPUTS], b1[HIDDEN], w2[OUTPUTS][HIDDEN], b2[OUTPUTS];
float a0[INPUTS], a1[HIDDEN], a2[OUTPUTS];

static float sigmoid(float z) { return 1.0f / (1.0f + expf(-z)); }

/* Weights come from flash as raws, as in the networks this is compared with. */
void reset(void)
{
    unsigned int i, j;

    for (j = 0; j < HIDDEN; j++) {
        b1[j] = 0.0f;
        for (i = 0; i < INPUTS; i++) {
            w1[j][i] = (float)bp_rom_s16(bench_w1 + j * INPUTS + i) * BENCH_W1_UNIT;
        }
    }
    for (j = 0; j < OUTPUTS; j++) {
        b2[j] = 0.0f;
        for (i = 0; i < HIDDEN; i++) {
            w2[j][i] = (float)bp_rom_s16(bench_w2 + j * HIDDEN + i) * BENCH_W2_UNIT;
        }
    }
}

void forward(void)
{
    unsigned int i, j;

    for (j = 0; j < HIDDEN; j++) {
        float z = b1[j];

        for (i = 0; i < INPUTS; i++) {
            z += w1[j][i] * a0[i];
        }
        a1[j] = sigmoid(z);
    }
    for (j = 0; j < OUTPUTS; j++) {
        float z = b2[j];

        for (i = 0; i < HIDDEN; i++) {
            z += w2[j][i] * a1[i];
        }
        a2[j] = sigmoid(z);
    }
}

#if BENCH_TRAIN
float dz1[HIDDEN], dz2[OUTPUTS];

void train(const float t[OUTPUTS])
{
    unsigned int i, j;

    forward();
    for (j = 0; j < OUTPUTS; j++) {
        dz2[j] = (a2[j] - t[j]) * a2[j] * (1.0f - a2[j]);
    }
    for (i = 0; i < HIDDEN; i++) {
        float sum = 0.0f;

        for (j = 0; j < OUTPUTS; j++) {
            sum += w2[j][i] * dz2[j];
        }
        dz1[i] = sum * a1[i] * (1.0f - a1[i]);
    }
    for (j = 0; j < OUTPUTS; j++) {
        float step = BENCH_LEARNING_RATE * dz2[j];

        for (i = 0; i < HIDDEN; i++) {
            w2[j][i] -= step * a1[i];
        }
        b2[j] -= step;
    }
    for (j = 0; j < HIDDEN; j++) {
        float step = BENCH_LEARNING_RATE * dz1[j];

        for (i = 0; i < INPUTS; i++) {
            w1[j][i] -= step * a0[i];
        }
        b1[j] -= step;
    }
}
#endif

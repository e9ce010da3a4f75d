/* subject_float.h -- float_net.c under the harness.
 *
 * SPDX-License-Identifier: 0BSD
 */
#include "float_net.h"

#define BENCH_STATE 0 /* its variables are its own, and counted as such */

#if BENCH_TRAIN
static float target[OUTPUTS];
#define BENCH_CALL train(target)
#else
#define BENCH_CALL forward()
#endif

static const int16_t *next_a0;
static const int16_t *next_t;

static inline void subject_reset(void) { reset(); }

/* Raws become floats by a multiplication, outside of what is counted. */
static inline void subject_load(uint16_t sample)
{
    uint16_t i;

    if (sample == 0) {
        next_a0 = bench_a0;
        next_t = bench_t;
    }
    for (i = 0; i < INPUTS; i++) {
        a0[i] = (float)BENCH_ROM_A0(next_a0++) * BENCH_A0_UNIT;
    }
#if BENCH_TRAIN
    for (i = 0; i < OUTPUTS; i++) {
        target[i] = (float)bp_rom_s16(next_t++) * BENCH_T_UNIT;
    }
#else
    next_t += OUTPUTS;
#endif
}

/* Of the classes. Outputs are in 0..1, where floats are ordered like their bits. */
static inline uint32_t subject_checksum(uint32_t checksum)
{
    union {
        float value;
        uint32_t bits;
    } best = {0.5f}, y;
    uint16_t i, class = 0;

    for (i = 0; i < OUTPUTS; i++) {
        y.value = a2[i];
        if (OUTPUTS == 1 ? y.bits > best.bits : i == 0 || y.bits > best.bits) {
            best = y;
            class = (uint16_t)(OUTPUTS == 1 ? 1 : i);
        }
    }
    return (checksum << 1 | checksum >> 31) ^ class;
}

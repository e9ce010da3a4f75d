/* subject_emlearn.h -- what emlearn makes of the same float weights, under the harness.
 *
 * SPDX-License-Identifier: 0BSD
 */

int32_t peer_predict(const float *values, int32_t count);

#define BENCH_STATE 0 /* as of float_net.c */
#define BENCH_CALL class = (uint16_t)peer_predict(a0, BENCH_INPUTS)

static float a0[BENCH_INPUTS];
static uint16_t class;
static const int16_t *next_a0;

static inline void subject_reset(void) {}

static inline void subject_load(uint16_t sample)
{
    uint16_t i;

    if (sample == 0) {
        next_a0 = bench_a0;
    }
    for (i = 0; i < BENCH_INPUTS; i++) {
        a0[i] = (float)BENCH_ROM_A0(next_a0++) * BENCH_A0_UNIT;
    }
}

static inline uint32_t subject_checksum(uint32_t checksum)
{
    return (checksum << 1 | checksum >> 31) ^ class;
}

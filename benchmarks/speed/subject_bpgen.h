/* subject_bpgen.h -- a generated network under the harness.
 *
 * bench.h says BENCH_A0_BYTES, BENCH_INPUTS, BENCH_OUTPUTS, the member BENCH_Y with the outputs,
 * and has the samples bench_a0 and, for training, bench_t.
 * SPDX-License-Identifier: 0BSD
 */
#include "net.h"

#define BENCH_STATE sizeof(net_state_t)

static net_state_t state;
static const bench_a0_t *next_a0;

#if BENCH_TRAIN
static const int16_t *next_t;
static int16_t target[BENCH_OUTPUTS];
#define BENCH_CALL net_train(&state, target)
#else
#define BENCH_CALL net_forward(&state)
#endif

static inline void subject_reset(void) { net_reset(&state); }

static inline void subject_load(uint16_t sample)
{
    uint16_t i;

    if (sample == 0) {
        next_a0 = bench_a0;
    }
    for (i = 0; i < BENCH_INPUTS; i++) {
        state.a0[i] = BENCH_ROM_A0(next_a0++);
    }
#if BENCH_TRAIN
    if (sample == 0) {
        next_t = bench_t;
    }
    for (i = 0; i < BENCH_OUTPUTS; i++) {
        target[i] = bp_rom_s16(next_t++);
    }
#endif
}

/* Rotated by one bit for each output, so that order counts. */
static inline uint32_t subject_checksum(uint32_t checksum)
{
    uint16_t i;

    for (i = 0; i < BENCH_OUTPUTS; i++) {
        checksum = (checksum << 1 | checksum >> 31) ^ (uint16_t)state.BENCH_Y[i];
    }
    return checksum;
}

/* bpgen_kernels.h -- the loops of a network: dot products, activations, deltas, updates.
 *
 * This is the one door to code that differs by core. bpgen_kernels.c is the portable C, which is
 * the meaning: a faster path for a core must give the same bits. Outputs come first, sizes
 * last; the fractions and tops are those of docs/numbers.md, which the generator fills in.
 * SPDX-License-Identifier: 0BSD
 */
#ifndef BPGEN_KERNELS_H
#define BPGEN_KERNELS_H

#include "bpgen_fix.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Files compiled with counters and files without do not fit: their states differ. Each calls this,
 * and only one of the names exists.
 */
#if BPGEN_COUNTERS
#define bp_counters_agree bp_counters_are_on
#else
#define bp_counters_agree bp_counters_are_off
#endif
void bp_counters_agree(void);

/* ---- Input ---------------------------------------------------------------------------------- */

/* round((count - offset) * multiplier * 2^-shift) clipped to [lowest, top]. */
int16_t bp_quantize_input(int32_t count, int32_t offset, uint16_t multiplier, uint8_t shift,
                          int16_t lowest, int16_t top, uint32_t *clipped);

/* ---- Sums of products ----------------------------------------------------------------------- */

/* sum w[i] * a[i]; the caller proves that no partial sum leaves 32 bits. */
int32_t bp_dot(const int16_t *w, const int16_t *a, size_t n);

/* The same in 64 bits; `block` products fit 32 bits. */
int64_t bp_dot_blocks(const int16_t *w, const int16_t *a, size_t block, size_t n);

/* sum w[j * stride] * dz[j]: one column of w [n][stride]. */
int32_t bp_dot_column(const int16_t *w, const int16_t *dz, size_t stride, size_t n);
int64_t bp_dot_column_blocks(const int16_t *w, const int16_t *dz, size_t stride, size_t block,
                             size_t n);

/* The same with w in flash. */
#if defined(__AVR__)
int32_t bp_dot_rom(const int16_t *w, const int16_t *a, size_t n);
int64_t bp_dot_blocks_rom(const int16_t *w, const int16_t *a, size_t block, size_t n);
int32_t bp_dot_column_rom(const int16_t *w, const int16_t *dz, size_t stride, size_t n);
int64_t bp_dot_column_blocks_rom(const int16_t *w, const int16_t *dz, size_t stride, size_t block,
                                 size_t n);
#else
#define bp_dot_rom bp_dot
#define bp_dot_blocks_rom bp_dot_blocks
#define bp_dot_column_rom bp_dot_column
#define bp_dot_column_blocks_rom bp_dot_column_blocks
#endif

/* s8 weights in flash, u8 activations. */
int32_t bp_dot_s8_rom(const int8_t *w, const uint8_t *a, size_t n);

/* ---- Activations ---------------------------------------------------------------------------- */

/* A table of 2^bits intervals over magnitudes in [0, 8), in flash (docs/numbers.md, section 4).
 * z is s16q12, any value; the result has `frac` fraction bits.
 */
int16_t bp_sigmoid(int16_t z, const uint16_t *table, uint8_t bits, uint8_t frac);
int16_t bp_tanh(int16_t z, const uint16_t *sigmoid_table, uint8_t bits, uint8_t frac);
int16_t bp_tanh_opt(int16_t z, const uint16_t *table, uint8_t bits, uint8_t frac);

/* x clipped to [0, top]; only the upper clip counts. */
int16_t bp_relu(int32_t x, int16_t top, uint32_t *clipped);
int16_t bp_relu_wide(int64_t x, int16_t top, uint32_t *clipped);

/* Replace the logits in a, of z_frac fraction bits, by their softmax of frac fraction bits. */
void bp_softmax(int16_t *a, const uint16_t *exp_table, uint8_t bits, uint8_t z_frac, uint8_t frac,
                size_t n);

/* Index of the largest element, the first of equals. */
size_t bp_argmax(const int16_t *a, size_t n);

/* ---- Losses: of one sample, exact, see docs/numbers.md section 6 for the fraction ------------ */

int64_t bp_squared_error(const int16_t *a, const int16_t *t, size_t n);
int64_t bp_cross_entropy_softmax(const int16_t *a, const int16_t *t, const uint16_t *ln_table,
                                 uint8_t frac, size_t n);
int64_t bp_cross_entropy_sigmoid(const int16_t *a, const int16_t *t, const uint16_t *ln_table,
                                 uint8_t frac, size_t n);

/* ---- Derivatives of activations, from their output ------------------------------------------ */

int32_t bp_sigmoid_derivative(int16_t a, uint8_t frac);                /* u16q16 */
int32_t bp_tanh_derivative(int16_t a, uint8_t frac);                   /* u16q14 */
int32_t bp_tanh_opt_derivative(int16_t a, int16_t top, uint8_t frac);  /* u16q14 */

/* round(sum * derivative * 2^-shift) clipped to [-top, top]: sum is s24, derivative below 2^15,
 * shift from 17 to 24.
 */
int16_t bp_hidden_delta(int32_t sum, int32_t derivative, uint8_t shift, int16_t top,
                        uint32_t *clipped);

/* ---- Sparsity (section 11) ------------------------------------------------------------------- */

/* Move the running mean of one unit towards its activation. */
int32_t bp_running_mean(int32_t p, int16_t a, uint16_t rate);

/* The term that the penalty adds to the unit's back-propagated sum, s24. */
int32_t bp_sparsity_term(int32_t p, uint16_t target, int32_t offset, int32_t reciprocal,
                         int16_t multiplier, uint8_t shift);

/* ---- Learning rate --------------------------------------------------------------------------- */

/* How one layer's products g * u are shifted into its weights: u has `frac` fraction bits. */
typedef struct {
    int8_t shift;
    uint8_t frac;
} bp_alignment_t;

/* The alignment for a layer at a learning rate of 2^-exponent: u has a `frac` in
 * [lowest, lowest + 7], and products exponent + offset + frac fraction bits too many. Returns 0,
 * or -1 when that shift would leave [smallest, 24] or the fraction be negative.
 */
int bp_align(bp_alignment_t *alignment, int8_t exponent, int8_t offset, int8_t lowest,
             int8_t smallest);

/* Whether a mantissa is one of docs/numbers.md, section 8: 32768, or odd and above 16384. */
int bp_is_mantissa(uint16_t mantissa);

/* g = round(-mantissa * 2^-15 * dz): the step of one neuron, its sign included. */
int16_t bp_descent(int16_t dz, uint16_t mantissa);

/* u[i] = a[i] moved from from_frac to to_frac fraction bits. */
void bp_rescale(int16_t *u, const int16_t *a, uint8_t from_frac, uint8_t to_frac, size_t n);

/* ---- Updates: w[i] += g * u[i] * 2^-shift, saturating ---------------------------------------- */

/* 24-bit master: w, and its low byte in w_low. */
void bp_update_residual(int16_t *w, uint8_t *w_low, const int16_t *u, int16_t g, int8_t shift,
                        bp_counters_t *counters, size_t n);
void bp_update_residual_bias(int16_t *b, uint8_t *b_low, int16_t g, bp_alignment_t alignment,
                             bp_counters_t *counters);

/* 16-bit master, rounded by a dither that belongs to the parameter's index. */
uint16_t bp_dither(uint16_t seed, uint32_t index, uint32_t count, uint32_t steps);
void bp_update_stochastic(int16_t *w, const int16_t *u, int16_t g, int8_t shift, uint16_t dither,
                          bp_counters_t *counters, size_t n);
void bp_update_stochastic_bias(int16_t *b, int16_t g, bp_alignment_t alignment, uint16_t dither,
                               bp_counters_t *counters);

/* Sum over a batch. */
void bp_accumulate(int32_t *vw, const int16_t *u, int16_t g, int8_t shift, bp_counters_t *counters,
                   size_t n);
void bp_accumulate_bias(int32_t *vb, int16_t g, bp_alignment_t alignment, bp_counters_t *counters);

/* The end of a batch; decay is the L2 term, u15q24, 0 for biases. */
void bp_apply_batch(int16_t *w, int32_t *vw, uint16_t decay, bp_counters_t *counters, size_t n);
void bp_apply_momentum(int16_t *w, uint8_t *w_low, int32_t *vw, uint16_t decay, uint16_t momentum,
                       bp_counters_t *counters, size_t n);

/* L2 of the two updates that work sample by sample. */
void bp_decay_residual(int16_t *w, uint8_t *w_low, uint16_t decay, bp_counters_t *counters,
                       size_t n);
void bp_decay_stochastic(int16_t *w, uint16_t decay, uint16_t dither, bp_counters_t *counters,
                         size_t n);

/* ---- Checksum: CRC-32/ISO-HDLC, the one of zlib --------------------------------------------- */

/* n bytes more, or one; the CRC starts as FFFFFFFFh and is inverted at the end. */
uint32_t bp_crc32(uint32_t crc, const uint8_t *p, size_t n);
uint32_t bp_crc32_byte(uint32_t crc, uint8_t byte);

/* Start with 0; masters are little-endian, 3 bytes with w_low and 2 without (NULL). */
uint32_t bp_crc32_parameters(uint32_t crc, const int16_t *w, const uint8_t *w_low, size_t n);

#ifdef __cplusplus
}
#endif

#endif

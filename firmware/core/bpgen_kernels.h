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

/* ---- Layers --------------------------------------------------------------------------------- */

/* What assembly for AVR cores wants of a layer besides, made from the same numbers. */
#if defined(__AVR__) && !BP_SMALL
#include "bpgen_layer_avr.h"
#else
#define BP_FORGET(s)
#define BP_LAYER_FAST(...)
#define BP_LAYER_FAST_S8(...)
#endif

/* A layer of weights, in flash. w[j][i] leads from input i to output j.
 *
 * In memory the weights of two inputs stand side by side, w [(inputs + 1) / 2][outputs][2], one
 * order for all cores: a word holds what meets two neighbouring inputs, and one output's weights
 * follow another's, so that a kernel loads an input once for many outputs. A layer with an odd
 * number of inputs has one more, always 0. Its weights change nothing and nothing changes them.
 * Inputs and weights begin on a word: see BP_ALIGNED.
 */
typedef struct {
    uint16_t inputs;
    uint16_t outputs;
    uint16_t block;        /* so many w * a_in fit 32 bits, even: the inputs in memory if all do */
    uint16_t delta_block;  /* so many w * dz fit 32 bits */
    int16_t z_lowest;      /* z is clipped to this, which counts unless it is 0 */
    int16_t z_top;         /* and to this */
    int16_t dz_in_top;     /* largest delta of the inputs */
    uint8_t a_in_frac;     /* fraction bits of the inputs */
    int8_t z_shift;        /* fraction bits of w * a_in that z has not */
    uint8_t sum_shift;     /* fraction bits of w * dz that the back-propagated sum has not */
    uint8_t a_frac;        /* fraction bits of the outputs */
    uint8_t table_bits;    /* the table has 2^table_bits intervals */
    const uint16_t *table; /* of the activation, NULL without one */
#if defined(__AVR__) && !BP_SMALL
    bp_layer_fast_t fast;
#endif
} bp_layer_t;

/* Where w[j][i] is. */
static inline size_t bp_weight_index(const bp_layer_t *layer, size_t j, size_t i)
{
    return (i / 2 * bp_rom_u16(&layer->outputs) + j) * 2 + i % 2;
}

/* ---- Forward: z or a of all outputs of a layer ---------------------------------------------- */

/* z[j] = b[j] + sum w[j][i] * a_in[i], rounded and clipped. */
void bp_dense(int16_t *z, const bp_layer_t *layer, const int16_t *w, const int16_t *b,
              const int16_t *a_in, bp_counters_t *counters);

/* The same, and a[j] = bp_sigmoid(z[j]), for an a_frac of 11 to 13 with 2^7 intervals and of 14
 * with 2^8; with others it is bp_dense() and bp_sigmoid().
 */
void bp_dense_sigmoid(int16_t *a, const bp_layer_t *layer, const int16_t *w, const int16_t *b,
                      const int16_t *a_in, bp_counters_t *counters);

/* The same with w and b in flash. */
#if defined(__AVR__)
void bp_dense_rom(int16_t *z, const bp_layer_t *layer, const int16_t *w, const int16_t *b,
                  const int16_t *a_in, bp_counters_t *counters);
void bp_dense_sigmoid_rom(int16_t *a, const bp_layer_t *layer, const int16_t *w, const int16_t *b,
                          const int16_t *a_in, bp_counters_t *counters);
#else
#define bp_dense_rom bp_dense
#define bp_dense_sigmoid_rom bp_dense_sigmoid
#endif

/* s8 weights and biases of the sum's fraction, both in flash; u8 inputs. */
void bp_dense_s8(int16_t *z, const bp_layer_t *layer, const bp_w8_t *w, const int32_t *b,
                 const uint8_t *a_in, bp_counters_t *counters);

/* ---- Activations of n units, in place ------------------------------------------------------- */

/* A table of 2^bits intervals over magnitudes in [0, 8), in flash (docs/numbers.md, section 4).
 * z is s16q12, any value; the result has `frac` fraction bits.
 */
void bp_sigmoid(int16_t *a, const uint16_t *table, uint8_t bits, uint8_t frac, size_t n);
void bp_tanh(int16_t *a, const uint16_t *sigmoid_table, uint8_t bits, uint8_t frac, size_t n);
void bp_tanh_opt(int16_t *a, const uint16_t *table, uint8_t bits, uint8_t frac, size_t n);

/* Replace the logits in a, of z_frac fraction bits, by their softmax of frac fraction bits. */
void bp_softmax(int16_t *a, const uint16_t *exp_table, uint8_t bits, uint8_t z_frac, uint8_t frac,
                size_t n);

/* a[j] = z[j], which is in 0..255. */
void bp_narrow(uint8_t *a, const int16_t *z, size_t n);

/* Index of the largest element, the first of equals. */
size_t bp_argmax(const int16_t *a, size_t n);

/* ---- Layers of s8 weights with their activations ------------------------------------------- */

/* bp_dense_s8() and bp_sigmoid(); the same of a hidden layer, a sigmoid where it has a table, and
 * bp_narrow(), for which z has room.
 */
#if defined(__AVR__)
void bp_dense_sigmoid_s8(int16_t *a, const bp_layer_t *layer, const bp_w8_t *w, const int32_t *b,
                         const uint8_t *a_in, bp_counters_t *counters);
void bp_dense_u8(uint8_t *a, int16_t *z, const bp_layer_t *layer, const bp_w8_t *w,
                 const int32_t *b, const uint8_t *a_in, bp_counters_t *counters);
#else
static inline void bp_dense_sigmoid_s8(int16_t *a, const bp_layer_t *layer, const bp_w8_t *w,
                                       const int32_t *b, const uint8_t *a_in,
                                       bp_counters_t *counters)
{
    bp_dense_s8(a, layer, w, b, a_in, counters);
    bp_sigmoid(a, layer->table, layer->table_bits, layer->a_frac, layer->outputs);
}

static inline void bp_dense_u8(uint8_t *a, int16_t *z, const bp_layer_t *layer, const bp_w8_t *w,
                               const int32_t *b, const uint8_t *a_in, bp_counters_t *counters)
{
    bp_dense_s8(z, layer, w, b, a_in, counters);
    if (layer->table != NULL) {
        bp_sigmoid(z, layer->table, layer->table_bits, layer->a_frac, layer->outputs);
    }
    bp_narrow(a, z, layer->outputs);
}
#endif

/* ---- Losses: of one sample, exact, see docs/numbers.md section 6 for the fraction ------------ */

int64_t bp_squared_error(const int16_t *a, const int16_t *t, size_t n);
int64_t bp_cross_entropy_softmax(const int16_t *a, const int16_t *t, const uint16_t *ln_table,
                                 uint8_t frac, size_t n);
int64_t bp_cross_entropy_sigmoid(const int16_t *a, const int16_t *t, const uint16_t *ln_table,
                                 uint8_t frac, size_t n);

/* ---- Backward ------------------------------------------------------------------------------- */

/* Derivative of the sigmoid, tanh or tanh_opt whose output is a. */
int32_t bp_sigmoid_derivative(int16_t a, uint8_t frac);                /* u16q16 */
int32_t bp_tanh_derivative(int16_t a, uint8_t frac);                   /* u16q14 */
int32_t bp_tanh_opt_derivative(int16_t a, int16_t top, uint8_t frac);  /* u16q14 */

/* Deltas of n outputs that are sigmoids, for targets t and half the squared error:
 * round((a - t) * derivative, shift), clipped.
 */
void bp_output_delta_sigmoid(int16_t *dz, const int16_t *a, const int16_t *t, uint8_t frac,
                             uint8_t shift, int16_t top, bp_counters_t *counters, size_t n);

/* sum[i] = sum w[j][i] * dz[j], rounded, beyond 32 bits clipped; for an odd layer one more. */
void bp_backward(int32_t *sum, const bp_layer_t *layer, const int16_t *w, const int16_t *dz);
#if defined(__AVR__)
void bp_backward_rom(int32_t *sum, const bp_layer_t *layer, const int16_t *w, const int16_t *dz);
#else
#define bp_backward_rom bp_backward
#endif

/* Deltas of n units from their back-propagated sums, which are clipped to s24, and outputs a. */
void bp_delta_sigmoid(int16_t *dz, const int32_t *sum, const int16_t *a, uint8_t frac, int16_t top,
                      bp_counters_t *counters, size_t n);
void bp_delta_tanh(int16_t *dz, const int32_t *sum, const int16_t *a, uint8_t frac, int16_t top,
                   bp_counters_t *counters, size_t n);
void bp_delta_tanh_opt(int16_t *dz, const int32_t *sum, const int16_t *a, int16_t a_top,
                       uint8_t frac, int16_t top, bp_counters_t *counters, size_t n);
void bp_delta_relu(int16_t *dz, const int32_t *sum, const int16_t *a, int16_t top,
                   bp_counters_t *counters, size_t n);
void bp_delta_linear(int16_t *dz, const int32_t *sum, int16_t top, bp_counters_t *counters,
                     size_t n);

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

/* g = round(-mantissa * 2^-15 * dz): the steps of n neurons, their sign included. */
void bp_descent(int16_t *g, const int16_t *dz, uint16_t mantissa, size_t n);

/* ---- Updates: w[j][i] += g[j] * a_in[i] * learning rate, b[j] likewise, saturating ----------- */

/* 24-bit masters: w and b, and their low bytes. A core may turn g into its negative meanwhile, so
 * it must not lie in flash.
 */
void bp_update_residual(int16_t *w, uint8_t *w_low, int16_t *b, uint8_t *b_low,
                        const bp_layer_t *layer, const int16_t *a_in, const int16_t *g,
                        bp_alignment_t alignment, bp_counters_t *counters);

/* The dither of one parameter differs by this from that of the one before: 2^16 / golden ratio. */
#define BP_WEYL 40503u

inline uint16_t bp_dither(uint16_t seed, uint32_t index, uint32_t count, uint32_t steps)
{
    uint16_t stride = (uint16_t)(BP_WEYL * (count | 1u));

    return (uint16_t)(seed + BP_WEYL * index + (uint32_t)stride * (uint16_t)steps);
}

/* The dither of the parameter that is `distance` further on. */
static inline uint16_t bp_dither_at(uint16_t dither, size_t distance)
{
    return (uint16_t)(dither + BP_WEYL * (uint32_t)(uint16_t)distance);
}

/* 16-bit masters, rounded by a dither that belongs to the parameter's index: `dither` is that of
 * w[0][0].
 */
void bp_update_stochastic(int16_t *w, int16_t *b, const bp_layer_t *layer, const int16_t *a_in,
                          const int16_t *g, bp_alignment_t alignment, uint16_t dither,
                          bp_counters_t *counters);

/* bp_backward(), bp_delta_sigmoid() for the inputs' deltas dz_in, and the update, in one pass over
 * the weights. The inputs are sigmoids.
 */
void bp_learn_residual(int16_t *dz_in, int16_t *w, uint8_t *w_low, int16_t *b, uint8_t *b_low,
                       const bp_layer_t *layer, const int16_t *a_in, const int16_t *dz,
                       const int16_t *g, bp_alignment_t alignment, bp_counters_t *counters);
void bp_learn_stochastic(int16_t *dz_in, int16_t *w, int16_t *b, const bp_layer_t *layer,
                         const int16_t *a_in, const int16_t *dz, const int16_t *g,
                         bp_alignment_t alignment, uint16_t dither, bp_counters_t *counters);

/* A step in parts, from the output down: each makes the g of the next, which is that of
 * bp_descent() or, on some cores, its negative, and for these calls alone. All other arrays are in
 * *s, from which a core with few registers finds them. The parts are the output, for a sigmoid's
 * squared error of a shift of 9 to 16 or behind its deltas; layers as bp_learn_residual() or
 * bp_learn_stochastic() have them, for an a_in_frac of 9 to 15, a sum_shift of 1 to 16 and up to
 * 512 outputs, plain where sums fit 32 bits, else wide, or large for up to 510 inputs and 32
 * outputs, which pays from 128 weights on; and the first layer that learns, or the same large, for
 * up to 510 inputs and 255 outputs. A layer's dither is that of the parameter which is `index`
 * behind the one of `dither`.
 */
#if BP_AVR && !BPGEN_COUNTERS && !BP_SMALL && !defined(__cplusplus)
#include "bpgen_dense_avr.h"
#include "bpgen_pass_avr.h"
void bp_output_delta_sigmoid_plain(int16_t *dz, const int16_t *a, const int16_t *t, uint8_t frac,
                                   uint8_t shift, int16_t top, bp_counters_t *counters, size_t n);
#else
#define bp_output_delta_sigmoid_plain bp_output_delta_sigmoid
#define bp_learn_output bp_descent
static inline void bp_learn_output_sigmoid(int16_t *dz, int16_t *g, const int16_t *a,
                                           const int16_t *t, uint8_t frac, uint8_t shift,
                                           int16_t top, uint16_t mantissa,
                                           bp_counters_t *counters, size_t n)
{
    bp_output_delta_sigmoid(dz, a, t, frac, shift, top, counters, n);
    bp_descent(g, dz, mantissa, n);
}
static inline void bp_learn_residual_plain(const void *s, int16_t *dz_in, int16_t *g_in, int16_t *w,
                                           uint8_t *w_low, int16_t *b, uint8_t *b_low,
                                           const bp_layer_t *layer, const int16_t *a_in,
                                           const int16_t *dz, const int16_t *g, uint16_t mantissa,
                                           bp_alignment_t alignment, bp_counters_t *counters)
{
    (void)s;
    bp_learn_residual(dz_in, w, w_low, b, b_low, layer, a_in, dz, g, alignment, counters);
    bp_descent(g_in, dz_in, mantissa, bp_rom_u16(&layer->inputs));
}
static inline void bp_learn_stochastic_plain(const void *s, int16_t *dz_in, int16_t *g_in,
                                             int16_t *w, int16_t *b, const bp_layer_t *layer,
                                             const int16_t *a_in, const int16_t *dz,
                                             const int16_t *g, uint16_t mantissa,
                                             bp_alignment_t alignment, uint16_t dither,
                                             size_t index, bp_counters_t *counters)
{
    (void)s;
    bp_learn_stochastic(dz_in, w, b, layer, a_in, dz, g, alignment, bp_dither_at(dither, index),
                        counters);
    bp_descent(g_in, dz_in, mantissa, bp_rom_u16(&layer->inputs));
}
static inline void bp_learn_stochastic_first(int16_t *w, int16_t *b, const bp_layer_t *layer,
                                             const int16_t *a_in, const int16_t *g,
                                             bp_alignment_t alignment, uint16_t dither,
                                             size_t index, bp_counters_t *counters)
{
    bp_update_stochastic(w, b, layer, a_in, g, alignment, bp_dither_at(dither, index), counters);
}
#define bp_learn_residual_wide bp_learn_residual_plain
#define bp_learn_stochastic_wide bp_learn_stochastic_plain
#define bp_learn_residual_large bp_learn_residual_plain
#define bp_learn_stochastic_large bp_learn_stochastic_plain
#define bp_learn_residual_first bp_update_residual
#define bp_learn_residual_first_large bp_learn_residual_first
#define bp_learn_stochastic_first_large bp_learn_stochastic_first
#endif

/* Sums over a batch. */
void bp_accumulate(int32_t *vw, int32_t *vb, const bp_layer_t *layer, const int16_t *a_in,
                   const int16_t *g, bp_alignment_t alignment, bp_counters_t *counters);

/* The end of a batch, for n parameters; decay is the L2 term, u15q24, 0 for biases. */
void bp_apply_batch(int16_t *w, int32_t *vw, uint16_t decay, bp_counters_t *counters, size_t n);
void bp_apply_momentum(int16_t *w, uint8_t *w_low, int32_t *vw, uint16_t decay, uint16_t momentum,
                       bp_counters_t *counters, size_t n);

/* L2 of the two updates that work sample by sample. */
void bp_decay_residual(int16_t *w, uint8_t *w_low, uint16_t decay, bp_counters_t *counters,
                       size_t n);
void bp_decay_stochastic(int16_t *w, const bp_layer_t *layer, uint16_t decay, uint16_t dither,
                         bp_counters_t *counters);

/* ---- Checksum: CRC-32/ISO-HDLC, the one of zlib --------------------------------------------- */

/* n bytes more, or one; the CRC starts as FFFFFFFFh and is inverted at the end. */
uint32_t bp_crc32(uint32_t crc, const uint8_t *p, size_t n);
uint32_t bp_crc32_byte(uint32_t crc, uint8_t byte);

/* A layer's masters in canonical order, little-endian, 3 bytes with low bytes and 2 without (NULL);
 * start with 0.
 */
uint32_t bp_crc32_parameters(uint32_t crc, const bp_layer_t *layer, const int16_t *w,
                             const uint8_t *w_low, const int16_t *b, const uint8_t *b_low);

#ifdef __cplusplus
}
#endif

#endif

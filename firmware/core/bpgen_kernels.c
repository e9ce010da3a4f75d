/* bpgen_kernels.c -- the portable kernels: plain C99, and the meaning of every faster one.
 *
 * Section numbers are those of docs/numbers.md. `int` has 16 bits on AVR: operands are widened
 * before a product or a left shift, and negative numbers are shifted by bp_shr32() and bp_shr64()
 * alone. Compile with -ffunction-sections and link with -Wl,--gc-sections, so that a model pays
 * for the kernels it calls.
 * SPDX-License-Identifier: 0BSD
 */
#include "bpgen_kernels.h"
#include "bpgen_unit.h"

/* A file for some cores defines kernels of its own, and BP_FAST_... for each; what is below stands
 * in for the rest. It must give the same bits. -DBP_PORTABLE leaves these files out.
 */
#if !defined(BP_PORTABLE)
#if BP_AVR
#include "bpgen_kernels_avr.h"
#elif defined(__ARM_FEATURE_DSP)
#include "bpgen_kernels_dsp.h"
#else
#include "bpgen_kernels_lanes.h"
#endif
#endif

#define LN2_U16Q16 45426u
#define LN_TABLE_SHIFT 9 /* 64 intervals over 15 bits */

void bp_counters_agree(void) {}

/* ---- Input ---------------------------------------------------------------------------------- */

int16_t bp_quantize_input(int32_t count, int32_t offset, uint16_t multiplier, uint8_t shift,
                          int16_t lowest, int16_t top, uint32_t *clipped)
{
    /* 33 bits by 16 bits. */
    int64_t a = bp_round64(((int64_t)count - offset) * multiplier, shift);

    if (a < lowest) {
        BP_COUNT(clipped);
        return lowest;
    }
    if (a > top) {
        BP_COUNT(clipped);
        return top;
    }
    return (int16_t)a;
}

/* ---- Forward (section 3) -------------------------------------------------------------------- */

#if !defined(BP_FAST_DENSE) || (defined(__AVR__) && !defined(BP_FAST_DENSE_ROM))

/* sum w[j][i] * a_in[i] of the output whose first weight is at w. */
static inline int64_t dot(const bp_layer_t *layer, const int16_t *w, const int16_t *a_in,
                          uint8_t in_flash)
{
    size_t n = even_inputs(layer);
    int64_t acc = 0;
    size_t i = 0;

    while (i < n) {
        size_t end = n - i > layer->block ? i + layer->block : n;
        int32_t sum = 0;
        for (; i < end; i += 2) {
            sum += (int32_t)read_weight(w, in_flash) * a_in[i];
            sum += (int32_t)read_weight(w + 1, in_flash) * a_in[i + 1];
            w += 2 * (size_t)layer->outputs;
        }
        acc += sum;
    }
    return acc;
}

static inline void dense(int16_t *z, const bp_layer_t *layer, const int16_t *w, const int16_t *b,
                         const int16_t *a_in, bp_counters_t *counters, uint8_t in_flash)
{
    size_t j;

    for (j = 0; j < layer->outputs; j++) {
        int64_t acc = dot(layer, w + 2 * j, a_in, in_flash) +
                      (int64_t)read_weight(b + j, in_flash) * ((int32_t)1 << layer->a_in_frac);
        z[j] = clip_z(bp_round64(acc, (uint8_t)layer->z_shift), layer, counters);
    }
}

#endif

#if !defined(BP_FAST_DENSE)
void bp_dense(int16_t *z, const bp_layer_t *layer, const int16_t *w, const int16_t *b,
              const int16_t *a_in, bp_counters_t *counters)
{
    const bp_layer_t l = read_layer(layer);

    dense(z, &l, w, b, a_in, counters, 0);
}

void bp_dense_sigmoid(int16_t *a, const bp_layer_t *layer, const int16_t *w, const int16_t *b,
                      const int16_t *a_in, bp_counters_t *counters)
{
    const bp_layer_t l = read_layer(layer);

    dense(a, &l, w, b, a_in, counters, 0);
    bp_sigmoid(a, l.table, l.table_bits, l.a_frac, l.outputs);
}
#endif

#if defined(__AVR__) && !defined(BP_FAST_DENSE_ROM)

void bp_dense_rom(int16_t *z, const bp_layer_t *layer, const int16_t *w, const int16_t *b,
                  const int16_t *a_in, bp_counters_t *counters)
{
    const bp_layer_t l = read_layer(layer);

    dense(z, &l, w, b, a_in, counters, 1);
}

void bp_dense_sigmoid_rom(int16_t *a, const bp_layer_t *layer, const int16_t *w, const int16_t *b,
                          const int16_t *a_in, bp_counters_t *counters)
{
    const bp_layer_t l = read_layer(layer);

    dense(a, &l, w, b, a_in, counters, 1);
    bp_sigmoid(a, l.table, l.table_bits, l.a_frac, l.outputs);
}

#endif

#if !defined(BP_FAST_DENSE_S8)
void bp_dense_s8(int16_t *z, const bp_layer_t *layer, const bp_w8_t *w, const int32_t *b,
                 const uint8_t *a_in, bp_counters_t *counters)
{
    const bp_layer_t l = read_layer(layer);
    size_t stride = 2 * (size_t)l.outputs;
    size_t j;

    for (j = 0; j < l.outputs; j++) {
        const bp_w8_t *column = w + 2 * j;
        int32_t acc = bp_rom_s32(b + j);
        size_t i;
        /* A product is at most 128 * 255, which fits 16 bits. */
        for (i = 0; i < even_inputs(&l); i += 2) {
            acc += bp_rom_w8(column) * a_in[i];
            acc += bp_rom_w8(column + 1) * a_in[i + 1];
            column += stride;
        }
        z[j] = clip_z(l.z_shift < 0 ? (int64_t)acc * ((int32_t)1 << -l.z_shift)
                                    : bp_round32(acc, (uint8_t)l.z_shift),
                      &l, counters);
    }
}
#endif

#if defined(__AVR__) && !defined(BP_FAST_LAYER_S8)
void bp_dense_sigmoid_s8(int16_t *a, const bp_layer_t *layer, const bp_w8_t *w, const int32_t *b,
                         const uint8_t *a_in, bp_counters_t *counters)
{
    const bp_layer_t l = read_layer(layer);

    bp_dense_s8(a, layer, w, b, a_in, counters);
    bp_sigmoid(a, l.table, l.table_bits, l.a_frac, l.outputs);
}

void bp_dense_u8(uint8_t *a, int16_t *z, const bp_layer_t *layer, const bp_w8_t *w,
                 const int32_t *b, const uint8_t *a_in, bp_counters_t *counters)
{
    const bp_layer_t l = read_layer(layer);

    bp_dense_s8(z, layer, w, b, a_in, counters);
    if (l.table != NULL) {
        bp_sigmoid(z, l.table, l.table_bits, l.a_frac, l.outputs);
    }
    bp_narrow(a, z, l.outputs);
}
#endif

/* ---- Activations (sections 4 and 5) --------------------------------------------------------- */

#if !defined(BP_FAST_SIGMOID)
void bp_sigmoid(int16_t *a, const uint16_t *table, uint8_t bits, uint8_t frac, size_t n)
{
    size_t j;

    for (j = 0; j < n; j++) {
        a[j] = sigmoid(a[j], table, bits, frac);
    }
}
#endif

static inline int16_t hyperbolic(int16_t z, const uint16_t *sigmoid_table, uint8_t bits,
                                 uint8_t frac)
{
    /* tanh(z) = 2 sigmoid(2z) - 1 */
    uint8_t shift = (uint8_t)(15 - bits);
    int32_t one = (int32_t)1 << frac;
    int32_t p = interpolate(sigmoid_table, magnitude((int32_t)z * 2), shift);
    int32_t y = bp_round32(2 * p - ((int32_t)1 << (16 + shift)), (uint8_t)(16 + shift - frac));

    if (y >= one) {
        y = one - 1;
    }
    return (int16_t)(z < 0 ? -y : y);
}

void bp_tanh(int16_t *a, const uint16_t *sigmoid_table, uint8_t bits, uint8_t frac, size_t n)
{
    size_t j;

    for (j = 0; j < n; j++) {
        a[j] = hyperbolic(a[j], sigmoid_table, bits, frac);
    }
}

void bp_tanh_opt(int16_t *a, const uint16_t *table, uint8_t bits, uint8_t frac, size_t n)
{
    uint8_t shift = (uint8_t)(15 - bits);
    size_t j;

    for (j = 0; j < n; j++) {
        int32_t y = bp_round32(interpolate(table, magnitude(a[j]), shift),
                               (uint8_t)(15 + shift - frac));
        a[j] = (int16_t)(a[j] < 0 ? -y : y);
    }
}

/* exp(-d) as u16q15, d with z_frac fraction bits; 0 from d = 8 on. */
static uint32_t exponential(const uint16_t *table, uint32_t d, uint8_t bits, uint8_t z_frac)
{
    uint8_t shift = (uint8_t)(z_frac + 3 - bits);

    if (d >= (uint32_t)8 << z_frac) {
        return 0;
    }
    return (uint32_t)bp_round32(interpolate(table, (uint16_t)d, shift), shift);
}

void bp_softmax(int16_t *a, const uint16_t *exp_table, uint8_t bits, uint8_t z_frac, uint8_t frac,
                size_t n)
{
    int32_t highest = a[bp_argmax(a, n)];
    uint32_t sum = 0;
    size_t j;

    for (j = 0; j < n; j++) {
        sum += exponential(exp_table, (uint32_t)(highest - a[j]), bits, z_frac);
    }
    /* e <= 2^15 and frac <= 14, so e * 2^frac + sum / 2 <= 2^29 + n * 2^14 fits u32. */
    for (j = 0; j < n; j++) {
        uint32_t e = exponential(exp_table, (uint32_t)(highest - a[j]), bits, z_frac);
        a[j] = (int16_t)(((e << frac) + (sum >> 1)) / sum);
    }
}

void bp_narrow(uint8_t *a, const int16_t *z, size_t n)
{
    size_t j;

    for (j = 0; j < n; j++) {
        a[j] = (uint8_t)z[j];
    }
}

size_t bp_argmax(const int16_t *a, size_t n)
{
    size_t best = 0;
    size_t j;

    for (j = 1; j < n; j++) {
        if (a[j] > a[best]) {
            best = j;
        }
    }
    return best;
}

/* ---- Losses (section 6) --------------------------------------------------------------------- */

int64_t bp_squared_error(const int16_t *a, const int16_t *t, size_t n)
{
    int64_t sum = 0;
    size_t j;

    for (j = 0; j < n; j++) {
        int32_t error = (int32_t)a[j] - t[j];
        sum += (int64_t)error * error;
    }
    return sum;
}

/* -ln(y * 2^-frac) as u32q16, y in [1, 2^15]; smaller y count as 1. */
static int32_t negative_log(int32_t y, const uint16_t *ln_table, uint8_t frac)
{
    uint32_t mantissa = (uint32_t)(y < 1 ? 1 : y);
    uint8_t k = 15;

    while (mantissa < 32768u) {
        mantissa <<= 1;
        k--;
    }
    return ((int32_t)frac - k) * (int32_t)LN2_U16Q16 -
           bp_round32(interpolate(ln_table, (uint16_t)(mantissa - 32768u), LN_TABLE_SHIFT),
                      LN_TABLE_SHIFT);
}

int64_t bp_cross_entropy_softmax(const int16_t *a, const int16_t *t, const uint16_t *ln_table,
                                 uint8_t frac, size_t n)
{
    int64_t sum = 0;
    size_t j;

    for (j = 0; j < n; j++) {
        sum += (int64_t)t[j] * negative_log(a[j], ln_table, frac);
    }
    return sum;
}

int64_t bp_cross_entropy_sigmoid(const int16_t *a, const int16_t *t, const uint16_t *ln_table,
                                 uint8_t frac, size_t n)
{
    int32_t one = (int32_t)1 << frac;
    int64_t sum = 0;
    size_t j;

    for (j = 0; j < n; j++) {
        sum += (int64_t)t[j] * negative_log(a[j], ln_table, frac);
        sum += (int64_t)(one - t[j]) * negative_log(one - a[j], ln_table, frac);
    }
    return sum;
}

/* ---- Backward (section 7)    ---------------------------------------------------------------- */

int32_t bp_sigmoid_derivative(int16_t a, uint8_t frac)
{
    int32_t one = (int32_t)1 << frac;

    if (frac < 8) {
        return a * (one - a) * ((int32_t)1 << (16 - 2 * frac));
    }
    return bp_round32(a * (one - a), (uint8_t)(2 * frac - 16));
}

int32_t bp_tanh_derivative(int16_t a, uint8_t frac)
{
    int32_t one = (int32_t)1 << frac;

    return bp_round32((one - a) * (one + a), (uint8_t)(2 * frac - 14));
}

int32_t bp_tanh_opt_derivative(int16_t a, int16_t top, uint8_t frac)
{
    int32_t v = bp_round32((int32_t)top * top - (int32_t)a * a, (uint8_t)(2 * frac - 14));

    return bp_round32(v * 25462, 16); /* 2/3 / 1.7159 as u16q16 */
}

#if !defined(BP_FAST_OUTPUT_DELTA)
void bp_output_delta_sigmoid(int16_t *dz, const int16_t *a, const int16_t *t, uint8_t frac,
                             uint8_t shift, int16_t top, bp_counters_t *counters, size_t n)
{
    size_t j;

    for (j = 0; j < n; j++) {
        int32_t error = (int32_t)a[j] - t[j];
        int32_t product = error * bp_sigmoid_derivative(a[j], frac);
        dz[j] = bp_clamp(bp_round32(product, shift), top, BP_COUNTER(counters, deltas));
    }
}
#endif

/* AVR cores have no other kernel for weights in flash. */
#if defined(__AVR__) || !defined(BP_FAST_BACKWARD) || !defined(BP_FAST_RESIDUAL) || \
    !defined(BP_FAST_STOCHASTIC)

/* sum w[j][i] * dz[j] of the input whose weight to output 0 is at w. */
static inline int64_t dot_column(const bp_layer_t *layer, const int16_t *w, const int16_t *dz,
                                 uint8_t in_flash)
{
    size_t n = layer->outputs;
    int64_t acc = 0;
    size_t j = 0;

    while (j < n) {
        size_t end = n - j > layer->delta_block ? j + layer->delta_block : n;
        int32_t sum = 0;
        for (; j < end; j++) {
            sum += (int32_t)read_weight(w + 2 * j, in_flash) * dz[j];
        }
        acc += sum;
    }
    return acc;
}

/* The sums of two inputs, whose weights start at w. */
static inline void backward_pair(int32_t sum[2], const bp_layer_t *layer, const int16_t *w,
                                 const int16_t *dz, uint8_t in_flash)
{
    sum[0] = bp_saturate32(bp_round64(dot_column(layer, w, dz, in_flash), layer->sum_shift));
    sum[1] = bp_saturate32(bp_round64(dot_column(layer, w + 1, dz, in_flash), layer->sum_shift));
}

static inline void backward(int32_t *sum, const bp_layer_t *layer, const int16_t *w,
                            const int16_t *dz, uint8_t in_flash)
{
    size_t i;

    for (i = 0; i < layer->inputs; i += 2) {
        backward_pair(sum + i, layer, w + i * layer->outputs, dz, in_flash);
    }
}

#endif

#if !defined(BP_FAST_BACKWARD)
void bp_backward(int32_t *sum, const bp_layer_t *layer, const int16_t *w, const int16_t *dz)
{
    const bp_layer_t l = read_layer(layer);

    backward(sum, &l, w, dz, 0);
}
#endif

#if defined(__AVR__)
void bp_backward_rom(int32_t *sum, const bp_layer_t *layer, const int16_t *w, const int16_t *dz)
{
    const bp_layer_t l = read_layer(layer);

    backward(sum, &l, w, dz, 1);
}
#endif

#if !defined(BP_FAST_DELTA_SIGMOID)
void bp_delta_sigmoid(int16_t *dz, const int32_t *sum, const int16_t *a, uint8_t frac, int16_t top,
                      bp_counters_t *counters, size_t n)
{
    size_t i;

    for (i = 0; i < n; i++) {
        int32_t d = bp_sigmoid_derivative(a[i], frac);
        dz[i] = hidden_delta(sum[i], d, SIGMOID_SHIFT, top, counters);
    }
}
#endif

void bp_delta_tanh(int16_t *dz, const int32_t *sum, const int16_t *a, uint8_t frac, int16_t top,
                   bp_counters_t *counters, size_t n)
{
    size_t i;

    for (i = 0; i < n; i++) {
        int32_t d = bp_tanh_derivative(a[i], frac);
        dz[i] = hidden_delta(sum[i], d, TANH_SHIFT, top, counters);
    }
}

void bp_delta_tanh_opt(int16_t *dz, const int32_t *sum, const int16_t *a, int16_t a_top,
                       uint8_t frac, int16_t top, bp_counters_t *counters, size_t n)
{
    size_t i;

    for (i = 0; i < n; i++) {
        int32_t d = bp_tanh_opt_derivative(a[i], a_top, frac);
        dz[i] = hidden_delta(sum[i], d, TANH_SHIFT, top, counters);
    }
}

void bp_delta_linear(int16_t *dz, const int32_t *sum, int16_t top, bp_counters_t *counters,
                     size_t n)
{
    size_t i;

    for (i = 0; i < n; i++) {
        int32_t s = bp_clamp24(sum[i], BP_COUNTER(counters, deltas));
        dz[i] = bp_clamp(bp_round32(s, LINEAR_SHIFT), top, BP_COUNTER(counters, deltas));
    }
}

void bp_delta_relu(int16_t *dz, const int32_t *sum, const int16_t *a, int16_t top,
                   bp_counters_t *counters, size_t n)
{
    size_t i;

    for (i = 0; i < n; i++) {
        int32_t s = bp_clamp24(sum[i], BP_COUNTER(counters, deltas));
        dz[i] = bp_clamp(a[i] > 0 ? bp_round32(s, LINEAR_SHIFT) : 0, top,
                         BP_COUNTER(counters, deltas));
    }
}

/* ---- Sparsity (section 11) ------------------------------------------------------------------ */

int32_t bp_running_mean(int32_t p, int16_t a, uint16_t rate)
{
    int64_t distance = (int64_t)a * 32768 - p;

    return p + (int32_t)bp_round64(distance * rate, 16);
}

int32_t bp_sparsity_term(int32_t p, uint16_t target, int32_t offset, int32_t reciprocal,
                         int16_t multiplier, uint8_t shift)
{
    int64_t mean = bp_round64(((int64_t)p + offset) * reciprocal, 30);
    uint32_t on = (uint32_t)(mean < 33 ? 33 : mean > 32735 ? 32735 : mean); /* u16q15 */
    uint32_t off = 32768u - on;
    uint32_t pull_on = (((uint32_t)target << 15) + (on >> 1)) / on;
    uint32_t pull_off = (((uint32_t)(32768u - target) << 15) + (off >> 1)) / off;
    int64_t slope = (int64_t)pull_off - pull_on; /* s26q15 */
    uint32_t uncounted = 0;

    return bp_clamp24_wide(bp_round64(slope * multiplier, shift), &uncounted);
}

/* ---- Learning rate (section 8) -------------------------------------------------------------- */

int bp_align(bp_alignment_t *alignment, int8_t exponent, int8_t offset, int8_t lowest,
             int8_t smallest)
{
    int16_t shift = (int16_t)(exponent + offset + lowest);
    /* To the one of the eight fractions that makes the shift a multiple of 8. */
    uint8_t up = (uint8_t)(-shift & 7);
    int16_t frac = (int16_t)(lowest + up);

    shift = (int16_t)(shift + up);
    if (frac < 0 || shift < smallest || shift > 24) {
        return -1;
    }
    alignment->shift = (int8_t)shift;
    alignment->frac = (uint8_t)frac;
    return 0;
}

int bp_is_mantissa(uint16_t mantissa)
{
    return mantissa == 32768u || (mantissa > 16384u && mantissa < 32768u && mantissa % 2u == 1u);
}

#if !defined(BP_FAST_DESCENT)
void bp_descent(int16_t *g, const int16_t *dz, uint16_t mantissa, size_t n)
{
    size_t j;

    for (j = 0; j < n; j++) {
        /* Doubled, so that the shift is by whole bytes; |dz| <= 32767, hence within 32 bits. */
        g[j] = (int16_t)bp_shr32(-((int32_t)dz[j] * mantissa) * 2 + 32768, 16);
    }
}
#endif

/* ---- Updates (sections 8 and 9) ------------------------------------------------------------- */

static int32_t clamp32(int64_t x, bp_counters_t *counters)
{
    int32_t y = bp_saturate32(x);

    if (y != x) {
        BP_COUNT(BP_COUNTER(counters, weights));
    }
    return y;
}

#if !defined(BP_FAST_RESIDUAL) || !defined(BP_FAST_STOCHASTIC)

/* The deltas of inputs i and i + 1, the latter only if there is one. */
static inline void delta_pair(int16_t *dz_in, const bp_layer_t *layer, const int16_t *w,
                              const int16_t *a_in, const int16_t *dz, bp_counters_t *counters,
                              size_t i)
{
    int32_t sum[2];

    backward_pair(sum, layer, w + i * layer->outputs, dz, 0);
    bp_delta_sigmoid(dz_in + i, sum, a_in + i, layer->a_in_frac, layer->dz_in_top, counters,
                     layer->inputs - i < 2 ? 1 : 2);
}

#endif

#if !defined(BP_FAST_RESIDUAL)

/* The weights of inputs i and i + 1. */
static inline void update_pair_residual(int16_t *w, uint8_t *w_low, const bp_layer_t *layer,
                                        const int16_t *a_in, const int16_t *g,
                                        bp_alignment_t alignment, bp_counters_t *counters, size_t i)
{
    size_t first = i * layer->outputs;
    int16_t u0 = rescale(a_in[i], layer->a_in_frac, alignment.frac);
    int16_t u1 = rescale(a_in[i + 1], layer->a_in_frac, alignment.frac);
    size_t j;

    w += first;
    w_low += first;
    for (j = 0; j < layer->outputs; j++) {
        step_residual(w++, w_low++, (int32_t)g[j] * u0, alignment.shift, counters);
        step_residual(w++, w_low++, (int32_t)g[j] * u1, alignment.shift, counters);
    }
}

static inline void update_biases_residual(int16_t *b, uint8_t *b_low, const bp_layer_t *layer,
                                   const int16_t *g, bp_alignment_t alignment,
                                   bp_counters_t *counters)
{
    size_t j;

    for (j = 0; j < layer->outputs; j++) {
        int32_t product = g[j] * ((int32_t)1 << alignment.frac);
        step_residual(b + j, b_low + j, product, alignment.shift, counters);
    }
}

void bp_update_residual(int16_t *w, uint8_t *w_low, int16_t *b, uint8_t *b_low,
                        const bp_layer_t *layer, const int16_t *a_in, const int16_t *g,
                        bp_alignment_t alignment, bp_counters_t *counters)
{
    const bp_layer_t l = read_layer(layer);
    size_t i;

    for (i = 0; i < l.inputs; i += 2) {
        update_pair_residual(w, w_low, &l, a_in, g, alignment, counters, i);
    }
    update_biases_residual(b, b_low, &l, g, alignment, counters);
}

void bp_learn_residual(int16_t *dz_in, int16_t *w, uint8_t *w_low, int16_t *b, uint8_t *b_low,
                       const bp_layer_t *layer, const int16_t *a_in, const int16_t *dz,
                       const int16_t *g, bp_alignment_t alignment, bp_counters_t *counters)
{
    const bp_layer_t l = read_layer(layer);
    size_t i;

    for (i = 0; i < l.inputs; i += 2) {
        delta_pair(dz_in, &l, w, a_in, dz, counters, i);
        update_pair_residual(w, w_low, &l, a_in, g, alignment, counters, i);
    }
    update_biases_residual(b, b_low, &l, g, alignment, counters);
}

#endif

/* For callers that do not make it part of themselves. */
extern inline uint16_t bp_dither(uint16_t seed, uint32_t index, uint32_t count, uint32_t steps);

#if !defined(BP_FAST_STOCHASTIC)

static inline void update_pair_stochastic(int16_t *w, const bp_layer_t *layer, const int16_t *a_in,
                                          const int16_t *g, bp_alignment_t alignment,
                                          uint16_t dither, bp_counters_t *counters, size_t i)
{
    int16_t u0 = rescale(a_in[i], layer->a_in_frac, alignment.frac);
    int16_t u1 = rescale(a_in[i + 1], layer->a_in_frac, alignment.frac);
    uint16_t row = dither_at(0, layer->inputs);
    size_t j;

    w += i * layer->outputs;
    dither = dither_at(dither, i);
    for (j = 0; j < layer->outputs; j++) {
        uint16_t next = dither_at(dither, 1);
        step_stochastic(w++, (int32_t)g[j] * u0, alignment.shift, dither, counters);
        step_stochastic(w++, (int32_t)g[j] * u1, alignment.shift, next, counters);
        dither = (uint16_t)(dither + row);
    }
}

static inline void update_biases_stochastic(int16_t *b, const bp_layer_t *layer, const int16_t *g,
                                     bp_alignment_t alignment, uint16_t dither,
                                     bp_counters_t *counters)
{
    size_t j;

    dither = dither_at(dither, (size_t)layer->inputs * layer->outputs);
    for (j = 0; j < layer->outputs; j++) {
        int32_t product = g[j] * ((int32_t)1 << alignment.frac);
        step_stochastic(b + j, product, alignment.shift, dither_at(dither, j), counters);
    }
}

void bp_update_stochastic(int16_t *w, int16_t *b, const bp_layer_t *layer, const int16_t *a_in,
                          const int16_t *g, bp_alignment_t alignment, uint16_t dither,
                          bp_counters_t *counters)
{
    const bp_layer_t l = read_layer(layer);
    size_t i;

    for (i = 0; i < l.inputs; i += 2) {
        update_pair_stochastic(w, &l, a_in, g, alignment, dither, counters, i);
    }
    update_biases_stochastic(b, &l, g, alignment, dither, counters);
}

void bp_learn_stochastic(int16_t *dz_in, int16_t *w, int16_t *b, const bp_layer_t *layer,
                         const int16_t *a_in, const int16_t *dz, const int16_t *g,
                         bp_alignment_t alignment, uint16_t dither, bp_counters_t *counters)
{
    const bp_layer_t l = read_layer(layer);
    size_t i;

    for (i = 0; i < l.inputs; i += 2) {
        delta_pair(dz_in, &l, w, a_in, dz, counters, i);
        update_pair_stochastic(w, &l, a_in, g, alignment, dither, counters, i);
    }
    update_biases_stochastic(b, &l, g, alignment, dither, counters);
}

#endif

/* product * 2^-shift into a sum of s32, for shifts of -8 to 24. */
static void add_to_sum(int32_t *sum, int32_t product, int8_t shift, bp_counters_t *counters)
{
    /* The clip of a step is not one of the sum, so it is not counted. */
    int32_t step = shift < 0 ? bp_saturate32((int64_t)product * 256)
                             : bp_round32(product, (uint8_t)shift);

    count_zero(product, step, counters);
    *sum = clamp32((int64_t)*sum + step, counters);
}

void bp_accumulate(int32_t *vw, int32_t *vb, const bp_layer_t *layer, const int16_t *a_in,
                   const int16_t *g, bp_alignment_t alignment, bp_counters_t *counters)
{
    const bp_layer_t l = read_layer(layer);
    size_t i, j;

    for (i = 0; i < even_inputs(&l); i++) {
        int16_t u = rescale(a_in[i], l.a_in_frac, alignment.frac);
        for (j = 0; j < l.outputs; j++) {
            int32_t *sum = vw + bp_weight_index(layer, j, i);
            add_to_sum(sum, (int32_t)g[j] * u, alignment.shift, counters);
        }
    }
    for (j = 0; j < l.outputs; j++) {
        int32_t product = g[j] * ((int32_t)1 << alignment.frac);
        add_to_sum(vb + j, product, alignment.shift, counters);
    }
}

void bp_apply_batch(int16_t *w, int32_t *vw, uint16_t decay, bp_counters_t *counters, size_t n)
{
    size_t i;

    for (i = 0; i < n; i++) {
        int32_t shrink = bp_round32((int32_t)w[i] * decay, 8);
        int32_t sum = clamp32((int64_t)vw[i] - shrink, counters);
        int32_t step = (int32_t)bp_round64(sum, 16);
        add_to_master16(w + i, step, counters);
        vw[i] = (int32_t)(sum - (int64_t)step * 65536);
    }
}

void bp_apply_momentum(int16_t *w, uint8_t *w_low, int32_t *vw, uint16_t decay, uint16_t momentum,
                       bp_counters_t *counters, size_t n)
{
    size_t i;

    for (i = 0; i < n; i++) {
        int32_t shrink = bp_round32((int32_t)w[i] * decay, 8);
        int32_t velocity = clamp32((int64_t)vw[i] - shrink, counters);
        add_to_master24(w + i, w_low + i, (int32_t)bp_round64(velocity, 8), counters);
        vw[i] = (int32_t)bp_round64((int64_t)velocity * momentum, 16);
    }
}

void bp_decay_residual(int16_t *w, uint8_t *w_low, uint16_t decay, bp_counters_t *counters,
                       size_t n)
{
    size_t i;

    for (i = 0; i < n; i++) {
        add_to_master24(w + i, w_low + i, -bp_round32((int32_t)w[i] * decay, 16), counters);
    }
}

void bp_decay_stochastic(int16_t *w, const bp_layer_t *layer, uint16_t decay, uint16_t dither,
                         bp_counters_t *counters)
{
    const bp_layer_t l = read_layer(layer);
    size_t i, j;

    for (j = 0; j < l.outputs; j++) {
        for (i = 0; i < l.inputs; i++) {
            int16_t *weight = w + bp_weight_index(layer, j, i);
            int32_t product = (int32_t)*weight * decay;
            add_to_master16(weight, -bp_shr32(product + aligned_dither(dither, 24), 24), counters);
            dither = dither_at(dither, 1);
        }
    }
}

/* ---- Checksum ------------------------------------------------------------------------------- */

#if BP_SMALL
uint32_t bp_crc32(uint32_t crc, const uint8_t *p, size_t n)
{
    for (; n != 0; n--) {
        uint8_t bit;

        crc ^= *p++;
        for (bit = 8; bit != 0; bit--) {
            uint8_t drops = (uint8_t)(crc & 1u);

            crc >>= 1;
            if (drops != 0) {
                crc ^= 0xEDB88320u;
            }
        }
    }
    return crc;
}
#else

/* The CRC is linear: what a byte changes is that of its low nibble XOR that of the high. */
static const uint32_t crc32_low[16] BP_ROM = {
    0x00000000u, 0x77073096u, 0xEE0E612Cu, 0x990951BAu,
    0x076DC419u, 0x706AF48Fu, 0xE963A535u, 0x9E6495A3u,
    0x0EDB8832u, 0x79DCB8A4u, 0xE0D5E91Eu, 0x97D2D988u,
    0x09B64C2Bu, 0x7EB17CBDu, 0xE7B82D07u, 0x90BF1D91u,
};

static const uint32_t crc32_high[16] BP_ROM = {
    0x00000000u, 0x1DB71064u, 0x3B6E20C8u, 0x26D930ACu,
    0x76DC4190u, 0x6B6B51F4u, 0x4DB26158u, 0x5005713Cu,
    0xEDB88320u, 0xF00F9344u, 0xD6D6A3E8u, 0xCB61B38Cu,
    0x9B64C2B0u, 0x86D3D2D4u, 0xA00AE278u, 0xBDBDF21Cu,
};

/* x ^ *p of a table in flash. avr-gcc loads all of *p first, which takes twice the registers. */
static inline uint32_t xor_rom(uint32_t x, const uint32_t *p)
{
#if defined(__AVR__) && !defined(BP_PORTABLE)
    __asm__("lpm __tmp_reg__, Z+\n\t"
            "eor %A0, __tmp_reg__\n\t"
            "lpm __tmp_reg__, Z+\n\t"
            "eor %B0, __tmp_reg__\n\t"
            "lpm __tmp_reg__, Z+\n\t"
            "eor %C0, __tmp_reg__\n\t"
            "lpm __tmp_reg__, Z+\n\t"
            "eor %D0, __tmp_reg__"
            : "+r"(x), "+z"(p));
    return x;
#else
    return x ^ bp_rom_u32(p);
#endif
}

uint32_t bp_crc32(uint32_t crc, const uint8_t *p, size_t n)
{
    for (; n != 0; n--) {
        uint8_t i = (uint8_t)(crc ^ *p++);

        crc = xor_rom(crc >> 8, crc32_low + (i & 15u));
        crc = xor_rom(crc, crc32_high + (i >> 4));
    }
    return crc;
}

#endif

uint32_t bp_crc32_byte(uint32_t crc, uint8_t byte)
{
    return bp_crc32(crc, &byte, 1);
}

static uint32_t crc32_master(uint32_t crc, const int16_t *w, const uint8_t *w_low, size_t i)
{
    if (w_low != NULL) {
        crc = bp_crc32_byte(crc, w_low[i]);
    }
    crc = bp_crc32_byte(crc, (uint8_t)((uint16_t)w[i] & 255u));
    return bp_crc32_byte(crc, (uint8_t)((uint16_t)w[i] >> 8));
}

uint32_t bp_crc32_parameters(uint32_t crc, const bp_layer_t *layer, const int16_t *w,
                             const uint8_t *w_low, const int16_t *b, const uint8_t *b_low)
{
    size_t inputs = bp_rom_u16(&layer->inputs);
    size_t outputs = bp_rom_u16(&layer->outputs);
    size_t i, j;

    crc = ~crc;
    for (j = 0; j < outputs; j++) {
        size_t at = 2 * j; /* bp_weight_index(layer, j, i) */

        for (i = 0; i < inputs; i++) {
            crc = crc32_master(crc, w, w_low, at);
            at += i % 2 == 0 ? 1 : 2 * outputs - 1;
        }
    }
    for (j = 0; j < outputs; j++) {
        crc = crc32_master(crc, b, b_low, j);
    }
    return ~crc;
}

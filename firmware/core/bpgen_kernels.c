/* bpgen_kernels.c -- the portable kernels: plain C99, and the meaning of every faster one.
 *
 * Section numbers are those of docs/numbers.md. `int` has 16 bits on AVR: operands are widened
 * before a product or a left shift, and negative numbers are shifted by bp_shr32() and bp_shr64()
 * alone. Compile with -ffunction-sections and link with -Wl,--gc-sections, so that a model pays
 * for the kernels it calls.
 * SPDX-License-Identifier: 0BSD
 */
#include "bpgen_kernels.h"

#if BP_AVR
#include "bpgen_kernels_avr.h"
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

/* ---- Sums of products ----------------------------------------------------------------------- */

int32_t bp_dot(const int16_t *w, const int16_t *a, size_t n)
{
#if BP_AVR
    return bp_avr_dot(w, a, n);
#else
    int32_t sum = 0;
    size_t i;

    for (i = 0; i < n; i++) {
        sum += (int32_t)w[i] * a[i];
    }
    return sum;
#endif
}

int64_t bp_dot_blocks(const int16_t *w, const int16_t *a, size_t block, size_t n)
{
    int64_t sum = 0;

    while (n > block) {
        sum += bp_dot(w, a, block);
        w += block;
        a += block;
        n -= block;
    }
    return sum + bp_dot(w, a, n);
}

int32_t bp_dot_column(const int16_t *w, const int16_t *dz, size_t stride, size_t n)
{
#if BP_AVR
    return bp_avr_dot_column(w, dz, stride * sizeof *w, n);
#else
    int32_t sum = 0;
    size_t j;

    for (j = 0; j < n; j++) {
        sum += (int32_t)w[j * stride] * dz[j];
    }
    return sum;
#endif
}

int64_t bp_dot_column_blocks(const int16_t *w, const int16_t *dz, size_t stride, size_t block,
                             size_t n)
{
    int64_t sum = 0;

    while (n > block) {
        sum += bp_dot_column(w, dz, stride, block);
        w += block * stride;
        dz += block;
        n -= block;
    }
    return sum + bp_dot_column(w, dz, stride, n);
}

#if defined(__AVR__)

int32_t bp_dot_rom(const int16_t *w, const int16_t *a, size_t n)
{
#if BP_AVR
    return bp_avr_dot_rom(w, a, n);
#else
    int32_t sum = 0;
    size_t i;

    for (i = 0; i < n; i++) {
        sum += (int32_t)bp_rom_s16(w + i) * a[i];
    }
    return sum;
#endif
}

int64_t bp_dot_blocks_rom(const int16_t *w, const int16_t *a, size_t block, size_t n)
{
    int64_t sum = 0;

    while (n > block) {
        sum += bp_dot_rom(w, a, block);
        w += block;
        a += block;
        n -= block;
    }
    return sum + bp_dot_rom(w, a, n);
}

int32_t bp_dot_column_rom(const int16_t *w, const int16_t *dz, size_t stride, size_t n)
{
    int32_t sum = 0;
    size_t j;

    for (j = 0; j < n; j++) {
        sum += (int32_t)bp_rom_s16(w + j * stride) * dz[j];
    }
    return sum;
}

int64_t bp_dot_column_blocks_rom(const int16_t *w, const int16_t *dz, size_t stride, size_t block,
                                 size_t n)
{
    int64_t sum = 0;

    while (n > block) {
        sum += bp_dot_column_rom(w, dz, stride, block);
        w += block * stride;
        dz += block;
        n -= block;
    }
    return sum + bp_dot_column_rom(w, dz, stride, n);
}

#endif

int32_t bp_dot_s8_rom(const int8_t *w, const uint8_t *a, size_t n)
{
    int32_t sum = 0;
    size_t i;

    for (i = 0; i < n; i++) {
        sum += bp_rom_s8(w + i) * a[i]; /* at most 128 * 255, which fits 16 bits */
    }
    return sum;
}

/* ---- Activations (sections 4 and 5) --------------------------------------------------------- */

static uint16_t magnitude(int32_t x)
{
    if (x < 0) {
        x = -x;
    }
    return (uint16_t)(x > INT16_MAX ? INT16_MAX : x);
}

/* The entry at u with `shift` more fraction bits: (E[i] << shift) + (E[i + 1] - E[i]) * fr. In no
 * interval does a table rise or fall by more than s16, and fr is below 2^15.
 */
static int32_t interpolate(const uint16_t *table, uint16_t u, uint8_t shift)
{
    size_t i = (size_t)(u >> shift);
    uint16_t fr = (uint16_t)(u - (i << shift));
    uint16_t low = bp_rom_u16(table + i);
    int16_t rise = (int16_t)(bp_rom_u16(table + i + 1) - low);

    return (int32_t)((uint32_t)low << shift) + (int32_t)rise * (int16_t)fr;
}

#if BP_AVR
__attribute__((noinline)) /* bp_sigmoid() would save its registers whenever called */
#endif
static int16_t sigmoid(int16_t z, const uint16_t *table, uint8_t bits, uint8_t frac)
{
    uint8_t shift = (uint8_t)(15 - bits);
    int32_t one = (int32_t)1 << frac;
    int32_t y = bp_round32(interpolate(table, magnitude(z), shift), (uint8_t)(16 + shift - frac));

    if (z < 0) {
        return (int16_t)(one - y);
    }
    return (int16_t)(y < one ? y : one - 1);
}

int16_t bp_sigmoid(int16_t z, const uint16_t *table, uint8_t bits, uint8_t frac)
{
#if BP_AVR
    if ((bits == 7 || bits == 8) && frac >= 8) {
        return bp_avr_sigmoid(z, table, bits, frac);
    }
#endif
    return sigmoid(z, table, bits, frac);
}

int16_t bp_tanh(int16_t z, const uint16_t *sigmoid_table, uint8_t bits, uint8_t frac)
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

int16_t bp_tanh_opt(int16_t z, const uint16_t *table, uint8_t bits, uint8_t frac)
{
    uint8_t shift = (uint8_t)(15 - bits);
    int32_t y = bp_round32(interpolate(table, magnitude(z), shift), (uint8_t)(15 + shift - frac));

    return (int16_t)(z < 0 ? -y : y);
}

int16_t bp_relu(int32_t x, int16_t top, uint32_t *clipped)
{
    return bp_clamp(x < 0 ? 0 : x, top, clipped);
}

int16_t bp_relu_wide(int64_t x, int16_t top, uint32_t *clipped)
{
    return bp_clamp_wide(x < 0 ? 0 : x, top, clipped);
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

/* ---- Derivatives (section 7) ---------------------------------------------------------------- */

int32_t bp_sigmoid_derivative(int16_t a, uint8_t frac)
{
#if BP_AVR
    return bp_avr_sigmoid_derivative(a, frac);
#else
    int32_t one = (int32_t)1 << frac;

    if (frac < 8) {
        return a * (one - a) * ((int32_t)1 << (16 - 2 * frac));
    }
    return bp_round32(a * (one - a), (uint8_t)(2 * frac - 16));
#endif
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

int16_t bp_hidden_delta(int32_t sum, int32_t derivative, uint8_t shift, int16_t top,
                        uint32_t *clipped)
{
#if BP_AVR && !BPGEN_COUNTERS
    uint8_t scale = (uint8_t)bp_avr_power_of_two((uint8_t)(24 - shift));
    int16_t delta = bp_avr_narrow(bp_avr_delta_product(sum, (uint16_t)derivative), scale);

    (void)clipped;
    return delta > top ? top : delta < -top ? (int16_t)-top : delta;
#else
    /* sum = high * 256 + low; what low adds below a unit of high never reaches the result. */
    int32_t product = (int32_t)(int16_t)bp_shr32(sum, 8) * (int16_t)derivative;

    product += (int32_t)(((uint32_t)(sum & 255) * (uint16_t)derivative) >> 8);
    return bp_clamp(bp_round32(product, (uint8_t)(shift - 8)), top, clipped);
#endif
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
    int16_t frac = lowest;

    /* The one of the eight fractions that makes the shift a multiple of 8. */
    while ((shift & 7) != 0) {
        shift++;
        frac++;
    }
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

int16_t bp_descent(int16_t dz, uint16_t mantissa)
{
    /* Doubled, so that the shift is by whole bytes; |dz| <= 32767, hence within 32 bits. */
#if BP_AVR
    return (int16_t)bp_shr32(bp_avr_product((int16_t)-dz, mantissa) * 2 + 32768, 16);
#else
    return (int16_t)bp_shr32(-((int32_t)dz * mantissa) * 2 + 32768, 16);
#endif
}

static inline int32_t multiply(int16_t x, uint16_t y)
{
#if BP_AVR
    return bp_avr_product(x, y);
#else
    return (int32_t)x * y;
#endif
}

static inline uint16_t power_of_two(uint8_t bit)
{
#if BP_AVR
    return bp_avr_power_of_two(bit);
#else
    return (uint16_t)(1u << bit);
#endif
}

void bp_rescale(int16_t *u, const int16_t *a, uint8_t from_frac, uint8_t to_frac, size_t n)
{
    size_t i;

    if (to_frac >= from_frac) {
        uint16_t scale = power_of_two((uint8_t)(to_frac - from_frac));
        for (i = 0; i < n; i++) {
            u[i] = (int16_t)((unsigned)a[i] * scale);
        }
    } else {
        /* round(a, s) = round(a * 2^(16 - s), 16), a shift by whole bytes. */
        uint16_t scale = power_of_two((uint8_t)(16 - from_frac + to_frac));
        for (i = 0; i < n; i++) {
            u[i] = (int16_t)bp_shr32(multiply(a[i], scale) + 32768, 16);
        }
    }
}

/* ---- Updates (sections 8 and 9) ------------------------------------------------------------- */

/* The dither moved to the bits that `shift` drops. */
static int32_t aligned_dither(uint16_t dither, int8_t shift)
{
    return shift > 16 ? (int32_t)((uint32_t)dither << (shift - 16))
                      : (int32_t)((uint32_t)dither >> (16 - shift));
}

/* product * 2^-shift for the shifts of an alignment, 0, 8, 16 and 24. */
static inline int32_t round_bytes(int32_t product, uint8_t shift)
{
#if BP_AVR
    return bp_avr_round(product, shift);
#else
    return bp_round32(product, shift);
#endif
}

static inline int32_t round_dithered(int32_t product, int8_t shift, uint16_t dither)
{
#if BP_AVR
    return bp_avr_dithered(product, (uint8_t)shift, dither);
#else
    return bp_shr32(product + aligned_dither(dither, shift), (uint8_t)shift);
#endif
}

static void count_zero(int32_t product, int32_t step, bp_counters_t *counters)
{
    if (step == 0 && product != 0) {
        BP_COUNT(BP_COUNTER(counters, zero_updates));
    }
}

static void add_to_master24(int16_t *w, uint8_t *w_low, int32_t step, bp_counters_t *counters)
{
#if BP_AVR && !BPGEN_COUNTERS
    (void)counters;
    bp_avr_add_to_master24(w, w_low, step);
#else
    int32_t master = (int32_t)*w * 256 + *w_low + step;

    if (master > 8388607) {
        BP_COUNT(BP_COUNTER(counters, weights));
        master = 8388607;
    }
    if (master < -8388608) {
        BP_COUNT(BP_COUNTER(counters, weights));
        master = -8388608;
    }
    *w = (int16_t)bp_shr32(master, 8);
    *w_low = (uint8_t)(master & 255);
#endif
}

static void add_to_master16(int16_t *w, int32_t step, bp_counters_t *counters)
{
    int32_t master = *w + step;

    if (master > INT16_MAX) {
        BP_COUNT(BP_COUNTER(counters, weights));
        master = INT16_MAX;
    }
    if (master < INT16_MIN) {
        BP_COUNT(BP_COUNTER(counters, weights));
        master = INT16_MIN;
    }
    *w = (int16_t)master;
}

static int32_t clamp32(int64_t x, bp_counters_t *counters)
{
    int32_t y = bp_saturate32(x);

    if (y != x) {
        BP_COUNT(BP_COUNTER(counters, weights));
    }
    return y;
}

#if !BP_AVR || BPGEN_COUNTERS
static inline void update_residual(int16_t *w, uint8_t *w_low, const int16_t *u, int16_t g,
                                   uint8_t shift, bp_counters_t *counters, size_t n)
{
    size_t i;

    for (i = 0; i < n; i++) {
        int32_t product = (int32_t)g * u[i];
        int32_t step = bp_round32(product, shift);
        count_zero(product, step, counters);
        add_to_master24(w + i, w_low + i, step, counters);
    }
}
#endif

#if BP_AVR
__attribute__((noinline)) /* once in flash, however the program is linked */
#endif
void bp_update_residual(int16_t *w, uint8_t *w_low, const int16_t *u, int16_t g, int8_t shift,
                        bp_counters_t *counters, size_t n)
{
#if BP_AVR && !BPGEN_COUNTERS
    (void)counters;
    bp_avr_update_residual(w, w_low, u, g, (uint8_t)shift, n);
#else
    /* A loop for each shift, which then is a choice of bytes. */
    switch (shift) {
    case 0:
        update_residual(w, w_low, u, g, 0, counters, n);
        break;
    case 8:
        update_residual(w, w_low, u, g, 8, counters, n);
        break;
    case 16:
        update_residual(w, w_low, u, g, 16, counters, n);
        break;
    default:
        update_residual(w, w_low, u, g, 24, counters, n);
        break;
    }
#endif
}

void bp_update_residual_bias(int16_t *b, uint8_t *b_low, int16_t g, bp_alignment_t alignment,
                             bp_counters_t *counters)
{
    int32_t product = multiply(g, power_of_two(alignment.frac));
    int32_t step = round_bytes(product, (uint8_t)alignment.shift);

    count_zero(product, step, counters);
    add_to_master24(b, b_low, step, counters);
}

uint16_t bp_dither(uint16_t seed, uint32_t index, uint32_t count, uint32_t steps)
{
    return (uint16_t)(seed + 40503u * (index + (count | 1u) * steps));
}

#if BP_AVR
__attribute__((noinline)) /* once in flash, however the program is linked */
#endif
void bp_update_stochastic(int16_t *w, const int16_t *u, int16_t g, int8_t shift, uint16_t dither,
                          bp_counters_t *counters, size_t n)
{
#if BP_AVR && !BPGEN_COUNTERS
    (void)counters;
    bp_avr_update_stochastic(w, u, g, (uint8_t)shift, dither, n);
#else
    size_t i;

    for (i = 0; i < n; i++) {
        int32_t product = (int32_t)g * u[i];
        int32_t step = round_dithered(product, shift, dither);
        count_zero(product, step, counters);
        add_to_master16(w + i, step, counters);
        dither = (uint16_t)(dither + 40503u);
    }
#endif
}

void bp_update_stochastic_bias(int16_t *b, int16_t g, bp_alignment_t alignment, uint16_t dither,
                               bp_counters_t *counters)
{
    int32_t product = multiply(g, power_of_two(alignment.frac));
    int32_t step = round_dithered(product, alignment.shift, dither);

    count_zero(product, step, counters);
    add_to_master16(b, step, counters);
}

/* product * 2^-shift into a sum of s32, for shifts of -8 to 24. */
static void add_to_sum(int32_t *sum, int32_t product, int8_t shift, bp_counters_t *counters)
{
    /* The clip of a step is not one of the sum, so it is not counted. */
    int32_t step = shift < 0 ? bp_saturate32((int64_t)product * 256)
                             : bp_round32(product, (uint8_t)shift);

    count_zero(product, step, counters);
    *sum = clamp32((int64_t)*sum + step, counters);
}

void bp_accumulate(int32_t *vw, const int16_t *u, int16_t g, int8_t shift, bp_counters_t *counters,
                   size_t n)
{
    size_t i;

    for (i = 0; i < n; i++) {
        add_to_sum(vw + i, (int32_t)g * u[i], shift, counters);
    }
}

void bp_accumulate_bias(int32_t *vb, int16_t g, bp_alignment_t alignment, bp_counters_t *counters)
{
    add_to_sum(vb, g * ((int32_t)1 << alignment.frac), alignment.shift, counters);
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

void bp_decay_stochastic(int16_t *w, uint16_t decay, uint16_t dither, bp_counters_t *counters,
                         size_t n)
{
    size_t i;

    for (i = 0; i < n; i++) {
        int32_t product = (int32_t)w[i] * decay;
        add_to_master16(w + i, -bp_shr32(product + aligned_dither(dither, 24), 24), counters);
        dither = (uint16_t)(dither + 40503u);
    }
}

/* ---- Checksum ------------------------------------------------------------------------------- */

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

uint32_t bp_crc32_byte(uint32_t crc, uint8_t byte)
{
    return bp_crc32(crc, &byte, 1);
}

uint32_t bp_crc32_parameters(uint32_t crc, const int16_t *w, const uint8_t *w_low, size_t n)
{
    size_t i;

    crc = ~crc;
    for (i = 0; i < n; i++) {
        if (w_low != NULL) {
            crc = bp_crc32_byte(crc, w_low[i]);
        }
        crc = bp_crc32_byte(crc, (uint8_t)((uint16_t)w[i] & 255u));
        crc = bp_crc32_byte(crc, (uint8_t)((uint16_t)w[i] >> 8));
    }
    return ~crc;
}

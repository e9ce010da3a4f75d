/* avr_learn.c -- deltas and updates in assembly against the same in portable C, on one AVR.
 *
 * test_avr_learn.py links bpgen_kernels.c twice, the second time with -DBP_PORTABLE and all names
 * behind portable_, and reads a line a kernel from the serial port: its name, then how many results
 * differ. layers.h is its doing as well: the kernels to check, and layers of random shapes and
 * formats.
 */
#include "side_by_side.h"
#include "layers.h"

PORTABLE(bp_backward);
PORTABLE(bp_delta_sigmoid);
PORTABLE(bp_descent);
PORTABLE(bp_learn_residual);
PORTABLE(bp_learn_stochastic);
PORTABLE(bp_output_delta_sigmoid);
PORTABLE(bp_sigmoid_derivative);
PORTABLE(bp_update_residual);
PORTABLE(bp_update_stochastic);

#define ROUNDS 2 /* of all layers */
#define UNITS 12
#define GUARD 8

/* What the kernels may write, with what they must not write between. */
typedef struct {
    uint8_t guard0[GUARD];
    int16_t w[WEIGHTS];
    uint8_t guard1[GUARD];
    uint8_t w_low[WEIGHTS];
    uint8_t guard2[GUARD];
    int16_t b[OUTPUTS];
    uint8_t guard3[GUARD];
    uint8_t b_low[OUTPUTS];
    uint8_t guard4[GUARD];
    int16_t dz_in[OUTPUTS];
    uint8_t guard5[GUARD];
    int16_t g_in[UNITS];
    uint8_t guard7[GUARD];
    int32_t sum[UNITS];
    uint8_t guard6[GUARD];
    bp_counters_t counters;
} memory_t;

static memory_t fast, slow;

/* Activations, and deltas right behind them, before them or far behind, as one object has them. */
#define A_IN(memory) ((memory).dz_in + UNITS)
#define DZ_IN(memory, place) ((memory).dz_in + ((place) == 0 ? 2 * UNITS : (place) == 1 ? 0 : 120))

static int16_t a[INPUTS], g[OUTPUTS], dz[OUTPUTS];
static uint16_t differing;

/* The layer under test, and what its numbers keep to. */
static const bp_layer_t *layer;
static limits_t limits;
static bp_alignment_t alignment;
static uint8_t round_;

/* Within [-top, top]: a limit, a small number, 2^14 of which mantissas make halves, or any of any
 * magnitude.
 */
static int16_t any(int16_t top)
{
    int16_t x;

    switch (below(6)) {
    case 0:
        return top;
    case 1:
        return (int16_t)-top;
    case 2:
        x = (int16_t)((int16_t)below(5) - 2);
        break;
    case 3:
        x = (int16_t)(below(2) ? 16384 : -16384);
        break;
    default:
        x = (int16_t)((int16_t)random16() >> below(15));
    }
    return x > top || x < -top ? (int16_t)(x % (top + 1)) : x;
}

/* Sums of 64 * k + 31 and a half, a product each: the steepest sigmoid shows their last bit. */
static void halves(uint16_t inputs, uint16_t outputs)
{
    uint8_t frac = pgm_read_byte(&layer->a_in_frac);
    uint8_t shift = pgm_read_byte(&layer->sum_shift);
    uint8_t up = shift > 13 ? (uint8_t)(shift - 13) : 0;
    uint16_t j = below(outputs), i;
    int16_t one = (int16_t)(1 << (shift - 1 - up));

    if (one > limits.dz_top) {
        return;
    }
    memset(dz, 0, sizeof dz);
    dz[j] = one;
    for (i = 0; i < inputs; i++) {
        a[i] = (int16_t)(1 << (frac - 1));
        fast.w[(size_t)(i & ~1u) * outputs + 2 * j + (i & 1)] =
            (int16_t)((128 * ((int16_t)below(31) - 15) + 63) * (1 << up));
    }
}

/* The largest sums: those of odd inputs have a sign of their own. */
static void rails(void)
{
    int16_t w[] = {below(2) ? 32767 : -32768, below(2) ? 32767 : -32768};
    int16_t d = below(2) ? limits.dz_top : (int16_t)-limits.dz_top;
    uint16_t i;

    for (i = 0; i < WEIGHTS; i++) {
        fast.w[i] = w[i % 2];
    }
    for (i = 0; i < OUTPUTS; i++) {
        dz[i] = d;
    }
}

/* Zeros for an odd layer. */
static void pad(uint16_t inputs, uint16_t outputs)
{
    uint16_t i;

    if (inputs % 2 == 1) {
        a[inputs] = 0;
        for (i = 0; i < outputs; i++) {
            fast.w[(size_t)(inputs - 1) * outputs + 2 * i + 1] = 0;
        }
    }
}

/* Masters on their limits or next to them every other time. */
static void fill(void)
{
    uint16_t inputs = pgm_read_word(&layer->inputs);
    uint16_t outputs = pgm_read_word(&layer->outputs);
    uint8_t shift = pgm_read_byte(&layer->sum_shift);
    uint8_t mood = (uint8_t)below(4);
    uint16_t i;

    for (i = 0; i < sizeof fast; i++) {
        ((uint8_t *)&fast)[i] = (uint8_t)random16();
    }
    memset(&fast.counters, 0, sizeof fast.counters);
    for (i = 0; i < WEIGHTS; i++) {
        if (mood == 0 || (mood == 1 && below(2))) {
            fast.w[i] = (int16_t)(32767 - below(3));
            fast.w_low[i] = (uint8_t)(255 - below(3));
        } else if (mood == 1 || mood == 2) {
            fast.w[i] = (int16_t)(-32768 + (int16_t)below(3));
            fast.w_low[i] = (uint8_t)below(3);
        }
        if (i < OUTPUTS) {
            fast.b[i] = fast.w[i];
            fast.b_low[i] = fast.w_low[i];
        }
    }
    for (i = 0; i < OUTPUTS; i++) {
        a[i] = any(limits.a_top);
        if (limits.sigmoid && a[i] < 0) {
            a[i] = (int16_t)-a[i];
        }
        g[i] = any(32767);
        dz[i] = below(8) ? any(limits.dz_top) : limits.dz_top;
    }
    for (i = OUTPUTS; i < INPUTS; i++) {
        a[i] = any(limits.a_top);
    }
    if (limits.sigmoid && shift >= 1 && shift <= 16 && below(3) == 0) {
        halves(inputs, outputs);
    } else if (below(3) == 0) {
        rails();
    }
    pad(inputs, outputs);
    alignment.shift = below(3) ? limits.shift : (int8_t)(8 * below(4));
    alignment.frac = limits.frac;
    memcpy(A_IN(fast), a, UNITS * sizeof *a);
    slow = fast;
}

static void compare(int32_t x, int32_t y) { differing += x != y; }

static void compare_memory(void) { differing += memcmp(&fast, &slow, sizeof fast) != 0; }

/* The results of `once` for all layers of [first, end), several times. */
static void check(uint16_t first, uint16_t end, void (*once)(void))
{
    uint16_t i;

    for (round_ = 0; round_ < ROUNDS; round_++) {
        for (i = first; i < end; i++) {
            layer = layers + i;
            memcpy_P(&limits, layer_limits + i, sizeof limits);
            fill();
            once();
        }
    }
}

static void update_residual(void)
{
    bp_update_residual(fast.w, fast.w_low, fast.b, fast.b_low, layer, a, g, alignment,
                       &fast.counters);
    portable_bp_update_residual(slow.w, slow.w_low, slow.b, slow.b_low, layer, a, g, alignment,
                                &slow.counters);
    compare_memory();
}

static void update_stochastic(void)
{
    uint16_t dither = random16();

    /* The smallest step that the smallest dither keeps. */
    if (below(4) == 0) {
        alignment.shift = 24;
        alignment.frac = pgm_read_byte(&layer->a_in_frac);
        g[0] = -1;
        a[0] = 1;
        dither = 0;
    }

    bp_update_stochastic(fast.w, fast.b, layer, a, g, alignment, dither, &fast.counters);
    portable_bp_update_stochastic(slow.w, slow.b, layer, a, g, alignment, dither, &slow.counters);
    compare_memory();
}

/* Which kernel learns: the one for any layer every other time. */
static uint8_t kind(void)
{
    uint8_t frac = pgm_read_byte(&layer->a_in_frac);
    uint8_t shift = pgm_read_byte(&layer->sum_shift);

    if (round_ % 2 == 0 || frac < 9 || frac > 15 || shift < 1 || shift > 16) {
        return 0;
    }
    return pgm_read_word(&layer->delta_block) >= pgm_read_word(&layer->outputs) ? 1 : 2;
}

/* The parts of a step hold g as its negative where they are in assembly. */
static void turn(int16_t *x, uint16_t n)
{
#ifdef BPGEN_PASS_AVR_H
    uint16_t i;

    for (i = 0; i < n; i++) {
        x[i] = (int16_t)-x[i];
    }
#else
    (void)x;
    (void)n;
#endif
}

/* A part, and what it leaves for the next. */
#define PART(inputs, call)                                                                         \
    do {                                                                                           \
        turn(g, OUTPUTS);                                                                          \
        call;                                                                                      \
        turn(g, OUTPUTS);                                                                          \
        turn(fast.g_in, inputs);                                                                   \
    } while (0)

static uint16_t any_mantissa(void)
{
    return below(4) ? (uint16_t)(16385 + 2 * below(8192)) : 32768u;
}

static void learn_residual(void)
{
    uint16_t mantissa = any_mantissa(), inputs = pgm_read_word(&layer->inputs);

    if (kind() == 0) {
        bp_learn_residual(fast.dz_in, fast.w, fast.w_low, fast.b, fast.b_low, layer, a, dz, g,
                          alignment, &fast.counters);
    } else if (kind() == 1) {
        PART(inputs, bp_learn_residual_plain(&fast, fast.dz_in, fast.g_in, fast.w, fast.w_low,
                                             fast.b, fast.b_low, layer, a, dz, g, mantissa,
                                             alignment, &fast.counters));
    } else {
        PART(inputs, bp_learn_residual_wide(&fast, fast.dz_in, fast.g_in, fast.w, fast.w_low,
                                            fast.b, fast.b_low, layer, a, dz, g, mantissa,
                                            alignment, &fast.counters));
    }
    portable_bp_learn_residual(slow.dz_in, slow.w, slow.w_low, slow.b, slow.b_low, layer, a, dz, g,
                               alignment, &slow.counters);
    if (kind() != 0) {
        portable_bp_descent(slow.g_in, slow.dz_in, mantissa, inputs);
    }
    compare_memory();
}

static void learn_stochastic(void)
{
    uint16_t mantissa = any_mantissa(), inputs = pgm_read_word(&layer->inputs);
    uint16_t dither = random16(), index = below(3000);

    if (kind() == 0) {
        bp_learn_stochastic(fast.dz_in, fast.w, fast.b, layer, a, dz, g, alignment,
                            bp_dither_at(dither, index), &fast.counters);
    } else if (kind() == 1) {
        PART(inputs, bp_learn_stochastic_plain(&fast, fast.dz_in, fast.g_in, fast.w, fast.b,
                                               layer, a, dz, g, mantissa, alignment, dither,
                                               index, &fast.counters));
    } else {
        PART(inputs, bp_learn_stochastic_wide(&fast, fast.dz_in, fast.g_in, fast.w, fast.b,
                                              layer, a, dz, g, mantissa, alignment, dither,
                                              index, &fast.counters));
    }
    portable_bp_learn_stochastic(slow.dz_in, slow.w, slow.b, layer, a, dz, g, alignment,
                                 bp_dither_at(dither, index), &slow.counters);
    if (kind() != 0) {
        portable_bp_descent(slow.g_in, slow.dz_in, mantissa, inputs);
    }
    compare_memory();
}

static void backward(void)
{
    bp_backward(fast.sum, layer, fast.w, dz);
    portable_bp_backward(slow.sum, layer, slow.w, dz);
    compare_memory();
    rails();
    pad(pgm_read_word(&layer->inputs), pgm_read_word(&layer->outputs));
    slow = fast;
    bp_backward(fast.sum, layer, fast.w, dz);
    portable_bp_backward(slow.sum, layer, slow.w, dz);
    compare_memory();
}

static void delta_sigmoid(void)
{
    uint8_t frac = pgm_read_byte(&layer->a_in_frac);
    int16_t top = (int16_t)pgm_read_word(&layer->dz_in_top);
    uint8_t i;

    for (i = 0; i < UNITS; i++) {
        int32_t sum = (int32_t)((uint32_t)random16() << 16 | random16()) >> below(32);

        fast.sum[i] = slow.sum[i] = below(8) ? sum : sum < 0 ? -8388608 : 8388607;
    }
    bp_delta_sigmoid(fast.dz_in, fast.sum, a, frac, top, &fast.counters, UNITS);
    portable_bp_delta_sigmoid(slow.dz_in, slow.sum, a, frac, top, &slow.counters, UNITS);
    compare_memory();
}

/* The fraction of dz is such that the product's shift is 1 to 24, or not positive. */
static void output_delta(void)
{
    __typeof__(bp_output_delta_sigmoid) *delta = bp_output_delta_sigmoid;
    uint8_t frac = pgm_read_byte(&layer->a_in_frac);
    uint8_t shift = (uint8_t)(frac + 16 - below(frac + 16 < 25 ? (uint16_t)(frac + 17) : 25));
    int16_t top = (int16_t)pgm_read_word(&layer->dz_in_top);
    uint16_t i;

    for (i = 0; i < OUTPUTS; i++) {
        dz[i] = below(4) ? any(32767) : -32768;
    }
    if (shift >= 9 && shift <= 16) {
        delta = bp_output_delta_sigmoid_plain;
    }
    delta(fast.dz_in, a, dz, frac, shift, top, &fast.counters, OUTPUTS);
    portable_bp_output_delta_sigmoid(slow.dz_in, a, dz, frac, shift, top, &slow.counters, OUTPUTS);
    compare_memory();
}

static void check_sigmoid_derivative(void)
{
    uint8_t frac;

    for (frac = 4; frac <= 15; frac++) {
        uint16_t one = (uint16_t)(1u << frac);
        uint16_t x;

        for (x = 0; x < one; x = (uint16_t)(x + 1 + below(one / 512 + 1))) {
            compare(bp_sigmoid_derivative((int16_t)x, frac),
                    portable_bp_sigmoid_derivative((int16_t)x, frac));
        }
        compare(bp_sigmoid_derivative((int16_t)(one - 1), frac),
                portable_bp_sigmoid_derivative((int16_t)(one - 1), frac));
    }
}

static void descent(void)
{
    uint16_t mantissa = any_mantissa();
    size_t n = 1 + below(OUTPUTS - 1);

    bp_descent(fast.dz_in, dz, mantissa, n);
    portable_bp_descent(slow.dz_in, dz, mantissa, n);
    compare_memory();
}

/* ---- Layers of which all is known, and so the network's own code ----------------------------- */

#define LAYER(n, near, ...) static const bp_layer_t known##n BP_ROM = {__VA_ARGS__};
KNOWN_LAYERS(LAYER)

#define LEARN(kind, n, place)                                                                      \
    static void known_residual##n(void)                                                            \
    {                                                                                              \
        uint16_t mantissa = any_mantissa();                                                        \
                                                                                                   \
        PART(known##n.inputs,                                                                      \
             bp_learn_residual_##kind(&fast, DZ_IN(fast, place), fast.g_in, fast.w, fast.w_low,    \
                                      fast.b, fast.b_low, &known##n, A_IN(fast), dz, g, mantissa,  \
                                      alignment, &fast.counters));                                 \
        portable_bp_learn_residual(DZ_IN(slow, place), slow.w, slow.w_low, slow.b, slow.b_low,     \
                                   &known##n, A_IN(slow), dz, g, alignment, &slow.counters);       \
        portable_bp_descent(slow.g_in, DZ_IN(slow, place), mantissa, known##n.inputs);             \
        compare_memory();                                                                          \
    }                                                                                              \
    static void known_stochastic##n(void)                                                          \
    {                                                                                              \
        uint16_t mantissa = any_mantissa(), dither = random16(), index = below(3000);              \
                                                                                                   \
        PART(known##n.inputs,                                                                      \
             bp_learn_stochastic_##kind(&fast, DZ_IN(fast, place), fast.g_in, fast.w, fast.b,      \
                                        &known##n, A_IN(fast), dz, g, mantissa, alignment, dither, \
                                        index, &fast.counters));                                   \
        portable_bp_learn_stochastic(DZ_IN(slow, place), slow.w, slow.b, &known##n, A_IN(slow),    \
                                     dz, g, alignment, bp_dither_at(dither, index),                \
                                     &slow.counters);                                              \
        portable_bp_descent(slow.g_in, DZ_IN(slow, place), mantissa, known##n.inputs);             \
        compare_memory();                                                                          \
    }
#define LEARN_PLAIN(n, place, ...) LEARN(plain, n, place)
#define LEARN_LARGE(n, place, ...) LEARN(large, n, place)
KNOWN_LAYERS(LEARN_PLAIN)
LARGE_LAYERS(LAYER)
LARGE_LAYERS(LEARN_LARGE)

#define FIRST(kind, n)                                                                             \
    static void known_first_residual##n(void)                                                      \
    {                                                                                              \
        PART(0, bp_learn_residual_##kind(fast.w, fast.w_low, fast.b, fast.b_low, &known##n,        \
                                         A_IN(fast), g, alignment, &fast.counters));               \
        portable_bp_update_residual(slow.w, slow.w_low, slow.b, slow.b_low, &known##n, A_IN(slow), \
                                    g, alignment, &slow.counters);                                 \
        compare_memory();                                                                          \
    }                                                                                              \
    static void known_first_stochastic##n(void)                                                    \
    {                                                                                              \
        uint16_t dither = random16(), index = below(3000);                                         \
                                                                                                   \
        PART(0, bp_learn_stochastic_##kind(fast.w, fast.b, &known##n, A_IN(fast), g, alignment,    \
                                           dither, index, &fast.counters));                        \
        portable_bp_update_stochastic(slow.w, slow.b, &known##n, A_IN(slow), g, alignment,         \
                                      bp_dither_at(dither, index), &slow.counters);                \
        compare_memory();                                                                          \
    }
#define FIRST_FEW(n, place, ...) FIRST(first, n)
#define FIRST_LARGE(n, place, ...) FIRST(first_large, n)
FIRST_LAYERS(LAYER)
FIRST_LAYERS(FIRST_FEW)
LARGE_FIRST_LAYERS(LAYER)
LARGE_FIRST_LAYERS(FIRST_LARGE)

#define OUTPUT(n, place, frac, shift, top, count)                                                  \
    static void known_output##n(void)                                                              \
    {                                                                                              \
        uint16_t mantissa = any_mantissa();                                                        \
        uint8_t i;                                                                                 \
                                                                                                   \
        for (i = 0; i < UNITS; i++) {                                                              \
            int16_t x = any((int16_t)((1u << (frac)) - 1u));                                       \
                                                                                                   \
            A_IN(fast)[i] = A_IN(slow)[i] = (int16_t)(x < 0 ? -x : x);                             \
            dz[i] = below(4) ? any(32767) : -32768;                                                \
        }                                                                                          \
        PART(count, bp_learn_output_sigmoid(DZ_IN(fast, place), fast.g_in, A_IN(fast), dz, frac,   \
                                            shift, top, mantissa, &fast.counters, count));         \
        portable_bp_output_delta_sigmoid(DZ_IN(slow, place), A_IN(slow), dz, frac, shift, top,     \
                                         &slow.counters, count);                                   \
        portable_bp_descent(slow.g_in, DZ_IN(slow, place), mantissa, count);                       \
        compare_memory();                                                                          \
    }
KNOWN_OUTPUTS(OUTPUT)

/* Many times each: a layer has one alignment a time. It has eight limits, four for each shift.
 * Large first layers take the four of their usual shift, so that few rounds reach all three loops.
 */
#define KNOWN_ROUNDS 24
#define CHECK(n, kind, one, first, several)                                                        \
    layer = &one;                                                                                  \
    for (round_ = 0; round_ < KNOWN_ROUNDS; round_++) {                                            \
        memcpy_P(&limits, known_limits + 8 * (n) + (first) + below(several), sizeof limits);       \
        fill();                                                                                    \
        kind##n();                                                                                 \
    }
#define CHECK_RESIDUAL(n, ...) CHECK(n, known_residual, known##n, 0, 8)
#define CHECK_STOCHASTIC(n, ...) CHECK(n, known_stochastic, known##n, 0, 8)
#define CHECK_FIRST_RESIDUAL(n, ...) CHECK(n, known_first_residual, known##n, 0, 8)
#define CHECK_FIRST_STOCHASTIC(n, ...) CHECK(n, known_first_stochastic, known##n, 0, 8)
#define CHECK_FIRST_LARGE_RESIDUAL(n, ...) CHECK(n, known_first_residual, known##n, 0, 4)
#define CHECK_FIRST_LARGE_STOCHASTIC(n, ...) CHECK(n, known_first_stochastic, known##n, 4, 4)
#define CHECK_OUTPUT(n, ...) CHECK(n, known_output, known0, 0, 8)

/* ---- What layers.h names --------------------------------------------------------------------- */

static void check_update_residual(void) { check(0, UPDATE_LAYERS, update_residual); }
static void check_update_stochastic(void) { check(0, UPDATE_LAYERS, update_stochastic); }
static void check_learn_residual(void) { check(UPDATE_LAYERS, LAYERS, learn_residual); }
static void check_learn_stochastic(void) { check(UPDATE_LAYERS, LAYERS, learn_stochastic); }
static void check_backward(void) { check(UPDATE_LAYERS, LAYERS, backward); }
static void check_delta_sigmoid(void) { check(UPDATE_LAYERS, LAYERS, delta_sigmoid); }
static void check_output_delta(void) { check(UPDATE_LAYERS, LAYERS, output_delta); }
static void check_descent(void) { check(0, LAYERS, descent); }
static void check_known_residual(void) { KNOWN_LAYERS(CHECK_RESIDUAL) }
static void check_known_stochastic(void) { KNOWN_LAYERS(CHECK_STOCHASTIC) }
static void check_large_residual(void) { LARGE_LAYERS(CHECK_RESIDUAL) }
static void check_large_stochastic(void) { LARGE_LAYERS(CHECK_STOCHASTIC) }
static void check_first_residual(void) { FIRST_LAYERS(CHECK_FIRST_RESIDUAL) }
static void check_first_stochastic(void) { FIRST_LAYERS(CHECK_FIRST_STOCHASTIC) }
static void check_first_large_residual(void)
{
    LARGE_FIRST_LAYERS(CHECK_FIRST_LARGE_RESIDUAL)
}
static void check_first_large_stochastic(void)
{
    LARGE_FIRST_LAYERS(CHECK_FIRST_LARGE_STOCHASTIC)
}
static void check_known_output(void) { KNOWN_OUTPUTS(CHECK_OUTPUT) }

/* Each starts at the seed: its numbers are the same whatever else is checked. Memory is short, so
 * names are in flash.
 */
#define REPORT(kernel)                                                                             \
    state = SEED;                                                                                  \
    differing = 0;                                                                                 \
    check_##kernel();                                                                              \
    strcpy_P(name, PSTR(#kernel));                                                                 \
    report(name, differing);

int main(void)
{
    static char name[32];

    KERNELS(REPORT)
    finish();
    return 0;
}

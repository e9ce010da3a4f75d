/* avr_kernels.c -- each kernel in assembly against the same kernel in portable C, on one AVR.
 *
 * test_avr_kernels.py links bpgen_kernels.c twice, the second time with -DBP_PORTABLE and all names
 * behind portable_, and reads a line a kernel from the serial port: its name, then how many
 * results differ.
 */
#include <avr/interrupt.h>
#include <avr/io.h>
#include <avr/sleep.h>
#include <string.h>

#include "bpgen_kernels.h"
#include "tables.h"

#define PORTABLE(name) __typeof__(name) portable_##name

PORTABLE(bp_dot);
PORTABLE(bp_dot_column);
PORTABLE(bp_dot_rom);
PORTABLE(bp_sigmoid);
PORTABLE(bp_sigmoid_derivative);
PORTABLE(bp_hidden_delta);
PORTABLE(bp_descent);
PORTABLE(bp_rescale);
PORTABLE(bp_update_residual);
PORTABLE(bp_update_residual_bias);
PORTABLE(bp_update_stochastic);
PORTABLE(bp_update_stochastic_bias);
PORTABLE(bp_decay_residual);
PORTABLE(bp_apply_momentum);

#define CASES 1500
#define LONGEST 9

static const int16_t edges[] = {
    0,    1,   -1,   2,    -2,    127,   128,    -128,  129,   255,
    -255, 256, -256, 16383, 16384, -16384, 32766, 32767, -32767, -32768,
};

/* What the kernels may write, and what they read. */
typedef struct {
    int16_t w[LONGEST];
    uint8_t w_low[LONGEST];
    int32_t vw[LONGEST];
    int16_t u[LONGEST];
    bp_counters_t counters;
} memory_t;

static memory_t fast, slow;
static int16_t a[600];
static uint16_t differing;
static uint32_t state = 1;

static uint16_t random16(void)
{
    state = state * 1664525u + 1013904223u;
    return (uint16_t)(state >> 16);
}

static uint32_t random32(void) { return (uint32_t)random16() << 16 | random16(); }

static uint16_t below(uint16_t n) { return (uint16_t)((uint32_t)random16() * n >> 16); }

/* An edge, or a number of any magnitude. */
static int16_t any(void)
{
    if (below(3) == 0) {
        return edges[below(sizeof edges / sizeof *edges)];
    }
    return (int16_t)((int16_t)random16() >> below(15));
}

static int8_t any_shift(void) { return (int8_t)(8 * below(4)); }

/* Masters next to their limits every other time. */
static void fill(void)
{
    uint8_t i;

    memset(&fast, 0, sizeof fast);
    for (i = 0; i < LONGEST; i++) {
        uint8_t inside = (uint8_t)below(3);
        if (below(2)) {
            fast.w[i] = any();
            fast.w_low[i] = (uint8_t)random16();
        } else if (below(2)) {
            fast.w[i] = (int16_t)(32767 - inside);
            fast.w_low[i] = (uint8_t)(255 - below(3));
        } else {
            fast.w[i] = (int16_t)(-32768 + inside);
            fast.w_low[i] = (uint8_t)below(3);
        }
        fast.vw[i] = (int32_t)random32();
        fast.u[i] = any();
        a[i] = any();
    }
    slow = fast;
}

static void compare(int32_t x, int32_t y) { differing += x != y; }

static void compare_memory(void) { differing += memcmp(&fast, &slow, sizeof fast) != 0; }

static void put(char c)
{
    UDR0 = (uint8_t)c;
    while (!(UCSR0A & (1 << UDRE0))) {
    }
}

static void report(const char *name)
{
    uint16_t unit;

    while (*name != '\0') {
        put(*name++);
    }
    put(' ');
    for (unit = 10000; unit != 0; unit /= 10) {
        put((char)('0' + differing / unit % 10));
    }
    put(';');
    put('\n');
    differing = 0;
}

/* The result of `once` for many fillings of the memory. */
static void check(const char *name, void (*once)(void))
{
    uint16_t i;

    for (i = 0; i < CASES; i++) {
        fill();
        once();
    }
    report(name);
}

static size_t any_length(void) { return 1 + below(LONGEST); }

static bp_alignment_t any_alignment(void)
{
    bp_alignment_t alignment;

    alignment.shift = any_shift();
    alignment.frac = (uint8_t)below(16);
    return alignment;
}

static void dot(void)
{
    size_t n = any_length();

    compare(bp_dot(fast.w, fast.u, n), portable_bp_dot(fast.w, fast.u, n));
}

static void dot_column(void)
{
    size_t stride = any_length();
    size_t n = 1 + below((uint16_t)(LONGEST / stride));

    compare(bp_dot_column(fast.w, fast.u, stride, n),
            portable_bp_dot_column(fast.w, fast.u, stride, n));
}

static void dot_rom(void)
{
    const int16_t *w = (const int16_t *)sigmoid_8 + below(200);
    size_t n = any_length();

    compare(bp_dot_rom(w, fast.u, n), portable_bp_dot_rom(w, fast.u, n));
}

/* More than 255 elements. */
static void long_rows(void)
{
    static int16_t w[2][600];
    static uint8_t w_low[2][600];
    uint16_t i;
    int8_t shift;

    for (i = 0; i < 600; i++) {
        a[i] = any();
    }
    for (i = 255; i <= 600; i = (uint16_t)(i + 23)) {
        compare(bp_dot(a, a, i), portable_bp_dot(a, a, i));
        compare(bp_dot_column(a, a, 2, i / 2), portable_bp_dot_column(a, a, 2, i / 2));
    }
    for (shift = 0; shift <= 24; shift = (int8_t)(shift + 8)) {
        bp_update_residual(w[0], w_low[0], a, 32767, shift, &fast.counters, 600);
        portable_bp_update_residual(w[1], w_low[1], a, 32767, shift, &slow.counters, 600);
        bp_update_stochastic(w[0], a, 1000, shift, 7, &fast.counters, 600);
        portable_bp_update_stochastic(w[1], a, 1000, shift, 7, &slow.counters, 600);
        differing += memcmp(w[0], w[1], sizeof w[0]) != 0;
        differing += memcmp(w_low[0], w_low[1], sizeof w_low[0]) != 0;
    }
    compare_memory();
    report("long_rows");
}

static void sigmoid_of(const uint16_t *table, uint8_t bits, uint8_t frac)
{
    int32_t z;

    for (z = -32768; z <= 32767; z += z < -32700 || z > 32700 ? 1 : 1 + below(60)) {
        compare(bp_sigmoid((int16_t)z, table, bits, frac),
                portable_bp_sigmoid((int16_t)z, table, bits, frac));
    }
}

static void sigmoid(void)
{
    uint8_t frac;

    for (frac = 8; frac <= 15; frac++) {
        sigmoid_of(sigmoid_7, 7, frac);
        sigmoid_of(sigmoid_8, 8, frac);
    }
    sigmoid_of(sigmoid_5, 5, 8);
    report("sigmoid");
}

static void sigmoid_derivative(void)
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
    report("sigmoid_derivative");
}

static void hidden_delta(void)
{
    int32_t sum = (int32_t)random32() >> (8 + below(22));
    int32_t derivative = below(4) ? below(16385) : 32767;
    uint8_t shift = (uint8_t)(17 + below(8));
    int16_t top = below(2) ? 32767 : (int16_t)(1 + below(32767));

    if (below(8) == 0) {
        sum = below(2) ? 8388607 : -8388607;
    }
    compare(bp_hidden_delta(sum, derivative, shift, top, &fast.counters.deltas),
            portable_bp_hidden_delta(sum, derivative, shift, top, &slow.counters.deltas));
    compare_memory();
}

static void descent(void)
{
    int16_t dz = a[0] == -32768 ? -32767 : a[0];
    uint16_t mantissa = below(4) ? (uint16_t)(16385 + 2 * below(8192)) : 32768u;

    compare(bp_descent(dz, mantissa), portable_bp_descent(dz, mantissa));
}

static void rescale(void)
{
    uint8_t from = (uint8_t)(4 + below(12));
    uint8_t to = (uint8_t)below(16);
    size_t n = any_length();

    bp_rescale(fast.u, a, from, to, n);
    portable_bp_rescale(slow.u, a, from, to, n);
    compare_memory();
}

static void update_residual(void)
{
    int16_t g = any();
    int8_t shift = any_shift();
    size_t n = any_length();

    bp_update_residual(fast.w, fast.w_low, fast.u, g, shift, &fast.counters, n);
    portable_bp_update_residual(slow.w, slow.w_low, slow.u, g, shift, &slow.counters, n);
    compare_memory();
}

static void update_residual_bias(void)
{
    int16_t g = any();
    bp_alignment_t alignment = any_alignment();

    bp_update_residual_bias(fast.w, fast.w_low, g, alignment, &fast.counters);
    portable_bp_update_residual_bias(slow.w, slow.w_low, g, alignment, &slow.counters);
    compare_memory();
}

static void update_stochastic(void)
{
    int16_t g = any();
    int8_t shift = any_shift();
    uint16_t dither = random16();
    size_t n = any_length();

    bp_update_stochastic(fast.w, fast.u, g, shift, dither, &fast.counters, n);
    portable_bp_update_stochastic(slow.w, slow.u, g, shift, dither, &slow.counters, n);
    compare_memory();
}

static void update_stochastic_bias(void)
{
    int16_t g = any();
    bp_alignment_t alignment = any_alignment();
    uint16_t dither = random16();

    bp_update_stochastic_bias(fast.w, g, alignment, dither, &fast.counters);
    portable_bp_update_stochastic_bias(slow.w, g, alignment, dither, &slow.counters);
    compare_memory();
}

static void decay_residual(void)
{
    uint16_t decay = random16() & 32767u;

    bp_decay_residual(fast.w, fast.w_low, decay, &fast.counters, LONGEST);
    portable_bp_decay_residual(slow.w, slow.w_low, decay, &slow.counters, LONGEST);
    compare_memory();
}

static void apply_momentum(void)
{
    uint16_t decay = random16() & 32767u;
    uint16_t momentum = random16();

    bp_apply_momentum(fast.w, fast.w_low, fast.vw, decay, momentum, &fast.counters, 1);
    portable_bp_apply_momentum(slow.w, slow.w_low, slow.vw, decay, momentum, &slow.counters, 1);
    compare_memory();
}

int main(void)
{
    UCSR0B = 1 << TXEN0;
    check("dot", dot);
    check("dot_column", dot_column);
    check("dot_rom", dot_rom);
    long_rows();
    sigmoid();
    sigmoid_derivative();
    check("hidden_delta", hidden_delta);
    check("descent", descent);
    check("rescale", rescale);
    check("update_residual", update_residual);
    check("update_residual_bias", update_residual_bias);
    check("update_stochastic", update_stochastic);
    check("update_stochastic_bias", update_stochastic_bias);
    check("decay_residual", decay_residual);
    check("apply_momentum", apply_momentum);
    cli(); /* asleep for ever: the simulator ends */
    sleep_enable();
    sleep_cpu();
    return 0;
}

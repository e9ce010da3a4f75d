/* small_cores.c -- each fast kernel against the same kernel in portable C, on one core.
 *
 * test_small_cores.py links bpgen_kernels.c twice, the second time with -DBP_PORTABLE and all names
 * behind portable_. Says a line a kernel: its name, then how many results differ. On a simulated
 * board it speaks through the debugger's calls (semihosting), so that it needs no port.
 */
#include "side_by_side.h"
#include "tables.h"

PORTABLE(bp_dense);
PORTABLE(bp_dense_sigmoid);
PORTABLE(bp_sigmoid);
PORTABLE(bp_output_delta_sigmoid);
PORTABLE(bp_backward);
PORTABLE(bp_delta_sigmoid);
PORTABLE(bp_descent);
PORTABLE(bp_update_residual);
PORTABLE(bp_update_stochastic);
PORTABLE(bp_learn_residual);
PORTABLE(bp_learn_stochastic);

#define INPUTS 70
#define FEW_INPUTS 26
#define OUTPUTS 21
#define CASES 400

static const int16_t edges[] = {
    0,    1,   -1,   2,    -2,     127,   128,    -128,  129,   255,
    -255, 256, -256, 16383, 16384, -16384, 32766, 32767, -32767, -32768,
};

/* What the kernels may write. */
typedef struct {
    BP_ALIGNED int16_t w[INPUTS * OUTPUTS + 2];
    uint8_t w_low[INPUTS * OUTPUTS + 2];
    int16_t b[OUTPUTS + 1];
    uint8_t b_low[OUTPUTS + 1];
    int16_t z[OUTPUTS + 1];
    int16_t dz_in[INPUTS + 1];
    int32_t sum[INPUTS + 2];
} memory_t;

static memory_t fast, slow;
static BP_ALIGNED int16_t a_in[INPUTS];
static int16_t dz[OUTPUTS], g[OUTPUTS];
static bp_layer_t layer;
static bp_alignment_t alignment;
static uint16_t dither;
static bp_counters_t counters;
static unsigned differing;

/* An edge, or a number of any magnitude. */
static int16_t any(void)
{
    if (below(3) == 0) {
        return edges[below(sizeof edges / sizeof *edges)];
    }
    return (int16_t)((int16_t)random16() >> below(15));
}

static int16_t within(int16_t top)
{
    int16_t x = any();

    return x > top ? top : x < -top ? (int16_t)-top : x;
}

/* So many products of a weight and what is at most `top` fit 32 bits. */
static uint16_t block_of(int16_t top, unsigned n)
{
    uint32_t block = 65535u / (uint16_t)top;

    return (uint16_t)(block < n ? block : n);
}

/* A layer, its inputs and a step, as a model could have them. */
static void fill(void)
{
    static const int16_t tops[] = {4095, 6553, 8191, 16383, 32767};
    int16_t a_top = below(2) ? (int16_t)(1 + (below(32767) >> below(6))) : tops[below(5)];
    int16_t dz_top = below(2) ? (int16_t)(1 + below(32767)) : 32767;
    int same = below(4) == 0;            /* all at their ends, and of one sign */
    int alike = below(2), up = below(2); /* so are then the weights of an output */
    int room = 0;
    size_t even, i, j;

    memset(&fast, 0, sizeof fast);
    memset(&layer, 0, sizeof layer);
    layer.inputs = (uint16_t)(1 + below(below(3) ? FEW_INPUTS : INPUTS));
    layer.outputs = (uint16_t)(1 + below(OUTPUTS));
    even = (layer.inputs + 1u) & ~1u;
    layer.block = block_of(a_top, (unsigned)even) & 0xFFFEu;
    layer.delta_block = block_of(dz_top, layer.outputs);
    layer.a_in_frac = (uint8_t)(4 + below(12));
    layer.z_shift = (int8_t)below(26);
    layer.sum_shift = (uint8_t)below(35);
    layer.z_top = 32767;
    layer.z_lowest = -32767;
    layer.a_frac = 12;
    layer.table_bits = 7;
    layer.table = sigmoid_7;
    layer.dz_in_top = (int16_t)(1 + below(32767));
    for (i = 0; i < layer.inputs; i++) {
        a_in[i] = same ? a_top : within(a_top);
    }
    if (even != i) {
        a_in[i] = 0;
    }
    for (j = 0; j < layer.outputs; j++) {
        dz[j] = same ? dz_top : within(dz_top);
        g[j] = within(32767);
        fast.b[j] = !same ? any() : (int)(j + up) % 2 ? 32767 : -32768;
        fast.b_low[j] = (uint8_t)random16();
        for (i = 0; i < layer.inputs; i++) {
            size_t at = bp_weight_index(&layer, j, i);
            int16_t inside = (int16_t)below(3);

            fast.w_low[at] = (uint8_t)random16();
            fast.w[at] = below(2) ? any() : (int16_t)(below(2) ? 32767 - inside : inside - 32768);
            if (same) {
                fast.w[at] = (alike ? (int)(j + up) % 2 : (int)(state & 65536u)) ? 32767 : -32768;
            }
        }
    }
    while (room < 15 && a_top < 16384 >> room) {
        room++;
    }
    alignment.shift = (int8_t)(8 * below(4));
    room += layer.a_in_frac;
    alignment.frac = (uint8_t)below((unsigned)(room < 15 ? room : 15) + 1u);
    dither = random16();
    slow = fast;
}

static void compare_memory(void) { differing += memcmp(&fast, &slow, sizeof fast) != 0; }

/* The result of `once` for many fillings of the memory. */
static void check(const char *name, void (*once)(void))
{
    unsigned i;

    for (i = 0; i < CASES; i++) {
        fill();
        once();
        compare_memory();
    }
    report(name, (uint16_t)differing);
    differing = 0;
}

static void dense(void)
{
    layer.z_top = (int16_t)(1 + below(32767));
    layer.z_lowest = below(2) ? 0 : (int16_t)-layer.z_top;
    bp_dense(fast.z, &layer, fast.w, fast.b, a_in, &counters);
    portable_bp_dense(slow.z, &layer, slow.w, slow.b, a_in, &counters);
}

static void dense_sigmoid(void)
{
    bp_dense_sigmoid(fast.z, &layer, fast.w, fast.b, a_in, &counters);
    portable_bp_dense_sigmoid(slow.z, &layer, slow.w, slow.b, a_in, &counters);
}

static void sigmoid(void)
{
    static const uint16_t *const tables[] = {sigmoid_7, sigmoid_8, sigmoid_9};
    uint8_t frac = (uint8_t)(8 + below(8));
    uint8_t bits = (uint8_t)(7 + below(3));
    size_t j;

    for (j = 0; j < OUTPUTS; j++) {
        fast.z[j] = slow.z[j] = below(2) ? any() : (int16_t)random16();
    }
    bp_sigmoid(fast.z, tables[bits - 7], bits, frac, OUTPUTS);
    portable_bp_sigmoid(slow.z, tables[bits - 7], bits, frac, OUTPUTS);
}

static void backward(void)
{
    bp_backward(fast.sum, &layer, fast.w, dz);
    portable_bp_backward(slow.sum, &layer, slow.w, dz);
}

/* Outputs of a sigmoid to z; returns their fraction. */
static uint8_t outputs_of_sigmoids(void)
{
    uint8_t frac = (uint8_t)(4 + below(12));
    size_t j;

    for (j = 0; j < OUTPUTS; j++) {
        slow.z[j] = fast.z[j] = (int16_t)(1 + below((1u << frac) - 1));
    }
    return frac;
}

static void output_delta_sigmoid(void)
{
    uint8_t frac = outputs_of_sigmoids();
    /* The generator's shifts are such that product and half fit. */
    uint8_t shift = below(2) ? 0 : (uint8_t)below(frac + 13u);

    bp_output_delta_sigmoid(fast.dz_in, fast.z, g, frac, shift, layer.dz_in_top, &counters,
                            OUTPUTS);
    portable_bp_output_delta_sigmoid(slow.dz_in, slow.z, g, frac, shift, layer.dz_in_top,
                                     &counters, OUTPUTS);
}

static void delta_sigmoid(void)
{
    uint8_t frac = outputs_of_sigmoids();
    size_t j;

    for (j = 0; j < OUTPUTS; j++) {
        uint32_t bits = (uint32_t)random16() << 16 | random16();

        slow.sum[j] = fast.sum[j] = (int32_t)bits >> below(32);
    }
    bp_delta_sigmoid(fast.dz_in, fast.sum, fast.z, frac, layer.dz_in_top, &counters, OUTPUTS);
    portable_bp_delta_sigmoid(slow.dz_in, slow.sum, slow.z, frac, layer.dz_in_top, &counters,
                              OUTPUTS);
}

static void descent(void)
{
    uint16_t mantissa = below(4) == 0 ? 32768 : (uint16_t)(16385 + 2 * below(8192));

    bp_descent(fast.z, g, mantissa, OUTPUTS);
    portable_bp_descent(slow.z, g, mantissa, OUTPUTS);
}

static void update_residual(void)
{
    bp_update_residual(fast.w, fast.w_low, fast.b, fast.b_low, &layer, a_in, g, alignment,
                       &counters);
    portable_bp_update_residual(slow.w, slow.w_low, slow.b, slow.b_low, &layer, a_in, g, alignment,
                                &counters);
}

static void update_stochastic(void)
{
    bp_update_stochastic(fast.w, fast.b, &layer, a_in, g, alignment, dither, &counters);
    portable_bp_update_stochastic(slow.w, slow.b, &layer, a_in, g, alignment, dither, &counters);
}

/* Inputs that are sigmoids. */
static void sigmoids(void)
{
    size_t i;

    for (i = 0; i < layer.inputs; i++) {
        a_in[i] = (int16_t)(a_in[i] & ((1 << layer.a_in_frac) - 1));
        a_in[i] = (int16_t)(a_in[i] == 0 ? 1 : a_in[i]);
    }
    layer.block = 2;
    alignment.frac = (uint8_t)below(layer.a_in_frac + 1u);
}

static void learn_residual(void)
{
    sigmoids();
    bp_learn_residual(fast.dz_in, fast.w, fast.w_low, fast.b, fast.b_low, &layer, a_in, dz, g,
                      alignment, &counters);
    portable_bp_learn_residual(slow.dz_in, slow.w, slow.w_low, slow.b, slow.b_low, &layer, a_in,
                               dz, g, alignment, &counters);
}

static void learn_stochastic(void)
{
    sigmoids();
    bp_learn_stochastic(fast.dz_in, fast.w, fast.b, &layer, a_in, dz, g, alignment, dither,
                        &counters);
    portable_bp_learn_stochastic(slow.dz_in, slow.w, slow.b, &layer, a_in, dz, g, alignment,
                                 dither, &counters);
}

int main(void)
{
    check("dense", dense);
    check("dense_sigmoid", dense_sigmoid);
    check("sigmoid", sigmoid);
    check("output_delta_sigmoid", output_delta_sigmoid);
    check("backward", backward);
    check("delta_sigmoid", delta_sigmoid);
    check("descent", descent);
    check("update_residual", update_residual);
    check("update_stochastic", update_stochastic);
    check("learn_residual", learn_residual);
    check("learn_stochastic", learn_stochastic);
    finish();
    return 0;
}

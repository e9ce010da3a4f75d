/* arm_kernels.c -- the kernels of a core against the same kernels in portable C, on one emulated
 * board.
 *
 * test_arm_kernels.py links bpgen_kernels.c twice, the second time with -DBP_PORTABLE and all names
 * behind portable_, and reads a line a kernel from the debugger's console: its name, then how many
 * cases differ. In a case both get the same layer and the same memory, random to the last byte, and
 * afterwards all of it must be the same: what lies between and behind the arrays is a guard.
 */
#include "side_by_side.h"
#include "tables.h"

PORTABLE(bp_dense);
PORTABLE(bp_dense_sigmoid);
PORTABLE(bp_dense_s8);
PORTABLE(bp_sigmoid);
PORTABLE(bp_backward);
PORTABLE(bp_delta_sigmoid);
PORTABLE(bp_output_delta_sigmoid);
PORTABLE(bp_descent);
PORTABLE(bp_update_residual);
PORTABLE(bp_update_stochastic);
PORTABLE(bp_learn_residual);
PORTABLE(bp_learn_stochastic);

#define CASES 1000
#define MOST_INPUTS 200
#define MOST_OUTPUTS 21
#define MOST_WEIGHTS 400
#define MOST_TOP 32767

/* What kernels read and write. Only words need be aligned that the generated code aligns: the
 * others begin at the offsets of the case.
 */
typedef struct {
    uint32_t before;
    BP_ALIGNED int16_t w[MOST_WEIGHTS];
    BP_ALIGNED int16_t a_in[MOST_INPUTS];
    BP_ALIGNED int8_t w8[MOST_WEIGHTS];
    BP_ALIGNED uint8_t a8[MOST_INPUTS];
    int32_t sum[MOST_INPUTS];
    int32_t b32[MOST_OUTPUTS];
    int16_t b[MOST_OUTPUTS + 2];
    int16_t z[MOST_OUTPUTS + 2];
    int16_t dz[MOST_OUTPUTS + 2];
    int16_t g[MOST_OUTPUTS + 2];
    int16_t dz_in[MOST_INPUTS + 2];
    uint8_t w_low[MOST_WEIGHTS + 4];
    uint8_t b_low[MOST_OUTPUTS + 4];
    bp_counters_t counters;
    uint32_t behind;
} memory_t;

static memory_t fast, slow;
static bp_layer_t layer;
static bp_alignment_t alignment;
static size_t n, offset; /* inputs in memory, and where arrays begin */
static uint16_t dither;

/* ---- Cases ----------------------------------------------------------------------------------- */

/* A number up to `top` in magnitude: of any magnitude, or on an edge. */
static int16_t any(int16_t top)
{
    static const int16_t edges[] = {0, 1, -1, 2, 127, 128, -128, 255, 256, -256, 16384, -16384};
    int32_t x;

    switch (below(4)) {
    case 0:
        return below(2) ? top : (int16_t)-top;
    case 1:
        x = edges[below(sizeof edges / sizeof *edges)];
        break;
    default:
        x = (int16_t)random16() >> below(15);
    }
    return (int16_t)(x > top ? top : x < -top ? -top : x);
}

static int16_t any_top(void)
{
    static const int16_t tops[] = {MOST_TOP, MOST_TOP, 1, 255, 2047, 4095, 16384};
    uint16_t i = below(sizeof tops / sizeof *tops + 3);

    return i < sizeof tops / sizeof *tops ? tops[i] : (int16_t)(1 + below(MOST_TOP));
}

/* Masters next to their limits half of the time, or on them all over (kinds 0 to 2). */
static void fill_weights(uint16_t kind)
{
    size_t i;

    for (i = 0; i < MOST_WEIGHTS; i++) {
        int is_high = kind == 0 || (kind < 3 ? (int)(i + kind) % 2 : below(2));
        uint16_t inside = kind < 3 ? 0 : below(3);

        if (kind == 3 || (kind > 3 && below(2))) {
            fast.w[i] = (int16_t)random16();
            continue;
        }
        fast.w[i] = (int16_t)(is_high ? MOST_TOP - inside : -MOST_TOP - 1 + inside);
        fast.w_low[i] = (uint8_t)(is_high ? 255 - inside : inside);
        if (i < MOST_OUTPUTS) {
            fast.b[i] = fast.w[i];
            fast.b_low[i] = fast.w_low[i];
        }
    }
}

static uint16_t block_of(int16_t top)
{
    uint32_t block = 65536u / (uint32_t)(top + 1) & ~1u; /* not above what 2^31 - 1 holds */

    return (uint16_t)(block < 2 ? 2 : block > 65534 ? 65534 : block);
}

/* A layer within the contract of docs/numbers.md, whose inputs are sigmoids or anything. */
static void begin(int sigmoids)
{
    uint8_t *bytes = (uint8_t *)&fast;
    uint16_t largest = below(8) == 0; /* every product */
    int16_t top = largest ? MOST_TOP : any_top(), dz_top = largest ? MOST_TOP : any_top();
    uint16_t pattern = largest ? 0 : below(4);
    uint8_t spare = 0;
    size_t i, rows;

    for (i = 0; i < sizeof fast; i++) {
        bytes[i] = (uint8_t)random16();
    }
    fill_weights(largest ? 0 : below(6));
    layer.outputs = (uint16_t)(below(3) ? 1 + below(9) : 1 + below(MOST_OUTPUTS));
    rows = MOST_WEIGHTS / 2 / layer.outputs;
    rows = rows > MOST_INPUTS / 2 ? MOST_INPUTS / 2 : rows;
    layer.inputs = (uint16_t)(below(2) ? 1 + below(9) : 1 + below(2 * rows - 1));
    n = ((size_t)layer.inputs + 1) & ~(size_t)1;

    layer.a_in_frac = (uint8_t)(4 + below(12));
    if (sigmoids) {
        top = (int16_t)((1L << layer.a_in_frac) - 1);
    }
    while (top >= 1L << (layer.a_in_frac + spare)) {
        spare++;
    }
    alignment.frac = (uint8_t)(spare > 8 ? below(16u - spare) : 8u - spare + below(8));
    alignment.shift = (int8_t)(8 * below(4));
    layer.block = block_of(top);
    layer.delta_block = block_of(dz_top);
    layer.z_shift = (int8_t)(below(2) ? below(8) : below(30));
    layer.z_top = any_top();
    layer.z_lowest = (int16_t)(below(4) ? -layer.z_top : 0);
    layer.sum_shift = (uint8_t)(below(2) ? below(8) : below(35));
    layer.dz_in_top = any_top();
    for (i = 0; i < n; i++) {
        int16_t a = any(top);

        a = pattern == 0 ? top : pattern == 1 ? (int16_t)(i % 2 ? -top : top) : a;
        fast.a_in[i] = sigmoids && a < 0 ? (int16_t)-a : a;
    }
    if (layer.inputs % 2 != 0) {
        fast.a_in[layer.inputs] = 0;
        fast.a8[layer.inputs] = 0;
        for (i = 0; i < layer.outputs; i++) {
            fast.w[bp_weight_index(&layer, i, layer.inputs)] = 0;
            fast.w8[bp_weight_index(&layer, i, layer.inputs)] = 0;
        }
    }
    for (i = 0; i < MOST_OUTPUTS + 2; i++) {
        fast.dz[i] = pattern < 2 ? dz_top : any(dz_top);
        fast.g[i] = below(4) ? any(MOST_TOP) : MOST_TOP;
    }
    dither = random16();
    offset = below(4);
    slow = fast;
}

/* An output's table and fraction; what it is squashed from is s16q12. */
static void begin_sigmoid(void)
{
    static const uint16_t *const made[] = {sigmoid_7, sigmoid_8, sigmoid_9};
    static const uint8_t bits[] = {7, 8, 9};
    uint16_t which = below(sizeof bits);

    layer.table = made[which];
    layer.table_bits = bits[which];
    layer.a_frac = (uint8_t)(4 + below(12));
    layer.z_shift = (int8_t)below(18);
    layer.z_top = MOST_TOP;
    layer.z_lowest = -MOST_TOP;
}

/* ---- The kernels ----------------------------------------------------------------------------- */

#define HALF (offset & 1) /* of arrays of 16 bits */
#define BOTH(call, m)                    \
    do {                                 \
        memory_t *m = &fast;             \
        bp_##call;                       \
        m = &slow;                       \
        portable_bp_##call;              \
    } while (0)

static void dense(void)
{
    begin(0);
    BOTH(dense(m->z + HALF, &layer, m->w, m->b + HALF, m->a_in, &m->counters), m);
}

static void dense_sigmoid(void)
{
    begin(0);
    begin_sigmoid();
    BOTH(dense_sigmoid(m->z + HALF, &layer, m->w, m->b + HALF, m->a_in, &m->counters), m);
}

static void dense_s8(void)
{
    size_t j;

    begin(0);
    layer.z_shift = (int8_t)(below(24) - 8);
    for (j = 0; j < MOST_OUTPUTS; j++) {
        fast.b32[j] = (int32_t)((uint32_t)random16() << 16) >> (1 + below(15));
        slow.b32[j] = fast.b32[j];
    }
    BOTH(dense_s8(m->z + HALF, &layer, m->w8, m->b32, m->a8, &m->counters), m);
}

static void sigmoid(void)
{
    size_t j;

    begin(0);
    begin_sigmoid();
    for (j = 0; j < MOST_OUTPUTS; j++) {
        fast.z[j] = below(8) ? any(MOST_TOP) : -MOST_TOP - 1;
        slow.z[j] = fast.z[j];
    }
    BOTH(sigmoid(m->z + HALF, layer.table, layer.table_bits, layer.a_frac, layer.outputs), m);
}

static void backward(void)
{
    begin(0);
    BOTH(backward(m->sum, &layer, m->w, m->dz + HALF), m);
}

static void delta_sigmoid(void)
{
    static const int32_t edges[] = {8388606, 8388607, 8388608, -8388607, -8388608, -8388609,
                                    INT32_MAX, INT32_MIN};
    size_t i;

    begin(1);
    for (i = 0; i < n; i++) {
        fast.sum[i] = below(4) ? (int32_t)((uint32_t)random16() << 16 | random16()) >> below(24)
                               : edges[below(8)];
        slow.sum[i] = fast.sum[i];
    }
    BOTH(delta_sigmoid(m->dz_in + HALF, m->sum, m->a_in, layer.a_in_frac, layer.dz_in_top,
                       &m->counters, layer.inputs),
         m);
}

static void output_delta(void)
{
    uint8_t frac = (uint8_t)(4 + below(12)), shift = (uint8_t)below(31);
    size_t j;

    begin(0);
    for (j = 0; j < MOST_OUTPUTS + 2; j++) {
        fast.z[j] = (int16_t)below(1u << frac);
        slow.z[j] = fast.z[j];
    }
    BOTH(output_delta_sigmoid(m->dz_in + HALF, m->z + HALF, m->dz, frac, shift, layer.dz_in_top,
                              &m->counters, layer.outputs),
         m);
}

static void descent(void)
{
    uint16_t mantissa = below(4) ? (uint16_t)(16385 + 2 * below(8192)) : 32768u;

    begin(0);
    BOTH(descent(m->g + HALF, m->dz + (offset >> 1), mantissa, layer.outputs), m);
}

static void update_residual(void)
{
    begin(0);
    BOTH(update_residual(m->w, m->w_low + offset, m->b + HALF, m->b_low + offset, &layer, m->a_in,
                         m->g + HALF, alignment, &m->counters),
         m);
}

static void update_stochastic(void)
{
    begin(0);
    BOTH(update_stochastic(m->w, m->b + HALF, &layer, m->a_in, m->g + HALF, alignment, dither,
                           &m->counters),
         m);
}

static void learn_residual(void)
{
    begin(1);
    BOTH(learn_residual(m->dz_in + HALF, m->w, m->w_low + offset, m->b + HALF, m->b_low + offset,
                        &layer, m->a_in, m->dz + HALF, m->g + HALF, alignment, &m->counters),
         m);
}

static void learn_stochastic(void)
{
    begin(1);
    BOTH(learn_stochastic(m->dz_in + HALF, m->w, m->b + HALF, &layer, m->a_in, m->dz + HALF,
                          m->g + HALF, alignment, dither, &m->counters),
         m);
}

static void check(const char *name, void (*once)(void))
{
    unsigned differing = 0;
    uint16_t i;

    for (i = 0; i < CASES; i++) {
        once();
        differing += memcmp(&fast, &slow, sizeof fast) != 0;
    }
    report(name, differing);
}

int main(void)
{
    check("dense", dense);
    check("dense_sigmoid", dense_sigmoid);
    check("dense_s8", dense_s8);
    check("sigmoid", sigmoid);
    check("backward", backward);
    check("delta_sigmoid", delta_sigmoid);
    check("output_delta", output_delta);
    check("descent", descent);
    check("update_residual", update_residual);
    check("update_stochastic", update_stochastic);
    check("learn_residual", learn_residual);
    check("learn_stochastic", learn_stochastic);
    finish();
    return 0;
}

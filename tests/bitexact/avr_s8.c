/* avr_s8.c -- the kernels of bpgen_avr_s8.h against the same in portable C, on one AVR.
 *
 * test_avr_s8.py writes layers.h, links bpgen_kernels.c twice, the second time with -DBP_PORTABLE
 * and all names behind portable_, and reads a line a layer from the serial port: its number, then
 * how many of its results differ.
 */
#include "side_by_side.h"

PORTABLE(bp_dense_s8);
PORTABLE(bp_dense_sigmoid_s8);
PORTABLE(bp_dense_u8);
PORTABLE(bp_sigmoid);

enum { DENSE_S8, DENSE_SIGMOID_S8, DENSE_U8 };

typedef struct {
    const bp_layer_t *layer;
    uint16_t inputs;
    uint16_t outputs;
    uint16_t w; /* where in rom the weights start */
    uint16_t b; /* and the biases */
    uint8_t call;
} case_t;

#include "layers.h" /* cases[] and rom[] in flash, tables, LONGEST and WIDEST */

#ifndef ROUNDS
#define ROUNDS 6
#endif
#define GUARD 4

static const int16_t edges[] = {
    0,    1,   -1,  2,     -2,    127,    128,   -128,  129,    255,
    -255, 256, 257, 16383, 16384, -16384, 32766, 32767, -32767, -32768,
};

static uint8_t a_in[LONGEST];
static int16_t z[WIDEST];
static int16_t fast[WIDEST + 2 * GUARD], slow[WIDEST + 2 * GUARD];

static int16_t any(void)
{
    if (random16() < 20000) {
        return edges[random16() % (sizeof edges / sizeof *edges)];
    }
    return (int16_t)((int16_t)random16() >> random16() % 15);
}

/* All at the top, all 0, the top here and there, or anything. */
static void fill(const case_t *c, uint8_t round)
{
    uint16_t i;

    for (i = 0; i < c->inputs; i++) {
        a_in[i] = round == 0 ? 255 : round == 1 ? 0 : (uint8_t)random16();
        if (round == 2) {
            a_in[i] = a_in[i] & 1 ? 255 : 0;
        }
    }
    if (c->inputs & 1) {
        a_in[c->inputs] = 0;
    }
    for (i = 0; i < WIDEST + 2 * GUARD; i++) {
        fast[i] = slow[i] = (int16_t)i;
    }
}

/* How many results differ for a table, whatever is in front of it. */
static uint16_t sigmoids(const uint16_t *table, uint8_t bits)
{
    uint16_t differing = 0;
    uint8_t frac;

    for (frac = 4; frac <= 15; frac++) {
        uint8_t round;

        for (round = 0; round < 40; round++) {
            uint8_t n = (uint8_t)(random16() % 17);
            uint8_t i;

            for (i = 0; i < 20; i++) {
                fast[i] = slow[i] = any();
            }
            bp_sigmoid(fast, table, bits, frac, n);
            portable_bp_sigmoid(slow, table, bits, frac, n);
            differing = (uint16_t)(differing + (memcmp(fast, slow, sizeof fast) != 0));
        }
    }
    return differing;
}

#define EACH(function, out, ...)                                                                   \
    function(out, __VA_ARGS__ c.layer, rom + c.w, biases + c.b, a_in, &counters)
#define BOTH(function, type, ...)                                                                  \
    EACH(function, (type)(void *)(fast + GUARD), __VA_ARGS__);                                     \
    EACH(portable_##function, (type)(void *)(slow + GUARD), __VA_ARGS__)

int main(void)
{
    bp_counters_t counters = {0};
    uint16_t number;

    for (number = 0; number < sizeof cases / sizeof *cases; number++) {
        case_t c;
        uint16_t differing = 0;
        uint8_t round;

        memcpy_P(&c, cases + number, sizeof c);
        for (round = 0; round < ROUNDS; round++) {
            fill(&c, round);
            if (c.call == DENSE_S8) {
                BOTH(bp_dense_s8, int16_t *, );
            } else if (c.call == DENSE_SIGMOID_S8) {
                BOTH(bp_dense_sigmoid_s8, int16_t *, );
            } else {
                BOTH(bp_dense_u8, uint8_t *, z, );
            }
            differing = (uint16_t)(differing + (memcmp(fast, slow, sizeof fast) != 0));
        }
        report_layer(number, differing);
    }
    report_layer(990, sigmoids(sigmoid_5, 5));
    report_layer(991, sigmoids(sigmoid_7, 7));
    report_layer(992, sigmoids(sigmoid_8, 8));
    report_layer(993, sigmoids(sigmoid_9, 9));
    finish();
    return 0;
}

/* avr_forward.c -- layers forward, in assembly against the same in portable C, on one AVR.
 *
 * test_avr_forward.py writes layers.h, links bpgen_kernels.c twice, the second time with
 * -DBP_PORTABLE and all names behind portable_, and reads a line a layer from the serial port: its
 * number, then how many of its results differ.
 */
#include "side_by_side.h"

PORTABLE(bp_dense);
PORTABLE(bp_dense_sigmoid);
PORTABLE(bp_dense_rom);
PORTABLE(bp_dense_sigmoid_rom);
PORTABLE(bp_sigmoid);

typedef struct {
    const bp_layer_t *layer;
    const bp_layer_t *layer_rom;
    uint16_t inputs;
    uint16_t outputs;
    int16_t a_top;
    uint8_t is_fused;
    uint8_t a_in_signed;
    void (*known)(void); /* the layer with constants and arrays known to the compiler, or NULL */
    void (*known_rom)(void);
} case_t;

#ifndef ROUNDS
#define ROUNDS 6
#endif
#define GUARD 4

/* Where known layers in flash have their weights and biases. */
#define KNOWN_W 100
#define KNOWN_B 11

/* Arrays of one object, as a network has them. */
#define DECLARE_NET                                                                                \
    static struct {                                                                                \
        int16_t a_in[LONGEST];                                                                     \
        int16_t fast[WIDEST + 2 * GUARD];                                                          \
        int16_t b[WIDEST];                                                                         \
        int16_t w[WEIGHTS];                                                                        \
    } net;

#include "layers.h" /* cases[] and rom[ROM] in flash, LONGEST, WIDEST and WEIGHTS, net */

static const int16_t edges[] = {
    0,    1,   -1,   2,    -2,    127,   128,    -128,  129,   255,
    -255, 256, -256, 16383, 16384, -16384, 32766, 32767, -32767, -32768,
};

static int16_t slow[WIDEST + 2 * GUARD];

/* An edge, or a number of any magnitude. */
static int16_t any(void)
{
    if (below(3) == 0) {
        return edges[below(sizeof edges / sizeof *edges)];
    }
    return (int16_t)((int16_t)random16() >> below(15));
}

static int16_t within(int16_t x, int16_t top)
{
    return x > top ? top : x < -top ? (int16_t)-top : x;
}

/* One sign, alternating signs, or none: sums that leave 32 bits, come back, or never do. */
static void fill(const case_t *c, uint8_t round)
{
    uint16_t pairs = (uint16_t)((c->inputs + 1) / 2);
    uint16_t weights = (uint16_t)(pairs * 2 * c->outputs);
    uint16_t i;

    for (i = 0; i < weights; i++) {
        net.w[i] = round == 0 ? -32768 : round == 1 ? 32767 : round == 2 && (i & 1) ? -32768
             : round % 3 == 0 ? any() : (int16_t)((int16_t)random16() >> below(4));
    }
    for (i = 0; i < pairs * 2; i++) {
        int16_t a = round < 2 ? 32767
                  : round < 4 ? (random16() & 1 ? 32767 : -32767)
                  : round < 6 ? (i < pairs ? 32767 : -32767)
                  : round == 6 ? (i < pairs ? -32767 : 32767)
                  : any();
        net.a_in[i] = within(round == 1 && (i & 2) ? (int16_t)-a : a, c->a_top);
    }
    if (round == 7) {
        for (i = 0; i < pairs * 2; i++) {
            net.a_in[i] = within(-32767, c->a_top);
        }
        for (i = 0; i < weights; i++) {
            net.w[i] = -32768;
        }
    }
    if (c->inputs & 1) {
        net.a_in[c->inputs] = 0;
    }
    for (i = 0; i < pairs * 2 && !c->a_in_signed; i++) {
        net.a_in[i] = (int16_t)(net.a_in[i] < 0 ? -net.a_in[i] : net.a_in[i]);
    }
    for (i = 0; i < c->outputs; i++) {
        net.b[i] = any();
    }
    for (i = 0; i < WIDEST + 2 * GUARD; i++) {
        net.fast[i] = slow[i] = (int16_t)i;
    }
}

static void compute(const case_t *c, uint8_t from_rom, uint8_t known)
{
    bp_counters_t counters[2] = {{0}};
    uint16_t weights = (uint16_t)((c->inputs + 1) / 2 * 2 * c->outputs);
    const int16_t *rom_w = rom + (known ? KNOWN_W : below((uint16_t)(ROM - weights)));
    const int16_t *rom_b = rom + (known ? KNOWN_B : below((uint16_t)(ROM - c->outputs)));
    int16_t *fast = net.fast + GUARD;
    uint16_t n = (uint16_t)((c->inputs + 1) / 2 * 2);
    int16_t *a_in = net.a_in + (known ? LONGEST - n : 0);

    memmove(a_in, net.a_in, n * sizeof *a_in); /* known inputs are in front of the outputs */

    if (known) {
        (from_rom ? c->known_rom : c->known)();
    } else if (from_rom && c->is_fused) {
        bp_dense_sigmoid_rom(fast, c->layer_rom, rom_w, rom_b, a_in, counters);
    } else if (from_rom) {
        bp_dense_rom(fast, c->layer_rom, rom_w, rom_b, a_in, counters);
    } else if (c->is_fused) {
        bp_dense_sigmoid(fast, c->layer, net.w, net.b, a_in, counters);
    } else {
        bp_dense(fast, c->layer, net.w, net.b, a_in, counters);
    }
    if (from_rom && c->is_fused) {
        portable_bp_dense_sigmoid_rom(slow + GUARD, c->layer_rom, rom_w, rom_b, a_in,
                                      counters + 1);
    } else if (from_rom) {
        portable_bp_dense_rom(slow + GUARD, c->layer_rom, rom_w, rom_b, a_in, counters + 1);
    } else if (c->is_fused) {
        portable_bp_dense_sigmoid(slow + GUARD, c->layer, net.w, net.b, a_in, counters + 1);
    } else {
        portable_bp_dense(slow + GUARD, c->layer, net.w, net.b, a_in, counters + 1);
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
            uint8_t i;

            for (i = 0; i < 16; i++) {
                net.fast[i] = slow[i] = any();
            }
            bp_sigmoid(net.fast, table, bits, frac, 16);
            portable_bp_sigmoid(slow, table, bits, frac, 16);
            differing = (uint16_t)(differing + (memcmp(net.fast, slow, sizeof slow) != 0));
        }
    }
    return differing;
}

int main(void)
{
    uint16_t number;

    for (number = 0; number < sizeof cases / sizeof *cases; number++) {
        case_t c;
        uint16_t differing = 0;
        uint8_t round;

        memcpy_P(&c, cases + number, sizeof c);
        for (round = 0; round < 4 * ROUNDS; round++) {
            uint8_t from_rom = round & 1;

            /* Of what is known now the weights in RAM, now those in flash. */
            fill(&c, round / 2);
            compute(&c, from_rom, c.known != NULL && from_rom != (round / 2 & 1));
            differing = (uint16_t)(differing + (memcmp(net.fast, slow, sizeof slow) != 0));
        }
        report_layer(number, differing);
    }
    report_layer(990, sigmoids(sigmoid_7, 7));
    report_layer(991, sigmoids(sigmoid_8, 8));
    report_layer(992, sigmoids(sigmoid_9, 9));
    finish();
    return 0;
}

/* bpgen_dsp_backward.h -- deltas two numbers at a time.
 *
 * bpgen_kernels_dsp.h alone includes this, and says how.
 * SPDX-License-Identifier: 0BSD
 */
#ifndef BPGEN_DSP_BACKWARD_H
#define BPGEN_DSP_BACKWARD_H

/* ---- Backward (section 7) ------------------------------------------------------------------- */

/* The weights of two inputs to two outputs: 6 instructions, 4 products. */
#define BACKWARD_TWO               \
    "ldr r11, [r5], #4\n\t"        \
    "ldrd r9, r10, [r12], #8\n\t"  \
    "smlalbb r0, r1, r9, r11\n\t"  \
    "smlaltb r2, r3, r9, r11\n\t"  \
    "smlalbt r0, r1, r10, r11\n\t" \
    "smlaltt r2, r3, r10, r11\n\t"

static inline int64_t join(int32_t low, int32_t high)
{
    return (int64_t)((uint64_t)(uint32_t)high << 32 | (uint32_t)low);
}

/* sum[0], sum[1] = half + sum w[j][0] * dz[j], half + sum w[j][1] * dz[j]; returns the weights
 * behind them.
 */
static inline const int16_t *backward_2(int64_t sum[2], int64_t half, const int16_t *w,
                                        const int16_t *dz, size_t n)
{
    register int32_t r0 __asm__("r0") = (int32_t)half;
    register int32_t r1 __asm__("r1") = (int32_t)(half >> 32);
    register int32_t r2 __asm__("r2") = (int32_t)half;
    register int32_t r3 __asm__("r3") = (int32_t)(half >> 32);
    register const int16_t *r5 __asm__("r5") = dz;
    register const int16_t *r6 __asm__("r6") = dz + (n & ~(size_t)1);
    register const int16_t *r12 __asm__("r12") = w;

    if (n >= 2) {
        __asm__ volatile("1:\n\t" BACKWARD_TWO
                         "cmp r5, r6\n\t"
                         "bne 1b"
                         : "+r"(r0), "+r"(r1), "+r"(r2), "+r"(r3), "+r"(r5), "+r"(r12)
                         : "r"(r6)
                         : "r9", "r10", "r11", "cc", "memory");
    }
    sum[0] = join(r0, r1);
    sum[1] = join(r2, r3);
    if (n % 2 != 0) {
        sum[0] += r12[0] * *r5;
        sum[1] += r12[1] * *r5;
        r12 += 2;
    }
    return r12;
}

/* How a layer's sums are rounded: `fits` where they fit 32 bits then, for they are below
 * (outputs + 2) * 2^30.
 */
typedef struct {
    int64_t half;
    uint32_t shift;
    int fits;
} backward_t;

static inline backward_t backward_of(const bp_layer_t *layer)
{
    uint32_t shift = layer->sum_shift;
    backward_t b;

    b.half = (int64_t)((uint64_t)1 << shift >> 1);
    b.shift = shift;
    b.fits = shift < 30 && layer->outputs + 2u <= 2u << shift;
    return b;
}

static inline int32_t rounded_sum(const backward_t *b, int64_t sum)
{
    if (b->fits) {
        return (int32_t)((uint32_t)sum >> b->shift | (uint32_t)(sum >> 32) << 1 << (31 - b->shift));
    }
    return bp_saturate32(bp_shr64(sum, (uint8_t)b->shift));
}

/* The sums of two inputs; returns the weights behind them. */
static inline const int16_t *backward_pair_sums(int32_t sum[2], const backward_t *b,
                                                const int16_t *w, const int16_t *dz, size_t n)
{
    int64_t wide[2];

    w = backward_2(wide, b->half, w, dz, n);
    sum[0] = rounded_sum(b, wide[0]);
    sum[1] = rounded_sum(b, wide[1]);
    return w;
}

void bp_backward(int32_t *sum, const bp_layer_t *layer, const int16_t *w, const int16_t *dz)
{
    const backward_t b = backward_of(layer);
    size_t i;

    for (i = 0; i < layer->inputs; i += 2) {
        w = backward_pair_sums(sum + i, &b, w, dz, layer->outputs);
    }
}

/* What makes deltas of sums, in the order in which it is loaded. */
typedef struct {
    uint32_t one;    /* twice, in the halves of a word, like top and lowest */
    int32_t half;
    uint32_t down;   /* from a * (one - a) to the derivative */
    uint32_t up;     /* and to 2^12 of it */
    uint32_t top;
    uint32_t lowest;
} delta_t;

static inline delta_t delta_of(uint8_t frac, int16_t top)
{
    delta_t d;

    d.one = (1u << frac) * 0x10001u;
    d.down = frac < 8 ? 0 : 2u * frac - 16;
    d.half = half_of(d.down);
    d.up = frac < 8 ? 28 - 2u * frac : 12;
    d.top = (uint16_t)top * 0x10001u;
    d.lowest = (uint16_t)-top * 0x10001u;
    return d;
}

/* The deltas of two units, from their sums in r0 and r1 and their outputs in the halves of r2 to
 * the halves of r0, in 18 instructions; r3 to r6, r9 and r10 are the delta_t. SSAT clips a sum to
 * s24; that it lets -2^23 pass, which is 1 - 2^23 in the C, changes no delta, for a derivative is
 * below 2^19. SMMULR is (x * y + 2^31) >> 32: with 2^12 of the derivative it rounds the product by
 * 20 bits. SSUB16 sets the flags that SEL clips by.
 */
#define DELTA_TWO                      \
    "usub16 r11, r3, r2\n\t"           \
    "smlabb r3, r2, r11, r4\n\t"       \
    "smlatt r11, r2, r11, r4\n\t"      \
    "lsrs r3, r5\n\t"                  \
    "lsr r11, r11, r5\n\t"             \
    "lsls r3, r6\n\t"                  \
    "lsl r11, r11, r6\n\t"             \
    "ssat r0, #24, r0\n\t"             \
    "ssat r1, #24, r1\n\t"             \
    "smmulr r0, r0, r3\n\t"            \
    "smmulr r1, r1, r11\n\t"           \
    "ssat r0, #16, r0\n\t"             \
    "ssat r1, #16, r1\n\t"             \
    "pkhbt r0, r0, r1, lsl #16\n\t"    \
    "ssub16 r1, r0, r9\n\t"            \
    "sel r0, r9, r0\n\t"               \
    "ssub16 r1, r0, r10\n\t"           \
    "sel r0, r0, r10\n\t"

static inline uint32_t delta_two(const delta_t *d, int32_t sum0, int32_t sum1, uint32_t a)
{
    register int32_t r0 __asm__("r0") = sum0;
    register int32_t r1 __asm__("r1") = sum1;
    register uint32_t r2 __asm__("r2") = a;
    register const delta_t *r3 __asm__("r3") = d;

    __asm__("ldm r3, {r3, r4, r5, r6, r9, r10}\n\t" DELTA_TWO
            : "+r"(r0), "+r"(r1), "+r"(r2), "+r"(r3)
            : "m"(*d)
            : "r4", "r5", "r6", "r9", "r10", "r11", "cc");
    return (uint32_t)r0;
}

void bp_delta_sigmoid(int16_t *dz, const int32_t *sum, const int16_t *a, uint8_t frac, int16_t top,
                      bp_counters_t *counters, size_t n)
{
    const delta_t d = delta_of(frac, top);

    (void)counters;
    for (; n != 0; n -= 2) {
        int is_last = n == 1;
        uint32_t both = is_last ? (uint16_t)*a : (uint32_t)((const loose_pair_t *)a)->pair;

        both = delta_two(&d, sum[0], is_last ? 0 : sum[1], both);
        if (is_last) {
            *dz = (int16_t)both;
            return;
        }
        ((loose_pair_t *)dz)->pair = (int32_t)both;
        dz += 2;
        sum += 2;
        a += 2;
    }
}

static inline int16_t clip_short(int32_t x, int32_t top)
{
    x = x > top ? top : x;
    return (int16_t)(x < -top ? -top : x);
}

void bp_output_delta_sigmoid(int16_t *dz, const int16_t *a, const int16_t *t, uint8_t frac,
                             uint8_t shift, int16_t top, bp_counters_t *counters, size_t n)
{
    const delta_t d = delta_of(frac, top);
    const int16_t *end = a + n;
    int32_t one = (int32_t)1 << frac, half = half_of(shift);

    (void)counters;
    while (a != end) {
        int32_t error = *a - *t++;
        int32_t derivative = (*a * (one - *a) + d.half) >> d.down << (d.up - 12);

        a++;
        *dz++ = clip_short((error * derivative + half) >> shift, top);
    }
}

/* What a layer's pairs of inputs take from memory. */
typedef struct {
    const int16_t *dz;
    const int16_t *dz_end; /* behind the last pair of outputs */
    uint32_t entry;        /* what the loop begins with: see delta_pairs() */
    uint32_t half;         /* rounds the sums, which are shifted by `shift` */
    uint32_t odd;          /* whether an output is left behind the pairs */
    uint32_t shift;
    uint32_t unshift;      /* 32 - shift */
    const int16_t *a;
    const int16_t *a_end;
    int16_t *dz_in;
    delta_t delta;
} deltas_t;

/* The deltas of pairs of inputs from the deltas_t at lr; the weights are at r12, the deltas of the
 * outputs at r5 up to r6. The sums are r1:r0 and r3:r2. The table leads to the first of an even
 * number of pairs of outputs, the first of an odd number, or the output that is all there is.
 */
static inline const int16_t *delta_pairs(deltas_t *d, const int16_t *w)
{
    register const int16_t *r12 __asm__("r12") = w;
    register deltas_t *lr __asm__("lr") = d;

    __asm__ volatile("push {r7}\n"
                     "1:\n\t"
                     "ldm lr, {r5, r6, r8}\n\t"
                     "ldr r0, [lr, #12]\n\t"
                     "movs r1, #0\n\t"
                     "mov r2, r0\n\t"
                     "movs r3, #0\n\t"
                     "tbb [pc, r8]\n"
                     "0:\n\t"
                     ".byte (2f - 0b) / 2, (3f - 0b) / 2, (4f - 0b) / 2, 0\n"
                     "2:\n\t" BACKWARD_TWO
                     "3:\n\t" BACKWARD_TWO
                     "cmp r5, r6\n\t"
                     "bne 2b\n\t"
                     "ldr r7, [lr, #16]\n\t"
                     "cbz r7, 5f\n"
                     "4:\n\t"
                     "ldr r9, [r12], #4\n\t"
                     "ldrh r11, [r5]\n\t"
                     "smlalbb r0, r1, r9, r11\n\t"
                     "smlaltb r2, r3, r9, r11\n"
                     "5:\n\t"
                     "ldrd r5, r6, [lr, #20]\n\t"
                     "lsrs r0, r5\n\t"
                     "lsls r1, r6\n\t"
                     "orrs r0, r1\n\t"
                     "lsrs r2, r5\n\t"
                     "lsls r3, r6\n\t"
                     "orr r1, r2, r3\n\t"
                     "ldr r7, [lr, #28]\n\t"
                     "add r3, lr, #40\n\t"
                     "ldr r2, [r7], #4\n\t"
                     "str r7, [lr, #28]\n\t"
                     "ldm r3, {r3, r4, r5, r6, r9, r10}\n\t" DELTA_TWO
                     "ldr r2, [lr, #36]\n\t"
                     "ldr r3, [lr, #32]\n\t"
                     "str r0, [r2], #4\n\t"
                     "str r2, [lr, #36]\n\t"
                     "cmp r7, r3\n\t"
                     "bne 1b\n\t"
                     "pop {r7}"
                     : "+r"(r12)
                     : "r"(lr)
                     : "r0", "r1", "r2", "r3", "r4", "r5", "r6", "r8", "r9", "r10", "r11", "cc",
                       "memory");
    return r12;
}

/* The deltas of a layer's inputs. */
static void backward_deltas(int16_t *dz_in, const bp_layer_t *layer, const int16_t *w,
                            const int16_t *a_in, const int16_t *dz)
{
    const backward_t b = backward_of(layer);
    size_t n = layer->outputs, i = 0, in_pairs = layer->inputs & ~1u;
    int32_t sum[2];
    deltas_t d;

    d.delta = delta_of(layer->a_in_frac, layer->dz_in_top);
    if (b.fits && in_pairs != 0) {
        d.dz = dz;
        d.dz_end = dz + (n & ~(size_t)1);
        d.entry = n == 1 ? 2 : n >> 1 & 1;
        d.half = (uint32_t)b.half;
        d.odd = n & 1;
        d.shift = b.shift;
        d.unshift = 32 - b.shift;
        d.a = a_in;
        d.a_end = a_in + in_pairs;
        d.dz_in = dz_in;
        w = delta_pairs(&d, w);
        i = in_pairs;
    }
    for (; i < layer->inputs; i += 2) {
        size_t count = layer->inputs - i < 2 ? 1 : 2;

        w = backward_pair_sums(sum, &b, w, dz, n);
        bp_delta_sigmoid(dz_in + i, sum, a_in + i, layer->a_in_frac, layer->dz_in_top, NULL, count);
    }
}

#endif

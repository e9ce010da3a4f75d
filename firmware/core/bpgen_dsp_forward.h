/* bpgen_dsp_forward.h -- layers forward two products at a time.
 *
 * bpgen_kernels_dsp.h alone includes this, and says how.
 * SPDX-License-Identifier: 0BSD
 */
#ifndef BPGEN_DSP_FORWARD_H
#define BPGEN_DSP_FORWARD_H

/* ---- Forward (sections 3 and 4) -------------------------------------------------------------- */

/* What a group of four outputs takes from memory, in the order in which it is loaded. */
typedef struct {
    int32_t scale;      /* of the biases */
    int32_t half;       /* added to them, it rounds */
    const int16_t *b;
    const int16_t *w;
    uint32_t stride;    /* bytes from a pair of inputs to the next */
    uint32_t skipped;   /* pairs that the first round of the loop is short of eight */
    const int16_t *end; /* of the inputs */
    const int16_t *a;
    uint32_t shift;
    uint32_t unshift;   /* 32 - shift */
    int16_t *out;
    const int16_t *out_end;
    union {
        struct {
            uint32_t top; /* twice */
            uint32_t lowest;
        } clip;
        struct {
            const uint16_t *table;
            uint32_t shift;    /* r: from u to an index */
            uint32_t mask;     /* 2^r - 1 */
            uint32_t interval; /* 2^r */
            uint32_t offset;   /* 2^(16 + r), and what rounds */
            uint32_t down;     /* from P to the output */
            uint32_t one;
            uint32_t frac;
            uint32_t ones;     /* 2^16 - 1 */
        } sigmoid;
    } last;
} dense_t;

/* A pair of inputs for four outputs: 8 instructions, 8 products. r5 and r6 are weights, r7 is a. */
#define DENSE_PAIR                 \
    "ldr r7, [lr], #4\n\t"         \
    "ldrd r5, r6, [r12]\n\t"       \
    "smlald r0, r1, r5, r7\n\t"    \
    "smlald r2, r3, r6, r7\n\t"    \
    "ldrd r5, r6, [r12, #8]\n\t"   \
    "smlald r8, r9, r5, r7\n\t"    \
    "smlald r10, r11, r6, r7\n\t"  \
    "add.w r12, r12, r4\n\t"

/* z of four outputs to r0 .. r3, before they are clipped, from the dense_t at r6. The sums are
 * r1:r0, r3:r2, r9:r8 and r11:r10, the weights at r12, the inputs at lr, r4 is the stride: no
 * register is left for the end of the inputs. It is on the stack, below r6 and r7, which may be the
 * frame's pointer. The table of bytes, in halves of the distance from itself, begins the loop such
 * that it ends after eight pairs, of 32 bytes each.
 */
#define DENSE_SUMS                                                            \
    "5:\n\t"                                                                  \
    "push {r6, r7}\n\t"                                                       \
    "ldm r6!, {r4, r5, r11, r12}\n\t"                                         \
    "ldrsh r0, [r11]\n\t"                                                     \
    "ldrsh r2, [r11, #2]\n\t"                                                 \
    "ldrsh r8, [r11, #4]\n\t"                                                 \
    "ldrsh r10, [r11, #6]\n\t"                                                \
    "mla r0, r0, r4, r5\n\t"                                                  \
    "mla r2, r2, r4, r5\n\t"                                                  \
    "mla r8, r8, r4, r5\n\t"                                                  \
    "mla r10, r10, r4, r5\n\t"                                                \
    "asrs r1, r0, #31\n\t"                                                    \
    "asrs r3, r2, #31\n\t"                                                    \
    "asr r9, r8, #31\n\t"                                                     \
    "asr r11, r10, #31\n\t"                                                   \
    "ldm r6, {r4, r5, r6, lr}\n\t"                                            \
    "push {r6}\n\t"                                                           \
    "tbb [pc, r5]\n"                                                          \
    "0:\n\t"                                                                  \
    ".byte 4, 20, 36, 52, 68, 84, 100, 116\n"                                 \
    "1:\n\t" DENSE_PAIR DENSE_PAIR DENSE_PAIR DENSE_PAIR                      \
    DENSE_PAIR DENSE_PAIR DENSE_PAIR DENSE_PAIR                               \
    "ldr r5, [sp]\n\t"                                                        \
    "cmp lr, r5\n\t"                                                          \
    "bne 1b\n\t"                                                              \
    "ldr r6, [sp, #4]\n\t"                                                    \
    "ldrd r4, r5, [r6, #32]\n\t"                                              \
    "lsrs r0, r4\n\t"                                                         \
    "lsls r1, r5\n\t"                                                         \
    "orrs r0, r1\n\t"                                                         \
    "lsr r1, r2, r4\n\t"                                                      \
    "lsls r3, r5\n\t"                                                         \
    "orrs r1, r3\n\t"                                                         \
    "lsr r2, r8, r4\n\t"                                                      \
    "lsl r9, r9, r5\n\t"                                                      \
    "orr r2, r2, r9\n\t"                                                      \
    "lsr r3, r10, r4\n\t"                                                     \
    "lsl r11, r11, r5\n\t"                                                    \
    "orr r3, r3, r11\n\t"

/* The four results, in r0 and r2, to memory; then on to the next four while there are any. */
#define DENSE_NEXT                   \
    "pop {r4, r6, r7}\n\t"           \
    "ldrd r1, r3, [r6, #8]\n\t"      \
    "adds r1, #8\n\t"                \
    "adds r3, #16\n\t"               \
    "strd r1, r3, [r6, #8]\n\t"      \
    "ldrd r1, r3, [r6, #40]\n\t"     \
    "str r0, [r1], #4\n\t"           \
    "str r2, [r1], #4\n\t"           \
    "str r1, [r6, #40]\n\t"          \
    "cmp r1, r3\n\t"                 \
    "bne 5b"

/* Two z, in the halves of a register, clipped: SSUB16 sets the flags that SEL chooses by. */
#define CLIP_TWO(z)                      \
    "ssub16 r9, " z ", r4\n\t"           \
    "sel " z ", r4, " z "\n\t"           \
    "ssub16 r9, " z ", r5\n\t"           \
    "sel " z ", " z ", r5\n\t"

static inline void dense_groups(dense_t *d)
{
    register dense_t *r6 __asm__("r6") = d;

    __asm__ volatile(DENSE_SUMS
                     "ssat r0, #16, r0\n\t"
                     "ssat r1, #16, r1\n\t"
                     "ssat r2, #16, r2\n\t"
                     "ssat r3, #16, r3\n\t"
                     "pkhbt r0, r0, r1, lsl #16\n\t"
                     "pkhbt r2, r2, r3, lsl #16\n\t"
                     "ldrd r4, r5, [r6, #48]\n\t"
                     CLIP_TWO("r0")
                     CLIP_TWO("r2")
                     DENSE_NEXT
                     : "+r"(r6)
                     :
                     : "r0", "r1", "r2", "r3", "r4", "r5", "r8", "r9", "r10", "r11", "r12", "lr",
                       "cc", "memory");
}

/* The sigmoid of a z above -2^31, with
 *
 *   r4 table, r5 r, r8 2^r - 1, r9 2^r, r10 offset, r11 down, r12 one, lr frac, r7 2^16 - 1
 *
 * P = E[i] * (2^r - fr) + E[i + 1] * fr is one SMLAD, for both entries are one word. They are above
 * 2^15, which SMLAD takes for E - 2^16; the sum of their factors is 2^r, so 2^(16 + r) is too
 * little, and added along with the half that rounds. one - y is at most one / 2, so what is clipped
 * last can only be a y.
 */
#define SIGMOID(z)                             \
    "eor r6, " z ", " z ", asr #31\n\t"        \
    "sub r6, r6, " z ", asr #31\n\t"           \
    "usat r6, #15, r6\n\t"                     \
    "cmp " z ", #0\n\t"                        \
    "lsr.w " z ", r6, r5\n\t"                  \
    "ldr " z ", [r4, " z ", lsl #1]\n\t"       \
    "and.w r6, r6, r8\n\t"                     \
    "mla r6, r6, r7, r9\n\t"                   \
    "smlad " z ", " z ", r6, r10\n\t"          \
    "lsr.w " z ", " z ", r11\n\t"              \
    "it lt\n\t"                                \
    "rsblt " z ", " z ", r12\n\t"              \
    "lsr.w r6, " z ", lr\n\t"                  \
    "sub.w " z ", " z ", r6\n\t"

static inline void dense_sigmoid_groups(dense_t *d)
{
    register dense_t *r6 __asm__("r6") = d;

    __asm__ volatile(DENSE_SUMS
                     "add r6, #48\n\t"
                     "ldm r6!, {r4, r5, r8, r9, r10, r11, r12, lr}\n\t"
                     "ldr r7, [r6]\n\t"
                     SIGMOID("r0")
                     SIGMOID("r1")
                     SIGMOID("r2")
                     SIGMOID("r3")
                     "pkhbt r0, r0, r1, lsl #16\n\t"
                     "pkhbt r2, r2, r3, lsl #16\n\t"
                     DENSE_NEXT
                     : "+r"(r6)
                     :
                     : "r0", "r1", "r2", "r3", "r4", "r5", "r8", "r9", "r10", "r11", "r12", "lr",
                       "cc", "memory");
}

/* All outputs in groups of four, of which the last may repeat some. */
static inline void dense_layer(dense_t *d, size_t n, int is_sigmoid)
{
    size_t left = n % 4;

    for (;;) {
        if (is_sigmoid) {
            dense_sigmoid_groups(d);
        } else {
            dense_groups(d);
        }
        if (left == 0) {
            return;
        }
        d->b -= 4 - left;
        d->w -= 8 - 2 * left;
        d->out -= 4 - left;
        d->out_end += left;
        left = 0;
    }
}

/* Returns 0 where the layer has too few outputs, or its sums shifted do not fit 32 bits: they are
 * below (inputs + 2) * 2^30.
 */
static inline int begin_dense(dense_t *d, int16_t *z, const bp_layer_t *layer, const int16_t *w,
                              const int16_t *b, const int16_t *a_in)
{
    uint32_t shift = (uint32_t)layer->z_shift, pairs = (layer->inputs + 1u) / 2;

    d->b = b;
    d->scale = (int32_t)1 << layer->a_in_frac;
    d->half = half_of(shift);
    d->stride = 4u * layer->outputs;
    d->skipped = (0 - pairs) & 7;
    d->end = a_in + 2 * pairs;
    d->w = w;
    d->a = a_in;
    d->shift = shift;
    d->unshift = 32 - shift;
    d->out = z;
    d->out_end = z + (layer->outputs & ~3u);
    return layer->outputs >= 4 && layer->inputs + 2u <= 2u << shift;
}

/* One z, in C. */
static inline int16_t dense_1(const dense_t *d, const bp_layer_t *layer, size_t j,
                              bp_counters_t *counters)
{
    const int16_t *w = d->w + 2 * j, *a = d->a;
    int64_t sum = d->b[j] * d->scale + d->half;

    do {
        sum = __smlald(*pair_at(w), *pair_at(a), sum);
        w += d->stride / 2;
        a += 2;
    } while (a != d->end);
    return clip_z(bp_shr64(sum, (uint8_t)d->shift), layer, counters);
}

void bp_dense(int16_t *z, const bp_layer_t *layer, const int16_t *w, const int16_t *b,
              const int16_t *a_in, bp_counters_t *counters)
{
    dense_t d;
    size_t j;

    if (begin_dense(&d, z, layer, w, b, a_in)) {
        d.last.clip.top = (uint16_t)layer->z_top * 0x10001u;
        d.last.clip.lowest = (uint16_t)layer->z_lowest * 0x10001u;
        dense_layer(&d, layer->outputs, 0);
        return;
    }
    for (j = 0; j < layer->outputs; j++) {
        z[j] = dense_1(&d, layer, j, counters);
    }
}

void bp_dense_sigmoid(int16_t *a, const bp_layer_t *layer, const int16_t *w, const int16_t *b,
                      const int16_t *a_in, bp_counters_t *counters)
{
    uint32_t shift = 15u - layer->table_bits, frac = layer->a_frac;
    dense_t d;
    size_t j;

    if (begin_dense(&d, a, layer, w, b, a_in)) {
        d.last.sigmoid.table = layer->table;
        d.last.sigmoid.shift = shift;
        d.last.sigmoid.interval = 1u << shift;
        d.last.sigmoid.mask = d.last.sigmoid.interval - 1;
        d.last.sigmoid.down = 16 + shift - frac;
        d.last.sigmoid.offset = (65536u << shift) + (uint32_t)half_of(d.last.sigmoid.down);
        d.last.sigmoid.one = 1u << frac;
        d.last.sigmoid.frac = frac;
        d.last.sigmoid.ones = 65535;
        dense_layer(&d, layer->outputs, 1);
        return;
    }
    for (j = 0; j < layer->outputs; j++) {
        a[j] = sigmoid(dense_1(&d, layer, j, counters), layer->table, layer->table_bits,
                       layer->a_frac);
    }
}

/* ---- Forward of s8 (section 13) ------------------------------------------------------------- */

static inline int16_t finish_s8(int32_t acc, const bp_layer_t *layer, bp_counters_t *counters)
{
    int8_t shift = layer->z_shift;

    return clip_z(shift < 0 ? (int64_t)acc * ((int32_t)1 << -shift)
                            : bp_round32(acc, (uint8_t)shift),
                  layer, counters);
}

/* Two outputs at a time, whose weights of a pair of inputs are a word: SXTB16 gives those of one
 * input, for both, and those of the other. The last two outputs may repeat one.
 */
void bp_dense_s8(int16_t *z, const bp_layer_t *layer, const int8_t *w, const int32_t *b,
                 const uint8_t *a_in, bp_counters_t *counters)
{
    const uint8_t *end = a_in + even_inputs(layer), *a;
    size_t n = layer->outputs, j = 0;

    for (; n >= 2 && j < n; j += 2) {
        const int8_t *column;
        int32_t acc0, acc1;

        j = j + 2 > n ? n - 2 : j;
        column = w + 2 * j;
        acc0 = b[j];
        acc1 = b[j + 1];
        for (a = a_in; a != end; a += 2) {
            int32_t both = ((const loose_pair_t *)column)->pair, first, second;

            __asm__("sxtb16 %0, %1" : "=r"(first) : "r"(both));
            __asm__("sxtb16 %0, %1, ror #8" : "=r"(second) : "r"(both));
            acc0 = __smlabb(first, a[0], acc0);
            acc1 = __smlatb(first, a[0], acc1);
            acc0 = __smlabb(second, a[1], acc0);
            acc1 = __smlatb(second, a[1], acc1);
            column += 2 * n;
        }
        z[j] = finish_s8(acc0, layer, counters);
        z[j + 1] = finish_s8(acc1, layer, counters);
    }
    for (; j < n; j++) { /* the only one */
        int32_t acc = b[j];

        for (a = a_in; a != end; a++) {
            acc += *w++ * *a;
        }
        z[j] = finish_s8(acc, layer, counters);
    }
}

#endif

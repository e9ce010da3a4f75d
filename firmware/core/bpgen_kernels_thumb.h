/* bpgen_kernels_thumb.h -- the loops over weights in assembly, for Cortex-M0, M0+ and M3.
 *
 * bpgen_kernels_lanes.h includes this, and its C for other cores says what each of these computes.
 * A loop takes the same instructions whatever the numbers, but that on M0 a weight which its step
 * takes to a limit needs 2 more, 3 in the stochastic update.
 * SPDX-License-Identifier: 0BSD
 */
#ifndef BPGEN_KERNELS_THUMB_H
#define BPGEN_KERNELS_THUMB_H

/* ---- Forward -------------------------------------------------------------------------------- */

#if defined(__ARM_ARCH_7M__)

/* What a group of 4 outputs takes from memory, by offset. */
typedef struct {
    int32_t scale; /* of the biases */
    int32_t half;  /* added to them, it rounds */
    const int16_t *b;
    const int16_t *w;
    uint32_t stride; /* bytes from a pair of inputs to the next */
    const int16_t *a_in;
    const int16_t *end;
    uint32_t entry; /* pairs that the first round of the loop is short of 4 */
    uint32_t shift;
    uint32_t unshift; /* 32 - shift */
    int32_t lowest;
    int32_t top;
    int16_t *z;
    const int16_t *z_end;
} dense_t;

/* r0 and r3: a number each, r1: inputs, r2: their end, r12: weights, lr: stride; sums in r4 to r11.
 */
#define MULTIPLY(low, high, at) \
    "ldrsh.w r3, [r12, #" at "]\n\t" \
    "smlal " low ", " high ", r3, r0\n\t"
#define PAIR_OF_INPUTS \
    "ldrsh r0, [r1], #2\n\t" \
    MULTIPLY("r4", "r5", "0") \
    MULTIPLY("r6", "r7", "4") \
    MULTIPLY("r8", "r9", "8") \
    MULTIPLY("r10", "r11", "12") \
    "ldrsh r0, [r1], #2\n\t" \
    MULTIPLY("r4", "r5", "2") \
    MULTIPLY("r6", "r7", "6") \
    MULTIPLY("r8", "r9", "10") \
    MULTIPLY("r10", "r11", "14") \
    "add r12, lr\n\t"
#define FINISH(low, high) \
    "lsr " low ", " low ", r1\n\t" \
    "lsl " high ", " high ", r2\n\t" \
    "orr " low ", " low ", " high "\n\t"
#define CLIP_AND_STORE(z) \
    "cmp " z ", r2\n\t" \
    "it gt\n\t" \
    "movgt " z ", r2\n\t" \
    "cmp " z ", r1\n\t" \
    "it lt\n\t" \
    "movlt " z ", r1\n\t" \
    "strh " z ", [r3], #2\n\t"

/* All groups of 4 outputs up to z_end, which is behind one. */
INLINE void dense_groups(dense_t *dense)
{
    register dense_t *d __asm__("r0") = dense;

    __asm__ volatile(
        "push {r7}\n"
        "1:\n\t"
        "push {r0}\n\t"
        "ldm r0, {r1, r2, r3, r12, lr}\n\t"
        "ldrsh r4, [r3]\n\t"
        "ldrsh r6, [r3, #2]\n\t"
        "ldrsh r8, [r3, #4]\n\t"
        "ldrsh r10, [r3, #6]\n\t"
        "mla r4, r4, r1, r2\n\t"
        "mla r6, r6, r1, r2\n\t"
        "mla r8, r8, r1, r2\n\t"
        "mla r10, r10, r1, r2\n\t"
        "asrs r5, r4, #31\n\t"
        "asrs r7, r6, #31\n\t"
        "asr r9, r8, #31\n\t"
        "asr r11, r10, #31\n\t"
        "ldrd r1, r2, [r0, #20]\n\t"
        "ldr r3, [r0, #28]\n\t"
        "tbb [pc, r3]\n"
        "0:\n\t"
        ".byte (2f - 0b) / 2, (3f - 0b) / 2, (4f - 0b) / 2, (5f - 0b) / 2\n"
        "2:\n\t"
        PAIR_OF_INPUTS
        "3:\n\t"
        PAIR_OF_INPUTS
        "4:\n\t"
        PAIR_OF_INPUTS
        "5:\n\t"
        PAIR_OF_INPUTS
        "cmp r1, r2\n\t"
        "bne 2b\n\t"
        "pop {r0}\n\t"
        "ldrd r1, r2, [r0, #32]\n\t"
        FINISH("r4", "r5")
        FINISH("r6", "r7")
        FINISH("r8", "r9")
        FINISH("r10", "r11")
        "ldrd r1, r2, [r0, #40]\n\t"
        "ldrd r3, r5, [r0, #48]\n\t"
        CLIP_AND_STORE("r4")
        CLIP_AND_STORE("r6")
        CLIP_AND_STORE("r8")
        CLIP_AND_STORE("r10")
        "str r3, [r0, #48]\n\t"
        "ldrd r1, r2, [r0, #8]\n\t"
        "adds r1, #8\n\t"
        "adds r2, #16\n\t"
        "strd r1, r2, [r0, #8]\n\t"
        "cmp r3, r5\n\t"
        "bne 1b\n\t"
        "pop {r7}"
        : "+r"(d)
        :
        : "r1", "r2", "r3", "r4", "r5", "r6", "r8", "r9", "r10", "r11", "r12", "lr", "cc",
          "memory");
}

/* One z, in C. */
INLINE int16_t dense_1(const bp_layer_t *layer, const dense_t *d, size_t j)
{
    sum_t sum = (int64_t)d->b[j] * d->scale + d->half;
    const int16_t *w = d->w + 2 * j;
    const int16_t *a;

    for (a = d->a_in; a != d->end; a += 2) {
        add_two(&sum, w[0], a[0], w[1], a[1]);
        w += d->stride / 2;
    }
    return z_of(sum, layer);
}

/* The last 4 outputs may be some of the 4 before. In C: fewer than 4, and sums that shifted do not
 * fit 32 bits, for they are below (inputs + 2) * 2^30.
 */
void bp_dense(int16_t *z, const bp_layer_t *layer, const int16_t *w, const int16_t *b,
              const int16_t *a_in, bp_counters_t *counters)
{
    const size_t n = layer->outputs;
    const size_t again = (0 - n) & 3;
    size_t j;
    dense_t d;

    (void)counters;
    d.shift = (uint32_t)layer->z_shift;
    d.unshift = 32 - d.shift;
    d.scale = (int32_t)1 << layer->a_in_frac;
    d.half = half_of((uint8_t)d.shift);
    d.b = b;
    d.w = w;
    d.stride = 4 * n;
    d.a_in = a_in;
    d.end = a_in + even_inputs(layer);
    d.entry = (0 - even_inputs(layer) / 2) & 3;
    d.lowest = layer->z_lowest;
    d.top = layer->z_top;
    d.z = z;
    d.z_end = z + (n & ~(size_t)3);
    if (n < 4 || layer->inputs + (size_t)2 > (size_t)2 << d.shift) {
        for (j = 0; j < n; j++) {
            z[j] = dense_1(layer, &d, j);
        }
        return;
    }
    dense_groups(&d);
    if (again != 0) {
        d.b -= again;
        d.w -= 2 * again;
        d.z -= again;
        d.z_end = z + n;
        dense_groups(&d);
    }
}

#else

/* Read by offset. */
typedef struct {
    const int16_t *w;
    const int16_t *a_in; /* at a multiple of 4 */
    const int16_t *end;
    size_t block;  /* bytes of inputs whose products fit 32 bits */
    size_t stride; /* bytes of weights from a pair of inputs to the next */
    sum_t *sum;
} dot_t;

/* r0: inputs, r1: weights, r2 and r3: a pair of inputs; block sums in r8 to r11. */
#define MULTIPLY(words, block) \
    "sxth r6, " words "\n\t" \
    "muls r6, r2\n\t" \
    "asrs " words ", #16\n\t" \
    "muls " words ", r3\n\t" \
    "adds r6, " words "\n\t" \
    "add " block ", r6\n\t"
#define ADD_BLOCK(block) \
    "mov r2, " block "\n\t" \
    "ldmia r6!, {r3, r4}\n\t" \
    "adds r3, r2\n\t" \
    "asrs r2, #16\n\t" \
    "adds r4, r2\n\t" \
    "stmia r5!, {r3, r4}\n\t"

INLINE void dot4(const dot_t *dot)
{
    register const dot_t *p __asm__("r7") = dot;

    __asm__ volatile(
        ".syntax unified\n\t"
        "ldr r1, [r7, #0]\n\t"
        "ldr r0, [r7, #4]\n\t"
        "ldr r2, [r7, #16]\n\t"
        "subs r2, #16\n\t"
        "mov r12, r2\n"
        "1:\n\t"
        "ldr r2, [r7, #12]\n\t"
        "adds r2, r0\n\t"
        "ldr r3, [r7, #8]\n\t"
        "cmp r2, r3\n\t"
        "bls 2f\n\t"
        "movs r2, r3\n"
        "2:\n\t"
        "mov lr, r2\n\t"
        "movs r2, #0\n\t"
        "mov r8, r2\n\t"
        "mov r9, r2\n\t"
        "mov r10, r2\n\t"
        "mov r11, r2\n"
        "3:\n\t"
        "ldmia r0!, {r4}\n\t"
        "sxth r2, r4\n\t"
        "asrs r3, r4, #16\n\t"
        "ldmia r1!, {r4, r5}\n\t"
        MULTIPLY("r4", "r8")
        MULTIPLY("r5", "r9")
        "ldmia r1!, {r4, r5}\n\t"
        MULTIPLY("r4", "r10")
        MULTIPLY("r5", "r11")
        "add r1, r12\n\t"
        "cmp r0, lr\n\t"
        "bne 3b\n\t"
        "ldr r6, [r7, #20]\n\t"
        "movs r5, r6\n\t"
        ADD_BLOCK("r8")
        ADD_BLOCK("r9")
        ADD_BLOCK("r10")
        ADD_BLOCK("r11")
        "ldr r3, [r7, #8]\n\t"
        "cmp r0, r3\n\t"
        "bne 1b"
        :
        : "r"(p)
        : "r0", "r1", "r2", "r3", "r4", "r5", "r6", "r8", "r9", "r10", "r11", "r12", "lr", "cc",
          "memory");
}

INLINE void dense_lanes(int16_t *z, const bp_layer_t *layer, dot_t dot, const int16_t *b,
                        size_t lanes)
{
    const int32_t half = half_of((uint8_t)layer->z_shift);
    const int16_t *a;
    sum_t sum[LANES];
    size_t k;

    EACH (k, lanes) {
        sum[k] = sum_of32((int32_t)b[k] * ((int32_t)1 << layer->a_in_frac) + half);
    }
    dot.sum = sum;
    if (lanes == LANES) {
        dot4(&dot);
    } else {
        for (a = dot.a_in; a != dot.end; a += 2) {
            add_two(sum, dot.w[0], a[0], dot.w[1], a[1]);
            dot.w += 2 * (size_t)layer->outputs;
        }
    }
    for (k = 0; k < lanes; k++) {
        z[k] = z_of(sum[k], layer);
    }
}

/* The last 4 outputs may be some of the 4 before; fewer than 4 come one by one. */
void bp_dense(int16_t *z, const bp_layer_t *layer, const int16_t *w, const int16_t *b,
              const int16_t *a_in, bp_counters_t *counters)
{
    const bp_layer_t l = *layer;
    const size_t last = (size_t)l.outputs - LANES; /* with as many outputs */
    size_t j = 0;
    dot_t dot;

    (void)counters;
    dot.a_in = a_in;
    dot.end = a_in + even_inputs(&l);
    dot.block = 2 * (size_t)l.block;
    dot.stride = 4 * (size_t)l.outputs;
    if (l.outputs < LANES) {
        for (; j < l.outputs; j++) {
            dot.w = w + 2 * j;
            dense_lanes(z + j, &l, dot, b + j, 1);
        }
        return;
    }
    for (;;) {
        dot.w = w + 2 * j;
        dense_lanes(z + j, &l, dot, b + j, LANES);
        if (j == last) {
            return;
        }
        j = j + LANES < last ? j + LANES : last;
    }
}

#endif

/* ---- Updates: the weights of a pair of inputs to an even number of outputs ------------------- */

#if defined(__ARM_ARCH_7M__)

#define MOVE24(u, shift) \
    "ldrsh %[m], [%[w]]\n\t" \
    "ldrb %[x], [%[w_low]]\n\t" \
    "mla %[p], %[g], %[" u "], %[half]\n\t" \
    "add %[x], %[x], %[m], lsl #8\n\t" \
    "add %[x], %[x], %[p], asr #" shift "\n\t" \
    "ssat %[x], #24, %[x]\n\t" \
    "strb %[x], [%[w_low]], #1\n\t" \
    "asr %[x], %[x], #8\n\t" \
    "strh %[x], [%[w]], #2\n\t"
#define MOVE_TWO24(shift) \
    "ldrsh %[g], [%[step]], #2\n\t" \
    MOVE24("u0", shift) \
    MOVE24("u1", shift)
#define RUN24(shift) \
    __asm__ volatile( \
        "1:\n\t" \
        MOVE_TWO24(shift) \
        MOVE_TWO24(shift) \
        "cmp %[step], %[end]\n\t" \
        "bne 1b" \
        : [w] "+r"(w), [w_low] "+r"(w_low), [step] "+r"(step), [g] "=&r"(g), [m] "=&r"(m), \
          [x] "=&r"(x), [p] "=&r"(p) \
        : [end] "r"(end), [u0] "r"(u0), [u1] "r"(u1), [half] "r"(half) \
        : "cc", "memory")

INLINE void run24(int16_t *w, uint8_t *w_low, const int16_t *step, const int16_t *end, int32_t u0,
                  int32_t u1, uint8_t shift)
{
    const int32_t half = half_of(shift);
    int32_t g, m, x, p;

    if (shift == 8) {
        RUN24("8");
    } else if (shift == 16) {
        RUN24("16");
    } else {
        RUN24("24");
    }
}

#define MOVE16(u, r, shift, down) \
    "ldrsh %[m], [%[w]]\n\t" \
    "lsr %[p], %[" r "], #" down "\n\t" \
    "mla %[p], %[g], %[" u "], %[p]\n\t" \
    "add %[" r "], %[" r "], %[row]\n\t" \
    "add %[m], %[m], %[p], asr #" shift "\n\t" \
    "ssat %[m], #16, %[m]\n\t" \
    "strh %[m], [%[w]], #2\n\t"
#define MOVE_TWO16(shift, down) \
    "ldrsh %[g], [%[step]], #2\n\t" \
    MOVE16("u0", "r0", shift, down) \
    MOVE16("u1", "r1", shift, down)
#define RUN16(shift, down) \
    __asm__ volatile( \
        "1:\n\t" \
        MOVE_TWO16(shift, down) \
        MOVE_TWO16(shift, down) \
        "cmp %[step], %[end]\n\t" \
        "bne 1b" \
        : [w] "+r"(w), [step] "+r"(step), [r0] "+r"(r0), [r1] "+r"(r1), [g] "=&r"(g), \
          [m] "=&r"(m), [p] "=&r"(p) \
        : [end] "r"(end), [u0] "r"(u0), [u1] "r"(u1), [row] "r"(row) \
        : "cc", "memory")

INLINE void run16(int16_t *w, const int16_t *step, const int16_t *end, int32_t u0, int32_t u1,
                  uint32_t r0, uint32_t r1, uint32_t row, uint8_t shift)
{
    int32_t g, m, p;

    if (shift == 16) {
        RUN16("16", "16");
    } else {
        RUN16("24", "8");
    }
}

#else

/* A master of 24 bits, or a weight and its dither, stand in the upper bits of a word; what moves
 * them is added to the whole word, which overflows when they do. They then end at the limit on the
 * side of what has not overflowed: after asrs r5, #31 all ones for the upper one, but for the sign.
 * r0: w, r1: w_low or u0, r2: steps, r7: u1.
 */
#define STEP_AND_PRODUCTS(at, u0, words) \
    "ldrh r3, [r2, #" at "]\n\t" \
    "sxth r3, r3\n\t" \
    "mov r6, " u0 "\n\t" \
    "muls r6, r3\n\t" \
    "muls r3, r7\n\t" \
    "ldr r4, [r0, #" words "]\n\t"
#define LOWER_WEIGHT "lsls r6, r4, #16\n\t"
#define UPPER_WEIGHT "lsrs r6, r4, #16\n\tlsls r6, r6, #16\n\t"

#define MOVE24(product, weight, w, low, n) \
    "ldrb r5, [r1, #" low "]\n\t" \
    "lsls r5, r5, #8\n\t" \
    "adds r5, #128\n\t" \
    "adds r5, " product "\n\t" \
    weight \
    "adds r5, r6\n\t" \
    "bvs 1" n "f\n\t" \
    "lsrs r6, r5, #8\n\t" \
    "strb r6, [r1, #" low "]\n\t" \
    "lsrs r5, r5, #16\n\t" \
    "strh r5, [r0, #" w "]\n" \
    "2" n ":\n\t"
#define LIMIT24(w, low, n) \
    "1" n ":\n\t" \
    "asrs r5, r5, #31\n\t" \
    "strb r5, [r1, #" low "]\n\t" \
    "mov r6, r10\n\t" \
    "eors r5, r6\n\t" \
    "strh r5, [r0, #" w "]\n\t" \
    "b 2" n "b\n"
#define RUN24(shift_r6, shift_r3) \
    __asm__ volatile( \
        ".syntax unified\n" \
        "1:\n\t" \
        STEP_AND_PRODUCTS("0", "r8", "0") \
        shift_r6 \
        MOVE24("r6", LOWER_WEIGHT, "0", "0", "0") \
        shift_r3 \
        MOVE24("r3", UPPER_WEIGHT, "2", "1", "1") \
        STEP_AND_PRODUCTS("2", "r8", "4") \
        shift_r6 \
        MOVE24("r6", LOWER_WEIGHT, "4", "2", "2") \
        shift_r3 \
        MOVE24("r3", UPPER_WEIGHT, "6", "3", "3") \
        "adds r0, #8\n\t" \
        "adds r1, #4\n\t" \
        "adds r2, #4\n\t" \
        "cmp r2, r9\n\t" \
        "bne 1b\n\t" \
        "b 2f\n" \
        LIMIT24("0", "0", "0") \
        LIMIT24("2", "1", "1") \
        LIMIT24("4", "2", "2") \
        LIMIT24("6", "3", "3") \
        "2:" \
        : "+r"(w), "+r"(w_low), "+r"(step) \
        : "r"(end), "r"(u0), "r"(u1), "r"(sign) \
        : "r3", "r4", "r5", "r6", "cc", "memory")

INLINE void run24(int16_t *weights, uint8_t *low, const int16_t *steps, const int16_t *last,
                  int32_t v0, int32_t v1, uint8_t shift)
{
    register int16_t *w __asm__("r0") = weights;
    register uint8_t *w_low __asm__("r1") = low;
    register const int16_t *step __asm__("r2") = steps;
    register int32_t u1 __asm__("r7") = v1;
    register int32_t u0 __asm__("r8") = v0;
    register const int16_t *end __asm__("r9") = last;
    register int32_t sign __asm__("r10") = 32768;

    if (shift == 8) {
        RUN24("", "");
    } else if (shift == 16) {
        RUN24("asrs r6, r6, #8\n\t", "asrs r3, r3, #8\n\t");
    } else {
        RUN24("asrs r6, r6, #16\n\t", "asrs r3, r3, #16\n\t");
    }
}

#define MOVE16(product, weight, dither, w, n) \
    "mov r5, " dither "\n\t" \
    "lsrs r5, r5, #16\n\t" \
    "add " dither ", r12\n\t" \
    "adds r5, " product "\n\t" \
    weight \
    "adds r5, r6\n\t" \
    "bvs 1" n "f\n\t" \
    "lsrs r5, r5, #16\n\t" \
    "strh r5, [r0, #" w "]\n" \
    "2" n ":\n\t"
#define LIMIT16(w, n) \
    "1" n ":\n\t" \
    "asrs r5, r5, #31\n\t" \
    "mov r6, r10\n\t" \
    "eors r5, r6\n\t" \
    "strh r5, [r0, #" w "]\n\t" \
    "b 2" n "b\n"
#define RUN16(shift_r6, shift_r3) \
    __asm__ volatile( \
        ".syntax unified\n" \
        "1:\n\t" \
        STEP_AND_PRODUCTS("0", "r1", "0") \
        shift_r6 \
        MOVE16("r6", LOWER_WEIGHT, "r8", "0", "0") \
        shift_r3 \
        MOVE16("r3", UPPER_WEIGHT, "r11", "2", "1") \
        STEP_AND_PRODUCTS("2", "r1", "4") \
        shift_r6 \
        MOVE16("r6", LOWER_WEIGHT, "r8", "4", "2") \
        shift_r3 \
        MOVE16("r3", UPPER_WEIGHT, "r11", "6", "3") \
        "adds r0, #8\n\t" \
        "adds r2, #4\n\t" \
        "cmp r2, r9\n\t" \
        "bne 1b\n\t" \
        "b 2f\n" \
        LIMIT16("0", "0") \
        LIMIT16("2", "1") \
        LIMIT16("4", "2") \
        LIMIT16("6", "3") \
        "2:" \
        : "+r"(w), "+r"(step), "+r"(r0), "+r"(r1) \
        : "r"(end), "r"(u0), "r"(u1), "r"(sign), "r"(row) \
        : "r3", "r4", "r5", "r6", "cc", "memory")

INLINE void run16(int16_t *weights, const int16_t *steps, const int16_t *last, int32_t v0,
                  int32_t v1, uint32_t dither0, uint32_t dither1, uint32_t next, uint8_t shift)
{
    register int16_t *w __asm__("r0") = weights;
    register int32_t u0 __asm__("r1") = v0;
    register const int16_t *step __asm__("r2") = steps;
    register int32_t u1 __asm__("r7") = v1;
    register uint32_t r0 __asm__("r8") = dither0;
    register const int16_t *end __asm__("r9") = last;
    register int32_t sign __asm__("r10") = 32768;
    register uint32_t r1 __asm__("r11") = dither1;
    register uint32_t row __asm__("r12") = next;

    if (shift == 16) {
        RUN16("", "");
    } else {
        RUN16("asrs r6, r6, #8\n\t", "asrs r3, r3, #8\n\t");
    }
}

#endif

/* In C: what is left of an odd number of outputs, and shifts that a sensible learning rate does not
 * have.
 */
INLINE void residual_weights(int16_t *w, uint8_t *w_low, const bp_layer_t *layer,
                             const int16_t *a_in, const int16_t *g, bp_alignment_t alignment)
{
    const scale_t scale = scale_of(layer, alignment);
    const uint8_t shift = (uint8_t)alignment.shift;
    const size_t outputs = layer->outputs;
    const size_t run = shift < 8 ? 0 : outputs & ~(size_t)1;
    const int16_t *const end = a_in + even_inputs(layer);
    size_t j;

    do {
        int32_t u0 = scaled(a_in[0], scale);
        int32_t u1 = scaled(a_in[1], scale);

        if (run != 0) {
            run24(w, w_low, g, g + run, u0, u1, shift);
        }
        for (j = run; j < outputs; j++) {
            step_residual(w + 2 * j, w_low + 2 * j, g[j] * u0, (int8_t)shift, NULL);
            step_residual(w + 2 * j + 1, w_low + 2 * j + 1, g[j] * u1, (int8_t)shift, NULL);
        }
        w += 2 * outputs;
        w_low += 2 * outputs;
        a_in += 2;
    } while (a_in != end);
}

INLINE void stochastic_weights(int16_t *w, const bp_layer_t *layer, const int16_t *a_in,
                               const int16_t *g, bp_alignment_t alignment, uint16_t dither)
{
    const scale_t scale = scale_of(layer, alignment);
    const uint8_t shift = (uint8_t)alignment.shift;
    const size_t outputs = layer->outputs;
    const size_t run = shift < 16 ? 0 : outputs & ~(size_t)1;
    const int16_t *const end = a_in + even_inputs(layer);
    const uint32_t row = (WEYL << 16) * layer->inputs; /* dithers are in the upper half */
    uint32_t r0 = (uint32_t)dither << 16;
    size_t j;

    do {
        int32_t u0 = scaled(a_in[0], scale);
        int32_t u1 = scaled(a_in[1], scale);
        uint32_t r1 = r0 + (WEYL << 16);

        if (run != 0) {
            run16(w, g, g + run, u0, u1, r0, r1, row, shift);
        }
        for (j = run; j < outputs; j++) {
            uint32_t skipped = row * (uint32_t)j;

            step_stochastic(w + 2 * j, g[j] * u0, (int8_t)shift,
                            (uint16_t)((r0 + skipped) >> 16), NULL);
            step_stochastic(w + 2 * j + 1, g[j] * u1, (int8_t)shift,
                            (uint16_t)((r1 + skipped) >> 16), NULL);
        }
        w += 2 * outputs;
        a_in += 2;
        r0 = r1 + (WEYL << 16);
    } while (a_in != end);
}

#endif

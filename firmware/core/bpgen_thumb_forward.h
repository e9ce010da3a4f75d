/* bpgen_thumb_forward.h -- the loops of a layer forward in assembly, for Cortex-M0, M0+ and M3.
 *
 * bpgen_lanes_forward.h alone includes this, and its C for other cores says what each of these
 * computes. The loops take the same instructions whatever the numbers, but on M0 one or two more
 * for a z that is clipped. Where the sums of a layer could exceed what a loop provides for, which
 * those of a sensible format do not, C stands in.
 * SPDX-License-Identifier: 0BSD
 */
#ifndef BPGEN_THUMB_FORWARD_H
#define BPGEN_THUMB_FORWARD_H

/* ---- Layers --------------------------------------------------------------------------------- */

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

#else

/* What a group of 4 outputs takes from memory, by offset. */
typedef struct {
    int32_t upper[4]; /* the sums' bits from 16 up */
    const int16_t *b;
    uint32_t b_shift; /* 16 less the fraction bits of the inputs */
    int32_t half;     /* rounds the sums */
    const int16_t *w;
    const int16_t *a_in; /* at a multiple of 4 */
    const int16_t *end;
    uint32_t first; /* bytes of inputs in the first block of products that fit 32 bits */
    uint32_t block; /* and in the others */
    uint32_t skip;  /* bytes of weights from the 4 outputs to those for the next inputs */
    uint32_t shift;
    uint32_t unshift; /* 32 - shift */
    int32_t lowest;
    int32_t top;
    int16_t *z;
    const int16_t *z_end;
} dense_t;

/* r0: inputs, r1: weights, r2 and r3: a pair of inputs; sums modulo 2^32 in r8 to r11. */
#define MULTIPLY(words, sum) \
    "sxth r6, " words "\n\t" \
    "muls r6, r2\n\t" \
    "asrs " words ", #16\n\t" \
    "muls " words ", r3\n\t" \
    "adds r6, " words "\n\t" \
    "add " sum ", r6\n\t"
/* A block moves a sum by less than 2^31, thus its bits from 16 up by what fits 16 bits; as much as
 * those of the sum modulo 2^32.
 */
#define FOLD(sum, upper) \
    "mov r6, " sum "\n\t" \
    "asrs r6, r6, #16\n\t" \
    "subs r6, r6, " upper "\n\t" \
    "sxth r6, r6\n\t" \
    "adds " upper ", " upper ", r6\n\t"
/* r1: biases, r2: b_shift, r3: half. */
#define BEGIN_SUM(at, sum, upper) \
    "ldrh " upper ", [r1, #" at "]\n\t" \
    "lsls " upper ", " upper ", #16\n\t" \
    "asrs " upper ", r2\n\t" \
    "adds " upper ", " upper ", r3\n\t" \
    "mov " sum ", " upper "\n\t" \
    "asrs " upper ", " upper ", #16\n\t"
/* r0: 32 - shift, r1: z, r5: shift, r12: lowest, lr: top. */
#define FINISH(n, sum, upper, at) \
    "ldr r3, [r7, #" upper "]\n\t" \
    "asrs r3, r3, #16\n\t" \
    "lsls r3, r0\n\t" \
    "mov r2, " sum "\n\t" \
    "lsrs r2, r5\n\t" \
    "orrs r2, r3\n\t" \
    "cmp r2, r12\n\t" \
    "bge 1" n "f\n\t" \
    "mov r2, r12\n" \
    "1" n ":\n\t" \
    "cmp r2, lr\n\t" \
    "ble 2" n "f\n\t" \
    "mov r2, lr\n" \
    "2" n ":\n\t" \
    "strh r2, [r1, #" at "]\n\t"

/* All groups of 4 outputs up to z_end, which is behind one. */
INLINE void dense_groups(dense_t *dense)
{
    register dense_t *d __asm__("r7") = dense;

    __asm__ volatile(
        ".syntax unified\n"
        "0:\n\t"
        "ldr r1, [r7, #16]\n\t"
        "ldr r2, [r7, #20]\n\t"
        "ldr r3, [r7, #24]\n\t"
        BEGIN_SUM("0", "r8", "r0")
        BEGIN_SUM("2", "r9", "r4")
        BEGIN_SUM("4", "r10", "r5")
        BEGIN_SUM("6", "r11", "r6")
        "stmia r7!, {r0, r4, r5, r6}\n\t"
        "adds r1, #8\n\t"
        "str r1, [r7, #0]\n\t"
        "subs r7, #16\n\t"
        "ldr r1, [r7, #28]\n\t"
        "ldr r0, [r7, #32]\n\t"
        "ldr r2, [r7, #48]\n\t"
        "mov r12, r2\n\t"
        "mov lr, r0\n\t"
        "ldr r3, [r7, #40]\n"
        "1:\n\t"
        "add lr, r3\n"
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
        "movs r6, r7\n\t"
        "ldmia r6!, {r2, r3, r4, r5}\n\t"
        FOLD("r8", "r2")
        FOLD("r9", "r3")
        FOLD("r10", "r4")
        FOLD("r11", "r5")
        "stmia r7!, {r2, r3, r4, r5}\n\t"
        "subs r7, #16\n\t"
        "ldr r2, [r7, #36]\n\t"
        "ldr r3, [r7, #44]\n\t"
        "cmp r0, r2\n\t"
        "bne 1b\n\t"
        "ldr r2, [r7, #60]\n\t"
        "mov r12, r2\n\t"
        "ldr r2, [r7, #64]\n\t"
        "mov lr, r2\n\t"
        "ldr r5, [r7, #52]\n\t"
        "ldr r0, [r7, #56]\n\t"
        "ldr r1, [r7, #68]\n\t"
        FINISH("0", "r8", "0", "0")
        FINISH("1", "r9", "4", "2")
        FINISH("2", "r10", "8", "4")
        FINISH("3", "r11", "12", "6")
        "adds r1, #8\n\t"
        "str r1, [r7, #68]\n\t"
        "ldr r2, [r7, #28]\n\t"
        "adds r2, #16\n\t"
        "str r2, [r7, #28]\n\t"
        "ldr r2, [r7, #72]\n\t"
        "cmp r1, r2\n\t"
        "beq 5f\n\t"
        "b 0b\n"
        "5:"
        :
        : "r"(d)
        : "r0", "r1", "r2", "r3", "r4", "r5", "r6", "r8", "r9", "r10", "r11", "r12", "lr", "cc",
          "memory");
}

#include "bpgen_thumb_blocks.h"

#endif

/* z of the sum, which has half a unit of z in it. What is beyond 32 bits is beyond s16 after any
 * shift below 16.
 */
INLINE int16_t z_of(sum_t sum, const bp_layer_t *layer)
{
    const uint8_t shift = (uint8_t)layer->z_shift;
    int32_t z = upper(sum);

    if (shift >= 16) {
        z = bp_shr32(z, (uint8_t)(shift - 16));
    } else {
        z = bp_shr32(z == (int16_t)z ? lower(sum) : bp_shr32(z, 31) ^ INT32_MAX, shift);
    }
    return (int16_t)clip(z, layer->z_lowest, layer->z_top);
}

/* One z, in C. */
INLINE int16_t dense_1(const bp_layer_t *layer, const int16_t *w, int16_t b, const int16_t *a_in)
{
    const int16_t *const end = a_in + even_inputs(layer);
    sum_t sum = sum_of32((int32_t)b * ((int32_t)1 << layer->a_in_frac) +
                         half_of((uint8_t)layer->z_shift));

    for (; a_in != end; a_in += 2) {
        add_two(&sum, w[0], a_in[0], w[1], a_in[1]);
        w += 2 * (size_t)layer->outputs;
    }
    return z_of(sum, layer);
}

/* The last 4 outputs may be some of the 4 before. In C: fewer than 4, and sums that shifted do not
 * fit 32 bits, for they are below (inputs + 2) * 2^30.
 */
static void dense(int16_t *z, const bp_layer_t *layer, const int16_t *w, const int16_t *b,
                  const int16_t *a_in)
{
    const size_t n = layer->outputs;
    const size_t inputs = even_inputs(layer);
    size_t again = (0 - n) & 3;
    size_t j;
    dense_t d;
#if !defined(__ARM_ARCH_7M__)
    const uint32_t block = layer->block;
    uint32_t first;
#endif

    d.shift = (uint32_t)layer->z_shift;
    if (n < 4 || inputs > 32767 || inputs + 2 > (size_t)2 << d.shift) {
        for (j = 0; j < n; j++) {
            z[j] = dense_1(layer, w + 2 * j, b[j], a_in);
        }
        return;
    }
    d.unshift = 32 - d.shift;
    d.half = half_of((uint8_t)d.shift);
    d.b = b;
    d.w = w;
    d.a_in = a_in;
    d.end = a_in + inputs;
#if defined(__ARM_ARCH_7M__)
    d.scale = (int32_t)1 << layer->a_in_frac;
    d.stride = 4 * n;
    d.entry = (0 - inputs / 2) & 3;
#else
    d.b_shift = 16u - layer->a_in_frac;
    d.skip = 4 * n - 16;
    first = (uint32_t)inputs;
    while (first > block) {
        first -= block;
    }
    d.first = 2 * first;
    d.block = 2 * block;
#endif
    d.lowest = layer->z_lowest;
    d.top = layer->z_top;
    d.z = z;
    d.z_end = z + (n & ~(size_t)3);
    for (;;) {
        dense_groups(&d);
        if (again == 0) {
            return;
        }
        d.b -= again;
        d.w -= 2 * again;
        d.z -= again;
        d.z_end = z + n;
        again = 0;
    }
}

#if defined(__ARM_ARCH_7M__)

void bp_dense(int16_t *z, const bp_layer_t *layer, const int16_t *w, const int16_t *b,
              const int16_t *a_in, bp_counters_t *counters)
{
    (void)counters;
    dense(z, layer, w, b, a_in);
}

#else

void bp_dense(int16_t *z, const bp_layer_t *layer, const int16_t *w, const int16_t *b,
              const int16_t *a_in, bp_counters_t *counters)
{
    (void)counters;
    if (in_blocks(layer)) {
        dense_blocks(z, layer, w, b, a_in, NULL);
    } else {
        dense(z, layer, w, b, a_in);
    }
}

void bp_dense_sigmoid(int16_t *a, const bp_layer_t *layer, const int16_t *w, const int16_t *b,
                      const int16_t *a_in, bp_counters_t *counters)
{
    (void)counters;
    if (!in_blocks(layer)) {
        dense(a, layer, w, b, a_in);
    } else if (layer->table_bits == 7 && layer->a_frac == 12 && layer->z_lowest == -layer->z_top) {
        dense_blocks(a, layer, w, b, a_in, layer->table);
        return;
    } else {
        dense_blocks(a, layer, w, b, a_in, NULL);
    }
    bp_sigmoid(a, layer->table, layer->table_bits, layer->a_frac, layer->outputs);
}

#endif

#if defined(__ARM_ARCH_6M__)

/* ---- Sigmoids ------------------------------------------------------------------------------- */

/* The loop of bp_sigmoid(). r3 is z, u, then y, and r5 all ones where z is negative. */
INLINE void sigmoids(int16_t *first, int16_t *behind, const uint16_t *entries, uint32_t index_shift,
                     uint32_t result_shift, uint32_t rounds, uint32_t remainder, uint32_t unit)
{
    register int16_t *a __asm__("r0") = first;
    register const uint16_t *table __asm__("r1") = entries;
    register uint32_t shift __asm__("r2") = index_shift;
    register uint32_t mask __asm__("r7") = remainder;
    register uint32_t half __asm__("r8") = rounds;
    register uint32_t surplus __asm__("r9") = result_shift;
    register uint32_t one __asm__("r10") = unit;
    register int16_t *end __asm__("r11") = behind;
    register uint32_t more __asm__("r12") = unit + 1; /* -y - 1 and this are one - y */

    __asm__ volatile(".syntax unified\n"
                     "1:\n\t"
                     "ldrh r3, [r0]\n\t"
                     "sxth r3, r3\n\t"
                     "asrs r5, r3, #31\n\t"
                     "eors r3, r5\n\t"
                     "subs r3, r3, r5\n\t"
                     "lsrs r4, r3, #15\n\t"
                     "subs r3, r3, r4\n\t"
                     "movs r4, r3\n\t"
                     "lsrs r4, r2\n\t"
                     "lsls r4, r4, #1\n\t"
                     "adds r4, r4, r1\n\t"
                     "ldrh r6, [r4]\n\t"
                     "ldrh r4, [r4, #2]\n\t"
                     "subs r4, r4, r6\n\t"
                     "ands r3, r7\n\t"
                     "muls r3, r4\n\t"
                     "lsls r6, r2\n\t"
                     "adds r3, r3, r6\n\t"
                     "add r3, r8\n\t"
                     "mov r6, r9\n\t"
                     "lsrs r3, r6\n\t"
                     "eors r3, r5\n\t"
                     "mov r6, r12\n\t"
                     "ands r5, r6\n\t"
                     "adds r3, r3, r5\n\t"
                     "cmp r3, r10\n\t"
                     "bne 2f\n\t"
                     "subs r3, #1\n"
                     "2:\n\t"
                     "strh r3, [r0]\n\t"
                     "adds r0, #2\n\t"
                     "cmp r0, r11\n\t"
                     "bne 1b"
                     : "+r"(a)
                     : "r"(table), "r"(shift), "r"(mask), "r"(half), "r"(surplus), "r"(one),
                       "r"(end), "r"(more)
                     : "r3", "r4", "r5", "r6", "cc", "memory");
}

#endif

#endif

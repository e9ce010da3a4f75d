/* bpgen_kernels_thumb.h -- the loops over weights in assembly, for Cortex-M0, M0+ and M3.
 *
 * bpgen_kernels_lanes.h includes this, and its C for other cores says what each of these computes.
 * The loops take the same instructions whatever the numbers, but on M0 one or two more for a z or a
 * delta that is clipped, one for most weights of odd inputs that are, and two for a bias that is.
 * Where the sums of a layer could exceed what a loop provides for, which those of a sensible format
 * do not, C stands in.
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

#endif

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
void bp_dense(int16_t *z, const bp_layer_t *layer, const int16_t *w, const int16_t *b,
              const int16_t *a_in, bp_counters_t *counters)
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

    (void)counters;
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

#if defined(__ARM_ARCH_6M__)

/* ---- Backward ------------------------------------------------------------------------------- */

/* The loop of bp_output_delta_sigmoid() for slopes that are shifted right. r3: a, then a - t, r4:
 * the slope, then a product, r7: bytes from the ends, up to 0.
 */
INLINE void output_deltas(int16_t *dz_end, const int16_t *a_end, const int16_t *t_end,
                          int32_t first, int32_t unit, int32_t slope_half, uint32_t slope_down,
                          int32_t rounds, uint32_t surplus, int32_t most)
{
    register int16_t *dz __asm__("r0") = dz_end;
    register const int16_t *a __asm__("r1") = a_end;
    register const int16_t *t __asm__("r2") = t_end;
    register int32_t left __asm__("r7") = first;
    register int32_t one __asm__("r8") = unit;
    register int32_t half_of_slope __asm__("r9") = slope_half;
    register uint32_t down __asm__("r10") = slope_down;
    register int32_t half __asm__("r11") = rounds;
    register uint32_t shift __asm__("r12") = surplus;
    register int32_t top __asm__("lr") = most;

    __asm__ volatile(".syntax unified\n"
                     "1:\n\t"
                     "ldrsh r3, [r1, r7]\n\t"
                     "mov r4, r8\n\t"
                     "subs r4, r4, r3\n\t"
                     "muls r4, r3\n\t"
                     "add r4, r9\n\t"
                     "mov r5, r10\n\t"
                     "asrs r4, r5\n\t"
                     "ldrsh r5, [r2, r7]\n\t"
                     "subs r3, r3, r5\n\t"
                     "muls r4, r3\n\t"
                     "add r4, r11\n\t"
                     "mov r5, r12\n\t"
                     "asrs r4, r5\n\t"
                     "mov r5, lr\n\t"
                     "cmp r4, r5\n\t"
                     "ble 2f\n\t"
                     "movs r4, r5\n"
                     "2:\n\t"
                     "rsbs r5, r5, #0\n\t"
                     "cmp r4, r5\n\t"
                     "bge 3f\n\t"
                     "movs r4, r5\n"
                     "3:\n\t"
                     "strh r4, [r0, r7]\n\t"
                     "adds r7, #2\n\t"
                     "bne 1b"
                     : "+r"(left)
                     : "r"(dz), "r"(a), "r"(t), "r"(one), "r"(half_of_slope), "r"(down),
                       "r"(half), "r"(shift), "r"(top)
                     : "r3", "r4", "r5", "cc", "memory");
}

/* The loop of bp_descent(): asrs and its carry round. */
INLINE void descents(int16_t *g_end, const int16_t *dz_end, int32_t negative_mantissa,
                     int32_t first)
{
    register int16_t *g __asm__("r0") = g_end;
    register const int16_t *dz __asm__("r1") = dz_end;
    register int32_t scale __asm__("r2") = negative_mantissa;
    register int32_t left __asm__("r3") = first;

    __asm__ volatile(".syntax unified\n\t"
                     "movs r5, #0\n"
                     "1:\n\t"
                     "ldrsh r4, [r1, r3]\n\t"
                     "muls r4, r2\n\t"
                     "asrs r4, r4, #15\n\t"
                     "adcs r4, r5\n\t"
                     "strh r4, [r0, r3]\n\t"
                     "adds r3, #2\n\t"
                     "bne 1b"
                     : "+r"(left)
                     : "r"(g), "r"(dz), "r"(scale)
                     : "r4", "r5", "cc", "memory");
}

/* What the deltas of inputs take from memory, by offset. */
typedef struct {
    uint32_t low; /* what a sum begins with, as a sum_t whose high has 2^15 more */
    int32_t high;
    int32_t first; /* bytes from the end of the outputs' deltas to the first */
    int32_t one;   /* of the inputs */
    int32_t slope_half;
    uint32_t slope_down;
    uint32_t shift;
    uint32_t unshift; /* 32 - shift */
    int32_t sum_top;  /* 2^23 - 1; the lower limit is -2^23, see delta_of() */
    int32_t top;
    int16_t *dz_in;
    const int16_t *a_end;
} deltas_t;

/* r4 clipped to what is at `top`, which becomes its lower limit by `negate`. */
#define CLIP(top, negate, n) \
    "ldr r6, [r7, #" top "]\n\t" \
    "cmp r4, r6\n\t" \
    "ble 1" n "f\n\t" \
    "movs r4, r6\n" \
    "1" n ":\n\t" \
    negate \
    "cmp r4, r6\n\t" \
    "bge 2" n "f\n\t" \
    "movs r4, r6\n" \
    "2" n ":\n\t"
/* r4 = delta_of() for a sum that fits 32 bits after its shift. */
#define DELTA(low, high, slope, n) \
    "mov r4, " low "\n\t" \
    "mov r5, " high "\n\t" \
    "lsrs r6, r4, #16\n\t" \
    "subs r5, r5, r6\n\t" \
    "asrs r5, r5, #16\n\t" \
    "ldr r6, [r7, #24]\n\t" \
    "lsrs r4, r6\n\t" \
    "ldr r6, [r7, #28]\n\t" \
    "lsls r5, r6\n\t" \
    "orrs r4, r5\n\t" \
    CLIP("32", "mvns r6, r6\n\t", "0" n) \
    "asrs r5, r4, #8\n\t" \
    "uxtb r4, r4\n\t" \
    "muls r5, " slope "\n\t" \
    "muls r4, " slope "\n\t" \
    "lsrs r4, r4, #8\n\t" \
    "adds r4, r4, r5\n\t" \
    "asrs r4, r4, #12\n\t" \
    "movs r5, #0\n\t" \
    "adcs r4, r5\n\t" \
    CLIP("36", "rsbs r6, r6, #0\n\t", "1" n)

/* The deltas of pairs of inputs, sigmoids at a_in up to a_end, whose sums fit 32 bits after their
 * shift. Sums are in r8 and r9, r10 and r11, slopes in r2 and r3. A first delta without a second
 * enters in the middle.
 */
INLINE void delta_rows(deltas_t *deltas, const int16_t *weights, const int16_t *end,
                       const int16_t *a_in)
{
    register const int16_t *w __asm__("r0") = weights;
    register const int16_t *dz_end __asm__("r1") = end;
    register const int16_t *a __asm__("r12") = a_in;
    register deltas_t *d __asm__("lr") = deltas;

    __asm__ volatile(".syntax unified\n"
                     "1:\n\t"
                     "mov r6, lr\n\t"
                     "ldmia r6!, {r2, r3, r7}\n\t"
                     "mov r8, r2\n\t"
                     "mov r9, r3\n\t"
                     "mov r10, r2\n\t"
                     "mov r11, r3\n\t"
                     "lsrs r2, r7, #2\n\t"
                     "bcc 2f\n\t"
                     "ldrsh r3, [r1, r7]\n\t"
                     "ldmia r0!, {r5}\n\t"
                     "movs r6, #0\n\t"
                     "movs r4, #0\n\t"
                     "b 3f\n"
                     "2:\n\t"
                     "ldrsh r2, [r1, r7]\n\t"
                     "adds r7, #2\n\t"
                     "ldrsh r3, [r1, r7]\n\t"
                     "ldmia r0!, {r4, r5}\n\t"
                     "sxth r6, r4\n\t"
                     "muls r6, r2\n\t"
                     "asrs r4, r4, #16\n\t"
                     "muls r4, r2\n"
                     "3:\n\t"
                     "sxth r2, r5\n\t"
                     "muls r2, r3\n\t"
                     "adds r6, r6, r2\n\t"
                     "add r8, r6\n\t"
                     "asrs r6, r6, #16\n\t"
                     "add r9, r6\n\t"
                     "asrs r5, r5, #16\n\t"
                     "muls r5, r3\n\t"
                     "adds r4, r4, r5\n\t"
                     "add r10, r4\n\t"
                     "asrs r4, r4, #16\n\t"
                     "add r11, r4\n\t"
                     "adds r7, #2\n\t"
                     "bne 2b\n\t"
                     "mov r4, r12\n\t"
                     "ldmia r4!, {r3}\n\t"
                     "mov r12, r4\n\t"
                     "uxth r2, r3\n\t"
                     "lsrs r3, r3, #16\n\t"
                     "mov r7, lr\n\t"
                     "ldr r4, [r7, #12]\n\t"
                     "subs r5, r4, r2\n\t"
                     "muls r2, r5\n\t"
                     "subs r5, r4, r3\n\t"
                     "muls r3, r5\n\t"
                     "ldr r4, [r7, #16]\n\t"
                     "adds r2, r2, r4\n\t"
                     "adds r3, r3, r4\n\t"
                     "ldr r4, [r7, #20]\n\t"
                     "asrs r2, r4\n\t"
                     "asrs r3, r4\n\t"
                     DELTA("r8", "r9", "r2", "0")
                     "movs r2, r4\n\t"
                     DELTA("r10", "r11", "r3", "1")
                     "ldr r5, [r7, #40]\n\t"
                     "strh r2, [r5]\n\t"
                     "strh r4, [r5, #2]\n\t"
                     "adds r5, #4\n\t"
                     "str r5, [r7, #40]\n\t"
                     "ldr r5, [r7, #44]\n\t"
                     "cmp r12, r5\n\t"
                     "beq 4f\n\t"
                     "b 1b\n"
                     "4:"
                     : "+r"(w), "+r"(a)
                     : "r"(dz_end), "r"(d)
                     : "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "cc",
                       "memory");
}

#endif

/* ---- Updates -------------------------------------------------------------------------------- */

/* What the rows of a layer, the weights of two inputs each, take from memory, by offset. */
#if defined(__ARM_ARCH_7M__)
typedef struct {
    const int16_t *g;
    const int16_t *g_end;
    uint32_t left; /* from an input to u */
    int32_t half;
    uint32_t right;
    uint32_t is_odd; /* whether the number of outputs is */
    uint32_t dither; /* of the row's first weight, in the upper half */
    uint32_t weyl;   /* from an input to the next, likewise */
} rows_t;
#else
typedef struct {
    uint32_t left; /* from an input to u */
    int32_t half;
    uint32_t right;
    int32_t first; /* bytes from the end of the steps to the first */
    const int16_t *g;
    int32_t again;   /* first */
    uint32_t rewind;   /* from the dither behind a row to that of the next */
    uint32_t entry;    /* where a row's first round begins */
    uint32_t short_of; /* bytes of weights that it is short of 4 outputs */
} rows_t;
#endif

INLINE rows_t rows_of(const bp_layer_t *layer, const int16_t *g, bp_alignment_t alignment)
{
    const scale_t scale = scale_of(layer, alignment);
    rows_t rows;

    rows.g = g;
    rows.left = scale.left;
    rows.half = scale.half;
    rows.right = scale.right;
#if defined(__ARM_ARCH_7M__)
    rows.g_end = g + layer->outputs;
    rows.is_odd = layer->outputs % 2u;
    rows.dither = 0;
    rows.weyl = 0;
#else
    rows.first = -2 * (int32_t)layer->outputs;
    rows.again = rows.first;
    rows.rewind = 0;
    rows.entry = 0;
    rows.short_of = 4 * ((0u - layer->outputs) % 4u);
#endif
    return rows;
}

#if defined(__ARM_ARCH_7M__)

/* A row's steps are at r2 up to r3, its u are r10 and r11. */
#define BEGIN_ROW(a) \
    "ldm lr, {r2, r3, r4, r5, r6, r7}\n\t" \
    "ldrsh r10, [" a "], #2\n\t" \
    "ldrsh r11, [" a "], #2\n\t" \
    "lsl r10, r10, r4\n\t" \
    "lsl r11, r11, r4\n\t" \
    "add r10, r10, r5\n\t" \
    "add r11, r11, r5\n\t" \
    "asr r10, r10, r6\n\t" \
    "asr r11, r11, r6\n\t"
/* An odd number of outputs enters in the middle. */
#define ROWS(a, a_end, begin, output) \
    "push {r7}\n" \
    "1:\n\t" \
    BEGIN_ROW(a) \
    begin \
    "cbnz r7, 3f\n" \
    "2:\n\t" \
    output \
    "3:\n\t" \
    output \
    "cmp r2, r3\n\t" \
    "bne 2b\n\t" \
    "cmp " a ", " a_end "\n\t" \
    "bne 1b\n\t" \
    "pop {r7}"

#define MOVE24(u, shift) \
    "ldrsh r5, [r0]\n\t" \
    "ldrb r6, [r1]\n\t" \
    "mla r7, r4, " u ", r12\n\t" \
    "add r6, r6, r5, lsl #8\n\t" \
    "add r6, r6, r7, asr #" shift "\n\t" \
    "ssat r6, #24, r6\n\t" \
    "strb r6, [r1], #1\n\t" \
    "asr r6, r6, #8\n\t" \
    "strh r6, [r0], #2\n\t"
#define OUTPUT24(shift) \
    "ldrsh r4, [r2], #2\n\t" \
    MOVE24("r10", shift) \
    MOVE24("r11", shift)
#define RUN24(shift) \
    __asm__ volatile(ROWS("r8", "r9", "", OUTPUT24(shift)) \
                     : "+r"(w), "+r"(w_low), "+r"(a) \
                     : "r"(a_end), "r"(half), "r"(lr) \
                     : "r2", "r3", "r4", "r5", "r6", "r10", "r11", "cc", "memory")

INLINE void run24(rows_t *rows, int16_t *weights, uint8_t *low, const int16_t *a_in,
                  const int16_t *end, uint8_t shift)
{
    register int16_t *w __asm__("r0") = weights;
    register uint8_t *w_low __asm__("r1") = low;
    register const int16_t *a __asm__("r8") = a_in;
    register const int16_t *a_end __asm__("r9") = end;
    register int32_t half __asm__("r12") = half_of(shift);
    register rows_t *lr __asm__("lr") = rows;

    if (shift == 8) {
        RUN24("8");
    } else if (shift == 16) {
        RUN24("16");
    } else {
        RUN24("24");
    }
}

/* r6 and r8: the dithers of an output, r9: from an output to the next. */
#define BEGIN_ROW16 \
    "ldrd r6, r4, [lr, #24]\n\t" \
    "add r8, r6, r4\n\t" \
    "add r5, r8, r4\n\t" \
    "str r5, [lr, #24]\n\t"
#define MOVE16(u, dither, shift, down) \
    "ldrsh r5, [r0]\n\t" \
    "lsr r7, " dither ", #" down "\n\t" \
    "mla r7, r4, " u ", r7\n\t" \
    "add " dither ", " dither ", r9\n\t" \
    "add r5, r5, r7, asr #" shift "\n\t" \
    "ssat r5, #16, r5\n\t" \
    "strh r5, [r0], #2\n\t"
#define OUTPUT16(shift, down) \
    "ldrsh r4, [r2], #2\n\t" \
    MOVE16("r10", "r6", shift, down) \
    MOVE16("r11", "r8", shift, down)
#define RUN16(shift, down) \
    __asm__ volatile(ROWS("r1", "r12", BEGIN_ROW16, OUTPUT16(shift, down)) \
                     : "+r"(w), "+r"(a) \
                     : "r"(a_end), "r"(next), "r"(lr) \
                     : "r2", "r3", "r4", "r5", "r6", "r8", "r10", "r11", "cc", "memory")

INLINE void run16(rows_t *rows, int16_t *weights, const int16_t *a_in, const int16_t *end,
                  uint16_t dither, uint16_t row, uint8_t shift)
{
    register int16_t *w __asm__("r0") = weights;
    register const int16_t *a __asm__("r1") = a_in;
    register uint32_t next __asm__("r9") = (uint32_t)row << 16;
    register const int16_t *a_end __asm__("r12") = end;
    register rows_t *lr __asm__("lr") = rows;

    rows->dither = (uint32_t)dither << 16;
    rows->weyl = BP_WEYL << 16;
    if (shift == 16) {
        RUN16("16", "16");
    } else {
        RUN16("24", "8");
    }
}

#else

/* A weight moves in the upper half of a word, which overflows when the weight does. It then ends at
 * the limit on the side that the word has left: all ones for the upper limit, after asrs #31, but
 * for the sign. That takes an instruction more than a weight within its limits does, which is
 * therefore stored out of line.
 *
 * r0: weights, r4: those of two inputs to an output, r10: 2^15, r11: inputs, r12: their end.
 */
#define LIMIT(word, limit, at) \
    "asrs " limit ", " word ", #31\n\t" \
    "add " limit ", r10\n\t" \
    "strh " limit ", [r0, #" at "]\n\t"

/* The weight of an odd input, the upper one, within its limits. To store the word, whose lower half
 * comes after it, is an instruction less, also than what a limit takes: with that in all 4 outputs
 * of a round, a step that ends at the limits would be more than 2 % longer than another.
 */
#define STORE_WORD(at, above) "str r4, [r0, #" at "]\n\t"
#define STORE_UPPER(at, above) "lsrs r6, r4, #16\n\tstrh r6, [r0, #" above "]\n\t"

/* Rounds of 4 outputs, the first of them shorter: where that begins, from the rows_t in r3. */
#define FIND_ENTRY \
    "ldr r4, [r3, #32]\n\t" \
    "lsrs r4, r4, #2\n\t" \
    "adr r5, 0f\n\t" \
    "ldrb r4, [r5, r4]\n\t" \
    "lsls r4, r4, #1\n\t" \
    "adds r4, r4, r5\n\t" \
    "str r4, [r3, #28]\n\t" \
    "b 1f\n\t" \
    ".balign 4\n" \
    "0:\n\t" \
    ".byte (50f - 0b) / 2, (51f - 0b) / 2, (52f - 0b) / 2, (53f - 0b) / 2\n"

/* The next two inputs as u, in r2 and r6; r3, r4 and r5: from an input to u. */
#define SCALE_INPUTS \
    "mov r2, r11\n\t" \
    "ldmia r2!, {r6}\n\t" \
    "mov r11, r2\n\t" \
    "sxth r2, r6\n\t" \
    "asrs r6, r6, #16\n\t" \
    "lsls r2, r3\n\t" \
    "lsls r6, r3\n\t" \
    "adds r2, r2, r4\n\t" \
    "adds r6, r6, r4\n\t" \
    "asrs r2, r5\n\t" \
    "asrs r6, r5\n\t"

/* r1: low bytes, r7: from them to the steps, r8 and r2: u, r9: end of the row's low bytes, lr: the
 * rows_t. The sum of a low byte and the product, which asrs and its carry round, has the new low
 * byte; what is above moves the weight.
 */
#define LOW_SUM(product, shift, low) \
    "asrs " product ", " product ", #" shift "\n\t" \
    "ldrb r5, [r1, #" low "]\n\t" \
    "adcs r5, " product "\n\t"
#define LIMIT24(word, limit, at, low) \
    LIMIT(word, limit, at) \
    "strb " limit ", [r1, #" low "]\n\t"
/* `to` is where its STORE24 is, and that has its way `back`. */
#define OUTPUT24(shift, at, above, n, to) \
    "ldrsh r3, [r7, r1]\n\t" \
    "mov r6, r8\n\t" \
    "muls r6, r3\n\t" \
    "muls r3, r2\n\t" \
    "ldr r4, [r0, #" at "]\n\t" \
    LOW_SUM("r6", shift, "1") \
    "asrs r6, r5, #8\n\t" \
    "lsls r6, r6, #16\n\t" \
    "adds r4, r4, r6\n\t" \
    "bvc 1" n to "\n\t" \
    LIMIT24("r4", "r6", above, "1") \
    "2" n ":\n\t" \
    LOW_SUM("r3", shift, "0") \
    "lsls r4, r4, #16\n\t" \
    "lsls r3, r5, #8\n\t" \
    "adds r4, r4, r3\n\t" \
    "bvc 3" n to "\n\t" \
    LIMIT24("r4", "r4", at, "0") \
    "4" n ":\n\t" \
    "adds r1, #2\n\t"
#define STORE24(at, store_upper, n, back) \
    "1" n ":\n\t" \
    "strb r5, [r1, #1]\n\t" \
    store_upper \
    "b 2" n back "\n" \
    "3" n ":\n\t" \
    "strb r5, [r1]\n\t" \
    "lsrs r4, r4, #16\n\t" \
    "strh r4, [r0, #" at "]\n\t" \
    "b 4" n back "\n"
#define RUN24(shift) \
    __asm__ volatile( \
        ".syntax unified\n\t" \
        "mov r3, lr\n\t" \
        FIND_ENTRY \
        STORE24("0", STORE_WORD("0", "2"), "0", "f") \
        STORE24("4", STORE_WORD("4", "6"), "1", "f") \
        "1:\n\t" \
        "mov r2, lr\n\t" \
        "ldmia r2!, {r3, r4, r5, r6, r7}\n\t" \
        "subs r6, r1, r6\n\t" \
        "mov r9, r6\n\t" \
        "subs r7, r7, r1\n\t" \
        SCALE_INPUTS \
        "mov r8, r6\n\t" \
        "mov r3, lr\n\t" \
        "adds r3, #28\n\t" \
        "ldmia r3, {r3, r4}\n\t" \
        "subs r0, r0, r4\n\t" \
        "mov pc, r3\n" \
        "50:\n\t" \
        OUTPUT24(shift, "0", "2", "0", "b") \
        "51:\n\t" \
        OUTPUT24(shift, "4", "6", "1", "b") \
        "52:\n\t" \
        OUTPUT24(shift, "8", "10", "2", "f") \
        "53:\n\t" \
        OUTPUT24(shift, "12", "14", "3", "f") \
        "adds r0, #16\n\t" \
        "cmp r1, r9\n\t" \
        "bne 50b\n\t" \
        "cmp r11, r12\n\t" \
        "beq 5f\n\t" \
        "b 1b\n" \
        STORE24("8", STORE_WORD("8", "10"), "2", "b") \
        STORE24("12", STORE_UPPER("12", "14"), "3", "b") \
        "5:" \
        : "+r"(w), "+r"(w_low), "+r"(a) \
        : "r"(sign), "r"(a_end), "r"(lr) \
        : "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9", "cc", "memory")

INLINE void run24(rows_t *rows, int16_t *weights, uint8_t *low, const int16_t *a_in,
                  const int16_t *end, uint8_t shift)
{
    register int16_t *w __asm__("r0") = weights;
    register uint8_t *w_low __asm__("r1") = low;
    register int32_t sign __asm__("r10") = 32768;
    register const int16_t *a __asm__("r11") = a_in;
    register const int16_t *a_end __asm__("r12") = end;
    register rows_t *lr __asm__("lr") = rows;

    if (shift == 8) {
        RUN24("8");
    } else if (shift == 16) {
        RUN24("16");
    } else {
        RUN24("24");
    }
}

/* Biases, whose u is 2^frac: r0: biases, r7: from them to the steps. */
INLINE void biases24(int16_t *biases, uint8_t *low, const int16_t *g, size_t n,
                     bp_alignment_t alignment)
{
    register int16_t *b __asm__("r0") = biases;
    register uint8_t *b_low __asm__("r1") = low;
    register uint32_t frac __asm__("r2") = alignment.frac;
    register uint32_t shift __asm__("r6") = (uint8_t)alignment.shift;
    register uint32_t to_step __asm__("r7") = (uint32_t)g - (uint32_t)biases;
    register int16_t *end __asm__("r9") = biases + n;
    register int32_t sign __asm__("r10") = 32768;

    __asm__ volatile(".syntax unified\n"
                     "1:\n\t"
                     "ldrsh r3, [r7, r0]\n\t"
                     "lsls r3, r2\n\t"
                     "asrs r3, r6\n\t"
                     "ldrb r5, [r1]\n\t"
                     "adcs r5, r3\n\t"
                     "ldrh r4, [r0]\n\t"
                     "lsls r4, r4, #16\n\t"
                     "lsls r3, r5, #8\n\t"
                     "adds r4, r4, r3\n\t"
                     "bvs 3f\n\t"
                     "strb r5, [r1]\n\t"
                     "lsrs r4, r4, #16\n\t"
                     "strh r4, [r0]\n"
                     "2:\n\t"
                     "adds r1, #1\n\t"
                     "adds r0, #2\n\t"
                     "cmp r0, r9\n\t"
                     "bne 1b\n\t"
                     "b 4f\n"
                     "3:\n\t"
                     LIMIT24("r4", "r4", "0", "0")
                     "b 2b\n"
                     "4:"
                     : "+r"(b), "+r"(b_low)
                     : "r"(frac), "r"(shift), "r"(to_step), "r"(end), "r"(sign)
                     : "r3", "r4", "r5", "cc", "memory");
}

/* r1: end of the steps, r2: bytes from there to the next, r5: the dither, r7 and r9: u, r8: from
 * the dither of an output's second weight to the next output's, lr: from an input to the next; the
 * rows_t on the stack. What is below the upper half of the sum of product and dither adds nothing
 * to that of the weight.
 */
#define OUTPUT16(shift, at, above, n, to) \
    "ldrsh r3, [r1, r2]\n\t" \
    "mov r6, r9\n\t" \
    "muls r6, r3\n\t" \
    "muls r3, r7\n\t" \
    shift \
    "adds r3, r3, r5\n\t" \
    "add r5, lr\n\t" \
    "uxth r5, r5\n\t" \
    "adds r6, r6, r5\n\t" \
    "add r5, r8\n\t" \
    "uxth r5, r5\n\t" \
    "ldr r4, [r0, #" at "]\n\t" \
    "lsrs r6, r6, #16\n\t" \
    "lsls r6, r6, #16\n\t" \
    "adds r4, r4, r6\n\t" \
    "bvc 1" n to "\n\t" \
    LIMIT("r4", "r6", above) \
    "2" n ":\n\t" \
    "lsls r4, r4, #16\n\t" \
    "adds r4, r4, r3\n\t" \
    "bvc 3" n to "\n\t" \
    LIMIT("r4", "r4", at) \
    "4" n ":\n\t"
#define STORE16(at, store_upper, n, back) \
    "1" n ":\n\t" \
    store_upper \
    "b 2" n back "\n" \
    "3" n ":\n\t" \
    "lsrs r4, r4, #16\n\t" \
    "strh r4, [r0, #" at "]\n\t" \
    "b 4" n back "\n"
#define RUN16(shift) \
    __asm__ volatile( \
        ".syntax unified\n\t" \
        "push {r7}\n\t" \
        "mov r9, r5\n\t" \
        "movs r3, r7\n\t" \
        FIND_ENTRY \
        STORE16("0", STORE_WORD("0", "2"), "0", "f") \
        STORE16("4", STORE_WORD("4", "6"), "1", "f") \
        "1:\n\t" \
        "ldr r2, [sp]\n\t" \
        "ldmia r2!, {r3, r4, r5}\n\t" \
        SCALE_INPUTS \
        "movs r7, r2\n\t" \
        "ldr r3, [sp]\n\t" \
        "adds r3, #20\n\t" \
        "ldmia r3, {r2, r3, r4, r5}\n\t" \
        "add r3, r9\n\t" \
        "mov r9, r6\n\t" \
        "subs r0, r0, r5\n\t" \
        "uxth r5, r3\n\t" \
        "mov pc, r4\n" \
        "50:\n\t" \
        OUTPUT16(shift, "0", "2", "0", "b") \
        "adds r2, #2\n" \
        "51:\n\t" \
        OUTPUT16(shift, "4", "6", "1", "b") \
        "adds r2, #2\n" \
        "52:\n\t" \
        OUTPUT16(shift, "8", "10", "2", "f") \
        "adds r2, #2\n" \
        "53:\n\t" \
        OUTPUT16(shift, "12", "14", "3", "f") \
        "adds r0, #16\n\t" \
        "adds r2, #2\n\t" \
        "bne 50b\n\t" \
        "mov r9, r5\n\t" \
        "cmp r11, r12\n\t" \
        "beq 5f\n\t" \
        "b 1b\n" \
        STORE16("8", STORE_WORD("8", "10"), "2", "b") \
        STORE16("12", STORE_UPPER("12", "14"), "3", "b") \
        "5:\n\t" \
        "pop {r7}" \
        : "+r"(w), "+r"(a), "+r"(r) \
        : "r"(g_end), "r"(r7), "r"(next), "r"(sign), "r"(a_end), "r"(weyl) \
        : "r2", "r3", "r4", "r6", "r9", "cc", "memory")

INLINE void run16(rows_t *rows, int16_t *weights, const int16_t *a_in, const int16_t *end,
                  uint16_t dither, uint16_t row, uint8_t shift)
{
    const uint32_t rewind = 2 * BP_WEYL + row * ((uint32_t)rows->first >> 1);
    register int16_t *w __asm__("r0") = weights;
    register const int16_t *g_end __asm__("r1");
    register uint32_t r __asm__("r5");
    register rows_t *r7 __asm__("r7") = rows;
    register uint32_t next __asm__("r8") = row - BP_WEYL;
    register int32_t sign __asm__("r10") = 32768;
    register const int16_t *a __asm__("r11") = a_in;
    register const int16_t *a_end __asm__("r12") = end;
    register uint32_t weyl __asm__("lr") = BP_WEYL;

    rows->rewind = rewind;
    g_end = (const int16_t *)(const void *)((const uint8_t *)rows->g - rows->first);
    r = dither - rewind;
    if (shift == 16) {
        RUN16("");
    } else {
        RUN16("asrs r6, r6, #8\n\tasrs r3, r3, #8\n\t");
    }
}

/* The same with dithers. r0: end of the biases, r1: bytes from there to the next, up to 0, r7: end
 * of the steps.
 */
INLINE void biases16(int16_t *biases, const int16_t *g, size_t n, bp_alignment_t alignment,
                     uint16_t dither)
{
    register int16_t *b_end __asm__("r0") = biases + n;
    register int32_t left __asm__("r1") = -2 * (int32_t)n;
    register uint32_t frac __asm__("r2") = alignment.frac;
    register uint32_t r __asm__("r5") = dither;
    register uint32_t shift __asm__("r6") = (uint32_t)alignment.shift - 16;
    register const int16_t *g_end __asm__("r7") = g + n;
    register int32_t sign __asm__("r10") = 32768;
    register uint32_t weyl __asm__("lr") = BP_WEYL;

    __asm__ volatile(".syntax unified\n"
                     "1:\n\t"
                     "ldrsh r3, [r7, r1]\n\t"
                     "lsls r3, r2\n\t"
                     "asrs r3, r6\n\t"
                     "adds r3, r3, r5\n\t"
                     "add r5, lr\n\t"
                     "uxth r5, r5\n\t"
                     "ldrh r4, [r0, r1]\n\t"
                     "lsls r4, r4, #16\n\t"
                     "adds r4, r4, r3\n\t"
                     "bvs 3f\n\t"
                     "lsrs r4, r4, #16\n"
                     "2:\n\t"
                     "strh r4, [r0, r1]\n\t"
                     "adds r1, #2\n\t"
                     "bne 1b\n\t"
                     "b 4f\n"
                     "3:\n\t"
                     "asrs r4, r4, #31\n\t"
                     "add r4, r10\n\t"
                     "b 2b\n"
                     "4:"
                     : "+r"(left), "+r"(r)
                     : "r"(b_end), "r"(frac), "r"(shift), "r"(g_end), "r"(sign), "r"(weyl)
                     : "r3", "r4", "cc", "memory");
}

#endif

/* In C: shifts that a sensible learning rate does not have. */
INLINE void residual_weights(int16_t *w, uint8_t *w_low, const bp_layer_t *layer,
                             const int16_t *a_in, const int16_t *g, bp_alignment_t alignment)
{
    const scale_t scale = scale_of(layer, alignment);
    rows_t rows = rows_of(layer, g, alignment);
    const int16_t *const end = a_in + even_inputs(layer);
    size_t j;

    if (alignment.shift >= 8) {
        run24(&rows, w, w_low, a_in, end, (uint8_t)alignment.shift);
        return;
    }
    do {
        int32_t u0 = scaled(a_in[0], scale);
        int32_t u1 = scaled(a_in[1], scale);

        for (j = 0; j < layer->outputs; j++) {
            step_residual(w++, w_low++, g[j] * u0, alignment.shift, NULL);
            step_residual(w++, w_low++, g[j] * u1, alignment.shift, NULL);
        }
        a_in += 2;
    } while (a_in != end);
}

INLINE void stochastic_weights(int16_t *w, const bp_layer_t *layer, const int16_t *a_in,
                               const int16_t *g, bp_alignment_t alignment, uint16_t dither)
{
    const scale_t scale = scale_of(layer, alignment);
    const int16_t *const end = a_in + even_inputs(layer);
    size_t j;
    const uint16_t row = bp_dither_at(0, layer->inputs);
    rows_t rows = rows_of(layer, g, alignment);

    if (alignment.shift >= 16) {
        run16(&rows, w, a_in, end, dither, row, (uint8_t)alignment.shift);
        return;
    }
    do {
        int32_t u0 = scaled(a_in[0], scale);
        int32_t u1 = scaled(a_in[1], scale);
        uint16_t r = dither;

        for (j = 0; j < layer->outputs; j++) {
            step_stochastic(w++, g[j] * u0, alignment.shift, r, NULL);
            step_stochastic(w++, g[j] * u1, alignment.shift, bp_dither_at(r, 1), NULL);
            r = (uint16_t)(r + row);
        }
        a_in += 2;
        dither = bp_dither_at(dither, 2);
    } while (a_in != end);
}

#endif

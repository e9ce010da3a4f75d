/* bpgen_thumb_update.h -- the loops of updates in assembly, for Cortex-M0, M0+ and M3.
 *
 * bpgen_lanes_update.h alone includes this, and its C for other cores says what each of these
 * computes. The loops take the same instructions whatever the numbers, but on M0 one more for three
 * of four weights of odd inputs that are clipped, or two of four with dither, and two for a bias
 * that is.
 * SPDX-License-Identifier: 0BSD
 */
#ifndef BPGEN_THUMB_UPDATE_H
#define BPGEN_THUMB_UPDATE_H

#if defined(__ARM_ARCH_6M__)

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

#endif

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
    int32_t again;     /* first */
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
 * of a round, or in 3 with dither, a step that ends at the limits would be more than 2 % longer
 * than another.
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
        STORE16("8", STORE_UPPER("8", "10"), "2", "b") \
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

INLINE int32_t scaled(int16_t a, scale_t scale)
{
    return bp_shr32(a * ((int32_t)1 << scale.left) + scale.half, scale.right);
}

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

/* bpgen_dsp_update.h -- steps of masters two numbers at a time.
 *
 * bpgen_kernels_dsp.h alone includes this, and says how.
 * SPDX-License-Identifier: 0BSD
 */
#ifndef BPGEN_DSP_UPDATE_H
#define BPGEN_DSP_UPDATE_H

/* ---- Learning rate (section 8) -------------------------------------------------------------- */

/* Two neurons are 8 instructions: SMLAW takes -mantissa * 2^16 and drops what it has too much. */
void bp_descent(int16_t *g, const int16_t *dz, uint16_t mantissa, size_t n)
{
    const int16_t *end = dz + (n & ~(size_t)1);
    int32_t scale = (int32_t)(0 - ((uint32_t)mantissa << 16));

    while (dz != end) {
        int32_t both = ((const loose_pair_t *)dz)->pair, first;

        __asm__("smlawb %0, %2, %1, %3\n\t"
                "smlawt %1, %2, %1, %3\n\t"
                "asr %0, %0, #15\n\t"
                "pkhbt %1, %0, %1, lsl #1"
                : "=&r"(first), "+r"(both)
                : "r"(scale), "r"(16384));
        ((loose_pair_t *)g)->pair = both;
        dz += 2;
        g += 2;
    }
    if (n % 2 != 0) {
        *g = (int16_t)(__smlawb(scale, *dz, 16384) >> 15);
    }
}

/* ---- Updates (sections 8 and 9) ------------------------------------------------------------- */

/* x * y * 2^-32, halves up. */
static inline int32_t multiply_high(int32_t x, int32_t y)
{
    int32_t high;

    __asm__("smmulr %0, %1, %2" : "=r"(high) : "r"(x), "r"(y));
    return high;
}

/* What the rows of a layer, the weights of two inputs each, take from memory. */
typedef struct {
    const int16_t *g;
    const int16_t *g_end;
    uint32_t entry;        /* where a row begins: see ROWS */
    int32_t multiplier;    /* 2^(16 + fraction of u - fraction of a) */
    uint32_t up;           /* from u to the operand of SMLAW */
    const int16_t *a;
    const int16_t *a_end;
    uint32_t pairs_entry;  /* where its pairs do */
    uint32_t dither;       /* of the weights to the first output */
    uint32_t next_output;  /* what the dithers of the next output are more */
    uint32_t next_row;     /* and those of the next row */
} rows_t;

static inline rows_t rows_of(const bp_layer_t *layer, const int16_t *a_in, const int16_t *g,
                             bp_alignment_t alignment, uint32_t up)
{
    size_t n = layer->outputs;
    rows_t rows;

    rows.g = g;
    rows.g_end = g + n;
    rows.pairs_entry = n >> 1 & 3;
    rows.entry = n % 2 != 0 ? 4 : rows.pairs_entry;
    rows.multiplier = (int32_t)1 << (16 + alignment.frac - layer->a_in_frac);
    rows.up = up;
    rows.a = a_in;
    rows.a_end = a_in + even_inputs(layer);
    rows.dither = rows.next_output = rows.next_row = 0;
    return rows;
}

/* The rows of a layer, from the rows_t at lr: `outputs` is code for two outputs and `output` for
 * one, the weights are at r0. The steps are at r2 up to r3, r4 and r5 are the two u, scaled:
 * round(a * 2^x) is (a * 2^16 * 2^(16 + x) + 2^31) >> 32, which is SMMULR. An odd number of outputs
 * begins with the one that has no partner; then a table leads to where a multiple of four pairs is
 * left. What a row begins with is copied to the stack, for no register is left to point to it, and
 * r7, which may be the frame's pointer, is saved there.
 */
#define ROWS(begin, begin_row, outputs, output)                                           \
    "push {r7}\n\t"                                                                       \
    "ldm lr, {r2, r3, r4, r5, r6, r9, r10, r11, r12}\n\t"                                 \
    "push {r2, r3, r4, r5, r6, r9, r10, r11, r12}\n\t" begin                              \
    "1:\n\t"                                                                              \
    "ldm sp, {r2, r3, r9, r10, r11, r12}\n\t"                                             \
    "ldr r5, [r12], #4\n\t"                                                               \
    "str r12, [sp, #20]\n\t" begin_row                                                    \
    "lsls r4, r5, #16\n\t"                                                                \
    "bfc r5, #0, #16\n\t"                                                                 \
    "smmulr r4, r4, r10\n\t"                                                              \
    "smmulr r5, r5, r10\n\t"                                                              \
    "lsl r4, r4, r11\n\t"                                                                 \
    "lsl r5, r5, r11\n\t"                                                                 \
    "tbb [pc, r9]\n"                                                                      \
    "0:\n\t"                                                                              \
    ".byte (2f - 0b) / 2, (5f - 0b) / 2, (4f - 0b) / 2, (3f - 0b) / 2, (6f - 0b) / 2\n\t" \
    ".balign 2\n"                                                                         \
    "6:\n\t" output                                                                       \
    "cmp r2, r3\n\t"                                                                      \
    "beq 7f\n\t"                                                                          \
    "ldr r9, [sp, #28]\n\t"                                                               \
    "tbb [pc, r9]\n"                                                                      \
    "8:\n\t"                                                                              \
    ".byte (2f - 8b) / 2, (5f - 8b) / 2, (4f - 8b) / 2, (3f - 8b) / 2\n"                  \
    "2:\n\t" outputs                                                                      \
    "3:\n\t" outputs                                                                      \
    "4:\n\t" outputs                                                                      \
    "5:\n\t" outputs                                                                      \
    "cmp r2, r3\n\t"                                                                      \
    "bne 2b\n"                                                                            \
    "7:\n\t"                                                                              \
    "ldrd r9, r10, [sp, #20]\n\t"                                                         \
    "cmp r9, r10\n\t"                                                                     \
    "bne 1b\n\t"                                                                          \
    "add sp, #36\n\t"                                                                     \
    "pop {r7}"

/* 24-bit masters, shift >= 8. A master fills a register from above, its low byte on bits 8 to 15,
 * and QADD saturates it there:
 *
 *   master * 2^8 + (u * 2^(24 - shift) * g >> 16) + 2^7
 *
 * of which the upper 24 bits are the master after the step: what the product loses below could not
 * carry. r1 are the low bytes, r6 = 2^7, and r8 = FF00FF00h selects odd bytes, also in SEL: UADD8
 * of it sets the flags. Two outputs with two weights each are 26 instructions: r9 and r10 are their
 * weights, r11 the low bytes, r12 the steps; then r9 and lr are the masters of the first output,
 * r10 and r7 those of the second.
 */
#define RESIDUAL_BEGIN               \
    "movs r6, #128\n\t"              \
    "mov r8, #0xFF00FF00\n\t"        \
    "uadd8 r7, r8, r8\n"

#define RESIDUAL_TWO                     \
    "ldrd r9, r10, [r0]\n\t"             \
    "ldr r11, [r1]\n\t"                  \
    "ldr r12, [r2], #4\n\t"              \
    "and r7, r8, r11\n\t"                \
    "and r11, r8, r11, lsl #8\n\t"       \
    "pkhbt lr, r7, r9\n\t"               \
    "pkhtb r7, r10, r7, asr #16\n\t"     \
    "pkhbt r9, r11, r9, lsl #16\n\t"     \
    "lsl r10, r10, #16\n\t"              \
    "pkhtb r10, r10, r11, asr #16\n\t"   \
    "smlawb r11, r4, r12, r6\n\t"        \
    "qadd r9, r9, r11\n\t"               \
    "smlawb r11, r5, r12, r6\n\t"        \
    "qadd lr, lr, r11\n\t"               \
    "smlawt r11, r4, r12, r6\n\t"        \
    "qadd r10, r10, r11\n\t"             \
    "smlawt r11, r5, r12, r6\n\t"        \
    "qadd r7, r7, r11\n\t"               \
    "pkhbt r11, r9, r10, lsl #16\n\t"    \
    "pkhbt r12, lr, r7, lsl #16\n\t"     \
    "lsr r11, r11, #8\n\t"               \
    "sel r11, r12, r11\n\t"              \
    "pkhtb r9, lr, r9, asr #16\n\t"      \
    "pkhtb r10, r7, r10, asr #16\n\t"    \
    "strd r9, r10, [r0], #8\n\t"         \
    "str r11, [r1], #4\n\t"

#define RESIDUAL_ONE                     \
    "ldr r9, [r0]\n\t"                   \
    "ldrh r11, [r1]\n\t"                 \
    "ldrh r12, [r2], #2\n\t"             \
    "and r7, r8, r11\n\t"                \
    "lsl r11, r11, #8\n\t"               \
    "pkhbt lr, r7, r9\n\t"               \
    "pkhbt r9, r11, r9, lsl #16\n\t"     \
    "smlawb r11, r4, r12, r6\n\t"        \
    "qadd r9, r9, r11\n\t"               \
    "smlawb r11, r5, r12, r6\n\t"        \
    "qadd lr, lr, r11\n\t"               \
    "lsr r11, r9, #8\n\t"                \
    "sel r11, lr, r11\n\t"               \
    "pkhtb r9, lr, r9, asr #16\n\t"      \
    "str r9, [r0], #4\n\t"               \
    "strh r11, [r1], #2\n\t"

static void residual_rows(rows_t *rows, int16_t *w, uint8_t *w_low)
{
    register int16_t *r0 __asm__("r0") = w;
    register uint8_t *r1 __asm__("r1") = w_low;
    register rows_t *lr __asm__("lr") = rows;

    __asm__ volatile(ROWS(RESIDUAL_BEGIN, "", RESIDUAL_TWO, RESIDUAL_ONE)
                     : "+r"(r0), "+r"(r1), "+r"(lr)
                     :
                     : "r2", "r3", "r4", "r5", "r6", "r8", "r9", "r10", "r11", "r12", "cc",
                       "memory");
}

/* shift = 0, which only large learning rates come to: in C. */
static void residual_rows_unshifted(const rows_t *rows, int16_t *w, uint8_t *w_low,
                                    bp_counters_t *counters)
{
    const int16_t *a, *g;

    for (a = rows->a; a != rows->a_end; a += 2) {
        int32_t u0 = multiply_high(a[0] * 65536, rows->multiplier);
        int32_t u1 = multiply_high(a[1] * 65536, rows->multiplier);

        for (g = rows->g; g != rows->g_end; g++) {
            add_to_master24(w++, w_low++, *g * u0, counters);
            add_to_master24(w++, w_low++, *g * u1, counters);
        }
    }
}

void bp_update_residual(int16_t *w, uint8_t *w_low, int16_t *b, uint8_t *b_low,
                        const bp_layer_t *layer, const int16_t *a_in, const int16_t *g,
                        bp_alignment_t alignment, bp_counters_t *counters)
{
    uint32_t shift = (uint32_t)alignment.shift;
    rows_t rows = rows_of(layer, a_in, g, alignment, 24 - shift);
    const int16_t *end = g + layer->outputs;
    int32_t half = half_of(shift), scale = (int32_t)1 << alignment.frac;

    if (shift != 0) {
        residual_rows(&rows, w, w_low);
    } else {
        residual_rows_unshifted(&rows, w, w_low, counters);
    }
    while (g != end) {
        int32_t master = *b * 256 + *b_low, step;

        __asm__("mla %0, %1, %2, %3" : "=r"(step) : "r"((int32_t)*g++), "r"(scale), "r"(half));
        __asm__("ssat %0, #24, %1" : "=r"(master) : "r"(master + (step >> shift)));
        *b++ = (int16_t)(master >> 8);
        *b_low++ = (uint8_t)(master & 255);
    }
}

void bp_learn_residual(int16_t *dz_in, int16_t *w, uint8_t *w_low, int16_t *b, uint8_t *b_low,
                       const bp_layer_t *layer, const int16_t *a_in, const int16_t *dz,
                       const int16_t *g, bp_alignment_t alignment, bp_counters_t *counters)
{
    backward_deltas(dz_in, layer, w, a_in, dz);
    bp_update_residual(w, w_low, b, b_low, layer, a_in, g, alignment, counters);
}

/* 16-bit masters, shift >= 16. u * 2^(32 - shift) * g >> 16 is the product with 16 bits below a
 * unit, where the dither is added; it is below 2^30, so that the upper half is the step and QADD16
 * saturates two at once. r6 has the dithers of an output, r1 what those of the next are more, r8
 * what those of the next row are. An output with two weights is 7 instructions.
 */
#define STOCHASTIC_BEGIN "ldrd r1, r8, [lr, #36]\n"

#define STOCHASTIC_BEGIN_ROW      \
    "ldr r6, [sp, #32]\n\t"       \
    "uadd16 r7, r6, r8\n\t"       \
    "str r7, [sp, #32]\n\t"

#define STOCHASTIC_STEP(w, half)             \
    "uxth r12, r6\n\t"                       \
    "smlaw" half " r12, r4, r11, r12\n\t"    \
    "lsrs r7, r6, #16\n\t"                   \
    "smlaw" half " r7, r5, r11, r7\n\t"      \
    "pkhtb r12, r7, r12, asr #16\n\t"        \
    "qadd16 " w ", " w ", r12\n\t"           \
    "uadd16 r6, r6, r1\n\t"

#define STOCHASTIC_TWO              \
    "ldrd r9, r10, [r0]\n\t"        \
    "ldr r11, [r2], #4\n\t"         \
    STOCHASTIC_STEP("r9", "b")      \
    STOCHASTIC_STEP("r10", "t")     \
    "strd r9, r10, [r0], #8\n\t"

#define STOCHASTIC_ONE              \
    "ldr r9, [r0]\n\t"              \
    "ldrh r11, [r2], #2\n\t"        \
    STOCHASTIC_STEP("r9", "b")      \
    "str r9, [r0], #4\n\t"

static void stochastic_rows(rows_t *rows, int16_t *w)
{
    register int16_t *r0 __asm__("r0") = w;
    register rows_t *lr __asm__("lr") = rows;

    __asm__ volatile(ROWS(STOCHASTIC_BEGIN, STOCHASTIC_BEGIN_ROW, STOCHASTIC_TWO, STOCHASTIC_ONE)
                     : "+r"(r0), "+r"(lr)
                     :
                     : "r1", "r2", "r3", "r4", "r5", "r6", "r8", "r9", "r10", "r11", "r12", "cc",
                       "memory");
}

/* shift = 0 or 8, which only large learning rates come to: in C. */
static void stochastic_rows_unshifted(const rows_t *rows, int16_t *w, int8_t shift,
                                      bp_counters_t *counters)
{
    const int16_t *a, *g;
    uint32_t first = rows->dither;

    for (a = rows->a; a != rows->a_end; a += 2) {
        int32_t u0 = multiply_high(a[0] * 65536, rows->multiplier);
        int32_t u1 = multiply_high(a[1] * 65536, rows->multiplier);
        uint32_t dither = first;

        for (g = rows->g; g != rows->g_end; g++) {
            step_stochastic(w++, *g * u0, shift, (uint16_t)dither, counters);
            step_stochastic(w++, *g * u1, shift, (uint16_t)(dither >> 16), counters);
            dither = __uadd16(dither, rows->next_output);
        }
        first = __uadd16(first, rows->next_row);
    }
}

void bp_update_stochastic(int16_t *w, int16_t *b, const bp_layer_t *layer, const int16_t *a_in,
                          const int16_t *g, bp_alignment_t alignment, uint16_t dither,
                          bp_counters_t *counters)
{
    uint32_t shift = (uint32_t)alignment.shift, left;
    rows_t rows = rows_of(layer, a_in, g, alignment, 32 - shift);
    const int16_t *end = g + layer->outputs;
    int32_t scale = (int32_t)1 << alignment.frac;

    rows.dither = (uint32_t)bp_dither_at(dither, 1) << 16 | dither;
    rows.next_output = bp_dither_at(0, layer->inputs) * 0x10001u;
    rows.next_row = bp_dither_at(0, 2) * 0x10001u;
    if (shift >= 16) {
        stochastic_rows(&rows, w);
    } else {
        stochastic_rows_unshifted(&rows, w, alignment.shift, counters);
    }
    left = (uint32_t)bp_dither_at(dither, (size_t)layer->inputs * layer->outputs) << 16;
    while (g != end) {
        int32_t r = (int32_t)(left >> 1 >> (31 - shift));
        int32_t step = (*g++ * scale + r) >> shift;

        __asm__("ssat %0, #16, %1" : "=r"(step) : "r"(*b + step));
        *b++ = (int16_t)step;
        left += BP_WEYL << 16;
    }
}

void bp_learn_stochastic(int16_t *dz_in, int16_t *w, int16_t *b, const bp_layer_t *layer,
                         const int16_t *a_in, const int16_t *dz, const int16_t *g,
                         bp_alignment_t alignment, uint16_t dither, bp_counters_t *counters)
{
    backward_deltas(dz_in, layer, w, a_in, dz);
    bp_update_stochastic(w, b, layer, a_in, g, alignment, dither, counters);
}

#endif

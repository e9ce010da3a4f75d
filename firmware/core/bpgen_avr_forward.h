/* bpgen_avr_forward.h -- layers forward, in assembly for AVR cores with a multiplier.
 *
 * Sums (bpgen_sum_avr.h) are made at once or in parts, end in a sigmoid or are clipped, and weights
 * are in RAM or in flash: a kernel for each, of which the constants of a model's layers name those
 * it needs. A sum at once is two kernels, its own and its end, called for a group of outputs by
 * bpgen_dense_avr.h, which makes sums of few outputs itself. Cycles are those of an ATmega328P.
 * SPDX-License-Identifier: 0BSD
 */
#ifndef BPGEN_AVR_FORWARD_H
#define BPGEN_AVR_FORWARD_H

#include "bpgen_avr_parts.h"
#include "bpgen_sum_avr.h"
#include "bpgen_unit.h"

#if !BPGEN_COUNTERS

/* What kernels read, from a layer's table on. */
BP_STATIC_ASSERT(offsetof(bp_layer_t, table) - offsetof(bp_layer_t, z_lowest) == 11, avr_z_lowest);
BP_STATIC_ASSERT(offsetof(bp_layer_t, fast) - offsetof(bp_layer_t, table) == 2, avr_layer_fast);
BP_STATIC_ASSERT(offsetof(bp_layer_fast_t, pairs) == 8, avr_pairs);

/* ---- A neuron's end --------------------------------------------------------------------------
 *
 * r23:r22 = sum >> shift for shifts from 9 to 16, which is z + 2^15: the upper bytes of the sum
 * times r16, that is 2^(16 - shift). 11 cycles, or 10 up to the jump `too_far` where z leaves 16
 * bits. N is the bit that says z >= 0. Ends may change A..D, r20, r22, r23, r30 and r31; r21 is 0.
 */
#define NARROW(too_far, B, C, D)                                                                   \
    "mul " C ", r16\n\t"                                                                           \
    "movw r22, r0\n\t"                                                                             \
    "mul " B ", r16\n\t"                                                                           \
    "or r22, r1\n\t"                                                                               \
    "mul " D ", r16\n\t"                                                                           \
    "or r23, r0\n\t"                                                                               \
    "cpse r1, r21\n\t"                                                                             \
    too_far "\n\t"

/* In `far` 0 for a z too low, -1 for one too high. The upper 9 of the sum's 32 bits are more than
 * r16 where it is too low (the offset is 2^(15 + shift), so such sums start at 2^31 plus that, and
 * those too high end below).
 */
#define TOO_FAR(far)                                                                               \
    "lsl r23\n\t"                                                                                  \
    "rol r1\n\t"                                                                                   \
    "cp r16, r1\n\t"                                                                               \
    "sbc " far ", " far "\n\t"                                                                     \
    "com " far "\n\t"

/* z clipped to r29:r17 and r19:r18: 24 or 25 cycles, 12 more where z leaves 16 bits. */
#define CLIP(...) CLIP_(__VA_ARGS__)
#define CLIP_(n, A, B, C, D)                                                                       \
    NARROW("rcall 8f", B, C, D)                                                                    \
    "subi r23, 0x80\n\t"                                                                           \
    "cp r22, r17\n\t"                                                                              \
    "cpc r23, r29\n\t"                                                                             \
    "brge 1f\n\t"                                                                                  \
    "mov r22, r17\n\t"                                                                             \
    "mov r23, r29\n\t"                                                                             \
    "1:\n\t"                                                                                       \
    "cp r18, r22\n\t"                                                                              \
    "cpc r19, r23\n\t"                                                                             \
    "brge 2f\n\t"                                                                                  \
    "movw r22, r18\n\t"                                                                            \
    "2:\n\t"                                                                                       \
    "st X+, r22\n\t"                                                                               \
    "st X+, r23\n\t"
#define CLIP_FAR                                                                                   \
    "8:\n\t"                                                                                       \
    TOO_FAR("r23")                                                                                 \
    "mov r22, r23\n\t"                                                                             \
    "ret\n\t"

/* B:A += (r23:r20 - B:A) * r22 * 2^-8, rounded down: from one entry towards its neighbour, by `mul`
 * where that is more, by `mulsu` where it is less.
 */
#define INTERPOLATE(mul, A, B)                                                                     \
    "sub r20, " A "\n\t"                                                                           \
    "sbc r23, " B "\n\t"                                                                           \
    "mul r20, r22\n\t"                                                                             \
    "add " A ", r1\n\t"                                                                            \
    "adc " B ", r21\n\t"                                                                           \
    mul " r23, r22\n\t"                                                                            \
    "add " A ", r0\n\t"                                                                            \
    "adc " B ", r1\n\t"

/* A sigmoid of 2^fa = r17 * 2^8, for fa from 11 up, where no y reaches 1: the last entry is 65514.
 * The last interval of the table is at r19:r18. With the store 53 cycles; of 256 intervals 56, and
 * 59 for z < 0. Where z leaves 16 bits 34.
 *
 * With u = |z|, y = round(E[i] + rise * fr, 16 - fa). For z < 0 the result is 2^fa - y, which is
 * the same of ~(E[i] + rise * fr): halves round down. The low bits of z + 2^15 then count down from
 * E[i + 1]. z = -32768 has i = 127 and the y of -32767. r23 is what i lacks to the last interval,
 * doubled, and fr comes from r22.
 */
#define SIGMOID(positive, negative, index, n, A, B, C, D)                                          \
    NARROW("rjmp 7" n "f", B, C, D)                                                                \
    "brpl 1f\n\t"                                                                                  \
    positive                                                                                       \
    "movw r30, r18\n\t"                                                                            \
    "sub r30, r23\n\t"                                                                             \
    "sbc r31, r21\n\t"                                                                             \
    index                                                                                          \
    "lpm " A ", Z+\n\t"                                                                            \
    "lpm " B ", Z+\n\t"                                                                            \
    "lpm r20, Z+\n\t"                                                                              \
    "lpm r23, Z\n\t"                                                                               \
    INTERPOLATE("mul", A, B)                                                                       \
    "rjmp 9" n "f\n\t"                                                                             \
    "1:\n\t"                                                                                       \
    negative                                                                                       \
    "movw r30, r18\n\t"                                                                            \
    "sub r30, r23\n\t"                                                                             \
    "sbc r31, r21\n\t"                                                                             \
    index                                                                                          \
    "lpm r20, Z+\n\t"                                                                              \
    "lpm r23, Z+\n\t"                                                                              \
    "lpm " A ", Z+\n\t"                                                                            \
    "lpm " B ", Z\n\t"                                                                             \
    INTERPOLATE("mulsu", A, B)                                                                     \
    "com " A "\n\t"                                                                                \
    "com " B "\n\t"                                                                                \
    "9" n ":\n\t"                                                                                  \
    /* In the product's low byte, the upper bit rounds. */                                         \
    "mul " B ", r17\n\t"                                                                           \
    "movw r22, r0\n\t"                                                                             \
    "mul " A ", r17\n\t"                                                                           \
    "lsl r0\n\t"                                                                                   \
    "adc r22, r1\n\t"                                                                              \
    "adc r23, r21\n\t"                                                                             \
    "st X+, r22\n\t"                                                                               \
    "st X+, r23\n\t"

/* 128 intervals: fa up to 13. */
#define SIGMOID_7(...) SIGMOID_7_(__VA_ARGS__)
#define SIGMOID_7_(n, A, B, C, D)                                                                  \
    SIGMOID("com r23\n\tlsl r23\n\t", "lsl r23\n\t", "", n, A, B, C, D)

/* 256, for fa = 14: z = -32768 becomes -32767, E[256] would make it a unit too much. */
#define SIGMOID_8(...) SIGMOID_8_(__VA_ARGS__)
#define SIGMOID_8_(n, A, B, C, D)                                                                  \
    SIGMOID("lsl r22\n\trol r23\n\tcom r23\n\t",                                                   \
            "cp r21, r22\n\tcpc r21, r23\n\tsbci r22, 255\n\tlsl r22\n\trol r23\n\t",              \
            "sub r30, r23\n\tsbc r31, r21\n\t", n, A, B, C, D)

/* Behind ends: where z leaves 16 bits, E + rise * fr is 65513, of 32767, or what that lacks. */
#define SIGMOID_FAR                                                                                \
    SIGMOID_LIMIT("0", BP_AVR_P) SIGMOID_LIMIT("1", BP_AVR_Q)                                      \
    SIGMOID_LIMIT("2", BP_AVR_R) SIGMOID_LIMIT("3", BP_AVR_S)
#define SIGMOID_LIMIT(n, ...) SIGMOID_LIMIT_(n, __VA_ARGS__)
#define SIGMOID_LIMIT_(n, A, B, C, D)                                                              \
    "7" n ":\n\t"                                                                                  \
    TOO_FAR(B)                                                                                     \
    "ldi r22, 0x16\n\t"                                                                            \
    "eor r22, " B "\n\t"                                                                           \
    "mov " A ", r22\n\t"                                                                           \
    "rjmp 9" n "b\n"

/* The place of a group of one to three outputs: the low bits of a register are their number - 1. */
#define TAIL(size, q, r, s)                                                                        \
    "sbrc " size ", 1\n\t"                                                                         \
    "rjmp " q "\n\t"                                                                               \
    "sbrc " size ", 0\n\t"                                                                         \
    "rjmp " r "\n\t"                                                                               \
    "rjmp " s "\n\t"

/* ---- A group ---------------------------------------------------------------------------------
 *
 *     r0, r1    a product                      r24, r25  S, upper half
 *     r2..r5    P                              r26, r27  X: a_in, out
 *     r6..r9    Q                              r28       pairs to do
 *     r10..r13  R                              r29       stride
 *     r14, r15  S, lower half                  r30, r31  Z: b, w, flash
 *     r16..r19  two inputs; on entry 0, half,  r20..r23  w, 0, w's product; on entry scale, 0, b
 *               w                              T         a group of four
 *
 * A pair of inputs takes 215 cycles for four outputs, 26.9 a product; 167, 119 and 70 for 3, 2, 1.
 */
#define RETURN                                                                                     \
    "pop r29\n\t"                                                                                  \
    "pop r28\n\t"                                                                                  \
    "clr r1\n\t"                                                                                   \
    "ret\n\t"

/* A group's sums, from a BP_AVR_START that leaves as many as it has; the low bits of r28 are the
 * number of a smaller group - 1. X is left behind the inputs.
 */
#define SUMS(load)                                                                                 \
    "26:\n\t"                                                                                      \
    "rjmp 29f\n\t"                                                                                 \
    BP_AVR_START(load, BP_AVR_P) BP_AVR_START(load, BP_AVR_Q)                                      \
    BP_AVR_START(load, BP_AVR_R) BP_AVR_START(load, BP_AVR_S)                                      \
    "movw r30, r18\n\t"                                                                            \
    "brtc 26b\n"                                                                                   \
                                                                                                   \
    "30:\n\t" BP_AVR_INPUTS                                                                        \
    BP_AVR_PRODUCTS(load, BP_AVR_SIGNED_A, BP_AVR_P)                                               \
    "32:\n\t" BP_AVR_PRODUCTS(load, BP_AVR_SIGNED_A, BP_AVR_Q)                                     \
    "33:\n\t" BP_AVR_PRODUCTS(load, BP_AVR_SIGNED_A, BP_AVR_R)                                     \
    "34:\n\t" BP_AVR_PRODUCTS(load, BP_AVR_SIGNED_A, BP_AVR_S)                                     \
    "subi r28, 4\n\t"                                                                              \
    "brlo 40f\n\t"                                                                                 \
    "add r30, r29\n\t"                                                                             \
    "adc r31, r21\n\t"                                                                             \
    "brtc 29f\n\t"                                                                                 \
    "rjmp 30b\n"                                                                                   \
    "29:\n\t" BP_AVR_INPUTS                                                                        \
    TAIL("r28", "32b", "33b", "34b")                                                               \
    "40:\n\t"                                                                                      \
    "ret\n\t"

/* Its ends. A group of four enters behind TAIL, a smaller one whose size is known at its jump. */
#define ENDS(end, far)                                                                             \
    TAIL("r28", "46f", "47f", "48f")                                                               \
    end("0", BP_AVR_P)                                                                             \
    "46:\n\t" end("1", BP_AVR_Q)                                                                   \
    "47:\n\t" end("2", BP_AVR_R)                                                                   \
    "48:\n\t" end("3", BP_AVR_S)                                                                   \
    "ret\n"                                                                                        \
    far

/* ---- The kernels ----------------------------------------------------------------------------- */

/* Below 128 KB, so that the address of a kernel is its own and not that of a jump to it. */
#if defined(__AVR_3_BYTE_PC__)
#define LOW(name) section(".lowtext." #name),
#else
#define LOW(name)
#endif
#define KERNEL(name, body)                                                                         \
    __attribute__((LOW(name) naked, noinline)) void name(void) { __asm__ __volatile__(body); }
#define KERNELS(name, kind, far)                                                                   \
    KERNEL(bp_avr_ends_##name, ENDS(kind, far))                                                    \
    KERNEL(bp_avr_parts_##name, LAYER_IN_PARTS("ld", kind, far))                                   \
    KERNEL(bp_avr_parts_##name##_rom, LAYER_IN_PARTS("lpm", kind, far))

KERNEL(bp_avr_sums, SUMS("ld"))
KERNEL(bp_avr_sums_rom, SUMS("lpm"))
KERNELS(clip, CLIP, CLIP_FAR)
KERNELS(sigmoid_7, SIGMOID_7, SIGMOID_FAR)
KERNELS(sigmoid_8, SIGMOID_8, SIGMOID_FAR)

/* Any number of outputs, fractions and shift. */
static inline void dense_any(int16_t *z, const int16_t *b, const uint8_t *table, const int16_t *w,
                             const int16_t *a_in, uint8_t in_flash)
{
    const bp_layer_t layer =
        read_layer((const bp_layer_t *)(table - offsetof(bp_layer_t, table)));
    size_t j;

    for (j = 0; j < layer.outputs; j++) {
        const int16_t *at = w + 2 * j;
        int64_t acc = (int64_t)read_weight(b + j, in_flash) * ((int32_t)1 << layer.a_in_frac);
        size_t i;

        for (i = 0; i < even_inputs(&layer); i += 2) {
            acc += (int32_t)read_weight(at, in_flash) * a_in[i];
            acc += (int32_t)read_weight(at + 1, in_flash) * a_in[i + 1];
            at += 2 * (size_t)layer.outputs;
        }
        z[j] = clip_z(bp_round64(acc, (uint8_t)layer.z_shift), &layer, NULL);
    }
}

#define ANY(name, in_flash)                                                                        \
    static __attribute__((noinline)) void name##_c(int16_t *z, const int16_t *b,                   \
                                                   const uint8_t *table, const int16_t *w,         \
                                                   const int16_t *a_in)                            \
    {                                                                                              \
        dense_any(z, b, table, w, a_in, in_flash);                                                 \
    }                                                                                              \
    /* From a kernel's arguments to those of a C function. */                                      \
    __attribute__((naked, noinline)) void name(void)                                               \
    {                                                                                              \
        __asm__ __volatile__("movw r16, r26\n\t"                                                   \
                             "movw r20, r30\n\t"                                                   \
                             "%~jmp %x0" : : "i"(name##_c));                                       \
    }

ANY(bp_avr_any, 0)
ANY(bp_avr_any_rom, 1)

#define BP_FAST_DENSE
#define BP_FAST_DENSE_ROM

/* Whether the compiler sees which layer it is. */
#if defined(__OPTIMIZE__)
#define IS_KNOWN __builtin_constant_p(fast->count)
#else
#define IS_KNOWN 0
#endif

/* To r5:r4, where a kernel wants Z for itself. */
#if defined(__AVR_3_BYTE_PC__)
static KERNEL(bp_avr_jump, "push r4\n\tpush r5\n\tpush r1\n\tret\n\t")
#else
static KERNEL(bp_avr_jump, "push r4\n\tpush r5\n\tret\n\t")
#endif

/* A group at run time: what bp_avr_group() reads from Z, by the places of its members. */
typedef struct {
    int16_t *out;
    const int16_t *b;
    const int16_t *w;
    const int16_t *a_in;
    uint16_t sums; /* addresses of the entries */
    uint16_t ends;
    uint8_t count;
    uint8_t stride;
    uint8_t half;
    uint8_t scale;
    uint8_t needs[5]; /* r16..r19 and r29 of the ends */
    uint8_t of_four;
} bp_avr_group_t;

static __attribute__((naked, noinline)) void bp_avr_group(void)
{
    __asm__ __volatile__("push r28\n\t"
                         "push r29\n\t"
                         "push r30\n\t"
                         "push r31\n\t"
                         "movw r28, r30\n\t"
                         "ldd r30, Y+2\n\t"
                         "ldd r31, Y+3\n\t"
                         "ldd r18, Y+4\n\t"
                         "ldd r19, Y+5\n\t"
                         "ldd r26, Y+6\n\t"
                         "ldd r27, Y+7\n\t"
                         "ldd r4, Y+8\n\t"
                         "ldd r5, Y+9\n\t"
                         "ldd r17, Y+14\n\t"
                         "ldd r20, Y+15\n\t"
                         "ldd r0, Y+21\n\t"
                         "bst r0, 0\n\t"
                         "clr r16\n\t"
                         "clr r21\n\t"
                         "ldd r22, Y+12\n\t"
                         "ldd r29, Y+13\n\t"
                         "mov r28, r22\n\t"
                         "%~call %x[jump]\n\t"
                         "pop r31\n\t"
                         "pop r30\n\t"
                         "ld r26, Z\n\t"
                         "ldd r27, Z+1\n\t"
                         "ldd r16, Z+16\n\t"
                         "ldd r17, Z+17\n\t"
                         "ldd r18, Z+18\n\t"
                         "ldd r19, Z+19\n\t"
                         "ldd r29, Z+20\n\t"
                         "ldd r0, Z+10\n\t"
                         "ldd r31, Z+11\n\t"
                         "mov r30, r0\n\t"
                         "icall\n\t"
                         "pop r29\n\t"
                         "pop r28\n\t"
                         "clr r1\n\t"
                         "ret\n\t"
                         :
                         : [jump] "i"(bp_avr_jump));
}

/* The entries in words: see BP_AVR_GROUP(). TAIL finds the jump, as r28 still has the size. */
static __attribute__((noinline)) void bp_avr_groups(int16_t *out, const bp_layer_t *constants,
                                                    const int16_t *w, const int16_t *b,
                                                    const int16_t *a_in)
{
    const bp_layer_t layer = read_layer(constants);
    const bp_layer_fast_t *fast = &layer.fast;
    uint16_t limit = (uint16_t)layer.z_lowest;
    uint16_t last = (uint16_t)layer.z_top;
    uint8_t left = fast->outputs;
    bp_avr_group_t group = {.out = out, .b = b, .w = w, .a_in = a_in, .count = fast->count,
                            .half = fast->half, .scale = fast->scale};

    if (fast->a_scale != 0) {
        limit = fast->a_scale;
        last = (uint16_t)(layer.table + ((1u << layer.table_bits) - 1));
    }
    group.needs[0] = fast->end_scale;
    group.needs[1] = (uint8_t)limit;
    group.needs[2] = (uint8_t)last;
    group.needs[3] = (uint8_t)(last >> 8);
    group.needs[4] = (uint8_t)(limit >> 8);
    do {
        uint8_t outputs = left < 4 ? left : 4;
        register bp_avr_group_t *p __asm__("r30") = &group;

        group.of_four = outputs == 4;
        group.stride = (uint8_t)(4 * (fast->outputs - outputs));
        group.sums = (uint16_t)fast->sums + 1u + 9u * (4u - outputs);
        group.ends = (uint16_t)fast->kernel + (outputs == 4 ? 5u : 0u);
        __asm__ __volatile__("%~call %x[function]"
                             : "+r"(p)
                             : [function] "i"(bp_avr_group)
                             : "r0", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11",
                               "r12", "r13", "r14", "r15", "r16", "r17", "r18", "r19", "r20", "r21",
                               "r22", "r23", "r24", "r25", "r26", "r27", "memory");
        group.out += 4;
        group.b += 4;
        group.w += 8;
        left = (uint8_t)(left - outputs);
    } while (left != 0);
}

/* Of constants that are read at run time. */
static inline void bp_avr_any_layer(int16_t *out, const bp_layer_t *layer, const int16_t *w,
                                    const int16_t *b, const int16_t *a_in)
{
    if (bp_rom_u8(&layer->fast.at_once) != 0) {
        bp_avr_groups(out, layer, w, b, a_in);
    } else {
        const bp_layer_fast_t *fast = &layer->fast;
        uint8_t constants[] = {bp_rom_u8(&fast->count), bp_rom_u8(&fast->half),
                               bp_rom_u8(&fast->scale), bp_rom_u8(&fast->outputs)};

        bp_avr_whole(bp_avr_jump, bp_rom_u16((const uint16_t *)&fast->kernel), out, layer, w, b,
                    a_in, constants);
    }
}

void(bp_dense)(int16_t *out, const bp_layer_t *layer, const int16_t *w, const int16_t *b,
              const int16_t *a_in, bp_counters_t *counters)
{
    (void)counters;
    bp_avr_any_layer(out, layer, w, b, a_in);
}

/* The constants name the kernel, which knows where the weights are and what ends a neuron. */
void(bp_dense_sigmoid)(int16_t *out, const bp_layer_t *layer, const int16_t *w, const int16_t *b,
                      const int16_t *a_in, bp_counters_t *counters)
{
    (void)counters;
    bp_avr_any_layer(out, layer, w, b, a_in);
}

void(bp_dense_rom)(int16_t *out, const bp_layer_t *layer, const int16_t *w, const int16_t *b,
                  const int16_t *a_in, bp_counters_t *counters)
{
    (void)counters;
    bp_avr_any_layer(out, layer, w, b, a_in);
}

void(bp_dense_sigmoid_rom)(int16_t *out, const bp_layer_t *layer, const int16_t *w,
                          const int16_t *b, const int16_t *a_in, bp_counters_t *counters)
{
    (void)counters;
    bp_avr_any_layer(out, layer, w, b, a_in);
}

#endif

#endif

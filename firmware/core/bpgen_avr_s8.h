/* bpgen_avr_s8.h -- inference in bytes, in assembly for AVR cores with a multiplier.
 *
 * s8 weights in flash, u8 activations, and the sigmoid in place. Cycles are those of an ATmega328P.
 * SPDX-License-Identifier: 0BSD
 */
#ifndef BPGEN_AVR_S8_H
#define BPGEN_AVR_S8_H

#include "bpgen_avr_learn.h"
#include "bpgen_unit.h"

#if !BPGEN_COUNTERS

/* ---- Layers of shifts from 1 to 8 ------------------------------------------------------------
 *
 * Up to 128 inputs and 127 outputs, six at a time, with sums of 24 bits:
 *
 *     r0, r1    a product; r0 in the start: not 0 for a bias of 2^22 or more
 *     r2..r15, r24, r25, r28, r29  six sums, T to Y; a group of fewer has the last ones
 *     r16, r17  two inputs; w in the start             r18       w; h in the start
 *     r19       pairs to do                            r20       outputs of the group
 *     r21       0                                      r22, r23  stride
 *     r26, r27  X: a_in, in the end out                r30, r31  Z: b, w; in the end z_top
 *
 * What lasts is in a frame at Y, which is on top of the stack while Y is a sum: bp_avr_layer_s8_t.
 */
#define F8_SCALE "1"
#define F8_LOWEST "2"
#define F8_TOP "4"
#define F8_OUT "6"
#define F8_OUT_2 "7"
#define F8_HALF "8" /* h = 2^(shift - 1) */
#define F8_LEFT "9" /* outputs to do */
#define F8_OUTPUTS "10"
#define F8_PAIRS "11"
#define F8_A_IN "12"
#define F8_A_IN_2 "13"
#define F8_B "14"
#define F8_B_2 "15"
#define F8_W "16"
#define F8_W_2 "17"
#define F8_SIZE "17"

#define S8_T "r2", "r3", "r4"
#define S8_U "r5", "r6", "r7"
#define S8_V "r8", "r9", "r10"
#define S8_W "r11", "r12", "r13"
#define S8_X "r14", "r15", "r24"
#define S8_Y "r25", "r28", "r29"

/* sum = b + h + 2^16 * h: the bias, the half that rounds, and an offset that makes z + 2^15 of what
 * is kept. 21 cycles, of which 8 see that |b| is below 2^22: then sums have 24 bits.
 */
#define START_S8(...) START_S8_(__VA_ARGS__)
#define START_S8_(A, B, C)                                                                         \
    "lpm " A ", Z+\n\t"                                                                            \
    "lpm " B ", Z+\n\t"                                                                            \
    "lpm " C ", Z+\n\t"                                                                            \
    "lpm r27, Z+\n\t"                                                                              \
    "mov r26, " C "\n\t"                                                                           \
    "subi r26, 0xC0\n\t"                                                                           \
    "sbci r27, 0xFF\n\t"                                                                           \
    "lsl r26\n\t"                                                                                  \
    "adc r27, r21\n\t"                                                                             \
    "or r0, r27\n\t"                                                                               \
    "add " A ", r18\n\t"                                                                           \
    "adc " B ", r21\n\t"                                                                           \
    "adc " C ", r18\n\t"

/* sum += w * a for two inputs: 18 cycles. MULSU leaves the sign of its product in the carry. */
#define PRODUCT_S8(a, A, B, C)                                                                     \
    "lpm r18, Z+\n\t"                                                                              \
    "mulsu r18, " a "\n\t"                                                                         \
    "sbc " C ", r21\n\t"                                                                           \
    "add " A ", r0\n\t"                                                                            \
    "adc " B ", r1\n\t"                                                                            \
    "adc " C ", r21\n\t"
#define PRODUCTS_S8(...) PRODUCTS_S8_(__VA_ARGS__)
#define PRODUCTS_S8_(A, B, C) PRODUCT_S8("r16", A, B, C) PRODUCT_S8("r17", A, B, C)

/* All pairs of inputs: 9 cycles a pair around the products, 10 where the branch is too far. */
#define LOOP_S8(products, again)                                                                   \
    "1:\n\t"                                                                                       \
    "ld r16, X+\n\t"                                                                               \
    "ld r17, X+\n\t" products                                                                      \
    "add r30, r22\n\t"                                                                             \
    "adc r31, r23\n\t"                                                                             \
    "dec r19\n\t" again
#define NEAR_S8 "brne 1b\n\t"
#define FAR_S8                                                                                     \
    "breq 1f\n\t"                                                                                  \
    "rjmp 1b\n"                                                                                    \
    "1:\n\t"

/* z + 2^15 = sum >> shift, by r16 = 2^(8 - shift), clipped to r19:r18 and r31:r30. Sums below
 * 2^(16 + shift) are in range; of those above, the ones that were too low have r21 or more in their
 * upper byte. 26 cycles, 2 more out of range.
 */
#define END_S8(...) END_S8_(__VA_ARGS__)
#define END_S8_(A, B, C)                                                                           \
    "mul " A ", r16\n\t"                                                                           \
    "mov r22, r1\n\t"                                                                              \
    "mul " B ", r16\n\t"                                                                           \
    "or r22, r0\n\t"                                                                               \
    "mov r23, r1\n\t"                                                                              \
    "mul " C ", r16\n\t"                                                                           \
    "or r23, r0\n\t"                                                                               \
    "tst r1\n\t"                                                                                   \
    "breq 1f\n\t"                                                                                  \
    "cp " C ", r21\n\t"                                                                            \
    "sbc r22, r22\n\t"                                                                             \
    "mov r23, r22\n"                                                                               \
    "1:\n\t"                                                                                       \
    "cp r22, r18\n\t"                                                                              \
    "cpc r23, r19\n\t"                                                                             \
    "brsh 1f\n\t"                                                                                  \
    "movw r22, r18\n"                                                                              \
    "1:\n\t"                                                                                       \
    "cp r30, r22\n\t"                                                                              \
    "cpc r31, r23\n\t"                                                                             \
    "brsh 1f\n\t"                                                                                  \
    "movw r22, r30\n"                                                                              \
    "1:\n\t"                                                                                       \
    "subi r23, 0x80\n\t"                                                                           \
    "st X+, r22\n\t"                                                                               \
    "st X+, r23\n\t"

/* What a group of fewer than n outputs leaves out. */
#define FROM_S8(n, what)                                                                           \
    "cpi r20, " n "\n\t"                                                                           \
    "brlo 2f\n\t" what "2:\n\t"
#define LAST_S8_4 PRODUCTS_S8(S8_V) PRODUCTS_S8(S8_W) PRODUCTS_S8(S8_X) PRODUCTS_S8(S8_Y)
#define SIZE_S8(n, products, again)                                                                \
    "cpi r20, " n "\n\t"                                                                           \
    "breq 3f\n\t"                                                                                  \
    "rjmp 4f\n"                                                                                    \
    "3:\n\t" LOOP_S8(products, again) "rjmp 40f\n"                                                 \
    "4:\n\t"

/* What a layer needs, at Z. In r24 comes back whether all biases were below 2^22; where not, z is
 * not done.
 */
typedef struct {
    uint8_t scale;
    uint16_t lowest, top;
    int16_t *out;
    uint8_t half, left, outputs, pairs;
    const uint8_t *a_in;
    const int32_t *b;
    const int8_t *w;
} bp_avr_layer_s8_t;

BP_STATIC_ASSERT(sizeof(bp_avr_layer_s8_t) == 17, avr_layer_s8_size);

__attribute__((naked, noinline)) static void bp_avr_layer_s8(void)
{
    __asm__ __volatile__(
        "push r2\n\t"
        "push r3\n\t"
        "push r28\n\t"
        "push r29\n\t"
        "movw r26, r30\n\t"
        "adiw r26, " F8_SIZE "\n\t"
        "ldi r16, " F8_SIZE "\n"
        "1:\n\t"
        "ld r17, -X\n\t"
        "push r17\n\t"
        "dec r16\n\t"
        "brne 1b\n"
        "10:\n\t"
        "in r28, __SP_L__\n\t"
        "in r29, __SP_H__\n\t"
        "ldd r16, Y+" F8_LEFT "\n\t"
        "ldi r20, 6\n\t"
        "cp r16, r20\n\t"
        "brsh 1f\n\t"
        "mov r20, r16\n"
        "1:\n\t"
        "sub r16, r20\n\t"
        "std Y+" F8_LEFT ", r16\n\t"
        "clr r21\n\t"
        "ldd r22, Y+" F8_OUTPUTS "\n\t"
        "sub r22, r20\n\t"
        "lsl r22\n\t"
        "clr r23\n\t"
        "mov r24, r20\n\t"
        "lsl r24\n\t"
        "ldd r16, Y+" F8_W "\n\t"
        "ldd r17, Y+" F8_W_2 "\n\t"
        "movw r18, r16\n\t"
        "add r18, r24\n\t"
        "adc r19, r21\n\t"
        "std Y+" F8_W ", r18\n\t"
        "std Y+" F8_W_2 ", r19\n\t"
        "lsl r24\n\t"
        "ldd r30, Y+" F8_B "\n\t"
        "ldd r31, Y+" F8_B_2 "\n\t"
        "movw r18, r30\n\t"
        "add r18, r24\n\t"
        "adc r19, r21\n\t"
        "std Y+" F8_B ", r18\n\t"
        "std Y+" F8_B_2 ", r19\n\t"
        "ldd r18, Y+" F8_HALF "\n\t"
        "ldd r19, Y+" F8_PAIRS "\n\t"
        "clr r0\n\t"
        FROM_S8("6", START_S8(S8_T))
        FROM_S8("5", START_S8(S8_U))
        FROM_S8("4", START_S8(S8_V))
        FROM_S8("3", START_S8(S8_W))
        FROM_S8("2", START_S8(S8_X))
        /* The last, which is Y. */
        "lpm r25, Z+\n\t"
        "lpm r1, Z+\n\t"
        "lpm r23, Z+\n\t"
        "lpm r27, Z+\n\t"
        "mov r26, r23\n\t"
        "subi r26, 0xC0\n\t"
        "sbci r27, 0xFF\n\t"
        "lsl r26\n\t"
        "adc r27, r21\n\t"
        "or r0, r27\n\t"
        "add r25, r18\n\t"
        "adc r1, r21\n\t"
        "adc r23, r18\n\t"
        "ldd r26, Y+" F8_A_IN "\n\t"
        "ldd r27, Y+" F8_A_IN_2 "\n\t"
        "mov r28, r1\n\t"
        "mov r29, r23\n\t"
        "clr r23\n\t"
        "movw r30, r16\n\t"
        "tst r0\n\t"
        "breq 1f\n\t"
        "clr r24\n\t"
        "rjmp 60f\n\t"
        "1:\n\t"
        SIZE_S8("6", PRODUCTS_S8(S8_T) PRODUCTS_S8(S8_U) LAST_S8_4, FAR_S8)
        SIZE_S8("5", PRODUCTS_S8(S8_U) LAST_S8_4, FAR_S8)
        SIZE_S8("4", LAST_S8_4, NEAR_S8)
        SIZE_S8("3", PRODUCTS_S8(S8_W) PRODUCTS_S8(S8_X) PRODUCTS_S8(S8_Y), NEAR_S8)
        SIZE_S8("2", PRODUCTS_S8(S8_X) PRODUCTS_S8(S8_Y), NEAR_S8)
        LOOP_S8(PRODUCTS_S8(S8_Y), NEAR_S8)
        "40:\n\t"
        "in r30, __SP_L__\n\t"
        "in r31, __SP_H__\n\t"
        "ldd r16, Z+" F8_SCALE "\n\t"
        "ldd r18, Z+" F8_LOWEST "\n\t"
        "ldd r19, Z+" F8_LOWEST "+1\n\t"
        "ldd r26, Z+" F8_OUT "\n\t"
        "ldd r27, Z+" F8_OUT_2 "\n\t"
        "ldd r21, Z+" F8_HALF "\n\t"
        "subi r21, 0x80\n\t"
        "ldd r22, Z+" F8_TOP "\n\t"
        "ldd r23, Z+" F8_TOP "+1\n\t"
        "movw r30, r22\n\t"
        FROM_S8("6", END_S8(S8_T))
        FROM_S8("5", END_S8(S8_U))
        FROM_S8("4", END_S8(S8_V))
        FROM_S8("3", END_S8(S8_W))
        FROM_S8("2", END_S8(S8_X))
        END_S8(S8_Y)
        "clr r1\n\t"
        "in r28, __SP_L__\n\t"
        "in r29, __SP_H__\n\t"
        "std Y+" F8_OUT ", r26\n\t"
        "std Y+" F8_OUT_2 ", r27\n\t"
        "ldd r16, Y+" F8_LEFT "\n\t"
        "tst r16\n\t"
        "breq 1f\n\t"
        "rjmp 10b\n\t"
        "1:\n\t"
        "ldi r24, 1\n"
        "60:\n\t"
        "clr r1\n\t"
        "in r28, __SP_L__\n\t"
        "in r29, __SP_H__\n\t"
        "adiw r28, " F8_SIZE "\n\t"
        "in r0, __SREG__\n\t"
        "cli\n\t"
        "out __SP_H__, r29\n\t"
        "out __SREG__, r0\n\t"
        "out __SP_L__, r28\n\t"
        "pop r29\n\t"
        "pop r28\n\t"
        "pop r3\n\t"
        "pop r2\n\t"
        "ret");
}

/* ---- Any layer -------------------------------------------------------------------------------
 *
 * Sums of s8 weights in flash with u8 inputs have 24 bits for 256 products, which are below 2^15.
 * One output at a time: 28 cycles a pair of inputs.
 */
static int32_t bp_avr_dot_s8(const int8_t *at, const uint8_t *a_in, size_t stride, size_t n)
{
    int32_t total = 0;

    while (n != 0) {
        uint8_t pairs = (uint8_t)(n < 256 ? n / 2 : 128);
        int32_t p = 0;
        uint16_t a;
        int8_t w;

        n -= 2 * (size_t)pairs;
        __asm__ __volatile__("1:\n\t"
                             "ld %A[a], X+\n\t"
                             "ld %B[a], X+\n\t"
                             "lpm %[w], Z+\n\t"
                             "mulsu %[w], %A[a]\n\t"
                             "sbc %C[p], %[zero]\n\t"
                             "add %A[p], r0\n\t"
                             "adc %B[p], r1\n\t"
                             "adc %C[p], %[zero]\n\t"
                             "lpm %[w], Z+\n\t"
                             "mulsu %[w], %B[a]\n\t"
                             "sbc %C[p], %[zero]\n\t"
                             "add %A[p], r0\n\t"
                             "adc %B[p], r1\n\t"
                             "adc %C[p], %[zero]\n\t"
                             "add %A[at], %A[stride]\n\t"
                             "adc %B[at], %B[stride]\n\t"
                             "dec %[pairs]\n\t"
                             "brne 1b\n\t"
                             "sbrc %C[p], 7\n\t"
                             "com %D[p]\n\t"
                             "clr __zero_reg__"
                             : [p] "+&r"(p), [a] "=&a"(a), [w] "=&a"(w), [at] "+&z"(at),
                               [in] "+&x"(a_in), [pairs] "+&r"(pairs)
                             : [stride] "r"(stride), [zero] "r"((uint8_t)0)
                             : "r0", "memory");
        total += p;
    }
    return total;
}

/* z of a sum. A negative shift doubles it; what has left 16 bits stays outside. */
static int16_t bp_avr_end_s8(int32_t acc, const bp_layer_t *layer)
{
    int8_t shift = layer->z_shift;

    if (shift > 0) {
        acc = bp_round32(acc, (uint8_t)shift);
    }
    for (; shift < 0 && acc >= INT16_MIN && acc <= INT16_MAX; shift++) {
        acc *= 2;
    }
    return (int16_t)(acc > layer->z_top ? layer->z_top
                                        : acc < layer->z_lowest ? layer->z_lowest : acc);
}

#define BP_FAST_DENSE_S8

/* Any other layer, by the portable kernel's steps. */
__attribute__((noinline)) static void bp_avr_any_s8(int16_t *z, const bp_layer_t *layer,
                                                    const int8_t *w, const int32_t *b,
                                                    const uint8_t *a_in)
{
    const bp_layer_t l = read_layer(layer);
    size_t n = even_inputs(&l);
    size_t j;

    for (j = 0; j < l.outputs; j++) {
        int32_t acc = bp_avr_dot_s8(w + 2 * j, a_in, 2 * (l.outputs - 1), n) + bp_rom_s32(b + j);

        z[j] = bp_avr_end_s8(acc, &l);
    }
}

void bp_dense_s8(int16_t *z, const bp_layer_t *layer, const int8_t *w, const int32_t *b,
                 const uint8_t *a_in, bp_counters_t *counters)
{
    uint16_t inputs = bp_rom_u16(&layer->inputs);
    uint16_t outputs = bp_rom_u16(&layer->outputs);
    uint8_t place = (uint8_t)(bp_rom_s8(&layer->z_shift) - 1);

    (void)counters;
    if (place < 8 && inputs <= 128 && outputs - 1u < 127) {
        bp_avr_layer_s8_t s;
        bp_avr_layer_s8_t *at = &s;
        register uint8_t done __asm__("r24");

        s.half = bp_avr_power(place);
        s.scale = bp_avr_power((uint8_t)(7 - place));
        s.lowest = (uint16_t)bp_rom_s16(&layer->z_lowest) ^ 0x8000u;
        s.top = (uint16_t)bp_rom_s16(&layer->z_top) ^ 0x8000u;
        s.out = z;
        s.left = s.outputs = (uint8_t)outputs;
        s.pairs = (uint8_t)((uint8_t)(inputs + 1) / 2);
        s.a_in = a_in;
        s.b = b;
        s.w = w;
        __asm__ __volatile__("%~call %x[function]"
                             : "=r"(done), "+z"(at)
                             : [function] "i"(bp_avr_layer_s8)
                             : "r0", "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "r12",
                               "r13", "r14", "r15", "r16", "r17", "r18", "r19", "r20", "r21",
                               "r22", "r23", "r25", "r26", "r27", "memory");
        if (done) {
            return;
        }
    }
    bp_avr_any_s8(z, layer, w, b, a_in);
}

/* ---- Sigmoid in place ------------------------------------------------------------------------
 *
 * Of 128 or 256 intervals, and `scale` = 2^(frac - 8): u, doubled for the latter, has the index in
 * its upper byte and fr in the lower. What is left of 2^-8 of the interpolated entry never reaches
 * the result, since frac <= 15. 60 cycles a unit for 128 intervals and a positive z.
 */
#define BP_FAST_SIGMOID

void bp_sigmoid(int16_t *a, const uint16_t *table, uint8_t bits, uint8_t frac, size_t n)
{
    uint8_t scale = bp_avr_power((uint8_t)(frac - 8));
    uint16_t z, low, rise;
    const uint16_t *at;

    if ((bits != 7 && bits != 8) || frac < 8) {
        for (; n != 0; n--, a++) {
            *a = sigmoid(*a, table, bits, frac);
        }
        return;
    }
    if (n == 0) {
        return;
    }
    __asm__ __volatile__("1:\n\t"
                         "ld %A[z], X+\n\t"
                         "ld %B[z], X\n\t"
                         "movw r30, %[table]\n\t"
                         "bst %B[z], 7\n\t"
                         "brts 5f\n"
                         "2:\n\t"
                         "sbrs %[bits], 0\n\t"
                         "rjmp 6f\n"
                         "3:\n\t"
                         "add r30, %B[z]\n\t"
                         "adc r31, %[zero]\n\t"
                         "add r30, %B[z]\n\t"
                         "adc r31, %[zero]\n\t"
                         "lpm %A[low], Z+\n\t"
                         "lpm %B[low], Z+\n\t"
                         "lpm %A[rise], Z+\n\t"
                         "lpm %B[rise], Z\n\t"
                         "sub %A[rise], %A[low]\n\t"
                         "sbc %B[rise], %B[low]\n\t"
                         "mul %B[rise], %A[z]\n\t"
                         "add %A[low], r0\n\t"
                         "adc %B[low], r1\n\t"
                         "mul %A[rise], %A[z]\n\t"
                         "add %A[low], r1\n\t"
                         "adc %B[low], %[zero]\n\t"
                         /* Times scale; the bit behind the last of the result rounds. */
                         "mul %A[low], %[scale]\n\t"
                         "lsl r0\n\t"
                         "adc r1, %[zero]\n\t"
                         "mov %A[low], r1\n\t"
                         "mul %B[low], %[scale]\n\t"
                         "movw %[rise], r0\n\t"
                         "add %A[rise], %A[low]\n\t"
                         "adc %B[rise], %[zero]\n\t"
                         "brts 7f\n\t"
                         /* No more than 2^frac - 1. */
                         "cp %B[rise], %[scale]\n\t"
                         "brlo 4f\n\t"
                         "dec %A[rise]\n\t"
                         "dec %B[rise]\n"
                         "4:\n\t"
                         "st X, %B[rise]\n\t"
                         "st -X, %A[rise]\n\t"
                         "adiw r26, 2\n\t"
                         "sbiw %[n], 1\n\t"
                         "brne 1b\n\t"
                         "rjmp 8f\n"
                         /* |z|, at most 32767. */
                         "5:\n\t"
                         "com %B[z]\n\t"
                         "neg %A[z]\n\t"
                         "sbci %B[z], 0xFF\n\t"
                         "brpl 2b\n\t"
                         "ldi %B[z], 0x7F\n\t"
                         "ldi %A[z], 0xFF\n\t"
                         "rjmp 2b\n"
                         "6:\n\t"
                         "lsl %A[z]\n\t"
                         "rol %B[z]\n\t"
                         "rjmp 3b\n"
                         /* 2^frac - y. */
                         "7:\n\t"
                         "neg %A[rise]\n\t"
                         "mov %B[low], %[scale]\n\t"
                         "sbc %B[low], %B[rise]\n\t"
                         "mov %B[rise], %B[low]\n\t"
                         "rjmp 4b\n"
                         "8:\n\t"
                         "clr __zero_reg__"
                         : [a] "+x"(a), [n] "+w"(n), [z] "=&d"(z), [low] "=&r"(low),
                           [rise] "=&r"(rise), [at] "=&z"(at)
                         : [table] "r"(table), [scale] "r"(scale), [bits] "r"(bits),
                           [zero] "r"((uint8_t)0)
                         : "r0", "memory");
}

#endif

#endif

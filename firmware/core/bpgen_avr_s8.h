/* bpgen_avr_s8.h -- inference in bytes, in assembly for AVR cores with a multiplier.
 *
 * s8 weights in flash, u8 activations. Cycles are those of an ATmega328P.
 * SPDX-License-Identifier: 0BSD
 */
#ifndef BPGEN_AVR_S8_H
#define BPGEN_AVR_S8_H

#include "bpgen_avr_forward.h"
#include "bpgen_avr_learn.h"
#include "bpgen_unit.h"

#if !BPGEN_COUNTERS

/* ---- A layer ---------------------------------------------------------------------------------
 *
 * Flash has w + 128, so that a product is one of unsigned bytes:
 *
 *     sum w * a = sum (w + 128) * a - 128 * s, s = sum a
 *
 * Sums count modulo 2^24, and the whole is below 2^23 either way: see avr_bytes() in view.py. Six
 * outputs at a time, but the first group has the rest of less than six (five of a multiple), where
 * registers are free for s.
 *
 *     r0, r1    w, a product                 r22       0
 *     r2..r19   six sums, T to Y; a group    r23       from a pair's weights to the next pair's
 *               of fewer has the last ones   r24       where a_in ends, lower byte
 *     r2, r3    s, in a group of fewer       r25       outputs of the group
 *     r20, r21  two inputs                   r26, r27  X: a_in, out
 *     r28, r29  Y: frame                     r30, r31  Z: b, w, flash
 */
#define F8_LEFT "1" /* outputs to do */
#define F8_OUT "2"
#define F8_OUT_2 "3"
#define F8_B "4"
#define F8_B_2 "5"
#define F8_W "6"
#define F8_W_2 "7"
#define F8_A_IN "8"
#define F8_A_IN_2 "9"
#define F8_STOP "10"
#define F8_ROW "11"  /* 2 * outputs */
#define F8_HALF "12" /* h = 2^(shift - 1) */
#define F8_K "13"    /* h + 2^16 * h - 128 * s */
#define F8_K_2 "14"
#define F8_K_3 "15"
#define F8_CONSTANTS "16" /* address in flash of those that an output's end needs */
#define F8_CONSTANTS_2 "17"
#define F8_END "18" /* address of its code */
#define F8_END_2 "19"
#define F8_SIZE "19"

#define S8_T "r2", "r3", "r4"
#define S8_U "r6", "r7", "r5"
#define S8_V "r8", "r9", "r10"
#define S8_W "r12", "r13", "r11"
#define S8_X "r14", "r15", "r16"
#define S8_Y "r18", "r19", "r17"

/* To the place of a group's first output. */
#define PLACE_S8(size, t, u, v, w, x, y)                                                           \
    "cpi " size ", 5\n\t"                                                                          \
    "breq " u "\n\t"                                                                               \
    "brsh " t "\n\t"                                                                               \
    "cpi " size ", 3\n\t"                                                                          \
    "breq " w "\n\t"                                                                               \
    "brsh " v "\n\t"                                                                               \
    "cpi " size ", 2\n\t"                                                                          \
    "breq " x "\n\t"                                                                               \
    "rjmp " y "\n\t"

/* sum = b, whose fourth byte extends the sign: 11 cycles. */
#define START_S8(...) START_S8_(__VA_ARGS__)
#define START_S8_(A, B, C)                                                                         \
    "lpm " A ", Z+\n\t"                                                                            \
    "lpm " B ", Z+\n\t"                                                                            \
    "lpm " C ", Z+\n\t"                                                                            \
    "adiw r30, 1\n\t"

/* sum += (w + 128) * a for two inputs: 16 cycles. */
#define PRODUCT_S8(a, A, B, C)                                                                     \
    "lpm r0, Z+\n\t"                                                                               \
    "mul r0, " a "\n\t"                                                                            \
    "add " A ", r0\n\t"                                                                            \
    "adc " B ", r1\n\t"                                                                            \
    "adc " C ", r22\n\t"
#define PRODUCTS_S8(...) PRODUCTS_S8_(__VA_ARGS__)
#define PRODUCTS_S8_(A, B, C) PRODUCT_S8("r20", A, B, C) PRODUCT_S8("r21", A, B, C)
#define LAST_S8_2 PRODUCTS_S8(S8_X) PRODUCTS_S8(S8_Y)
#define LAST_S8_3 PRODUCTS_S8(S8_W) LAST_S8_2
#define LAST_S8_4 PRODUCTS_S8(S8_V) LAST_S8_3
#define LAST_S8_5 PRODUCTS_S8(S8_U) LAST_S8_4
#define LAST_S8_6 PRODUCTS_S8(S8_T) LAST_S8_5

#define PAIR_S8(products)                                                                          \
    "ld r20, X+\n\t"                                                                               \
    "ld r21, X+\n\t" products                                                                      \
    "add r30, r23\n\t"                                                                             \
    "adc r31, r22\n\t"

/* All pairs of inputs: 9 cycles a pair around the products. */
#define LOOP_S8(products)                                                                          \
    "1:\n\t" PAIR_S8(products)                                                                     \
    "cpse r26, r24\n\t"                                                                            \
    "rjmp 1b\n\t"

/* The same in a group of fewer than six, which makes s: 4 cycles more. */
#define ADD_S8                                                                                     \
    "add r2, r20\n\t"                                                                              \
    "adc r3, r22\n\t"                                                                              \
    "add r2, r21\n\t"                                                                              \
    "adc r3, r22\n\t"
#define SIZE_S8(n, products)                                                                       \
    "cpi r25, " n "\n\t"                                                                           \
    "breq 3f\n\t"                                                                                  \
    "rjmp 4f\n"                                                                                    \
    "3:\n\t" LOOP_S8(ADD_S8 products)                                                              \
    "rjmp 30f\n"                                                                                   \
    "4:\n\t"

/* sum += K: the rounding half, an offset that makes z + 2^15 of what is kept, and what the 128 of
 * the weights made too much.
 */
#define CORRECT_S8(...) CORRECT_S8_(__VA_ARGS__)
#define CORRECT_S8_(A, B, C)                                                                       \
    "add " A ", r20\n\t"                                                                           \
    "adc " B ", r21\n\t"                                                                           \
    "adc " C ", r24\n\t"

/* What kernels enter with r27:r26 the address of their ends' code, and the arguments where
 * bp_avr_any() has them.
 */
__attribute__((naked, noinline, used)) static void bp_avr_layer_s8(void)
{
    __asm__ __volatile__(
        "push r2\n\t"
        "push r3\n\t"
        "push r28\n\t"
        "push r29\n\t"
        "in r28, __SP_L__\n\t"
        "in r29, __SP_H__\n\t"
        "sbiw r28, " F8_SIZE "\n\t"
        "in r0, __SREG__\n\t"
        "cli\n\t"
        "out __SP_H__, r29\n\t"
        "out __SREG__, r0\n\t"
        "out __SP_L__, r28\n\t"
        "std Y+" F8_END ", r26\n\t"
        "std Y+" F8_END_2 ", r27\n\t"
        "movw r26, r24\n\t"
        "std Y+" F8_B ", r22\n\t"
        "std Y+" F8_B_2 ", r23\n\t"
        "std Y+" F8_W ", r18\n\t"
        "std Y+" F8_W_2 ", r19\n\t"
        "std Y+" F8_A_IN ", r16\n\t"
        "std Y+" F8_A_IN_2 ", r17\n\t"
        "movw r30, r20\n\t"
        "lpm r25, Z+\n\t"
        "lpm r24, Z+\n\t"
        "lpm r20, Z+\n\t"
        "add r16, r20\n\t"
        "std Y+" F8_STOP ", r16\n\t"
        "lpm r20, Z+\n\t"
        "std Y+" F8_HALF ", r20\n\t"
        "std Y+" F8_CONSTANTS ", r30\n\t"
        "std Y+" F8_CONSTANTS_2 ", r31\n\t"
        "mov r20, r24\n\t"
        "lsl r20\n\t"
        "std Y+" F8_ROW ", r20\n"

        "10:\n\t"
        "std Y+" F8_OUT ", r26\n\t"
        "std Y+" F8_OUT_2 ", r27\n\t"
        "sub r24, r25\n\t"
        "std Y+" F8_LEFT ", r24\n\t"
        "mov r20, r25\n\t"
        "lsl r20\n\t"
        "ldd r23, Y+" F8_ROW "\n\t"
        "sub r23, r20\n\t"
        "clr r22\n\t"
        "ldd r30, Y+" F8_W "\n\t"
        "ldd r31, Y+" F8_W_2 "\n\t"
        "movw r26, r30\n\t"
        "add r30, r20\n\t"
        "adc r31, r22\n\t"
        "std Y+" F8_W ", r30\n\t"
        "std Y+" F8_W_2 ", r31\n\t"
        "ldd r30, Y+" F8_B "\n\t"
        "ldd r31, Y+" F8_B_2 "\n\t"
        PLACE_S8("r25", "21f", "22f", "23f", "24f", "25f", "26f")
        "21:\n\t" START_S8(S8_T)
        "22:\n\t" START_S8(S8_U)
        "23:\n\t" START_S8(S8_V)
        "24:\n\t" START_S8(S8_W)
        "25:\n\t" START_S8(S8_X)
        "26:\n\t" START_S8(S8_Y)
        "std Y+" F8_B ", r30\n\t"
        "std Y+" F8_B_2 ", r31\n\t"
        "movw r30, r26\n\t"
        "ldd r26, Y+" F8_A_IN "\n\t"
        "ldd r27, Y+" F8_A_IN_2 "\n\t"
        "ldd r24, Y+" F8_STOP "\n\t"
        "cpi r25, 6\n\t"
        "breq 1f\n\t"
        "rjmp 2f\n"
        LOOP_S8(LAST_S8_6)
        "ldd r20, Y+" F8_K "\n\t"
        "ldd r21, Y+" F8_K_2 "\n\t"
        "ldd r24, Y+" F8_K_3 "\n\t"
        "rjmp 40f\n"
        "2:\n\t"
        "clr r2\n\t"
        "clr r3\n\t"
        SIZE_S8("5", LAST_S8_5)
        SIZE_S8("4", LAST_S8_4)
        SIZE_S8("3", LAST_S8_3)
        SIZE_S8("2", LAST_S8_2)
        LOOP_S8(ADD_S8 PRODUCTS_S8(S8_Y))
        "30:\n\t"
        "clr r4\n\t"
        "lsr r3\n\t"
        "ror r2\n\t"
        "ror r4\n\t"
        "ldd r20, Y+" F8_HALF "\n\t"
        "mov r24, r20\n\t"
        "clr r21\n\t"
        "sub r20, r4\n\t"
        "sbc r21, r2\n\t"
        "sbc r24, r3\n\t"
        "std Y+" F8_K ", r20\n\t"
        "std Y+" F8_K_2 ", r21\n\t"
        "std Y+" F8_K_3 ", r24\n"
        "40:\n\t"
        CORRECT_S8(S8_T)
        CORRECT_S8(S8_U)
        CORRECT_S8(S8_V)
        CORRECT_S8(S8_W)
        CORRECT_S8(S8_X)
        CORRECT_S8(S8_Y)
        "ldd r26, Y+" F8_OUT "\n\t"
        "ldd r27, Y+" F8_OUT_2 "\n\t"
        "ldd r30, Y+" F8_END "\n\t"
        "ldd r31, Y+" F8_END_2 "\n\t"
        "icall\n\t"
        "in r28, __SP_L__\n\t"
        "in r29, __SP_H__\n\t"
        "ldd r24, Y+" F8_LEFT "\n\t"
        "mov r25, r24\n\t"
        "cpi r24, 6\n\t"
        "brlo 1f\n\t"
        "ldi r25, 6\n"
        "1:\n\t"
        "cpse r24, r22\n\t"
        "rjmp 10b\n\t"
        "clr r1\n\t"
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

/* ---- An output's end -------------------------------------------------------------------------
 *
 * Of the group's sums, which take the place of T one after the other. r4:r2 = sum >> shift, which
 * is z + 2^15: the sum times r24, that is 2^(8 - shift). 12 cycles, and 8 more where z leaves 16
 * bits. N is the bit that says z >= 0.
 */
#define NARROW_S8                                                                                  \
    "mul r4, r24\n\t"                                                                              \
    "mov r4, r0\n\t"                                                                               \
    "cpse r1, r22\n\t"                                                                             \
    "rjmp 8f\n\t"                                                                                  \
    "mul r2, r24\n\t"                                                                              \
    "mov r2, r1\n\t"                                                                               \
    "mul r3, r24\n\t"                                                                              \
    "or r2, r0\n\t"                                                                                \
    "or r4, r1\n"                                                                                  \
    "7:\n\t"

/* Behind an end: the limit, for a z beyond it. The offset is 2^(15 + shift), so sums that are too
 * low start at 2^23 + 2^(15 + shift), and those too high end below: of the former the upper 9 bits
 * are more than r24.
 */
#define TOO_FAR_S8                                                                                 \
    "8:\n\t"                                                                                       \
    "lsl r0\n\t"                                                                                   \
    "rol r1\n\t"                                                                                   \
    "cp r24, r1\n\t"                                                                               \
    "sbc r4, r4\n\t"                                                                               \
    "com r4\n\t"                                                                                   \
    "mov r2, r4\n\t"                                                                               \
    "rjmp 7b\n\t"

/* z clipped to the range from r25:r23 to r29:r28, where 2^15 is added too. */
#define CLIP_S8(store)                                                                             \
    "cp r2, r23\n\t"                                                                               \
    "cpc r4, r25\n\t"                                                                              \
    "brsh 1f\n\t"                                                                                  \
    "mov r2, r23\n\t"                                                                              \
    "mov r4, r25\n"                                                                                \
    "1:\n\t"                                                                                       \
    "cp r28, r2\n\t"                                                                               \
    "cpc r29, r4\n\t"                                                                              \
    "brsh 1f\n\t"                                                                                  \
    "mov r2, r28\n\t"                                                                              \
    "mov r4, r29\n"                                                                                \
    "1:\n\t" store

/* A sigmoid of 128 intervals, whose table is at r29:r28.
 *
 * With u = |z|, r21:r20 = floor(E[i] + rise * fr). For z < 0 the low byte of z + 2^15 counts down
 * from E[i + 1]: the rise is negative then, -rise of 16 bits, whose product with that byte is 2^16
 * times the byte too much. z = -32768 has i = 127, and the result of -32767.
 */
#define INDEX_S8                                                                                   \
    "lsl r4\n\t"                                                                                   \
    "movw r30, r28\n\t"                                                                            \
    "add r30, r4\n\t"                                                                              \
    "adc r31, r22\n\t"
#define BETWEEN_S8                                                                                 \
    "sub r3, r20\n\t"                                                                              \
    "sbc r23, r21\n\t"                                                                             \
    "mul r3, r2\n\t"                                                                               \
    "add r20, r1\n\t"                                                                              \
    "adc r21, r22\n\t"                                                                             \
    "mul r23, r2\n\t"                                                                              \
    "add r20, r0\n\t"                                                                              \
    "adc r21, r1\n\t"
#define SIGMOID_S8(positive, negative)                                                             \
    "brmi 1f\n\t"                                                                                  \
    "com r4\n\t"                                                                                   \
    INDEX_S8                                                                                       \
    "lpm r3, Z+\n\t"                                                                               \
    "lpm r23, Z+\n\t"                                                                              \
    "lpm r20, Z+\n\t"                                                                              \
    "lpm r21, Z\n\t"                                                                               \
    BETWEEN_S8                                                                                     \
    "sub r21, r2\n\t"                                                                              \
    negative                                                                                       \
    "ret\n"                                                                                        \
    "1:\n\t"                                                                                       \
    INDEX_S8                                                                                       \
    "lpm r20, Z+\n\t"                                                                              \
    "lpm r21, Z+\n\t"                                                                              \
    "lpm r3, Z+\n\t"                                                                               \
    "lpm r23, Z\n\t"                                                                               \
    BETWEEN_S8                                                                                     \
    positive                                                                                       \
    "ret\n\t"

/* A kernel: to the layer, and what it calls for a group. */
#define NEXT_S8(...) NEXT_S8_(__VA_ARGS__)
#define NEXT_S8_(A, B, C)                                                                          \
    "movw r2, " A "\n\t"                                                                           \
    "mov r4, " C "\n\t"                                                                            \
    "rcall 50f\n\t"
#define KERNEL_S8(name, constants, end)                                                            \
    __attribute__((naked, noinline)) void name(void)                                               \
    {                                                                                              \
        __asm__ __volatile__("ldi r26, lo8(gs(40f))\n\t"                                           \
                             "ldi r27, hi8(gs(40f))\n\t"                                           \
                             "%~jmp %x[layer]\n"                                                   \
                             "40:\n\t"                                                             \
                             "mov r20, r25\n\t"                                                    \
                             "ldd r30, Y+" F8_CONSTANTS "\n\t"                                     \
                             "ldd r31, Y+" F8_CONSTANTS_2 "\n\t"                                   \
                             "lpm r24, Z+\n\t" constants                                           \
                             PLACE_S8("r20", "41f", "42f", "43f", "44f", "45f", "46f")             \
                             "41:\n\t"                                                             \
                             "rcall 50f\n"                                                         \
                             "42:\n\t" NEXT_S8(S8_U)                                               \
                             "43:\n\t" NEXT_S8(S8_V)                                               \
                             "44:\n\t" NEXT_S8(S8_W)                                               \
                             "45:\n\t" NEXT_S8(S8_X)                                               \
                             "46:\n\t"                                                             \
                             "movw r2, r18\n\t"                                                    \
                             "mov r4, r17\n"                                                       \
                             "50:\n\t" NARROW_S8 end TOO_FAR_S8                                    \
                             :                                                                     \
                             : [layer] "i"(bp_avr_layer_s8));                                      \
    }

#define RANGE_S8                                                                                   \
    "lpm r23, Z+\n\t"                                                                              \
    "lpm r25, Z+\n\t"                                                                              \
    "lpm r28, Z+\n\t"                                                                              \
    "lpm r29, Z\n\t"
KERNEL_S8(bp_avr_s8_clip, RANGE_S8,
          CLIP_S8("mov r21, r4\n\t"
                  "subi r21, 0x80\n\t"
                  "st X+, r2\n\t"
                  "st X+, r21\n\t"
                  "ret\n\t"))
KERNEL_S8(bp_avr_u8_clip, RANGE_S8, CLIP_S8("st X+, r2\n\tret\n\t"))

/* A fraction of 8 bits, where y may reach 2^8. */
#define ROUND_S8_8                                                                                 \
    "lsl r20\n\t"                                                                                  \
    "adc r21, r22\n\t"
KERNEL_S8(bp_avr_u8_sigmoid,
          "adiw r30, 2\n\t"
          "lpm r28, Z+\n\t"
          "lpm r29, Z\n\t",
          SIGMOID_S8(ROUND_S8_8 "sbc r21, r22\n\tst X+, r21\n\t",
                     ROUND_S8_8 "neg r21\n\tst X+, r21\n\t"))

/* A fraction of 11 to 13 bits, of which r25 = 2^(frac - 8). */
#define ROUND_S8_16                                                                                \
    "mul r20, r25\n\t"                                                                             \
    "lsl r0\n\t"                                                                                   \
    "adc r1, r22\n\t"                                                                              \
    "mov r20, r1\n\t"                                                                              \
    "mul r21, r25\n\t"                                                                             \
    "add r20, r0\n\t"                                                                              \
    "adc r1, r22\n\t"
KERNEL_S8(bp_avr_s8_sigmoid,
          "lpm r25, Z+\n\t"
          "adiw r30, 1\n\t"
          "lpm r28, Z+\n\t"
          "lpm r29, Z\n\t",
          SIGMOID_S8(ROUND_S8_16 "st X+, r20\n\tst X+, r1\n\t",
                     ROUND_S8_16 "neg r20\n\t"
                                 "mov r21, r25\n\t"
                                 "sbc r21, r1\n\t"
                                 "st X+, r20\n\t"
                                 "st X+, r21\n\t"))

/* ---- Any layer -------------------------------------------------------------------------------
 *
 * 256 products of u8 have 24 bits. One output at a time: 27 cycles a pair of inputs.
 */
static int32_t bp_avr_dot_s8(const bp_w8_t *at, const uint8_t *a_in, size_t stride, size_t n)
{
    int32_t total = 0;

    while (n != 0) {
        uint8_t pairs = (uint8_t)(n < 256 ? n / 2 : 128);
        uint32_t p = 0;
        uint16_t a;

        n -= 2 * (size_t)pairs;
        __asm__ __volatile__("1:\n\t"
                             "ld %A[a], X+\n\t"
                             "ld %B[a], X+\n\t"
                             "lpm r0, Z+\n\t"
                             "mul r0, %A[a]\n\t"
                             "add %A[p], r0\n\t"
                             "adc %B[p], r1\n\t"
                             "adc %C[p], %[zero]\n\t"
                             "lpm r0, Z+\n\t"
                             "mul r0, %B[a]\n\t"
                             "add %A[p], r0\n\t"
                             "adc %B[p], r1\n\t"
                             "adc %C[p], %[zero]\n\t"
                             "add %A[at], %A[stride]\n\t"
                             "adc %B[at], %B[stride]\n\t"
                             "dec %[pairs]\n\t"
                             "brne 1b\n\t"
                             "clr __zero_reg__"
                             : [p] "+&r"(p), [a] "=&r"(a), [at] "+&z"(at), [in] "+&x"(a_in),
                               [pairs] "+&r"(pairs)
                             : [stride] "r"(stride), [zero] "r"((uint8_t)0)
                             : "r0", "memory");
        total += (int32_t)p;
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

static inline void bp_avr_any_byte(int16_t *z, uint8_t *a, const int32_t *b,
                                   const uint8_t *constants, const bp_w8_t *w, const uint8_t *a_in)
{
    const bp_layer_t l =
        read_layer((const bp_layer_t *)(constants - offsetof(bp_layer_t, fast.count)));
    size_t n = even_inputs(&l);
    int32_t excess = 0;
    size_t i, j;

    for (i = 0; i < n; i++) {
        excess += a_in[i];
    }
    excess *= 128;
    for (j = 0; j < l.outputs; j++) {
        int32_t acc = bp_avr_dot_s8(w + 2 * j, a_in, 2 * (l.outputs - 1), n) - excess;
        int16_t y = bp_avr_end_s8(acc + bp_rom_s32(b + j), &l);

        if (z != NULL) {
            z[j] = y;
        } else {
            a[j] = (uint8_t)(l.table != NULL ? sigmoid(y, l.table, l.table_bits, l.a_frac) : y);
        }
    }
}

void bp_avr_s8_any(int16_t *z, const int32_t *b, const uint8_t *constants, const bp_w8_t *w,
                   const uint8_t *a_in)
{
    bp_avr_any_byte(z, NULL, b, constants, w, a_in);
}

void bp_avr_u8_any(uint8_t *a, const int32_t *b, const uint8_t *constants, const bp_w8_t *w,
                   const uint8_t *a_in)
{
    bp_avr_any_byte(NULL, a, b, constants, w, a_in);
}

/* The constants name the kernel. */
#define BP_FAST_DENSE_S8
#define BP_FAST_LAYER_S8

void bp_dense_s8(int16_t *z, const bp_layer_t *layer, const bp_w8_t *w, const int32_t *b,
                 const uint8_t *a_in, bp_counters_t *counters)
{
    (void)counters;
    bp_avr_layer(z, layer, (const int16_t *)w, (const int16_t *)b, (const int16_t *)a_in);
}

void bp_dense_sigmoid_s8(int16_t *a, const bp_layer_t *layer, const bp_w8_t *w, const int32_t *b,
                         const uint8_t *a_in, bp_counters_t *counters)
{
    bp_dense_s8(a, layer, w, b, a_in, counters);
}

void bp_dense_u8(uint8_t *a, int16_t *z, const bp_layer_t *layer, const bp_w8_t *w,
                 const int32_t *b, const uint8_t *a_in, bp_counters_t *counters)
{
    (void)z;
    bp_dense_s8((int16_t *)a, layer, w, b, a_in, counters);
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

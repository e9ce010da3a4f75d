/* bpgen_avr_s8.h -- inference in bytes, in assembly for AVR cores with a multiplier.
 *
 * s8 weights in flash, u8 activations. Cycles are those of an ATmega328P.
 * SPDX-License-Identifier: 0BSD
 */
#ifndef BPGEN_AVR_S8_H
#define BPGEN_AVR_S8_H

#include "bpgen_avr_forward.h"
#include "bpgen_unit.h"

#if !BPGEN_COUNTERS

/* Where constants are from the table on. */
#define FROM_TABLE(member) (offsetof(bp_layer_t, member) - offsetof(bp_layer_t, table))
BP_STATIC_ASSERT(FROM_TABLE(z_lowest) == (size_t)-11, avr_s8_range);
BP_STATIC_ASSERT(FROM_TABLE(fast.end_scale) == 2, avr_s8_end);
BP_STATIC_ASSERT(FROM_TABLE(fast.count) == 6, avr_s8_count);

/* ---- A layer ---------------------------------------------------------------------------------
 *
 * Flash has w + 128, so that a product is one of unsigned bytes:
 *
 *     sum w * a = sum (w + 128) * a - 128 * s, s = sum a
 *
 * Sums count modulo 2^24, and the whole is below 2^23 either way: see avr_bytes() in view.py. Six
 * outputs at a time, but the first group has what is left of them, none to five, and makes s.
 *
 *     r0, r1    w, a product                 r22       0
 *     r2..r19   six sums, T to Y; the first  r23       from a pair's weights to the next pair's
 *               group has the last ones      r24       where a_in ends, lower byte
 *     r2, r3    s, in the first group        r25       its outputs
 *     r4        h, in the first group        r26, r27  X: a_in, w, out
 *     r20, r21  two inputs                   r28, r29  Y: frame
 *     T         a group of six               r30, r31  Z: b, w, flash
 *
 * Behind the loop r24, r21 and r20 are K, and r23 is the first group's outputs.
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
#define F8_STRIDE "11" /* 2 * (outputs - 6) */
#define F8_K "12"      /* h + 2^16 * h - 128 * s, h = 2^(shift - 1) */
#define F8_K_2 "13"
#define F8_K_3 "14"
#define F8_TABLE "15"  /* address of the layer's table */
#define F8_TABLE_2 "16"
#define F8_SIZE "16"

#define S8_T "r2", "r3", "r4"
#define S8_U "r5", "r6", "r7"
#define S8_V "r8", "r9", "r10"
#define S8_W "r11", "r12", "r13"
#define S8_X "r14", "r15", "r16"
#define S8_Y "r17", "r18", "r19"

/* To the first output of a group of up to five. */
#define AT_S8(size, n, place)                                                                      \
    "cpi " size ", " n "\n\t"                                                                      \
    "brne 1f\n\t"                                                                                  \
    "rjmp " place "\n"                                                                             \
    "1:\n\t"
#define PLACE_S8(size, u, v, w, x, y)                                                              \
    AT_S8(size, "5", u)                                                                            \
    AT_S8(size, "4", v)                                                                            \
    AT_S8(size, "3", w)                                                                            \
    AT_S8(size, "2", x)                                                                            \
    AT_S8(size, "1", y)

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
#define LAST_S8_1 PRODUCTS_S8(S8_Y)
#define LAST_S8_2 PRODUCTS_S8(S8_X) LAST_S8_1
#define LAST_S8_3 PRODUCTS_S8(S8_W) LAST_S8_2
#define LAST_S8_4 PRODUCTS_S8(S8_V) LAST_S8_3
#define LAST_S8_5 PRODUCTS_S8(S8_U) LAST_S8_4
#define LAST_S8_6 PRODUCTS_S8(S8_T) LAST_S8_5

/* A pair of inputs: 6 cycles around the products. */
#define PAIR_S8(products)                                                                          \
    "ld r20, X+\n\t"                                                                               \
    "ld r21, X+\n\t" products                                                                      \
    "add r30, r23\n\t"                                                                             \
    "adc r31, r22\n\t"

/* All pairs of the first group: 7 cycles more, of which s takes 4. */
#define FIRST_S8(products)                                                                         \
    "1:\n\t"                                                                                       \
    PAIR_S8("add r2, r20\n\t"                                                                      \
            "adc r3, r22\n\t"                                                                      \
            "add r2, r21\n\t"                                                                      \
            "adc r3, r22\n\t" products)                                                            \
    "cpse r26, r24\n\t"                                                                            \
    "rjmp 1b\n\t"                                                                                  \
    "rjmp 30f\n\t"

/* sum += K: the rounding half, an offset that makes z + 2^15 of what is kept, and what the 128 of
 * the weights made too much.
 */
#define CORRECT_S8(...) CORRECT_S8_(__VA_ARGS__)
#define CORRECT_S8_(A, B, C)                                                                       \
    "add " A ", r20\n\t"                                                                           \
    "adc " B ", r21\n\t"                                                                           \
    "adc " C ", r24\n\t"

/* The sums of the next group, and r31:r30 = the table's address and r27:r26 = out. */
__attribute__((naked, noinline)) static void bp_avr_group_s8(void)
{
    __asm__ __volatile__(
        "brts 10f\n\t"
        PLACE_S8("r25", "12f", "13f", "14f", "15f", "16f")
        "rjmp 20f\n"

        "10:\n\t"
        "std Y+" F8_LEFT ", r25\n\t"
        "std Y+" F8_OUT ", r26\n\t"
        "std Y+" F8_OUT_2 ", r27\n\t"
        "ldd r24, Y+" F8_STOP "\n\t"
        "ldd r23, Y+" F8_STRIDE "\n\t"
        "ldd r30, Y+" F8_W "\n\t"
        "ldd r31, Y+" F8_W_2 "\n\t"
        "movw r26, r30\n\t"
        "adiw r30, 12\n\t"
        "std Y+" F8_W ", r30\n\t"
        "std Y+" F8_W_2 ", r31\n\t"
        "ldd r30, Y+" F8_B "\n\t"
        "ldd r31, Y+" F8_B_2 "\n\t"
        START_S8(S8_T)
        "12:\n\t" START_S8(S8_U)
        "13:\n\t" START_S8(S8_V)
        "14:\n\t" START_S8(S8_W)
        "15:\n\t" START_S8(S8_X)
        "16:\n\t" START_S8(S8_Y)
        "20:\n\t"
        "std Y+" F8_B ", r30\n\t"
        "std Y+" F8_B_2 ", r31\n\t"
        "movw r30, r26\n\t"
        "ldd r26, Y+" F8_A_IN "\n\t"
        "ldd r27, Y+" F8_A_IN_2 "\n\t"
        "brtc 1f\n\t"
        "rjmp 27f\n"
        "1:\n\t"
        "clr r2\n\t"
        "clr r3\n\t"
        PLACE_S8("r25", "25f", "24f", "23f", "22f", "21f")
        FIRST_S8("")
        "21:\n\t" FIRST_S8(LAST_S8_1)
        "22:\n\t" FIRST_S8(LAST_S8_2)
        "23:\n\t" FIRST_S8(LAST_S8_3)
        "24:\n\t" FIRST_S8(LAST_S8_4)
        "25:\n\t" FIRST_S8(LAST_S8_5)

        /* Two pairs of six outputs, 3 cycles more; an odd number begins with the second. */
        "27:\n\t"
        "mov r20, r24\n\t"
        "sub r20, r26\n\t"
        "sbrc r20, 1\n\t"
        "rjmp 29f\n"
        "28:\n\t" PAIR_S8(LAST_S8_6)
        "29:\n\t" PAIR_S8(LAST_S8_6)
        "cpse r26, r24\n\t"
        "rjmp 28b\n\t"
        "ldd r20, Y+" F8_K "\n\t"
        "ldd r21, Y+" F8_K_2 "\n\t"
        "ldd r24, Y+" F8_K_3 "\n\t"
        CORRECT_S8(S8_T)
        "rjmp 31f\n"

        "30:\n\t"
        "mov r23, r25\n\t"
        "clr r21\n\t"
        "lsr r3\n\t"
        "ror r2\n\t"
        "ror r21\n\t"
        "mov r20, r4\n\t"
        "mov r24, r4\n\t"
        "sub r20, r21\n\t"
        "ldi r21, 0\n\t"
        "sbc r21, r2\n\t"
        "sbc r24, r3\n\t"
        "std Y+" F8_K ", r20\n\t"
        "std Y+" F8_K_2 ", r21\n\t"
        "std Y+" F8_K_3 ", r24\n"
        "31:\n\t"
        CORRECT_S8(S8_U)
        CORRECT_S8(S8_V)
        CORRECT_S8(S8_W)
        CORRECT_S8(S8_X)
        CORRECT_S8(S8_Y)
        "ldd r26, Y+" F8_OUT "\n\t"
        "ldd r27, Y+" F8_OUT_2 "\n\t"
        "ldd r30, Y+" F8_TABLE "\n\t"
        "ldd r31, Y+" F8_TABLE_2 "\n\t"
        "ret");
}

/* From the arguments of bp_avr_layer_of_bytes() to the first group. */
#define ENTER_S8                                                                                   \
    "push r28\n\t"                                                                                 \
    "push r29\n\t"                                                                                 \
    "in r28, __SP_L__\n\t"                                                                         \
    "in r29, __SP_H__\n\t"                                                                         \
    "sbiw r28, " F8_SIZE "\n\t"                                                                    \
    "in r0, __SREG__\n\t"                                                                          \
    "cli\n\t"                                                                                      \
    "out __SP_H__, r29\n\t"                                                                        \
    "out __SREG__, r0\n\t"                                                                         \
    "out __SP_L__, r28\n\t"                                                                        \
    "std Y+" F8_OUT ", r24\n\t"                                                                    \
    "std Y+" F8_OUT_2 ", r25\n\t"                                                                  \
    "std Y+" F8_A_IN ", r16\n\t"                                                                   \
    "std Y+" F8_A_IN_2 ", r17\n\t"                                                                 \
    "movw r30, r20\n\t"                                                                            \
    "std Y+" F8_TABLE ", r30\n\t"                                                                  \
    "std Y+" F8_TABLE_2 ", r31\n\t"                                                                \
    "adiw r30, 6\n\t"                                                                              \
    "lpm r25, Z+\n\t"                                                                              \
    "lpm r20, Z+\n\t"                                                                              \
    "lpm r24, Z+\n\t"                                                                              \
    "lpm r4, Z\n\t"                                                                                \
    "add r24, r16\n\t"                                                                             \
    "std Y+" F8_STOP ", r24\n\t"                                                                   \
    "mov r21, r20\n\t"                                                                             \
    "subi r21, 6\n\t"                                                                              \
    "lsl r21\n\t"                                                                                  \
    "std Y+" F8_STRIDE ", r21\n\t"                                                                 \
    "sub r20, r25\n\t"                                                                             \
    "std Y+" F8_LEFT ", r20\n\t"                                                                   \
    "movw r30, r22\n\t"                                                                            \
    "clr r22\n\t"                                                                                  \
    "mov r23, r20\n\t"                                                                             \
    "lsl r23\n\t"                                                                                  \
    "movw r26, r18\n\t"                                                                            \
    "add r18, r25\n\t"                                                                             \
    "adc r19, r22\n\t"                                                                             \
    "add r18, r25\n\t"                                                                             \
    "adc r19, r22\n\t"                                                                             \
    "std Y+" F8_W ", r18\n\t"                                                                      \
    "std Y+" F8_W_2 ", r19\n\t"                                                                    \
    "clt\n"

#define LEAVE_S8                                                                                   \
    "clr r1\n\t"                                                                                   \
    "adiw r28, " F8_SIZE "\n\t"                                                                    \
    "in r0, __SREG__\n\t"                                                                          \
    "cli\n\t"                                                                                      \
    "out __SP_H__, r29\n\t"                                                                        \
    "out __SREG__, r0\n\t"                                                                         \
    "out __SP_L__, r28\n\t"                                                                        \
    "pop r29\n\t"                                                                                  \
    "pop r28\n\t"                                                                                  \
    "ret\n\t"

/* ---- An output's end -------------------------------------------------------------------------
 *
 * r20:r23 = sum >> shift, which is z + 2^15: the sum times r24, that is 2^(8 - shift). 12 cycles,
 * and 13 more where z leaves 16 bits. N is the bit that says z >= 0. Ends may change A..C, r20,
 * r21, r23, r30 and r31.
 */
#define NARROW_S8(A, B, C)                                                                         \
    "mul " C ", r24\n\t"                                                                           \
    "movw r20, r0\n\t"                                                                             \
    "mul " A ", r24\n\t"                                                                           \
    "mov r23, r1\n\t"                                                                              \
    "mul " B ", r24\n\t"                                                                           \
    "or r23, r0\n\t"                                                                               \
    "or r20, r1\n\t"                                                                               \
    "cpse r21, r22\n\t"                                                                            \
    "rcall 8f\n\t"

/* Behind a kernel: the limit, for a z beyond it. The offset is 2^(15 + shift), so sums that are too
 * low start at 2^23 + 2^(15 + shift), and those too high end below: of the former the upper 9 bits
 * are more than r24.
 */
#define TOO_FAR_S8                                                                                 \
    "8:\n\t"                                                                                       \
    "lsl r20\n\t"                                                                                  \
    "rol r21\n\t"                                                                                  \
    "cp r24, r21\n\t"                                                                              \
    "sbc r20, r20\n\t"                                                                             \
    "com r20\n\t"                                                                                  \
    "mov r23, r20\n\t"                                                                             \
    "ret\n\t"

/* z clipped to r29:r28 and r31:r30, to which 2^15 is added too. */
#define CLIP_S8(store, A, B, C)                                                                    \
    NARROW_S8(A, B, C)                                                                             \
    "cp r23, r28\n\t"                                                                              \
    "cpc r20, r29\n\t"                                                                             \
    "brsh 1f\n\t"                                                                                  \
    "mov r23, r28\n\t"                                                                             \
    "mov r20, r29\n"                                                                               \
    "1:\n\t"                                                                                       \
    "cp r30, r23\n\t"                                                                              \
    "cpc r31, r20\n\t"                                                                             \
    "brsh 1f\n\t"                                                                                  \
    "mov r23, r30\n\t"                                                                             \
    "mov r20, r31\n"                                                                               \
    "1:\n\t" store

/* A sigmoid of 128 intervals, whose table is at r29:r28.
 *
 * With u = |z|, r21:r20 = floor(E[i] + rise * fr). For z < 0 the low byte of z + 2^15 counts down
 * from E[i + 1]: the rise is negative then, as 16 bits 2^16 too much, and the sum 2^8 times that
 * byte. z = -32768 has i = 127, and the result of -32767.
 */
#define BETWEEN_S8(first, first_2, second, second_2, A, B)                                         \
    "lsl r20\n\t"                                                                                  \
    "movw r30, r28\n\t"                                                                            \
    "add r30, r20\n\t"                                                                             \
    "adc r31, r22\n\t"                                                                             \
    "lpm " first ", Z+\n\t"                                                                        \
    "lpm " first_2 ", Z+\n\t"                                                                      \
    "lpm " second ", Z+\n\t"                                                                       \
    "lpm " second_2 ", Z\n\t"                                                                      \
    "sub " A ", r20\n\t"                                                                           \
    "sbc " B ", r21\n\t"                                                                           \
    "mul " A ", r23\n\t"                                                                           \
    "add r20, r1\n\t"                                                                              \
    "adc r21, r22\n\t"                                                                             \
    "mul " B ", r23\n\t"                                                                           \
    "add r20, r0\n\t"                                                                              \
    "adc r21, r1\n\t"
#define SIGMOID_S8(positive, negative, store, A, B, C)                                             \
    NARROW_S8(A, B, C)                                                                             \
    "brmi 1f\n\t"                                                                                  \
    "com r20\n\t"                                                                                  \
    BETWEEN_S8(A, B, "r20", "r21", A, B)                                                           \
    "sub r21, r23\n\t"                                                                             \
    negative                                                                                       \
    "rjmp 2f\n"                                                                                    \
    "1:\n\t"                                                                                       \
    BETWEEN_S8("r20", "r21", A, B, A, B)                                                           \
    positive                                                                                       \
    "2:\n\t" store

#define KERNEL_S8(name, constants, end)                                                            \
    __attribute__((naked, noinline)) void name(void)                                               \
    {                                                                                              \
        __asm__ __volatile__(ENTER_S8                                                              \
                             "40:\n\t"                                                             \
                             "%~call %x[group]\n\t" constants                                      \
                             "brts 41f\n\t"                                                        \
                             PLACE_S8("r23", "42f", "43f", "44f", "45f", "46f")                    \
                             "rjmp 47f\n"                                                          \
                             "41:\n\t" end(S8_T)                                                   \
                             "42:\n\t" end(S8_U)                                                   \
                             "43:\n\t" end(S8_V)                                                   \
                             "44:\n\t" end(S8_W)                                                   \
                             "45:\n\t" end(S8_X)                                                   \
                             "46:\n\t" end(S8_Y)                                                   \
                             "47:\n\t"                                                             \
                             "in r28, __SP_L__\n\t"                                                \
                             "in r29, __SP_H__\n\t"                                                \
                             "set\n\t"                                                             \
                             "ldd r25, Y+" F8_LEFT "\n\t"                                          \
                             "subi r25, 6\n\t"                                                     \
                             "brlo 1f\n\t"                                                         \
                             "rjmp 40b\n"                                                          \
                             "1:\n\t" LEAVE_S8 TOO_FAR_S8                                          \
                             :                                                                     \
                             : [group] "i"(bp_avr_group_s8));                                      \
    }

/* From z_lowest on, with 2^15 added to both. */
#define RANGE_S8                                                                                   \
    "adiw r30, 2\n\t"                                                                              \
    "lpm r24, Z\n\t"                                                                               \
    "sbiw r30, 13\n\t"                                                                             \
    "lpm r28, Z+\n\t"                                                                              \
    "lpm r29, Z+\n\t"                                                                              \
    "lpm r0, Z+\n\t"                                                                               \
    "lpm r31, Z\n\t"                                                                               \
    "mov r30, r0\n\t"                                                                              \
    "subi r29, 0x80\n\t"                                                                           \
    "subi r31, 0x80\n\t"
#define WORD_S8(...)                                                                               \
    CLIP_S8("subi r20, 0x80\n\t"                                                                   \
            "st X+, r23\n\t"                                                                       \
            "st X+, r20\n\t", __VA_ARGS__)
#define BYTE_S8(...) CLIP_S8("st X+, r23\n\t", __VA_ARGS__)
KERNEL_S8(bp_avr_s8_clip, RANGE_S8, WORD_S8)
KERNEL_S8(bp_avr_u8_clip, RANGE_S8, BYTE_S8)

/* A fraction of 8 bits, where y may reach 2^8. */
#define ROUND_S8                                                                                   \
    "lsl r20\n\t"                                                                                  \
    "adc r21, r22\n\t"
#define SIGMOID_S8_8(...)                                                                          \
    SIGMOID_S8(ROUND_S8 "sbc r21, r22\n", ROUND_S8 "neg r21\n\t", "st X+, r21\n\t", __VA_ARGS__)
KERNEL_S8(bp_avr_u8_sigmoid,
          "lpm r28, Z+\n\t"
          "lpm r29, Z+\n\t"
          "lpm r24, Z\n\t",
          SIGMOID_S8_8)

/* A fraction of 11 to 13 bits, where y does not reach 2^frac: r25 = 2^(frac - 8). */
#define ROUND_S8_16                                                                                \
    "mul r20, r25\n\t"                                                                             \
    "lsl r0\n\t"                                                                                   \
    "adc r1, r22\n\t"                                                                              \
    "mov r20, r1\n\t"                                                                              \
    "mul r21, r25\n\t"                                                                             \
    "add r20, r0\n\t"                                                                              \
    "adc r1, r22\n\t"
#define SIGMOID_S8_16(...)                                                                         \
    SIGMOID_S8(ROUND_S8_16 "mov r21, r1\n",                                                        \
               ROUND_S8_16 "neg r20\n\t"                                                           \
                           "mov r21, r25\n\t"                                                      \
                           "sbc r21, r1\n\t",                                                      \
               "st X+, r20\n\t"                                                                    \
               "st X+, r21\n\t", __VA_ARGS__)
KERNEL_S8(bp_avr_s8_sigmoid,
          "lpm r28, Z+\n\t"
          "lpm r29, Z+\n\t"
          "lpm r24, Z+\n\t"
          "lpm r25, Z\n\t",
          SIGMOID_S8_16)

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
                                   const uint8_t *table, const bp_w8_t *w, const uint8_t *a_in)
{
    const bp_layer_t l =
        read_layer((const bp_layer_t *)(table - offsetof(bp_layer_t, table)));
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

void bp_avr_s8_any(int16_t *z, const int32_t *b, const uint8_t *table, const bp_w8_t *w,
                   const uint8_t *a_in)
{
    bp_avr_any_byte(z, NULL, b, table, w, a_in);
}

void bp_avr_u8_any(uint8_t *a, const int32_t *b, const uint8_t *table, const bp_w8_t *w,
                   const uint8_t *a_in)
{
    bp_avr_any_byte(NULL, a, b, table, w, a_in);
}

/* The constants name the kernel. The arguments are where bp_avr_s8_any() has them. */
#define BP_FAST_DENSE_S8
#define BP_FAST_LAYER_S8

static inline void bp_avr_layer_of_bytes(void *out, const bp_layer_t *layer, const bp_w8_t *w,
                                         const int32_t *b, const uint8_t *a_in)
{
    const bp_layer_fast_t *fast = &layer->fast;
    uint16_t address =
        IS_KNOWN ? (uint16_t)fast->kernel : bp_rom_u16((const uint16_t *)&fast->kernel);
    register uint16_t kernel __asm__("r30") = address;
    register void *at __asm__("r24") = out;
    register const int32_t *biases __asm__("r22") = b;
    register const void *table __asm__("r20") = &layer->table;
    register const bp_w8_t *weights __asm__("r18") = w;
    register const uint8_t *inputs __asm__("r16") = a_in;

    __asm__ __volatile__("icall"
                         : "+r"(kernel), "+r"(at), "+r"(biases), "+r"(table), "+r"(weights),
                           "+r"(inputs)
                         :
                         : "r0", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11",
                           "r12", "r13", "r14", "r15", "r26", "r27", "memory");
}

void bp_dense_s8(int16_t *z, const bp_layer_t *layer, const bp_w8_t *w, const int32_t *b,
                 const uint8_t *a_in, bp_counters_t *counters)
{
    (void)counters;
    bp_avr_layer_of_bytes(z, layer, w, b, a_in);
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
    (void)counters;
    bp_avr_layer_of_bytes(a, layer, w, b, a_in);
}

#endif

#endif

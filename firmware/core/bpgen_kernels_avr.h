/* bpgen_kernels_avr.h -- kernels for AVR cores with a multiplier, in assembly.
 *
 * bpgen_kernels.c alone includes this, and its C says what each of these computes; -DBP_PORTABLE
 * leaves them out. n is at least 1. No time depends on the data, but for up to 16 cycles where a
 * master saturates.
 *
 * A product of 16-bit numbers is four of bytes, in r1:r0 each. MULSU leaves its sign in the carry,
 * for SBC to extend, and takes r16..r23 only, the constraint "a". r1 is the compiler's zero: `zero`
 * stands in for it, and each block that multiplies clears it at the end.
 * SPDX-License-Identifier: 0BSD
 */
#ifndef BPGEN_KERNELS_AVR_H
#define BPGEN_KERNELS_AVR_H

#include "bpgen_kernels.h"

/* ---- Sums of products ----------------------------------------------------------------------- */

/* Left to itself the compiler saves eleven registers for this. `load` puts w[i] into A of low and
 * high; a[i] goes to B, 4 cycles. The product, 21, adds high by low both ways, then low by low and
 * high by high, which takes the place of its factors. Counting takes 4.
 */
#define BP_AVR_DOT(load, ...)                                                                      \
    register int32_t sum __asm__("r22") = 0;                                                       \
    register uint16_t low __asm__("r18");                                                          \
    register uint16_t high __asm__("r20");                                                         \
    register size_t left __asm__("r16") = n;                                                       \
                                                                                                   \
    __asm__ __volatile__("1:\n\t" load "ld %B[low], X+\n\t"                                        \
                         "ld %B[high], X+\n\t"                                                     \
                         "mulsu %A[high], %B[low]\n\t"                                             \
                         "sbc %D[sum], %[zero]\n\t"                                                \
                         "add %B[sum], r0\n\t"                                                     \
                         "adc %C[sum], r1\n\t"                                                     \
                         "adc %D[sum], %[zero]\n\t"                                                \
                         "mulsu %B[high], %A[low]\n\t"                                             \
                         "sbc %D[sum], %[zero]\n\t"                                                \
                         "add %B[sum], r0\n\t"                                                     \
                         "adc %C[sum], r1\n\t"                                                     \
                         "adc %D[sum], %[zero]\n\t"                                                \
                         "muls %A[high], %B[high]\n\t"                                             \
                         "movw %A[high], r0\n\t"                                                   \
                         "mul %A[low], %B[low]\n\t"                                                \
                         "add %A[sum], r0\n\t"                                                     \
                         "adc %B[sum], r1\n\t"                                                     \
                         "adc %C[sum], %A[high]\n\t"                                               \
                         "adc %D[sum], %B[high]\n\t"                                               \
                         "subi %A[left], 1\n\t"                                                    \
                         "sbci %B[left], 0\n\t"                                                    \
                         "brne 1b\n\t"                                                             \
                         "clr __zero_reg__"                                                        \
                         : [sum] "+&r"(sum), [low] "=&a"(low), [high] "=&a"(high), [w] "+&z"(w),   \
                           [a] "+&x"(a), [left] "+&d"(left)                                        \
                         : __VA_ARGS__                                                             \
                         : "r0", "memory");                                                        \
    return sum

/* 33 cycles an element. */
static inline int32_t bp_avr_dot(const int16_t *w, const int16_t *a, size_t n)
{
    BP_AVR_DOT("ld %A[low], Z+\n\t"
               "ld %A[high], Z+\n\t",
               [zero] "r"((uint8_t)0));
}

/* 35 cycles an element. */
static inline int32_t bp_avr_dot_rom(const int16_t *w, const int16_t *a, size_t n)
{
    BP_AVR_DOT("lpm %A[low], Z+\n\t"
               "lpm %A[high], Z+\n\t",
               [zero] "r"((uint8_t)0));
}

/* 35 cycles an element; `step` is the stride in bytes. */
static inline int32_t bp_avr_dot_column(const int16_t *w, const int16_t *a, size_t step, size_t n)
{
    BP_AVR_DOT("ld %A[low], Z\n\t"
               "ldd %A[high], Z+1\n\t"
               "add %A[w], %A[step]\n\t"
               "adc %B[w], %B[step]\n\t",
               [zero] "r"((uint8_t)0), [step] "r"(step));
}

/* ---- Activations ---------------------------------------------------------------------------- */

/* 2^bit for a bit up to 15: 12 cycles. */
__attribute__((always_inline)) static inline uint16_t bp_avr_power_of_two(uint8_t bit)
{
    uint16_t power;

    if (__builtin_constant_p(bit)) {
        return (uint16_t)(1u << bit);
    }
    __asm__("ldi %A[power], 1\n\t"
            "sbrc %[bit], 1\n\t"
            "ldi %A[power], 4\n\t"
            "sbrc %[bit], 0\n\t"
            "lsl %A[power]\n\t"
            "sbrc %[bit], 2\n\t"
            "swap %A[power]\n\t"
            "clr %B[power]\n\t"
            "sbrc %[bit], 3\n\t"
            "mov %B[power], %A[power]\n\t"
            "sbrc %[bit], 3\n\t"
            "clr %A[power]"
            : [power] "=&d"(power)
            : [bit] "r"(bit));
    return power;
}

/* The sigmoid for a table of 128 or 256 intervals, whose entries rise, and a frac of 8 to 15. With
 * fr of 8 bits the entry at u has 24; the lowest 8 never reach the result.
 */
static inline int16_t bp_avr_sigmoid(int16_t z, const uint16_t *table, uint8_t bits, uint8_t frac)
{
    uint8_t scale = (uint8_t)bp_avr_power_of_two((uint8_t)(frac - 8));
    uint16_t one = (uint16_t)(scale << 8);
    uint16_t u = (uint16_t)z;
    uint16_t y, rise;

    if (z < 0) {
        u = (uint16_t)-u;
        if (u == 32768u) {
            u = 32767;
        }
    }
    if (bits == 8) {
        u = (uint16_t)(u << 1);
    }
    table += u >> 8;
    /* y = E[i] + ((E[i + 1] - E[i]) * fr >> 8), then round(y * scale, 8): 36 cycles. */
    __asm__("lpm %A[y], Z+\n\t"
            "lpm %B[y], Z+\n\t"
            "lpm %A[rise], Z+\n\t"
            "lpm %B[rise], Z\n\t"
            "sub %A[rise], %A[y]\n\t"
            "sbc %B[rise], %B[y]\n\t"
            "mul %A[rise], %[fr]\n\t"
            "add %A[y], r1\n\t"
            "adc %B[y], %[zero]\n\t"
            "mul %B[rise], %[fr]\n\t"
            "add %A[y], r0\n\t"
            "adc %B[y], r1\n\t"
            "mul %A[y], %[scale]\n\t"
            "lsl r0\n\t"
            "adc r1, %[zero]\n\t"
            "mov %A[rise], r1\n\t"
            "mul %B[y], %[scale]\n\t"
            "movw %A[y], r0\n\t"
            "add %A[y], %A[rise]\n\t"
            "adc %B[y], %[zero]\n\t"
            "clr __zero_reg__"
            : [y] "=&r"(y), [rise] "=&r"(rise), [table] "+&z"(table)
            : [fr] "r"((uint8_t)u), [scale] "r"(scale), [zero] "r"((uint8_t)0)
            : "r0");
    if (z < 0) {
        return (int16_t)(one - y);
    }
    return (int16_t)(y < one ? y : one - 1u);
}

/* For a in [0, 2^frac): with x = a * 2^(16 - frac) - 2^15 it is (2^30 + 2^15 - x * x) >> 16. */
static inline int32_t bp_avr_sigmoid_derivative(int16_t a, uint8_t frac)
{
    uint16_t x = (uint16_t)(((uint16_t)a << (16 - frac)) ^ 0x8000u);
    uint16_t low, high;

    /* 20 cycles. FMULSU doubles, and the square has the middle product twice. */
    __asm__("muls %B[x], %B[x]\n\t"
            "movw %A[high], r0\n\t"
            "mul %A[x], %A[x]\n\t"
            "movw %A[low], r0\n\t"
            "fmulsu %B[x], %A[x]\n\t"
            "sbc %B[high], %[zero]\n\t"
            "add %B[low], r0\n\t"
            "adc %A[high], r1\n\t"
            "adc %B[high], %[zero]\n\t"
            "ldi %A[x], 0x80\n\t"
            "cp %[zero], %A[low]\n\t"
            "cpc %A[x], %B[low]\n\t"
            "ldi %A[low], 0x00\n\t"
            "ldi %B[low], 0x40\n\t"
            "sbc %A[low], %A[high]\n\t"
            "sbc %B[low], %B[high]\n\t"
            "clr __zero_reg__"
            : [x] "+&a"(x), [low] "=&d"(low), [high] "=&r"(high)
            : [zero] "r"((uint8_t)0)
            : "r0");
    return low;
}

/* (sum * derivative) >> 8 of s24 and u15: 31 cycles. The lowest byte of six is only dropped. */
static inline int32_t bp_avr_delta_product(int32_t sum, uint16_t derivative)
{
    int32_t product;

    __asm__("mul %A[s], %A[d]\n\t"
            "mov %A[p], r1\n\t"
            "clr %B[p]\n\t"
            "mulsu %C[s], %B[d]\n\t"
            "movw %C[p], r0\n\t"
            "mul %B[s], %A[d]\n\t"
            "add %A[p], r0\n\t"
            "adc %B[p], r1\n\t"
            "mul %A[s], %B[d]\n\t"
            "add %A[p], r0\n\t"
            "adc %B[p], r1\n\t"
            "adc %C[p], %[zero]\n\t"
            "adc %D[p], %[zero]\n\t"
            "mulsu %C[s], %A[d]\n\t"
            "sbc %D[p], %[zero]\n\t"
            "add %B[p], r0\n\t"
            "adc %C[p], r1\n\t"
            "adc %D[p], %[zero]\n\t"
            "mul %B[s], %B[d]\n\t"
            "add %B[p], r0\n\t"
            "adc %C[p], r1\n\t"
            "adc %D[p], %[zero]\n\t"
            "clr __zero_reg__"
            : [p] "=&r"(product)
            : [s] "a"(sum), [d] "a"(derivative), [zero] "r"((uint8_t)0)
            : "r0");
    return product;
}

/* round(x, 16 - log2(scale)) clipped to s16: 22 cycles. */
static inline int16_t bp_avr_narrow(int32_t x, uint8_t scale)
{
    uint16_t y;
    uint8_t half;

    __asm__("mul %B[x], %[scale]\n\t"
            "mov %[half], r0\n\t"
            "mov %A[y], r1\n\t"
            "mul %C[x], %[scale]\n\t"
            "or %A[y], r0\n\t"
            "mov %B[y], r1\n\t"
            "mulsu %D[x], %[scale]\n\t"
            "or %B[y], r0\n\t"
            "lsl %[half]\n\t"
            "adc %A[y], %[zero]\n\t"
            "adc %B[y], %[zero]\n\t"
            "adc r1, %[zero]\n\t"
            /* The third byte, r1, must repeat the sign of the second. */
            "mov r0, %B[y]\n\t"
            "lsl r0\n\t"
            "sbc r0, r0\n\t"
            "cp r0, r1\n\t"
            "breq 1f\n\t"
            "com r1\n\t"
            "lsl r1\n\t"
            "sbc %A[y], %A[y]\n\t"
            "mov %B[y], %A[y]\n\t"
            "subi %B[y], 0x80\n"
            "1:\n\t"
            "clr __zero_reg__"
            : [y] "=&d"(y), [half] "=&r"(half)
            : [x] "a"(x), [scale] "a"(scale), [zero] "r"((uint8_t)0)
            : "r0");
    return (int16_t)y;
}

/* ---- Learning rate -------------------------------------------------------------------------- */

/* x * y: 19 cycles. */
static inline int32_t bp_avr_product(int16_t x, uint16_t y)
{
    int32_t product;

    __asm__("mulsu %B[x], %B[y]\n\t"
            "movw %C[p], r0\n\t"
            "mul %A[x], %A[y]\n\t"
            "movw %A[p], r0\n\t"
            "mulsu %B[x], %A[y]\n\t"
            "sbc %D[p], %[zero]\n\t"
            "add %B[p], r0\n\t"
            "adc %C[p], r1\n\t"
            "adc %D[p], %[zero]\n\t"
            "mul %A[x], %B[y]\n\t"
            "add %B[p], r0\n\t"
            "adc %C[p], r1\n\t"
            "adc %D[p], %[zero]\n\t"
            "clr __zero_reg__"
            : [p] "=&r"(product)
            : [x] "a"(x), [y] "a"(y), [zero] "r"((uint8_t)0)
            : "r0");
    return product;
}

/* ---- Updates -------------------------------------------------------------------------------- */

/* round(product, shift) for shifts of 0, 8, 16 and 24. */
static inline int32_t bp_avr_round(int32_t product, uint8_t shift)
{
    if (shift == 0) {
        return product;
    }
    for (; shift > 8; shift = (uint8_t)(shift - 8)) {
        product = bp_shr32(product, 8);
    }
    return bp_shr32(product + 128, 8);
}

/* The same, with the dither for a half. */
static inline int32_t bp_avr_dithered(int32_t product, uint8_t shift, uint16_t dither)
{
    if (shift == 0) {
        return product;
    }
    if (shift == 8) {
        return bp_shr32(product + (dither >> 8), 8);
    }
    if (shift == 24) {
        product = bp_shr32(product, 8);
    }
    return bp_shr32(product + dither, 16);
}

/* Add a step of up to 31 bits to a master: 24 cycles. */
static inline void bp_avr_add_to_master24(int16_t *w, uint8_t *w_low, int32_t step)
{
    __asm__ __volatile__("ld r0, %a[low]\n\t"
                         "add %A[sum], r0\n\t"
                         "ld r0, %a[w]\n\t"
                         "adc %B[sum], r0\n\t"
                         "ldd r0, %a[w]+1\n\t"
                         "adc %C[sum], r0\n\t"
                         "adc %D[sum], __zero_reg__\n\t"
                         "sbrc r0, 7\n\t"
                         "dec %D[sum]\n\t"
                         /* The fourth byte must repeat the sign of the third. */
                         "mov r0, %C[sum]\n\t"
                         "lsl r0\n\t"
                         "sbc r0, r0\n\t"
                         "cp r0, %D[sum]\n\t"
                         "breq 1f\n\t"
                         "com %D[sum]\n\t"
                         "lsl %D[sum]\n\t"
                         "sbc %A[sum], %A[sum]\n\t"
                         "mov %B[sum], %A[sum]\n\t"
                         "mov %C[sum], %A[sum]\n\t"
                         "subi %C[sum], 0x80\n"
                         "1:\n\t"
                         "st %a[low], %A[sum]\n\t"
                         "st %a[w], %B[sum]\n\t"
                         "std %a[w]+1, %C[sum]"
                         : [sum] "+&d"(step)
                         : [w] "z"(w), [low] "x"(w_low)
                         : "r0", "memory");
}

/* Load u[i]; p = g * u[i]: 22 cycles. */
#define BP_AVR_PRODUCT                                                                             \
    "ld %A[u], X+\n\t"                                                                             \
    "ld %B[u], X+\n\t"                                                                             \
    "muls %B[g], %B[u]\n\t"                                                                        \
    "movw %C[p], r0\n\t"                                                                           \
    "mul %A[g], %A[u]\n\t"                                                                         \
    "movw %A[p], r0\n\t"                                                                           \
    "mulsu %B[g], %A[u]\n\t"                                                                       \
    "sbc %D[p], %[zero]\n\t"                                                                       \
    "add %B[p], r0\n\t"                                                                            \
    "adc %C[p], r1\n\t"                                                                            \
    "adc %D[p], %[zero]\n\t"                                                                       \
    "mulsu %B[u], %A[g]\n\t"                                                                       \
    "sbc %D[p], %[zero]\n\t"                                                                       \
    "add %B[p], r0\n\t"                                                                            \
    "adc %C[p], r1\n\t"                                                                            \
    "adc %D[p], %[zero]\n\t"

/* The sign of D into A: 3 cycles. */
#define BP_AVR_SIGN                                                                                \
    "mov %A[p], %D[p]\n\t"                                                                         \
    "lsl %A[p]\n\t"                                                                                \
    "sbc %A[p], %A[p]\n\t"

/* X is for u and for w_low in turn, and `other` or the spent u for the one that waits: 2 cycles. */
#define BP_AVR_TO_LOW                                                                              \
    "movw %A[u], r26\n\t"                                                                          \
    "movw r26, %A[other]\n\t"

/* Store the master in B, C and D and count: 12 cycles with the branch that follows. */
#define BP_AVR_STORE24                                                                             \
    "st X+, %B[p]\n\t"                                                                             \
    "st Z+, %C[p]\n\t"                                                                             \
    "st Z+, %D[p]\n\t"                                                                             \
    "movw %A[other], r26\n\t"                                                                      \
    "movw r26, %A[u]\n\t"                                                                          \
    "subi %A[n], 1\n\t"                                                                            \
    "sbci %B[n], 0\n\t"

/* 47, 50, 50 and 65 cycles a weight for shifts of 8, 16, 24 and 0. Each loop leaves the sum in B, C
 * and D; the bit below the step's lowest goes to the carry, which rounds. Sums that leave 24 bits
 * meet at 3.
 */
static inline void bp_avr_update_residual(int16_t *w, uint8_t *w_low, const int16_t *u, int16_t g,
                                          uint8_t shift, size_t n)
{
    int32_t p;
    uint16_t value;

    __asm__ __volatile__("0:\n\t"
                         "sbrc %[shift], 4\n\t"
                         "rjmp 5f\n\t"
                         "sbrs %[shift], 3\n\t"
                         "rjmp 10f\n"

                         "8:\n\t" BP_AVR_PRODUCT BP_AVR_TO_LOW "lsl %A[p]\n\t"
                         "ld r0, X\n\t"
                         "adc %B[p], r0\n\t"
                         "ld r0, Z\n\t"
                         "adc %C[p], r0\n\t"
                         "ldd r0, Z+1\n\t"
                         "adc %D[p], r0\n\t"
                         "brvs 3f\n\t" BP_AVR_STORE24 "brne 8b\n\t"
                         "rjmp 4f\n"

                         "5:\n\t"
                         "sbrc %[shift], 3\n\t"
                         "rjmp 24f\n"
                         "16:\n\t" BP_AVR_PRODUCT BP_AVR_TO_LOW BP_AVR_SIGN "lsl %B[p]\n\t"
                         "ld %B[p], X\n\t"
                         "adc %B[p], %C[p]\n\t"
                         "ld %C[p], Z\n\t"
                         "adc %C[p], %D[p]\n\t"
                         "ldd %D[p], Z+1\n\t"
                         "adc %D[p], %A[p]\n\t"
                         "brvs 3f\n\t" BP_AVR_STORE24 "brne 16b\n\t"
                         "rjmp 4f\n"

                         /* The limit on the side that the sum's sign bit does not tell. */
                         "3:\n\t"
                         "lsl %D[p]\n\t"
                         "sbc %B[p], %B[p]\n\t"
                         "mov %C[p], %B[p]\n\t"
                         "mov %D[p], %B[p]\n\t"
                         "sec\n\t"
                         "sbrc %B[p], 7\n\t"
                         "clc\n\t"
                         "ror %D[p]\n"
                         "6:\n\t" BP_AVR_STORE24 "breq 7f\n\t"
                         "rjmp 0b\n"
                         "7:\n\t"
                         "rjmp 4f\n"

                         "24:\n\t" BP_AVR_PRODUCT BP_AVR_TO_LOW BP_AVR_SIGN "lsl %C[p]\n\t"
                         "ld %B[p], X\n\t"
                         "adc %B[p], %D[p]\n\t"
                         "ld %C[p], Z\n\t"
                         "adc %C[p], %A[p]\n\t"
                         "ldd %D[p], Z+1\n\t"
                         "adc %D[p], %A[p]\n\t"
                         "brvs 3b\n\t" BP_AVR_STORE24 "brne 24b\n\t"
                         "rjmp 4f\n"

                         /* The fourth byte of the sum must repeat the sign of the third. */
                         "10:\n\t" BP_AVR_PRODUCT BP_AVR_TO_LOW "ld r0, X\n\t"
                         "add %A[p], r0\n\t"
                         "ld r0, Z\n\t"
                         "adc %B[p], r0\n\t"
                         "ldd r0, Z+1\n\t"
                         "adc %C[p], r0\n\t"
                         "adc %D[p], %[zero]\n\t"
                         "sbrc r0, 7\n\t"
                         "dec %D[p]\n\t"
                         "mov r0, %D[p]\n\t"
                         "mov %D[p], %C[p]\n\t"
                         "mov %C[p], %B[p]\n\t"
                         "mov %B[p], %A[p]\n\t"
                         "mov %A[p], %D[p]\n\t"
                         "lsl %A[p]\n\t"
                         "sbc %A[p], %A[p]\n\t"
                         "cp %A[p], r0\n\t"
                         "brne 7f\n\t"
                         "rjmp 6b\n"
                         "7:\n\t"
                         "mov %D[p], r0\n\t"
                         "com %D[p]\n\t"
                         "rjmp 3b\n"

                         "4:\n\t"
                         "clr __zero_reg__"
                         : [p] "=&r"(p), [u] "=&a"(value), [pointer] "+&x"(u),
                           [other] "+&r"(w_low), [w] "+&z"(w), [n] "+&d"(n)
                         : [g] "a"(g), [zero] "r"((uint8_t)0), [shift] "r"(shift)
                         : "r0", "memory");
}

/* Store the master in B and C, move to the next dither and count: 9 cycles with the branch. */
#define BP_AVR_STORE16                                                                             \
    "st Z+, %B[p]\n\t"                                                                             \
    "st Z+, %C[p]\n\t"                                                                             \
    "subi %A[dither], lo8(-40503)\n\t"                                                             \
    "sbci %B[dither], hi8(-40503)\n\t"                                                             \
    "subi %A[n], 1\n\t"                                                                            \
    "sbci %B[n], 0\n\t"

/* 43, 45, 69 and 61 cycles a weight for shifts of 16, 24, 8 and 0. Each leaves the sum in B and
 * C; sums that leave 16 bits meet at 3.
 */
static inline void bp_avr_update_stochastic(int16_t *w, const int16_t *u, int16_t g, uint8_t shift,
                                            uint16_t dither, size_t n)
{
    int32_t p;
    uint16_t value;

    __asm__ __volatile__("0:\n\t"
                         "sbrs %[shift], 4\n\t"
                         "rjmp 8f\n\t"
                         "sbrc %[shift], 3\n\t"
                         "rjmp 24f\n"

                         "16:\n\t" BP_AVR_PRODUCT "add %A[p], %A[dither]\n\t"
                         "adc %B[p], %B[dither]\n\t"
                         "adc %C[p], %[zero]\n\t"
                         "adc %D[p], %[zero]\n\t"
                         "ld %B[p], Z\n\t"
                         "add %B[p], %C[p]\n\t"
                         "ldd %C[p], Z+1\n\t"
                         "adc %C[p], %D[p]\n\t"
                         "brvs 3f\n\t" BP_AVR_STORE16 "brne 16b\n\t"
                         "rjmp 4f\n"

                         "24:\n\t" BP_AVR_PRODUCT "add %B[p], %A[dither]\n\t"
                         "adc %C[p], %B[dither]\n\t"
                         "adc %D[p], %[zero]\n\t" BP_AVR_SIGN "ld %B[p], Z\n\t"
                         "add %B[p], %D[p]\n\t"
                         "ldd %C[p], Z+1\n\t"
                         "adc %C[p], %A[p]\n\t"
                         "brvs 3f\n\t" BP_AVR_STORE16 "brne 24b\n\t"
                         "rjmp 4f\n"

                         /* The limit on the side that the sum's sign bit does not tell. */
                         "3:\n\t"
                         "lsl %C[p]\n\t"
                         "sbc %B[p], %B[p]\n\t"
                         "mov %C[p], %B[p]\n\t"
                         "sec\n\t"
                         "sbrc %B[p], 7\n\t"
                         "clc\n\t"
                         "ror %C[p]\n"
                         "6:\n\t" BP_AVR_STORE16 "breq 7f\n\t"
                         "rjmp 0b\n"
                         "7:\n\t"
                         "rjmp 4f\n"

                         /* A sum of 32 bits, of which the upper two bytes must repeat the sign. */
                         "8:\n\t" BP_AVR_PRODUCT "sbrs %[shift], 3\n\t"
                         "rjmp 10f\n\t"
                         "add %A[p], %B[dither]\n\t"
                         "adc %B[p], %[zero]\n\t"
                         "adc %C[p], %[zero]\n\t"
                         "adc %D[p], %[zero]\n\t"
                         "mov %A[p], %B[p]\n\t"
                         "mov %B[p], %C[p]\n\t"
                         "mov %C[p], %D[p]\n\t"
                         "lsl %D[p]\n\t"
                         "sbc %D[p], %D[p]\n"
                         "10:\n\t"
                         "ld %A[u], Z\n\t"
                         "ldd %B[u], Z+1\n\t"
                         "mov r0, %B[u]\n\t"
                         "lsl r0\n\t"
                         "sbc r0, r0\n\t"
                         "add %A[p], %A[u]\n\t"
                         "adc %B[p], %B[u]\n\t"
                         "adc %C[p], r0\n\t"
                         "adc %D[p], r0\n\t"
                         "mov r0, %B[p]\n\t"
                         "lsl r0\n\t"
                         "sbc r0, r0\n\t"
                         "movw %A[u], %C[p]\n\t"
                         "mov %C[p], %B[p]\n\t"
                         "mov %B[p], %A[p]\n\t"
                         "cp r0, %A[u]\n\t"
                         "cpc r0, %B[u]\n\t"
                         "brne 7f\n\t"
                         "rjmp 6b\n"
                         "7:\n\t"
                         "mov %C[p], %D[p]\n\t"
                         "com %C[p]\n\t"
                         "rjmp 3b\n"

                         "4:\n\t"
                         "clr __zero_reg__"
                         : [p] "=&r"(p), [u] "=&a"(value), [pointer] "+&x"(u), [w] "+&z"(w),
                           [dither] "+&d"(dither), [n] "+&d"(n)
                         : [g] "a"(g), [zero] "r"((uint8_t)0), [shift] "r"(shift)
                         : "r0", "memory");
}

#endif

/* bpgen_avr_s8.h -- inference in bytes, in assembly for AVR cores with a multiplier.
 *
 * s8 weights in flash, u8 activations, and the sigmoid in place. Cycles are those of an ATmega328P.
 * SPDX-License-Identifier: 0BSD
 */
#ifndef BPGEN_AVR_S8_H
#define BPGEN_AVR_S8_H

#include "bpgen_unit.h"

#if !BPGEN_COUNTERS

/* ---- Bytes -----------------------------------------------------------------------------------
 *
 * Sums of s8 weights in flash with u8 inputs have 24 bits for 256 products, which are below 2^15.
 */
#define BYTES_IN_A_PART 256

/* sum += w * a: 9 cycles. */
#define PRODUCT_S8(sum, a)                                                                         \
    "lpm %[w], Z+\n\t"                                                                             \
    "mulsu %[w], " a "\n\t"                                                                        \
    "sbc %C[" sum "], %[zero]\n\t"                                                                 \
    "add %A[" sum "], r0\n\t"                                                                      \
    "adc %B[" sum "], r1\n\t"                                                                      \
    "adc %C[" sum "], %[zero]\n\t"
#define PRODUCTS_S8(sum) PRODUCT_S8(sum, "%A[a]") PRODUCT_S8(sum, "%B[a]")
#define SIGN_S8(sum)                                                                               \
    "mov %D[" sum "], %C[" sum "]\n\t"                                                             \
    "lsl %D[" sum "]\n\t"                                                                          \
    "sbc %D[" sum "], %D[" sum "]\n\t"
#define NEXT_PAIR_S8                                                                               \
    "add %A[at], %A[stride]\n\t"                                                                   \
    "adc %B[at], %B[stride]\n\t"                                                                   \
    "dec %[pairs]\n\t"                                                                             \
    "brne 1b\n\t"

/* Four outputs: 81 cycles a pair of inputs, 10.1 a product. */
__attribute__((noinline)) static void bp_avr_dot4_s8(int32_t sum[4], const int8_t *at,
                                                     const uint8_t *a_in, uint16_t stride,
                                                     uint8_t pairs)
{
    int32_t p = 0, q = 0, r = 0, s = 0;
    uint16_t a;
    int8_t w;

    __asm__ __volatile__("1:\n\t"
                         "ld %A[a], X+\n\t"
                         "ld %B[a], X+\n\t" PRODUCTS_S8("p") PRODUCTS_S8("q") PRODUCTS_S8("r")
                             PRODUCTS_S8("s") NEXT_PAIR_S8 SIGN_S8("p") SIGN_S8("q") SIGN_S8("r")
                                 SIGN_S8("s") "clr __zero_reg__"
                         : [p] "+&r"(p), [q] "+&r"(q), [r] "+&r"(r), [s] "+&r"(s), [a] "=&a"(a),
                           [w] "=&a"(w), [at] "+&z"(at), [in] "+&x"(a_in), [pairs] "+&r"(pairs)
                         : [stride] "r"(stride), [zero] "r"((uint8_t)0)
                         : "r0", "memory");
    sum[0] += p;
    sum[1] += q;
    sum[2] += r;
    sum[3] += s;
}

/* One: 27 cycles a pair. */
__attribute__((noinline)) static int32_t bp_avr_dot_s8(const int8_t *at, const uint8_t *a_in,
                                                       uint16_t stride, uint8_t pairs)
{
    int32_t p = 0;
    uint16_t a;
    int8_t w;

    __asm__ __volatile__("1:\n\t"
                         "ld %A[a], X+\n\t"
                         "ld %B[a], X+\n\t" PRODUCTS_S8("p") NEXT_PAIR_S8 SIGN_S8("p")
                         "clr __zero_reg__"
                         : [p] "+&r"(p), [a] "=&a"(a), [w] "=&a"(w), [at] "+&z"(at),
                           [in] "+&x"(a_in), [pairs] "+&r"(pairs)
                         : [stride] "r"(stride), [zero] "r"((uint8_t)0)
                         : "r0", "memory");
    return p;
}

/* z of a sum with its half. A negative shift doubles it; what has left 16 bits stays outside. */
static int16_t bp_avr_end_s8(int32_t acc, const bp_layer_t *layer)
{
    int8_t shift = layer->z_shift;

    if (shift > 0) {
        acc = bp_shr32(acc, (uint8_t)shift);
    }
    for (; shift < 0 && acc >= INT16_MIN && acc <= INT16_MAX; shift++) {
        acc *= 2;
    }
    return (int16_t)(acc > layer->z_top ? layer->z_top
                                        : acc < layer->z_lowest ? layer->z_lowest : acc);
}

#define BP_FAST_DENSE_S8

void bp_dense_s8(int16_t *z, const bp_layer_t *layer, const int8_t *w, const int32_t *b,
                 const uint8_t *a_in, bp_counters_t *counters)
{
    const bp_layer_t l = read_layer(layer);
    size_t n = even_inputs(&l);
    size_t left = l.outputs;
    int32_t half = l.z_shift > 0 ? (int32_t)1 << (l.z_shift - 1) : 0;

    (void)counters;
    while (left != 0) {
        uint8_t group = left < 4 ? 1 : 4;
        const int8_t *at = w;
        int32_t sum[4] = {half, half, half, half};
        size_t i;
        uint8_t k;

        for (i = 0; i < n; i += BYTES_IN_A_PART) {
            uint8_t pairs = (uint8_t)((n - i < BYTES_IN_A_PART ? n - i : BYTES_IN_A_PART) / 2);
            uint16_t stride = (uint16_t)(2 * (l.outputs - group));

            if (group == 4) {
                bp_avr_dot4_s8(sum, at, a_in + i, stride, pairs);
            } else {
                sum[0] += bp_avr_dot_s8(at, a_in + i, stride, pairs);
            }
            at += (size_t)BYTES_IN_A_PART * l.outputs;
        }
        for (k = 0; k < group; k++) {
            *z++ = bp_avr_end_s8(sum[k] + bp_rom_s32(b++), &l);
        }
        w += 2 * group;
        left -= group;
    }
}

/* ---- Sigmoid in place, any table -------------------------------------------------------------
 *
 * With y = floor(P * 2^-r), which drops nothing that rounding to frac <= 15 bits needs: u times
 * 2^(bits + 1) has the index above its lower 16 bits, and in these fr * 2^(16 - r). Three
 * products of 16 bits.
 */
#define BP_FAST_SIGMOID

void bp_sigmoid(int16_t *a, const uint16_t *table, uint8_t bits, uint8_t frac, size_t n)
{
    uint16_t intervals = (uint16_t)(2u << bits);
    uint16_t one = (uint16_t)(1u << frac);

    for (; n != 0; n--) {
        int16_t z = *a;
        uint32_t u = (uint32_t)magnitude(z) * intervals;
        const uint16_t *at = table + (uint16_t)(u >> 16);
        uint16_t low = bp_rom_u16(at);
        uint16_t rise = (uint16_t)(bp_rom_u16(at + 1) - low);
        uint16_t y = (uint16_t)(low + (uint16_t)(((uint32_t)rise * (uint16_t)u) >> 16));

        y = (uint16_t)(((uint32_t)y * one + 32768u) >> 16);
        *a++ = (int16_t)(z < 0 ? one - y : y < one ? y : one - 1u);
    }
}

#endif

#endif

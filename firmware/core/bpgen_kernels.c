/* bpgen_kernels.c -- the portable kernels: plain C99, and the meaning of every faster one.
 *
 * This file is the one to compile, and includes the parts. `int` has 16 bits on AVR: operands are
 * widened before a product or a left shift, and negative numbers are shifted by bp_shr32() and
 * bp_shr64() alone. Compile with -ffunction-sections and link with -Wl,--gc-sections, so that a
 * model pays for the kernels it calls.
 * SPDX-License-Identifier: 0BSD
 */
#include "bpgen_kernels.h"
#include "bpgen_unit.h"

/* For callers that do not make it part of themselves. */
extern inline uint16_t bp_dither(uint16_t seed, uint32_t index, uint32_t count, uint32_t steps);

/* A file for some cores defines kernels of its own, and BP_FAST_... for each; the parts stand in
 * for the rest. It must give the same bits. -DBP_PORTABLE leaves these files out.
 */
#if !defined(BP_PORTABLE)
#if BP_AVR
#include "bpgen_kernels_avr.h"
#elif defined(__ARM_FEATURE_DSP)
#include "bpgen_kernels_dsp.h"
#else
#include "bpgen_kernels_lanes.h"
#endif
#endif

#include "bpgen_kernels_forward.h"
#include "bpgen_kernels_backward.h"
#include "bpgen_kernels_update.h"

void bp_counters_agree(void) {}

/* ---- Checksum ------------------------------------------------------------------------------- */

#if BP_SMALL
uint32_t bp_crc32(uint32_t crc, const uint8_t *p, size_t n)
{
    for (; n != 0; n--) {
        uint8_t bit;

        crc ^= *p++;
        for (bit = 8; bit != 0; bit--) {
            uint8_t drops = (uint8_t)(crc & 1u);

            crc >>= 1;
            if (drops != 0) {
                crc ^= 0xEDB88320u;
            }
        }
    }
    return crc;
}
#else

/* The CRC is linear: what a byte changes is that of its low nibble XOR that of the high. */
static const uint32_t crc32_low[16] BP_ROM = {
    0x00000000u, 0x77073096u, 0xEE0E612Cu, 0x990951BAu,
    0x076DC419u, 0x706AF48Fu, 0xE963A535u, 0x9E6495A3u,
    0x0EDB8832u, 0x79DCB8A4u, 0xE0D5E91Eu, 0x97D2D988u,
    0x09B64C2Bu, 0x7EB17CBDu, 0xE7B82D07u, 0x90BF1D91u,
};

static const uint32_t crc32_high[16] BP_ROM = {
    0x00000000u, 0x1DB71064u, 0x3B6E20C8u, 0x26D930ACu,
    0x76DC4190u, 0x6B6B51F4u, 0x4DB26158u, 0x5005713Cu,
    0xEDB88320u, 0xF00F9344u, 0xD6D6A3E8u, 0xCB61B38Cu,
    0x9B64C2B0u, 0x86D3D2D4u, 0xA00AE278u, 0xBDBDF21Cu,
};

/* x ^ *p of a table in flash. avr-gcc loads all of *p first, which takes twice the registers. */
static inline uint32_t xor_rom(uint32_t x, const uint32_t *p)
{
#if defined(__AVR__) && !defined(BP_PORTABLE)
    __asm__("lpm __tmp_reg__, Z+\n\t"
            "eor %A0, __tmp_reg__\n\t"
            "lpm __tmp_reg__, Z+\n\t"
            "eor %B0, __tmp_reg__\n\t"
            "lpm __tmp_reg__, Z+\n\t"
            "eor %C0, __tmp_reg__\n\t"
            "lpm __tmp_reg__, Z+\n\t"
            "eor %D0, __tmp_reg__"
            : "+r"(x), "+z"(p));
    return x;
#else
    return x ^ bp_rom_u32(p);
#endif
}

uint32_t bp_crc32(uint32_t crc, const uint8_t *p, size_t n)
{
    for (; n != 0; n--) {
        uint8_t i = (uint8_t)(crc ^ *p++);

        crc = xor_rom(crc >> 8, crc32_low + (i & 15u));
        crc = xor_rom(crc, crc32_high + (i >> 4));
    }
    return crc;
}

#endif

uint32_t bp_crc32_byte(uint32_t crc, uint8_t byte)
{
    return bp_crc32(crc, &byte, 1);
}

static uint32_t crc32_master(uint32_t crc, const int16_t *w, const uint8_t *w_low, size_t i)
{
    if (w_low != NULL) {
        crc = bp_crc32_byte(crc, w_low[i]);
    }
    crc = bp_crc32_byte(crc, (uint8_t)((uint16_t)w[i] & 255u));
    return bp_crc32_byte(crc, (uint8_t)((uint16_t)w[i] >> 8));
}

uint32_t bp_crc32_parameters(uint32_t crc, const bp_layer_t *layer, const int16_t *w,
                             const uint8_t *w_low, const int16_t *b, const uint8_t *b_low)
{
    size_t inputs = bp_rom_u16(&layer->inputs);
    size_t outputs = bp_rom_u16(&layer->outputs);
    size_t i, j;

    crc = ~crc;
    for (j = 0; j < outputs; j++) {
        size_t at = 2 * j; /* bp_weight_index(layer, j, i) */

        for (i = 0; i < inputs; i++) {
            crc = crc32_master(crc, w, w_low, at);
            at += i % 2 == 0 ? 1 : 2 * outputs - 1;
        }
    }
    for (j = 0; j < outputs; j++) {
        crc = crc32_master(crc, b, b_low, j);
    }
    return ~crc;
}

/* bpgen_pass_avr.h -- how AVR cores learn a layer: what the assembly is told.
 *
 * bpgen_kernels.h includes this where bpgen_avr_learn.h takes the place of portable kernels. These
 * functions become part of the network's own: a step saves its registers once for all layers, and
 * what a layer says of itself is known to the compiler.
 * SPDX-License-Identifier: 0BSD
 */
#ifndef BPGEN_PASS_AVR_H
#define BPGEN_PASS_AVR_H

#include "bpgen_kernels.h"

#define BP_AVR_INLINE __attribute__((always_inline)) static inline

/* 2^bit for a bit up to 7: 7 cycles. */
BP_AVR_INLINE uint8_t bp_avr_power(uint8_t bit)
{
    uint8_t power;

    if (__builtin_constant_p(bit)) {
        return (uint8_t)(1u << bit);
    }
    __asm__("ldi %[power], 1\n\t"
            "sbrc %[bit], 1\n\t"
            "ldi %[power], 4\n\t"
            "sbrc %[bit], 0\n\t"
            "lsl %[power]\n\t"
            "sbrc %[bit], 2\n\t"
            "swap %[power]"
            : [power] "=&d"(power)
            : [bit] "r"(bit));
    return power;
}

/* The low bytes of masters, or the dither of the first. */
typedef union {
    uint8_t *bytes;
    uint16_t dither;
} bp_avr_low_t;

/* What passes over a layer are told. The last three are their own. */
typedef struct {
    int16_t *w;
    int16_t *b;
    const int16_t *g;
    const int16_t *a_in;
    bp_avr_low_t low;
    bp_avr_low_t b_low;
    bp_alignment_t alignment;
    uint8_t a_frac;   /* fraction of the inputs */
    uint16_t row;     /* from the second dither of an output to the first of the next */
    uint16_t outputs; /* counts are for two loops of bytes */
    uint16_t pairs;
    const int16_t *dz; /* what follows is for deltas */
    uint16_t half;     /* that rounds the sums */
    uint8_t narrow;    /* bits to drop of them after a byte */
    uint8_t odd;       /* the last input has no neighbour */
    int16_t top;
    uint8_t scale_a; /* 2^(16 - frac) */
    uint16_t factor; /* 2^16 - 2 * mantissa */
    const int16_t *a_end;
    int16_t *dz_end;
    int16_t *g_end;
    uint8_t left;  /* high byte of the pairs */
    uint16_t rise; /* 2^(8 + fraction of u - a_frac), or where that has more bits, the high byte */
    uint8_t mode; /* bits 0 and 1: the loops for two shifts; 0 for any */
} bp_avr_pass_t;

void bp_avr_pass24(void);
void bp_avr_pass16(void);
void bp_avr_plain_deltas(void);
void bp_avr_wide_deltas(void);

BP_AVR_INLINE void bp_avr_call(void (*text)(void), bp_avr_pass_t *p)
{
    register bp_avr_pass_t *pass __asm__("r24") = p;

    __asm__ __volatile__("%~call %x[text]"
                         : "+r"(pass)
                         : [text] "i"(text)
                         : "r0", "r2", "r3", "r4", "r5", "r6", "r7", "r10", "r11",
                           "r12", "r13", "r14", "r15", "r16", "r17", "r18", "r19", "r20", "r21",
                           "r22", "r23", "r26", "r27", "r30", "r31", "memory");
}

/* A member of a layer, which is known unless the layer is one of many. */
#define BP_AVR_KNOWN(member, read) (__builtin_constant_p(member) ? (member) : read(&(member)))

/* A count for DEC and BRNE on its low byte, then on its high byte. */
BP_AVR_INLINE uint16_t bp_avr_count(uint16_t n)
{
    return (uint16_t)((n & 255u) | ((n + 255u) & 0xFF00u));
}

/* Members for all. */
BP_AVR_INLINE void bp_avr_prepare(bp_avr_pass_t *p, int16_t *w, int16_t *b, const bp_layer_t *layer,
                                  const int16_t *a_in, const int16_t *g, bp_alignment_t alignment)
{
    uint16_t inputs = BP_AVR_KNOWN(layer->inputs, bp_rom_u16);

    p->w = w;
    p->b = b;
    p->g = g;
    p->a_in = a_in;
    p->alignment = alignment;
    p->a_frac = BP_AVR_KNOWN(layer->a_in_frac, bp_rom_u8);
    p->outputs = bp_avr_count(BP_AVR_KNOWN(layer->outputs, bp_rom_u16));
    p->pairs = bp_avr_count((uint16_t)((inputs + 1) / 2));
}

/* Deltas of the inputs, and their steps. */
BP_AVR_INLINE void bp_avr_input_deltas(void (*text)(void), bp_avr_pass_t *p, int16_t *dz_in,
                                 int16_t *g_in, const bp_layer_t *layer, const int16_t *dz,
                                 uint16_t mantissa)
{
    uint16_t inputs = BP_AVR_KNOWN(layer->inputs, bp_rom_u16);
    uint8_t shift = BP_AVR_KNOWN(layer->sum_shift, bp_rom_u8);

    p->dz = dz;
    p->half = (uint16_t)(1u << (shift - 1));
    p->narrow = (uint8_t)(shift - 8);
    p->odd = inputs & 1u;
    p->top = BP_AVR_KNOWN(layer->dz_in_top, bp_rom_s16);
    p->scale_a = bp_avr_power((uint8_t)-BP_AVR_KNOWN(layer->a_in_frac, bp_rom_u8) & 7u);
    p->factor = (uint16_t)(0u - 2u * mantissa);
    p->a_end = p->a_in + inputs;
    p->dz_end = dz_in + inputs;
    p->g_end = g_in + inputs;
    bp_avr_call(text, p);
}

BP_AVR_INLINE void bp_avr_step24(bp_avr_pass_t *p, uint8_t *w_low, uint8_t *b_low)
{
    p->low.bytes = w_low;
    p->b_low.bytes = b_low;
    bp_avr_call(bp_avr_pass24, p);
}

BP_AVR_INLINE void bp_avr_step16(bp_avr_pass_t *p, const bp_layer_t *layer, uint16_t dither)
{
    uint16_t inputs = BP_AVR_KNOWN(layer->inputs, bp_rom_u16);
    uint16_t outputs = BP_AVR_KNOWN(layer->outputs, bp_rom_u16);

    p->low.dither = dither;
    p->row = (uint16_t)(BP_WEYL * (inputs - 1u));
    p->b_low.dither = (uint16_t)(dither + BP_WEYL * inputs * outputs);
    bp_avr_call(bp_avr_pass16, p);
}

BP_AVR_INLINE void bp_avr_update_residual(int16_t *w, uint8_t *w_low, int16_t *b, uint8_t *b_low,
                                          const bp_layer_t *layer, const int16_t *a_in,
                                          const int16_t *g, bp_alignment_t alignment,
                                          bp_counters_t *counters)
{
    bp_avr_pass_t p;

    (void)counters;
    bp_avr_prepare(&p, w, b, layer, a_in, g, alignment);
    bp_avr_step24(&p, w_low, b_low);
}

BP_AVR_INLINE void bp_avr_update_stochastic(int16_t *w, int16_t *b, const bp_layer_t *layer,
                                            const int16_t *a_in, const int16_t *g,
                                            bp_alignment_t alignment, uint16_t dither,
                                            bp_counters_t *counters)
{
    bp_avr_pass_t p;

    (void)counters;
    bp_avr_prepare(&p, w, b, layer, a_in, g, alignment);
    bp_avr_step16(&p, layer, dither);
}

BP_AVR_INLINE void bp_avr_learn_residual(void (*deltas)(void), int16_t *dz_in, int16_t *g_in,
                                         int16_t *w, uint8_t *w_low, int16_t *b, uint8_t *b_low,
                                         const bp_layer_t *layer, const int16_t *a_in,
                                         const int16_t *dz, const int16_t *g, uint16_t mantissa,
                                         bp_alignment_t alignment, bp_counters_t *counters)
{
    bp_avr_pass_t p;

    (void)counters;
    bp_avr_prepare(&p, w, b, layer, a_in, g, alignment);
    bp_avr_input_deltas(deltas, &p, dz_in, g_in, layer, dz, mantissa);
    bp_avr_step24(&p, w_low, b_low);
}

BP_AVR_INLINE void bp_avr_learn_stochastic(void (*deltas)(void), int16_t *dz_in, int16_t *g_in,
                                           int16_t *w, int16_t *b, const bp_layer_t *layer,
                                           const int16_t *a_in, const int16_t *dz, const int16_t *g,
                                           uint16_t mantissa, bp_alignment_t alignment,
                                           uint16_t dither, bp_counters_t *counters)
{
    bp_avr_pass_t p;

    (void)counters;
    bp_avr_prepare(&p, w, b, layer, a_in, g, alignment);
    bp_avr_input_deltas(deltas, &p, dz_in, g_in, layer, dz, mantissa);
    bp_avr_step16(&p, layer, dither);
}

#define bp_update_residual(...) bp_avr_update_residual(__VA_ARGS__)
#define bp_update_stochastic(...) bp_avr_update_stochastic(__VA_ARGS__)
#define bp_learn_residual_plain(...) bp_avr_learn_residual(bp_avr_plain_deltas, __VA_ARGS__)
#define bp_learn_stochastic_plain(...) bp_avr_learn_stochastic(bp_avr_plain_deltas, __VA_ARGS__)
#define bp_learn_residual_wide(...) bp_avr_learn_residual(bp_avr_wide_deltas, __VA_ARGS__)
#define bp_learn_stochastic_wide(...) bp_avr_learn_stochastic(bp_avr_wide_deltas, __VA_ARGS__)

#endif

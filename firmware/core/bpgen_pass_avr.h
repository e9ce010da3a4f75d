/* bpgen_pass_avr.h -- how AVR cores learn a layer: what the assembly is told.
 *
 * bpgen_kernels.h includes this where bpgen_avr_update.h takes the place of portable kernels. These
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

/* What the kernels of deltas are told here and not in registers, which their sums take. */
typedef struct {
    const int16_t *a_end;
    int16_t *dz_end;
    int16_t *g_end;
    uint16_t inputs; /* counts are for two loops of bytes */
    uint8_t left;    /* high byte of the pairs of inputs; theirs to change */
    int8_t moves;    /* bits to drop of the sums after a byte, or fewer than a byte */
    uint8_t scale_a; /* 2^(16 - frac) */
    int16_t top;
    uint16_t factor;  /* 2^16 - 2 * mantissa */
    uint16_t outputs; /* the wide one alone reads these two */
    uint16_t half;
} bp_avr_deltas_t;

void bp_avr_pass24(void);
void bp_avr_pass16(void);
void bp_avr_plain_deltas(void);
void bp_avr_wide_deltas(void);

/* A member of a layer, which is known unless the layer is one of many. */
#define BP_AVR_KNOWN(member, read) (__builtin_constant_p(member) ? (member) : read(&(member)))

/* A count for DEC and BRNE on its low byte, then on its high byte. */
BP_AVR_INLINE uint16_t bp_avr_count(uint16_t n)
{
    return (uint16_t)((n & 255u) | ((n + 255u) & 0xFF00u));
}

/* How many pairs n are, the last of which may be one alone. */
BP_AVR_INLINE uint16_t bp_avr_half(uint16_t n) { return (uint16_t)((n + 1u) / 2u); }

/* ---- Updates: a pass over the weights and biases of a layer ---------------------------------- */

/* Addresses as numbers, each in the register that a pass wants it in. */
#define BP_AVR_PASS_REGISTERS                                                                      \
    register uint16_t in_b __asm__("r30") = at_b;                                                  \
    register uint16_t in_low __asm__("r8") = at_low;                                               \
    register uint16_t in_a __asm__("r14") = at_a;                                                  \
    register const int16_t *in_g __asm__("r4") = g;                                                \
    register uint16_t in_alignment __asm__("r26") = at_alignment;                                  \
    register uint16_t in_w __asm__("r16") = (uint16_t)w;                                           \
    register uint16_t in_b_low __asm__("r18") = at_b_low;                                          \
    register uint8_t in_a_frac __asm__("r20") = a_frac;                                            \
    register uint16_t in_outputs __asm__("r22") = outputs;                                         \
    register uint16_t in_pairs __asm__("r24") = pairs

#define BP_AVR_PASS_OPERANDS                                                                       \
    "+r"(in_b), "+r"(in_g), "+r"(in_low), "+r"(in_a), "+r"(in_w), "+r"(in_b_low),                  \
        "+r"(in_a_frac), "+r"(in_outputs), "+r"(in_pairs), "+r"(in_alignment)

BP_AVR_INLINE void bp_avr_update_residual(int16_t *w, uint8_t *w_low, int16_t *b, uint8_t *b_low,
                                          const bp_layer_t *layer, const int16_t *a_in,
                                          const int16_t *g, const bp_alignment_t *alignment)
{
    uint16_t at_b = (uint16_t)b;
    uint16_t at_low = (uint16_t)w_low;
    uint16_t at_b_low = (uint16_t)b_low;
    uint16_t at_a = (uint16_t)a_in;
    uint16_t at_alignment = (uint16_t)alignment;
    uint8_t a_frac = BP_AVR_KNOWN(layer->a_in_frac, bp_rom_u8);
    uint16_t outputs = bp_avr_count(BP_AVR_KNOWN(layer->outputs, bp_rom_u16));
    uint16_t pairs = bp_avr_count(bp_avr_half(BP_AVR_KNOWN(layer->inputs, bp_rom_u16)));
    BP_AVR_PASS_REGISTERS;

    __asm__ __volatile__("%~call %x[pass]"
                         : BP_AVR_PASS_OPERANDS
                         : [pass] "i"(bp_avr_pass24)
                         : "r0", "r2", "r3", "r6", "r7", "r10", "r11", "r12", "r13", "r21",
                           "memory");
}

BP_AVR_INLINE void bp_avr_update_stochastic(int16_t *w, int16_t *b, const bp_layer_t *layer,
                                            const int16_t *a_in, const int16_t *g,
                                            const bp_alignment_t *alignment, uint16_t dither)
{
    uint16_t n_in = BP_AVR_KNOWN(layer->inputs, bp_rom_u16);
    uint16_t n_out = BP_AVR_KNOWN(layer->outputs, bp_rom_u16);
    uint16_t at_b = (uint16_t)b;
    uint16_t at_low = dither;
    uint16_t at_b_low = (uint16_t)(dither + BP_WEYL * n_in * n_out);
    uint16_t at_a = (uint16_t)a_in;
    uint16_t at_alignment = (uint16_t)alignment;
    uint8_t a_frac = BP_AVR_KNOWN(layer->a_in_frac, bp_rom_u8);
    uint16_t outputs = bp_avr_count(n_out);
    uint16_t pairs = bp_avr_count(bp_avr_half(n_in));
    uint16_t row = (uint16_t)(BP_WEYL * (n_in - 1u));
    uint16_t twos = bp_avr_count(bp_avr_half(n_out));
    register uint16_t in_row __asm__("r6") = row;
    register uint16_t in_twos __asm__("r12") = twos;
    BP_AVR_PASS_REGISTERS;

    __asm__ __volatile__("%~call %x[pass]"
                         : BP_AVR_PASS_OPERANDS, "+r"(in_row), "+r"(in_twos)
                         : [pass] "i"(bp_avr_pass16)
                         : "r0", "r2", "r3", "r10", "r11", "r21", "memory");
}

/* ---- Deltas of the inputs, and their steps --------------------------------------------------- */

BP_AVR_INLINE void bp_avr_input_deltas(uint8_t wide, int16_t *dz_in, int16_t *g_in,
                                       const int16_t *w, const bp_layer_t *layer,
                                       const int16_t *a_in, const int16_t *dz, uint16_t mantissa)
{
    uint16_t n = BP_AVR_KNOWN(layer->inputs, bp_rom_u16);
    uint16_t pairs = bp_avr_count(bp_avr_half(n));
    uint16_t outputs = bp_avr_count(BP_AVR_KNOWN(layer->outputs, bp_rom_u16));
    uint8_t shift = BP_AVR_KNOWN(layer->sum_shift, bp_rom_u8);
    uint16_t half = (uint16_t)(1u << (shift - 1));
    bp_avr_deltas_t deltas;

    deltas.inputs = bp_avr_count(n);
    deltas.left = (uint8_t)(pairs >> 8);
    deltas.moves = (int8_t)(shift - 8);
    deltas.scale_a = bp_avr_power((uint8_t)-BP_AVR_KNOWN(layer->a_in_frac, bp_rom_u8) & 7u);
    deltas.top = BP_AVR_KNOWN(layer->dz_in_top, bp_rom_s16);
    deltas.factor = (uint16_t)(0u - 2u * mantissa);
    if (wide != 0) {
        deltas.outputs = outputs;
        deltas.half = half;
    }
    deltas.g_end = g_in + n;
    deltas.a_end = a_in + n;
    deltas.dz_end = dz_in + n;
    {
        register const int16_t *in_w __asm__("r30") = w;
        register const int16_t *in_dz __asm__("r14") = dz;
        register uint8_t in_pairs __asm__("r16") = (uint8_t)pairs;
        register uint16_t in_outputs __asm__("r18") = outputs;
        register uint16_t in_half __asm__("r20") = half;
        register bp_avr_deltas_t *in_deltas __asm__("r24") = &deltas;

        __asm__ __volatile__("%~call %x[kernel]"
                             : "+r"(in_w), "+r"(in_dz), "+r"(in_pairs), "+r"(in_outputs),
                               "+r"(in_half), "+r"(in_deltas)
                             : [kernel] "i"(wide != 0 ? bp_avr_wide_deltas : bp_avr_plain_deltas)
                             : "r0", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11",
                               "r12", "r13", "r17", "r22", "r23", "r26", "r27", "memory");
    }
}

/* ---- Both ------------------------------------------------------------------------------------ */

/* An array of *s found from `base`, which is s in a register: without it the compiler, which has
 * none that lasts, keeps the addresses of all arrays on the stack.
 */
#define BP_AVR_IN(base, p) (__typeof__(p))((base) + ((uint16_t)(p) - (uint16_t)s))

BP_AVR_INLINE void bp_avr_deltas_of_state(uint8_t wide, const void *s, int16_t *dz_in,
                                          int16_t *g_in, const int16_t *w,
                                          const bp_layer_t *layer, const int16_t *a_in,
                                          const int16_t *dz, uint16_t mantissa)
{
    uint16_t base = (uint16_t)s;

    BP_FORGET(base);
    bp_avr_input_deltas(wide, BP_AVR_IN(base, dz_in), g_in, BP_AVR_IN(base, w), layer,
                        BP_AVR_IN(base, a_in), BP_AVR_IN(base, dz), mantissa);
}

BP_AVR_INLINE void bp_avr_learn_residual(uint8_t wide, const void *s, int16_t *dz_in,
                                         int16_t *g_in, int16_t *w, uint8_t *w_low, int16_t *b,
                                         uint8_t *b_low, const bp_layer_t *layer,
                                         const int16_t *a_in, const int16_t *dz, const int16_t *g,
                                         uint16_t mantissa, const bp_alignment_t *alignment)
{
    uint16_t base = (uint16_t)s;

    bp_avr_deltas_of_state(wide, s, dz_in, g_in, w, layer, a_in, dz, mantissa);
    BP_FORGET(base);
    bp_avr_update_residual(BP_AVR_IN(base, w), BP_AVR_IN(base, w_low), BP_AVR_IN(base, b),
                           BP_AVR_IN(base, b_low), layer, BP_AVR_IN(base, a_in), g,
                           BP_AVR_IN(base, alignment));
}

BP_AVR_INLINE void bp_avr_learn_stochastic(uint8_t wide, const void *s, int16_t *dz_in,
                                           int16_t *g_in, int16_t *w, int16_t *b,
                                           const bp_layer_t *layer, const int16_t *a_in,
                                           const int16_t *dz, const int16_t *g, uint16_t mantissa,
                                           const bp_alignment_t *alignment, uint16_t dither)
{
    uint16_t base = (uint16_t)s;

    bp_avr_deltas_of_state(wide, s, dz_in, g_in, w, layer, a_in, dz, mantissa);
    BP_FORGET(base);
    bp_avr_update_stochastic(BP_AVR_IN(base, w), BP_AVR_IN(base, b), layer, BP_AVR_IN(base, a_in),
                             g, BP_AVR_IN(base, alignment), dither);
}

/* A pass reads the alignment itself, so it is told where that is. */
#define bp_update_residual(w, w_low, b, b_low, layer, a_in, g, alignment, counters)                \
    ((void)(counters), bp_avr_update_residual(w, w_low, b, b_low, layer, a_in, g, &(alignment)))
#define bp_update_stochastic(w, b, layer, a_in, g, alignment, dither, counters)                    \
    ((void)(counters), bp_avr_update_stochastic(w, b, layer, a_in, g, &(alignment), dither))
#define BP_AVR_LEARN_RESIDUAL(wide, s, dz_in, g_in, w, w_low, b, b_low, layer, a_in, dz, g,        \
                              mantissa, alignment, counters)                                       \
    ((void)(counters), bp_avr_learn_residual(wide, s, dz_in, g_in, w, w_low, b, b_low, layer,      \
                                             a_in, dz, g, mantissa, &(alignment)))
#define BP_AVR_LEARN_STOCHASTIC(wide, s, dz_in, g_in, w, b, layer, a_in, dz, g, mantissa,          \
                                alignment, dither, counters)                                       \
    ((void)(counters), bp_avr_learn_stochastic(wide, s, dz_in, g_in, w, b, layer, a_in, dz, g,     \
                                               mantissa, &(alignment), dither))
#define bp_learn_residual_plain(...) BP_AVR_LEARN_RESIDUAL(0, __VA_ARGS__)
#define bp_learn_stochastic_plain(...) BP_AVR_LEARN_STOCHASTIC(0, __VA_ARGS__)
#define bp_learn_residual_wide(...) BP_AVR_LEARN_RESIDUAL(1, __VA_ARGS__)
#define bp_learn_stochastic_wide(...) BP_AVR_LEARN_STOCHASTIC(1, __VA_ARGS__)

#endif

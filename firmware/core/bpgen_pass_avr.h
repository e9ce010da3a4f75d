/* bpgen_pass_avr.h -- how AVR cores learn a layer: what the assembly is told.
 *
 * bpgen_kernels.h includes this where bpgen_avr_update.h takes the place of portable kernels. These
 * functions become part of the network's own: a step saves its registers once for all layers, and
 * what a layer says of itself is known to the compiler.
 * SPDX-License-Identifier: 0BSD
 */
#ifndef BPGEN_PASS_AVR_H
#define BPGEN_PASS_AVR_H

#include "bpgen_few_avr.h"
#include "bpgen_fused_avr.h"
#include "bpgen_kernels.h"
#include "bpgen_large_avr.h"
#include "bpgen_learn_avr.h"

void bp_avr_pass24(void);
void bp_avr_pass16(void);

/* ---- Updates: a pass over the weights and biases of a layer ---------------------------------- */

/* Addresses as numbers, each in the register that a pass wants it in. Here and elsewhere those
 * above r15 are first: the compiler adds a constant to one below with a byte from above, and
 * avr-gcc 5.4 (reload_cse_move2add) overlooks that where this byte was half of an address, from
 * which it makes the next one.
 */
#define BP_AVR_PASS_REGISTERS                                                                      \
    register uint16_t in_b __asm__("r30") = at_b;                                                  \
    register uint16_t in_alignment __asm__("r26") = at_alignment;                                  \
    register uint16_t in_w __asm__("r16") = (uint16_t)w;                                           \
    register uint16_t in_b_low __asm__("r18") = at_b_low;                                          \
    register uint16_t in_low __asm__("r8") = at_low;                                               \
    register uint16_t in_a __asm__("r4") = at_a;                                                   \
    register const int16_t *in_p __asm__("r14") = p;                                               \
    register uint8_t in_a_frac __asm__("r20") = a_frac;                                            \
    register uint8_t in_rotation __asm__("r21") = rotation;                                        \
    register uint16_t in_outputs __asm__("r22") = outputs;                                         \
    register uint16_t in_pairs __asm__("r24") = pairs

#define BP_AVR_PASS_OPERANDS                                                                       \
    "+r"(in_b), "+r"(in_p), "+r"(in_low), "+r"(in_a), "+r"(in_w), "+r"(in_b_low),                  \
        "+r"(in_a_frac), "+r"(in_rotation), "+r"(in_outputs), "+r"(in_pairs), "+r"(in_alignment)

BP_AVR_INLINE void bp_avr_update_residual(int16_t *w, uint8_t *w_low, int16_t *b, uint8_t *b_low,
                                          const bp_layer_t *layer, const int16_t *a_in,
                                          const int16_t *p, const bp_alignment_t *alignment)
{
    uint16_t at_b = (uint16_t)b;
    uint16_t at_low = (uint16_t)w_low;
    uint16_t at_b_low = (uint16_t)b_low;
    uint16_t at_a = (uint16_t)a_in;
    uint16_t at_alignment = (uint16_t)alignment;
    uint8_t a_frac = BP_AVR_KNOWN(layer->a_in_frac, bp_rom_u8);
    uint8_t rotation = bp_avr_power((uint8_t)-a_frac & 7u);
    uint16_t outputs = bp_avr_count(BP_AVR_KNOWN(layer->outputs, bp_rom_u16));
    uint16_t pairs = bp_avr_count(bp_avr_half(BP_AVR_KNOWN(layer->inputs, bp_rom_u16)));
    BP_AVR_PASS_REGISTERS;

    __asm__ __volatile__("%~call %x[pass]"
                         : BP_AVR_PASS_OPERANDS
                         : [pass] "i"(bp_avr_pass24)
                         : "r0", "r2", "r3", "r6", "r7", "r10", "r11", "r12", "r13",
                           "memory");
}

BP_AVR_INLINE void bp_avr_update_stochastic(int16_t *w, int16_t *b, const bp_layer_t *layer,
                                            const int16_t *a_in, const int16_t *p,
                                            const bp_alignment_t *alignment, uint16_t dither)
{
    uint16_t n_in = BP_AVR_KNOWN(layer->inputs, bp_rom_u16);
    uint16_t n_out = BP_AVR_KNOWN(layer->outputs, bp_rom_u16);
    uint16_t at_b = (uint16_t)b;
    uint16_t at_low = (uint16_t)~dither;
    uint16_t at_b_low = bp_avr_dither_after(at_low, n_in, n_out);
    uint16_t at_a = (uint16_t)a_in;
    uint16_t at_alignment = (uint16_t)alignment;
    uint8_t a_frac = BP_AVR_KNOWN(layer->a_in_frac, bp_rom_u8);
    uint8_t rotation = bp_avr_power((uint8_t)-a_frac & 7u);
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
                         : "r0", "r2", "r3", "r10", "r11", "memory");
}

/* The step of a layer: that of few outputs where the code does not grow too much. It takes some 150
 * bytes an output and 200 more; docs/speed.md has why three outputs are too many with low bytes.
 */
BP_AVR_INLINE void bp_avr_step_residual(uint8_t first, int16_t *w, uint8_t *w_low, int16_t *b,
                                        uint8_t *b_low, const bp_layer_t *layer,
                                        const int16_t *a_in, const int16_t *p,
                                        const bp_alignment_t *alignment)
{
    if (BP_AVR_IS_FEW_STEP(layer, 2) && BP_AVR_IS_USUAL(alignment, 8)) {
        bp_avr_few_residual(first, w, (uint16_t)w_low, b, (uint16_t)b_low, layer, a_in, p,
                            alignment->frac);
    } else {
        bp_avr_update_residual(w, w_low, b, b_low, layer, a_in, p, alignment);
    }
}

BP_AVR_INLINE void bp_avr_step_stochastic(uint8_t first, int16_t *w, int16_t *b,
                                          const bp_layer_t *layer, const int16_t *a_in,
                                          const int16_t *p, const bp_alignment_t *alignment,
                                          uint16_t dither)
{
    if (BP_AVR_IS_FEW_STEP(layer, 3) && BP_AVR_IS_USUAL(alignment, 16)) {
        bp_avr_few_stochastic(first, w, dither, b, layer, a_in, p, alignment->frac);
    } else {
        bp_avr_update_stochastic(w, b, layer, a_in, p, alignment, dither);
    }
}

/* ---- The parts of a step, from the output down ----------------------------------------------- */

/* An array of *s found from `base`, which is s in a register: without it the compiler, which has
 * none that lasts, keeps the addresses of all arrays on the stack.
 */
#define BP_AVR_IN(base, p) ((__typeof__(p))((base) + ((uint16_t)(p) - (uint16_t)s)))

/* The deltas and steps of the inputs; dz_in is to_dz bytes behind a_in. */
BP_AVR_INLINE void bp_avr_deltas_of_state(uint8_t few, const void *s, int16_t *dz_in,
                                          int16_t to_dz, int16_t *p_in, const int16_t *w,
                                          const bp_layer_t *layer, const int16_t *a_in,
                                          const int16_t *dz, uint16_t mantissa)
{
    uint16_t base = (uint16_t)s;

    BP_FORGET(base);
    if (few != 0) {
        bp_avr_few_deltas(p_in, BP_AVR_IN(base, w), layer, BP_AVR_IN(base, a_in),
                          BP_AVR_IN(base, dz), to_dz, bp_avr_rate(mantissa));
    } else {
        bp_avr_input_deltas(BP_AVR_IN(base, dz_in), p_in, BP_AVR_IN(base, w), layer,
                            BP_AVR_IN(base, a_in), BP_AVR_IN(base, dz), mantissa);
    }
}

BP_AVR_INLINE void bp_avr_learn_residual(uint8_t few, const void *s, int16_t *dz_in,
                                         int16_t to_dz, int16_t *p_in, int16_t *w, uint8_t *w_low,
                                         int16_t *b, uint8_t *b_low, const bp_layer_t *layer,
                                         const int16_t *a_in, const int16_t *dz, const int16_t *p,
                                         uint16_t mantissa, const bp_alignment_t *alignment)
{
    uint16_t base = (uint16_t)s;

    bp_avr_deltas_of_state(few, s, dz_in, to_dz, p_in, w, layer, a_in, dz, mantissa);
    BP_FORGET(base);
    bp_avr_step_residual(0, BP_AVR_IN(base, w), BP_AVR_IN(base, w_low), BP_AVR_IN(base, b),
                         BP_AVR_IN(base, b_low), layer, BP_AVR_IN(base, a_in), p,
                         BP_AVR_IN(base, alignment));
}

BP_AVR_INLINE void bp_avr_learn_stochastic(uint8_t few, const void *s, int16_t *dz_in,
                                           int16_t to_dz, int16_t *p_in, int16_t *w, int16_t *b,
                                           const bp_layer_t *layer, const int16_t *a_in,
                                           const int16_t *dz, const int16_t *p, uint16_t mantissa,
                                           const bp_alignment_t *alignment, uint16_t dither,
                                           size_t index)
{
    uint16_t base = (uint16_t)s;

    bp_avr_deltas_of_state(few, s, dz_in, to_dz, p_in, w, layer, a_in, dz, mantissa);
    BP_FORGET(base);
    BP_FORGET(dither);
    bp_avr_step_stochastic(0, BP_AVR_IN(base, w), BP_AVR_IN(base, b), layer,
                           BP_AVR_IN(base, a_in), p, BP_AVR_IN(base, alignment),
                           bp_dither_at(dither, index));
}

/* A pass reads the alignment itself, so it is told where that is. */
#define bp_learn_residual_first(w, w_low, b, b_low, layer, a_in, p, alignment, counters)           \
    ((void)(counters), bp_avr_step_residual(1, w, w_low, b, b_low, layer, a_in, p, &(alignment)))
#define bp_learn_stochastic_first(w, b, layer, a_in, p, alignment, dither, index, counters)        \
    ((void)(counters), bp_avr_step_stochastic(1, w, b, layer, a_in, p, &(alignment),               \
                                              bp_dither_at(dither, index)))
#define bp_learn_residual_first_large(w, w_low, b, b_low, layer, a_in, p, alignment, counters)     \
    (BP_AVR_IS_LARGE_STEP(layer, &(alignment), 8)                                                  \
         ? bp_avr_large_residual(w, w_low, b, b_low, layer, a_in, p, (alignment).frac)             \
         : bp_learn_residual_first(w, w_low, b, b_low, layer, a_in, p, alignment, counters))
#define bp_learn_stochastic_first_large(w, b, layer, a_in, p, alignment, dither, index, counters)  \
    (BP_AVR_IS_LARGE_STEP(layer, &(alignment), 16)                                                 \
         ? bp_avr_large_stochastic(w, b, layer, a_in, p, (alignment).frac,                         \
                                   bp_dither_at(dither, index))                                    \
         : bp_learn_stochastic_first(w, b, layer, a_in, p, alignment, dither, index, counters))

#define BP_AVR_HAS_FEW(layer, dz_in, a_in)                                                         \
    (BP_AVR_IS_FEW(layer) && __builtin_constant_p(BP_AVR_DISTANCE(dz_in, a_in)))
#define BP_AVR_LEARN_RESIDUAL(few, s, dz_in, p_in, w, w_low, b, b_low, layer, a_in, dz, p,         \
                              mantissa, alignment, counters)                                       \
    ((void)(counters),                                                                             \
     bp_avr_learn_residual(few, s, dz_in, BP_AVR_DISTANCE(dz_in, a_in), p_in, w, w_low, b, b_low,  \
                           layer, a_in, dz, p, mantissa, &(alignment)))
#define BP_AVR_LEARN_STOCHASTIC(few, s, dz_in, p_in, w, b, layer, a_in, dz, p, mantissa,           \
                                alignment, dither, index, counters)                                \
    ((void)(counters),                                                                             \
     bp_avr_learn_stochastic(few, s, dz_in, BP_AVR_DISTANCE(dz_in, a_in), p_in, w, b, layer,       \
                             a_in, dz, p, mantissa, &(alignment), dither, index))
#define bp_learn_residual_plain(s, dz_in, p_in, w, w_low, b, b_low, layer, a_in, ...)              \
    BP_AVR_LEARN_RESIDUAL(BP_AVR_HAS_FEW(layer, dz_in, a_in), s, dz_in, p_in, w, w_low, b,         \
                          b_low, layer, a_in, __VA_ARGS__)
#define bp_learn_stochastic_plain(s, dz_in, p_in, w, b, layer, a_in, ...)                          \
    BP_AVR_LEARN_STOCHASTIC(BP_AVR_HAS_FEW(layer, dz_in, a_in), s, dz_in, p_in, w, b, layer,       \
                            a_in, __VA_ARGS__)
#define bp_learn_residual_wide(...) BP_AVR_LEARN_RESIDUAL(0, __VA_ARGS__)
#define bp_learn_stochastic_wide(...) BP_AVR_LEARN_STOCHASTIC(0, __VA_ARGS__)
#define bp_learn_residual_large(s, dz_in, p_in, w, w_low, b, b_low, layer, a_in, dz, p, mantissa,  \
                                alignment, counters)                                               \
    (BP_AVR_IS_FUSED(layer, &(alignment), 8)                                                       \
         ? bp_avr_fused_residual(s, BP_AVR_PLACES(s, dz_in, w, w_low, b, b_low, a_in, dz), p_in,   \
                                 layer, p, mantissa, (alignment).frac)                             \
         : bp_learn_residual_wide(s, dz_in, p_in, w, w_low, b, b_low, layer, a_in, dz, p,          \
                                  mantissa, alignment, counters))
#define bp_learn_stochastic_large(s, dz_in, p_in, w, b, layer, a_in, dz, p, mantissa, alignment,   \
                                  dither, index, counters)                                         \
    (BP_AVR_IS_FUSED(layer, &(alignment), 16)                                                      \
         ? bp_avr_fused_stochastic(s, BP_AVR_PLACES(s, dz_in, w, s, b, s, a_in, dz), p_in, layer,  \
                                   p, mantissa, (alignment).frac, bp_dither_at(dither, index))     \
         : bp_learn_stochastic_wide(s, dz_in, p_in, w, b, layer, a_in, dz, p, mantissa,            \
                                    alignment, dither, index, counters))

#endif

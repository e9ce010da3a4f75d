/* bpgen_learn_avr.h -- the parts of a step that are the network's own code on AVR cores.
 *
 * bpgen_kernels.h includes this. Where all is known of a layer, its constants are instructions: the
 * deltas and steps of outputs, and the deltas of the inputs of a layer of one to three outputs. All
 * that such a layer back-propagates fits the registers, so an input's sum and its delta follow one
 * another. Layers of more outputs have a kernel, or bpgen_fused_avr.h where they are large. Cycles
 * are those of an ATmega328P.
 * SPDX-License-Identifier: 0BSD
 */
#ifndef BPGEN_LEARN_AVR_H
#define BPGEN_LEARN_AVR_H

#include "bpgen_delta_avr.h"
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

/* What BP_AVR_STEP wants of a learning rate. */
BP_AVR_INLINE uint16_t bp_avr_rate(uint16_t mantissa) { return (uint16_t)(0u - 2u * mantissa); }

/* A member of a layer, which is known unless the layer is one of many. */
#define BP_AVR_KNOWN(member, read) (__builtin_constant_p(member) ? (member) : read(&(member)))

/* ---- Outputs --------------------------------------------------------------------------------- */

/* dz and p of sigmoid outputs, 119 cycles each, or 118 where the fraction is 14:
 *
 *     r2       zero                 r14       2^(-frac & 7)         X  p
 *     r4, r5   2^16 - 2 * mantissa  r16, r17  a; derivative         Y  a
 *     r6, r7   the caller's Y       r18-r20   e; product's sign     Z  t
 *     r10, r11 top                  r21       2^(16 - shift)
 *     r15      outputs left         r22-r25   product, dz; step
 */
#define BP_AVR_OUTPUTS                                                                             \
    "movw r6, r28\n\t"                                                                             \
    "movw r28, r24\n\t"                                                                            \
    "clr r2\n\t"                                                                                   \
    "ldi r16, lo8(%[top])\n\t"                                                                     \
    "ldi r17, hi8(%[top])\n\t"                                                                     \
    "movw r10, r16\n\t"                                                                            \
    "ldi r16, %[scale_a]\n\t"                                                                      \
    "ldi r17, %[outputs]\n\t"                                                                      \
    "movw r14, r16\n\t"                                                                            \
    "ldi r21, %[scale]\n"                                                                          \
    "1:\n\t"                                                                                       \
    "ld r16, Y+\n\t"                                                                               \
    "ld r17, Y+\n\t"                                                                               \
    BP_AVR_OUTPUT_DELTA("ld r0, Z+\n\t", ".if %[frac] >= 14\n\t"                                   \
                        "movw r22, r16\n\t"                                                        \
                        BP_AVR_MOVE_A                                                              \
                        ".else\n\t"                                                                \
                        BP_AVR_BYTES                                                               \
                        ".endif\n\t"                                                               \
                        ".if %[frac] <= 8\n\t"                                                     \
                        "mov r23, r22\n\t"                                                         \
                        "clr r22\n\t"                                                              \
                        ".endif\n\t")                                                              \
    BP_AVR_CLIP_BY_TOP("r1", "r23", "r22", "r11", "r10")                                           \
    BP_AVR_STORE_DZ("r23", "r22")                                                                  \
    "movw r16, r4\n\t"                                                                             \
    BP_AVR_STEP("r18", "r23", "r22", "r17", "r16")                                                 \
    "st X+, r22\n\t"                                                                               \
    "st X+, r23\n\t"                                                                               \
    "dec r15\n\t"                                                                                  \
    "breq .+2\n\t"                                                                                 \
    "rjmp 1b\n\t"                                                                                  \
    "movw r28, r6\n\t"                                                                             \
    "clr r1"

/* dz of the a before Y: it is `to_dz` bytes behind that. */
#define BP_AVR_STORE_DZ(high, low)                                                                 \
    ".if %[to_dz] >= 2 && %[to_dz] < 65\n\t"                                                       \
    "std Y+%[to_dz]-2, " low "\n\t"                                                                \
    "std Y+%[to_dz]-1, " high "\n\t"                                                               \
    ".else\n\t"                                                                                    \
    "subi r28, lo8(2 - (%[to_dz]))\n\t"                                                            \
    "sbci r29, hi8(2 - (%[to_dz]))\n\t"                                                            \
    "st Y, " low "\n\t"                                                                            \
    "std Y+1, " high "\n\t"                                                                        \
    "subi r28, lo8(%[to_dz] - 2)\n\t"                                                              \
    "sbci r29, hi8(%[to_dz] - 2)\n\t"                                                              \
    ".endif\n\t"

BP_AVR_INLINE void bp_avr_known_outputs(int16_t *p, const int16_t *a, const int16_t *t,
                                        int16_t to_dz, uint8_t frac, uint8_t shift, int16_t top,
                                        uint16_t rate, uint8_t outputs)
{
    register int16_t *in_p __asm__("r26") = p;
    register const int16_t *in_a __asm__("r24") = a;
    register const int16_t *in_t __asm__("r30") = t;
    register uint16_t in_rate __asm__("r4") = rate;

    __asm__ __volatile__(BP_AVR_OUTPUTS
                         : "+r"(in_p), "+r"(in_a), "+r"(in_t)
                         : "r"(in_rate), [to_dz] "n"(to_dz), [frac] "n"(frac), [top] "n"(top),
                           [scale_a] "n"(1u << (-frac & 7)), [scale] "n"(1u << (16 - shift)),
                           [outputs] "n"(outputs)
                         : "r0", "r2", "r6", "r7", "r10", "r11", "r14", "r15", "r16", "r17",
                           "r18", "r19", "r20", "r21", "r22", "r23", "memory");
}

/* Those of more outputs than a byte counts, or of which not all is known, take two calls. */
void bp_avr_steps(int16_t *p, const int16_t *dz, uint16_t rate, size_t n);

#define bp_learn_output(p, dz, mantissa, n) bp_avr_steps(p, dz, bp_avr_rate(mantissa), n)
#define bp_learn_output_sigmoid(dz, p, a, t, frac, shift, top, mantissa, counters, n)              \
    (__builtin_constant_p(BP_AVR_DISTANCE(dz, a)) && (n) <= 255                                    \
         ? bp_avr_known_outputs(p, a, t, BP_AVR_DISTANCE(dz, a), frac, shift, top,                 \
                                bp_avr_rate(mantissa), (uint8_t)(n))                               \
         : (bp_output_delta_sigmoid_plain(dz, a, t, frac, shift, top, counters, n),                \
            bp_learn_output(p, dz, mantissa, n)))

/* ---- Inputs of a layer of one to three outputs ----------------------------------------------- */

/* The numbers at Y, one of 16 bits for each output: the first to high:low, others to r6-r9. */
#define BP_AVR_LOAD_FEW(low, high)                                                                 \
    "ldd " low ", Y+0\n\t"                                                                         \
    "ldd " high ", Y+1\n\t"                                                                        \
    ".if %[outputs] > 1\n\t"                                                                       \
    "ldd r6, Y+2\n\t"                                                                              \
    "ldd r7, Y+3\n\t"                                                                              \
    ".endif\n\t"                                                                                   \
    ".if %[outputs] > 2\n\t"                                                                       \
    "ldd r8, Y+4\n\t"                                                                              \
    "ldd r9, Y+5\n\t"                                                                              \
    ".endif\n\t"

/* The rest of w's upper byte times dz0, after its addition to r5, and dz1 times w's lower byte. */
#define BP_AVR_FEW_CROSS(dz1)                                                                      \
    "adc r20, r1\n\t"                                                                              \
    "adc r21, r2\n\t"                                                                              \
    "mulsu " dz1 ", r22\n\t"                                                                       \
    "sbc r21, r2\n\t"                                                                              \
    "add r5, r0\n\t"                                                                               \
    "adc r20, r1\n\t"                                                                              \
    "adc r21, r2\n\t"

/* sum = w * dz1:dz0 + 2^(shift - 1): 24 cycles, or 26 for shifts above 8. And another product:
 * sum += w * dz1:dz0, 25 cycles.
 */
#define BP_AVR_FEW_FIRST(dz0, dz1, low, high)                                                      \
    "ld" low "\n\t"                                                                                \
    "ld" high "\n\t"                                                                               \
    "muls r23, " dz1 "\n\t"                                                                        \
    "movw r20, r0\n\t"                                                                             \
    "mul r22, " dz0 "\n\t"                                                                         \
    "movw r4, r0\n\t"                                                                              \
    ".if %[shift] > 8\n\t"                                                                         \
    "ldi r24, 1 << (%[shift] - 9)\n\t"                                                             \
    "add r5, r24\n\t"                                                                              \
    "adc r20, r2\n\t"                                                                              \
    "adc r21, r2\n\t"                                                                              \
    ".endif\n\t"                                                                                   \
    "mulsu r23, " dz0 "\n\t"                                                                       \
    "sbc r21, r2\n\t"                                                                              \
    ".if %[shift] > 8\n\t"                                                                         \
    "add r5, r0\n\t"                                                                               \
    ".else\n\t"                                                                                    \
    "ldi r24, 1 << (%[shift] - 1)\n\t"                                                             \
    "add r4, r24\n\t"                                                                              \
    "adc r5, r0\n\t"                                                                               \
    ".endif\n\t"                                                                                   \
    BP_AVR_FEW_CROSS(dz1)

#define BP_AVR_FEW_OTHER(dz0, dz1, low, high)                                                      \
    "ld" low "\n\t"                                                                                \
    "ld" high "\n\t"                                                                               \
    "mulsu r23, " dz0 "\n\t"                                                                       \
    "sbc r21, r2\n\t"                                                                              \
    "add r5, r0\n\t"                                                                               \
    BP_AVR_FEW_CROSS(dz1)                                                                          \
    "muls r23, " dz1 "\n\t"                                                                        \
    "movw r24, r0\n\t"                                                                             \
    "mul r22, " dz0 "\n\t"                                                                         \
    "add r4, r0\n\t"                                                                               \
    "adc r5, r1\n\t"                                                                               \
    "adc r20, r24\n\t"                                                                             \
    "adc r21, r25\n\t"

/* s = round(sum, shift) to r21:r20:r5, clipped to 24 bits. Upper bytes move by what the shift is
 * more or less than 8; the half is in the sum.
 */
#define BP_AVR_FEW_MOVE                                                                            \
    ".if %[shift] == 16\n\t"                                                                       \
    "mov r5, r20\n\t"                                                                              \
    "mov r20, r21\n\t"                                                                             \
    "lsl r21\n\t"                                                                                  \
    "sbc r21, r21\n\t"                                                                             \
    ".elseif %[shift] >= 8\n\t"                                                                    \
    ".rept %[shift] - 8\n\t"                                                                       \
    "asr r21\n\t"                                                                                  \
    "ror r20\n\t"                                                                                  \
    "ror r5\n\t"                                                                                   \
    ".endr\n\t"                                                                                    \
    ".else\n\t"                                                                                    \
    "mov r24, r21\n\t"                                                                             \
    "lsl r24\n\t"                                                                                  \
    "sbc r24, r24\n\t"                                                                             \
    ".rept 8 - %[shift]\n\t"                                                                       \
    "lsl r4\n\t"                                                                                   \
    "rol r5\n\t"                                                                                   \
    "rol r20\n\t"                                                                                  \
    "rol r21\n\t"                                                                                  \
    "rol r24\n\t"                                                                                  \
    ".endr\n\t"                                                                                    \
    BP_AVR_CLIP40("r24", "r21", "r20", "r5")                                                       \
    ".endif\n\t"

/* r22:r23 of BP_AVR_DELTA clipped to [-top, top], from r25, which is r22:r23 >> 12 before it loses
 * bits: 4 cycles where that tells that it fits, 8 to 11 where it is far outside, and up to 16 where
 * only all bits tell.
 */
#define BP_AVR_FEW_CLIP                                                                            \
    "subi r25, -(%[top] >> 12)\n\t"                                                                \
    "cpi r25, (%[top] >> 12) + ((%[top] + 1) >> 12)\n\t"                                           \
    "brlo 2f\n\t"                                                                                  \
    "brmi 3f\n\t"                                                                                  \
    ".if (%[top] + 1) & 0xFFF\n\t"                                                                 \
    "cpi r25, (%[top] >> 12) + 8\n\t"                                                              \
    "brsh 4f\n\t"                                                                                  \
    "ldi r16, lo8(%[top])\n\t"                                                                     \
    "ldi r17, hi8(%[top])\n\t"                                                                     \
    "cp r16, r23\n\t"                                                                              \
    "cpc r17, r22\n\t"                                                                             \
    "brge 2f\n"                                                                                    \
    "4:\n\t"                                                                                       \
    ".endif\n\t"                                                                                   \
    "ldi r23, lo8(%[top])\n\t"                                                                     \
    "ldi r22, hi8(%[top])\n\t"                                                                     \
    "rjmp 2f\n"                                                                                    \
    "3:\n\t"                                                                                       \
    "cpi r25, (%[top] >> 12) - 8\n\t"                                                              \
    "brge 7f\n"                                                                                    \
    "5:\n\t"                                                                                       \
    "ldi r23, lo8(-%[top])\n\t"                                                                    \
    "ldi r22, hi8(-%[top])\n"                                                                      \
    "2:\n\t"

/* The rest of that, out of the way. */
#define BP_AVR_FEW_CLIP_LOW                                                                        \
    "7:\n\t"                                                                                       \
    "ldi r16, lo8(-%[top])\n\t"                                                                    \
    "ldi r17, hi8(-%[top])\n\t"                                                                    \
    "cp r23, r16\n\t"                                                                              \
    "cpc r22, r17\n\t"                                                                             \
    "brlt 5b\n\t"                                                                                  \
    "rjmp 2b\n"

/* dz_in and p_in, each input in 103 cycles and 26 an output, or 101 where its fraction is 14:
 *
 *     r2, r3   2^14; zero           r14       2^(16 - frac)         X  p_in
 *     r4, r5   sum, lower half      r15       inputs left           Y  a_in
 *     r6-r9    dz[1], dz[2]         r16, r17  dz[j]; a, derivative  Z  w
 *     r10, r11 2^16 - 2 * mantissa  r18, r19  dz[0]
 *     r12, r13 the caller's Y       r20, r21  sum, upper half
 *                                   r22-r25   w[j], products; delta, step
 *
 * Of a pair of inputs the second one's weights follow the first one's, each output's 4 bytes behind
 * those of the output before.
 */
#define BP_AVR_FEW_DELTAS                                                                          \
    "movw r12, r28\n\t"                                                                            \
    "movw r28, r16\n\t"                                                                            \
    BP_AVR_LOAD_FEW("r18", "r19")                                                                  \
    "movw r28, r24\n\t"                                                                            \
    BP_AVR_QUARTER                                                                                 \
    "movw r2, r16\n\t"                                                                             \
    "ldi r16, %[scale_a]\n\t"                                                                      \
    "ldi r17, %[inputs]\n\t"                                                                       \
    "movw r14, r16\n"                                                                              \
    "1:\n\t"                                                                                       \
    ".if %[outputs] == 1\n\t"                                                                      \
    BP_AVR_FEW_FIRST("r18", "r19", " r22, Z+", " r23, Z+")                                         \
    ".else\n\t"                                                                                    \
    ".if %[outputs] == 3\n\t"                                                                      \
    "movw r16, r8\n\t"                                                                             \
    BP_AVR_FEW_FIRST("r16", "r17", "d r22, Z+8", "d r23, Z+9")                                     \
    "movw r16, r6\n\t"                                                                             \
    BP_AVR_FEW_OTHER("r16", "r17", "d r22, Z+4", "d r23, Z+5")                                     \
    ".else\n\t"                                                                                    \
    "movw r16, r6\n\t"                                                                             \
    BP_AVR_FEW_FIRST("r16", "r17", "d r22, Z+4", "d r23, Z+5")                                     \
    ".endif\n\t"                                                                                   \
    BP_AVR_FEW_OTHER("r18", "r19", " r22, Z+", " r23, Z+")                                         \
    ".endif\n\t"                                                                                   \
    ".if %[outputs] > 1\n\t"                                                                       \
    ".if %[inputs] & 1\n\t"                                                                        \
    "sbrs r15, 0\n\t"                                                                              \
    ".else\n\t"                                                                                    \
    "sbrc r15, 0\n\t"                                                                              \
    ".endif\n\t"                                                                                   \
    "adiw r30, 4 * (%[outputs] - 1)\n\t"                                                           \
    ".endif\n\t"                                                                                   \
    BP_AVR_FEW_MOVE                                                                                \
    ".if %[frac] >= 14\n\t"                                                                        \
    "ld r22, Y+\n\t"                                                                               \
    "ld r23, Y+\n\t"                                                                               \
    BP_AVR_MOVE_A                                                                                  \
    ".else\n\t"                                                                                    \
    "ld r16, Y+\n\t"                                                                               \
    "ld r17, Y+\n\t"                                                                               \
    BP_AVR_BYTES                                                                                   \
    ".endif\n\t"                                                                                   \
    BP_AVR_DERIVATIVE("movw r16, r2\n\t")                                                          \
    BP_AVR_DELTA("r4", "r5", "r20", "r21")                                                         \
    BP_AVR_FEW_CLIP                                                                                \
    BP_AVR_STORE_DZ("r22", "r23")                                                                  \
    "movw r16, r10\n\t"                                                                            \
    BP_AVR_STEP("r4", "r22", "r23", "r17", "r16")                                                  \
    "st X+, r23\n\t"                                                                               \
    "st X+, r22\n\t"                                                                               \
    "dec r15\n\t"                                                                                  \
    "breq 8f\n\t"                                                                                  \
    "rjmp 1b\n"                                                                                    \
    BP_AVR_FEW_CLIP_LOW                                                                            \
    "8:\n\t"                                                                                       \
    "movw r28, r12\n\t"                                                                            \
    "clr r1"

/* dz_in is `to_dz` bytes behind a_in. */
BP_AVR_INLINE void bp_avr_few_deltas(int16_t *p_in, const int16_t *w, const bp_layer_t *layer,
                                     const int16_t *a_in, const int16_t *dz, int16_t to_dz,
                                     uint16_t rate)
{
    register const int16_t *in_w __asm__("r30") = w;
    register int16_t *in_p __asm__("r26") = p_in;
    register const int16_t *in_a __asm__("r24") = a_in;
    register const int16_t *in_dz __asm__("r16") = dz;
    register uint16_t in_rate __asm__("r10") = rate;

    __asm__ __volatile__(BP_AVR_FEW_DELTAS
                         : "+r"(in_w), "+r"(in_p), "+r"(in_a), "+r"(in_dz)
                         : "r"(in_rate), [inputs] "n"(layer->inputs),
                           [outputs] "n"(layer->outputs), [shift] "n"(layer->sum_shift),
                           [scale_a] "n"(1u << (16 - layer->a_in_frac)),
                           [frac] "n"(layer->a_in_frac), [top] "n"(layer->dz_in_top),
                           [to_dz] "n"(to_dz)
                         : "r0", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9", "r12", "r13",
                           "r14", "r15", "r18", "r19", "r20", "r21", "r22", "r23", "memory");
}

/* Whether the compiler knows a layer, whose sums fit 32 bits, and it has few outputs. */
#define BP_AVR_IS_FEW(layer)                                                                       \
    (__builtin_constant_p((layer)->outputs) && (layer)->outputs <= 3 && (layer)->inputs <= 255)

/* ---- Inputs of a layer of more outputs ------------------------------------------------------ */

/* What the kernel of deltas is told here and not in registers, which sums take. */
typedef struct {
    const int16_t *a_end;
    int16_t *dz_end;
    int16_t *p_end;
    uint16_t inputs; /* counts are for two loops of bytes */
    uint8_t scale_a; /* 2^(16 - frac) */
    int16_t top;
    uint16_t rate; /* 2^16 - 2 * mantissa */
} bp_avr_deltas_t;

/* And that of sums. */
typedef struct {
    bp_avr_deltas_t deltas; /* first */
    uint16_t outputs;
    uint16_t half;
    uint8_t left; /* high byte of the pairs of inputs; its to change */
    int8_t moves; /* bits to drop of the sums after a byte, or fewer than a byte */
} bp_avr_sums_t;

void bp_avr_wide_deltas(void);
void bp_avr_deltas_of_sums(void);

/* A count for DEC and BRNE on its low byte, then on its high byte. */
BP_AVR_INLINE uint16_t bp_avr_count(uint16_t n)
{
    return (uint16_t)((n & 255u) | ((n + 255u) & 0xFF00u));
}

/* How many pairs n are, the last of which may be one alone. */
BP_AVR_INLINE uint16_t bp_avr_half(uint16_t n) { return (uint16_t)((n + 1u) / 2u); }

BP_AVR_INLINE void bp_avr_init_deltas(bp_avr_deltas_t *deltas, int16_t *dz_in, int16_t *p_in,
                                      const bp_layer_t *layer, const int16_t *a_in,
                                      uint16_t mantissa)
{
    uint16_t n = BP_AVR_KNOWN(layer->inputs, bp_rom_u16);

    deltas->inputs = bp_avr_count(n);
    deltas->scale_a = bp_avr_power((uint8_t)-BP_AVR_KNOWN(layer->a_in_frac, bp_rom_u8) & 7u);
    deltas->top = BP_AVR_KNOWN(layer->dz_in_top, bp_rom_s16);
    deltas->rate = bp_avr_rate(mantissa);
    deltas->p_end = p_in + n;
    deltas->a_end = a_in + n;
    deltas->dz_end = dz_in + n;
}

BP_AVR_INLINE void bp_avr_input_deltas(int16_t *dz_in, int16_t *p_in, const int16_t *w,
                                       const bp_layer_t *layer, const int16_t *a_in,
                                       const int16_t *dz, uint16_t mantissa)
{
    uint16_t pairs = bp_avr_count(bp_avr_half(BP_AVR_KNOWN(layer->inputs, bp_rom_u16)));
    uint8_t shift = BP_AVR_KNOWN(layer->sum_shift, bp_rom_u8);
    bp_avr_sums_t sums;

    bp_avr_init_deltas(&sums.deltas, dz_in, p_in, layer, a_in, mantissa);
    sums.outputs = bp_avr_count(BP_AVR_KNOWN(layer->outputs, bp_rom_u16));
    sums.half = (uint16_t)(1u << (shift - 1));
    sums.left = (uint8_t)(pairs >> 8);
    sums.moves = (int8_t)(shift - 8);
    {
        register const int16_t *in_w __asm__("r30") = w;
        register bp_avr_sums_t *in_sums __asm__("r24") = &sums;
        register const int16_t *in_dz __asm__("r14") = dz;
        register uint8_t in_pairs __asm__("r16") = (uint8_t)pairs;

        __asm__ __volatile__("%~call %x[kernel]"
                             : "+r"(in_w), "+r"(in_dz), "+r"(in_pairs), "+r"(in_sums)
                             : [kernel] "i"(bp_avr_wide_deltas)
                             : "r0", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11",
                               "r12", "r13", "r17", "r18", "r19", "r20", "r21", "r22", "r23",
                               "r26", "r27", "memory");
    }
}

#endif

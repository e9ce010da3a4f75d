/* bpgen_avr_backward.h -- deltas for AVR cores with a multiplier, in assembly.
 *
 * bpgen_avr_update.h includes this; the C of bpgen_kernels_backward.h says what each of these
 * computes, and bpgen_delta_avr.h how bytes are multiplied. No time depends on the data, but for
 * some 20 cycles where a delta comes near its top and 6 or 12 where a sum is clipped. Cycles are
 * those of an ATmega328P.
 * SPDX-License-Identifier: 0BSD
 */
#ifndef BPGEN_AVR_BACKWARD_H
#define BPGEN_AVR_BACKWARD_H

#include "bpgen_delta_avr.h"
#include "bpgen_unit.h"

/* Counting clips would cost every kernel here. */
#if !BPGEN_COUNTERS

/* ---- Deltas of inputs ----------------------------------------------------------------------- */

/* The shift is known when it runs. */
#define BP_AVR_MOVE_SUMS                                                                           \
    "ldd r16, Y+%[moves]\n\t"                                                                      \
    "sbrc r16, 7\n\t"                                                                              \
    "rjmp 16f\n\t"                                                                                 \
    BP_AVR_MOVE_DOWN                                                                               \
    "rjmp 13b\n"                                                                                   \
    "16:\n\t"                                                                                      \
    BP_AVR_MOVE_UP                                                                                 \
    "rjmp 13b\n\t"

/* The sums of all pairs of inputs, 65 cycles an output, onto the stack for bp_avr_deltas_of_sums():
 *
 *     r3       pairs left           r14, r15  dz                    X  dz
 *     r4-r7    sum of the first     r16, r17  dz[j]                 Y  what it is told
 *     r8-r11   sum of the second    r18, r19  outputs left          Z  w
 *     r12, r13 product, lower half  r20, r21  their fifth bytes
 *     T        sums to be moved     r22-r25   w[j], product
 */
#define BP_AVR_SUMS_TEXT                                                                           \
    "push r28\n\t"                                                                                 \
    "push r29\n\t"                                                                                 \
    "movw r28, r24\n\t"                                                                            \
    "clr r2\n\t"                                                                                   \
    "mov r3, r16\n\t"                                                                              \
    "ldd r16, Y+%[moves]\n\t"                                                                      \
    "clt\n\t"                                                                                      \
    "cpse r16, r2\n\t"                                                                             \
    "set\n\t"                                                                                      \
    "1:\n"                                                                                         \
    "ldd r4, Y+%[half]\n\t"                                                                        \
    "ldd r5, Y+%[half]+1\n\t"                                                                      \
    "clr r6\n\t"                                                                                   \
    "clr r7\n\t"                                                                                   \
    "movw r8, r4\n\t"                                                                              \
    "movw r10, r6\n\t"                                                                             \
    "movw r26, r14\n\t"                                                                            \
    "ldd r18, Y+%[outputs]\n\t"                                                                    \
    "ldd r19, Y+%[outputs]+1\n\t"                                                                  \
    "clr r20\n\t"                                                                                  \
    "clr r21\n"                                                                                    \
    "11:\n\t"                                                                                      \
    "ld r16, X+\n\t"                                                                               \
    "ld r17, X+\n\t"                                                                               \
    BP_AVR_LOAD_W BP_AVR_ADD_WIDE("r4", "r5", "r6", "r7", "r20")                                   \
    BP_AVR_LOAD_W BP_AVR_ADD_WIDE("r8", "r9", "r10", "r11", "r21")                                 \
    "dec r18\n\t"                                                                                  \
    "brne 11b\n\t"                                                                                 \
    "dec r19\n\t"                                                                                  \
    "brne 11b\n\t"                                                                                 \
    "brts 12f\n\t"                                                                                 \
    "13:\n"                                                                                        \
    BP_AVR_CLIP_SUMS                                                                               \
    BP_AVR_PUSH_SUMS                                                                               \
    "dec r3\n\t"                                                                                   \
    "breq .+2\n\t"                                                                                 \
    "rjmp 1b\n\t"                                                                                  \
    "ldd r16, Y+%[left]\n\t"                                                                       \
    "dec r16\n\t"                                                                                  \
    "std Y+%[left], r16\n\t"                                                                       \
    "breq .+2\n\t"                                                                                 \
    "rjmp 1b\n\t"                                                                                  \
    "%~jmp %x[deltas]\n\t"                                                                         \
    "12:\n"                                                                                        \
    BP_AVR_MOVE_SUMS

/* dz_in and p_in of those sums, from the last input, 106 cycles each:
 *
 *     r4-r6    sum                  r14       2^(16 - frac)         X  a_in
 *     r8, r9   inputs left          r15       fence                 Y  dz_in
 *     r10, r11 top                  r20, r21  2^16 - 2 * mantissa   Z  p_in
 *     r12, r13 2^14                 r16-r25   a, derivative, delta
 *
 * A delta beyond the fence, which is on or below the top, takes 16 to 21 cycles more.
 */
#define BP_AVR_DELTAS_TEXT                                                                         \
    "ldd r8, Y+%[inputs]\n\t"                                                                      \
    "ldd r9, Y+%[inputs]+1\n\t"                                                                    \
    "sbrs r8, 0\n\t"                                                                               \
    "rjmp 20f\n\t"                                                                                 \
    "pop r0\n\t"                                                                                   \
    "pop r0\n\t"                                                                                   \
    "pop r0\n\t"                                                                                   \
    "20:\n"                                                                                        \
    "ldd r10, Y+%[top]\n\t"                                                                        \
    "ldd r11, Y+%[top]+1\n\t"                                                                      \
    "ldd r20, Y+%[rate]\n\t"                                                                       \
    "ldd r21, Y+%[rate]+1\n\t"                                                                     \
    "ldd r14, Y+%[scale_a]\n\t"                                                                    \
    "mov r16, r11\n\t"                                                                             \
    "swap r16\n\t"                                                                                 \
    "andi r16, 0x0F\n\t"                                                                           \
    "mov r15, r16\n\t"                                                                             \
    "lsl r16\n\t"                                                                                  \
    "mov r3, r16\n\t"                                                                              \
    "ldi r16, 0x40\n\t"                                                                            \
    "mov r13, r16\n\t"                                                                             \
    "clr r12\n\t"                                                                                  \
    "ldd r26, Y+%[a_end]\n\t"                                                                      \
    "ldd r27, Y+%[a_end]+1\n\t"                                                                    \
    "ldd r30, Y+%[p_end]\n\t"                                                                      \
    "ldd r31, Y+%[p_end]+1\n\t"                                                                    \
    "ldd r16, Y+%[dz_end]\n\t"                                                                     \
    "ldd r17, Y+%[dz_end]+1\n\t"                                                                   \
    "movw r28, r16\n\t"                                                                            \
    "21:\n"                                                                                        \
    "ld r17, -X\n\t"                                                                               \
    "ld r16, -X\n\t"                                                                               \
    BP_AVR_BYTES                                                                                   \
    BP_AVR_DERIVATIVE("movw r16, r12\n\t")                                                         \
    "pop r22\n\t"                                                                                  \
    "pop r6\n\t"                                                                                   \
    "pop r5\n\t"                                                                                   \
    BP_AVR_DELTA("r4", "r5", "r6", "r22")                                                          \
    "add r25, r15\n\t"                                                                             \
    "cp r25, r3\n\t"                                                                               \
    "brsh 23f\n\t"                                                                                 \
    "22:\n"                                                                                        \
    "st -Y, r22\n\t"                                                                               \
    "st -Y, r23\n\t"                                                                               \
    BP_AVR_STEP("r4", "r22", "r23", "r21", "r20")                                                  \
    "st -Z, r22\n\t"                                                                               \
    "st -Z, r23\n\t"                                                                               \
    "dec r8\n\t"                                                                                   \
    "breq .+2\n\t"                                                                                 \
    "rjmp 21b\n\t"                                                                                 \
    "dec r9\n\t"                                                                                   \
    "breq .+2\n\t"                                                                                 \
    "rjmp 21b\n\t"                                                                                 \
    "pop r29\n\t"                                                                                  \
    "pop r28\n\t"                                                                                  \
    "clr __zero_reg__\n\t"                                                                         \
    "ret\n\t"                                                                                      \
    "23:\n"                                                                                        \
    "sub r25, r15\n\t"                                                                             \
    "asr r25\n\t"                                                                                  \
    "asr r25\n\t"                                                                                  \
    "asr r25\n\t"                                                                                  \
    "asr r25\n\t"                                                                                  \
    BP_AVR_CLIP_BY_TOP("r25", "r22", "r23", "r11", "r10")                                          \
    "rjmp 22b\n\t"

#define BP_AVR_AT(member) [member] "i"(offsetof(bp_avr_deltas_t, member))

/* These save no register but Y: who calls them does, once for all. */
__attribute__((naked)) void bp_avr_deltas_of_sums(void)
{
    __asm__ __volatile__(BP_AVR_DELTAS_TEXT
                         :
                         : BP_AVR_AT(inputs), BP_AVR_AT(top), BP_AVR_AT(rate), BP_AVR_AT(scale_a),
                           BP_AVR_AT(a_end), BP_AVR_AT(dz_end), BP_AVR_AT(p_end));
}

#define BP_AVR_OF_SUMS(member) [member] "i"(offsetof(bp_avr_sums_t, member))

__attribute__((naked)) void bp_avr_wide_deltas(void)
{
    __asm__ __volatile__(BP_AVR_SUMS_TEXT
                         :
                         : BP_AVR_OF_SUMS(outputs), BP_AVR_OF_SUMS(half), BP_AVR_OF_SUMS(left),
                           BP_AVR_OF_SUMS(moves), [deltas] "i"(bp_avr_deltas_of_sums));
}

/* ---- Deltas of outputs ---------------------------------------------------------------------- */

/* e = a - t has 17 bits, in r20:r19:r18, and the derivative is up to 2^14. Each takes 96 cycles:
 *
 *     r2       zero                 r16, r17  a; derivative        X  a
 *     r10, r11 top                  r18-r20   e; product's sign    Y  dz
 *     r12, r13 outputs left         r21       2^(16 - shift)       Z  t
 *     r14      scale of a           r22-r25   product, dz
 */
static inline void bp_avr_output_deltas(int16_t *deltas, const int16_t *outputs,
                                        const int16_t *targets, uint8_t frac, uint8_t shift,
                                        int16_t limit, uint16_t count)
{
    uint8_t power = bp_avr_power((uint8_t)-frac & 7u);
    uint8_t rounding = bp_avr_power((uint8_t)(16 - shift));
    register uint8_t zero __asm__("r2") = frac <= 8;
    register int16_t top __asm__("r10") = limit;
    register uint16_t n __asm__("r12") = bp_avr_count(count);
    register uint8_t scale_a __asm__("r14") = power;
    register uint8_t scale __asm__("r21") = rounding;
    register int16_t *dz __asm__("r22") = deltas;
    register const int16_t *a __asm__("r26") = outputs;
    register const int16_t *t __asm__("r30") = targets;

    __asm__ __volatile__("push r28\n\t"
                         "push r29\n\t"
                         "movw r28, %[dz]\n\t"
                         "bst r2, 0\n\t"
                         "clr r2\n"
                         "1:\n\t"
                         "ld r16, X+\n\t"
                         "ld r17, X+\n\t"
                         BP_AVR_OUTPUT_DELTA("ld r0, Z+\n\t", BP_AVR_NORMAL)
                         BP_AVR_CLIP_BY_TOP("r1", "r23", "r22", "r11", "r10")
                         "st Y+, r22\n\t"
                         "st Y+, r23\n\t"
                         "dec r12\n\t"
                         "breq .+2\n\t"
                         "rjmp 1b\n\t"
                         "dec r13\n\t"
                         "breq .+2\n\t"
                         "rjmp 1b\n\t"
                         "pop r29\n\t"
                         "pop r28\n\t"
                         "clr __zero_reg__"
                         : [dz] "+r"(dz), "+r"(a), "+r"(t), "+r"(n), "+r"(zero)
                         : "r"(top), "r"(scale_a), "r"(scale)
                         : "r0", "r16", "r17", "r18", "r19", "r20", "r24", "r25", "memory");
}

void bp_output_delta_sigmoid_plain(int16_t *dz, const int16_t *a, const int16_t *t, uint8_t frac,
                                   uint8_t shift, int16_t top, bp_counters_t *counters, size_t n)
{
    (void)counters;
    bp_avr_output_deltas(dz, a, t, frac, shift, top, (uint16_t)n);
}

/* ---- The separate calls --------------------------------------------------------------------- */

/* round(fifth:low, shift), saturated to 32 bits: the carry is the last bit that was dropped. */
static __attribute__((noinline)) int32_t bp_avr_round_wide(uint32_t low, int8_t fifth,
                                                           uint8_t shift)
{
    uint8_t dropped;

    __asm__("clr %[dropped]\n"
            "1:\n\t"
            "cpi %[shift], 8\n\t"
            "brlo 2f\n\t"
            "mov %[dropped], %A[low]\n\t"
            "mov %A[low], %B[low]\n\t"
            "mov %B[low], %C[low]\n\t"
            "mov %C[low], %D[low]\n\t"
            "mov %D[low], %[fifth]\n\t"
            "lsl %[fifth]\n\t"
            "sbc %[fifth], %[fifth]\n\t"
            "subi %[shift], 8\n\t"
            "rjmp 1b\n"
            "2:\n\t"
            "lsl %[dropped]\n\t"
            "tst %[shift]\n\t"
            "breq 4f\n"
            "3:\n\t"
            "asr %[fifth]\n\t"
            "ror %D[low]\n\t"
            "ror %C[low]\n\t"
            "ror %B[low]\n\t"
            "ror %A[low]\n\t"
            "dec %[shift]\n\t"
            "brne 3b\n"
            "4:\n\t"
            "adc %A[low], __zero_reg__\n\t"
            "adc %B[low], __zero_reg__\n\t"
            "adc %C[low], __zero_reg__\n\t"
            "adc %D[low], __zero_reg__\n\t"
            "adc %[fifth], __zero_reg__\n\t"
            "mov %[dropped], %D[low]\n\t"
            "lsl %[dropped]\n\t"
            "sbc %[dropped], %[dropped]\n\t"
            "cp %[dropped], %[fifth]\n\t"
            "breq 5f\n\t"
            "lsl %[fifth]\n\t"
            "sbc %A[low], %A[low]\n\t"
            "com %A[low]\n\t"
            "mov %B[low], %A[low]\n\t"
            "mov %C[low], %A[low]\n\t"
            "mov %D[low], %A[low]\n\t"
            "subi %D[low], 0x80\n"
            "5:"
            : [low] "+d"(low), [fifth] "+r"(fifth), [shift] "+d"(shift), [dropped] "=&r"(dropped));
    return (int32_t)low;
}

/* The sums of a pair of inputs over all outputs, 65 cycles an output. Returns the weights of the
 * next pair.
 */
static inline const int16_t *bp_avr_backward(int32_t *sum, const int16_t *w, const int16_t *dz,
                                             uint16_t count, uint8_t shift)
{
    uint32_t low[2];
    int8_t fifth[2];
    register uint8_t zero __asm__("r2") = 0;
    register uint32_t sum0 __asm__("r4") = 0;
    register uint32_t sum1 __asm__("r8") = 0;
    register uint16_t n __asm__("r18") = count;
    register int8_t fifth0 __asm__("r14") = 0;
    register int8_t fifth1 __asm__("r15") = 0;
    register const int16_t *deltas __asm__("r26") = dz;
    register const int16_t *ws __asm__("r30") = w;

    __asm__ __volatile__("1:\n\t"
                         "ld r16, X+\n\t"
                         "ld r17, X+\n\t"
                         BP_AVR_LOAD_W BP_AVR_ADD_WIDE("r4", "r5", "r6", "r7", "r14")
                         BP_AVR_LOAD_W BP_AVR_ADD_WIDE("r8", "r9", "r10", "r11", "r15")
                         "dec r18\n\t"
                         "brne 1b\n\t"
                         "dec r19\n\t"
                         "brne 1b\n\t"
                         "clr __zero_reg__"
                         : "+r"(sum0), "+r"(sum1), "+r"(fifth0), "+r"(fifth1), "+r"(n),
                           "+r"(deltas), "+r"(ws)
                         : "r"(zero)
                         : "r0", "r12", "r13", "r16", "r17", "r22", "r23", "r24", "r25",
                           "memory");
    low[0] = sum0;
    low[1] = sum1;
    fifth[0] = fifth0;
    fifth[1] = fifth1;
    w = ws;
    sum[0] = bp_avr_round_wide(low[0], fifth[0], shift);
    sum[1] = bp_avr_round_wide(low[1], fifth[1], shift);
    return w;
}

#define BP_FAST_BACKWARD
void bp_backward(int32_t *sum, const bp_layer_t *layer, const int16_t *w, const int16_t *dz)
{
    uint16_t count = bp_avr_count(bp_rom_u16(&layer->outputs));
    uint16_t left = (uint16_t)(bp_rom_u16(&layer->inputs) + 1) / 2;
    uint8_t shift = bp_rom_u8(&layer->sum_shift);

    do {
        w = bp_avr_backward(sum, w, dz, count, shift);
        sum += 2;
    } while (--left != 0);
}

/* 107 cycles each:
 *
 *     r2       zero             r14       scale of a            X  a
 *     r10, r11 top              r16, r17  a; derivative         Y  dz
 *     r12, r13 inputs left      r18-r21   sum, s; spare         Z  sum
 *                               r22-r25   product, dz
 */
#define BP_FAST_DELTA_SIGMOID
void bp_delta_sigmoid(int16_t *deltas, const int32_t *sums, const int16_t *outputs, uint8_t frac,
                      int16_t limit, bp_counters_t *counters, size_t count)
{
    uint8_t power = bp_avr_power((uint8_t)-frac & 7u);
    register uint8_t zero __asm__("r2") = frac <= 8;
    register int16_t top __asm__("r10") = limit;
    register uint16_t n __asm__("r12") = bp_avr_count((uint16_t)count);
    register uint8_t scale_a __asm__("r14") = power;
    register int16_t *dz __asm__("r22") = deltas;
    register const int16_t *a __asm__("r26") = outputs;
    register const int32_t *sum __asm__("r30") = sums;

    (void)counters;
    __asm__ __volatile__("push r28\n\t"
                         "push r29\n\t"
                         "movw r28, r22\n\t"
                         "bst r2, 0\n\t"
                         "clr r2\n"
                         "1:\n\t"
                         "ld r16, X+\n\t"
                         "ld r17, X+\n\t" BP_AVR_NORMAL BP_AVR_DERIVATIVE(BP_AVR_QUARTER)
                         "ld r18, Z+\n\t"
                         "ld r19, Z+\n\t"
                         "ld r20, Z+\n\t"
                         "ld r21, Z+\n\t"
                         /* The fourth byte must repeat the sign of the third. */
                         "mov r0, r20\n\t"
                         "lsl r0\n\t"
                         "sbc r0, r0\n\t"
                         "cp r0, r21\n\t"
                         "breq 2f\n\t"
                         "lsl r21\n\t"
                         "sbc r18, r18\n\t"
                         "com r18\n\t"
                         "mov r19, r18\n\t"
                         "mov r20, r18\n\t"
                         "subi r20, 0x80\n"
                         "2:\n\t"
                         "mov r22, r20\n\t" BP_AVR_DELTA("r21", "r18", "r19", "r22")
                         "asr r25\n\t"
                         "asr r25\n\t"
                         "asr r25\n\t"
                         "asr r25\n\t"
                         BP_AVR_CLIP_BY_TOP("r25", "r22", "r23", "r11", "r10")
                         "st Y+, r23\n\t"
                         "st Y+, r22\n\t"
                         "dec r12\n\t"
                         "breq .+2\n\t"
                         "rjmp 1b\n\t"
                         "dec r13\n\t"
                         "breq .+2\n\t"
                         "rjmp 1b\n\t"
                         "pop r29\n\t"
                         "pop r28\n\t"
                         "clr __zero_reg__"
                         : "+r"(dz), "+r"(a), "+r"(sum), "+r"(n), "+r"(zero)
                         : "r"(top), "r"(scale_a)
                         : "r0", "r16", "r17", "r18", "r19", "r20", "r21", "r24", "r25", "memory");
}

/* ---- Layers that are not plain -------------------------------------------------------------- */

static __attribute__((noinline)) void bp_avr_deltas(int16_t *dz_in, const bp_layer_t *layer,
                                                    const int16_t *w, const int16_t *a_in,
                                                    const int16_t *dz)
{
    uint16_t count = bp_avr_count(bp_rom_u16(&layer->outputs));
    uint16_t left = bp_rom_u16(&layer->inputs);
    uint8_t shift = bp_rom_u8(&layer->sum_shift);
    uint8_t frac = bp_rom_u8(&layer->a_in_frac);
    int16_t top = bp_rom_s16(&layer->dz_in_top);
    int32_t sum[2];

    for (; left > 1; left = (uint16_t)(left - 2)) {
        w = bp_avr_backward(sum, w, dz, count, shift);
        bp_delta_sigmoid(dz_in, sum, a_in, frac, top, NULL, 2);
        dz_in += 2;
        a_in += 2;
    }
    if (left != 0) {
        (void)bp_avr_backward(sum, w, dz, count, shift);
        bp_delta_sigmoid(dz_in, sum, a_in, frac, top, NULL, 1);
    }
}

#endif

#endif

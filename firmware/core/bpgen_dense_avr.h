/* bpgen_dense_avr.h -- how AVR cores do a layer forward: calls of kernels, and sums of few outputs.
 *
 * bpgen_kernels.h includes this where bpgen_avr_forward.h takes the place of portable kernels. A
 * layer whose constants the compiler knows, as it does in net.c, becomes part of the function that
 * asks for it: each constant is an instruction, and pointers follow from one another. All others go
 * through the functions of these names. Sections are those of bpgen_avr_forward.h.
 * SPDX-License-Identifier: 0BSD
 */
#ifndef BPGEN_DENSE_AVR_H
#define BPGEN_DENSE_AVR_H

#include "bpgen_kernels.h"
#include "bpgen_sum_avr.h"

/* X += bytes, in as few instructions as it takes. */
#define BP_AVR_MOVE_X(bytes)                                                                       \
    ".if " bytes " > 0 && " bytes " < 64\n\t"                                                      \
    "adiw r26, " bytes "\n\t"                                                                      \
    ".elseif " bytes " < 0 && " bytes " > -64\n\t"                                                 \
    "sbiw r26, -(" bytes ")\n\t"                                                                   \
    ".elseif " bytes "\n\t"                                                                        \
    "subi r26, lo8(-(" bytes "))\n\t"                                                              \
    "sbci r27, hi8(-(" bytes "))\n\t"                                                              \
    ".endif\n\t"

/* Z and r19:r18, the biases and weights of a group, from X, the inputs, or from the linker. */
#define BP_AVR_FROM_INPUTS(group)                                                                  \
    "movw r30, r26\n\t"                                                                            \
    "subi r30, lo8(-(%[b] + 8 * " group "))\n\t"                                                   \
    "sbci r31, hi8(-(%[b] + 8 * " group "))\n\t"                                                   \
    "movw r18, r26\n\t"                                                                            \
    "subi r18, lo8(-(%[w] + 16 * " group "))\n\t"                                                  \
    "sbci r19, hi8(-(%[w] + 16 * " group "))\n\t"
#define BP_AVR_FROM_FLASH(group)                                                                   \
    "ldi r30, lo8(%[b] + 8 * " group ")\n\t"                                                       \
    "ldi r31, hi8(%[b] + 8 * " group ")\n\t"                                                       \
    "ldi r18, lo8(%[w] + 16 * " group ")\n\t"                                                      \
    "ldi r19, hi8(%[w] + 16 * " group ")\n\t"

/* What ends need: the limits of z, lowest first, or the last interval of the table. */
#define BP_AVR_LIMITS                                                                              \
    "ldi r17, lo8(%[lowest])\n\t"                                                                  \
    "ldi r29, hi8(%[lowest])\n\t"                                                                  \
    "ldi r18, lo8(%[top])\n\t"                                                                     \
    "ldi r19, hi8(%[top])\n\t"
#define BP_AVR_TABLE                                                                               \
    "ldi r17, %[a_scale]\n\t"                                                                      \
    "ldi r18, lo8(%[last])\n\t"                                                                    \
    "ldi r19, hi8(%[last])\n\t"

/* From X at the inputs to X behind the group's outputs. The sums begin with a jump of 2 bytes and
 * four times BP_AVR_START, of 18, of which a smaller group leaves out the first. The ends begin
 * with TAIL, of 10, which a group of four leaves out, and of which others take their jump alone:
 * the ones at 2, 6 and 8 are for three, two and one outputs. A stride lasts until a clip has r29
 * for a limit.
 */
#define BP_AVR_STRIDE(bytes) "ldi r29, " bytes "\n\t"
#define BP_AVR_STRIDE_ONCE(group, bytes)                                                           \
    ".if " group " == 0 || %[a_scale] == 0\n\t" BP_AVR_STRIDE(bytes) ".endif\n\t"
#define BP_AVR_TAIL_OF(outputs) "8 - (" outputs ") * ((" outputs ") - 1)"
#define BP_AVR_GROUP(group, stride, entry, end, pointers, needs)                                   \
    pointers(group)                                                                                \
    "ldi r28, %[count]\n\t"                                                                        \
    stride                                                                                         \
    "clr r16\n\t"                                                                                  \
    "ldi r17, %[half]\n\t"                                                                         \
    "ldi r20, %[scale]\n\t"                                                                        \
    "%~call %x[sums] + 2 + 18 * (" entry ")\n\t"                                                   \
    BP_AVR_MOVE_X("(%[out] - 4 * %[pairs] + 8 * " group ")")                                       \
    "ldi r16, %[end_scale]\n\t"                                                                    \
    needs                                                                                          \
    "%~call %x[ends] + " end "\n\t"

/* Groups of four, then the rest. */
#define BP_AVR_GROUPS(pointers, needs)                                                             \
    "clr r21\n\t"                                                                                  \
    ".if %[outputs] > 3\n\t"                                                                       \
    "push r28\n\t"                                                                                 \
    "push r29\n\t"                                                                                 \
    "set\n\t"                                                                                      \
    ".else\n\t"                                                                                    \
    "movw r2, r28\n\t"                                                                             \
    ".endif\n\t"                                                                                   \
    ".irp group, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15\n\t"                         \
    ".if 4 * \\group + 3 < %[outputs]\n\t"                                                         \
    BP_AVR_GROUP("\\group", BP_AVR_STRIDE_ONCE("\\group", "4 * %[outputs] - 16"), "0", "10",       \
                 pointers, needs)                                                                  \
    ".if 4 * \\group + 4 < %[outputs]\n\t"                                                         \
    BP_AVR_MOVE_X("(-(%[out]) - 8 * \\group - 8)")                                                 \
    ".endif\n\t"                                                                                   \
    ".endif\n\t"                                                                                   \
    ".endr\n\t"                                                                                    \
    ".if %[outputs] & 3\n\t"                                                                       \
    "clt\n\t"                                                                                      \
    BP_AVR_GROUP("(%[outputs] / 4)", BP_AVR_STRIDE("4 * (%[outputs] & 0xFC)"),                     \
                 "4 - (%[outputs] & 3)", BP_AVR_TAIL_OF("%[outputs] & 3"), pointers, needs)        \
    ".endif\n\t"                                                                                   \
    "clr r1\n\t"                                                                                   \
    ".if %[outputs] > 3\n\t"                                                                       \
    "pop r29\n\t"                                                                                  \
    "pop r28\n\t"                                                                                  \
    ".else\n\t"                                                                                    \
    "movw r28, r2\n\t"                                                                             \
    ".endif"

/* One to three outputs of weights in RAM, whose sums are made here: a pair of inputs takes 162
 * cycles for three, and 156 where none is negative. Only their ends are called, and registers are
 * left for the caller's Y.
 */
#define BP_AVR_FEW_OUTPUTS(high_a, needs)                                                          \
    "clr r21\n\t"                                                                                  \
    "movw r2, r28\n\t"                                                                             \
    BP_AVR_FROM_INPUTS("0")                                                                        \
    "clr r16\n\t"                                                                                  \
    "ldi r17, %[half]\n\t"                                                                         \
    "ldi r20, %[scale]\n\t"                                                                        \
    ".if %[outputs] > 2\n\t"                                                                       \
    BP_AVR_START("ld", BP_AVR_Q)                                                                   \
    ".endif\n\t"                                                                                   \
    ".if %[outputs] > 1\n\t"                                                                       \
    BP_AVR_START("ld", BP_AVR_R)                                                                   \
    ".endif\n\t"                                                                                   \
    BP_AVR_START("ld", BP_AVR_S)                                                                   \
    "movw r30, r18\n\t"                                                                            \
    ".if %[pairs] > 1\n\t"                                                                         \
    "ldi r28, %[pairs]\n\t"                                                                        \
    ".endif\n"                                                                                     \
    "1:\n\t"                                                                                       \
    BP_AVR_INPUTS                                                                                  \
    ".if %[outputs] > 2\n\t"                                                                       \
    BP_AVR_PRODUCTS("ld", high_a, BP_AVR_Q)                                                        \
    ".endif\n\t"                                                                                   \
    ".if %[outputs] > 1\n\t"                                                                       \
    BP_AVR_PRODUCTS("ld", high_a, BP_AVR_R)                                                        \
    ".endif\n\t"                                                                                   \
    BP_AVR_PRODUCTS("ld", high_a, BP_AVR_S)                                                        \
    ".if %[pairs] > 1\n\t"                                                                         \
    "dec r28\n\t"                                                                                  \
    "breq .+2\n\t"                                                                                 \
    "rjmp 1b\n\t"                                                                                  \
    ".endif\n\t"                                                                                   \
    BP_AVR_MOVE_X("(%[out] - 4 * %[pairs])")                                                       \
    "ldi r16, %[end_scale]\n\t"                                                                    \
    needs                                                                                          \
    "%~call %x[ends] + " BP_AVR_TAIL_OF("%[outputs]") "\n\t"                                       \
    "clr r1\n\t"                                                                                   \
    "movw r28, r2"

/* What changes: of four outputs at a time, and of three, two and one. */
#define BP_AVR_CHANGES_1                                                                           \
    "r0", "r2", "r3", "r14", "r15", "r16", "r17", "r18", "r19", "r20", "r21", "r22", "r23", "r24", \
        "r25", "r30", "r31", "memory"
#define BP_AVR_CHANGES_2 "r10", "r11", "r12", "r13", BP_AVR_CHANGES_1
#define BP_AVR_CHANGES_3 "r6", "r7", "r8", "r9", BP_AVR_CHANGES_2
#define BP_AVR_CHANGES_4 "r4", "r5", BP_AVR_CHANGES_3

#define BP_AVR_OPERANDS(where_b, where_w)                                                          \
    [b] where_b, [w] where_w, [out] "n"(to_out), [outputs] "n"(fast->outputs),                     \
        [pairs] "n"(fast->at_once), [half] "n"(fast->half), [scale] "n"(fast->scale),              \
        [end_scale] "n"(fast->end_scale), [a_scale] "n"(fast->a_scale),                            \
        [lowest] "n"(layer->z_lowest), [top] "n"(layer->z_top),                                    \
        [last] "i"(layer->table + ((1u << layer->table_bits) - 1)), [ends] "i"(fast->kernel)

#define BP_AVR_LAYER_OF_GROUPS(pointers, needs, where_b, where_w, ...)                             \
    __asm__ __volatile__(BP_AVR_GROUPS(pointers, needs)                                            \
                         : "+r"(x)                                                                 \
                         : BP_AVR_OPERANDS(where_b, where_w), [count] "n"(fast->count),            \
                           [sums] "i"(fast->sums)                                                  \
                         : __VA_ARGS__)
#define BP_AVR_LAYER_OF_FEW(high_a, needs, ...)                                                    \
    __asm__ __volatile__(BP_AVR_FEW_OUTPUTS(high_a, needs)                                         \
                         : "+r"(x)                                                                 \
                         : BP_AVR_OPERANDS("n"(to_b), "n"(to_w))                                   \
                         : __VA_ARGS__)
#define BP_AVR_LAYER_IN_RAM(needs, ...)                                                            \
    if (fast->outputs > 3) {                                                                       \
        BP_AVR_LAYER_OF_GROUPS(BP_AVR_FROM_INPUTS, needs, "n"(to_b), "n"(to_w), __VA_ARGS__);      \
    } else if (fast->a_in_signed) {                                                                \
        BP_AVR_LAYER_OF_FEW(BP_AVR_SIGNED_A, needs, __VA_ARGS__);                                  \
    } else {                                                                                       \
        BP_AVR_LAYER_OF_FEW(BP_AVR_UNSIGNED_A, needs, __VA_ARGS__);                                \
    }
#define BP_AVR_LAYER_IN_FLASH(needs, ...)                                                          \
    BP_AVR_LAYER_OF_GROUPS(BP_AVR_FROM_FLASH, needs, "i"(b), "i"(w), __VA_ARGS__);

/* A layer that is a clip or a sigmoid, of so many outputs. */
#define BP_AVR_LAYER(layer_in)                                                                     \
    if (fast->a_scale == 0) {                                                                      \
        BP_AVR_LAYER_OF(layer_in, BP_AVR_LIMITS)                                                   \
    } else {                                                                                       \
        BP_AVR_LAYER_OF(layer_in, BP_AVR_TABLE)                                                    \
    }
#define BP_AVR_LAYER_OF(layer_in, needs)                                                           \
    if (fast->outputs > 3) {                                                                       \
        layer_in(needs, BP_AVR_CHANGES_4)                                                          \
    } else if (fast->outputs > 2) {                                                                \
        layer_in(needs, BP_AVR_CHANGES_3)                                                          \
    } else if (fast->outputs > 1) {                                                                \
        layer_in(needs, BP_AVR_CHANGES_2)                                                          \
    } else {                                                                                       \
        layer_in(needs, BP_AVR_CHANGES_1)                                                          \
    }

/* A layer that is not made of groups, in one call. Constants are count, half, scale and outputs;
 * the address is for a kernel that jumps there.
 */
__attribute__((always_inline)) static inline void
bp_avr_whole(void (*kernel)(void), uint16_t address, int16_t *out, const bp_layer_t *layer,
             const int16_t *w, const int16_t *b, const int16_t *a_in, const uint8_t constants[4])
{
    register int16_t *at __asm__("r24") = out;
    register const int16_t *biases __asm__("r22") = b;
    register const int16_t *weights __asm__("r18") = w;
    register const int16_t *inputs __asm__("r26") = a_in;
    register uint8_t count __asm__("r16") = constants[0];
    register uint8_t half __asm__("r17") = constants[1];
    register uint8_t scale __asm__("r20") = constants[2];
    register uint8_t outputs __asm__("r21") = constants[3];
    register const void *table __asm__("r30") = &layer->table;
    register uint16_t to __asm__("r4") = address;

    __asm__ __volatile__("%~call %x[kernel]"
                         : "+r"(at), "+r"(biases), "+r"(weights), "+r"(inputs), "+r"(count),
                           "+r"(half), "+r"(scale), "+r"(outputs), "+r"(table), "+r"(to)
                         : [kernel] "i"(kernel)
                         : "r0", "r2", "r3", "r6", "r7", "r8", "r9", "r10", "r11", "r12", "r13",
                           "r14", "r15", "memory");
}

__attribute__((always_inline)) static inline void
bp_avr_dense_whole(int16_t *out, const bp_layer_t *layer, const int16_t *w, const int16_t *b,
                   const int16_t *a_in)
{
    const bp_layer_fast_t *fast = &layer->fast;
    const uint8_t constants[] = {fast->count, fast->half, fast->scale, fast->outputs};

    bp_avr_whole(fast->kernel, 0, out, layer, w, b, a_in, constants);
}

/* The other arrays' distances from a_in are in bytes. */
__attribute__((always_inline)) static inline void
bp_avr_dense(const bp_layer_t *layer, const int16_t *a_in, int16_t to_out, int16_t to_w,
             int16_t to_b)
{
    const bp_layer_fast_t *fast = &layer->fast;
    register const int16_t *x __asm__("r26") = a_in;

    BP_AVR_LAYER(BP_AVR_LAYER_IN_RAM)
}

__attribute__((always_inline)) static inline void
bp_avr_dense_rom(const bp_layer_t *layer, const int16_t *a_in, int16_t to_out, const int16_t *w,
                 const int16_t *b)
{
    const bp_layer_fast_t *fast = &layer->fast;
    register const int16_t *x __asm__("r26") = a_in;

    BP_AVR_LAYER(BP_AVR_LAYER_IN_FLASH)
}

/* Whether that is a sum at once, all of it known; arrays of one object are a known distance apart,
 * and where an array in flash is known, its first element is.
 */
#define BP_AVR_DISTANCE(to, from) (int16_t)((const char *)(to) - (const char *)(from))
#define BP_AVR_IS_KNOWN(layer, distance)                                                           \
    (__builtin_constant_p((layer)->fast.at_once) && (layer)->fast.at_once != 0 &&                  \
     __builtin_constant_p(distance))
#define BP_AVR_IS_ONE_CALL(layer)                                                                  \
    (__builtin_constant_p((layer)->fast.at_once) && (layer)->fast.at_once == 0)
#define BP_AVR_DENSE(function, out, layer, w, b, a_in, counters)                                   \
    (BP_AVR_IS_ONE_CALL(layer) ? bp_avr_dense_whole(out, layer, w, b, a_in)                        \
     : BP_AVR_IS_KNOWN(layer, BP_AVR_DISTANCE(out, a_in)) &&                                       \
             __builtin_constant_p(BP_AVR_DISTANCE(w, a_in)) &&                                     \
             __builtin_constant_p(BP_AVR_DISTANCE(b, a_in))                                        \
     ? bp_avr_dense(layer, a_in, BP_AVR_DISTANCE(out, a_in), BP_AVR_DISTANCE(w, a_in),             \
                    BP_AVR_DISTANCE(b, a_in))                                                      \
     : (function)(out, layer, w, b, a_in, counters))
#define BP_AVR_DENSE_ROM(function, out, layer, w, b, a_in, counters)                               \
    (BP_AVR_IS_ONE_CALL(layer) ? bp_avr_dense_whole(out, layer, w, b, a_in)                        \
     : BP_AVR_IS_KNOWN(layer, BP_AVR_DISTANCE(out, a_in)) && __builtin_constant_p(*(w)) &&         \
             __builtin_constant_p(*(b))                                                            \
     ? bp_avr_dense_rom(layer, a_in, BP_AVR_DISTANCE(out, a_in), w, b)                             \
     : (function)(out, layer, w, b, a_in, counters))

#define bp_dense(...) BP_AVR_DENSE(bp_dense, __VA_ARGS__)
#define bp_dense_sigmoid(...) BP_AVR_DENSE(bp_dense_sigmoid, __VA_ARGS__)
#define bp_dense_rom(...) BP_AVR_DENSE_ROM(bp_dense_rom, __VA_ARGS__)
#define bp_dense_sigmoid_rom(...) BP_AVR_DENSE_ROM(bp_dense_sigmoid_rom, __VA_ARGS__)

#endif

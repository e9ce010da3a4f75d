/* bpgen_thumb_backward.h -- the loops of deltas in assembly, for Cortex-M0 and M0+.
 *
 * bpgen_lanes_backward.h alone includes this, and its C for other cores says what each of these
 * computes. The loops take the same instructions whatever the numbers, but one or two more for a
 * delta that is clipped. Where the sums of a layer could exceed what a loop provides for, which
 * those of a sensible format do not, C stands in.
 * SPDX-License-Identifier: 0BSD
 */
#ifndef BPGEN_THUMB_BACKWARD_H
#define BPGEN_THUMB_BACKWARD_H

#if defined(__ARM_ARCH_6M__)

/* The loop of bp_output_delta_sigmoid() for slopes that are shifted right. r3: a, then a - t, r4:
 * the slope, then a product, r7: bytes from the ends, up to 0.
 */
INLINE void output_deltas(int16_t *dz_end, const int16_t *a_end, const int16_t *t_end,
                          int32_t first, int32_t unit, int32_t slope_half, uint32_t slope_down,
                          int32_t rounds, uint32_t surplus, int32_t most)
{
    register int16_t *dz __asm__("r0") = dz_end;
    register const int16_t *a __asm__("r1") = a_end;
    register const int16_t *t __asm__("r2") = t_end;
    register int32_t left __asm__("r7") = first;
    register int32_t one __asm__("r8") = unit;
    register int32_t half_of_slope __asm__("r9") = slope_half;
    register uint32_t down __asm__("r10") = slope_down;
    register int32_t half __asm__("r11") = rounds;
    register uint32_t shift __asm__("r12") = surplus;
    register int32_t top __asm__("lr") = most;

    __asm__ volatile(".syntax unified\n"
                     "1:\n\t"
                     "ldrsh r3, [r1, r7]\n\t"
                     "mov r4, r8\n\t"
                     "subs r4, r4, r3\n\t"
                     "muls r4, r3\n\t"
                     "add r4, r9\n\t"
                     "mov r5, r10\n\t"
                     "asrs r4, r5\n\t"
                     "ldrsh r5, [r2, r7]\n\t"
                     "subs r3, r3, r5\n\t"
                     "muls r4, r3\n\t"
                     "add r4, r11\n\t"
                     "mov r5, r12\n\t"
                     "asrs r4, r5\n\t"
                     "mov r5, lr\n\t"
                     "cmp r4, r5\n\t"
                     "ble 2f\n\t"
                     "movs r4, r5\n"
                     "2:\n\t"
                     "rsbs r5, r5, #0\n\t"
                     "cmp r4, r5\n\t"
                     "bge 3f\n\t"
                     "movs r4, r5\n"
                     "3:\n\t"
                     "strh r4, [r0, r7]\n\t"
                     "adds r7, #2\n\t"
                     "bne 1b"
                     : "+r"(left)
                     : "r"(dz), "r"(a), "r"(t), "r"(one), "r"(half_of_slope), "r"(down),
                       "r"(half), "r"(shift), "r"(top)
                     : "r3", "r4", "r5", "cc", "memory");
}

/* What the deltas of inputs take from memory, by offset. */
typedef struct {
    uint32_t low; /* what a sum begins with, as a sum_t whose high has 2^15 more */
    int32_t high;
    int32_t first; /* bytes from the end of the outputs' deltas to the first */
    int32_t one;   /* of the inputs */
    int32_t slope_half;
    uint32_t slope_down;
    uint32_t shift;
    uint32_t unshift; /* 32 - shift */
    int32_t sum_top;  /* 2^23 - 1; the lower limit is -2^23, see delta_of() */
    int32_t top;
    int16_t *dz_in;
    const int16_t *a_end;
} deltas_t;

/* r4 clipped to what is at `top`, which becomes its lower limit by `negate`. */
#define CLIP(top, negate, n) \
    "ldr r6, [r7, #" top "]\n\t" \
    "cmp r4, r6\n\t" \
    "ble 1" n "f\n\t" \
    "movs r4, r6\n" \
    "1" n ":\n\t" \
    negate \
    "cmp r4, r6\n\t" \
    "bge 2" n "f\n\t" \
    "movs r4, r6\n" \
    "2" n ":\n\t"
/* r4 = delta_of() for a sum that fits 32 bits after its shift. */
#define DELTA(low, high, slope, n) \
    "mov r4, " low "\n\t" \
    "mov r5, " high "\n\t" \
    "lsrs r6, r4, #16\n\t" \
    "subs r5, r5, r6\n\t" \
    "asrs r5, r5, #16\n\t" \
    "ldr r6, [r7, #24]\n\t" \
    "lsrs r4, r6\n\t" \
    "ldr r6, [r7, #28]\n\t" \
    "lsls r5, r6\n\t" \
    "orrs r4, r5\n\t" \
    CLIP("32", "mvns r6, r6\n\t", "0" n) \
    "asrs r5, r4, #8\n\t" \
    "uxtb r4, r4\n\t" \
    "muls r5, " slope "\n\t" \
    "muls r4, " slope "\n\t" \
    "lsrs r4, r4, #8\n\t" \
    "adds r4, r4, r5\n\t" \
    "asrs r4, r4, #12\n\t" \
    "movs r5, #0\n\t" \
    "adcs r4, r5\n\t" \
    CLIP("36", "rsbs r6, r6, #0\n\t", "1" n)

/* The deltas of pairs of inputs, sigmoids at a_in up to a_end, whose sums fit 32 bits after their
 * shift. Sums are in r8 and r9, r10 and r11, slopes in r2 and r3. A first delta without a second
 * enters in the middle.
 */
INLINE void delta_rows(deltas_t *deltas, const int16_t *weights, const int16_t *end,
                       const int16_t *a_in)
{
    register const int16_t *w __asm__("r0") = weights;
    register const int16_t *dz_end __asm__("r1") = end;
    register const int16_t *a __asm__("r12") = a_in;
    register deltas_t *d __asm__("lr") = deltas;

    __asm__ volatile(".syntax unified\n"
                     "1:\n\t"
                     "mov r6, lr\n\t"
                     "ldmia r6!, {r2, r3, r7}\n\t"
                     "mov r8, r2\n\t"
                     "mov r9, r3\n\t"
                     "mov r10, r2\n\t"
                     "mov r11, r3\n\t"
                     "lsrs r2, r7, #2\n\t"
                     "bcc 2f\n\t"
                     "ldrsh r3, [r1, r7]\n\t"
                     "ldmia r0!, {r5}\n\t"
                     "movs r6, #0\n\t"
                     "movs r4, #0\n\t"
                     "b 3f\n"
                     "2:\n\t"
                     "ldrsh r2, [r1, r7]\n\t"
                     "adds r7, #2\n\t"
                     "ldrsh r3, [r1, r7]\n\t"
                     "ldmia r0!, {r4, r5}\n\t"
                     "sxth r6, r4\n\t"
                     "muls r6, r2\n\t"
                     "asrs r4, r4, #16\n\t"
                     "muls r4, r2\n"
                     "3:\n\t"
                     "sxth r2, r5\n\t"
                     "muls r2, r3\n\t"
                     "adds r6, r6, r2\n\t"
                     "add r8, r6\n\t"
                     "asrs r6, r6, #16\n\t"
                     "add r9, r6\n\t"
                     "asrs r5, r5, #16\n\t"
                     "muls r5, r3\n\t"
                     "adds r4, r4, r5\n\t"
                     "add r10, r4\n\t"
                     "asrs r4, r4, #16\n\t"
                     "add r11, r4\n\t"
                     "adds r7, #2\n\t"
                     "bne 2b\n\t"
                     "mov r4, r12\n\t"
                     "ldmia r4!, {r3}\n\t"
                     "mov r12, r4\n\t"
                     "uxth r2, r3\n\t"
                     "lsrs r3, r3, #16\n\t"
                     "mov r7, lr\n\t"
                     "ldr r4, [r7, #12]\n\t"
                     "subs r5, r4, r2\n\t"
                     "muls r2, r5\n\t"
                     "subs r5, r4, r3\n\t"
                     "muls r3, r5\n\t"
                     "ldr r4, [r7, #16]\n\t"
                     "adds r2, r2, r4\n\t"
                     "adds r3, r3, r4\n\t"
                     "ldr r4, [r7, #20]\n\t"
                     "asrs r2, r4\n\t"
                     "asrs r3, r4\n\t"
                     DELTA("r8", "r9", "r2", "0")
                     "movs r2, r4\n\t"
                     DELTA("r10", "r11", "r3", "1")
                     "ldr r5, [r7, #40]\n\t"
                     "strh r2, [r5]\n\t"
                     "strh r4, [r5, #2]\n\t"
                     "adds r5, #4\n\t"
                     "str r5, [r7, #40]\n\t"
                     "ldr r5, [r7, #44]\n\t"
                     "cmp r12, r5\n\t"
                     "beq 4f\n\t"
                     "b 1b\n"
                     "4:"
                     : "+r"(w), "+r"(a)
                     : "r"(dz_end), "r"(d)
                     : "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "cc",
                       "memory");
}

#endif

#endif

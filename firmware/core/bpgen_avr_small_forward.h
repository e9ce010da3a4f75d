/* bpgen_avr_small_forward.h -- layers and sigmoids, for AVR cores in as little flash as possible.
 *
 * bpgen_avr_small.h alone includes this, and says what the registers hold.
 * SPDX-License-Identifier: 0BSD
 */
#ifndef BPGEN_AVR_SMALL_FORWARD_H
#define BPGEN_AVR_SMALL_FORWARD_H

/* ---- Forward --------------------------------------------------------------------------------- */

/* r17:r16 = the sigmoid of z in r17:r16: the table in r25:r24, its bits in r23, frac in r22. X is
 * the sign of z and 16 - frac. With u = |z|, u * 2^(bits + 1) has the index above its lower 16
 * bits, and in these fr, of which half is a y; the sum starts as the table's entry. One less a
 * sum, for z below 0, rounds like its complement.
 */
BP_ASM_CALLS(bp_avr_sigmoid, "mov r26, r17\n\t"
                             "ldi r27, 16\n\t"
                             "sub r27, r22\n\t"
                             "movw r20, r16\n\t"
                             "sbrs r21, 7\n\t"
                             "rjmp 1f\n\t"
                             "com r21\n\t"
                             "neg r20\n\t"
                             "sbci r21, -1\n\t"
                             "brpl 1f\n\t"
                             "subi r20, 1\n\t"
                             "sbci r21, 0\n"
                             "1:\n\t"
                             "clr r30\n\t"
                             "clr r31\n"
                             "2:\n\t"
                             "lsl r20\n\t"
                             "rol r21\n\t"
                             "rol r30\n\t"
                             "rol r31\n\t"
                             "dec r23\n\t"
                             "brpl 2b\n\t"
                             "lsl r30\n\t"
                             "rol r31\n\t"
                             "add r30, r24\n\t"
                             "adc r31, r25\n\t"
                             "lsr r21\n\t"
                             "ror r20\n\t" BP_CALL(clear)
                             "lpm r12, Z+\n\t"
                             "lpm r13, Z+\n\t"
                             "lpm r16, Z+\n\t"
                             "lpm r17, Z\n\t"
                             "sub r16, r12\n\t"
                             "sbc r17, r13\n\t" BP_CALL(product) BP_CALL(product)
                             "sbrs r26, 7\n\t"
                             "rjmp 3f\n\t"
                             "com r10\n\t"
                             "com r11\n\t"
                             "com r12\n\t"
                             "com r13\n"
                             "3:\n\t"
                             "ldi r16, 0xFF\n\t"
                             "ldi r17, 0xFF\n\t"
                             "mov r18, r27\n"
                             "4:\n\t"
                             "lsr r17\n\t"
                             "ror r16\n\t"
                             "dec r18\n\t"
                             "brne 4b\n\t"
                             "mov r18, r27\n\t"
                             "subi r18, -16\n\t" BP_JUMP(narrow),
             BP_CALLS(clear), BP_CALLS(product), BP_CALLS(narrow))

/* z of all outputs, or their sigmoids if r19 is odd: Z the layer, X a_in, w in r25:r24, b in
 * r23:r22, z in r21:r20. The stack holds, from Y on, layer, a_in, w, b, z and r19; r15 is
 * 16 - a_in_frac.
 */
BP_ASM_CALLS(bp_avr_dense, BP_ENTER
                           "push r19\n\t"
                           "push r21\n\t"
                           "push r20\n\t"
                           "push r23\n\t"
                           "push r22\n\t"
                           "push r25\n\t"
                           "push r24\n\t"
                           "push r27\n\t"
                           "push r26\n\t"
                           "push r31\n\t"
                           "push r30\n\t"
                           "in r28, __SP_L__\n\t"
                           "in r29, __SP_H__\n\t"
                           "lpm r24, Z+\n\t"
                           "lpm r25, Z+\n\t"
                           "sbiw r24, 1\n\t"
                           "ori r24, 1\n\t"
                           "movw r6, r24\n\t"
                           "lpm r24, Z+\n\t"
                           "lpm r25, Z+\n\t"
                           "movw r8, r24\n\t"
                           "sbiw r24, 1\n\t"
                           "lsl r24\n\t"
                           "rol r25\n\t"
                           "lsl r24\n\t"
                           "rol r25\n\t"
                           "movw r4, r24\n\t"
                           "adiw r30, 10\n\t"
                           "lpm r0, Z\n\t"
                           "ldi r18, 16\n\t"
                           "sub r18, r0\n\t"
                           "mov r15, r18\n"
                           "1:\n\t"
                           "ldd r26, Y+7\n\t"
                           "ldd r27, Y+8\n\t" BP_CALL(scaled)
                           "std Y+7, r26\n\t"
                           "std Y+8, r27\n\t"
                           "ldd r26, Y+3\n\t"
                           "ldd r27, Y+4\n\t"
                           "ldd r30, Y+5\n\t"
                           "ldd r31, Y+6\n\t"
                           "adiw r30, 4\n\t"
                           "std Y+5, r30\n\t"
                           "std Y+6, r31\n\t"
                           "sbiw r30, 4\n\t" BP_CALL(pass)
                           "ldd r30, Y+1\n\t"
                           "ldd r31, Y+2\n\t"
                           "adiw r30, 8\n\t"
                           "lpm r20, Z+\n\t" /* z_lowest */
                           "lpm r21, Z+\n\t"
                           "lpm r16, Z+\n\t" /* z_top */
                           "lpm r17, Z+\n\t"
                           "adiw r30, 3\n\t"
                           "lpm r18, Z+\n\t" /* z_shift */
                           "adiw r30, 1\n\t"
                           "lpm r22, Z+\n\t" /* a_frac, table_bits, table */
                           "lpm r23, Z+\n\t"
                           "lpm r24, Z+\n\t"
                           "lpm r25, Z\n\t" BP_CALL(narrow)
                           "ldd r0, Y+11\n\t"
                           "sbrc r0, 0\n\t" BP_CALL(sigmoid)
                           "ldd r26, Y+9\n\t"
                           "ldd r27, Y+10\n\t"
                           "st X+, r16\n\t"
                           "st X+, r17\n\t"
                           "std Y+9, r26\n\t"
                           "std Y+10, r27\n\t" BP_COUNT_DOWN
                           "brne 1b\n\t"
                           "ldi r18, 11\n"
                           "2:\n\t"
                           "pop r0\n\t"
                           "dec r18\n\t"
                           "brne 2b\n\t" BP_JUMP(leave),
             BP_ENTERS, BP_CALLS(scaled), BP_CALLS(pass), BP_CALLS(narrow), BP_CALLS(sigmoid))

#define BP_FAST_DENSE

static inline void bp_avr_layer(int16_t *z, const bp_layer_t *layer, const int16_t *w,
                                const int16_t *b, const int16_t *a_in, uint8_t activates)
{
    register uint8_t r19 __asm__("r19") = activates;
    register int16_t *r20 __asm__("r20") = z;
    register const int16_t *r22 __asm__("r22") = b;
    register const int16_t *r24 __asm__("r24") = w;

    __asm__ __volatile__("%~call %x[dense]"
                         : "+z"(layer), "+x"(a_in), "+r"(r19), "+r"(r20), "+r"(r22), "+r"(r24)
                         : BP_CALLS(dense)
                         : "r16", "r17", "r18", BP_CLOBBERS);
}

void bp_dense(int16_t *z, const bp_layer_t *layer, const int16_t *w, const int16_t *b,
              const int16_t *a_in, bp_counters_t *counters)
{
    (void)counters;
    bp_avr_layer(z, layer, w, b, a_in, 0);
}

void bp_dense_sigmoid(int16_t *a, const bp_layer_t *layer, const int16_t *w, const int16_t *b,
                      const int16_t *a_in, bp_counters_t *counters)
{
    (void)counters;
    bp_avr_layer(a, layer, w, b, a_in, 1);
}

/* a in place: X a, the table in r25:r24, bits in r23, frac in r22, r19:r18 how many. They stay in
 * r7..r4 and r9:r8, and Y is for a.
 */
BP_ASM_CALLS(bp_avr_sigmoids, BP_ENTER
                              "movw r28, r26\n\t"
                              "movw r4, r22\n\t"
                              "movw r6, r24\n\t"
                              "movw r8, r18\n"
                              "1:\n\t"
                              "ld r16, Y\n\t"
                              "ldd r17, Y+1\n\t"
                              "movw r22, r4\n\t"
                              "movw r24, r6\n\t" BP_CALL(sigmoid)
                              "st Y+, r16\n\t"
                              "st Y+, r17\n\t" BP_COUNT_DOWN
                              "brne 1b\n\t" BP_JUMP(leave),
             BP_ENTERS, BP_CALLS(sigmoid))

#define BP_FAST_SIGMOID

void bp_sigmoid(int16_t *a, const uint16_t *table, uint8_t bits, uint8_t frac, size_t n)
{
    register size_t r18 __asm__("r18") = n;
    register uint8_t r22 __asm__("r22") = frac;
    register uint8_t r23 __asm__("r23") = bits;
    register const uint16_t *r24 __asm__("r24") = table;

    __asm__ __volatile__("%~call %x[sigmoids]"
                         : "+x"(a), "+r"(r18), "+r"(r22), "+r"(r23), "+r"(r24)
                         : BP_CALLS(sigmoids)
                         : "r16", "r17", "r20", "r21", "r30", "r31", BP_CLOBBERS);
}

#endif

/* bpgen_avr_shifts.h -- passes over layers on AVR cores, with shifts that few learning rates have.
 *
 * bpgen_avr_update.h includes this, and its passes do the shift that most rates have, 8 or, with
 * dither, 16. What is here stands behind a pass, with its labels and registers: loops that drop a
 * byte more, and a subroutine for all other shifts.
 * SPDX-License-Identifier: 0BSD
 */
#ifndef BPGEN_AVR_SHIFTS_H
#define BPGEN_AVR_SHIFTS_H

#include "bpgen_master_avr.h"

/* ---- Any shift ------------------------------------------------------------------------------- */

/* r16 = the bytes that the shift in r5 drops. */
#define BP_AVR_BYTES_DROPPED                                                                       \
    "mov r16, r5\n\t"                                                                              \
    "lsr r16\n\t"                                                                                  \
    "lsr r16\n\t"                                                                                  \
    "lsr r16\n\t"                                                                                  \
    "andi r16, 3\n\t"

/* From p * u to g * u. */
#define BP_AVR_NEGATE_PRODUCT                                                                      \
    "com r25\n\t"                                                                                  \
    "com r24\n\t"                                                                                  \
    "com r23\n\t"                                                                                  \
    "neg r22\n\t"                                                                                  \
    "sbci r23, 0xFF\n\t"                                                                           \
    "sbci r24, 0xFF\n\t"                                                                           \
    "sbci r25, 0xFF\n\t"

/* Subroutine 75 makes the product with the first u, which then trades places with the second; 77
 * has it made. Both go on with g * u.
 */
#define BP_AVR_ANY_PRODUCT                                                                         \
    "75:\n"                                                                                        \
    "movw r24, r20\n\t"                                                                            \
    "movw r20, r18\n\t"                                                                            \
    "movw r18, r24\n\t"                                                                            \
    BP_AVR_SIGNED("r18", "r19")                                                                    \
    "77:\n"                                                                                        \
    BP_AVR_NEGATE_PRODUCT

/* The master takes that as an addition, byte by byte. The highest bit of the last byte dropped
 * rounds; the fourth byte of the sum must repeat the sign of the third.
 */
#define BP_AVR_ANY24                                                                               \
    BP_AVR_ANY_PRODUCT                                                                             \
    "push r16\n\t"                                                                                 \
    "push r17\n\t"                                                                                 \
    BP_AVR_BYTES_DROPPED                                                                           \
    "clr r17\n\t"                                                                                  \
    "78:\n"                                                                                        \
    "tst r16\n\t"                                                                                  \
    "breq 79f\n\t"                                                                                 \
    "mov r17, r22\n\t"                                                                             \
    "mov r22, r23\n\t"                                                                             \
    "mov r23, r24\n\t"                                                                             \
    "mov r24, r25\n\t"                                                                             \
    "lsl r25\n\t"                                                                                  \
    "sbc r25, r25\n\t"                                                                             \
    "dec r16\n\t"                                                                                  \
    "rjmp 78b\n\t"                                                                                 \
    "79:\n"                                                                                        \
    "lsl r17\n\t"                                                                                  \
    "ld r17, Y\n\t"                                                                                \
    "adc r22, r17\n\t"                                                                             \
    "ld r17, Z\n\t"                                                                                \
    "adc r23, r17\n\t"                                                                             \
    "ldd r17, Z+1\n\t"                                                                             \
    "adc r24, r17\n\t"                                                                             \
    "adc r25, r2\n\t"                                                                              \
    "sbrc r17, 7\n\t"                                                                              \
    "dec r25\n\t"                                                                                  \
    "mov r17, r24\n\t"                                                                             \
    "lsl r17\n\t"                                                                                  \
    "sbc r17, r17\n\t"                                                                             \
    "cp r17, r25\n\t"                                                                              \
    "breq 78f\n\t"                                                                                 \
    "lsl r25\n\t"                                                                                  \
    "sbc r22, r22\n\t"                                                                             \
    "com r22\n\t"                                                                                  \
    "mov r23, r22\n\t"                                                                             \
    "mov r24, r22\n\t"                                                                             \
    "subi r24, 0x80\n\t"                                                                           \
    "78:\n"                                                                                        \
    "st Y+, r22\n\t"                                                                               \
    "st Z+, r23\n\t"                                                                               \
    "st Z+, r24\n\t"                                                                               \
    "pop r17\n\t"                                                                                  \
    "pop r16\n\t"                                                                                  \
    "ret\n\t"

/* The same with what the dither lacks in Y. The dither goes before the last two bytes dropped
 * where two or three are, its upper byte alone where one is, and nowhere where none is. Subroutine
 * 76 drops a byte.
 */
#define BP_AVR_ANY16                                                                               \
    BP_AVR_ANY_PRODUCT                                                                             \
    "com r28\n\t"                                                                                  \
    "com r29\n\t"                                                                                  \
    "push r16\n\t"                                                                                 \
    BP_AVR_BYTES_DROPPED                                                                           \
    "breq 79f\n\t"                                                                                 \
    "sbrs r16, 1\n\t"                                                                              \
    "rjmp 78f\n\t"                                                                                 \
    "sbrc r16, 0\n\t"                                                                              \
    "rcall 76f\n\t"                                                                                \
    "add r22, r28\n\t"                                                                             \
    "adc r23, r29\n\t"                                                                             \
    "adc r24, r2\n\t"                                                                              \
    "adc r25, r2\n\t"                                                                              \
    "rcall 76f\n\t"                                                                                \
    "rcall 76f\n\t"                                                                                \
    "rjmp 79f\n\t"                                                                                 \
    "78:\n"                                                                                        \
    "add r22, r29\n\t"                                                                             \
    "adc r23, r2\n\t"                                                                              \
    "adc r24, r2\n\t"                                                                              \
    "adc r25, r2\n\t"                                                                              \
    "rcall 76f\n\t"                                                                                \
    "79:\n"                                                                                        \
    "ld r16, Z\n\t"                                                                                \
    "add r22, r16\n\t"                                                                             \
    "ldd r16, Z+1\n\t"                                                                             \
    "adc r23, r16\n\t"                                                                             \
    "adc r24, r2\n\t"                                                                              \
    "adc r25, r2\n\t"                                                                              \
    "sbrs r16, 7\n\t"                                                                              \
    "rjmp 78f\n\t"                                                                                 \
    "subi r24, 1\n\t"                                                                              \
    "sbci r25, 0\n\t"                                                                              \
    "78:\n"                                                                                        \
    "mov r16, r23\n\t"                                                                             \
    "lsl r16\n\t"                                                                                  \
    "sbc r16, r16\n\t"                                                                             \
    "cp r16, r24\n\t"                                                                              \
    "cpc r16, r25\n\t"                                                                             \
    "breq 78f\n\t"                                                                                 \
    "lsl r25\n\t"                                                                                  \
    "sbc r22, r22\n\t"                                                                             \
    "com r22\n\t"                                                                                  \
    "mov r23, r22\n\t"                                                                             \
    "subi r23, 0x80\n\t"                                                                           \
    "78:\n"                                                                                        \
    "st Z+, r22\n\t"                                                                               \
    "st Z+, r23\n\t"                                                                               \
    "com r28\n\t"                                                                                  \
    "com r29\n\t"                                                                                  \
    "pop r16\n\t"                                                                                  \
    "ret\n\t"                                                                                      \
    "76:\n"                                                                                        \
    "mov r22, r23\n\t"                                                                             \
    "mov r23, r24\n\t"                                                                             \
    "mov r24, r25\n\t"                                                                             \
    "lsl r25\n\t"                                                                                  \
    "sbc r25, r25\n\t"                                                                             \
    "ret\n\t"

/* ---- Biases --------------------------------------------------------------------------------- */

/* Those that lose a byte, in 36 cycles each, and all others. */
#define BP_AVR_RARE_BIASES24                                                                       \
    "42:\n\t"                                                                                      \
    BP_AVR_LOAD_P BP_AVR_SCALED_P                                                                  \
    "mov r22, r25\n\t"                                                                             \
    "lsl r22\n\t"                                                                                  \
    "sbc r22, r22\n\t"                                                                             \
    "ldi r18, 0x80\n\t"                                                                            \
    "cp r18, r0\n\t"                                                                               \
    "ld r23, Y\n\t"                                                                                \
    "sbc r23, r24\n\t"                                                                             \
    "ld r24, Z\n\t"                                                                                \
    "sbc r24, r25\n\t"                                                                             \
    "ldd r25, Z+1\n\t"                                                                             \
    "sbc r25, r22\n\t"                                                                             \
    BP_AVR_STORE24("r23", "r24", "r25")                                                            \
    BP_AVR_NEXT_BIAS("42")                                                                         \
    "rjmp 47b\n"                                                                                   \
    BP_AVR_ANY_BIASES("")

#define BP_AVR_ANY_BIASES(next)                                                                    \
    "44:\n\t"                                                                                      \
    BP_AVR_LOAD_P BP_AVR_SCALED_P                                                                  \
    "mov r23, r0\n\t"                                                                              \
    "clr r22\n\t"                                                                                  \
    "brts 45f\n\t"                                                                                 \
    "mov r22, r23\n\t"                                                                             \
    "mov r23, r24\n\t"                                                                             \
    "mov r24, r25\n\t"                                                                             \
    "lsl r25\n\t"                                                                                  \
    "sbc r25, r25\n"                                                                               \
    "45:\n\t"                                                                                      \
    "rcall 77f\n\t"                                                                                \
    next                                                                                           \
    BP_AVR_NEXT_BIAS("44")                                                                         \
    "rjmp 47b\n"

#define BP_AVR_RARE_BIASES16                                                                       \
    "42:\n\t"                                                                                      \
    BP_AVR_LOAD_P BP_AVR_SCALED_P                                                                  \
    "mov r18, r25\n\t"                                                                             \
    "lsl r18\n\t"                                                                                  \
    "sbc r18, r18\n\t"                                                                             \
    "add r0, r28\n\t"                                                                              \
    "adc r24, r29\n\t"                                                                             \
    "ld r22, Z\n\t"                                                                                \
    "sbc r22, r25\n\t"                                                                             \
    "ldd r23, Z+1\n\t"                                                                             \
    "sbc r23, r18\n\t"                                                                             \
    BP_AVR_STORE16("r22", "r23")                                                                   \
    BP_AVR_NEXT_DITHER                                                                             \
    BP_AVR_NEXT_BIAS("42")                                                                         \
    "rjmp 47b\n"                                                                                   \
    BP_AVR_ANY_BIASES(BP_AVR_NEXT_DITHER)

/* ---- Weights -------------------------------------------------------------------------------- */

/* A shift of 16: 88 cycles for two weights. And other shifts. */
#define BP_AVR_RARE24                                                                              \
    "32:\n\t"                                                                                      \
    "sbrc r5, 4\n\t"                                                                               \
    "sbrc r5, 3\n\t"                                                                               \
    "rjmp 33f\n"                                                                                   \
    "35:\n\t"                                                                                      \
    "ld r16, X+\n\t"                                                                               \
    "ld r17, X+\n\t"                                                                               \
    BP_AVR_SIGNED("r20", "r21")                                                                    \
    BP_AVR_LOSE24_16                                                                               \
    BP_AVR_SIGNED("r18", "r19")                                                                    \
    BP_AVR_LOSE24_16                                                                               \
    "dec r10\n\t"                                                                                  \
    "breq .+2\n\t"                                                                                 \
    "rjmp 35b\n\t"                                                                                 \
    "dec r11\n\t"                                                                                  \
    "breq .+2\n\t"                                                                                 \
    "rjmp 35b\n\t"                                                                                 \
    "rjmp 34b\n"                                                                                   \
    "33:\n\t"                                                                                      \
    "ld r16, X+\n\t"                                                                               \
    "ld r17, X+\n\t"                                                                               \
    "rcall 75f\n\t"                                                                                \
    "rcall 75f\n\t"                                                                                \
    "dec r10\n\t"                                                                                  \
    "brne 33b\n\t"                                                                                 \
    "dec r11\n\t"                                                                                  \
    "brne 33b\n\t"                                                                                 \
    "rjmp 34b\n"                                                                                   \
    BP_AVR_ANY24

#define BP_AVR_ANY_OUTPUT16                                                                        \
    "ld r16, X+\n\t"                                                                               \
    "ld r17, X+\n\t"                                                                               \
    "rcall 75f\n\t"                                                                                \
    BP_AVR_NEXT_DITHER                                                                             \
    "rcall 75f\n\t"                                                                                \
    BP_AVR_NEXT_OUTPUT

/* A shift of 24, subroutine 74 an output: 90 cycles for two weights. And other shifts. */
#define BP_AVR_RARE16                                                                              \
    "32:\n\t"                                                                                      \
    "sbrs r5, 4\n\t"                                                                               \
    "rjmp 37f\n\t"                                                                                 \
    "sbrc r5, 2\n\t"                                                                               \
    "rjmp 39f\n"                                                                                   \
    "38:\n\t"                                                                                      \
    "rcall 74f\n"                                                                                  \
    "39:\n\t"                                                                                      \
    "rcall 74f\n\t"                                                                                \
    "dec r10\n\t"                                                                                  \
    "brne 38b\n\t"                                                                                 \
    "dec r11\n\t"                                                                                  \
    "brne 38b\n\t"                                                                                 \
    "rjmp 34b\n"                                                                                   \
    "37:\n\t"                                                                                      \
    "sbrc r5, 2\n\t"                                                                               \
    "rjmp 35f\n"                                                                                   \
    "33:\n\t"                                                                                      \
    BP_AVR_ANY_OUTPUT16                                                                            \
    "35:\n\t"                                                                                      \
    BP_AVR_ANY_OUTPUT16                                                                            \
    "dec r10\n\t"                                                                                  \
    "brne 33b\n\t"                                                                                 \
    "dec r11\n\t"                                                                                  \
    "brne 33b\n\t"                                                                                 \
    "rjmp 34b\n"                                                                                   \
    "74:\n\t"                                                                                      \
    BP_AVR_OUTPUT16(BP_AVR_LOSE16_24)                                                              \
    "ret\n"                                                                                        \
    BP_AVR_ANY16

#endif

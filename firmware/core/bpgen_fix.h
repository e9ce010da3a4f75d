/* bpgen_fix.h -- fixed-point primitives: rounding, saturation, flash access, counters.
 *
 * Every function here is one line of docs/numbers.md. Nothing depends on a model.
 * SPDX-License-Identifier: 0BSD
 */
#ifndef BPGEN_FIX_H
#define BPGEN_FIX_H

#include <limits.h>
#include <stddef.h>
#include <stdint.h>

/* Generated code refuses to compile against a core with another number. */
#define BPGEN_CORE_ABI 6

/* 1 in the copy of the core that --optimize size makes: kernels that take little flash. */
#ifndef BP_SMALL
#define BP_SMALL 0
#endif

/* C99 has no _Static_assert under -pedantic. */
#define BP_STATIC_ASSERT(condition, name) typedef char bp_assert_##name[(condition) ? 1 : -1]

BP_STATIC_ASSERT(CHAR_BIT == 8, bytes_have_8_bits);
BP_STATIC_ASSERT((-3 >> 1) == -2, right_shift_is_arithmetic);
BP_STATIC_ASSERT((int16_t)65535u == -1, narrowing_keeps_the_low_bits);

/* Constants in flash. On AVR flash is another address space, read through these functions only,
 * which reach its first 64 KB.
 */
#if defined(__AVR__)
#include <avr/pgmspace.h>
#define BP_ROM PROGMEM
static inline void bp_rom_copy(uint8_t *to, const uint8_t *from, size_t n)
{
    (void)memcpy_P(to, from, n);
}
static inline int16_t bp_rom_s16(const int16_t *p) { return (int16_t)pgm_read_word(p); }
static inline uint16_t bp_rom_u16(const uint16_t *p) { return pgm_read_word(p); }
static inline uint8_t bp_rom_u8(const uint8_t *p) { return pgm_read_byte(p); }
static inline int32_t bp_rom_s32(const int32_t *p) { return (int32_t)pgm_read_dword(p); }
static inline uint32_t bp_rom_u32(const uint32_t *p) { return pgm_read_dword(p); }
#else
#define BP_ROM
static inline void bp_rom_copy(uint8_t *to, const uint8_t *from, size_t n)
{
    for (; n != 0; n--) {
        *to++ = *from++;
    }
}
static inline int16_t bp_rom_s16(const int16_t *p) { return *p; }
static inline uint16_t bp_rom_u16(const uint16_t *p) { return *p; }
static inline uint8_t bp_rom_u8(const uint8_t *p) { return *p; }
static inline int32_t bp_rom_s32(const int32_t *p) { return *p; }
static inline uint32_t bp_rom_u32(const uint32_t *p) { return *p; }
#endif

/* s8 weights in flash, those of two inputs at a time. AVR cores, which multiply bytes without sign
 * faster, have w + 128 there.
 */
#if defined(__AVR__)
typedef uint8_t bp_w8_t;
#define BP_W8(w, w_next) (w) + 128, (w_next) + 128
static inline int8_t bp_rom_w8(const bp_w8_t *p) { return (int8_t)(pgm_read_byte(p) - 128); }
#else
typedef int8_t bp_w8_t;
#define BP_W8(w, w_next) (w), (w_next)
static inline int8_t bp_rom_w8(const bp_w8_t *p) { return *p; }
#endif

static inline void bp_clear(uint8_t *p, size_t n)
{
    for (; n != 0; n--) {
        *p++ = 0;
    }
}

/* Of arrays that kernels read by words. */
#if defined(__GNUC__) && !defined(__AVR__)
#define BP_ALIGNED __attribute__((aligned(4)))
#else
#define BP_ALIGNED
#endif

/* Counters of what was clipped or lost; they wrap. Compile every file with -DBPGEN_COUNTERS=1 to
 * have them in the state. Files that disagree do not link: see bp_counters_agree().
 */
#ifndef BPGEN_COUNTERS
#define BPGEN_COUNTERS 0
#endif

typedef struct {
    uint32_t inputs;       /* elements of a0 clipped by the input rule */
    uint32_t activations;  /* elements of z clipped */
    uint32_t deltas;       /* clips of a back-propagated sum, and of dz */
    uint32_t weights;      /* clips of a master weight or of a velocity */
    uint32_t zero_updates; /* gradients that are not 0 but moved nothing */
} bp_counters_t;

#if BPGEN_COUNTERS
#define BP_COUNTERS(s) (&(s)->counters)
#define BP_COUNTER(counters, field) (&(counters)->field)
#define BP_COUNT(counter) ((void)++*(counter))
#else
#define BP_COUNTERS(s) ((bp_counters_t *)0)
#define BP_COUNTER(counters, field) ((void)(counters), (uint32_t *)0)
#define BP_COUNT(counter) ((void)(counter))
#endif

/* floor(x * 2^-shift): the one right shift of negative numbers, arithmetic as asserted above. */
static inline int32_t bp_shr32(int32_t x, uint8_t shift)
{
#if defined(__AVR__)
    /* It shifts by single bits, but whole bytes are free. */
    if (shift >= 16) {
        x >>= 16;
        shift = (uint8_t)(shift - 16);
    }
    if (shift >= 8) {
        x >>= 8;
        shift = (uint8_t)(shift - 8);
    }
#endif
    return x >> shift;
}

static inline int64_t bp_shr64(int64_t x, uint8_t shift) { return x >> shift; }

#if defined(__AVR_HAVE_MUL__) && defined(__OPTIMIZE__) && !defined(BP_PORTABLE)
#define BP_AVR 1

/* round(x, shift) for shifts of 9 to 16, where the result has 24 bits: x * 2^(16 - shift), of which
 * the upper bytes count, in 18 cycles.
 */
static inline int32_t bp_avr_round32(int32_t x, uint8_t scale)
{
    int32_t y;

    __asm__("mul %B[x], %[scale]\n\t"
            "mov %D[y], r0\n\t"
            "mov %A[y], r1\n\t"
            "mul %C[x], %[scale]\n\t"
            "or %A[y], r0\n\t"
            "mov %B[y], r1\n\t"
            "mulsu %D[x], %[scale]\n\t"
            "or %B[y], r0\n\t"
            "mov %C[y], r1\n\t"
            "clr __zero_reg__\n\t"
            "lsl %D[y]\n\t"
            "adc %A[y], __zero_reg__\n\t"
            "adc %B[y], __zero_reg__\n\t"
            "adc %C[y], __zero_reg__\n\t"
            "mov %D[y], %C[y]\n\t"
            "lsl %D[y]\n\t"
            "sbc %D[y], %D[y]"
            : [y] "=&r"(y)
            : [x] "a"(x), [scale] "a"(scale)
            : "r0");
    return y;
}
#else
#define BP_AVR 0
#endif

/* x * 2^-shift, halves up; x + 2^(shift-1) must fit. */
static inline int32_t bp_round32(int32_t x, uint8_t shift)
{
#if BP_AVR
    if (__builtin_constant_p(shift) && shift > 8 && shift <= 16) {
        return bp_avr_round32(x, (uint8_t)(1u << (16 - shift)));
    }
#endif
    return shift == 0 ? x : bp_shr32(x + ((int32_t)1 << (shift - 1)), shift);
}

static inline int64_t bp_round64(int64_t x, uint8_t shift)
{
    return shift == 0 ? x : bp_shr64(x + ((int64_t)1 << (shift - 1)), shift);
}

/* x clipped to [-top, top]. */
static inline int16_t bp_clamp(int32_t x, int16_t top, uint32_t *clipped)
{
    if (x > top) {
        BP_COUNT(clipped);
        return top;
    }
    if (x < -(int32_t)top) {
        BP_COUNT(clipped);
        return (int16_t)-top;
    }
    return (int16_t)x;
}

/* x clipped to s32. */
static inline int32_t bp_saturate32(int64_t x)
{
    return x > INT32_MAX ? INT32_MAX : x < INT32_MIN ? INT32_MIN : (int32_t)x;
}

/* x clipped to s24, symmetric. */
static inline int32_t bp_clamp24(int32_t x, uint32_t *clipped)
{
    if (x > 8388607) {
        BP_COUNT(clipped);
        return 8388607;
    }
    if (x < -8388607) {
        BP_COUNT(clipped);
        return -8388607;
    }
    return x;
}

static inline int32_t bp_clamp24_wide(int64_t x, uint32_t *clipped)
{
    return bp_clamp24(bp_saturate32(x), clipped);
}

#endif

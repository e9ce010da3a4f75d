/* bpgen_avx512_forward.h -- dense layers with AVX-512, 16 outputs at a time.
 *
 * A vector has the weights of two inputs for 16 outputs, a word for each output: in its lower half
 * that of the even input. Masks leave out what is beyond the outputs. bpgen_lanes_forward.h alone
 * includes this; the portable C says what each of these computes.
 * SPDX-License-Identifier: 0BSD
 */
#ifndef BPGEN_AVX512_FORWARD_H
#define BPGEN_AVX512_FORWARD_H

#define WORDS 16

/* Layers of so few outputs are faster without: what a mask stores cannot be loaded at once. */
#define NARROW 8

/* Of n outputs from the first of a vector on, those in it. */
INLINE __mmask16 outputs_in(size_t n) { return (__mmask16)(n < WORDS ? (1u << n) - 1 : 0xFFFFu); }

/* s16 or u8 as words, and words as s16; what the mask leaves out is 0, or is not stored. */
INLINE __m512i words_of_s16(__mmask16 mask, const int16_t *x)
{
    return _mm512_cvtepi16_epi32(_mm256_maskz_loadu_epi16(mask, x));
}

INLINE __m512i words_of_u8(__mmask16 mask, const uint8_t *x)
{
    return _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(mask, x));
}

INLINE void store_s16(int16_t *to, __mmask16 mask, __m512i words)
{
    _mm256_mask_storeu_epi16(to, mask, _mm512_cvtepi32_epi16(words));
}

/* Two numbers of 16 bits, the first in the lower half. */
INLINE __m512i pair_of(int16_t first, int16_t second)
{
    return _mm512_set1_epi32((int32_t)((uint16_t)first | (uint32_t)(uint16_t)second << 16));
}

INLINE __m512i all(int32_t x) { return _mm512_set1_epi32(x); }

INLINE __m512i clip_words(__m512i x, int32_t lowest, int32_t top)
{
    return _mm512_min_epi32(_mm512_max_epi32(x, all(lowest)), all(top));
}

/* floor((x + half) * 2^-shift) */
INLINE __m512i round_words(__m512i x, uint8_t shift)
{
    return _mm512_srav_epi32(_mm512_add_epi32(x, all(half_of(shift))), all(shift));
}

/* ---- Forward -------------------------------------------------------------------------------- */

/* A sum is high * 2^15 + low, as in dense_lanes(). */
INLINE void dense_words(int16_t *z, const bp_layer_t *layer, const int16_t *w, const int16_t *b,
                        const int16_t *a_in, __mmask16 mask)
{
    const size_t stride = 2 * (size_t)layer->outputs;
    const uint8_t shift = (uint8_t)layer->z_shift;
    const uint8_t low_shift = shift < 15 ? shift : 15;
    const size_t pairs = layer->block / 2;
    const __m512i bias = _mm512_sllv_epi32(words_of_s16(mask, b), all(layer->a_in_frac));
    const __m512i start = _mm512_add_epi32(bias, all(half_of(shift)));
    __m512i low = _mm512_and_si512(start, all(32767));
    __m512i high = _mm512_srai_epi32(start, 15);
    size_t left = even_inputs(layer) / 2;

    do {
        size_t n = left < pairs ? left : pairs;

        left -= n;
        do {
            __m512i weights = _mm512_maskz_loadu_epi32(mask, w);
            __m512i inputs = pair_of(a_in[0], a_in[1]);

            low = _mm512_add_epi32(low, _mm512_madd_epi16(weights, inputs));
            a_in += 2;
            w += stride;
        } while (--n != 0);
        high = _mm512_add_epi32(high, _mm512_srai_epi32(low, 15));
        low = _mm512_and_si512(low, all(32767));
    } while (left != 0);
    /* Beyond 32 bits the sum is beyond s16 after the shift. */
    high = clip_words(_mm512_srav_epi32(high, all(shift - low_shift)), -65536, 65535);
    low = _mm512_add_epi32(_mm512_slli_epi32(high, 15), low);
    low = _mm512_srav_epi32(low, all(low_shift));
    store_s16(z, mask, clip_words(low, layer->z_lowest, layer->z_top));
}

NOINLINE void wide_dense(int16_t *z, const bp_layer_t *layer, const int16_t *w, const int16_t *b,
                         const int16_t *a_in)
{
    const bp_layer_t l = *layer;
    size_t j;

    for (j = 0; j < l.outputs; j += WORDS) {
        dense_words(z + j, &l, w + 2 * j, b + j, a_in, outputs_in(l.outputs - j));
    }
}

#endif

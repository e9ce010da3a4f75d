/* bpgen_avx512_update.h -- residual updates with AVX-512, 16 outputs at a time.
 *
 * Vectors are those of bpgen_avx512_forward.h. bpgen_lanes_update.h alone includes this; the
 * portable C says what each of these computes.
 * SPDX-License-Identifier: 0BSD
 */
#ifndef BPGEN_AVX512_UPDATE_H
#define BPGEN_AVX512_UPDATE_H

/* The lower half of each word from one vector, the upper from another. */
INLINE __m512i join_halves(__m512i lower, __m512i upper)
{
    return _mm512_mask_blend_epi16(0x55555555u, upper, lower);
}

/* The masters after a step. */
INLINE __m512i step_words(__m512i masters, __m512i step)
{
    return clip_words(_mm512_add_epi32(masters, step), -8388608, 8388607);
}

/* The weights of two inputs, whose u0 and u1 are in all words of u. */
INLINE void residual_row(int16_t *w, uint8_t *w_low, __mmask16 mask, __m512i g, __m512i u,
                         uint8_t shift)
{
    const __m512i byte = all(255);
    const __m512i words = _mm512_maskz_loadu_epi32(mask, w);
    const __m512i lows = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, w_low));
    __m512i even = _mm512_srai_epi32(_mm512_slli_epi32(words, 16), 8);
    /* Below the odd input's low byte is the other's, which the shift drops. */
    __m512i odd = _mm512_srai_epi32(join_halves(lows, words), 8);
    __m512i step0 = round_words(_mm512_madd_epi16(g, u), shift);
    __m512i step1 = round_words(_mm512_madd_epi16(_mm512_slli_epi32(g, 16), u), shift);

    even = step_words(_mm512_or_si512(even, _mm512_and_si512(lows, byte)), step0);
    odd = _mm512_slli_epi32(step_words(odd, step1), 8);
    _mm512_mask_storeu_epi32(w, mask, join_halves(_mm512_srli_epi32(even, 8), odd));
    even = _mm512_or_si512(_mm512_and_si512(byte, even), _mm512_andnot_si512(byte, odd));
    _mm256_mask_storeu_epi16(w_low, mask, _mm512_cvtepi32_epi16(even));
}

INLINE void wide_weights(int16_t *w, uint8_t *w_low, const bp_layer_t *layer, const int16_t *a_in,
                         const int16_t *g, bp_alignment_t alignment)
{
    const bp_layer_t l = *layer;
    const scale_t scale = scale_of(layer, alignment);
    size_t first, i, j;

    for (j = 0; j < l.outputs; j += WORDS) {
        const __mmask16 mask = outputs_in(l.outputs - j);
        /* Below an upper half of zero, so that a product with two u is that with the first. */
        const __m512i steps = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, g + j));

        /* Every other row, then the rest: a load that goes beyond its row waits for a store into
         * the next, even where a mask leaves that out.
         */
        for (first = 0; first < 4; first += 2) {
            for (i = first; i < l.inputs; i += 4) {
                const size_t at = i * l.outputs + 2 * j;
                int32_t u0 = bp_shr32(a_in[i] + scale.half, scale.right);
                int32_t u1 = bp_shr32(a_in[i + 1] + scale.half, scale.right);
                __m512i u = pair_of((int16_t)(u0 * ((int32_t)1 << scale.left)),
                                    (int16_t)(u1 * ((int32_t)1 << scale.left)));

                residual_row(w + at, w_low + at, mask, steps, u, (uint8_t)alignment.shift);
            }
        }
    }
}

INLINE void wide_biases(int16_t *b, uint8_t *b_low, const int16_t *g, size_t n,
                        bp_alignment_t alignment)
{
    size_t j;

    for (j = 0; j < n; j += WORDS) {
        const __mmask16 mask = outputs_in(n - j);
        __m512i steps = _mm512_sllv_epi32(words_of_s16(mask, g + j), all(alignment.frac));
        __m512i masters = _mm512_slli_epi32(words_of_s16(mask, b + j), 8);

        masters = _mm512_or_si512(masters, words_of_u8(mask, b_low + j));
        masters = step_words(masters, round_words(steps, (uint8_t)alignment.shift));
        store_s16(b + j, mask, _mm512_srai_epi32(masters, 8));
        _mm_mask_storeu_epi8(b_low + j, mask, _mm512_cvtepi32_epi8(masters));
    }
}

NOINLINE void wide_update(int16_t *w, uint8_t *w_low, int16_t *b, uint8_t *b_low,
                          const bp_layer_t *layer, const int16_t *a_in, const int16_t *g,
                          bp_alignment_t alignment)
{
    wide_weights(w, w_low, layer, a_in, g, alignment);
    wide_biases(b, b_low, g, layer->outputs, alignment);
}

#endif

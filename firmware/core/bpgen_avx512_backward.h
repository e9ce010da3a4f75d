/* bpgen_avx512_backward.h -- sums for deltas with AVX-512, 16 outputs at a time.
 *
 * Vectors are those of bpgen_avx512_forward.h. bpgen_lanes_backward.h alone includes this; the
 * portable C says what each of these computes.
 * SPDX-License-Identifier: 0BSD
 */
#ifndef BPGEN_AVX512_BACKWARD_H
#define BPGEN_AVX512_BACKWARD_H

/* As sums_of_inputs(), for n up to 2 * LANES. */
NOINLINE void wide_sums(int32_t *sum, const bp_layer_t *layer, const int16_t *w,
                        const int16_t *dz, size_t n)
{
    /* Of two outputs' words the lower halves, then the upper: products of both add up. */
    const __m512i halves = _mm512_broadcast_i32x4(
        _mm_setr_epi8(0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15));
    const size_t outputs = layer->outputs;
    const sum_t half = sum_of_half(layer);
    uint32_t low[2 * LANES];
    int32_t high[2 * LANES];
    size_t k, j;

    for (k = 0; k < n; k += 2) {
        __m512i lows = _mm512_setzero_si512();
        __m512i highs = lows;
        __m512i both;
        __m256i quarter;
        __m128i last;

        for (j = 0; j < outputs; j += WORDS) {
            const __mmask16 mask = outputs_in(outputs - j);
            __m512i weights = _mm512_maskz_loadu_epi32(mask, w + 2 * j);
            __m512i deltas = _mm512_cvtepu32_epi64(_mm256_maskz_loadu_epi16(mask, dz + j));
            __m512i blocks;

            deltas = _mm512_or_si512(deltas, _mm512_slli_epi64(deltas, 32));
            blocks = _mm512_madd_epi16(_mm512_shuffle_epi8(weights, halves), deltas);
            lows = _mm512_add_epi32(lows, blocks);
            highs = _mm512_add_epi32(highs, _mm512_srai_epi32(blocks, 16));
        }
        both = _mm512_add_epi32(_mm512_unpacklo_epi64(lows, highs),
                                _mm512_unpackhi_epi64(lows, highs));
        quarter = _mm256_add_epi32(_mm512_castsi512_si256(both),
                                   _mm512_extracti64x4_epi64(both, 1));
        last = _mm_add_epi32(_mm256_castsi256_si128(quarter),
                             _mm256_extracti128_si256(quarter, 1));
        _mm_storel_epi64((__m128i_u *)(void *)(low + k), last);
        _mm_storel_epi64((__m128i_u *)(void *)(high + k), _mm_unpackhi_epi64(last, last));
        w += 2 * outputs;
    }
    for (k = 0; k < n; k++) {
        sum_t s;

        s.low = low[k] + half.low;
        s.high = high[k] + half.high;
        sum[k] = shift_sum(s, layer->sum_shift);
    }
}

#endif

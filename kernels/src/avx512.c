/* AVX-512 with VPOPCNTDQ: 16 channels a register, two registers a block. */
#include "instructions.h"

#if defined(__x86_64__)
#include <immintrin.h>

#include "x86.h"

#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vpopcntdq")))

static int usable(void) {
  const unsigned f = 1u << 16, dq = 1u << 17, bw = 1u << 30, vl = 1u << 31, vpopcntdq = 1u << 14;
  return sbn_x86_has(f | dq | bw | vl, vpopcntdq, SBN_SAVES_ZMM);
}

/* `pixels` is a constant where this is inlined, so the sums stay in registers. */
static inline __attribute__((always_inline)) AVX512 void count_of(const uint32_t *x, size_t stride,
                                                                  int pixels, size_t words,
                                                                  const uint32_t *weights,
                                                                  int32_t *sums) {
  __m512i low[SBN_PIXELS], high[SBN_PIXELS];
  SBN_UNROLL
  for (int pixel = 0; pixel < pixels; ++pixel) low[pixel] = high[pixel] = _mm512_setzero_si512();
  for (size_t word = 0; word < words; ++word) {
    __m512i w0 = _mm512_loadu_si512(weights + word * SBN_LANES);
    __m512i w1 = _mm512_loadu_si512(weights + word * SBN_LANES + 16);
    SBN_UNROLL
    for (int pixel = 0; pixel < pixels; ++pixel) {
      __m512i value = _mm512_set1_epi32((int)x[(size_t)pixel * stride + word]);
      low[pixel] = _mm512_add_epi32(low[pixel], _mm512_popcnt_epi32(_mm512_xor_si512(value, w0)));
      high[pixel] = _mm512_add_epi32(high[pixel], _mm512_popcnt_epi32(_mm512_xor_si512(value, w1)));
    }
  }
  SBN_UNROLL
  for (int pixel = 0; pixel < pixels; ++pixel) {
    _mm512_storeu_si512(sums + pixel * SBN_LANES, low[pixel]);
    _mm512_storeu_si512(sums + pixel * SBN_LANES + 16, high[pixel]);
  }
}

static AVX512 void count(const uint32_t *x, size_t stride, int pixels, size_t words,
                         const uint32_t *weights, int32_t *sums) {
  switch (pixels) {
    case 1:
      count_of(x, stride, 1, words, weights, sums);
      break;
    case 2:
      count_of(x, stride, 2, words, weights, sums);
      break;
    case 3:
      count_of(x, stride, 3, words, weights, sums);
      break;
    case 4:
      count_of(x, stride, 4, words, weights, sums);
      break;
    case 5:
      count_of(x, stride, 5, words, weights, sums);
      break;
    case 6:
      count_of(x, stride, 6, words, weights, sums);
      break;
    case 7:
      count_of(x, stride, 7, words, weights, sums);
      break;
    default:
      count_of(x, stride, 8, words, weights, sums);
      break;
  }
}

static AVX512 void compare(const int32_t *sums, int pixels, const int32_t *thresholds, uint32_t *out,
                           size_t stride) {
  __m512i t0 = _mm512_loadu_si512(thresholds), t1 = _mm512_loadu_si512(thresholds + 16);
  for (int pixel = 0; pixel < pixels; ++pixel) {
    const int32_t *row = sums + pixel * SBN_LANES;
    uint32_t low = _mm512_cmpgt_epi32_mask(_mm512_loadu_si512(row), t0);
    uint32_t high = _mm512_cmpgt_epi32_mask(_mm512_loadu_si512(row + 16), t1);
    out[(size_t)pixel * stride] = low | high << 16;
  }
}

static AVX512 void scale(const int32_t *sums, int pixels, const int32_t *const *base,
                         const sbn_affine *affine, const float *residual, float *out, size_t stride,
                         int lanes, uint32_t *bits) {
  const __m512i low = _mm512_set1_epi32(affine->low), high = _mm512_set1_epi32(affine->high);
  const __m512 zero = _mm512_setzero_ps();
  for (int pixel = 0; bits != NULL && pixel < pixels; ++pixel) bits[pixel] = 0;
  for (int part = 0; part < lanes; part += 16) {
    __mmask16 mask = lanes - part >= 16 ? 0xffff : (__mmask16)((1u << (lanes - part)) - 1);
    __m512 multiplier = _mm512_loadu_ps(affine->multiplier + part);
    __m512 bias = _mm512_loadu_ps(affine->bias + part);
    for (int pixel = 0; pixel < pixels; ++pixel) {
      size_t at = (size_t)pixel * stride + (size_t)part;
      __m512i p = _mm512_loadu_si512(sums + pixel * SBN_LANES + part);
      __m512i x = _mm512_sub_epi32(_mm512_loadu_si512(base[pixel] + part), _mm512_add_epi32(p, p));
      x = _mm512_min_epi32(_mm512_max_epi32(x, low), high);
      __m512 y = _mm512_add_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(x), multiplier), bias);
      if (residual != NULL) y = _mm512_add_ps(y, _mm512_maskz_loadu_ps(mask, residual + at));
      if (affine->has_relu) y = _mm512_max_ps(y, zero);
      if (out != NULL) _mm512_mask_storeu_ps(out + at, mask, y);
      if (bits != NULL) bits[pixel] |= (uint32_t)_mm512_cmp_ps_mask(y, zero, _CMP_LT_OQ) << part;
    }
  }
}

static AVX512 void pack_float(const float *x, size_t words, uint32_t *out) {
  const __m512 zero = _mm512_setzero_ps();
  for (size_t word = 0; word < words; ++word, x += 32) {
    uint32_t low = _mm512_cmp_ps_mask(_mm512_loadu_ps(x), zero, _CMP_LT_OQ);
    uint32_t high = _mm512_cmp_ps_mask(_mm512_loadu_ps(x + 16), zero, _CMP_LT_OQ);
    out[word] = low | high << 16;
  }
}

static AVX512 void pack_int8(const int8_t *x, int8_t zero, size_t words, uint32_t *out) {
  const __m256i zeros = _mm256_set1_epi8(zero);
  for (size_t word = 0; word < words; ++word, x += 32) {
    out[word] = _mm256_cmplt_epi8_mask(_mm256_loadu_si256((const __m256i *)x), zeros);
  }
}

const sbn_instructions sbn_avx512 = {"avx512", usable, count, compare, scale, pack_float, pack_int8};
#endif

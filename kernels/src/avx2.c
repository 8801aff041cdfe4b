/* AVX2, which has no population count: ones are looked up, four bits at a time.
 *
 * Values and kernels are split into their low and high halves of a byte before they meet, values once a
 * tile and kernels once for eight pixels, so that a register of 8 channels costs two xor, two shuffles
 * and two additions of bytes. A byte gains at most 8 a word, so after 31 words bytes become 32-bit sums.
 */
#include "instructions.h"

#if defined(__x86_64__)
#include <immintrin.h>

#include "x86.h"

#define AVX2 __attribute__((target("avx2")))

enum { PART = 31 };

static int usable(void) { return sbn_x86_has(1u << 5, 0, SBN_SAVES_YMM); }

static inline __attribute__((always_inline)) AVX2 void count_part(const uint32_t (*halves)[2 * PART],
                                                                  int pixels, int words,
                                                                  const uint32_t *weights,
                                                                  int32_t *sums) {
  const __m256i ones = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1, 1, 2, 1, 2,
                                        2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
  const __m256i mask = _mm256_set1_epi8(15);
  __m256i bytes[SBN_PIXELS];
  SBN_UNROLL
  for (int pixel = 0; pixel < pixels; ++pixel) bytes[pixel] = _mm256_setzero_si256();
  for (int word = 0; word < words; ++word) {
    __m256i w = _mm256_loadu_si256((const __m256i *)(weights + word * SBN_LANES));
    __m256i low = _mm256_and_si256(w, mask);
    __m256i high = _mm256_and_si256(_mm256_srli_epi32(w, 4), mask);
    SBN_UNROLL
    for (int pixel = 0; pixel < pixels; ++pixel) {
      __m256i x0 = _mm256_xor_si256(low, _mm256_set1_epi32((int)halves[pixel][2 * word]));
      __m256i x1 = _mm256_xor_si256(high, _mm256_set1_epi32((int)halves[pixel][2 * word + 1]));
      bytes[pixel] = _mm256_add_epi8(bytes[pixel], _mm256_shuffle_epi8(ones, x0));
      bytes[pixel] = _mm256_add_epi8(bytes[pixel], _mm256_shuffle_epi8(ones, x1));
    }
  }
  SBN_UNROLL
  for (int pixel = 0; pixel < pixels; ++pixel) {
    __m256i pairs = _mm256_maddubs_epi16(bytes[pixel], _mm256_set1_epi8(1));
    __m256i *row = (__m256i *)(sums + pixel * SBN_LANES);
    __m256i total = _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
    _mm256_storeu_si256(row, _mm256_add_epi32(_mm256_loadu_si256(row), total));
  }
}

static AVX2 void count(const uint32_t *x, size_t stride, int pixels, size_t words,
                       const uint32_t *weights, int32_t *sums) {
  uint32_t halves[SBN_PIXELS][2 * PART];
  for (int i = 0; i < pixels * SBN_LANES; i += 8) {
    _mm256_storeu_si256((__m256i *)(sums + i), _mm256_setzero_si256());
  }
  for (size_t done = 0; done < words; done += PART) {
    int part = words - done < PART ? (int)(words - done) : PART;
    for (int pixel = 0; pixel < pixels; ++pixel) {
      const uint32_t *row = x + (size_t)pixel * stride + done;
      for (int word = 0; word < part; ++word) {
        halves[pixel][2 * word] = row[word] & 0x0f0f0f0fu;
        halves[pixel][2 * word + 1] = (row[word] >> 4) & 0x0f0f0f0fu;
      }
    }
    for (int lane = 0; lane < SBN_LANES; lane += 8) {
      const uint32_t *w = weights + done * SBN_LANES + lane;
      switch (pixels) {
        case 1:
          count_part(halves, 1, part, w, sums + lane);
          break;
        case 2:
          count_part(halves, 2, part, w, sums + lane);
          break;
        case 3:
          count_part(halves, 3, part, w, sums + lane);
          break;
        case 4:
          count_part(halves, 4, part, w, sums + lane);
          break;
        case 5:
          count_part(halves, 5, part, w, sums + lane);
          break;
        case 6:
          count_part(halves, 6, part, w, sums + lane);
          break;
        case 7:
          count_part(halves, 7, part, w, sums + lane);
          break;
        default:
          count_part(halves, 8, part, w, sums + lane);
          break;
      }
    }
  }
}

static AVX2 void compare(const int32_t *sums, int pixels, const int32_t *thresholds, uint32_t *out,
                         size_t stride) {
  for (int pixel = 0; pixel < pixels; ++pixel) {
    uint32_t bits = 0;
    for (int lane = 0; lane < SBN_LANES; lane += 8) {
      __m256i sum = _mm256_loadu_si256((const __m256i *)(sums + pixel * SBN_LANES + lane));
      __m256i above = _mm256_cmpgt_epi32(sum, _mm256_loadu_si256((const __m256i *)(thresholds + lane)));
      bits |= (uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(above)) << lane;
    }
    out[(size_t)pixel * stride] = bits;
  }
}

static AVX2 void scale(const int32_t *sums, int pixels, const int32_t *const *base,
                       const sbn_affine *affine, const float *residual, float *out, size_t stride,
                       int lanes, uint32_t *bits) {
  const __m256i low = _mm256_set1_epi32(affine->low), high = _mm256_set1_epi32(affine->high);
  const __m256i order = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  const __m256 zero = _mm256_setzero_ps();
  for (int pixel = 0; bits != NULL && pixel < pixels; ++pixel) bits[pixel] = 0;
  for (int part = 0; part < lanes; part += 8) {
    __m256i mask = _mm256_cmpgt_epi32(_mm256_set1_epi32(lanes - part), order);
    __m256 multiplier = _mm256_loadu_ps(affine->multiplier + part);
    __m256 bias = _mm256_loadu_ps(affine->bias + part);
    for (int pixel = 0; pixel < pixels; ++pixel) {
      size_t at = (size_t)pixel * stride + (size_t)part;
      __m256i p = _mm256_loadu_si256((const __m256i *)(sums + pixel * SBN_LANES + part));
      __m256i x = _mm256_loadu_si256((const __m256i *)(base[pixel] + part));
      x = _mm256_sub_epi32(x, _mm256_add_epi32(p, p));
      x = _mm256_min_epi32(_mm256_max_epi32(x, low), high);
      __m256 y = _mm256_add_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(x), multiplier), bias);
      if (residual != NULL) y = _mm256_add_ps(y, _mm256_maskload_ps(residual + at, mask));
      if (affine->has_relu) y = _mm256_max_ps(y, zero);
      if (out != NULL) _mm256_maskstore_ps(out + at, mask, y);
      if (bits != NULL) {
        bits[pixel] |= (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(y, zero, _CMP_LT_OQ)) << part;
      }
    }
  }
}

static AVX2 void pack_float(const float *x, size_t words, uint32_t *out) {
  const __m256 zero = _mm256_setzero_ps();
  for (size_t word = 0; word < words; ++word, x += 32) {
    uint32_t bits = 0;
    for (int bit = 0; bit < 32; bit += 8) {
      __m256 below = _mm256_cmp_ps(_mm256_loadu_ps(x + bit), zero, _CMP_LT_OQ);
      bits |= (uint32_t)_mm256_movemask_ps(below) << bit;
    }
    out[word] = bits;
  }
}

static AVX2 void pack_int8(const int8_t *x, int8_t zero, size_t words, uint32_t *out) {
  const __m256i zeros = _mm256_set1_epi8(zero);
  for (size_t word = 0; word < words; ++word, x += 32) {
    __m256i below = _mm256_cmpgt_epi8(zeros, _mm256_loadu_si256((const __m256i *)x));
    out[word] = (uint32_t)_mm256_movemask_epi8(below);
  }
}

const sbn_instructions sbn_avx2 = {"avx2", usable, count, compare, scale, pack_float, pack_int8};
#endif

/* Portable C: what every other instruction set is compared with. */
#include "instructions.h"

static int always(void) { return 1; }

static inline uint32_t ones(uint32_t x) {
  x -= (x >> 1) & 0x55555555u;
  x = (x & 0x33333333u) + ((x >> 2) & 0x33333333u);
  x = (x + (x >> 4)) & 0x0f0f0f0fu;
  return (x * 0x01010101u) >> 24;
}

static void count(const uint32_t *x, size_t stride, int pixels, size_t words, const uint32_t *weights,
                  int32_t *sums) {
  for (int pixel = 0; pixel < pixels; ++pixel) {
    uint32_t total[SBN_LANES] = {0};
    for (size_t word = 0; word < words; ++word) {
      uint32_t value = x[(size_t)pixel * stride + word];
      const uint32_t *row = weights + word * SBN_LANES;
      for (int lane = 0; lane < SBN_LANES; ++lane) total[lane] += ones(value ^ row[lane]);
    }
    for (int lane = 0; lane < SBN_LANES; ++lane) sums[pixel * SBN_LANES + lane] = (int32_t)total[lane];
  }
}

static void compare(const int32_t *sums, int pixels, const int32_t *thresholds, uint32_t *out,
                    size_t stride) {
  for (int pixel = 0; pixel < pixels; ++pixel) {
    uint32_t bits = 0;
    for (int lane = 0; lane < SBN_LANES; ++lane) {
      bits |= (uint32_t)(sums[pixel * SBN_LANES + lane] > thresholds[lane]) << lane;
    }
    out[(size_t)pixel * stride] = bits;
  }
}

static void scale(const int32_t *sums, int pixels, const int32_t *const *base, const sbn_affine *affine,
                  const float *residual, float *out, size_t stride, int lanes, uint32_t *bits) {
  for (int pixel = 0; pixel < pixels; ++pixel) {
    float row[SBN_LANES];
    size_t first = (size_t)pixel * stride;
    for (int lane = 0; lane < lanes; ++lane) {
      int32_t x = base[pixel][lane] - 2 * sums[pixel * SBN_LANES + lane];
      x = x < affine->low ? affine->low : x > affine->high ? affine->high : x;
      float product = (float)x * affine->multiplier[lane];
      row[lane] = product + affine->bias[lane];
    }
    for (int lane = 0; residual != NULL && lane < lanes; ++lane)
      row[lane] += residual[first + (size_t)lane];
    for (int lane = 0; affine->has_relu && lane < lanes; ++lane)
      row[lane] = row[lane] > 0 ? row[lane] : 0;
    for (int lane = 0; out != NULL && lane < lanes; ++lane) out[first + (size_t)lane] = row[lane];
    if (bits == NULL) continue;
    bits[pixel] = 0;
    for (int lane = 0; lane < lanes; ++lane) bits[pixel] |= (uint32_t)(row[lane] < 0) << lane;
  }
}

static void pack_float(const float *x, size_t words, uint32_t *out) {
  for (size_t word = 0; word < words; ++word) {
    uint32_t bits = 0;
    for (int bit = 0; bit < 32; ++bit) bits |= (uint32_t)(x[word * 32 + (size_t)bit] < 0) << bit;
    out[word] = bits;
  }
}

static void pack_int8(const int8_t *x, int8_t zero, size_t words, uint32_t *out) {
  for (size_t word = 0; word < words; ++word) {
    uint32_t bits = 0;
    for (int bit = 0; bit < 32; ++bit) bits |= (uint32_t)(x[word * 32 + (size_t)bit] < zero) << bit;
    out[word] = bits;
  }
}

const sbn_instructions sbn_portable = {"portable", always, count, compare, scale, pack_float, pack_int8};

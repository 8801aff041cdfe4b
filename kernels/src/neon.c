/* NEON of 64-bit ARM: four channels a register. CNT counts the ones of bytes; a byte gains at most 8 a
 * word, so bytes are added for up to 31 words and then widened. A dot product with ones would widen for
 * nothing, but is one instruction a register and word as the addition of bytes is, so it gains nothing.
 */
#include "instructions.h"

#if defined(__aarch64__)
#include <arm_neon.h>

enum { PART = 31, LANES = 16, PIXELS = 4 };

static int usable(void) { return 1; }

/* LANES channels by at most PIXELS pixels: 16 sums, 4 kernels and a value fit the 32 registers. */
static inline __attribute__((always_inline)) void count_part(const uint32_t *x, size_t stride, int pixels,
                                                             size_t words, const uint32_t *weights,
                                                             int32_t *sums, int is_first) {
  uint8x16_t bytes[PIXELS][LANES / 4];
  SBN_UNROLL
  for (int pixel = 0; pixel < pixels; ++pixel) {
    SBN_UNROLL
    for (int i = 0; i < LANES / 4; ++i) bytes[pixel][i] = vdupq_n_u8(0);
  }
  for (size_t word = 0; word < words; ++word) {
    const uint32_t *row = weights + word * SBN_LANES;
    uint8x16_t w[LANES / 4];
    SBN_UNROLL
    for (int i = 0; i < LANES / 4; ++i) w[i] = vreinterpretq_u8_u32(vld1q_u32(row + 4 * i));
    SBN_UNROLL
    for (int pixel = 0; pixel < pixels; ++pixel) {
      uint8x16_t value = vreinterpretq_u8_u32(vld1q_dup_u32(x + (size_t)pixel * stride + word));
      SBN_UNROLL
      for (int i = 0; i < LANES / 4; ++i) {
        bytes[pixel][i] = vaddq_u8(bytes[pixel][i], vcntq_u8(veorq_u8(value, w[i])));
      }
    }
  }
  SBN_UNROLL
  for (int pixel = 0; pixel < pixels; ++pixel) {
    SBN_UNROLL
    for (int i = 0; i < LANES / 4; ++i) {
      uint32_t *sum = (uint32_t *)sums + pixel * SBN_LANES + 4 * i;
      uint16x8_t pairs = vpaddlq_u8(bytes[pixel][i]);
      vst1q_u32(sum, is_first ? vpaddlq_u16(pairs) : vpadalq_u16(vld1q_u32(sum), pairs));
    }
  }
}

static inline __attribute__((always_inline)) void count_pixels(const uint32_t *x, size_t stride,
                                                               int pixels, size_t words,
                                                               const uint32_t *weights, int32_t *sums,
                                                               int is_first) {
  switch (pixels) {
    case 1:
      count_part(x, stride, 1, words, weights, sums, is_first);
      break;
    case 2:
      count_part(x, stride, 2, words, weights, sums, is_first);
      break;
    case 3:
      count_part(x, stride, 3, words, weights, sums, is_first);
      break;
    default:
      count_part(x, stride, 4, words, weights, sums, is_first);
      break;
  }
}

static void count(const uint32_t *x, size_t stride, int pixels, size_t words, const uint32_t *weights,
                  int32_t *sums) {
  for (size_t done = 0; done < words; done += PART) {
    size_t part = words - done < PART ? words - done : PART;
    for (int lane = 0; lane < SBN_LANES; lane += LANES) {
      const uint32_t *w = weights + done * SBN_LANES + lane;
      for (int pixel = 0; pixel < pixels; pixel += PIXELS) {
        const uint32_t *value = x + (size_t)pixel * stride + done;
        int32_t *sum = sums + pixel * SBN_LANES + lane;
        if (done == 0) {
          count_pixels(value, stride, pixels - pixel, part, w, sum, 1);
        } else {
          count_pixels(value, stride, pixels - pixel, part, w, sum, 0);
        }
      }
    }
  }
}

/* Bits of 32 masks: narrowed to bytes, each byte keeps its place in its group of 8, and groups are added.
 */
static inline uint32_t bits_of_words(const uint32x4_t *masks) {
  static const uint8_t places[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
  const uint8x16_t place = vld1q_u8(places);
  uint16x8_t halves[4];
  SBN_UNROLL
  for (int i = 0; i < 4; ++i) {
    halves[i] = vuzp1q_u16(vreinterpretq_u16_u32(masks[2 * i]), vreinterpretq_u16_u32(masks[2 * i + 1]));
  }
  uint8x16_t low = vuzp1q_u8(vreinterpretq_u8_u16(halves[0]), vreinterpretq_u8_u16(halves[1]));
  uint8x16_t high = vuzp1q_u8(vreinterpretq_u8_u16(halves[2]), vreinterpretq_u8_u16(halves[3]));
  uint8x16_t sums = vpaddq_u8(vandq_u8(low, place), vandq_u8(high, place));
  sums = vpaddq_u8(sums, sums);
  sums = vpaddq_u8(sums, sums);
  return vgetq_lane_u32(vreinterpretq_u32_u8(sums), 0);
}

static void compare(const int32_t *sums, int pixels, const int32_t *thresholds, uint32_t *out,
                    size_t stride) {
  int32x4_t limits[SBN_LANES / 4];
  SBN_UNROLL
  for (int i = 0; i < SBN_LANES / 4; ++i) limits[i] = vld1q_s32(thresholds + 4 * i);
  for (int pixel = 0; pixel < pixels; ++pixel) {
    uint32x4_t above[SBN_LANES / 4];
    SBN_UNROLL
    for (int i = 0; i < SBN_LANES / 4; ++i) {
      above[i] = vcgtq_s32(vld1q_s32(sums + pixel * SBN_LANES + 4 * i), limits[i]);
    }
    out[(size_t)pixel * stride] = bits_of_words(above);
  }
}

static void scale(const int32_t *sums, int pixels, const int32_t *const *base, const sbn_affine *affine,
                  const float *residual, float *out, size_t stride, int lanes, uint32_t *bits) {
  const int32x4_t low = vdupq_n_s32(affine->low), high = vdupq_n_s32(affine->high);
  const float32x4_t zero = vdupq_n_f32(0);
  for (int pixel = 0; pixel < pixels; ++pixel) {
    uint32x4_t below[SBN_LANES / 4];
    SBN_UNROLL
    for (int i = 0; i < SBN_LANES / 4; ++i) below[i] = vdupq_n_u32(0);
    for (int lane = 0; lane < lanes; lane += 4) {
      size_t at = (size_t)pixel * stride + (size_t)lane;
      int present = lanes - lane < 4 ? lanes - lane : 4;
      float rest[4] = {0};
      int32x4_t p = vld1q_s32(sums + pixel * SBN_LANES + lane);
      int32x4_t x = vsubq_s32(vld1q_s32(base[pixel] + lane), vaddq_s32(p, p));
      x = vminq_s32(vmaxq_s32(x, low), high);
      float32x4_t product = vmulq_f32(vcvtq_f32_s32(x), vld1q_f32(affine->multiplier + lane));
      float32x4_t y = vaddq_f32(product, vld1q_f32(affine->bias + lane));
      if (residual != NULL && present == 4) y = vaddq_f32(y, vld1q_f32(residual + at));
      if (residual != NULL && present < 4) {
        for (int i = 0; i < present; ++i) rest[i] = residual[at + (size_t)i];
        y = vaddq_f32(y, vld1q_f32(rest));
      }
      /* a maximum would keep what is no number */
      if (affine->has_relu) y = vbslq_f32(vcgtzq_f32(y), y, zero);
      if (out != NULL && present == 4) vst1q_f32(out + at, y);
      if (out != NULL && present < 4) {
        vst1q_f32(rest, y);
        for (int i = 0; i < present; ++i) out[at + (size_t)i] = rest[i];
      }
      below[lane / 4] = vcltzq_f32(y);
    }
    if (bits != NULL) bits[pixel] = bits_of_words(below);
  }
}

static void pack_float(const float *x, size_t words, uint32_t *out) {
  for (size_t word = 0; word < words; ++word, x += 32) {
    uint32x4_t below[SBN_LANES / 4];
    SBN_UNROLL
    for (int i = 0; i < SBN_LANES / 4; ++i) below[i] = vcltzq_f32(vld1q_f32(x + 4 * i));
    out[word] = bits_of_words(below);
  }
}

static void pack_int8(const int8_t *x, int8_t zero, size_t words, uint32_t *out) {
  static const uint8_t places[8] = {1, 2, 4, 8, 16, 32, 64, 128};
  const int8x8_t zeros = vdup_n_s8(zero);
  for (size_t word = 0; word < words; ++word, x += 32) {
    uint32_t bits = 0;
    for (int bit = 0; bit < 32; bit += 8) {
      uint8x8_t below = vclt_s8(vld1_s8(x + bit), zeros);
      bits |= (uint32_t)vaddv_u8(vand_u8(below, vld1_u8(places))) << bit;
    }
    out[word] = bits;
  }
}

const sbn_instructions sbn_neon = {"neon", usable, count, compare, scale, pack_float, pack_int8};
#endif

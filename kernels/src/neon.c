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
                                                             int32_t *sums) {
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
      vst1q_u32(sum, vpadalq_u16(vld1q_u32(sum), vpaddlq_u8(bytes[pixel][i])));
    }
  }
}

static void count(const uint32_t *x, size_t stride, int pixels, size_t words, const uint32_t *weights,
                  int32_t *sums) {
  for (int i = 0; i < pixels * SBN_LANES; i += 4) vst1q_s32(sums + i, vdupq_n_s32(0));
  for (size_t done = 0; done < words; done += PART) {
    size_t part = words - done < PART ? words - done : PART;
    for (int lane = 0; lane < SBN_LANES; lane += LANES) {
      const uint32_t *w = weights + done * SBN_LANES + lane;
      for (int pixel = 0; pixel < pixels; pixel += PIXELS) {
        const uint32_t *value = x + (size_t)pixel * stride + done;
        int32_t *sum = sums + pixel * SBN_LANES + lane;
        switch (pixels - pixel) {
          case 1:
            count_part(value, stride, 1, part, w, sum);
            break;
          case 2:
            count_part(value, stride, 2, part, w, sum);
            break;
          case 3:
            count_part(value, stride, 3, part, w, sum);
            break;
          default:
            count_part(value, stride, 4, part, w, sum);
            break;
        }
      }
    }
  }
}

static inline uint32_t bits_of(uint32x4_t low, uint32x4_t high) {
  static const uint16_t places[8] = {1, 2, 4, 8, 16, 32, 64, 128};
  uint16x8_t all = vcombine_u16(vmovn_u32(low), vmovn_u32(high));
  return vaddvq_u16(vandq_u16(all, vld1q_u16(places)));
}

static void compare(const int32_t *sums, int pixels, const int32_t *thresholds, uint32_t *out,
                    size_t stride) {
  for (int pixel = 0; pixel < pixels; ++pixel) {
    uint32_t bits = 0;
    for (int lane = 0; lane < SBN_LANES; lane += 8) {
      const int32_t *row = sums + pixel * SBN_LANES + lane;
      uint32x4_t low = vcgtq_s32(vld1q_s32(row), vld1q_s32(thresholds + lane));
      uint32x4_t high = vcgtq_s32(vld1q_s32(row + 4), vld1q_s32(thresholds + lane + 4));
      bits |= bits_of(low, high) << lane;
    }
    out[(size_t)pixel * stride] = bits;
  }
}

static void scale(const int32_t *sums, int pixels, const int32_t *const *base, const sbn_affine *affine,
                  float *out, size_t stride, int lanes) {
  const int32x4_t low = vdupq_n_s32(affine->low), high = vdupq_n_s32(affine->high);
  for (int pixel = 0; pixel < pixels; ++pixel) {
    float *row = out + (size_t)pixel * stride;
    for (int lane = 0; lane < lanes; lane += 4) {
      int32x4_t p = vld1q_s32(sums + pixel * SBN_LANES + lane);
      int32x4_t x = vsubq_s32(vld1q_s32(base[pixel] + lane), vaddq_s32(p, p));
      x = vminq_s32(vmaxq_s32(x, low), high);
      float32x4_t product = vmulq_f32(vcvtq_f32_s32(x), vld1q_f32(affine->multiplier + lane));
      float32x4_t y = vaddq_f32(product, vld1q_f32(affine->bias + lane));
      if (lanes - lane >= 4) {
        vst1q_f32(row + lane, y);
      } else {
        float rest[4];
        vst1q_f32(rest, y);
        for (int i = 0; i < lanes - lane; ++i) row[lane + i] = rest[i];
      }
    }
  }
}

static void pack_float(const float *x, size_t words, uint32_t *out) {
  for (size_t word = 0; word < words; ++word, x += 32) {
    uint32_t bits = 0;
    for (int bit = 0; bit < 32; bit += 8) {
      bits |= bits_of(vcltzq_f32(vld1q_f32(x + bit)), vcltzq_f32(vld1q_f32(x + bit + 4))) << bit;
    }
    out[word] = bits;
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

/* NEON of 64-bit ARM: four channels a register. CNT counts the ones of bytes, and UADALP adds pairs of
 * bytes to 16-bit sums, in one instruction as an addition of bytes would be, which would have to be
 * widened after 31 words. A pair gains at most 16 a word, so 16-bit sums become 32-bit ones after 4094
 * words, an even number. A dot product with ones would be one instruction too, so it gains nothing.
 */
#include "instructions.h"

#if defined(__aarch64__)
#include <arm_neon.h>
#include <string.h>

enum { PART = 4094, LANES = 16, PIXELS = 4 };

static int usable(void) { return 1; }

/* LANES channels by at most PIXELS pixels: 16 sums, 4 kernels and a value fit the 32 registers. */
static inline __attribute__((always_inline)) void count_part(const uint32_t *x, size_t stride, int pixels,
                                                             size_t words, const uint32_t *weights,
                                                             int32_t *sums, int is_first) {
  uint16x8_t pairs[PIXELS][LANES / 4];
  SBN_UNROLL
  for (int pixel = 0; pixel < pixels; ++pixel) {
    SBN_UNROLL
    for (int i = 0; i < LANES / 4; ++i) pairs[pixel][i] = vdupq_n_u16(0);
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
        pairs[pixel][i] = vpadalq_u8(pairs[pixel][i], vcntq_u8(veorq_u8(value, w[i])));
      }
    }
  }
  SBN_UNROLL
  for (int pixel = 0; pixel < pixels; ++pixel) {
    SBN_UNROLL
    for (int i = 0; i < LANES / 4; ++i) {
      uint32_t *sum = (uint32_t *)sums + pixel * SBN_LANES + 4 * i;
      uint16x8_t found = pairs[pixel][i];
      vst1q_u32(sum, is_first ? vpaddlq_u16(found) : vpadalq_u16(vld1q_u32(sum), found));
    }
  }
}

/* The same for PIXELS pixels and pairs of words, in assembly: compilers spill registers where one
 * instruction loads two words of a pixel, each into all lanes of a register. Of 107 instructions a pair
 * 96 are the three that a register of four channels takes.
 *
 * v0 to v15 are the sums, four registers a pixel; v16 to v19 the kernels of a word; v20 to v27 the pairs
 * of the pixels. */
/* clang-format off */
#define XOR(value)                        \
  "eor v28.16b, " value ".16b, v16.16b\n" \
  "eor v29.16b, " value ".16b, v17.16b\n" \
  "eor v30.16b, " value ".16b, v18.16b\n" \
  "eor v31.16b, " value ".16b, v19.16b\n"
#define ADD_ONES(a, b, c, d)      \
  "cnt v28.16b, v28.16b\n"        \
  "cnt v29.16b, v29.16b\n"        \
  "cnt v30.16b, v30.16b\n"        \
  "cnt v31.16b, v31.16b\n"        \
  "uadalp v" a ".8h, v28.16b\n"   \
  "uadalp v" b ".8h, v29.16b\n"   \
  "uadalp v" c ".8h, v30.16b\n"   \
  "uadalp v" d ".8h, v31.16b\n"
/* Kernels of the next word are loaded as soon as those of this one have been read. */
#define WORD(p0, p1, p2, p3, next)              \
  XOR(p0) ADD_ONES("0", "1", "2", "3")          \
  XOR(p1) ADD_ONES("4", "5", "6", "7")          \
  XOR(p2) ADD_ONES("8", "9", "10", "11")        \
  XOR(p3) next ADD_ONES("12", "13", "14", "15")
#define CLEAR(a, b, c, d)     \
  "movi v" a ".16b, #0\n"     \
  "movi v" b ".16b, #0\n"     \
  "movi v" c ".16b, #0\n"     \
  "movi v" d ".16b, #0\n"
#define FIRST_SUMS(at, a, b, c, d)                \
  "uaddlp v" a ".4s, v" a ".8h\n"                 \
  "uaddlp v" b ".4s, v" b ".8h\n"                 \
  "uaddlp v" c ".4s, v" c ".8h\n"                 \
  "uaddlp v" d ".4s, v" d ".8h\n"                 \
  "stp q" a ", q" b ", [%[sums], #" at "]\n"      \
  "stp q" c ", q" d ", [%[sums], #" at " + 32]\n"
#define SUMS(at, a, b, c, d)                \
  "ldp q16, q17, [%[sums], #" at "]\n"      \
  "ldp q18, q19, [%[sums], #" at " + 32]\n" \
  "uadalp v16.4s, v" a ".8h\n"              \
  "uadalp v17.4s, v" b ".8h\n"              \
  "uadalp v18.4s, v" c ".8h\n"              \
  "uadalp v19.4s, v" d ".8h\n"              \
  "stp q16, q17, [%[sums], #" at "]\n"      \
  "stp q18, q19, [%[sums], #" at " + 32]\n"
/* clang-format on */

static void count_pairs(const uint32_t *x, size_t stride, size_t pairs, const uint32_t *weights,
                        int32_t *sums, int is_first) {
  const uint32_t *x0 = x, *x1 = x + stride, *x2 = x1 + stride, *x3 = x2 + stride;
  __asm__ volatile(
      CLEAR("0", "1", "2", "3") CLEAR("4", "5", "6", "7")
      CLEAR("8", "9", "10", "11") CLEAR("12", "13", "14", "15")
      "1:\n"
      "ldp q16, q17, [%[w]]\n"
      "ldp q18, q19, [%[w], #32]\n"
      "ld2r {v20.4s, v21.4s}, [%[x0]], #8\n"
      "ld2r {v22.4s, v23.4s}, [%[x1]], #8\n"
      "ld2r {v24.4s, v25.4s}, [%[x2]], #8\n"
      "ld2r {v26.4s, v27.4s}, [%[x3]], #8\n"
      "subs %[n], %[n], #1\n"
      WORD("v20", "v22", "v24", "v26", "ldp q16, q17, [%[w], #128]\nldp q18, q19, [%[w], #160]\n")
      WORD("v21", "v23", "v25", "v27", "add %[w], %[w], #256\n")
      "b.ne 1b\n"
      "cbz %w[is_first], 2f\n"
      FIRST_SUMS("0", "0", "1", "2", "3") FIRST_SUMS("128", "4", "5", "6", "7")
      FIRST_SUMS("256", "8", "9", "10", "11") FIRST_SUMS("384", "12", "13", "14", "15")
      "b 3f\n"
      "2:\n"
      SUMS("0", "0", "1", "2", "3") SUMS("128", "4", "5", "6", "7")
      SUMS("256", "8", "9", "10", "11") SUMS("384", "12", "13", "14", "15")
      "3:\n"
      : [x0] "+r"(x0), [x1] "+r"(x1), [x2] "+r"(x2), [x3] "+r"(x3), [w] "+r"(weights), [n] "+r"(pairs)
      : [sums] "r"(sums), [is_first] "r"(is_first)
      : "cc", "memory", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12",
        "v13", "v14", "v15", "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25", "v26",
        "v27", "v28", "v29", "v30", "v31");
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
      if (words >= 2) count_pairs(x, stride, words / 2, weights, sums, is_first);
      if (words % 2 != 0) {
        size_t last = words - 1;
        count_part(x + last, stride, 4, 1, weights + last * SBN_LANES, sums, is_first && last == 0);
      }
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

/* What a convolution sums up to, as real numbers: four channels. */
static inline __attribute__((always_inline)) float32x4_t real_sums(const int32_t *sums,
                                                                   const int32_t *base,
                                                                   const sbn_affine *affine, int lane) {
  int32x4_t p = vld1q_s32(sums + lane);
  int32x4_t x = vsubq_s32(vld1q_s32(base + lane), vaddq_s32(p, p));
  x = vminq_s32(vmaxq_s32(x, vdupq_n_s32(affine->low)), vdupq_n_s32(affine->high));
  float32x4_t product = vmulq_f32(vcvtq_f32_s32(x), vld1q_f32(affine->multiplier + lane));
  return vaddq_f32(product, vld1q_f32(affine->bias + lane));
}

/* 0 in place of what is not above 0, but where `keep` is all ones; a maximum would keep what is no
 * number. */
static inline float32x4_t relu(float32x4_t y, uint32x4_t keep) {
  uint32x4_t kept = vandq_u32(vreinterpretq_u32_f32(y), vorrq_u32(vcgtzq_f32(y), keep));
  return vreinterpretq_f32_u32(kept);
}

/* All channels of a block; the last three say at compile time what there is. */
static inline __attribute__((always_inline)) void scale_block(
    const int32_t *sums, int pixels, const int32_t *const *base, const sbn_affine *affine,
    const float *residual, float *out, size_t stride, uint32_t *bits, int has_residual, int has_out,
    int has_bits) {
  const uint32x4_t keep = vdupq_n_u32(affine->has_relu ? 0 : ~0u);
  for (int pixel = 0; pixel < pixels; ++pixel) {
    uint32x4_t below[SBN_LANES / 4];
    SBN_UNROLL
    for (int i = 0; i < SBN_LANES / 4; ++i) {
      size_t at = (size_t)pixel * stride + 4 * (size_t)i;
      float32x4_t y = real_sums(sums + pixel * SBN_LANES, base[pixel], affine, 4 * i);
      if (has_residual) y = vaddq_f32(y, vld1q_f32(residual + at));
      y = relu(y, keep);
      if (has_out) vst1q_f32(out + at, y);
      if (has_bits) below[i] = vcltzq_f32(y);
    }
    if (has_bits) bits[pixel] = bits_of_words(below);
  }
}

/* Some channels of a block. */
static void scale_part(const int32_t *sums, int pixels, const int32_t *const *base,
                       const sbn_affine *affine, const float *residual, float *out, size_t stride,
                       int lanes, uint32_t *bits) {
  const uint32x4_t keep = vdupq_n_u32(affine->has_relu ? 0 : ~0u);
  for (int pixel = 0; pixel < pixels; ++pixel) {
    float row[SBN_LANES] = {0};
    size_t first = (size_t)pixel * stride, bytes = (size_t)lanes * sizeof *row;
    if (residual != NULL) memcpy(row, residual + first, bytes);
    uint32x4_t below[SBN_LANES / 4];
    for (int i = 0; i < SBN_LANES / 4; ++i) {
      float32x4_t y = real_sums(sums + pixel * SBN_LANES, base[pixel], affine, 4 * i);
      if (residual != NULL) y = vaddq_f32(y, vld1q_f32(row + 4 * i));
      y = relu(y, keep);
      vst1q_f32(row + 4 * i, y);
      below[i] = vcltzq_f32(y);
    }
    if (out != NULL) memcpy(out + first, row, bytes);
    if (bits != NULL) bits[pixel] = bits_of_words(below);
  }
}

static void scale(const int32_t *sums, int pixels, const int32_t *const *base, const sbn_affine *affine,
                  const float *residual, float *out, size_t stride, int lanes, uint32_t *bits) {
  if (lanes != SBN_LANES) {
    scale_part(sums, pixels, base, affine, residual, out, stride, lanes, bits);
    return;
  }
#define SBN_CASE(number, r, o, b)                                                  \
  case number:                                                                     \
    scale_block(sums, pixels, base, affine, residual, out, stride, bits, r, o, b); \
    break
  switch ((residual != NULL) * 4 + (out != NULL) * 2 + (bits != NULL)) {
    SBN_CASE(1, 0, 0, 1);
    SBN_CASE(2, 0, 1, 0);
    SBN_CASE(3, 0, 1, 1);
    SBN_CASE(5, 1, 0, 1);
    SBN_CASE(6, 1, 1, 0);
    SBN_CASE(7, 1, 1, 1);
    default:
      break; /* nothing is asked for */
  }
#undef SBN_CASE
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

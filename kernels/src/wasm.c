/* WebAssembly with 128-bit registers: four channels a register, and a population count of bytes. A byte
 * gains at most 8 a word, so bytes are added for up to 31 words and then widened. Engines give these
 * registers to a processor that has 16 of them, so a part is 2 pixels by 16 channels.
 */
#include "instructions.h"

#if defined(__wasm_simd128__)
#include <wasm_simd128.h>

enum { PART = 31, LANES = 16, PIXELS = 2 };

static int usable(void) { return 1; }

static inline __attribute__((always_inline)) void count_part(const uint32_t *x, size_t stride, int pixels,
                                                             size_t words, const uint32_t *weights,
                                                             int32_t *sums, int is_first) {
  v128_t bytes[PIXELS][LANES / 4];
  SBN_UNROLL
  for (int pixel = 0; pixel < pixels; ++pixel) {
    SBN_UNROLL
    for (int i = 0; i < LANES / 4; ++i) bytes[pixel][i] = wasm_i32x4_const_splat(0);
  }
  for (size_t word = 0; word < words; ++word) {
    const uint32_t *row = weights + word * SBN_LANES;
    v128_t value[PIXELS];
    SBN_UNROLL
    for (int pixel = 0; pixel < pixels; ++pixel) {
      value[pixel] = wasm_v128_load32_splat(x + (size_t)pixel * stride + word);
    }
    SBN_UNROLL
    for (int i = 0; i < LANES / 4; ++i) {
      v128_t w = wasm_v128_load(row + 4 * i);
      SBN_UNROLL
      for (int pixel = 0; pixel < pixels; ++pixel) {
        v128_t ones = wasm_i8x16_popcnt(wasm_v128_xor(value[pixel], w));
        bytes[pixel][i] = wasm_i8x16_add(bytes[pixel][i], ones);
      }
    }
  }
  SBN_UNROLL
  for (int pixel = 0; pixel < pixels; ++pixel) {
    SBN_UNROLL
    for (int i = 0; i < LANES / 4; ++i) {
      int32_t *sum = sums + pixel * SBN_LANES + 4 * i;
      v128_t pairs = wasm_u16x8_extadd_pairwise_u8x16(bytes[pixel][i]);
      v128_t total = wasm_u32x4_extadd_pairwise_u16x8(pairs);
      wasm_v128_store(sum, is_first ? total : wasm_i32x4_add(wasm_v128_load(sum), total));
    }
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
        if (pixels - pixel == 1) {
          count_part(value, stride, 1, part, w, sum, done == 0);
        } else {
          count_part(value, stride, 2, part, w, sum, done == 0);
        }
      }
    }
  }
}

/* A bit for each of 16 lanes of 32 bits whose masks are all ones or all zeros. */
static inline uint32_t bits_of_words(const v128_t *masks) {
  v128_t low = wasm_i16x8_narrow_i32x4(masks[0], masks[1]);
  v128_t high = wasm_i16x8_narrow_i32x4(masks[2], masks[3]);
  return (uint32_t)wasm_i8x16_bitmask(wasm_i8x16_narrow_i16x8(low, high));
}

static void compare(const int32_t *sums, int pixels, const int32_t *thresholds, uint32_t *out,
                    size_t stride) {
  for (int pixel = 0; pixel < pixels; ++pixel) {
    uint32_t bits = 0;
    for (int lane = 0; lane < SBN_LANES; lane += 16) {
      v128_t above[4];
      SBN_UNROLL
      for (int i = 0; i < 4; ++i) {
        v128_t sum = wasm_v128_load(sums + pixel * SBN_LANES + lane + 4 * i);
        above[i] = wasm_i32x4_gt(sum, wasm_v128_load(thresholds + lane + 4 * i));
      }
      bits |= bits_of_words(above) << lane;
    }
    out[(size_t)pixel * stride] = bits;
  }
}

static void scale(const int32_t *sums, int pixels, const int32_t *const *base, const sbn_affine *affine,
                  const float *residual, float *out, size_t stride, int lanes, uint32_t *bits) {
  const v128_t low = wasm_i32x4_splat(affine->low), high = wasm_i32x4_splat(affine->high);
  const v128_t zero = wasm_f32x4_const_splat(0);
  for (int pixel = 0; pixel < pixels; ++pixel) {
    uint32_t found = 0;
    for (int lane = 0; lane < lanes; lane += 4) {
      size_t at = (size_t)pixel * stride + (size_t)lane;
      int present = lanes - lane < 4 ? lanes - lane : 4;
      float rest[4] = {0};
      v128_t p = wasm_v128_load(sums + pixel * SBN_LANES + lane);
      v128_t x = wasm_i32x4_sub(wasm_v128_load(base[pixel] + lane), wasm_i32x4_add(p, p));
      x = wasm_i32x4_min(wasm_i32x4_max(x, low), high);
      v128_t product =
          wasm_f32x4_mul(wasm_f32x4_convert_i32x4(x), wasm_v128_load(affine->multiplier + lane));
      v128_t y = wasm_f32x4_add(product, wasm_v128_load(affine->bias + lane));
      if (residual != NULL && present == 4) y = wasm_f32x4_add(y, wasm_v128_load(residual + at));
      if (residual != NULL && present < 4) {
        for (int i = 0; i < present; ++i) rest[i] = residual[at + (size_t)i];
        y = wasm_f32x4_add(y, wasm_v128_load(rest));
      }
      /* a maximum would keep what is no number */
      if (affine->has_relu) y = wasm_v128_and(y, wasm_f32x4_gt(y, zero));
      if (out != NULL && present == 4) wasm_v128_store(out + at, y);
      if (out != NULL && present < 4) {
        wasm_v128_store(rest, y);
        for (int i = 0; i < present; ++i) out[at + (size_t)i] = rest[i];
      }
      found |= (uint32_t)wasm_i32x4_bitmask(wasm_f32x4_lt(y, zero)) << lane;
    }
    if (bits != NULL) bits[pixel] = found;
  }
}

static void pack_float(const float *x, size_t words, uint32_t *out) {
  const v128_t zero = wasm_f32x4_const_splat(0);
  for (size_t word = 0; word < words; ++word, x += 32) {
    uint32_t bits = 0;
    for (int bit = 0; bit < 32; bit += 16) {
      v128_t below[4];
      SBN_UNROLL
      for (int i = 0; i < 4; ++i) below[i] = wasm_f32x4_lt(wasm_v128_load(x + bit + 4 * i), zero);
      bits |= bits_of_words(below) << bit;
    }
    out[word] = bits;
  }
}

static void pack_int8(const int8_t *x, int8_t zero, size_t words, uint32_t *out) {
  const v128_t zeros = wasm_i8x16_splat(zero);
  for (size_t word = 0; word < words; ++word, x += 32) {
    uint32_t low = (uint32_t)wasm_i8x16_bitmask(wasm_i8x16_lt(wasm_v128_load(x), zeros));
    uint32_t high = (uint32_t)wasm_i8x16_bitmask(wasm_i8x16_lt(wasm_v128_load(x + 16), zeros));
    out[word] = low | high << 16;
  }
}

const sbn_instructions sbn_wasm = {"wasm", usable, count, compare, scale, pack_float, pack_int8};
#endif

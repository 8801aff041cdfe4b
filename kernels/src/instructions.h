/* What an instruction set implements. Every one gives the same bits as the portable one.
 *
 * Kernels are stored as blocks of 32 output channels, `weights[words][32]`: a block makes one word of
 * bits, its words stand one after another, and the channels lie in the lanes of registers. One layout
 * serves every instruction set. A tile is up to SBN_PIXELS pixels by one block of channels. */
#ifndef SBN_INSTRUCTIONS_H_
#define SBN_INSTRUCTIONS_H_

#include <stddef.h>
#include <stdint.h>

enum { SBN_PIXELS = 8, SBN_LANES = 32 };

/* Before a loop of constant length over registers: GCC keeps an array in memory where it unrolls late. */
#if defined(__clang__)
#define SBN_UNROLL _Pragma("unroll")
#else
#define SBN_UNROLL _Pragma("GCC unroll 8")
#endif

/* How sums become real numbers: y = float(clamp(base - 2 p)) * multiplier + bias, rounded after the
 * multiplication and after the addition; then y + residual, and, where it is asked for, 0 in place of
 * what is not above 0. Arrays have SBN_LANES elements. */
typedef struct {
  int32_t low, high;
  const float *multiplier, *bias;
  int has_relu;
} sbn_affine;

typedef struct {
  const char *name;
  int (*usable)(void);

  /* sums[pixel][lane] = number of ones in x[pixel] xor weights[lane]; `stride` words from pixel to pixel;
   * at most SBN_PIXELS pixels. */
  void (*count)(const uint32_t *x, size_t stride, int pixels, size_t words, const uint32_t *weights,
                int32_t *sums);

  /* out[pixel * stride]: bit `lane` says whether sums[pixel][lane] > thresholds[lane]. */
  void (*compare)(const int32_t *sums, int pixels, const int32_t *thresholds, uint32_t *out,
                  size_t stride);

  /* out[pixel * stride + lane] for the first `lanes` lanes, and bits[pixel], where these are not NULL;
   * bits of other lanes are undefined. `residual`, laid out as `out`, may be NULL. */
  void (*scale)(const int32_t *sums, int pixels, const int32_t *const *base, const sbn_affine *affine,
                const float *residual, float *out, size_t stride, int lanes, uint32_t *bits);

  /* Bits of 32 values a word: 1 where the value is below 0, or below `zero`. */
  void (*pack_float)(const float *x, size_t words, uint32_t *out);
  void (*pack_int8)(const int8_t *x, int8_t zero, size_t words, uint32_t *out);
} sbn_instructions;

extern const sbn_instructions sbn_portable;
#if defined(__x86_64__)
extern const sbn_instructions sbn_avx2, sbn_avx512;
#endif
#if defined(__aarch64__)
extern const sbn_instructions sbn_neon;
#endif
#if defined(__wasm_simd128__)
extern const sbn_instructions sbn_wasm;
#endif

#endif

/* The most binary products a second that this processor's AVX-512 can count: xor, population count and
 * addition of registers, without a load, in as many independent sums as the kernel has. The least of many
 * tries.
 *
 *     cc -O3 benchmarks/peak.c src/support.c -o out/peak && out/peak */
#include <stdio.h>

#include "../src/support.h"

#if defined(__x86_64__)
#include <immintrin.h>

enum { SUMS = 16, ROUNDS = 20000, TRIES = 400 };

__attribute__((target("avx512f,avx512vpopcntdq"))) static double seconds(void) {
  __m512i sums[SUMS], x = _mm512_set1_epi32(0x12345678), w = _mm512_set1_epi32(0x0f1e2d3c);
  for (int i = 0; i < SUMS; ++i) sums[i] = _mm512_set1_epi32(i);
  double started = sbn_seconds();
  for (int round = 0; round < ROUNDS; ++round) {
    /* The compiler must not see that the operands stay the same. */
    __asm__ volatile("" : "+v"(x), "+v"(w));
#pragma GCC unroll 16
    for (int i = 0; i < SUMS; ++i) {
      __m512i value = _mm512_xor_si512(x, w);
      __asm__ volatile("" : "+v"(value));
      sums[i] = _mm512_add_epi32(sums[i], _mm512_popcnt_epi32(value));
    }
  }
  double taken = sbn_seconds() - started;
  for (int i = 0; i < SUMS; ++i) __asm__ volatile("" : : "v"(sums[i]));
  return taken;
}

int main(void) {
  double least = 1e9;
  for (int i = 0; i < TRIES; ++i) {
    double taken = seconds();
    if (taken < least) least = taken;
  }
  printf("%.3f T products/s\n", 512.0 * SUMS * ROUNDS / least * 1e-12);
  return 0;
}
#else
int main(void) {
  puts("no AVX-512 here");
  return 0;
}
#endif

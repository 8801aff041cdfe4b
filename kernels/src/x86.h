/* What an x86-64 processor has, and the operating system saves. */
#ifndef SBN_X86_H_
#define SBN_X86_H_

#if defined(__x86_64__)
#include <cpuid.h>
#include <stdint.h>

/* Whether all these bits of CPUID's leaf 7 are set, and these parts of the registers' state are saved. */
static inline int sbn_x86_has(unsigned leaf7_ebx, unsigned leaf7_ecx, unsigned saved) {
  unsigned a, b, c, d, state, high;
  if (!__get_cpuid(1, &a, &b, &c, &d) || (c & 1u << 27) == 0) return 0; /* OSXSAVE */
  __asm__ volatile("xgetbv" : "=a"(state), "=d"(high) : "c"(0));
  if ((state & saved) != saved || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 0;
  return (b & leaf7_ebx) == leaf7_ebx && (c & leaf7_ecx) == leaf7_ecx;
}

enum { SBN_SAVES_YMM = 0x6, SBN_SAVES_ZMM = 0xe6 };
#endif

#endif

#include "core/isa.h"

#include <initializer_list>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace vivace {

const char* isa_name(Isa level) {
  switch (level) {
    case Isa::baseline:
      return "baseline";
    case Isa::avx2:
      return "avx2";
    case Isa::avx512:
      return "avx512";
    case Isa::neon:
      return "neon";
  }
  return "unknown";
}

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
bool isa_supported(Isa level) {
  __builtin_cpu_init();
  // clang 14 does not know f16c by name: bit 29 of leaf 1.
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  const bool f16c = __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & (1u << 29)) != 0;
  const bool avx2 = f16c && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  switch (level) {
    case Isa::baseline:
      return true;
    case Isa::avx2:
      return avx2;
    case Isa::avx512:
      return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
             __builtin_cpu_supports("avx512vnni");
    case Isa::neon:
      return false;
  }
  return false;
}
#elif defined(_M_X64)
}  // namespace vivace
#include <immintrin.h>
#include <intrin.h>
namespace vivace {
bool isa_supported(Isa level) {
  if (level == Isa::baseline) return true;
  if (level == Isa::neon) return false;
  int leaf1[4], leaf7[4];
  __cpuid(leaf1, 1);
  const bool os_saves = (leaf1[2] & (1 << 27)) != 0;
  if (!os_saves) return false;
  const unsigned long long state = _xgetbv(0);
  __cpuidex(leaf7, 7, 0);
  const bool avx2 = (state & 6) == 6 && (leaf7[1] & (1 << 5)) && (leaf1[2] & (1 << 12)) && (leaf1[2] & (1 << 29));
  if (level == Isa::avx2) return avx2;
  const int wanted = (1 << 16) | (1 << 17) | (1 << 30) | (1 << 31);  // F, DQ, BW, VL
  return avx2 && (state & 0xe6) == 0xe6 && (leaf7[1] & wanted) == wanted && (leaf7[2] & (1 << 11));
}
#elif defined(__aarch64__) || defined(_M_ARM64)
bool isa_supported(Isa level) {
  return level == Isa::baseline || level == Isa::neon;
}
#else
bool isa_supported(Isa level) {
  return level == Isa::baseline;
}
#endif

Isa best_isa() {
  for (Isa level : {Isa::neon, Isa::avx512, Isa::avx2})
    if (isa_supported(level)) return level;
  return Isa::baseline;
}

}  // namespace vivace

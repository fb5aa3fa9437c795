#include "core/isa.h"

#include <initializer_list>
#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#elif defined(__aarch64__) && defined(_WIN32)
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
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
    case Isa::i8mm:
      return "i8mm";
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
    case Isa::i8mm:
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
  if (level >= Isa::neon) return false;
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
#elif defined(__aarch64__)
namespace {

struct ArmFeatures {
  bool dot_product = false, half_precision = false, matrix_product = false;
};

#if defined(__linux__)
ArmFeatures arm_features() {
  // The kernel's bits in AT_HWCAP and AT_HWCAP2; not all headers have their names.
  const unsigned long first = getauxval(AT_HWCAP), second = getauxval(AT_HWCAP2);
  const auto has = [](unsigned long bits, int bit) { return (bits >> bit & 1) != 0; };
  return {has(first, 20), has(first, 9) && has(first, 10), has(second, 13)};  // ASIMDDP; FPHP, ASIMDHP; I8MM
}
#elif defined(__APPLE__)
ArmFeatures arm_features() {
  const auto has = [](const char* name) {
    int value = 0;
    size_t size = sizeof(value);
    return sysctlbyname(name, &value, &size, nullptr, 0) == 0 && value != 0;
  };
  // Every 64-bit Mac has the first two; macOS 11 does not say so under these names.
  return {true, true, has("hw.optional.arm.FEAT_I8MM")};
}
#elif defined(_WIN32)
ArmFeatures arm_features() {
  const bool dot_product = IsProcessorFeaturePresent(43);  // PF_ARM_V82_DP_INSTRUCTIONS_AVAILABLE
  return {dot_product, dot_product, false};  // processors of Windows machines that have the one have the other
}
#else
ArmFeatures arm_features() {
  return {};
}
#endif

}  // namespace

bool isa_supported(Isa level) {
  static const ArmFeatures features = arm_features();
  const bool neon = features.dot_product && features.half_precision;
#if defined(VIVACE_HAS_I8MM)
  if (level == Isa::i8mm) return neon && features.matrix_product;
#endif
  return level == Isa::baseline || (level == Isa::neon && neon);
}
#elif defined(_M_ARM64)
bool isa_supported(Isa level) {
  return level == Isa::baseline || level == Isa::neon;  // which has no instruction of its own with this compiler
}
#else
bool isa_supported(Isa level) {
  return level == Isa::baseline;
}
#endif

Isa best_isa() {
  for (Isa level : {Isa::i8mm, Isa::neon, Isa::avx512, Isa::avx2})
    if (isa_supported(level)) return level;
  return Isa::baseline;
}

}  // namespace vivace

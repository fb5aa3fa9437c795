// Instruction-set levels. A kernel body is compiled once per level (CMakeLists.txt) and chosen once by cpuid.
#pragma once

namespace vivace {

enum class Isa : int {
  baseline = 0,  // x86-64-v2, or any CPU without a vector body of its own
  avx2 = 1,      // AVX2, FMA, F16C
  avx512 = 2,    // AVX-512 F, BW, DQ, VL and VNNI
  neon = 3,      // AArch64 with dot product
};
inline constexpr int isa_count = 4;

// 32-bit words of a level's vectors.
constexpr int isa_lanes(Isa level) {
  return level == Isa::avx512 ? 16 : level == Isa::avx2 ? 8 : 4;
}

const char* isa_name(Isa level);
// The best level that this CPU runs and this build contains.
Isa best_isa();
bool isa_supported(Isa level);

}  // namespace vivace

// Inside files compiled per level, VIVACE_ISA is the level's namespace: baseline, avx2, avx512, neon.

// Instruction-set levels. A kernel body is compiled once per level (CMakeLists.txt) and chosen once by cpuid.
#pragma once

namespace vivace {

enum class Isa : int {
  baseline = 0,  // x86-64-v2, or any CPU without a vector body of its own
  avx2 = 1,      // AVX2, FMA, F16C
  avx512 = 2,    // AVX-512 F, BW, DQ, VL and VNNI
  neon = 3,      // AArch64 with dot product and half precision
  i8mm = 4,      // the same with products of 8-bit matrices
};
inline constexpr int isa_count = 5;

// The lowest level above the baseline among those that a level contains: x86's and ARM's are two families.
constexpr Isa isa_family(Isa level) {
  return level >= Isa::neon ? Isa::neon : Isa::avx2;
}

// 32-bit words of a level's vectors.
constexpr int isa_lanes(Isa level) {
  return level == Isa::avx512 ? 16 : level == Isa::avx2 ? 8 : 4;
}

const char* isa_name(Isa level);
// The best level that this CPU runs and this build contains.
Isa best_isa();
bool isa_supported(Isa level);

}  // namespace vivace

// Inside files compiled per level, VIVACE_ISA is the level's namespace: baseline, avx2, avx512, neon, i8mm.

// One block of A8 out of 32 floats, for files compiled per level. See quantize_rows.h.
#pragma once
#include <cstring>

#include "core/simd.h"
#include "ops/linear/a8.h"

namespace vivace::VIVACE_ISA {

// The largest value by whole-number arithmetic on the floats' bits, and sums of codes as floats, which are exact: every
// level rounds alike. Loops that compilers turn into vectors are left to them; a sum of whole numbers across lanes they
// would take apart lane by lane.
VIVACE_ALWAYS_INLINE void quantize_block(const float* x, A8Block& block) {
  constexpr float shift = 12582912.0f;  // 1.5 · 2^23: added, it leaves the nearest whole number in the low bits
  uint32_t bits[32];
  std::memcpy(bits, x, sizeof(bits));
  uint32_t top = 0;
  for (int i = 0; i < 32; ++i) {
    const uint32_t size = bits[i] & 0x7fffffff;
    top = size > top ? size : top;
  }
  if (top < 0x0d800000) {  // 2^-100
    std::memset(&block, 0, sizeof(block));
    return;
  }
  if (top >= 0x7f800000) {
    std::memset(&block, 0, sizeof(block));
    block.scale = f32_from_bits(0x7fc00000);
    for (float& sum : block.scaled_sums) sum = block.scale;
    return;
  }
  const float largest = f32_from_bits(top), scale = largest / 127.0f;
  const F32 inverse = set1(127.0f / largest);
  alignas(64) float shifted[32];
  float sums[2];
  for (int half = 0; half < 2; ++half) {
    F32 total = zero();
    for (int i = 16 * half; i < 16 * half + 16; i += F32::lanes) {
      const F32 moved = load(x + i) * inverse + set1(shift);
      store(shifted + i, moved);
      total += moved - set1(shift);
    }
    sums[half] = sum(total);
    block.minus_sums[half] = -static_cast<int32_t>(sums[half]);
    block.scaled_sums[half] = sums[half] * scale;
  }
  block.scale = scale;
  block.minus_sums[A8Block::all] = block.minus_sums[0] + block.minus_sums[1];
  block.scaled_sums[A8Block::all] = (sums[0] + sums[1]) * scale;
  block.unused = 0;
  std::memcpy(bits, shifted, sizeof(bits));
  for (int i = 0; i < 32; ++i) block.codes[i] = static_cast<int8_t>(bits[i]);
}

}  // namespace vivace::VIVACE_ISA

// One block of A8 out of 32 floats, for files compiled per level. See quantize_rows.h.
#pragma once
#include <cstring>

#include "core/simd/half.h"
#include "ops/linear/a8.h"

namespace vivace::VIVACE_ISA {

// Whole-number arithmetic on the floats' bits: compilers turn each loop into vectors, and every level rounds alike.
inline void quantize_block(const float* x, A8Block& block) {
  uint32_t bits[32];
  std::memcpy(bits, x, sizeof(bits));
  uint32_t top = 0;
  for (int i = 0; i < 32; ++i) {
    const uint32_t size = bits[i] & 0x7fffffff;
    top = size > top ? size : top;
  }
  std::memset(&block, 0, sizeof(block));
  if (top < 0x0d800000) return;  // 2^-100
  if (top >= 0x7f800000) {
    block.scale = f32_from_bits(0x7fc00000);
    for (float& sum : block.scaled_sums) sum = block.scale;
    return;
  }
  const float largest = f32_from_bits(top), inverse = 127.0f / largest;
  block.scale = largest / 127.0f;
  // Adding 1.5 · 2^23 leaves the nearest whole number in the low bits.
  float shifted[32];
  int32_t codes[32];
  for (int i = 0; i < 32; ++i) shifted[i] = x[i] * inverse + 12582912.0f;
  std::memcpy(codes, shifted, sizeof(codes));
  for (int i = 0; i < 32; ++i) codes[i] -= 0x4b400000;
  for (int half = 0; half < 2; ++half) {
    int32_t sum = 0;
    for (int i = 0; i < 16; ++i) sum += codes[16 * half + i];
    block.minus_sums[half] = -sum;
    block.scaled_sums[half] = static_cast<float>(sum) * block.scale;
  }
  block.minus_sums[A8Block::all] = block.minus_sums[0] + block.minus_sums[1];
  block.scaled_sums[A8Block::all] = static_cast<float>(-block.minus_sums[A8Block::all]) * block.scale;
  for (int i = 0; i < 32; ++i) block.codes[i] = static_cast<int8_t>(codes[i]);
}

}  // namespace vivace::VIVACE_ISA

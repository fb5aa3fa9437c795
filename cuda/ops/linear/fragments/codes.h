// Codes of a unit (cuda/quant/fragments.h) become operands of mma.m16n8k16: a code less its zero point is a whole
// number of at most nine bits, exact as f16.
#pragma once
#include "cuda/core/packed.h"
#include "cuda/core/shared.h"
#include "cuda/core/unroll.h"
#include "cuda/quant/fragments.h"

namespace vivace::cuda {

// The words of rows g and g + 8: scales, and what brings codes to whole numbers.
struct GroupWords {
  uint32_t words[2];

  __device__ float scale(int half) const { return __uint_as_float(words[half] & 0xffffff00u); }
};

template <int bits, int group>
struct FragmentCodes {
  __host__ __device__ static constexpr FragmentLayout layout() { return {bits, group}; }
  static constexpr int part = group == 0 ? FragmentLayout::columns : group;     // columns of a scale within a unit
  static constexpr int words = FragmentLayout{bits, group}.code_bytes() / 128;  // of a lane

  // The operands of both products of 32 columns j.
  __device__ static void operands(const uint32_t (&codes)[words], int j, const GroupWords& group_words,
                                  uint32_t (&out)[2][4]) {
    const uint32_t low = group_words.words[0] & 255, high = group_words.words[1] & 255;
    if constexpr (bits == 4) {
      // 0x6400 | q is 1024 + q; 0x6400 | q << 4 is 1024 + 16 · q, of which a sixteenth is 64 + q.
      const uint32_t minus_low = (0xe400u + low) * 0x00010001u, minus_high = (0xd400u + (high << 4)) * 0x00010001u;
      UNROLL
      for (int p = 0; p < 2; ++p) UNROLL
      for (int i = 0; i < 2; ++i) {
        const uint32_t word = codes[2 * j + p] >> (8 * i);
        out[p][2 * i] = add_f16(mask_or(word, 0x000f000fu, 0x64006400u), minus_low);
        out[p][2 * i + 1] = fma_f16(mask_or(word, 0x00f000f0u, 0x64006400u), 0x2c002c00u, minus_high);
      }
    } else {
      // Bytes are codes plus 128, zero points signed.
      const auto minus = [](uint32_t zero) {
        return (0xe400u + 128u + static_cast<uint32_t>(static_cast<int>(static_cast<int8_t>(zero)))) * 0x00010001u;
      };
      const uint32_t shifts[2] = {minus(low), minus(high)};
      UNROLL
      for (int p = 0; p < 2; ++p) UNROLL
      for (int half = 0; half < 2; ++half) {
        const uint32_t word = codes[4 * j + 2 * p + half];
        out[p][half] = add_f16(__byte_perm(word, 0x64646464u, 0x4140), shifts[half]);
        out[p][2 + half] = add_f16(__byte_perm(word, 0x64646464u, 0x4342), shifts[half]);
      }
    }
  }
};

}  // namespace vivace::cuda

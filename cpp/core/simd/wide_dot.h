// Dot products of signed 8-bit codes, the rows side by side (codes.h), with activations of 23 bits and sign: what
// 32-bit floats keep. For levels that multiply fours of bytes in one instruction; the others are better off with
// floats.
//
// An activation is 65536 · high + 256 · middle + low, each a signed byte; each has a sum of its own, exact in 32 bits.
#pragma once
#include "core/simd/codes.h"

#if defined(__AVX512VNNI__) || defined(__ARM_FEATURE_DOTPROD)
#define VIVACE_WIDE_DOT
#endif

namespace vivace::VIVACE_ISA {
#if defined(VIVACE_WIDE_DOT)

inline constexpr int widest_activation = 1 << 22;

// Over the 8 words of a block of 32 columns.
struct WideDot {
  static constexpr int words = 3 * 8 + 3;  // that stand for 32 activations
  Dot<signed_codes, 8> high, middle, low;

  // `bias`: what codes are stored plus.
  static void pack(const int32_t* activations, int32_t* out, int bias = signed_bias) {
    int32_t sums[3] = {0, 0, 0};
    for (int word = 0; word < 8; ++word)
      for (int digit = 0; digit < 3; ++digit) {
        int8_t bytes[4];
        for (int i = 0; i < 4; ++i) {
          int32_t rest = activations[4 * word + i];
          for (int lower = 2; lower > digit; --lower) rest = (rest - static_cast<int8_t>(rest & 255)) >> 8;
          bytes[i] = static_cast<int8_t>(rest & 255);
          sums[digit] += bytes[i];
        }
        std::memcpy(out + 3 * word + digit, bytes, 4);
      }
    for (int digit = 0; digit < 3; ++digit) out[24 + digit] = -bias * sums[digit];
  }
  static Ints spread(Ints codes) { return signed_bias != 0 ? codes ^ splat(static_cast<int32_t>(0x80808080)) : codes; }

  void start(const int32_t* packed) {
    high.start(splat(packed[24]));
    middle.start(splat(packed[25]));
    low.start(splat(packed[26]));
  }
  void step(Ints codes, const int32_t* packed, int word) {
    const int8_t* bytes = reinterpret_cast<const int8_t*>(packed + 3 * word);
    high.step(codes, bytes);
    middle.step(codes, bytes + 4);
    low.step(codes, bytes + 8);
  }
  F32 finish() const { return fma(to_f32((high.finish() << 8) + middle.finish()), set1(256.0f), to_f32(low.finish())); }
};

#endif

}  // namespace vivace::VIVACE_ISA

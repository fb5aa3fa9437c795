// Dot products of two rows of activations at once, with codes of F32::lanes weight rows: for levels that multiply
// matrices of bytes. Sums are whole numbers, the same as Dot's.
//
// The instruction multiplies two rows of eight bytes with two rows of eight bytes. So words of codes come in pairs:
// words 2i and 2i + 1 of rows 0 and 1 take the place of word 2i, those of rows 2 and 3 that of word 2i + 1.
#pragma once
#include "core/simd/codes.h"

#if defined(__ARM_FEATURE_MATMUL_INT8)
#define VIVACE_PAIR_DOT
#endif

namespace vivace::VIVACE_ISA {
#if defined(VIVACE_PAIR_DOT)

inline constexpr bool has_pair_dot = true;

// Brings eight words of a group of codes into pairs.
inline void pair_words(Ints* words) {
  for (int w = 0; w < 8; w += 2) {
    const int32x4_t even = words[w].v, odd = words[w + 1].v;
    words[w] = {vzip1q_s32(even, odd)};
    words[w + 1] = {vzip2q_s32(even, odd)};
  }
}

// Bytes 0 … 7 and 8 … 15 of two rows, the rows side by side.
struct PairedBytes {
  int8x16_t low, high;
};
inline PairedBytes pair_bytes(int8x16_t first, int8x16_t second) {
  const int64x2_t a = vreinterpretq_s64_s8(first), b = vreinterpretq_s64_s8(second);
  return {vreinterpretq_s8_s64(vzip1q_s64(a, b)), vreinterpretq_s8_s64(vzip2q_s64(a, b))};
}

struct PairDot {
  int32x4_t left, right;  // of weight rows 0 and 1, of 2 and 3: [row of activations, weight row]

  void start(int32_t first, int32_t second) {
    const int32x2_t a = vdup_n_s32(first), b = vdup_n_s32(second);
    left = right = vcombine_s32(a, b);
  }
  // Four words: 16 columns.
  void step(const Ints (&codes)[4], PairedBytes activations) {
    left = vmmlaq_s32(left, activations.low, vreinterpretq_s8_s32(codes[0].v));
    right = vmmlaq_s32(right, activations.low, vreinterpretq_s8_s32(codes[1].v));
    left = vmmlaq_s32(left, activations.high, vreinterpretq_s8_s32(codes[2].v));
    right = vmmlaq_s32(right, activations.high, vreinterpretq_s8_s32(codes[3].v));
  }
  Ints finish(int row) const {
    const int64x2_t a = vreinterpretq_s64_s32(left), b = vreinterpretq_s64_s32(right);
    return {vreinterpretq_s32_s64(row == 0 ? vzip1q_s64(a, b) : vzip2q_s64(a, b))};
  }
};

#else

inline constexpr bool has_pair_dot = false;

#endif
}  // namespace vivace::VIVACE_ISA

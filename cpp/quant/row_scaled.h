// The stored rows of W?A16 and W?A8: what quantised checkpoints become when they are loaded (docs/quantisation.md).
// Internal linkage throughout, because kernels of every instruction-set level include this file.
#pragma once
#include <cstdint>
#include <cstring>

#include "core/simd/half.h"

namespace vivace {

// W?A16: a group of weights has one word, the high 24 bits of a float32 scale and a zero point in the low byte; value =
// scale · (code - zero). 16 significant bits hold every 16-bit float exactly, and times a code less a zero point they
// are exact in float32. Four-bit codes and their zero points are unsigned, eight-bit ones signed. Nibbles lie in the
// order of columns, the low one first.
//   W8A16, W4A16      the word, then all codes of the row
//   W?A16_Gn          per n values the word, then their codes
static inline float word_scale(uint32_t word) {
  return f32_from_bits(word & 0xffffff00u);
}
static inline int word_zero(uint32_t word, bool signed_zero) {
  return signed_zero ? static_cast<int8_t>(word) : static_cast<int>(word & 255);
}
static inline uint32_t scale_word(float scale, int zero) {
  const uint32_t bits = bits_from_f32(scale);
  return ((bits + 0x7f + ((bits >> 8) & 1)) & 0xffffff00u) | static_cast<uint8_t>(zero);
}
static inline uint32_t load_word(const void* p) {
  uint32_t word;
  std::memcpy(&word, p, 4);
  return word;
}

// W?A8: a row begins with this; value = scale · code - shift. Products with 8-bit activations are summed over the whole
// row in integers.
//   W8A8              signed codes
//   W4A8              unsigned nibbles in the order of columns
//   W4A8_G128         per 128 values s, z and 64 bytes of nibbles; code = s · nibble + z modulo 256, signed
struct RowScale {
  float scale, shift;
};
static inline RowScale load_row_scale(const void* p) {
  RowScale row;
  std::memcpy(&row, p, sizeof(row));
  return row;
}

struct BlockW4A8 {
  uint8_t scale;  // at most 17, so that 15 · scale fits a byte
  int8_t zero;    // -scale · zero point
  uint8_t codes[64];
};
static_assert(sizeof(BlockW4A8) == 66);

}  // namespace vivace

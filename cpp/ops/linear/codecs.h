// How each quantised format gives up its codes and scales, for kernels of `linear` (files compiled per level).
//
// A codec's unit is a stretch of 256 values of one row: one block, or up to eight blocks of 32.
//   highest, offset   value = scale · (code - offset) + min; signed codes have highest = signed_codes and no offset
//   halves            scales belong to 16 values instead of 32
//   has_min           min is not zero
//   codes(row, g)     the 32 codes of group g, in order
//   scales(row, …)    formats with blocks of 256: small integer scales and minima, 8 or 16
#pragma once
#include "core/simd/codes.h"
#include "quant/blocks.h"

namespace vivace::VIVACE_ISA {

// Kernels read a half's bits without the inline members of StoredHalf, which other levels may share.
inline uint16_t half_bits(const StoredHalf& half) {
  uint16_t bits;
  std::memcpy(&bits, &half, 2);
  return bits;
}

template <class Block>
inline const Block* blocks_at(const std::byte* row) {
  return reinterpret_cast<const Block*>(row);
}

struct CodecQ4_0 {
  using Block = BlockQ4_0;
  static constexpr int width = 32, highest = 15, offset = 8;
  static constexpr bool halves = false, has_min = false;
  static Bytes codes(const std::byte* row, int g) { return load_nibbles(blocks_at<Block>(row)[g].qs); }
};

struct CodecQ4_1 {
  using Block = BlockQ4_1;
  static constexpr int width = 32, highest = 15, offset = 0;
  static constexpr bool halves = false, has_min = true;
  static Bytes codes(const std::byte* row, int g) { return load_nibbles(blocks_at<Block>(row)[g].qs); }
};

struct CodecQ5_0 {
  using Block = BlockQ5_0;
  static constexpr int width = 32, highest = 31, offset = 16;
  static constexpr bool halves = false, has_min = false;
  static Bytes codes(const std::byte* row, int g) {
    const Block& block = blocks_at<Block>(row)[g];
    return load_nibbles(block.qs) | spread_bits(block.qh, 16);
  }
};

struct CodecQ5_1 {
  using Block = BlockQ5_1;
  static constexpr int width = 32, highest = 31, offset = 0;
  static constexpr bool halves = false, has_min = true;
  static Bytes codes(const std::byte* row, int g) {
    const Block& block = blocks_at<Block>(row)[g];
    return load_nibbles(block.qs) | spread_bits(block.qh, 16);
  }
};

struct CodecQ8_0 {
  using Block = BlockQ8_0;
  static constexpr int width = 32, highest = signed_codes, offset = 0;
  static constexpr bool halves = false, has_min = false;
  static Bytes codes(const std::byte* row, int g) { return load_bytes(blocks_at<Block>(row)[g].qs); }
};

struct CodecIQ4_NL {
  using Block = BlockIQ4_NL;
  static constexpr int width = 32, highest = signed_codes, offset = 0;
  static constexpr bool halves = false, has_min = false;
  static Bytes codes(const std::byte* row, int g) {
    return look_up(iq4_levels, load_nibbles(blocks_at<Block>(row)[g].qs));
  }
};

struct CodecIQ4_XS {
  using Block = BlockIQ4_XS;
  static constexpr int width = 256, highest = signed_codes, offset = 0;
  static constexpr bool halves = false, has_min = false;
  static Bytes codes(const std::byte* row, int g) {
    return look_up(iq4_levels, load_nibbles(blocks_at<Block>(row)->qs + 16 * g));
  }
  static void scales(const std::byte* row, int8_t* scales, int8_t*) {
    const Block& block = *blocks_at<Block>(row);
    for (int j = 0; j < 8; ++j) {
      const int low = block.sc_low[j / 2] >> (j % 2 * 4) & 15, high = block.sc_high[j / 4] >> (j % 4 * 2) & 3;
      scales[j] = static_cast<int8_t>((low | high << 4) - 32);
    }
  }
};

// Two bits of 32 bytes.
inline Bytes two_bits(const uint8_t* bytes, int place) {
  return shift_right(load_bytes(bytes), 2 * place) & splat_byte(3);
}

struct CodecQ2_K {
  using Block = BlockQ2_K;
  static constexpr int width = 256, highest = 3, offset = 0;
  static constexpr bool halves = true, has_min = true;
  static Bytes codes(const std::byte* row, int g) { return two_bits(blocks_at<Block>(row)->qs + g / 4 * 32, g % 4); }
  static void scales(const std::byte* row, int8_t* scales, int8_t* mins) {
    const uint8_t* sc = blocks_at<Block>(row)->sc;
    for (int j = 0; j < 16; ++j) {
      scales[j] = static_cast<int8_t>(sc[j] & 15);
      mins[j] = static_cast<int8_t>(sc[j] >> 4);
    }
  }
};

struct CodecQ3_K {
  using Block = BlockQ3_K;
  static constexpr int width = 256, highest = 7, offset = 4;
  static constexpr bool halves = true, has_min = false;
  static Bytes codes(const std::byte* row, int g) {
    const Block& block = *blocks_at<Block>(row);
    const Bytes third = shift_right(load_bytes(block.hmask), g) & splat_byte(1);
    return two_bits(block.qs + g / 4 * 32, g % 4) | shift_left(third, 2);
  }
  static void scales(const std::byte* row, int8_t* scales, int8_t*) {
    const uint8_t* sc = blocks_at<Block>(row)->sc;
    for (int j = 0; j < 16; ++j) {
      const int low = sc[j % 8] >> (j / 8 * 4) & 15, high = sc[8 + j % 4] >> (j / 4 * 2) & 3;
      scales[j] = static_cast<int8_t>((low | high << 4) - 32);
    }
  }
};

// Q4_K and Q5_K: eight scales and eight minima of six bits in 12 bytes, four at a time.
inline void six_bit_scales(const uint8_t* sc, int8_t* scales, int8_t* mins) {
  uint32_t words[3];
  std::memcpy(words, sc, 12);
  const uint32_t low = 0x0f0f0f0f, high = 0x03030303;
  const uint32_t scale[2] = {words[0] & 0x3f3f3f3f, (words[2] & low) | (words[0] >> 6 & high) << 4};
  const uint32_t min[2] = {words[1] & 0x3f3f3f3f, (words[2] >> 4 & low) | (words[1] >> 6 & high) << 4};
  std::memcpy(scales, scale, 8);
  std::memcpy(mins, min, 8);
}

// 32 nibbles of one half of 32 bytes.
inline Bytes half_nibbles(const uint8_t* bytes, int half) {
  return shift_right(load_bytes(bytes), 4 * half) & splat_byte(15);
}

struct CodecQ4_K {
  using Block = BlockQ4_K;
  static constexpr int width = 256, highest = 15, offset = 0;
  static constexpr bool halves = false, has_min = true;
  static Bytes codes(const std::byte* row, int g) {
    return half_nibbles(blocks_at<Block>(row)->qs + g / 2 * 32, g % 2);
  }
  static void scales(const std::byte* row, int8_t* scales, int8_t* mins) {
    six_bit_scales(blocks_at<Block>(row)->sc, scales, mins);
  }
};

struct CodecQ5_K {
  using Block = BlockQ5_K;
  static constexpr int width = 256, highest = 31, offset = 0;
  static constexpr bool halves = false, has_min = true;
  static Bytes codes(const std::byte* row, int g) {
    const Block& block = *blocks_at<Block>(row);
    const Bytes fifth = shift_right(load_bytes(block.qh), g) & splat_byte(1);
    return half_nibbles(block.qs + g / 2 * 32, g % 2) | shift_left(fifth, 4);
  }
  static void scales(const std::byte* row, int8_t* scales, int8_t* mins) {
    six_bit_scales(blocks_at<Block>(row)->sc, scales, mins);
  }
};

struct CodecQ6_K {
  using Block = BlockQ6_K;
  static constexpr int width = 256, highest = 63, offset = 32;
  static constexpr bool halves = true, has_min = false;
  static Bytes codes(const std::byte* row, int g) {
    const Block& block = *blocks_at<Block>(row);
    const int t = g / 4, v = g % 4;
    return half_nibbles(block.ql + 64 * t + v % 2 * 32, v / 2) | shift_left(two_bits(block.qh + 32 * t, v), 4);
  }
  static void scales(const std::byte* row, int8_t* scales, int8_t*) {
    std::memcpy(scales, blocks_at<Block>(row)->sc, 16);
  }
};

}  // namespace vivace::VIVACE_ISA

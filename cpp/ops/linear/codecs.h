// How each quantised format fills a panel, for kernels of `linear` (files compiled per level).
//
// A codec's unit is a stretch of 256 values of each row: one block, or up to eight blocks of 32.
//   highest, offset     value = scale · (code - offset) + min; signed codes have highest = signed_codes and no offset
//   halves, has_min     scales belong to 16 values instead of 32; min is not zero
//   codes(rows, …)      puts codes in order: of all groups, or of block `g` where blocks have 32 values
//   scales(rows, …)     formats with blocks of 256: puts the small integer scales and minima, times `d` and `dmin`
// Nothing beyond the block is read: it may be the last of a mapped file.
#pragma once
#include "ops/linear/panel.h"
#include "quant/blocks.h"

namespace vivace::VIVACE_ISA {

using Codes = uint8_t (*)[8][4 * lanes];

inline Ints each_byte(int value) {
  return splat(value * 0x01010101);
}
inline Ints low_nibbles(Ints a) {
  return a & each_byte(15);
}
inline Ints high_nibbles(Ints a) {
  return (a >> 4) & each_byte(15);
}
// Bits 2·place and 2·place + 1 of every byte.
inline Ints two_bits(Ints a, int place) {
  return (a >> (2 * place)) & each_byte(3);
}
// Bit `place` of every byte.
inline Ints one_bit(Ints a, int place) {
  return (a >> place) & each_byte(1);
}
// Byte `index` of every word as a signed number.
inline F32 signed_byte(Ints a, int index) {
  return to_f32(shift_signed(a << (24 - 8 * index), 24));
}

// Word w of 32 bytes, w = 0 … 7.
inline void eight_words(Rows rows, int64_t offset, Ints* out) {
  side_by_side(rows, offset, out);
  side_by_side(rows, offset + 16, out + 4);
}

// 16 bytes as 32 codes: 16 low nibbles, then 16 high ones.
inline void nibble_words(Rows rows, int64_t offset, Ints* out) {
  side_by_side(rows, offset, out);
  for (int w = 0; w < 4; ++w) {
    out[w + 4] = high_nibbles(out[w]);
    out[w] = low_nibbles(out[w]);
  }
}

inline void put(uint8_t (*codes)[4 * lanes], const Ints* words) {
  for (int w = 0; w < 8; ++w) store_ints(codes[w], words[w]);
}

// The 16-bit float at `offset` in every row.
inline F32 halves_at(Rows rows, int64_t offset) {
  uint16_t halves[lanes];
  for (int row = 0; row < lanes; ++row) std::memcpy(halves + row, rows[row] + offset, 2);
  return load_f16(halves);
}

// Scales 4i … 4i + 3, one byte each.
inline void put_scales(float (*out)[lanes], int i, Ints bytes, F32 unit) {
  for (int k = 0; k < 4; ++k) store(out[4 * i + k], signed_byte(bytes, k) * unit);
}

struct CodecQ4_0 {
  using Block = BlockQ4_0;
  static constexpr int width = 32, highest = 15, offset = 8;
  static constexpr bool halves = false, has_min = false;
  static void codes(Rows rows, int g, Codes out) {
    Ints words[8];
    nibble_words(rows, g * sizeof(Block) + offsetof(Block, qs), words);
    put(out[g], words);
  }
};

struct CodecQ4_1 {
  using Block = BlockQ4_1;
  static constexpr int width = 32, highest = 15, offset = 0;
  static constexpr bool halves = false, has_min = true;
  static void codes(Rows rows, int g, Codes out) {
    Ints words[8];
    nibble_words(rows, g * sizeof(Block) + offsetof(Block, qs), words);
    put(out[g], words);
  }
};

// Q5_0, Q5_1: bit i of the 32 at `qh` is the fifth bit of code i.
template <class Block>
inline void five_bit_codes(Rows rows, int g, Codes out) {
  Ints words[8];
  nibble_words(rows, g * sizeof(Block) + offsetof(Block, qs), words);
  uint32_t bits[lanes];
  for (int row = 0; row < lanes; ++row) std::memcpy(bits + row, rows[row] + g * sizeof(Block) + offsetof(Block, qh), 4);
  const Ints fifth = load_ints(bits);
  for (int w = 0; w < 8; ++w) {
    // Four bits abcd to the lowest bits of four bytes: copies 7 and 14 places up, of which one bit each is kept.
    Ints four_bits = (fifth >> (4 * w)) & splat(15);
    four_bits = four_bits | four_bits << 14;
    four_bits = (four_bits | four_bits << 7) & each_byte(1);
    words[w] = words[w] | four_bits << 4;
  }
  put(out[g], words);
}

struct CodecQ5_0 {
  using Block = BlockQ5_0;
  static constexpr int width = 32, highest = 31, offset = 16;
  static constexpr bool halves = false, has_min = false;
  static void codes(Rows rows, int g, Codes out) { five_bit_codes<Block>(rows, g, out); }
};

struct CodecQ5_1 {
  using Block = BlockQ5_1;
  static constexpr int width = 32, highest = 31, offset = 0;
  static constexpr bool halves = false, has_min = true;
  static void codes(Rows rows, int g, Codes out) { five_bit_codes<Block>(rows, g, out); }
};

// Stores signed codes in the form that Dot wants.
inline void put_signed(uint8_t (*codes)[4 * lanes], Ints* words) {
  if constexpr (signed_bias != 0)
    for (int w = 0; w < 8; ++w) words[w] = words[w] ^ splat(static_cast<int32_t>(0x80808080));
  put(codes, words);
}

struct CodecQ8_0 {
  using Block = BlockQ8_0;
  static constexpr int width = 32, highest = signed_codes, offset = 0;
  static constexpr bool halves = false, has_min = false;
  static void codes(Rows rows, int g, Codes out) {
    Ints words[8];
    eight_words(rows, g * sizeof(Block) + offsetof(Block, qs), words);
    put_signed(out[g], words);
  }
};

inline void put_levels(uint8_t (*codes)[4 * lanes], Rows rows, int64_t offset) {
  Ints words[8];
  nibble_words(rows, offset, words);
  for (int w = 0; w < 8; ++w) words[w] = look_up(iq4_levels, words[w]);
  put_signed(codes, words);
}

struct CodecIQ4_NL {
  using Block = BlockIQ4_NL;
  static constexpr int width = 32, highest = signed_codes, offset = 0;
  static constexpr bool halves = false, has_min = false;
  static void codes(Rows rows, int g, Codes out) { put_levels(out[g], rows, g * sizeof(Block) + offsetof(Block, qs)); }
};

struct CodecIQ4_XS {
  using Block = BlockIQ4_XS;
  static constexpr int width = 256, highest = signed_codes, offset = 0;
  static constexpr bool halves = false, has_min = false;
  static void codes(Rows rows, Codes out) {
    for (int g = 0; g < groups; ++g) put_levels(out[g], rows, offsetof(Block, qs) + 16 * g);
  }
  static void scales(Rows rows, F32 d, F32, Panel& panel) {
    Ints words[4];  // d and sc_high; sc_low
    side_by_side(rows, 0, words);
    for (int j = 0; j < groups; ++j) {
      const Ints low = (words[1] >> (4 * j)) & splat(15), high = (words[0] >> (16 + 2 * j)) & splat(3);
      store(panel.scales[j], to_f32((low | high << 4) + splat(-32)) * d);
    }
  }
};

struct CodecQ2_K {
  using Block = BlockQ2_K;
  static constexpr int width = 256, highest = 3, offset = 0;
  static constexpr bool halves = true, has_min = true;
  static void codes(Rows rows, Codes out) {
    for (int t = 0; t < 2; ++t) {
      Ints raw[8], words[8];
      eight_words(rows, offsetof(Block, qs) + 32 * t, raw);
      for (int v = 0; v < 4; ++v) {
        for (int w = 0; w < 8; ++w) words[w] = two_bits(raw[w], v);
        put(out[4 * t + v], words);
      }
    }
  }
  static void scales(Rows rows, F32 d, F32 dmin, Panel& panel) {
    Ints words[4];
    side_by_side(rows, offsetof(Block, sc), words);
    for (int i = 0; i < 4; ++i) {
      put_scales(panel.scales, i, low_nibbles(words[i]), d);
      put_scales(panel.mins, i, high_nibbles(words[i]), dmin);
    }
  }
};

struct CodecQ3_K {
  using Block = BlockQ3_K;
  static constexpr int width = 256, highest = 7, offset = 4;
  static constexpr bool halves = true, has_min = false;
  static void codes(Rows rows, Codes out) {
    Ints mask[8];
    eight_words(rows, offsetof(Block, hmask), mask);
    for (int t = 0; t < 2; ++t) {
      Ints raw[8], words[8];
      eight_words(rows, offsetof(Block, qs) + 32 * t, raw);
      for (int v = 0; v < 4; ++v) {
        for (int w = 0; w < 8; ++w) words[w] = two_bits(raw[w], v) | one_bit(mask[w], 4 * t + v) << 2;
        put(out[4 * t + v], words);
      }
    }
  }
  static void scales(Rows rows, F32 d, F32, Panel& panel) {
    // The 16 bytes that end with the block hold two codes' bytes, the 12 of the scales, and d.
    Ints words[4];
    side_by_side(rows, sizeof(Block) - 16, words);
    const Ints first = words[0] >> 16 | words[1] << 16, second = words[1] >> 16 | words[2] << 16;
    const Ints high = words[2] >> 16 | words[3] << 16;
    const Ints low[4] = {low_nibbles(first), low_nibbles(second), high_nibbles(first), high_nibbles(second)};
    for (int i = 0; i < 4; ++i) {
      // six bits - 32: flip the highest and let it be the sign.
      const Ints six = (low[i] | two_bits(high, i) << 4) ^ each_byte(32);
      put_scales(panel.scales, i, six | (six & each_byte(32)) << 1 | (six & each_byte(32)) << 2, d);
    }
  }
};

// Q4_K and Q5_K: d, dmin and the 12 bytes of eight scales and eight minima of six bits are the block's first 16 bytes.
inline void six_bit_scales(Rows rows, F32 d, F32 dmin, Panel& panel) {
  Ints words[4];
  side_by_side(rows, 0, words);
  const Ints six = each_byte(63);
  put_scales(panel.scales, 0, words[1] & six, d);
  put_scales(panel.scales, 1, low_nibbles(words[3]) | two_bits(words[1], 3) << 4, d);
  put_scales(panel.mins, 0, words[2] & six, dmin);
  put_scales(panel.mins, 1, high_nibbles(words[3]) | two_bits(words[2], 3) << 4, dmin);
}

struct CodecQ4_K {
  using Block = BlockQ4_K;
  static constexpr int width = 256, highest = 15, offset = 0;
  static constexpr bool halves = false, has_min = true;
  static void codes(Rows rows, Codes out) {
    for (int t = 0; t < 4; ++t) {
      Ints raw[8], words[8];
      eight_words(rows, offsetof(Block, qs) + 32 * t, raw);
      for (int w = 0; w < 8; ++w) words[w] = low_nibbles(raw[w]);
      put(out[2 * t], words);
      for (int w = 0; w < 8; ++w) words[w] = high_nibbles(raw[w]);
      put(out[2 * t + 1], words);
    }
  }
  static void scales(Rows rows, F32 d, F32 dmin, Panel& panel) { six_bit_scales(rows, d, dmin, panel); }
};

struct CodecQ5_K {
  using Block = BlockQ5_K;
  static constexpr int width = 256, highest = 31, offset = 0;
  static constexpr bool halves = false, has_min = true;
  static void codes(Rows rows, Codes out) {
    Ints fifth[8];
    eight_words(rows, offsetof(Block, qh), fifth);
    for (int t = 0; t < 4; ++t) {
      Ints raw[8], words[8];
      eight_words(rows, offsetof(Block, qs) + 32 * t, raw);
      for (int w = 0; w < 8; ++w) words[w] = low_nibbles(raw[w]) | one_bit(fifth[w], 2 * t) << 4;
      put(out[2 * t], words);
      for (int w = 0; w < 8; ++w) words[w] = high_nibbles(raw[w]) | one_bit(fifth[w], 2 * t + 1) << 4;
      put(out[2 * t + 1], words);
    }
  }
  static void scales(Rows rows, F32 d, F32 dmin, Panel& panel) { six_bit_scales(rows, d, dmin, panel); }
};

struct CodecQ6_K {
  using Block = BlockQ6_K;
  static constexpr int width = 256, highest = 63, offset = 32;
  static constexpr bool halves = true, has_min = false;
  static void codes(Rows rows, Codes out) {
    for (int t = 0; t < 2; ++t) {
      Ints high[8];
      eight_words(rows, offsetof(Block, qh) + 32 * t, high);
      for (int side = 0; side < 2; ++side) {
        Ints raw[8], words[8];
        eight_words(rows, offsetof(Block, ql) + 64 * t + 32 * side, raw);
        for (int w = 0; w < 8; ++w) words[w] = low_nibbles(raw[w]) | two_bits(high[w], side) << 4;
        put(out[4 * t + side], words);
        for (int w = 0; w < 8; ++w) words[w] = high_nibbles(raw[w]) | two_bits(high[w], side + 2) << 4;
        put(out[4 * t + side + 2], words);
      }
    }
  }
  static void scales(Rows rows, F32 d, F32, Panel& panel) {
    Ints words[4];
    side_by_side(rows, offsetof(Block, sc), words);
    for (int i = 0; i < 4; ++i) put_scales(panel.scales, i, words[i], d);
  }
};

// Fills the panel with the first `count` groups of every row, and fetches as many bytes from `next` on: the next
// panel's rows, in order of address, because a processor follows one long stream better than `lanes` short ones.
template <class Codec>
inline void unpack(Rows rows, int count, const std::byte* next, Panel& panel) {
  using Block = typename Codec::Block;
  constexpr int block_bytes = lanes * static_cast<int>(sizeof(Block));
  if constexpr (Codec::width == 32) {
    for (int g = 0; g < count; ++g) {
      for (int line = 0; line < block_bytes; line += 64) prefetch(next + g * block_bytes + line);
      Codec::codes(rows, g, panel.codes);
      store(panel.scales[g], halves_at(rows, g * sizeof(Block) + offsetof(Block, d)));
      if constexpr (Codec::has_min) store(panel.mins[g], halves_at(rows, g * sizeof(Block) + offsetof(Block, m)));
    }
  } else {
    for (int line = 0; line < block_bytes; line += 64) prefetch(next + line);
    Codec::codes(rows, panel.codes);
    F32 dmin = zero();
    if constexpr (Codec::has_min) dmin = -halves_at(rows, offsetof(Block, dmin));
    Codec::scales(rows, halves_at(rows, offsetof(Block, d)), dmin, panel);
  }
}

}  // namespace vivace::VIVACE_ISA

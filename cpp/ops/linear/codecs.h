// How each quantised format becomes codes and scales, for kernels of `linear` (files compiled per level).
//
// A codec reads `raw`: the bytes of a stretch of 256 values of every row (one block, or eight blocks of 32) as words,
// word i of all rows in raw[i]. Where a stretch is no multiple of 16 bytes, its last 16 bytes follow as four words.
//   highest, offset     value = scale · (code - offset) + min; signed codes have highest = signed_codes and no offset
//   halves, has_min     scales belong to 16 values instead of 32; min is not zero
//   codes<g>(raw, …)    the eight words of codes of group g
//   scales(raw, …)      formats with blocks of 256: small integer scales and minima times `d` and `dmin`
// Nothing beyond the rows is read: they may be the last of a mapped file. Words that were laid side by side when the
// model was loaded come in the order of ops/linear/order.h instead.
#pragma once
#include "ops/linear/order.h"
#include "quant/blocks.h"

namespace vivace::VIVACE_ISA {

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

// 16 bytes as 32 codes: 16 low nibbles, then 16 high ones.
inline void nibble_words(const Ints (&words)[4], Ints* out) {
  for (int w = 0; w < 4; ++w) {
    out[w] = low_nibbles(words[w]);
    out[w + 4] = high_nibbles(words[w]);
  }
}

// The same at byte `at` of block g.
template <class Order, class Codec, int g, int at>
inline void nibbles_of_block(Raw raw, Ints* out) {
  nibble_words({Order::template word<Codec, g, at>(raw), Order::template word<Codec, g, at + 4>(raw),
                Order::template word<Codec, g, at + 8>(raw), Order::template word<Codec, g, at + 12>(raw)},
               out);
}

// Scales 4i … 4i + 3, one byte each.
inline void put_scales(float (*out)[lanes], int i, Ints bytes, F32 unit) {
  for (int k = 0; k < 4; ++k) store(out[4 * i + k], signed_byte(bytes, k) * unit);
}

struct CodecQ4_0 {
  using Block = BlockQ4_0;
  static constexpr int width = 32, highest = 15, offset = 8;
  static constexpr bool halves = false, has_min = false;
  template <class Order, int g>
  static void codes(Raw raw, Ints* words) {
    nibbles_of_block<Order, CodecQ4_0, g, offsetof(Block, qs)>(raw, words);
  }
};

struct CodecQ4_1 {
  using Block = BlockQ4_1;
  static constexpr int width = 32, highest = 15, offset = 0;
  static constexpr bool halves = false, has_min = true;
  template <class Order, int g>
  static void codes(Raw raw, Ints* words) {
    nibbles_of_block<Order, CodecQ4_1, g, offsetof(Block, qs)>(raw, words);
  }
};

// Q5_0, Q5_1: bit i of the 32 at `qh` is the fifth bit of code i.
template <class Order, class Codec, int g>
inline void five_bit_codes(Raw raw, Ints* words) {
  using Block = typename Codec::Block;
  nibbles_of_block<Order, Codec, g, offsetof(Block, qs)>(raw, words);
  const Ints fifth = Order::template word<Codec, g, offsetof(Block, qh)>(raw);
  for (int w = 0; w < 8; ++w) {
    // Four bits abcd to the lowest bits of four bytes: copies 7 and 14 places up, of which one bit each is kept.
    Ints four_bits = (fifth >> (4 * w)) & splat(15);
    four_bits = four_bits | four_bits << 14;
    four_bits = (four_bits | four_bits << 7) & each_byte(1);
    words[w] = words[w] | four_bits << 4;
  }
}

struct CodecQ5_0 {
  using Block = BlockQ5_0;
  static constexpr int width = 32, highest = 31, offset = 16;
  static constexpr bool halves = false, has_min = false;
  template <class Order, int g>
  static void codes(Raw raw, Ints* words) {
    five_bit_codes<Order, CodecQ5_0, g>(raw, words);
  }
};

struct CodecQ5_1 {
  using Block = BlockQ5_1;
  static constexpr int width = 32, highest = 31, offset = 0;
  static constexpr bool halves = false, has_min = true;
  template <class Order, int g>
  static void codes(Raw raw, Ints* words) {
    five_bit_codes<Order, CodecQ5_1, g>(raw, words);
  }
};

// Signed codes in the form that Dot wants.
inline Ints as_dot_wants(Ints codes) {
  return signed_bias != 0 ? codes ^ splat(static_cast<int32_t>(0x80808080)) : codes;
}

struct CodecQ8_0 {
  using Block = BlockQ8_0;
  static constexpr int width = 32, highest = signed_codes, offset = 0;
  static constexpr bool halves = false, has_min = false;
  template <class Order, int g>
  static void codes(Raw raw, Ints* words) {
    constexpr int qs = offsetof(Block, qs);
    const auto word = [&]<int at>() { return as_dot_wants(Order::template word<CodecQ8_0, g, at>(raw)); };
    words[0] = word.template operator()<qs>(), words[1] = word.template operator()<qs + 4>();
    words[2] = word.template operator()<qs + 8>(), words[3] = word.template operator()<qs + 12>();
    words[4] = word.template operator()<qs + 16>(), words[5] = word.template operator()<qs + 20>();
    words[6] = word.template operator()<qs + 24>(), words[7] = word.template operator()<qs + 28>();
  }
};

inline void to_levels(Ints* words) {
  for (int w = 0; w < 8; ++w) words[w] = as_dot_wants(look_up(iq4_levels, words[w]));
}

struct CodecIQ4_NL {
  using Block = BlockIQ4_NL;
  static constexpr int width = 32, highest = signed_codes, offset = 0;
  static constexpr bool halves = false, has_min = false;
  template <class Order, int g>
  static void codes(Raw raw, Ints* words) {
    nibbles_of_block<Order, CodecIQ4_NL, g, offsetof(Block, qs)>(raw, words);
    to_levels(words);
  }
};

struct CodecIQ4_XS {
  using Block = BlockIQ4_XS;
  static constexpr int width = 256, highest = signed_codes, offset = 0;
  static constexpr bool halves = false, has_min = false;
  template <class Order, int g>
  static void codes(Raw raw, Ints* words) {
    // The codes of the last group are the last 16 bytes.
    Raw nibbles = g == groups - 1 ? Order::template tail<sizeof(Block)>(raw) : raw + (offsetof(Block, qs) + 16 * g) / 4;
    nibble_words({nibbles[0], nibbles[1], nibbles[2], nibbles[3]}, words);
    to_levels(words);
  }
  template <class Order>
  static void scales(Raw raw, F32 d, F32, Scales& to) {
    // d and sc_high; sc_low
    for (int j = 0; j < groups; ++j) {
      const Ints low = (raw[1] >> (4 * j)) & splat(15), high = (raw[0] >> (16 + 2 * j)) & splat(3);
      store(to.scales[j], to_f32((low | high << 4) + splat(-32)) * d);
    }
  }
};

struct CodecQ2_K {
  using Block = BlockQ2_K;
  static constexpr int width = 256, highest = 3, offset = 0;
  static constexpr bool halves = true, has_min = true;
  template <class Order, int g>
  static void codes(Raw raw, Ints* words) {
    Raw bits = raw + offsetof(Block, qs) / 4 + g / 4 * 8;
    for (int w = 0; w < 8; ++w) words[w] = two_bits(bits[w], g % 4);
  }
  template <class Order>
  static void scales(Raw raw, F32 d, F32 dmin, Scales& to) {
    for (int i = 0; i < 4; ++i) {
      put_scales(to.scales, i, low_nibbles(raw[i]), d);
      put_scales(to.mins, i, high_nibbles(raw[i]), dmin);
    }
  }
};

struct CodecQ3_K {
  using Block = BlockQ3_K;
  static constexpr int width = 256, highest = 7, offset = 4;
  static constexpr bool halves = true, has_min = false;
  template <class Order, int g>
  static void codes(Raw raw, Ints* words) {
    Raw bits = raw + offsetof(Block, qs) / 4 + g / 4 * 8, mask = raw;
    for (int w = 0; w < 8; ++w) words[w] = two_bits(bits[w], g % 4) | one_bit(mask[w], g) << 2;
  }
  template <class Order>
  static void scales(Raw raw, F32 d, F32, Scales& to) {
    constexpr int at = offsetof(Block, sc);
    const Ints first = Order::template word_of_stretch<at, sizeof(Block)>(raw);
    const Ints second = Order::template word_of_stretch<at + 4, sizeof(Block)>(raw);
    const Ints high = Order::template word_of_stretch<at + 8, sizeof(Block)>(raw);
    const Ints low[4] = {low_nibbles(first), low_nibbles(second), high_nibbles(first), high_nibbles(second)};
    for (int i = 0; i < 4; ++i) {
      // six bits - 32: flip the highest and let it be the sign.
      const Ints six = (low[i] | two_bits(high, i) << 4) ^ each_byte(32);
      put_scales(to.scales, i, six | (six & each_byte(32)) << 1 | (six & each_byte(32)) << 2, d);
    }
  }
};

// Q4_K and Q5_K: d, dmin and the 12 bytes of eight scales and eight minima of six bits are the block's first 16 bytes.
inline void six_bit_scales(Raw words, F32 d, F32 dmin, Scales& to) {
  const Ints six = each_byte(63);
  put_scales(to.scales, 0, words[1] & six, d);
  put_scales(to.scales, 1, low_nibbles(words[3]) | two_bits(words[1], 3) << 4, d);
  put_scales(to.mins, 0, words[2] & six, dmin);
  put_scales(to.mins, 1, high_nibbles(words[3]) | two_bits(words[2], 3) << 4, dmin);
}

struct CodecQ4_K {
  using Block = BlockQ4_K;
  static constexpr int width = 256, highest = 15, offset = 0;
  static constexpr bool halves = false, has_min = true;
  template <class Order, int g>
  static void codes(Raw raw, Ints* words) {
    Raw nibbles = raw + offsetof(Block, qs) / 4 + g / 2 * 8;
    for (int w = 0; w < 8; ++w) words[w] = g % 2 == 0 ? low_nibbles(nibbles[w]) : high_nibbles(nibbles[w]);
  }
  template <class Order>
  static void scales(Raw raw, F32 d, F32 dmin, Scales& to) {
    six_bit_scales(raw, d, dmin, to);
  }
};

struct CodecQ5_K {
  using Block = BlockQ5_K;
  static constexpr int width = 256, highest = 31, offset = 0;
  static constexpr bool halves = false, has_min = true;
  template <class Order, int g>
  static void codes(Raw raw, Ints* words) {
    Raw nibbles = raw + offsetof(Block, qs) / 4 + g / 2 * 8, fifth = raw + offsetof(Block, qh) / 4;
    for (int w = 0; w < 8; ++w) {
      const Ints low = g % 2 == 0 ? low_nibbles(nibbles[w]) : high_nibbles(nibbles[w]);
      words[w] = low | one_bit(fifth[w], g) << 4;
    }
  }
  template <class Order>
  static void scales(Raw raw, F32 d, F32 dmin, Scales& to) {
    six_bit_scales(raw, d, dmin, to);
  }
};

struct CodecQ6_K {
  using Block = BlockQ6_K;
  static constexpr int width = 256, highest = 63, offset = 32;
  static constexpr bool halves = true, has_min = false;
  template <class Order, int g>
  static void codes(Raw raw, Ints* words) {
    // Quarters 0 … 3 of a half: low nibbles of two times 32 bytes, then their high ones.
    constexpr int half = g / 4, quarter = g % 4;
    Raw nibbles = raw + offsetof(Block, ql) / 4 + 16 * half + 8 * (quarter % 2);
    Raw high = raw + offsetof(Block, qh) / 4 + 8 * half;
    for (int w = 0; w < 8; ++w) {
      const Ints low = quarter < 2 ? low_nibbles(nibbles[w]) : high_nibbles(nibbles[w]);
      words[w] = low | two_bits(high[w], quarter) << 4;
    }
  }
  template <class Order>
  static void scales(Raw raw, F32 d, F32, Scales& to) {
    for (int i = 0; i < 4; ++i) put_scales(to.scales, i, raw[offsetof(Block, sc) / 4 + i], d);
  }
};

// Fetches a group's share of the stretches that come next in order of address: a processor follows one long stream
// better than `lanes` short ones, and a few lines at a time better than many at once.
template <class Codec>
inline void fetch_group(const std::byte* next, int g) {
  constexpr int share = lanes * stretch_bytes<Codec> / groups;
  for (int line = 0; line < share; line += 64) prefetch(next + g * share + line);
}

// Calls group.operator()<g>() for the first `count` groups of a stretch.
template <class Group>
inline void for_groups(int count, Group&& group) {
  group.template operator()<0>();
  if (count > 1) group.template operator()<1>();
  if (count > 2) group.template operator()<2>();
  if (count > 3) group.template operator()<3>();
  if (count > 4) group.template operator()<4>();
  if (count > 5) group.template operator()<5>();
  if (count > 6) group.template operator()<6>();
  if (count > 7) group.template operator()<7>();
}

// Calls pair.operator()<g>() with the first g of every pair of the first `count` groups of a stretch.
template <class Pair>
inline void for_pairs(int count, Pair&& pair) {
  pair.template operator()<0>();
  if (count > 2) pair.template operator()<2>();
  if (count > 4) pair.template operator()<4>();
  if (count > 6) pair.template operator()<6>();
}

// Takes out the scales of the first `count` groups of a stretch.
template <class Order, class Codec>
inline void read_scales(Raw raw, int count, Scales& to) {
  using Block = typename Codec::Block;
  constexpr int size = stretch_bytes<Codec>;
  if constexpr (Codec::width == 32) {
    for_pairs(count, [&]<int g>() {
      store(to.scales[g], Order::template half<Codec, g, offsetof(Block, d)>(raw));
      store(to.scales[g + 1], Order::template half<Codec, g + 1, offsetof(Block, d)>(raw));
      if constexpr (Codec::has_min) {
        store(to.mins[g], Order::template half<Codec, g, 2>(raw));
        store(to.mins[g + 1], Order::template half<Codec, g + 1, 2>(raw));
      }
    });
  } else {
    F32 dmin = zero();
    if constexpr (Codec::has_min) dmin = -Order::template half_of_stretch<offsetof(Block, dmin), size>(raw);
    Codec::template scales<Order>(raw, Order::template half_of_stretch<offsetof(Block, d), size>(raw), dmin, to);
  }
}

// Lays a stretch of every row side by side.
template <class Codec>
inline void read_stretch(Rows rows, Ints* raw) {
  constexpr int size = stretch_bytes<Codec>, whole = size / 16 * 16;
  int at = 0;
  for (; at + long_bytes <= whole; at += long_bytes) {
    long_side_by_side(rows, at, raw + at / 4);
  }
  for (; at < whole; at += 16) {
    side_by_side(rows, at, raw + at / 4);
  }
  if constexpr (whole < size) {
    side_by_side(rows, size - 16, raw + whole / 4);
  }
}

// The same where rows end within the stretch, after `count` blocks, or where fewer than `lanes` rows are left: zeros
// take the place of what is missing.
template <class Codec>
inline void read_part(Rows rows, int row_count, int count, Ints* raw) {
  constexpr int size = stretch_bytes<Codec>;
  std::byte copies[lanes][size] = {};
  for (int row = 0; row < row_count; ++row)
    std::memcpy(copies[row], rows[row], static_cast<size_t>(count) * sizeof(typename Codec::Block));
  read_stretch<Codec>({copies[0], size}, raw);
}

template <class Codec>
inline constexpr int raw_words = (stretch_bytes<Codec> + 15) / 16 * 4;

}  // namespace vivace::VIVACE_ISA

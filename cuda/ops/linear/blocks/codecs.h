// How the lanes of a warp take codes and scales of GGUF's quantised types out of shared memory; the layouts are those
// of cpp/quant/blocks.h. A step is 256 columns: eight blocks of 32, or one block.
//   value = scale · (code - offset) + min; scales belong to 32 columns, or with `halves` to 16
//   codes(row, j, t, out)   columns 8t … 8t + 7 of group j, a byte each
//   scales(row, j, half)    scale and minimum
#pragma once
#include "cuda/ops/linear/staged.h"

namespace vivace::cuda {

struct ScaleAndMin {
  float scale, min;
};

__device__ inline uint32_t low_nibbles(uint32_t word, int shift) {
  return word >> shift & 0x0f0f0f0fu;
}
// Bits 0 … 3 become the lowest bits of four bytes: copies 7, 14 and 21 places up, of which one bit each is kept.
__device__ inline uint32_t spread_bits(uint32_t bits) {
  return (bits & 15) * 0x00204081u & 0x01010101u;
}

// Four codes to levels of IQ4_NL and IQ4_XS (cpp/quant/blocks.h): the low three bits choose among eight bytes twice,
// the fourth between the two.
__device__ inline uint32_t iq4_word(uint32_t codes) {
  uint32_t selector = codes & 0x07070707u;
  selector = (selector | selector >> 4) & 0x00ff00ffu;
  selector = (selector | selector >> 8) & 0xffffu;
  const uint32_t low = __byte_perm(0xbfad9881u, 0xf6eaddcfu, selector);
  const uint32_t high = __byte_perm(0x26190d01u, 0x71594535u, selector);
  const uint32_t choose = (codes >> 3 & 0x01010101u) * 255;
  return (low & ~choose) | (high & choose);
}

// 32 codes of which 16 bytes have 16 low and 16 high nibbles, at `qs` of block j of `size` bytes.
template <int size, int qs>
struct SplitNibbles {
  static constexpr int columns = 256, bytes = 8 * size, header = 0, offset = 0;
  static constexpr bool halves = false, has_min = false;
  __device__ static void codes(const StagedRow& row, int j, int t, uint32_t (&out)[2]) {
    const int at = j * size + qs + 8 * (t & 1), shift = 4 * (t >> 1);
    out[0] = low_nibbles(row.word(at), shift);
    out[1] = low_nibbles(row.word(at + 4), shift);
  }
  __device__ static ScaleAndMin scales(const StagedRow& row, int j, int) { return {row.half(j * size), 0}; }
};

// The same with 32 fifth bits before the nibbles.
template <int size, int qs>
struct SplitFives : SplitNibbles<size, qs> {
  __device__ static void codes(const StagedRow& row, int j, int t, uint32_t (&out)[2]) {
    SplitNibbles<size, qs>::codes(row, j, t, out);
    const auto fifth = static_cast<uint32_t>(row.byte(j * size + qs - 4 + t));
    out[0] |= spread_bits(fifth) << 4;
    out[1] |= spread_bits(fifth >> 4) << 4;
  }
};

template <class Codec, int size>
struct WithMin : Codec {
  static constexpr bool has_min = true;
  __device__ static ScaleAndMin scales(const StagedRow& row, int j, int) {
    return {row.half(j * size), row.half(j * size + 2)};
  }
};

struct CodecQ4_0 : SplitNibbles<18, 2> {
  static constexpr int offset = 8;
};
struct CodecQ4_1 : WithMin<SplitNibbles<20, 4>, 20> {};
struct CodecQ5_0 : SplitFives<22, 6> {
  static constexpr int offset = 16;
};
struct CodecQ5_1 : WithMin<SplitFives<24, 8>, 24> {};

struct CodecIQ4_NL : SplitNibbles<18, 2> {
  __device__ static void codes(const StagedRow& row, int j, int t, uint32_t (&out)[2]) {
    SplitNibbles<18, 2>::codes(row, j, t, out);
    for (uint32_t& word : out) word = iq4_word(word);
  }
};

struct CodecQ8_0 : SplitNibbles<34, 2> {
  __device__ static void codes(const StagedRow& row, int j, int t, uint32_t (&out)[2]) {
    out[0] = row.word(j * 34 + 2 + 8 * t);
    out[1] = row.word(j * 34 + 6 + 8 * t);
  }
};

// Blocks of 256.
template <int size>
struct SuperBlock {
  static constexpr int columns = 256, bytes = size, header = 0, offset = 0;
  static constexpr bool halves = false, has_min = false;
};

struct CodecIQ4_XS : SuperBlock<136> {
  __device__ static void codes(const StagedRow& row, int j, int t, uint32_t (&out)[2]) {
    const int at = 8 + 16 * j + 8 * (t & 1), shift = 4 * (t >> 1);
    out[0] = iq4_word(low_nibbles(row.word(at), shift));
    out[1] = iq4_word(low_nibbles(row.word(at + 4), shift));
  }
  __device__ static ScaleAndMin scales(const StagedRow& row, int j, int) {
    const int low = row.byte(4 + j / 2) >> (j % 2 * 4) & 15, high = row.byte(2 + j / 4) >> (j % 4 * 2) & 3;
    return {row.half(0) * static_cast<float>((low | high << 4) - 32), 0};
  }
};

struct CodecQ2_K : SuperBlock<84> {
  static constexpr bool halves = true, has_min = true;
  __device__ static void codes(const StagedRow& row, int j, int t, uint32_t (&out)[2]) {
    const int at = 16 + j / 4 * 32 + 8 * t, shift = j % 4 * 2;
    out[0] = row.word(at) >> shift & 0x03030303u;
    out[1] = row.word(at + 4) >> shift & 0x03030303u;
  }
  __device__ static ScaleAndMin scales(const StagedRow& row, int j, int half) {
    const int both = row.byte(2 * j + half);
    return {row.half(80) * static_cast<float>(both & 15), -row.half(82) * static_cast<float>(both >> 4)};
  }
};

struct CodecQ3_K : SuperBlock<110> {
  static constexpr int offset = 4;
  static constexpr bool halves = true;
  __device__ static void codes(const StagedRow& row, int j, int t, uint32_t (&out)[2]) {
    for (int i = 0; i < 2; ++i) {
      const uint32_t low = row.word(32 + j / 4 * 32 + 8 * t + 4 * i) >> (j % 4 * 2) & 0x03030303u;
      out[i] = low | (row.word(8 * t + 4 * i) >> j & 0x01010101u) << 2;
    }
  }
  __device__ static ScaleAndMin scales(const StagedRow& row, int j, int half) {
    const int k = 2 * j + half;
    const int low = row.byte(96 + k % 8) >> (k / 8 * 4) & 15, high = row.byte(104 + k % 4) >> (k / 4 * 2) & 3;
    return {row.half(108) * static_cast<float>((low | high << 4) - 32), 0};
  }
};

// Six bits of scale and of minimum of group j: cpp/quant/blocks.h.
__device__ inline ScaleAndMin six_bit_scales(const StagedRow& row, int j) {
  int scale, min;
  if (j < 4) {
    scale = row.byte(4 + j) & 63;
    min = row.byte(8 + j) & 63;
  } else {
    const int both = row.byte(8 + j);
    scale = (both & 15) | row.byte(j) >> 6 << 4;
    min = both >> 4 | row.byte(4 + j) >> 6 << 4;
  }
  return {row.half(0) * static_cast<float>(scale), -row.half(2) * static_cast<float>(min)};
}

struct CodecQ4_K : SuperBlock<144> {
  static constexpr bool has_min = true;
  __device__ static void codes(const StagedRow& row, int j, int t, uint32_t (&out)[2]) {
    const int at = 16 + j / 2 * 32 + 8 * t, shift = j % 2 * 4;
    out[0] = low_nibbles(row.aligned_word(at), shift);
    out[1] = low_nibbles(row.aligned_word(at + 4), shift);
  }
  __device__ static ScaleAndMin scales(const StagedRow& row, int j, int) { return six_bit_scales(row, j); }
};

struct CodecQ5_K : SuperBlock<176> {
  static constexpr bool has_min = true;
  __device__ static void codes(const StagedRow& row, int j, int t, uint32_t (&out)[2]) {
    for (int i = 0; i < 2; ++i) {
      const uint32_t low = low_nibbles(row.aligned_word(48 + j / 2 * 32 + 8 * t + 4 * i), j % 2 * 4);
      out[i] = low | (row.aligned_word(16 + 8 * t + 4 * i) >> j & 0x01010101u) << 4;
    }
  }
  __device__ static ScaleAndMin scales(const StagedRow& row, int j, int) { return six_bit_scales(row, j); }
};

struct CodecQ6_K : SuperBlock<210> {
  static constexpr int offset = 32;
  static constexpr bool halves = true;
  __device__ static void codes(const StagedRow& row, int j, int t, uint32_t (&out)[2]) {
    const int half = j / 4, quarter = j % 4;
    for (int i = 0; i < 2; ++i) {
      const int at = 8 * t + 4 * i;
      const uint32_t low = low_nibbles(row.word(64 * half + 32 * (quarter % 2) + at), quarter / 2 * 4);
      out[i] = low | (row.word(128 + 32 * half + at) >> (2 * quarter) & 0x03030303u) << 4;
    }
  }
  __device__ static ScaleAndMin scales(const StagedRow& row, int j, int half) {
    return {row.half(208) * static_cast<float>(row.signed_byte(192 + 2 * j + half)), 0};
  }
};

}  // namespace vivace::cuda

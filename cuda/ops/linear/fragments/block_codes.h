// Units of GGUF's types (cuda/quant/block_fragments.h) become operands of mma.m16n8k32 and scales of rows g and g + 8.
//   operand(codes, j, a)   of 32 columns j: bytes
//   Scales                 of a unit: scale(half, j), and min(half, j) with has_min; half: row g or g + 8. Where scales
//   belong
//                          to 16 columns (layout().halves), numbers 2j and 2j + 1
//   base                   what sums of products begin with: bits of a float of which a whole number more is a float
//                          that is larger by it, or by a quarter to a 32nd of it
#pragma once
#include <cuda_fp16.h>

#include "cuda/core/shared.h"
#include "cuda/core/unroll.h"
#include "cuda/quant/block_fragments.h"

namespace vivace::cuda {

// 1.5 · 2^23, 2^21, 2^20, 2^19 and 2^18.
inline constexpr int whole_base = 0x4b400000, quarter_base = 0x4a400000, eighth_base = 0x49c00000,
                     sixteenth_base = 0x49400000, thirtysecond_base = 0x48c00000;

__device__ inline float lower_half(uint32_t word) {
  return __half2float(__ushort_as_half(static_cast<unsigned short>(word & 0xffffu)));
}
__device__ inline float upper_half(uint32_t word) {
  return __half2float(__ushort_as_half(static_cast<unsigned short>(word >> 16)));
}

// Scales of four blocks of 32, as 16-bit floats.
struct BlockScales {
  uint2 words[2];

  __device__ void load(const Shared<uint8_t>& unit, bool) {
    const auto row = static_cast<size_t>(threadIdx.x % 32 / 4);
    UNROLL
    for (size_t half = 0; half < 2; ++half) words[half] = load_as<uint2>(unit, 8 * (row + 8 * half));
  }
  __device__ float scale(int half, int j) const {
    const uint32_t word = j < 2 ? words[half].x : words[half].y;
    return j % 2 == 0 ? lower_half(word) : upper_half(word);
  }
  __device__ float min(int, int) const { return 0; }
};

// Of four blocks of 32 the scale and the minimum, as 16-bit floats.
struct PairScales {
  uint4 words[2];

  __device__ void load(const Shared<uint8_t>& unit, bool) {
    const auto row = static_cast<size_t>(threadIdx.x % 32 / 4);
    UNROLL
    for (size_t half = 0; half < 2; ++half) words[half] = load_as<uint4>(unit, 16 * (row + 8 * half));
  }
  __device__ uint32_t pair(int half, int j) const {
    return j == 0 ? words[half].x : j == 1 ? words[half].y : j == 2 ? words[half].z : words[half].w;
  }
  __device__ float scale(int half, int j) const { return lower_half(pair(half, j)); }
  __device__ float min(int half, int j) const { return upper_half(pair(half, j)); }
};

// Six bits of scale and of minimum for each 32 of 256 columns; what the odd unit needs waits from the even one on.
struct SixBitScales {
  float scales[2], mins[2];         // that multiply them
  uint32_t own[2][2], later[2][2];  // four scales, four minimums: a byte each

  __device__ void load(const Shared<uint8_t>& unit, bool odd) {
    const auto row = static_cast<size_t>(threadIdx.x % 32 / 4);
    UNROLL
    for (size_t half = 0; half < 2; ++half) {
      if (odd) {
        own[half][0] = later[half][0];
        own[half][1] = later[half][1];
        continue;
      }
      const uint4 head = load_as<uint4>(unit, 16 * (row + 8 * half));
      scales[half] = lower_half(head.x);
      mins[half] = -upper_half(head.x);
      own[half][0] = head.y & 0x3f3f3f3fu;
      own[half][1] = head.z & 0x3f3f3f3fu;
      later[half][0] = (head.w & 0x0f0f0f0fu) | (head.y >> 2 & 0x30303030u);
      later[half][1] = (head.w >> 4 & 0x0f0f0f0fu) | (head.z >> 2 & 0x30303030u);
    }
  }
  // factor · byte: 2^23 + byte is a float, and what it is multiplied with too much is taken off before rounding.
  __device__ static float times(float factor, uint32_t bytes, int j) {
    const uint32_t bits = __byte_perm(bytes, 0x4b000000u, 0x7440u | static_cast<uint32_t>(j));
    return fmaf(factor, __uint_as_float(bits), factor * -8388608.0f);
  }
  __device__ float scale(int half, int j) const { return times(scales[half], own[half][0], j); }
  __device__ float min(int half, int j) const { return times(mins[half], own[half][1], j); }
};

// A byte for each 16 columns.
struct ByteScales {
  float factors[2];
  uint2 bytes[2];  // plus 128

  __device__ void load(const Shared<uint8_t>& unit, bool) {
    const auto row = static_cast<size_t>(threadIdx.x % 32 / 4);
    UNROLL
    for (size_t half = 0; half < 2; ++half) {
      bytes[half] = load_as<uint2>(unit, 8 * (row + 8 * half));
      factors[half] = lower_half(load_as<unsigned short>(unit, 8 * BlockLayout::rows + 2 * (row + 8 * half)));
    }
  }
  __device__ float scale(int half, int i) const {
    const uint32_t four = i < 4 ? bytes[half].x : bytes[half].y;
    const uint32_t bits = __byte_perm(four, 0x4b000000u, 0x7440u | static_cast<uint32_t>(i % 4));
    return factors[half] * (__uint_as_float(bits) - 8388736.0f);  // 2^23 + 128
  }
  __device__ float min(int, int) const { return 0; }
};

// A byte for each 32 columns.
struct WordScales {
  float factors[2];
  uint32_t bytes[2];  // plus 128

  __device__ void load(const Shared<uint8_t>& unit, bool) {
    const auto row = static_cast<size_t>(threadIdx.x % 32 / 4);
    UNROLL
    for (size_t half = 0; half < 2; ++half) {
      bytes[half] = load_as<uint32_t>(unit, 4 * (row + 8 * half));
      factors[half] = lower_half(load_as<unsigned short>(unit, 4 * BlockLayout::rows + 2 * (row + 8 * half)));
    }
  }
  __device__ float scale(int half, int j) const {
    const uint32_t bits = __byte_perm(bytes[half], 0x4b000000u, 0x7440u | static_cast<uint32_t>(j));
    return factors[half] * (__uint_as_float(bits) - 8388736.0f);
  }
  __device__ float min(int, int) const { return 0; }
};

// Four bits of scale and of minimum for each 16 columns.
struct FourBitScales {
  float scales[2], mins[2];  // that multiply them
  uint2 low[2], high[2];     // scales, minimums: a byte each

  __device__ void load(const Shared<uint8_t>& unit, bool) {
    const auto row = static_cast<size_t>(threadIdx.x % 32 / 4);
    UNROLL
    for (size_t half = 0; half < 2; ++half) {
      const uint2 both = load_as<uint2>(unit, 8 * (row + 8 * half));
      low[half] = make_uint2(both.x & 0x0f0f0f0fu, both.y & 0x0f0f0f0fu);
      high[half] = make_uint2(both.x >> 4 & 0x0f0f0f0fu, both.y >> 4 & 0x0f0f0f0fu);
      const uint32_t pair = load_as<uint32_t>(unit, 8 * BlockLayout::rows + 4 * (row + 8 * half));
      scales[half] = lower_half(pair);
      mins[half] = -upper_half(pair);
    }
  }
  __device__ float scale(int half, int i) const {
    return SixBitScales::times(scales[half], i < 4 ? low[half].x : low[half].y, i % 4);
  }
  __device__ float min(int half, int i) const {
    return SixBitScales::times(mins[half], i < 4 ? high[half].x : high[half].y, i % 4);
  }
};

template <DType dtype>
struct NibbleOperands {
  __host__ __device__ static constexpr BlockLayout layout() { return block_layout(dtype); }
  static constexpr int words = 2 * (block_layout(dtype).bits + block_layout(dtype).more);  // of a lane and unit
};

struct FragmentsQ4_0 : NibbleOperands<DType::Q4_0> {
  using Scales = BlockScales;
  static constexpr bool has_min = false;
  static constexpr int base = sixteenth_base;
  // A nibble less 8 is the upper half of a byte with its sign turned.
  __device__ static void operand(const uint32_t (&codes)[words], int j, uint32_t (&a)[4]) {
    UNROLL
    for (int half = 0; half < 2; ++half) {
      a[half] = (codes[2 * j + half] << 4 & 0xf0f0f0f0u) ^ 0x80808080u;
      a[2 + half] = (codes[2 * j + half] & 0xf0f0f0f0u) ^ 0x80808080u;
    }
  }
};

// Codes as they are.
template <DType dtype, class RowScales>
struct FourBits : NibbleOperands<dtype> {
  using Scales = RowScales;
  using NibbleOperands<dtype>::words;
  static constexpr bool has_min = true;
  static constexpr int base = whole_base;
  __device__ static void operand(const uint32_t (&codes)[words], int j, uint32_t (&a)[4]) {
    UNROLL
    for (int half = 0; half < 2; ++half) {
      a[half] = codes[2 * j + half] & 0x0f0f0f0fu;
      a[2 + half] = codes[2 * j + half] >> 4 & 0x0f0f0f0fu;
    }
  }
};

using FragmentsQ4_1 = FourBits<DType::Q4_1, PairScales>;
using FragmentsQ4_K = FourBits<DType::Q4_K, SixBitScales>;

template <DType dtype, class RowScales>
struct FiveBits : NibbleOperands<dtype> {
  using Scales = RowScales;
  using NibbleOperands<dtype>::words;
  static constexpr bool has_min = true;
  static constexpr int base = whole_base;
  __device__ static void operand(const uint32_t (&codes)[words], int j, uint32_t (&a)[4]) {
    const uint32_t fifths = codes[8 + j / 2];
    UNROLL
    for (int i = 0; i < 4; ++i) {
      const int bit = i + j % 2 * 4;
      const uint32_t nibbles = codes[2 * j + i % 2] >> (i / 2 * 4) & 0x0f0f0f0fu;
      a[i] = nibbles | ((bit < 4 ? fifths << (4 - bit) : fifths >> (bit - 4)) & 0x10101010u);
    }
  }
};

using FragmentsQ5_1 = FiveBits<DType::Q5_1, PairScales>;
using FragmentsQ5_K = FiveBits<DType::Q5_K, SixBitScales>;

// Eight times the code less 16.
struct FragmentsQ5_0 : NibbleOperands<DType::Q5_0> {
  using Scales = BlockScales;
  static constexpr bool has_min = false;
  static constexpr int base = eighth_base;
  __device__ static void operand(const uint32_t (&codes)[words], int j, uint32_t (&a)[4]) {
    UNROLL
    for (int i = 0; i < 4; ++i) {
      const uint32_t word = codes[2 * j + i % 2];
      a[i] = ((i < 2 ? word << 3 : word >> 1) & 0x78787878u) | (codes[8 + j / 2] << (7 - i - j % 2 * 4) & 0x80808080u);
    }
  }
};

// Four times the code less 32: its upper bits are those of a byte.
struct FragmentsQ6_K : NibbleOperands<DType::Q6_K> {
  using Scales = ByteScales;
  static constexpr bool has_min = false;
  static constexpr int base = quarter_base;
  __device__ static void operand(const uint32_t (&codes)[words], int j, uint32_t (&a)[4]) {
    UNROLL
    for (int i = 0; i < 4; ++i) {
      const uint32_t word = codes[2 * j + i % 2];
      a[i] = ((i < 2 ? word << 2 : word >> 2) & 0x3c3c3c3cu) | (codes[8 + j] << (6 - 2 * i) & 0xc0c0c0c0u);
    }
  }
};

// Levels of IQ4 (cpp/quant/blocks.h): three bits choose among eight bytes twice, the fourth between the two.
template <DType dtype, class RowScales>
struct Levels : NibbleOperands<dtype> {
  using Scales = RowScales;
  using NibbleOperands<dtype>::words;
  static constexpr bool has_min = false;
  static constexpr int base = whole_base;
  __device__ static void operand(const uint32_t (&codes)[words], int j, uint32_t (&a)[4]) {
    UNROLL
    for (int half = 0; half < 2; ++half) {
      const uint32_t word = codes[2 * j + half], eighths = word & 0x77777777u;
      const uint32_t choice = (word >> 1 & 0x44444444u) | 0x32103210u;
      UNROLL
      for (int i = 0; i < 2; ++i) {
        const uint32_t low = __byte_perm(0xbfad9881u, 0xf6eaddcfu, eighths >> (16 * i));
        const uint32_t high = __byte_perm(0x26190d01u, 0x71594535u, eighths >> (16 * i));
        a[half + 2 * i] = __byte_perm(low, high, choice >> (16 * i));
      }
    }
  }
};
using FragmentsIQ4_NL = Levels<DType::IQ4_NL, BlockScales>;
using FragmentsIQ4_XS = Levels<DType::IQ4_XS, WordScales>;

struct FragmentsQ2_K : NibbleOperands<DType::Q2_K> {
  using Scales = FourBitScales;
  static constexpr bool has_min = true;
  static constexpr int base = whole_base;
  __device__ static void operand(const uint32_t (&codes)[words], int j, uint32_t (&a)[4]) {
    UNROLL
    for (int i = 0; i < 4; ++i) a[i] = codes[j] >> (2 * i) & 0x03030303u;
  }
};

// 32 times the code less 4.
struct FragmentsQ3_K : NibbleOperands<DType::Q3_K> {
  using Scales = ByteScales;
  static constexpr bool has_min = false;
  static constexpr int base = thirtysecond_base;
  __device__ static void operand(const uint32_t (&codes)[words], int j, uint32_t (&a)[4]) {
    UNROLL
    for (int i = 0; i < 4; ++i) {
      const uint32_t low = i < 3 ? codes[j] << (5 - 2 * i) : codes[j] >> 1;
      a[i] = (low & 0x60606060u) | (codes[4 + j / 2] << (7 - i - j % 2 * 4) & 0x80808080u);
    }
  }
};

struct FragmentsQ8_0 {
  using Scales = BlockScales;
  __host__ __device__ static constexpr BlockLayout layout() { return block_layout(DType::Q8_0); }
  static constexpr int words = 16;
  static constexpr bool has_min = false;
  static constexpr int base = whole_base;
  __device__ static void operand(const uint32_t (&codes)[words], int j, uint32_t (&a)[4]) {
    UNROLL
    for (int i = 0; i < 4; ++i) a[i] = codes[4 * j + i];
  }
};

}  // namespace vivace::cuda

// Units of GGUF's types (cuda/quant/block_fragments.h) become operands of mma.m16n8k32 and scales of rows g and g + 8.
//   operand(codes, j, a)   of 32 columns j: bytes
//   Scales                 of a unit: scale(half, j), and min(half, j) with has_min; half: row g or g + 8. Where scales
//   belong
//                          to 16 columns (layout().halves), scale(half, 2j) and scale(half, 2j + 1)
//   base                   what sums of products begin with: bits of a float of which a whole number more is a float
//                          that is larger by it, by a quarter or by a sixteenth of it
#pragma once
#include <cuda_fp16.h>

#include "cuda/core/shared.h"
#include "cuda/core/unroll.h"
#include "cuda/quant/block_fragments.h"

namespace vivace::cuda {

inline constexpr int whole_base = 0x4b400000, quarter_base = 0x4a400000, sixteenth_base = 0x49400000;  // 1.5 · 2^23 …

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

template <DType dtype>
struct NibbleOperands {
  __host__ __device__ static constexpr BlockLayout layout() { return block_layout(dtype); }
  static constexpr int words = 8 + 2 * block_layout(dtype).more;  // of a lane and unit
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

struct FragmentsQ4_K : NibbleOperands<DType::Q4_K> {
  using Scales = SixBitScales;
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

struct FragmentsQ5_K : NibbleOperands<DType::Q5_K> {
  using Scales = SixBitScales;
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

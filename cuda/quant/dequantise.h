// A weight's value at a column of a row as it is stored: plain, byte by byte, at any address. The layouts are those of
// cpp/quant/blocks.h and cpp/quant/row_scaled.h.
#pragma once
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "core/dtype.h"

namespace vivace::cuda {

__device__ inline uint32_t load_u16(const uint8_t* p) {
  return static_cast<uint32_t>(p[0]) | static_cast<uint32_t>(p[1]) << 8;
}
__device__ inline uint32_t load_u32(const uint8_t* p) {
  return load_u16(p) | load_u16(p + 2) << 16;
}
__device__ inline float load_half(const uint8_t* p) {
  return __half2float(__ushort_as_half(static_cast<unsigned short>(load_u16(p))));
}
__device__ inline float load_float(const uint8_t* p) {
  return __uint_as_float(load_u32(p));
}
__device__ inline int signed_byte(uint8_t byte) {
  return static_cast<int>(static_cast<int8_t>(byte));
}

// Code i of 32 that lie as 16 low and 16 high nibbles.
__device__ inline int split_nibble(const uint8_t* qs, int i) {
  return i < 16 ? qs[i] & 15 : qs[i - 16] >> 4;
}
// Code i of nibbles in the order of columns.
__device__ inline int ordered_nibble(const uint8_t* qs, int64_t i) {
  return i % 2 == 0 ? qs[i / 2] & 15 : qs[i / 2] >> 4;
}
__device__ inline int bit_of(const uint8_t* bits, int i) {
  return bits[i / 8] >> i % 8 & 1;
}
__device__ inline int iq4_level(int code) {
  // The codebook of cpp/quant/blocks.h, four levels to a word.
  const uint32_t words[4] = {0xbfad9881u, 0xf6eaddcfu, 0x26190d01u, 0x71594535u};
  return signed_byte(static_cast<uint8_t>(words[code / 4] >> (code % 4 * 8)));
}
// Six bits of scale and minimum of sub-block j of Q4_K and Q5_K.
__device__ inline int k_scale(const uint8_t* sc, int j) {
  return j < 4 ? sc[j] & 63 : (sc[j + 4] & 15) | sc[j - 4] >> 6 << 4;
}
__device__ inline int k_min(const uint8_t* sc, int j) {
  return j < 4 ? sc[j + 4] & 63 : sc[j + 4] >> 4 | sc[j] >> 6 << 4;
}

// A code of W8A8, W4A8 and W4A8_G128; `row` begins with scale and shift.
__device__ inline int token_code(DType dtype, const uint8_t* row, int64_t k) {
  const uint8_t* codes = row + 8;
  if (dtype == DType::W8A8) return signed_byte(codes[k]);
  if (dtype == DType::W4A8) return ordered_nibble(codes, k);
  const uint8_t* block = codes + k / 128 * 66;  // scale, zero, 64 bytes of nibbles
  return signed_byte(static_cast<uint8_t>(block[0] * ordered_nibble(block + 2, k % 128) + signed_byte(block[1])));
}

template <int bits>
__device__ inline float grouped_value(const uint8_t* row, int64_t k, int group) {
  const uint8_t* at = row + (group == 0 ? 0 : k / group * (4 + group * bits / 8));
  const int64_t i = group == 0 ? k : k % group;
  const float scale = __uint_as_float(load_u32(at) & 0xffffff00u);
  const int code = bits == 4 ? ordered_nibble(at + 4, i) : signed_byte(at[4 + i]);
  const int zero = bits == 4 ? at[0] : signed_byte(at[0]);
  return scale * static_cast<float>(code - zero);
}

__device__ inline float k_value(DType dtype, const uint8_t* block, int i) {
  switch (dtype) {
    case DType::Q2_K: {
      const int sc = block[i / 16], q = block[16 + i / 128 * 32 + i % 32] >> (i / 32 % 4 * 2) & 3;
      return load_half(block + 80) * static_cast<float>(sc & 15) * static_cast<float>(q) -
             load_half(block + 82) * static_cast<float>(sc >> 4);
    }
    case DType::Q3_K: {
      const int j = i / 16;
      const uint8_t* sc = block + 96;
      const int low = sc[j % 8] >> (j / 8 * 4) & 15, high = sc[8 + j % 4] >> (j / 4 * 2) & 3;
      const int q = (block[32 + i / 128 * 32 + i % 32] >> (i / 32 % 4 * 2) & 3) | (block[i % 32] >> i / 32 & 1) << 2;
      return load_half(block + 108) * static_cast<float>((low | high << 4) - 32) * static_cast<float>(q - 4);
    }
    case DType::Q4_K:
    case DType::Q5_K: {
      const bool five = dtype == DType::Q5_K;
      const int j = i / 32, l = i % 32;
      const uint8_t* qs = block + (five ? 48 : 16);
      int q = qs[j / 2 * 32 + l] >> (j % 2 * 4) & 15;
      if (five) q |= (block[16 + l] >> j & 1) << 4;
      const float step = load_half(block) * static_cast<float>(k_scale(block + 4, j));
      return step * static_cast<float>(q) - load_half(block + 2) * static_cast<float>(k_min(block + 4, j));
    }
    case DType::Q6_K: {
      const int t = i / 128, v = i / 32 % 4, l = i % 32;
      const int low = block[64 * t + 32 * (v % 2) + l] >> (v / 2 * 4) & 15, high = block[128 + 32 * t + l] >> 2 * v & 3;
      return load_half(block + 208) * static_cast<float>(signed_byte(block[192 + i / 16])) *
             static_cast<float>((low | high << 4) - 32);
    }
    default: {  // IQ4_XS
      const int j = i / 32;
      const int low = block[4 + j / 2] >> (j % 2 * 4) & 15, high = block[2 + j / 4] >> (j % 4 * 2) & 3;
      return load_half(block) * static_cast<float>((low | high << 4) - 32) *
             static_cast<float>(iq4_level(split_nibble(block + 8 + 16 * j, i % 32)));
    }
  }
}

__device__ inline float weight_value(DType dtype, const uint8_t* row, int64_t k) {
  const int i = static_cast<int>(k % 32);
  const int64_t b = k / 32;
  switch (dtype) {
    case DType::F32:
      return load_float(row + 4 * k);
    case DType::F16:
      return load_half(row + 2 * k);
    case DType::BF16:
      return __uint_as_float(load_u16(row + 2 * k) << 16);
    case DType::Q4_0:
      return load_half(row + 18 * b) * static_cast<float>(split_nibble(row + 18 * b + 2, i) - 8);
    case DType::Q4_1:
      return load_half(row + 20 * b) * static_cast<float>(split_nibble(row + 20 * b + 4, i)) +
             load_half(row + 20 * b + 2);
    case DType::Q5_0: {
      const int q = split_nibble(row + 22 * b + 6, i) | bit_of(row + 22 * b + 2, i) << 4;
      return load_half(row + 22 * b) * static_cast<float>(q - 16);
    }
    case DType::Q5_1: {
      const int q = split_nibble(row + 24 * b + 8, i) | bit_of(row + 24 * b + 4, i) << 4;
      return load_half(row + 24 * b) * static_cast<float>(q) + load_half(row + 24 * b + 2);
    }
    case DType::Q8_0:
      return load_half(row + 34 * b) * static_cast<float>(signed_byte(row[34 * b + 2 + i]));
    case DType::IQ4_NL:
      return load_half(row + 18 * b) * static_cast<float>(iq4_level(split_nibble(row + 18 * b + 2, i)));
    case DType::Q2_K:
      return k_value(dtype, row + k / 256 * 84, static_cast<int>(k % 256));
    case DType::Q3_K:
      return k_value(dtype, row + k / 256 * 110, static_cast<int>(k % 256));
    case DType::Q4_K:
      return k_value(dtype, row + k / 256 * 144, static_cast<int>(k % 256));
    case DType::Q5_K:
      return k_value(dtype, row + k / 256 * 176, static_cast<int>(k % 256));
    case DType::Q6_K:
      return k_value(dtype, row + k / 256 * 210, static_cast<int>(k % 256));
    case DType::IQ4_XS:
      return k_value(dtype, row + k / 256 * 136, static_cast<int>(k % 256));
    case DType::W8A16:
      return grouped_value<8>(row, k, 0);
    case DType::W8A16_G32:
      return grouped_value<8>(row, k, 32);
    case DType::W8A16_G64:
      return grouped_value<8>(row, k, 64);
    case DType::W8A16_G128:
      return grouped_value<8>(row, k, 128);
    case DType::W4A16:
      return grouped_value<4>(row, k, 0);
    case DType::W4A16_G32:
      return grouped_value<4>(row, k, 32);
    case DType::W4A16_G64:
      return grouped_value<4>(row, k, 64);
    case DType::W4A16_G128:
      return grouped_value<4>(row, k, 128);
    case DType::W8A8:
    case DType::W4A8:
    case DType::W4A8_G128:  // rounded once
      return static_cast<float>(static_cast<double>(load_float(row)) * token_code(dtype, row, k) -
                                static_cast<double>(load_float(row + 4)));
    default:
      return 0;
  }
}

}  // namespace vivace::cuda

// What the kernels of W?A8 share: codes of four bits become bytes, sums become outputs. Layouts:
// cpp/quant/row_scaled.h.
#pragma once
#include "cuda/core/shared.h"
#include "cuda/ops/linear/arguments.h"

namespace vivace::cuda {

inline constexpr int token_codes = find_dtype(DType::A8_TOKEN)->header;  // where they begin in a row of x

// Eight nibbles as bytes: columns 0, 2, 4, 6, then 1, 3, 5, 7.
__device__ inline void nibble_bytes(uint32_t word, uint32_t (&out)[2]) {
  out[0] = word & 0x0f0f0f0fu;
  out[1] = word >> 4 & 0x0f0f0f0fu;
}
// Sums of four bytes, each modulo 256.
__device__ inline uint32_t add_bytes(uint32_t a, uint32_t b) {
  return ((a & 0x7f7f7f7fu) + (b & 0x7f7f7f7fu)) ^ ((a ^ b) & 0x80808080u);
}
// A number at an even address.
__device__ inline uint32_t word_at(const uint8_t* at) {
  return load_as<unsigned short>(at, 0) | static_cast<uint32_t>(load_as<unsigned short>(at, 2)) << 16;
}

// y = x.scale · (scale · sum - shift · Σ x)
__device__ inline float finish_token(const ProductArguments& a, int sum, int row, int n) {
  const uint8_t *token = a.x + row * a.x_stride, *weight = a.weight + n * a.stride;
  const float shifted = __uint_as_float(word_at(weight + 4)) * static_cast<float>(load_as<int>(token + 4, 0));
  return load_as<float>(token, 0) * fmaf(__uint_as_float(word_at(weight)), static_cast<float>(sum), -shifted);
}

}  // namespace vivace::cuda

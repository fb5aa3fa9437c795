// A block of threads quantises a row to A8_TOKEN (cpp/ops/row_scaled/quantize_tokens.h): the same bits as on the CPU,
// whatever the number of threads.
#pragma once
#include "cuda/core/reduce.h"

namespace vivace::cuda {

inline constexpr unsigned token_threads = 512;  // where nothing else says how many
inline constexpr int token_header = 64;         // bytes before the codes

// value_of(i) is asked for twice: once for the largest, once for the codes.
template <class ValueOf>
__device__ inline void quantize_token(uint8_t* out, int64_t columns, ValueOf&& value_of) {
  uint32_t top = 0;
  for (int64_t i = threadIdx.x; i < columns; i += blockDim.x) {
    const uint32_t size = __float_as_uint(value_of(i)) & 0x7fffffffu;
    top = size > top ? size : top;
  }
  top = max_of_block(top);
  const bool empty = top < 0x0d800000u || top >= 0x7f800000u;  // 2^-100, infinity
  const float inverse = empty ? 0.0f : 127.0f / __uint_as_float(top);
  int32_t sum = 0;
  for (int64_t i = threadIdx.x; i < columns; i += blockDim.x) {
    const int code = empty ? 0 : __float2int_rn(value_of(i) * inverse);
    out[token_header + i] = static_cast<uint8_t>(code);
    sum += code;
  }
  sum = sum_of_block(sum);
  if (threadIdx.x != 0) return;
  const float scale = top >= 0x7f800000u ? __uint_as_float(0x7fc00000u) : empty ? 1.0f : __uint_as_float(top) / 127.0f;
  const uint32_t words[2] = {__float_as_uint(scale), static_cast<uint32_t>(sum)};
  for (int i = 0; i < 8; ++i) out[i] = static_cast<uint8_t>(words[i / 4] >> (i % 4 * 8));
}

}  // namespace vivace::cuda

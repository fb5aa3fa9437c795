// The table of weight formats: how rows of floats become stored blocks, and back.
//
// Types that share their arithmetic share a source: floats (F32, F16, BF16), blocks_of_32 (Q4_0 … Q8_0), k_with_min
// (Q2_K, Q4_K, Q5_K), k_signed (Q3_K, Q6_K), iq4 (IQ4_NL, IQ4_XS), row_scaled (W?A16, W?A8). blocks.h has the layouts
// of all, because the kernels of `linear` read them too. A new type is a struct there, a row in a source, a line in
// registry.cpp, and a codec in cpp/ops/linear.
#pragma once
#include <cstddef>
#include <cstdint>

#include "core/dtype.h"

namespace vivace {

struct QuantType {
  DType dtype;
  // `columns` is a whole number of blocks; values are finite and within ±65504. The same bits on every machine.
  void (*quantize_row)(const float* values, std::byte* blocks, int64_t columns);
  void (*dequantize_row)(const std::byte* blocks, float* values, int64_t columns);
};

extern const QuantType f32_type, f16_type, bf16_type;
extern const QuantType q4_0_type, q4_1_type, q5_0_type, q5_1_type, q8_0_type;
extern const QuantType q2_k_type, q3_k_type, q4_k_type, q5_k_type, q6_k_type;
extern const QuantType iq4_nl_type, iq4_xs_type;
extern const QuantType w8a16_type, w8a16_g32_type, w8a16_g64_type, w8a16_g128_type;
extern const QuantType w4a16_type, w4a16_g32_type, w4a16_g64_type, w4a16_g128_type;
extern const QuantType w8a8_type, w4a8_type, w4a8_g128_type;

// Null for types that are no weight format.
const QuantType* find_quant(DType dtype);

}  // namespace vivace

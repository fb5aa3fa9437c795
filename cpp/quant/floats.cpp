// F32, F16 and BF16: a block is one value.
#include <cstring>

#include "core/simd/half.h"
#include "quant/registry.h"

namespace vivace {
namespace {

void copy_to_blocks(const float* values, std::byte* blocks, int64_t columns) {
  std::memcpy(blocks, values, static_cast<size_t>(columns) * 4);
}

void copy_to_values(const std::byte* blocks, float* values, int64_t columns) {
  std::memcpy(values, blocks, static_cast<size_t>(columns) * 4);
}

template <uint16_t (*narrow)(float)>
void narrow_row(const float* values, std::byte* blocks, int64_t columns) {
  for (int64_t i = 0; i < columns; ++i) {
    const uint16_t bits = narrow(values[i]);
    std::memcpy(blocks + 2 * i, &bits, 2);
  }
}

template <float (*widen)(uint16_t)>
void widen_row(const std::byte* blocks, float* values, int64_t columns) {
  for (int64_t i = 0; i < columns; ++i) {
    uint16_t bits;
    std::memcpy(&bits, blocks + 2 * i, 2);
    values[i] = widen(bits);
  }
}

}  // namespace

const QuantType f32_type = {DType::F32, copy_to_blocks, copy_to_values};
const QuantType f16_type = {DType::F16, narrow_row<f16_from_f32>, widen_row<f32_from_f16>};
const QuantType bf16_type = {DType::BF16, narrow_row<bf16_from_f32>, widen_row<f32_from_bf16>};

}  // namespace vivace

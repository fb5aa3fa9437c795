// gated_linear: y = activation(x · gateᵀ) · (x · upᵀ). Made by the planner of two linears and a gated_activation, with
// the quantiser behind it where there is one.
//   The same bits as those one after the other. x: as linear's; gate, up: weights of one type, [columns, in], of floats
//   or GGUF's quantised types, on cards GGUF's and W?A16; y: F32 or A8 [rows, columns].
//   Attribute: activation (0 silu, 1 gelu_tanh). Neither product is ever in memory: 16 bytes less written and read per
//   value of y.
#pragma once
#include "ops/linear/linear.h"
#include "program/op.h"

namespace vivace {

extern const OpInfo gated_linear_op;
VIVACE_DECLARE_KERNEL(gated_linear)

// Whether there is a kernel for weights of this type and width, and one for cards (cuda/quant/fragments.h).
constexpr bool has_gated_linear(DType weight, int64_t = 0) {
  return activations_for(weight) == DType::A8 || weight == DType::F32 || weight == DType::F16 || weight == DType::BF16;
}

constexpr bool has_gated_linear_on_card(DType weight, int64_t columns) {
  const bool codes = activations_for(weight) == DType::A8 || (weight >= DType::W8A16 && weight <= DType::W4A16_G128);
  return codes && columns % 32 == 0;
}

// Both weights once, activations in and out once.
constexpr int64_t gated_linear_bytes(DType weight, DType result, int64_t rows, int64_t in, int64_t out) {
  return 2 * out * row_bytes(weight, in) + rows * (row_bytes(activations_for(weight), in) + row_bytes(result, out));
}

}  // namespace vivace

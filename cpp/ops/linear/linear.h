// linear: y = x · weightᵀ + bias + residual.
//   weight: [out, in] of any weight format, as stored in the file and at any address.
//   x: [rows, in]; F32 for F32, F16, BF16 and W?A16 weights, A8 for GGUF's quantised ones and A8_TOKEN for W?A8
//   (the planner inserts quantize_rows and quantize_tokens).
//   bias: F32 [1, out], optional; residual: F32 [rows, out], optional; y: F32 [rows, out], may be residual.
//   An output depends on its row of x and its row of weight alone: the same bits for every batch and team.
#pragma once
#include "program/op.h"

namespace vivace {

extern const OpInfo linear_op;
VIVACE_DECLARE_KERNEL(linear)

// Weights once, activations in and out once.
constexpr int64_t linear_bytes(DType weight, int64_t rows, int64_t in, int64_t out) {
  return out * row_bytes(weight, in) + rows * (row_bytes(activations_for(weight), in) + out * 4);
}
constexpr int64_t linear_operations(int64_t rows, int64_t in, int64_t out) {
  return 2 * rows * in * out;
}

}  // namespace vivace

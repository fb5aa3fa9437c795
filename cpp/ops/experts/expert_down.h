// expert_down: y[r] = Σ weights[r][slot] · (x[r][slot] · weightᵀ of the expert ids[r][slot]) + residual[r].
//   x: [rows, used · in], the slots side by side as expert_gate_up makes them, F32 or A8 as the weight's type wants;
//   weight: [experts · out, in], the matrices of all experts below each other; ids: I32, weights: F32 [rows, used];
//   residual: F32 [rows, out], optional; y: F32 [rows, out], may be residual.
//   Experts that come into memory one by one (expert_places.h) are computed in waves: y is written by the last one, and
//   scratch keeps products between them.
//   Attribute: experts. A slot whose id is outside [0, experts) adds nothing. The sum is formed in the order of slots:
//   neither batch, team nor the order in which experts are computed changes a bit.
#pragma once
#include "ops/experts/expert_gate_up.h"

namespace vivace {

extern const OpInfo expert_down_op;
VIVACE_DECLARE_KERNEL(expert_down)

// The weights of `met` experts that have rows once; products are written and read once.
constexpr int64_t expert_down_bytes(DType weight, int64_t met, int64_t rows, int64_t pairs, int64_t in, int64_t out) {
  return met * out * row_bytes(weight, in) + pairs * (row_bytes(activations_for(weight), in) + 8 * out) +
         rows * out * 4;
}

}  // namespace vivace

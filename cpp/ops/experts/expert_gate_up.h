// expert_gate_up: y[r][slot] = activation(x[r] · gateᵀ) · (x[r] · upᵀ) of the expert ids[r][slot], for every slot.
//   x: [rows, in], as linear's; gate, up: [experts · columns, in], the matrices of all experts below each other, of one
//   type of floats or of GGUF's quantised ones; ids: I32 [rows, used]; y: F32 or A8 [rows, used · columns], the slots
//   side by side; zeros where an id is outside [0, experts).
//   Experts that come into memory one by one (expert_places.h) are computed in waves: y is whole after the last one.
//   Attributes: experts, activation (0 silu, 1 gelu_tanh). A value depends on its row of x and its expert alone: the
//   same bits for every batch and team, and those of gated_linear.
#pragma once
#include "ops/experts/expert_pairs.h"
#include "ops/linear/linear.h"
#include "program/op.h"

namespace vivace {

extern const OpInfo expert_gate_up_op;
VIVACE_DECLARE_KERNEL(expert_gate_up)

// Whether there are kernels for experts of this type.
constexpr bool has_expert_kernels(DType weight) {
  return activations_for(weight) == DType::A8 || weight == DType::F32 || weight == DType::F16 || weight == DType::BF16;
}

// The weights of `met` experts that have rows once, activations in and out once per pair of a row and an expert.
constexpr int64_t expert_gate_up_bytes(DType weight, DType result, int64_t met, int64_t pairs, int64_t in,
                                       int64_t out) {
  return met * 2 * out * row_bytes(weight, in) +
         pairs * (row_bytes(activations_for(weight), in) + row_bytes(result, out));
}

}  // namespace vivace

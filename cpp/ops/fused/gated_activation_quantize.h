// gated_activation_quantize: y = A8 of activation(gate) · up. Made by the planner of gated_activation and
// quantize_rows.
//   The same bits as the two one after the other. gate, up: F32 [rows, columns], columns a multiple of 32;
//   y: A8 [rows, columns]. Attribute: activation (0 silu, 1 gelu_tanh).
//   On cards y may be A8_TOKEN of any number of columns: gated_activation and quantize_tokens.
//   bytes: 8 read + 2 written per value; operations: about 31 per value.
#pragma once
#include "program/op.h"

namespace vivace {
extern const OpInfo gated_activation_quantize_op;
VIVACE_DECLARE_KERNEL(gated_activation_quantize)
}  // namespace vivace

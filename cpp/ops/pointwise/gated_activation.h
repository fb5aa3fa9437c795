// gated_activation: y = activation(gate) · up, the middle of a gated feed-forward layer.
//   silu(x) = x / (1 + e^−x); gelu_tanh(x) = x/2 · (1 + tanh(√(2/π) · (x + 0.044715·x³))).
//   gate, up, y: F32 [rows, columns]; y may be gate. Attribute: activation (0 silu, 1 gelu_tanh).
//   bytes: (2 reads + 1 write) · 4 per value; operations: about 25 per value.
#pragma once
#include "program/op.h"

namespace vivace {
extern const OpInfo gated_activation_op;
VIVACE_DECLARE_KERNEL(gated_activation)
}  // namespace vivace

// sigmoid_gate: y[r] = x[r] / (1 + e^−gate[r]), one gate per row: how much an expert that all rows share counts.
//   x: F32 [rows, columns]; gate: F32 [rows, 1]; y: F32 [rows, columns], may be x.
//   bytes: 8 per value; operations: 1 per value and about 20 per row.
#pragma once
#include "program/op.h"

namespace vivace {
extern const OpInfo sigmoid_gate_op;
VIVACE_DECLARE_KERNEL(sigmoid_gate)
}  // namespace vivace

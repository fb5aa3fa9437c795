// mul: y = a · b, elementwise.
//   a, b: F32 [rows, columns] (b may be [1, columns]: for every row); y: F32 [rows, columns]; y may be a.
//   bytes: (2 reads + 1 write) · 4 per value; operations: 1 per value.
#pragma once
#include "program/op.h"

namespace vivace {
extern const OpInfo mul_op;
VIVACE_DECLARE_KERNEL(mul)
}  // namespace vivace

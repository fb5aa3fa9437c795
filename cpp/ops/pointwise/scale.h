// scale: y = factor · x.
//   x, y: F32 [rows, columns]; y may be x. Attribute: factor.
//   bytes: (1 read + 1 write) · 4 per value; operations: 1 per value.
#pragma once
#include "program/op.h"

namespace vivace {
extern const OpInfo scale_op;
VIVACE_DECLARE_KERNEL(scale)
}  // namespace vivace

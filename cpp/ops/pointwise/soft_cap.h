// soft_cap: y = cap · tanh(x / cap): nearly x while |x| is far below cap, never beyond it.
//   x, y: F32 [rows, columns]; y may be x. Attribute: cap > 0.
//   bytes: (1 read + 1 write) · 4 per value; operations: about 30 per value.
#pragma once
#include "program/op.h"

namespace vivace {
extern const OpInfo soft_cap_op;
VIVACE_DECLARE_KERNEL(soft_cap)
}  // namespace vivace

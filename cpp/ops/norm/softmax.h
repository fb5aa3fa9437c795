// softmax: y = e^(x − max) / Σ e^(x − max) over each row.
//   x, y: F32 [rows, columns]; y may be x. A row of −∞ alone, or with a NaN, gives NaN.
//   bytes: (3 reads + 2 writes) · 4 per value; operations: about 20 per value.
#pragma once
#include "program/op.h"

namespace vivace {
extern const OpInfo softmax_op;
VIVACE_DECLARE_KERNEL(softmax)
}  // namespace vivace

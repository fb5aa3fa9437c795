// log_softmax: y = x − max − ln Σ e^(x − max) over each row.
//   x, y: F32 [rows, columns]; y may be x. A row of −∞ alone, or with a NaN, gives NaN.
//   bytes: (3 reads + 1 write) · 4 per value; operations: about 20 per value.
#pragma once
#include "program/op.h"

namespace vivace {
extern const OpInfo log_softmax_op;
VIVACE_DECLARE_KERNEL(log_softmax)
}  // namespace vivace

// concat: y[r] = (a[r], b[r]), the columns of two values side by side: what a drafter's head makes one feature of.
//   a: F32 [rows, m]; b: F32 [rows, n]; y: F32 [rows, m + n], apart from both.
//   bytes: 8 per value of y; no arithmetic.
#pragma once
#include "program/op.h"

namespace vivace {
extern const OpInfo concat_op;
VIVACE_DECLARE_KERNEL(concat)
}  // namespace vivace

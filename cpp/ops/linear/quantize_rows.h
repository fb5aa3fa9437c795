// quantize_rows: F32 activations → A8, for integer dot products with quantised weights. Inserted by the planner.
//   Per 32 values: scale = max|x| / 127, code = x · (127 / max|x|) rounded to nearest even, and the codes' sums.
//   A block below 2^-100 becomes zero; a block with a NaN or an infinity has scale NaN, so that it shows in the output.
//   x: F32 [rows, columns], columns a multiple of 32; y: A8 [rows, columns].
//   bytes: 4 read + 2 written per value; operations: about 6 per value.
#pragma once
#include "program/op.h"

namespace vivace {
extern const OpInfo quantize_rows_op;
VIVACE_DECLARE_KERNEL(quantize_rows)
}  // namespace vivace

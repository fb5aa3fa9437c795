// quantize_tokens: F32 activations → A8_TOKEN, for integer dot products with W?A8 weights. Inserted by the planner.
//   Per row: scale = max|x| / 127, code = x · (127 / max|x|) rounded to nearest even, and the codes' sum.
//   A row below 2^-100 becomes zeros with scale 1; a row with a NaN or an infinity has scale NaN, which shows in y.
//   x: F32 [rows, columns], columns at most 65536; y: A8_TOKEN [rows, columns].
//   bytes: 8 read (two passes) + 1 written per value; operations: about 6 per value.
#pragma once
#include "program/op.h"

namespace vivace {

// With it, sums of 255 · 127 stay below 2^31.
inline constexpr int64_t most_token_columns = 65536;

// What a row of A8_TOKEN begins with, at any address. One code per column follows, a cache line further, so that codes
// are aligned where rows are.
struct TokenScale {
  float scale;
  int32_t sum;
};
inline constexpr int token_header = find_dtype(DType::A8_TOKEN)->header;

extern const OpInfo quantize_tokens_op;
VIVACE_DECLARE_KERNEL(quantize_tokens)

}  // namespace vivace

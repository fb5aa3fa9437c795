// embedding: y[r] = scale · dequantise(weight[tokens[r]]); a token outside [0, weight rows) gives a row of zeros.
//   weight: [vocab, width] of any weight format; tokens: I32 [rows, 1]; y: F32 [rows, width]. Attribute: scale.
//   bytes: one weight row read and 4 · width written per row; operations: about 2 per value.
#pragma once
#include "program/op.h"

namespace vivace {
extern const OpInfo embedding_op;
VIVACE_DECLARE_KERNEL(embedding)
}  // namespace vivace

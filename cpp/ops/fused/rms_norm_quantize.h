// rms_norm_quantize: y = A8 of x / √(mean(x²) + ε) · weight. Made by the planner of rms_norm and quantize_rows.
//   The same bits as the two one after the other. x: F32 [rows, width]; weight: F32 [1, width], width a multiple of 32;
//   y: A8 [rows, width]. Attribute: epsilon > 0.
//   On cards y may be A8_TOKEN of any width: rms_norm and quantize_tokens.
//   bytes: 4 read + 2 written per value; operations: 10 per value.
#pragma once
#include "program/op.h"

namespace vivace {
extern const OpInfo rms_norm_quantize_op;
VIVACE_DECLARE_KERNEL(rms_norm_quantize)
}  // namespace vivace

// rope_table: table[r] = magnitude · (cos(p·f_0) … cos(p·f_{d/2−1}), sin(p·f_0) … sin(p·f_{d/2−1})), p = positions[r].
//   positions: I32 [rows, 1]; frequencies: F32 [1, d/2]; table: F32 [rows, d]. Attribute: magnitude.
//   Angles, sines and cosines are computed in double precision: right beyond position 2^20.
//   bytes: 4 per value of the table; operations: about 40 per value. One table serves all layers.
#pragma once
#include "program/op.h"

namespace vivace {
extern const OpInfo rope_table_op;
VIVACE_DECLARE_KERNEL(rope_table)
}  // namespace vivace

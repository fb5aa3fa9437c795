// rope: rotates the first d values of each head by the table's angles,
//   (x_a, x_b) → (x_a·cos − x_b·sin, x_b·cos + x_a·sin); values beyond d are copied.
//   The input's pairs are (2j, 2j+1) (layout 0, adjacent) or (j, j + d/2) (layout 1, halves); the output's are always
//   halves, so that a model gives the same bits from either layout of its file.
//   x, y: F32 [rows, heads · width]; table: F32 [rows, d], d ≤ width, from rope_table; y may be x.
//   Attributes: heads, layout. Scratch: d/2 values per member of the team.
//   bytes: (1 read + 1 write) · 4 per value; operations: 3 per value.
#pragma once
#include "program/op.h"

namespace vivace {
extern const OpInfo rope_op;
VIVACE_DECLARE_KERNEL(rope)
}  // namespace vivace

// Panel order: quantised weights as `linear` likes them best, written once when a model is loaded.
//
// The rows of a weight are taken `lanes` at a time (a level's vector of 32-bit words; zeros take the place of rows
// beyond the last) as one stream of vectors that holds a word of every row:
//   blocks of 32 columns, in pairs (a missing last one is zeros): the words after the block's head (scale, and minimum
//     where there is one) of the first block, those of the second, then the scales of both as 16-bit numbers of every
//     row, then the minima of both;
//   blocks of 256 columns: the block's bytes in order; two bytes of zeros follow where they are no whole words.
// The same bytes, rounded up: at most 1 % more, for Q3_K and Q6_K, beyond the zeros. A row's bits are those of
// FileOrder.
#pragma once
#include "program/op.h"

namespace vivace {

// Whether a type has this order.
constexpr bool has_panels(DType dtype) {
  return activations_for(dtype) == DType::A8;
}

// Of `lanes` rows in blocks of so many columns and bytes.
constexpr int64_t panel_unit_bytes(int block, int64_t bytes, int64_t columns, int64_t lanes) {
  const int64_t blocks = columns / block;
  return block == 32 ? (blocks + 1) / 2 * 2 * bytes * lanes : blocks * ((bytes + 3) / 4 * 4) * lanes;
}
constexpr int64_t panel_bytes(DType dtype, int64_t rows, int64_t columns, int64_t lanes) {
  const DTypeInfo& info = *find_dtype(dtype);
  return (rows + lanes - 1) / lanes * panel_unit_bytes(info.block, info.bytes, columns, lanes);
}

// Not an op: run.inputs[0] is a weight in the order of its file, run.outputs[0].data the place for panel_bytes().
VIVACE_DECLARE_KERNEL(pack_panels)

}  // namespace vivace

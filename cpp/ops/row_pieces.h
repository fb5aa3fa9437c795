// How elementwise kernels share a matrix among a team. For files compiled per instruction-set level.
#pragma once
#include "core/tensor.h"
#include "core/thread_pool.h"

namespace vivace::VIVACE_ISA {

// Calls body(row, from, count) for the runs of columns that are this member's even share of `y`.
template <class Body>
inline void for_row_pieces(const Tensor& y, const Team& team, Body&& body) {
  int64_t begin, end;
  team.range(y.rows * y.columns, 64, begin, end);
  while (begin < end) {
    const int64_t row = begin / y.columns, from = begin % y.columns;
    const int64_t count = y.columns - from < end - begin ? y.columns - from : end - begin;
    body(row, from, count);
    begin += count;
  }
}

}  // namespace vivace::VIVACE_ISA

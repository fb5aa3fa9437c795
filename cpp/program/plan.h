// Where every value of a program lies for one row bucket: offsets into one arena, memory reused as soon as a value is
// dead.
#pragma once
#include <cstdint>
#include <vector>

#include "program/program.h"

namespace vivace {

struct Plan {
  int64_t rows = 0;              // bucket: a run may have fewer
  int64_t outputs = 0;           // bucket
  std::vector<int64_t> offsets;  // per value: bytes into the arena; -1: not in the arena
  int64_t scratch_offset = 0;
  int64_t products_offset = 0;  // scratch of experts that are computed in waves: products stay between them
  int64_t bytes = 0;
};

// Runs every op's check and throws what they throw.
Plan make_plan(const Program& program, int64_t rows, int64_t outputs, int threads);

// The rows of a value in a run of `rows` and `outputs`.
inline int64_t actual_rows(const ValueInfo& value, int64_t rows, int64_t outputs) {
  return value.rows == rows_symbol ? rows : value.rows == outputs_symbol ? outputs : value.rows;
}

}  // namespace vivace

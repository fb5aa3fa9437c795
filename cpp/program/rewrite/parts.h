// Where a program can be cut between its layers, so that all rows of a prompt pass one layer before the next.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "program/program.h"

namespace vivace {

// A value that a row takes from one part to the next: where it lies among the row's carried bytes.
struct CarriedValue {
  int value;
  int64_t offset, bytes;
};

// Calls [begin, end), which read and write the cache in one layer only, and what comes in.
struct ProgramPart {
  size_t begin = 0, end = 0;
  std::vector<CarriedValue> in;
};

struct ProgramParts {
  std::vector<ProgramPart> list;  // one per layer of the cache, in its order; empty: the program cannot be cut so
  int64_t row_bytes = 0;          // that a row carries, at most
};

// Each cut is where a row has least to carry. Needs a program that writes and reads one layer of the cache after the
// other, and gives nothing but what its last calls compute.
ProgramParts find_parts(const Program& program);

}  // namespace vivace

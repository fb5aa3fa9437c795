// How the rows of a run are divided for attention: units of rows that read the same cells, each cut into chunks of
// slots. Made on the host once for every run and pattern of layers; all layers that see the same share it.
//
// A row's chunks follow from the number of its own slots, never from the batch, so that its sums are formed in the same
// order whatever else runs.
#pragma once
#include <cstdint>

#include "cuda/caches/patterns.h"
#include "device/table.h"

namespace vivace::cuda {

inline constexpr int many_rows = 32;      // neighbouring rows of a chain that are a prompt, drafts aside
inline constexpr int rows_of_a_unit = 8;  // at most

// Neighbouring rows of a sequence and some of their chunks, an item each: chunks in which what a row sees are the cells
// of the same number for all of them, or any chunks of a single row. The list ends with one that only says where the
// last one ended.
struct RowUnit {
  int32_t row, rows;
  int32_t chunk;        // slots
  int32_t first_chunk;  // of the unit's first item
  int32_t first_item;
};

// Neighbouring rows of a chain, many_rows and more: they are in no unit.
struct RowRun {
  int32_t row, rows;
};

// What a row's entry says instead of the number of its first state.
inline constexpr int32_t one_chunk = -1;  // or none, and no sinks beyond: there is nothing to merge
inline constexpr int32_t in_run = -2;

struct RowPlan {
  RowUnit* units;   // [2 · rows + 1]
  RowRun* runs;     // [rows / many_rows]
  int32_t* states;  // [rows] the number of a row's first state; each chunk of which it sees something has one
};

struct RowPlanSizes {
  int32_t units = 0, items = 0, runs = 0;
  int64_t states = 0;
  bool several = false;  // a unit has more than one row
};

RowPlanSizes plan_rows(const VivaceDeviceBatch& batch, int64_t rows, const Pattern& pattern, const RowPlan& plan);

}  // namespace vivace::cuda

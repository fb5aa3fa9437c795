// How the rows of a run are divided for attention: units of rows that read the same cells, each cut into chunks of
// slots. Made on the host once for every run; all layers share it.
//
// A row's chunks follow from the number of its own slots, never from the batch, so that its sums are formed in the same
// order whatever else runs.
#pragma once
#include <cstdint>

#include "device/table.h"

#if defined(__CUDACC__)
#define VIVACE_BOTH_SIDES __host__ __device__
#else
#define VIVACE_BOTH_SIDES
#endif

namespace vivace::cuda {

inline constexpr int many_rows = 32;      // neighbouring rows of a chain that are a prompt, drafts aside
inline constexpr int rows_of_a_unit = 8;  // at most

// Slots per chunk of a row that sees so many: about 32 chunks, of 128 to 512 slots.
VIVACE_BOTH_SIDES inline int chunk_of(int slots) {
  return slots <= 4096 ? 128 : slots <= 8192 ? 256 : 512;
}

// Neighbouring rows of a sequence and some of their chunks, an item each: chunks that all rows see as cells of the same
// number, or any chunks of a single row. The list ends with one that only says where the last one ended.
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
inline constexpr int32_t one_chunk = -1;  // or none: there is nothing to merge
inline constexpr int32_t in_run = -2;

struct RowPlan {
  RowUnit* units;   // [2 · rows + 1]
  RowRun* runs;     // [rows / many_rows]
  int32_t* states;  // [rows] the number of a row's first state; each of its chunks has one
};

struct RowPlanSizes {
  int32_t units = 0, items = 0, runs = 0;
  int64_t states = 0;
  bool several = false;  // a unit has more than one row
};

RowPlanSizes plan_rows(const VivaceDeviceBatch& batch, int64_t rows, const RowPlan& plan);

}  // namespace vivace::cuda

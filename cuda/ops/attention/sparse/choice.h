// Which rows choose the cells that they attend to in a layer, and what is known of them.
#pragma once
#include "cuda/ops/attention/pages.h"

namespace vivace::cuda {

__device__ inline const std::byte* policy_bytes(const DeviceBatch& batch) {
  return reinterpret_cast<const std::byte*>(batch.pages) + batch.sizes->policy.at;
}

// The page of a cell, where all layers and heads share them.
__device__ inline std::byte* page_of(const DeviceBatch& batch, const DeviceKv& kv, int64_t row, int cell) {
  return batch.pages[static_cast<int64_t>(batch.sequences[row]) * batch.sizes->page_stride + cell / kv.page_size];
}

// What places of ChoosingRow and CompressedPrompt are in; `states`: DeviceRun::states.
__device__ inline float* policy_memory(const DeviceBatch& batch, float* states) {
  return states + batch.sizes->policy.memory;
}

__device__ inline const ChoosingRow& choosing_row(const DeviceBatch& batch, int index) {
  return reinterpret_cast<const ChoosingRow*>(policy_bytes(batch) + batch.sizes->policy.rows)[index];
}

// Which of them a row is; below 0: none.
__device__ inline int index_of(const DeviceBatch& batch, int64_t row) {
  return reinterpret_cast<const int32_t*>(policy_bytes(batch))[row];
}

// How many cells the row chooses of those that it sees; 0: it attends to all of them.
__device__ inline int choice_of(const DeviceBatch& batch, const DeviceLabels& labels, int64_t row,
                                const VisibleSlots& seen) {
  if (index_of(batch, row) < 0) return 0;
  const int count = seen.end - seen.begin, wanted = chosen_cells(labels, count);
  return wanted < count ? wanted : 0;
}

}  // namespace vivace::cuda

// Where keys and values of a cell lie, and which cells a row sees; the same rules as
// cpp/ops/attention/parts/attention_rows.h.
#pragma once
#include "cuda/program/device_op.h"

namespace vivace::cuda {

// Key row of a cell of the row's sequence in one layer and KV head.
__device__ inline std::byte* key_row(const DeviceBatch& batch, const DeviceKv& kv, int64_t row, int layer, int head,
                                     int cell) {
  std::byte* page =
      batch.pages[static_cast<int64_t>(batch.sequences[row]) * batch.sizes->page_stride + cell / kv.page_size];
  return page + layer * kv.layer + (static_cast<int64_t>(head) * kv.page_size + cell % kv.page_size) * kv.key_row;
}
__device__ inline std::byte* value_row(const DeviceBatch& batch, const DeviceKv& kv, int64_t row, int layer, int head,
                                       int cell) {
  std::byte* page =
      batch.pages[static_cast<int64_t>(batch.sequences[row]) * batch.sizes->page_stride + cell / kv.page_size];
  return page + layer * kv.layer + kv.value_offset +
         (static_cast<int64_t>(head) * kv.page_size + cell % kv.page_size) * kv.value_row;
}

// What a row sees: slots [begin, end). Slots below `prefix` are the cells of the same number, the others are the tree
// cells of the row's mask in ascending order.
struct VisibleSlots {
  int begin, prefix, end;
};

// The cell of the n-th set bit, from 0, of a row's mask; counts only cells from `prefix` on. −1: there are fewer.
__device__ inline int tree_cell(const DeviceBatch& batch, int64_t row, int prefix, int n) {
  const int words = batch.sizes->tree_words;
  const uint64_t* mask = batch.tree_mask + row * words;
  int cell = batch.first_cells[row];
  for (int word = 0; word < words; ++word, cell += 64)
    for (uint64_t bits = mask[word]; bits != 0; bits &= bits - 1) {
      const int at = cell + __ffsll(static_cast<long long>(bits)) - 1;
      if (at >= prefix && n-- == 0) return at;
    }
  return -1;
}

__device__ inline int tree_cells(const DeviceBatch& batch, int64_t row, int prefix) {
  int count = 0;
  const int words = batch.sizes->tree_words;
  const uint64_t* mask = batch.tree_mask + row * words;
  int cell = batch.first_cells[row];
  for (int word = 0; word < words; ++word, cell += 64)
    for (uint64_t bits = mask[word]; bits != 0; bits &= bits - 1)
      count += cell + __ffsll(static_cast<long long>(bits)) - 1 >= prefix ? 1 : 0;
  return count;
}

__device__ inline int cell_of_slot(const DeviceBatch& batch, int64_t row, const VisibleSlots& seen, int slot) {
  return slot < seen.prefix ? slot : tree_cell(batch, row, seen.prefix, slot - seen.prefix);
}

__device__ inline VisibleSlots visible_slots(const DeviceBatch& batch, int64_t row, int window) {
  VisibleSlots seen = {0, batch.visible[row], batch.visible[row]};
  if (batch.sizes->tree_words > 0) seen.end += tree_cells(batch, row, seen.prefix);
  if (window <= 0 || seen.end == 0) return seen;
  // Positions ascend along what a row sees, so a window cuts off the beginning.
  const int first = batch.first_cells[row], hidden = batch.positions[row] - window;
  const int old = seen.prefix < first ? seen.prefix : first;
  seen.begin = hidden + 1 < 0 ? 0 : hidden + 1 < old ? hidden + 1 : old;
  for (int end = seen.end; seen.begin < end;) {
    const int middle = seen.begin + (end - seen.begin) / 2, cell = cell_of_slot(batch, row, seen, middle);
    const bool plain = cell < first || batch.sizes->tree_words == 0;
    const int position = plain ? cell : batch.added_positions[batch.added_offsets[row] + cell - first];
    if (position > hidden)
      end = middle;
    else
      seen.begin = middle + 1;
  }
  return seen;
}

}  // namespace vivace::cuda

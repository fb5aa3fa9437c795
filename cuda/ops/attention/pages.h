// Where keys and values of a cell lie, and which cells a row sees; the same rules as
// cpp/ops/attention/parts/attention_rows.h.
#pragma once
#include "cuda/program/device_op.h"

namespace vivace::cuda {

// Where keys and values of a layer and KV head begin in every page of their group.
__device__ inline VivaceDevicePlace place_of(const DeviceKv& kv, int layer, int head) {
  if (kv.places != nullptr) return kv.places[layer * kv.kv_heads + head];
  const int64_t keys = layer * kv.layer + static_cast<int64_t>(head) * kv.page_size * kv.key_row;
  const int64_t values = layer * kv.layer + kv.value_offset + static_cast<int64_t>(head) * kv.page_size * kv.value_row;
  return {keys, values, 0, 0};
}

// Of a group and the row's sequence: pages by their number, from `first` on without what is skipped.
struct PageTable {
  std::byte* const* pages;
  int first, skipped;

  __device__ PageTable(const DeviceBatch& batch, const DeviceKv& kv, int64_t row, const VivaceDevicePlace& place)
      : first(place.first_pages), skipped(0) {
    const int64_t table = int64_t{batch.sequences[row]} * kv.groups + place.group;
    pages = batch.pages + table * batch.sizes->page_stride;
    if (kv.places != nullptr) skipped = batch.skipped[table];
  }
  __device__ std::byte* at(int page) const { return pages[page < first ? page : page - skipped]; }
};

// Key row of a cell of the row's sequence in one layer and KV head.
__device__ inline std::byte* key_row(const DeviceBatch& batch, const DeviceKv& kv, int64_t row, int layer, int head,
                                     int cell) {
  const VivaceDevicePlace place = place_of(kv, layer, head);
  return PageTable(batch, kv, row, place).at(cell / kv.page_size) + place.key + cell % kv.page_size * kv.key_row;
}
__device__ inline std::byte* value_row(const DeviceBatch& batch, const DeviceKv& kv, int64_t row, int layer, int head,
                                       int cell) {
  const VivaceDevicePlace place = place_of(kv, layer, head);
  return PageTable(batch, kv, row, place).at(cell / kv.page_size) + place.value + cell % kv.page_size * kv.value_row;
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
  if (batch.sizes->tree_words == 0) {
    seen.begin = seen.end - window < 0 ? 0 : seen.end - window;
    return seen;
  }
  // Positions ascend along what a row sees, so a window cuts off the beginning.
  const int first = batch.first_cells[row], hidden = batch.positions[row] - window;
  const int32_t* added = batch.added_positions + batch.added_offsets[row];
  const int shift = added[0] - first;  // of old cells: position − cell
  const int old = seen.prefix < first ? seen.prefix : first, out = hidden + 1 - shift;
  seen.begin = out < 0 ? 0 : out < old ? out : old;
  for (int end = seen.end; seen.begin < end;) {
    const int middle = seen.begin + (end - seen.begin) / 2, cell = cell_of_slot(batch, row, seen, middle);
    if ((cell < first ? cell + shift : added[cell - first]) > hidden)
      end = middle;
    else
      seen.begin = middle + 1;
  }
  return seen;
}

// Of a row's slots, the sinks that its window has left.
__device__ inline int far_sinks(const Pattern& pattern, const VisibleSlots& seen) {
  return pattern.sinks < seen.begin ? pattern.sinks : seen.begin;
}

// Value d of a row that is turned by angles, [pairs] cosines and [pairs] sines; value(i) is one of the row.
template <class Value>
__device__ inline float turned_value(const float* angles, int pairs, int d, Value&& value) {
  if (d >= 2 * pairs) return value(d);
  const bool low = d < pairs;
  const int j = low ? d : d - pairs;
  const float a = value(j), b = value(j + pairs);
  return low ? a * angles[j] - b * angles[pairs + j] : b * angles[j] + a * angles[pairs + j];
}

// What turns a row's query, and the key of a sink, so that the sink seems to be where the policy wants it; pairs: how
// many of them; keys: null if those stay.
struct SinkTurn {
  int pairs;
  const float *query, *keys;
  int stride;

  __device__ SinkTurn(const DeviceBatch& batch, const DeviceKv& kv, const Pattern& pattern, int64_t row)
      : pairs(pattern.turned),
        query(batch.angles + row * kv.angles + pattern.turn),
        keys(pairs > 0 && kv.sink_angles != nullptr ? kv.sink_angles + pattern.turn : nullptr),
        stride(kv.angles) {}
  __device__ const float* key(int sink) const { return keys + int64_t{sink} * stride; }
};

}  // namespace vivace::cuda

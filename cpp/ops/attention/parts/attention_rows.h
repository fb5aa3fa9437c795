// Which cells a row sees, and how rows are grouped into work. For files compiled per instruction-set level.
#pragma once
#include "caches/paged_kv.h"
#include "ops/attention/attention.h"

namespace vivace::VIVACE_ISA {

// What one row sees: slots [begin, end). Slots below `prefix` are the cells of the same number, the others are the
// tree cells of the row's mask in ascending order.
struct Visible {
  int begin, prefix, end;
};

// Calls body(cell) for the row's tree cells in ascending order until it returns false.
template <class Body>
inline void for_tree_cells(const Batch& batch, int64_t row, Body&& body) {
  if (batch.tree_mask == nullptr) return;
  const uint64_t* mask = batch.tree_mask + row * batch.tree_words;
  int cell = batch.first_cells[row];
  for (int64_t word = 0; word < batch.tree_words; ++word, cell += 64)
    for (int bit = 0; bit < 64 && mask[word] >> bit != 0; ++bit)
      if ((mask[word] >> bit & 1) != 0 && cell + bit >= batch.visible[row] && !body(cell + bit)) return;
}

inline Visible visible_slots(const Batch& batch, int64_t row, int window) {
  Visible seen = {0, batch.visible[row], batch.visible[row]};
  for_tree_cells(batch, row, [&](int) { return ++seen.end, true; });
  if (window <= 0) return seen;
  // Positions ascend along what a row sees, so a window cuts off the beginning.
  const int first = batch.first_cells[row], hidden = batch.positions[row] - window;
  const int32_t* added = batch.added_positions + (batch.added_positions == nullptr ? 0 : batch.added_offsets[row]);
  const int shift = added == nullptr ? 0 : added[0] - first;  // of old cells: position − cell
  const auto position = [&](int cell) { return cell < first || added == nullptr ? cell + shift : added[cell - first]; };
  const int old = seen.prefix < first ? seen.prefix : first, out = hidden + 1 - shift;
  seen.begin = out < 0 ? 0 : out < old ? out : old;
  while (seen.begin < seen.prefix && position(seen.begin) <= hidden) ++seen.begin;
  if (seen.begin == seen.prefix)
    for_tree_cells(batch, row, [&](int cell) { return position(cell) <= hidden && ++seen.begin > 0; });
  return seen;
}

// Calls body(page, slot, count) for neighbouring cells in which slots [from, to) of a row lie.
template <class Body>
inline void for_strips(const Batch& batch, const PagedKv& kv, int64_t row, int prefix, int from, int to, Body&& body) {
  const int page_size = kv.options().page_size, plain = to < prefix ? to : prefix;
  if (from < plain) {
    int page = from / page_size, slot = from % page_size;
    for (int left = plain - from; left > 0; ++page, slot = 0) {
      const int count = page_size - slot < left ? page_size - slot : left;
      body(page, slot, count);
      left -= count;
    }
  }
  if (to <= prefix) return;
  int slot = prefix;
  for_tree_cells(batch, row, [&](int cell) {
    if (slot >= from) body(cell / page_size, cell % page_size, 1);
    return ++slot < to;
  });
}

// A run of rows of one sequence, at most `rows_per_run`; with each KV head it makes a unit of work, and each span of
// slots of a unit an item. The list ends with a run that only says where the last one ended.
struct RowRun {
  int32_t row, first_item, first_span;
};

struct RowRuns {
  const RowRun* runs;
  int32_t count, items, longest;  // longest: most spans of a unit
  int spans(int run, int kv_heads) const { return (runs[run + 1].first_item - runs[run].first_item) / kv_heads; }
};

// `seen_by`: what a row sees. `table` holds rows + 2 triples; the first one keeps the counts.
template <class SeenBy>
inline void group_rows(const Batch& batch, int64_t rows, int rows_per_run, int kv_heads, SeenBy&& seen_by,
                       RowRun* table) {
  RowRun* run = table + 1;
  int32_t items = 0, longest = 0;
  for (int64_t row = 0; row < rows;) {
    int begin = INT32_MAX, end = 0;
    int64_t next = row;
    for (; next < rows && next - row < rows_per_run && batch.sequences[next] == batch.sequences[row]; ++next) {
      const Visible seen = seen_by(next);
      if (seen.begin < begin) begin = seen.begin;
      if (seen.end > end) end = seen.end;
    }
    const int first = begin / attention_span;
    int spans = (end + attention_span - 1) / attention_span - first;
    if (spans < 1) spans = 1;  // rows that see nothing are written as well
    if (spans > longest) longest = spans;
    *run++ = {static_cast<int32_t>(row), items, first};
    items += spans * kv_heads;
    row = next;
  }
  *run = {static_cast<int32_t>(rows), items, 0};
  table[0] = {static_cast<int32_t>(run - table - 1), items, longest};
}

}  // namespace vivace::VIVACE_ISA

// What rows that attend to few of the cells they see want of memory, and which rows those are.
#pragma once
#include <cstdint>

#include "caches/paged_kv.h"
#include "program/batch.h"

namespace vivace {

// A row attends to so many cells when it sees `seen`; to all of them when that is `seen`.
inline int chosen_cells(const LabelOptions& labels, int seen) {
  const int part = labels.share > 0 ? (seen + labels.share - 1) / labels.share : 0;
  const int wanted = part > labels.tokens ? part : labels.tokens;
  return seen <= labels.threshold || seen <= wanted ? seen : wanted;
}

// Only rows whose logits are wanted choose: a prompt is read in full.
inline bool is_output(const Batch& batch, int64_t row) {
  int64_t low = 0, high = batch.outputs;
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (batch.output_rows[middle] < row)
      low = middle + 1;
    else
      high = middle;
  }
  return low < batch.outputs && batch.output_rows[low] == row;
}

inline constexpr int most_label_channels = 256;
inline constexpr int64_t label_query_bytes = 6 * most_label_channels + 16;

// How a member's memory is divided; sizes in units of four bytes.
struct ChoiceScratch {
  int64_t slots;  // a row sees at most, rounded up, and a vector more
  int64_t scores, tree, chosen, work, keys, queries, total;

  // `heads`: query heads of a KV head.
  ChoiceScratch(int64_t most_slots, int64_t tree_cells, int64_t heads) {
    slots = (most_slots + 64) / 16 * 16;
    scores = 0;  // [heads][slots], and one more for what they have in common
    tree = (heads + 1) * slots;
    chosen = tree + tree_cells;
    work = chosen + slots;
    keys = work + slots;
    queries = keys + slots;
    total = (queries + heads * label_query_bytes / 4 + 15) / 16 * 16;
  }
};

// Slots that a row of the batch sees at most, and those of them that are a tree's.
inline int64_t most_slots(const Batch& batch) {
  int64_t most = 0;
  for (int64_t row = 0; row < batch.rows; ++row) most = batch.visible[row] > most ? batch.visible[row] : most;
  return most + 64 * batch.tree_words;
}

// What a run wants of the cache's scratch memory.
inline int64_t choice_bytes(const Batch& batch, const PagedKv& kv, int64_t heads, int threads) {
  const ChoiceScratch parts(most_slots(batch), 64 * batch.tree_words, heads / kv.options().kv_heads);
  return 4 * parts.total * threads;
}

}  // namespace vivace

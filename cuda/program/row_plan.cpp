// Units, chunks and runs of a run's rows.
#include "cuda/program/row_plan.h"

#include <algorithm>
#include <bit>

namespace vivace::cuda {
namespace {

// Cells of a row's tree beyond its prefix.
int tree_cells(const VivaceDeviceBatch& batch, int64_t row) {
  if (batch.tree_mask == nullptr) return 0;
  const uint64_t* mask = batch.tree_mask + row * batch.tree_words;
  const int64_t hidden = int64_t{batch.visible[row]} - batch.first_cells[row];  // bits below are in the prefix
  int count = 0;
  for (int64_t word = 0; word < batch.tree_words; ++word) {
    const int64_t below = std::clamp<int64_t>(hidden - 64 * word, 0, 64);
    if (below < 64) count += std::popcount(mask[word] >> below);
  }
  return count;
}

class Planner {
 public:
  Planner(const VivaceDeviceBatch& batch, const Pattern& pattern, const RowPlan& plan)
      : batch_(batch), pattern_(pattern), plan_(plan) {}

  // Rows [begin, end) of one sequence.
  void add(int64_t begin, int64_t end) {
    int64_t prompt = begin;
    while (prompt < end && !is_drafted(prompt) && tree_cells(batch_, prompt) == 0) ++prompt;
    if (prompt - begin >= many_rows) {
      plan_.runs[sizes_.runs++] = {static_cast<int32_t>(begin), static_cast<int32_t>(prompt - begin)};
      std::fill(plan_.states + begin, plan_.states + prompt, in_run);
      begin = prompt;
    }
    while (begin < end) {
      const int chunk = chunk_of(pattern_, slots(begin));
      int shared = batch_.visible[begin] / chunk, first = first_chunk(begin, chunk);
      int64_t next = begin + 1;
      // Blocks are in another order for every row.
      const int64_t most = pattern_.block > 0 ? 1 : rows_of_a_unit;
      for (; next < end && next - begin < most && chunk_of(pattern_, slots(next)) == chunk; ++next) {
        shared = std::min(shared, batch_.visible[next] / chunk);
        first = std::min(first, first_chunk(next, chunk));
      }
      const bool together = next - begin > 1 && shared > first;
      if (together) add_unit(begin, next - begin, chunk, first, shared - first);
      sizes_.several = sizes_.several || together;
      for (; begin < next; ++begin) {
        const int own = first_chunk(begin, chunk), left = together ? std::max(shared, own) : own;
        const int chunks = (most_slots(pattern_, slots(begin)) + chunk - 1) / chunk;
        if (chunks > left) add_unit(begin, 1, chunk, left, chunks - left);
        const bool sinks = pattern_.sinks > 0 && first_slot(pattern_, slots(begin)) > 0;
        const bool merged = chunks - own > 1 || sinks;
        plan_.states[begin] = merged ? static_cast<int32_t>(sizes_.states) : one_chunk;
        if (merged) sizes_.states += chunks - own;
      }
    }
  }

  RowPlanSizes finish() {
    plan_.units[sizes_.units] = {0, 0, 1, 0, sizes_.items};
    return sizes_;
  }

 private:
  bool is_drafted(int64_t row) const { return batch_.drafted != nullptr && batch_.drafted[row] != 0; }
  int slots(int64_t row) const { return batch_.visible[row] + tree_cells(batch_, row); }
  int first_chunk(int64_t row, int chunk) const { return first_slot(pattern_, slots(row)) / chunk; }
  void add_unit(int64_t row, int64_t rows, int chunk, int first_chunk, int chunks) {
    plan_.units[sizes_.units++] = {static_cast<int32_t>(row), static_cast<int32_t>(rows), chunk, first_chunk,
                                   sizes_.items};
    sizes_.items += chunks;
  }

  const VivaceDeviceBatch& batch_;
  const Pattern& pattern_;
  RowPlan plan_;
  RowPlanSizes sizes_;
};

}  // namespace

RowPlanSizes plan_rows(const VivaceDeviceBatch& batch, int64_t rows, const Pattern& pattern, const RowPlan& plan) {
  Planner planner(batch, pattern, plan);
  for (int64_t begin = 0, end; begin < rows; begin = end) {
    for (end = begin + 1; end < rows && batch.sequences[end] == batch.sequences[begin];) ++end;
    planner.add(begin, end);
  }
  return planner.finish();
}

}  // namespace vivace::cuda

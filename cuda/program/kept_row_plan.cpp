#include "cuda/program/kept_row_plan.h"

#include <algorithm>
#include <cstring>

namespace vivace::cuda {

bool KeptRowPlan::fits(const VivaceDeviceBatch& batch, int64_t rows) const {
  if (rows_.empty() || static_cast<int64_t>(rows_.size()) != rows) return false;
  if (batch.tree_mask != nullptr || batch.drafted != nullptr) return false;
  for (int64_t i = 0; i < rows; ++i) {
    const Row& row = rows_[static_cast<size_t>(i)];
    if (batch.sequences[i] != row.sequence || batch.visible[i] < row.low || batch.visible[i] > row.high) return false;
  }
  return true;
}

void KeptRowPlan::keep(const VivaceDeviceBatch& batch, const RowPlan& plan) {
  units_.assign(plan.units, plan.units + sizes_.units + 1);
  runs_.assign(plan.runs, plan.runs + sizes_.runs);
  states_.assign(plan.states, plan.states + rows_.size());
  for (size_t i = 0; i < rows_.size(); ++i) rows_[i] = row_of(batch.sequences[i], batch.visible[i]);
}

KeptRowPlan::Row KeptRowPlan::row_of(int32_t sequence, int slots) const {
  // Of what is seen the same number of chunks, while it grows as the slots do.
  const int end = most_slots(pattern_, slots), hidden = slots - end;
  const int chunk = chunk_of(pattern_, slots), begin = end / chunk * chunk;
  // A whole number of chunks is a case of its own: neighbours may share all of them.
  const bool whole = end == begin;
  Row row = {sequence, hidden + (whole ? end : begin + 1), hidden + (whole ? end : begin + chunk - 1)};
  if (pattern_.block > 0 && slots > 0) {  // and the row in the same block
    const int first = (slots - 1) / pattern_.block * pattern_.block;
    row.low = std::max(row.low, first + 1);
    row.high = std::min(row.high, first + pattern_.block);
  }
  if (pattern_.window > 0) {  // and its window in the same chunk, at the text's begin or beyond it
    const int from = first_slot(pattern_, slots) / chunk * chunk + pattern_.window;
    if (slots > pattern_.window) row.low = std::max({row.low, from, pattern_.window + 1});
    row.high = std::min(row.high, slots > pattern_.window ? from + chunk - 1 : pattern_.window);
  }
  return row;
}

RowPlanSizes KeptRowPlan::plan(const VivaceDeviceBatch& batch, int64_t rows, const Pattern& pattern,
                               const RowPlan& plan) {
  if (std::memcmp(&pattern_, &pattern, sizeof(Pattern)) == 0 && fits(batch, rows)) {
    std::copy(units_.begin(), units_.end(), plan.units);
    std::copy(runs_.begin(), runs_.end(), plan.runs);
    std::copy(states_.begin(), states_.end(), plan.states);
    return sizes_;
  }
  ++made_;
  pattern_ = pattern;
  sizes_ = plan_rows(batch, rows, pattern, plan);
  const bool plain = batch.tree_mask == nullptr && batch.drafted == nullptr;
  rows_.resize(plain ? static_cast<size_t>(rows) : 0);
  if (plain) keep(batch, plan);
  return sizes_;
}

}  // namespace vivace::cuda

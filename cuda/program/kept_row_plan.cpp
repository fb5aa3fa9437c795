#include "cuda/program/kept_row_plan.h"

#include <algorithm>

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
  for (size_t i = 0; i < rows_.size(); ++i) {
    // A whole number of chunks is a case of its own: neighbours may share all of them.
    const int slots = batch.visible[i], chunk = chunk_of(slots), begin = slots / chunk * chunk;
    const bool whole = slots == begin;
    rows_[i] = {batch.sequences[i], whole ? slots : begin + 1, whole ? slots : begin + chunk - 1};
  }
}

RowPlanSizes KeptRowPlan::plan(const VivaceDeviceBatch& batch, int64_t rows, const RowPlan& plan) {
  if (fits(batch, rows)) {
    std::copy(units_.begin(), units_.end(), plan.units);
    std::copy(runs_.begin(), runs_.end(), plan.runs);
    std::copy(states_.begin(), states_.end(), plan.states);
    return sizes_;
  }
  ++made_;
  sizes_ = plan_rows(batch, rows, plan);
  const bool plain = batch.tree_mask == nullptr && batch.drafted == nullptr;
  rows_.resize(plain ? static_cast<size_t>(rows) : 0);
  if (plain) keep(batch, plan);
  return sizes_;
}

}  // namespace vivace::cuda

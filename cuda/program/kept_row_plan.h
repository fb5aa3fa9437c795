// Plans of runs that follow each other: kept as long as lengths stay within the same chunks.
#pragma once
#include <cstdint>
#include <vector>

#include "cuda/program/row_plan.h"

namespace vivace::cuda {

// A run of chains alone, for the same pattern, has the plan of the one before it if as many rows belong
// to the same sequences and none sees a chunk more or less: decoding makes a new one every 128 tokens of a sequence.
class KeptRowPlan {
 public:
  RowPlanSizes plan(const VivaceDeviceBatch& batch, int64_t rows, const Pattern& pattern, const RowPlan& plan);
  int64_t made() const { return made_; }  // so far

 private:
  struct Row {
    int32_t sequence, low, high;  // the plan holds while the row sees so many slots
  };
  bool fits(const VivaceDeviceBatch& batch, int64_t rows) const;
  void keep(const VivaceDeviceBatch& batch, const RowPlan& plan);

  Row row_of(int32_t sequence, int slots) const;

  Pattern pattern_{};
  std::vector<Row> rows_;  // empty: nothing is kept
  std::vector<RowUnit> units_;
  std::vector<RowRun> runs_;
  std::vector<int32_t> states_;
  RowPlanSizes sizes_;
  int64_t made_ = 0;
};

}  // namespace vivace::cuda

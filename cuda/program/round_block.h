// What differs from round to round: inputs, the rows' arrays and page tables, in one block that lies in pinned memory
// and, at the same offsets, on the card. In pinned memory there are two, for a round may be filled in before the card
// has fetched the one before.
#pragma once
#include <cstdint>
#include <vector>

#include "cuda/core/memory.h"
#include "cuda/core/stream.h"
#include "cuda/program/device_op.h"
#include "cuda/program/kept_row_plan.h"
#include "device/table.h"
#include "program/program.h"

namespace vivace::cuda {

// Offsets for a bucket and a kind of cache. Page tables come last, because their size is not the bucket's.
struct RoundLayout {
  int64_t rows = 0, outputs = 0;            // of the bucket
  int64_t plans = 1;                        // for attention
  std::vector<int64_t> inputs;              // by value, −1: no input
  int64_t arrays = 0;                       // six arrays of int32 [rows]
  int64_t units = 0, runs = 0, states = 0;  // the plans for attention: runs are those of all
  int64_t chosen_states = 0;
  int64_t masks = 0, added = 0;     // masks and added positions: for trees
  int64_t mask_words = 0;           // most per row
  int64_t angles = 0, skipped = 0;  // under a policy
  int64_t pages = 0;

  RoundLayout() = default;
  RoundLayout(const Program& program, int64_t rows, int64_t outputs, const DeviceKv& kv, size_t plans);
  // Of one plan.
  int64_t sizes_of(size_t plan) const;
  int64_t units_of(size_t plan) const;
  int64_t states_of(size_t plan) const;
};

class RoundBlock {
 public:
  // Whether there is room for the layout and `page_entries` page addresses. reserve() makes it; addresses change then.
  bool fits(const RoundLayout& layout, int64_t page_entries) const;
  void reserve(const RoundLayout& layout, int64_t page_entries);
  // Fills the block from a run, with a plan of its rows for each pattern, and gives what all of them need, the rows of
  // a cache's policy included.
  RowPlanSizes fill(const Program& program, const RoundLayout& layout, const VivaceDeviceRun& run,
                    const std::vector<Pattern>& patterns, const PolicyRows& policy, int64_t state_floats);
  // Copies to the card what the last fill made.
  void send(const RoundLayout& layout, Stream& stream);
  DeviceBatch batch(const RoundLayout& layout, size_t plan) const;
  std::byte* input(const RoundLayout& layout, int value) const;
  int64_t bytes() const { return device_.size(); }

 private:
  std::vector<KeptRowPlan> plans_;
  PinnedBuffer hosts_[2];
  int filling_ = 0;  // which of them the last fill made
  DeviceBuffer device_;
  int64_t filled_ = 0, filled_end_ = 0;  // bytes: from the beginning, and of `angles` and all behind it
};

}  // namespace vivace::cuda

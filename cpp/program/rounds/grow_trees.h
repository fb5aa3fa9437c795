// Trees that a model drafts: the runs of their levels, behind the run that computed their roots.
#pragma once
#include <functional>
#include <vector>

#include "caches/paged_kv.h"
#include "decode/draws.h"
#include "program/rounds/executable_state.h"

namespace vivace {

// A row's value `output` [outputs, d] is what the rows behind it read as `input` [rows, d]; -1: no program of this
// kind.
struct FeatureLink {
  int input = -1, output = -1;
  bool feeds() const { return output >= 0; }
};

// One run of `state` per level. `first` is the batch of the run that began `trees`, and drew from the value `logits`;
// `cells`: how many a root's sequence has behind an output of it. `left`: where rows are fed, what that run's outputs
// left, [outputs, d]. Nobody holds the lock.
void grow_trees(ExecutableState& state, PagedKv* kv, const Batch& first, int logits, std::vector<TreeRows> trees,
                const std::function<int64_t(int64_t output)>& cells, const FeatureLink& link = {},
                std::vector<float> left = {});

}  // namespace vivace

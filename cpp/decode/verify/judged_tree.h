// Greedy drafts that are trees, with a judge: of all paths whose tokens the model or the judge keeps, the longest.
#pragma once
#include <cstdint>
#include <vector>

#include "decode/verify/verify.h"

namespace vivace {

// Whether some row has a sibling.
bool is_tree(const Walk& walk);

// Rows below the root that stay, in order, and −1 behind them. Of paths of the same length the one with more tokens
// that the model says itself, then the one with the greater sum of min(score, 0), then the one with lower rows.
// `logits`: the walk's outputs; the sampler is as before.
std::vector<int32_t> best_path(const Walk& walk, float* logits, int64_t vocab);

}  // namespace vivace

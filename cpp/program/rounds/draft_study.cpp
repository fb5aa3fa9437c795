#include "program/rounds/draft_study.h"

#include <algorithm>
#include <utility>

namespace vivace {
namespace {

int32_t microseconds(DraftStudy::Clock::duration time) {
  constexpr int64_t most = 1'000'000'000;
  return static_cast<int32_t>(
      std::min<int64_t>(most, std::chrono::duration_cast<std::chrono::microseconds>(time).count()));
}

int32_t depth_of(const Draft& draft) {
  std::vector<int32_t> depths;
  int32_t deepest = 0;
  for (const int32_t parent : draft.parents) {
    depths.push_back(parent < 0 ? 1 : depths[static_cast<size_t>(parent)] + 1);
    deepest = std::max(deepest, depths.back());
  }
  return deepest;
}

}  // namespace

void DraftStudy::drafted(const Draft& draft, Clock::time_point begin) {
  if (draft.tokens.empty()) return;
  draft_ = draft;
  begin_ = begin;
  end_ = Clock::now();
}

void DraftStudy::said(const int32_t* tokens, int64_t count) {
  if (!draft_) return;
  const Draft draft = *std::exchange(draft_, std::nullopt);
  const Clock::time_point now = Clock::now();
  // Along the path that was said.
  std::vector<int32_t> nodes;
  int32_t node = -1;
  for (int64_t depth = 0; depth < count; ++depth) {
    int32_t children = 0, rank = -1, kept = -1;
    for (int32_t i = 0; i < draft.size(); ++i) {
      if (draft.parents[static_cast<size_t>(i)] != node) continue;
      if (draft.tokens[static_cast<size_t>(i)] == tokens[depth]) rank = children, kept = i;
      ++children;
    }
    if (children == 0) break;
    nodes.insert(nodes.end(), {static_cast<int32_t>(depth), children, rank});
    if (rank < 0) break;
    node = kept;
  }
  std::lock_guard lock(mutex_);
  counts_.insert(counts_.end(), {static_cast<int32_t>(nodes.size() / 3), depth_of(draft), microseconds(end_ - begin_),
                                 draft.size() + 1, microseconds(now - end_)});
  counts_.insert(counts_.end(), nodes.begin(), nodes.end());
}

void DraftStudy::take(std::vector<int32_t>& out) {
  std::lock_guard lock(mutex_);
  out = std::exchange(counts_, {});
}

}  // namespace vivace

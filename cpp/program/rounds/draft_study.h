// What became of a drafter's trees: which child of each node was kept, how long a draft took and the round that
// verified it.
#pragma once
#include <chrono>
#include <cstdint>
#include <mutex>
#include <optional>
#include <vector>

#include "decode/draft/drafter.h"

namespace vivace {

// Counts wait here until take(), which any thread may call; the other members belong to the drafter's thread.
class DraftStudy {
 public:
  using Clock = std::chrono::steady_clock;
  // A draft is there, whose making began at `begin`.
  void drafted(const Draft& draft, Clock::time_point begin);
  // What was said behind it; nothing happens where none was noted since the last call.
  void said(const int32_t* tokens, int64_t count);
  // As Drafter::studied() says.
  void take(std::vector<int32_t>& out);

 private:
  std::optional<Draft> draft_;
  Clock::time_point begin_, end_;  // of its making
  std::mutex mutex_;
  std::vector<int32_t> counts_;
};

}  // namespace vivace

// A prompt that is being compressed (SnapKV): what a layer's rows vote for, which cells stay, and the pages that they
// move to. Made when a run begins, filled by its attention calls, put in place by PagedKv::compact.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "caches/cache_policy.h"
#include "core/memory/arena.h"

namespace vivace {

inline constexpr int compaction_span = 512;  // cells that one member of a team looks at at a time

struct Compaction {
  int cells = 0;             // of the sequence, this run's included: candidates, then the window
  int kept = 0;              // of them
  int prefix = 0;            // candidates
  int voters = 0;            // rows of this run
  int queries = 0;           // voters · group: vectors that vote per KV head
  int spans = 0;             // of all cells
  int32_t* pages = nullptr;  // [groups][kept_pages] that they move to
  int kept_pages = 0;

  // [voters] rows of the run, ascending.
  int32_t* rows = nullptr;
  // [kv_heads][spans][queries][2]: largest score and sum of e^(score − largest) over a span; then, in span 0, the whole
  // row's maximum and 1 / sum.
  float* sums = nullptr;
  // [kv_heads][prefix]: votes, and what pooling makes of them.
  float *votes = nullptr, *pooled = nullptr;
  // [kv_heads][kept]: cells that stay, ascending.
  int32_t* chosen = nullptr;

  // Layer by layer: the last one that has pages, whether all rows have passed it, and what they take to the next one,
  // [rows of the prompt][carried_bytes].
  int layer = -1;
  bool passed = true;
  int64_t carried_bytes = 0;
  Arena carried;

  std::vector<int32_t> page_list;
  std::vector<float> floats;
  std::vector<int32_t> integers;
};

}  // namespace vivace

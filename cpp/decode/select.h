// Selection by rank: greater score first, of equals the lower index. Nothing is sorted; all results are exact.
#pragma once
#include <bit>
#include <cstdint>
#include <utility>

#include "decode/truncate_kernel.h"

namespace vivace {

// Ranks as integers that all differ, the first rank the greatest.
inline uint64_t key_of(float score, int64_t index) {
  const uint32_t order = static_cast<uint32_t>(float_order(score)) ^ 0x80000000u;
  return uint64_t{order} << 32 | (0xFFFFFFFFu - static_cast<uint32_t>(index));
}
inline int64_t index_of(uint64_t key) {
  return 0xFFFFFFFFu - static_cast<uint32_t>(key);
}

// The least key of the smallest set of greatest keys whose mass, with what it has already, reaches `wanted`; at least
// one key. Quickselect whose partition has no branch that depends on data; reorders the keys.
template <class Mass>
uint64_t least_kept(uint64_t* keys, int64_t count, double wanted, Mass&& mass, double have = 0) {
  uint64_t* begin = keys;
  uint64_t* end = keys + count;
  uint64_t least = 0;
  uint32_t state = 0x9E3779B9u;
  while (begin < end) {
    state = state * 1664525u + 1013904223u;
    std::swap(*begin, begin[(uint64_t{state} * static_cast<uint64_t>(end - begin)) >> 32]);
    const uint64_t pivot = *begin;
    uint64_t* split = begin + 1;  // [begin + 1, split) are greater
    double greater = 0;
    for (uint64_t* at = begin + 1; at < end; ++at) {
      const uint64_t key = *at;
      const bool above = key > pivot;
      *at = *split;
      *split = key;
      split += above;
      greater += above ? mass(key) : 0.0;
    }
    if (split > begin + 1 && have + greater >= wanted) {
      ++begin;
      end = split;
      continue;
    }
    have += greater + mass(pivot);
    least = pivot;
    if (have >= wanted) break;
    begin = split;
  }
  return least;
}

struct SelectScratch {
  double* masses;  // [Buckets::masses]
  int32_t* ids;    // [count + 1]
  uint64_t* keys;  // [count]
};

struct Rank {
  float score;
  int64_t index;
};

// The last rank of the smallest set of first ranks whose weights together reach `wanted`, for many tokens of which some
// have weight: masses by buckets of scores, then the same within the bucket where `wanted` is reached.
Rank least_rank(const float* scores, const float* weights, int64_t count, double wanted, const SelectScratch& scratch);

}  // namespace vivace

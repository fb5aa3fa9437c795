// The slots with the largest scores, of equal ones those that come first: found without sorting. For files compiled per
// instruction-set level; the answer is the same on all of them, since it follows from the scores alone.
//
// A sample says which score is surely below the last one wanted; the few slots above it are counted by ranges of their
// scores, as bits, and of one range the scores are looked at again.
#pragma once
#include "ops/attention/sparse/compress.h"

namespace vivace::VIVACE_ISA {

inline constexpr int score_buckets = 2048;
inline constexpr int sampled_scores = 1024;

// Orders as the float does; both zeros must not be there.
inline uint32_t key_of(float score) {
  const uint32_t bits = bits_from_f32(score);
  return bits ^ (static_cast<uint32_t>(static_cast<int32_t>(bits) >> 31) | 0x80000000u);
}

inline float score_of(uint32_t key) {
  return f32_from_bits((key & 0x80000000u) != 0 ? key & 0x7fffffffu : ~key);
}

struct Rank {
  uint32_t key;  // of the wanted one
  int above;     // that are larger
};

// The wanted-th largest, from 1, of `count` keys. Keys that may be it are moved to the front of `keys`.
inline Rank ranked(uint32_t* keys, int count, int wanted) {
  int32_t buckets[score_buckets];
  int above = 0;
  while (true) {
    uint32_t low = ~uint32_t{0}, high = 0;
    for (int i = 0; i < count; ++i) low = keys[i] < low ? keys[i] : low;
    for (int i = 0; i < count; ++i) high = keys[i] > high ? keys[i] : high;
    if (low == high) return {low, above};
    int shift = 0;
    while ((high - low) >> shift >= static_cast<uint32_t>(score_buckets)) ++shift;
    std::memset(buckets, 0, sizeof(buckets));
    for (int i = 0; i < count; ++i) ++buckets[(keys[i] - low) >> shift];
    uint32_t at = (high - low) >> shift;
    while (above + buckets[at] < wanted) above += buckets[at--];
    int kept = 0;
    for (int i = 0; i < count; ++i) {
      const uint32_t key = keys[i];
      keys[kept] = key;
      kept += (key - low) >> shift == at ? 1 : 0;
    }
    count = kept;
  }
}

// The positions among `count` scores of those that are at least `least`, ascending; there is room for a vector more.
inline int positions_from(const float* scores, int count, float least, int32_t* out) {
  int found = 0, i = 0;
#if defined(VIVACE_COMPRESS)
  for (; i + F32::lanes <= count; i += F32::lanes) found += places_not_less(load(scores + i), least, i, out + found);
#endif
  for (; i < count; ++i) {
    out[found] = i;
    found += scores[i] >= least ? 1 : 0;
  }
  return found;
}

// Writes the positions of the `wanted` largest of `count` scores, ascending; wanted ≤ count. `out`, `work` and `keys`
// have room for count + F32::lanes.
inline void top_positions(const float* scores, int count, int wanted, int32_t* out, int32_t* work, uint32_t* keys) {
  int candidates = 0;
  if (count > 4 * sampled_scores) {
    const int stride = count / sampled_scores;
    const float share = static_cast<float>(wanted) * sampled_scores / static_cast<float>(count);
    const int rank = static_cast<int>(share + 4.0f * __builtin_sqrtf(share) + 8.0f);
    if (rank < sampled_scores) {
      // Anywhere in each piece: texts repeat themselves.
      for (int i = 0; i < sampled_scores; ++i) {
        const uint32_t hash = static_cast<uint32_t>(i) * 0x9e3779b1u;  // 2^32 / golden ratio
        keys[i] = key_of(scores[i * stride + static_cast<int>((hash >> 16) * static_cast<uint32_t>(stride) >> 16)]);
      }
      candidates = positions_from(scores, count, score_of(ranked(keys, sampled_scores, rank).key), work);
    }
  }
  if (candidates < wanted) {
    for (int i = 0; i < count; ++i) work[i] = i;
    candidates = count;
  }
  for (int i = 0; i < candidates; ++i) keys[i] = key_of(scores[work[i]]);
  const Rank last = ranked(keys, candidates, wanted);
  int equal = wanted - last.above;
  for (int i = 0, found = 0; found < wanted; ++i) {
    const uint32_t key = key_of(scores[work[i]]);
    out[found] = work[i];
    const int same = key == last.key && equal > 0 ? 1 : 0;
    equal -= same;
    found += (key > last.key ? 1 : 0) + same;
  }
}

}  // namespace vivace::VIVACE_ISA

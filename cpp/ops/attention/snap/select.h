// Which votes win: pooling over neighbours, and the largest of a list without sorting it. For files compiled per
// instruction-set level.
#pragma once
#include <cstdint>
#include <cstring>

#include "caches/compaction.h"

namespace vivace::VIVACE_ISA {

// out[j] of the votes [j − kernel / 2, j + kernel / 2] that exist: the largest, or their sum / kernel.
inline void pool_votes(const float* votes, int count, int kernel, SnapPooling pooling, float* out) {
  const int half = pooling == SnapPooling::none ? 0 : kernel / 2;
  for (int j = 0; j < count; ++j) {
    const int begin = j < half ? 0 : j - half, end = count - j <= half ? count : j + half + 1;
    float result = votes[begin];
    for (int i = begin + 1; i < end; ++i)
      result = pooling == SnapPooling::avg ? result + votes[i] : votes[i] > result ? votes[i] : result;
    out[j] = pooling == SnapPooling::avg ? result / static_cast<float>(kernel) : result;
  }
}

// A number that grows with the float.
inline uint32_t rank_of(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  return bits >> 31 != 0 ? ~bits : bits | 0x80000000u;
}

// The places of the `most` largest values, ascending; of equal values the first ones. most ≤ count. Finds the least
// value that stays byte by byte, from the highest one on, then takes what is above it and as many of its equals as
// there is room for.
inline void select_largest(const float* values, int count, int most, int32_t* places) {
  if (most <= 0) return;
  uint32_t least = 0, known = 0;  // of the rank of the least one that stays; its bits that are known
  int wanted = most;              // among those that agree in the known bits
  for (int shift = 24; shift >= 0; shift -= 8) {
    int counts[256] = {};
    for (int i = 0; i < count; ++i) {
      const uint32_t rank = rank_of(values[i]);
      if (((rank ^ least) & known) == 0) ++counts[rank >> shift & 255];
    }
    int byte = 255;
    while (counts[byte] < wanted) wanted -= counts[byte--];
    least |= static_cast<uint32_t>(byte) << shift;
    known |= 255u << shift;
  }
  for (int i = 0; i < count; ++i) {
    const uint32_t rank = rank_of(values[i]);
    if (rank > least || (rank == least && wanted-- > 0)) *places++ = i;
  }
}

}  // namespace vivace::VIVACE_ISA

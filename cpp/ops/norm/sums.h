// Sums along a row in one fixed order, whatever the team. For files compiled per instruction-set level.
#pragma once
#include "core/simd.h"

namespace vivace::VIVACE_ISA {

// The sum of term(i, count) over all lanes of i = 0, lanes … < n. Four running sums: an addition takes four cycles.
template <class Term>
inline float sum_over(int64_t n, Term&& term) {
  constexpr int lanes = F32::lanes;
  F32 sums[4] = {zero(), zero(), zero(), zero()};
  int64_t i = 0;
  for (; i + 4 * lanes <= n; i += 4 * lanes) {
    sums[0] += term(i, lanes);
    sums[1] += term(i + lanes, lanes);
    sums[2] += term(i + 2 * lanes, lanes);
    sums[3] += term(i + 3 * lanes, lanes);
  }
  for (; i + lanes <= n; i += lanes) sums[0] += term(i, lanes);
  if (i < n) sums[1] += term(i, static_cast<int>(n - i));  // lanes beyond the end must be zero
  return sum((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

// v in its first `count` lanes, `other` in the rest.
inline F32 first_lanes(F32 v, int count, float other) {
  if (count == F32::lanes) return v;
  float values[F32::lanes];
  store(values, set1(other));
  store_partial(values, v, count);
  return load(values);
}

}  // namespace vivace::VIVACE_ISA

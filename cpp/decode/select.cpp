#include "decode/select.h"

#include <algorithm>

#include "core/isa.h"

namespace vivace {
namespace {

constexpr int64_t few = 256;  // are selected from one by one

const TruncateKernel& choose_kernel() {
  switch (best_isa()) {
#if defined(VIVACE_HAS_AVX2)
    case Isa::avx2:
      return avx2::truncate_kernel;
#endif
#if defined(VIVACE_HAS_AVX512)
    case Isa::avx512:
      return avx512::truncate_kernel;
#endif
#if defined(VIVACE_HAS_NEON)
    case Isa::neon:
      return neon::truncate_kernel;
#endif
#if defined(VIVACE_HAS_I8MM)
    case Isa::i8mm:
      return i8mm::truncate_kernel;
#endif
    default:
      return baseline::truncate_kernel;
  }
}

int32_t order_of(uint64_t key) {
  return static_cast<int32_t>(static_cast<uint32_t>(key >> 32) ^ 0x80000000u);
}

// The bucket where `wanted` is reached, or the last one that has mass; `have` becomes the mass of those above it.
int reaching(const double* masses, double wanted, double& have) {
  int last = 0;
  double before = have;
  for (int bucket = Buckets::count - 1; bucket >= 0; --bucket) {
    double mass = 0;
    for (int lane = 0; lane < Buckets::lanes; ++lane) mass += masses[lane * Buckets::stride + bucket];
    if (mass <= 0) continue;
    last = bucket;
    before = have;
    if (have + mass >= wanted) break;
    have += mass;
  }
  have = before;
  return last;
}

}  // namespace

const TruncateKernel& truncate_kernel() {
  static const TruncateKernel& chosen = choose_kernel();
  return chosen;
}

Rank least_rank(const float* scores, const float* weights, int64_t count, double wanted, const SelectScratch& scratch) {
  const TruncateKernel& kernel = truncate_kernel();
  double* masses = scratch.masses;
  uint64_t* keys = scratch.keys;
  const auto mass_of = [&](uint64_t key) -> double { return weights[index_of(key)]; };
  double have = 0;

  Extent extent = kernel.extent(scores, weights, count);
  if (extent.least == extent.greatest) {  // the first ones
    int64_t last = 0;
    for (int64_t i = 0; i < count && have < wanted; ++i) {
      if (weights[i] <= 0) continue;
      have += weights[i];
      last = i;
    }
    return {scores[last], last};
  }
  Buckets buckets = Buckets::between(extent.least, extent.greatest);
  std::fill(masses, masses + Buckets::masses, 0.0);
  kernel.tally(scores, weights, count, buckets, masses);
  const int first = reaching(masses, wanted, have);
  int64_t left = kernel.collect(scores, weights, count, buckets, first, scratch.ids);
  for (int64_t i = 0; i < left; ++i) keys[i] = key_of(scores[scratch.ids[i]], scratch.ids[i]);

  // Keys keep the order of their indices until they are few or equal.
  while (left > few) {
    extent = {};
    for (int64_t i = 0; i < left; ++i) {
      extent.least = std::min(extent.least, order_of(keys[i]));
      extent.greatest = std::max(extent.greatest, order_of(keys[i]));
    }
    if (extent.least == extent.greatest) {
      int64_t i = 0;
      while (i + 1 < left && have + mass_of(keys[i]) < wanted) have += mass_of(keys[i++]);
      return {scores[index_of(keys[i])], index_of(keys[i])};
    }
    buckets = Buckets::between(extent.least, extent.greatest);
    std::fill(masses, masses + Buckets::masses, 0.0);
    for (int64_t i = 0; i < left; ++i) masses[buckets.of(order_of(keys[i]))] += mass_of(keys[i]);
    const int bucket = reaching(masses, wanted, have);
    int64_t kept = 0;
    for (int64_t i = 0; i < left; ++i) {
      const uint64_t key = keys[i];
      keys[kept] = key;
      kept += buckets.of(order_of(key)) == bucket;
    }
    left = kept;
  }
  const int64_t index = index_of(least_kept(keys, left, wanted, mass_of, have));
  return {scores[index], index};
}

}  // namespace vivace

// Truncation and draw of one row by a block of threads: the tokens still in the running as a list in the order of ids,
// of which each step takes weights away (Sampler::draw of cpp/decode/sample.cpp).
#pragma once
#include <cuda_runtime.h>

#include <cfloat>
#include <cmath>
#include <cstdint>

#include "cuda/core/reduce.h"
#include "cuda/core/shared.h"
#include "cuda/decode/draw_row.h"
#include "cuda/decode/select.h"
#include "cuda/decode/weights.h"

namespace vivace::cuda {

constexpr int kept_threads = 256, kept_warps = kept_threads / 32;

// A row of logits, and maxima and sums of weights of its blocks of 64.
struct Weighed {
  const float* logits;
  const float* maxima;
  const float* sums;
  float peak, scale;
  int vocab;

  __device__ int blocks() const { return (vocab + 63) / 64; }
};

struct Kept {
  float* weights;  // 0: out of the running
  float* scores;
  int32_t* ids;
  unsigned long long* words;
  int count;
  double total;  // of weights; after the first step of those left, before of all tokens
};

// The sum of the weights of a list, in an order that depends on its length alone.
template <class Value>
__device__ double sum_of_list(int count, Value&& value) {
  double sum = 0;
  for (int i = static_cast<int>(threadIdx.x); i < count; i += kept_threads) sum += static_cast<double>(value(i));
  return sum_of_block(sum);
}

struct Found {
  int place;      // the first at which the sum exceeds the target, or the last that has a value
  double before;  // the sum of those before it
};

// Each warp adds up a stretch; then all threads search the one in which the target is exceeded.
template <class Value>
__device__ Found find_in_list(int count, double share, Value&& value, double& total) {
  SHARED(double, stretches, kept_warps);
  SHARED(double, sums_before, 1);
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32;
  const int each = ((count + kept_warps - 1) / kept_warps + 31) / 32 * 32;
  double sum = 0;
  for (int i = warp * each + lane; i < count && i < (warp + 1) * each; i += 32) sum += static_cast<double>(value(i));
  for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, step);
  __syncthreads();
  if (lane == 0) stretches[warp] = sum;
  __syncthreads();
  total = 0;
  for (int i = 0; i < kept_warps; ++i) total += static_cast<double>(stretches[i]);
  const double target = share * total;
  double before = 0;
  int chosen = -1;
  for (int i = 0; i < kept_warps; ++i) {
    const double own = stretches[i];
    if (own <= 0) continue;
    if (chosen >= 0) before += static_cast<double>(stretches[chosen]);
    chosen = i;
    if (before + own > target) break;
  }
  if (chosen < 0) chosen = 0;
  int last = -1;
  double last_before = before;
  const int end = count < (chosen + 1) * each ? count : (chosen + 1) * each;
  for (int base = chosen * each; base < end; base += kept_threads) {
    const int i = base + thread;
    const double own = i < end ? static_cast<double>(value(i)) : 0.0;
    const double sum_to = before + scan_block(own);
    const uint64_t first = least_of_block(own > 0 && sum_to > target ? static_cast<uint64_t>(i) : ~uint64_t{0});
    const int latest = max_of_block(own > 0 ? i : -1);
    const int place = first != ~uint64_t{0} ? static_cast<int>(first) : latest;
    if (place >= 0) {
      if (i == place) sums_before[0] = sum_to - own;
      __syncthreads();
      last = place;
      last_before = sums_before[0];
      __syncthreads();
    }
    if (first != ~uint64_t{0}) break;
    before = max_of_block(sum_to);
  }
  return {last, last_before};
}

// Nothing is truncated: a block of 64 by the sums, then one by one, as on the host.
__device__ inline int32_t draw_plain(const Weighed& row, double uniform) {
  SHARED(int32_t, drawn, 1);
  double total = 0;
  const Found block = find_in_list(
      row.blocks(), uniform, [&](int i) { return row.sums[i]; }, total);
  if (threadIdx.x == 0) {
    const double target = uniform * total;
    double sum = block.before;
    int32_t last = -1;
    for (int i = block.place * 64; i < row.vocab; ++i) {
      const float weight = weight_of(row.logits[i], row.peak, row.scale);
      if (weight <= 0) continue;
      last = i;
      sum += static_cast<double>(weight);
      if (sum > target) break;
    }
    // Rounding carried the target past the last token that has any weight.
    for (int i = row.vocab - 1; last < 0; --i)
      if (weight_of(row.logits[i], row.peak, row.scale) > 0) last = i;
    drawn[0] = last;
  }
  __syncthreads();
  return drawn[0];
}

// Lists the tokens whose logit is at least `bound` and whose weight is at least `cut`.
__device__ inline void gather(const Weighed& row, float bound, float cut, Kept& kept) {
  SHARED(int32_t, counts, kept_warps);
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int blocks = row.blocks(), each = ((blocks + kept_warps - 1) / kept_warps + 31) / 32 * 32;
  int at = 0;
  for (int pass = 0; pass < 2; ++pass) {
    int found = at;
    for (int base = warp * each; base < blocks && base < (warp + 1) * each; base += 32) {
      unsigned open = __ballot_sync(0xffffffffu, base + lane < blocks && row.maxima[base + lane] >= bound);
      for (; open != 0; open &= open - 1) {
        const int block = base + __ffs(static_cast<int>(open)) - 1;
        for (int half = 0; half < 2; ++half) {
          const int id = block * 64 + half * 32 + lane;
          const float logit = id < row.vocab ? row.logits[id] : -INFINITY;
          const float weight = weight_of(logit, row.peak, row.scale);
          const bool in = logit >= bound && logit != -INFINITY && weight >= cut;
          const unsigned all = __ballot_sync(0xffffffffu, in);
          if (in && pass == 1) {
            const int place = found + __popc(all & ((1u << lane) - 1));
            kept.ids[place] = id;
            kept.weights[place] = weight;
          }
          found += __popc(all);
        }
      }
    }
    if (pass == 1) break;
    __syncthreads();
    if (lane == 0) counts[warp] = found;
    __syncthreads();
    kept.count = 0;
    for (int i = 0; i < kept_warps; ++i) {
      if (i == warp) at = kept.count;
      kept.count += counts[i];
    }
  }
  __syncthreads();
}

// Whole numbers for the masses of `count` weights, each at most 1: their sum fits 62 bits.
__device__ inline double mass_unit(int count) {
  return static_cast<double>(uint64_t{1} << (62 - (32 - __clz(count))));
}
__device__ inline uint64_t mass_of(double weight, double unit) {
  return static_cast<uint64_t>(weight * unit + 0.5);
}

// Takes the weights of all but the first ranks away, which together reach `wanted`.
template <class Score>
__device__ void keep_first(Kept& kept, double wanted, Score&& score) {
  const double unit = mass_unit(kept.count);
  const uint64_t least = select_rank(
      kept.count, mass_of(wanted, unit), score,
      [&](int i) { return mass_of(static_cast<double>(kept.weights[i]), unit); }, kept.words);
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < kept.count; i += kept_threads)
    if (rank_key(float_order(score(i)), i) < least) kept.weights[i] = 0;
  __syncthreads();
  kept.total = sum_of_list(kept.count, [&](int i) { return kept.weights[i]; });
}

// A bound that at least `wanted` logits reach: as many blocks have a maximum there.
__device__ inline float bound_of(const Weighed& row, int wanted, unsigned long long* words) {
  if (wanted > row.blocks()) return -INFINITY;
  const uint64_t least = select_rank(
      row.blocks(), static_cast<uint64_t>(wanted), [&](int i) { return row.maxima[i]; },
      [](int) { return uint64_t{1}; }, words);
  return row.maxima[0xFFFFFFFFu - static_cast<uint32_t>(least)];
}

__device__ inline void keep_top_k(const Weighed& row, int wanted, Kept& kept) {
  gather(row, bound_of(row, wanted, kept.words), 0.0f, kept);
  if (kept.count > wanted) {
    const auto logit = [&](int i) { return row.logits[kept.ids[i]]; };
    const uint64_t least = select_rank(
        kept.count, static_cast<uint64_t>(wanted), logit, [](int) { return uint64_t{1}; }, kept.words);
    for (int i = static_cast<int>(threadIdx.x); i < kept.count; i += kept_threads)
      if (rank_key(float_order(logit(i)), i) < least) kept.weights[i] = 0;
    __syncthreads();
  }
  kept.total = sum_of_list(kept.count, [&](int i) { return kept.weights[i]; });
}

// Meister et al. 2022, "Locally typical sampling": the tokens whose surprise is nearest to the entropy.
__device__ inline void keep_typical(Kept& kept, double share) {
  const double log_total = log(kept.total);
  const double entropy = sum_of_list(kept.count, [&](int i) {
    const double weight = static_cast<double>(kept.weights[i]);
    return weight > 0 ? weight / kept.total * (log_total - log(weight)) : 0.0;
  });
  for (int i = static_cast<int>(threadIdx.x); i < kept.count; i += kept_threads) {
    const double weight = static_cast<double>(kept.weights[i]);
    const float surprise = weight > 0 ? static_cast<float>(log_total - log(weight)) : 0.0f;
    kept.scores[i] = -fabsf(surprise - static_cast<float>(entropy));
  }
  __syncthreads();
  keep_first(kept, share * kept.total, [&](int i) { return kept.scores[i]; });
}

__device__ inline void keep_min_p(Kept& kept, double share) {
  float heaviest = 0;
  for (int i = static_cast<int>(threadIdx.x); i < kept.count; i += kept_threads)
    heaviest = kept.weights[i] > heaviest ? kept.weights[i] : heaviest;
  const double cut = share * static_cast<double>(max_of_block(heaviest));
  for (int i = static_cast<int>(threadIdx.x); i < kept.count; i += kept_threads)
    if (static_cast<double>(kept.weights[i]) < cut) kept.weights[i] = 0;
  __syncthreads();
}

// What is lighter cannot survive, whatever the rest looks like (Sampler::lightest).
__device__ inline float lightest(const DrawRow& row, double total, int vocab) {
  if (row.typical_p < 1) return FLT_MIN;
  const double share = row.top_p >= 1 ? row.min_p : (1 - row.top_p) * total / vocab;
  const auto cut = static_cast<float>(share * 0.99);
  return cut > FLT_MIN ? cut : FLT_MIN;
}

__device__ inline void truncate(const Weighed& row, const DrawRow& options, Kept& kept) {
  if (options.top_k > 0 && options.top_k < row.vocab) {
    keep_top_k(row, options.top_k, kept);
  } else {
    kept.total = sum_of_list(row.blocks(), [&](int i) { return row.sums[i]; });
    const float cut = lightest(options, kept.total, row.vocab);
    gather(row, row.peak + static_cast<float>((log(static_cast<double>(cut)) - 1e-3) / static_cast<double>(row.scale)),
           cut, kept);
  }
  if (options.typical_p < 1) keep_typical(kept, options.typical_p);
  if (options.top_p < 1) keep_first(kept, options.top_p * kept.total, [&](int i) { return kept.weights[i]; });
  if (options.min_p > 0) keep_min_p(kept, options.min_p);
}

__device__ inline int32_t draw_kept(const Kept& kept, double uniform) {
  double total = 0;
  const Found found = find_in_list(
      kept.count, uniform, [&](int i) { return kept.weights[i]; }, total);
  return kept.ids[found.place];
}

}  // namespace vivace::cuda

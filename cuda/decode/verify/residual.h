// The target's law at a row, of which a draft's is taken away step by step: Residual of cpp/decode/verify/residual.h,
// for a block of threads. Sums have an order that depends on the length of their list alone.
#pragma once
#include <cuda_runtime.h>

#include <cmath>
#include <cstdint>

#include "cuda/core/reduce.h"
#include "cuda/decode/kept.h"
#include "cuda/decode/sample.h"
#include "cuda/decode/verify/laws.h"
#include "cuda/decode/weights.h"

namespace vivace::cuda {

// Where a token is in ascending ids; -1: nowhere.
__device__ inline int place_of(const int32_t* ids, int count, int32_t token) {
  int low = 0, high = count;
  while (low < high) {
    const int middle = (low + high) / 2;
    if (ids[middle] < token)
      low = middle + 1;
    else
      high = middle;
  }
  return low < count && ids[low] == token ? low : -1;
}

// The law of a draft's node.
struct DraftLaw {
  const int32_t* ids;  // null: token i has weights[i]
  const float* weights;
  int count;
  double total;

  __device__ explicit DraftLaw(const CardLaw& law)
      : ids(law.ids), weights(law.weights), count(law.head->count), total(law.head->total) {
    if (law.head->dense != 0) ids = nullptr;
  }
  __device__ double probability(int32_t token) const {
    const int place = ids != nullptr ? place_of(ids, count, token) : token >= 0 && token < count ? token : -1;
    return place < 0 ? 0.0 : static_cast<double>(weights[place]) / total;
  }
};

struct Residual {
  double* values;      // not normalised
  const int32_t* ids;  // ascending; null: token i has values[i]
  int count;
  double total;

  __device__ int32_t token(int place) const { return ids == nullptr ? place : ids[place]; }
  __device__ double probability(int32_t token) const {
    const int place = ids != nullptr ? place_of(ids, count, token) : token >= 0 && token < count ? token : -1;
    return place < 0 ? 0.0 : values[place] / total;
  }
};

// The greatest logit of a row that is drawn from at random.
__device__ inline float peak_of(const SampleRun& run, int index, int blocks) {
  const float* maxima = run.room.maxima + static_cast<int64_t>(index) * blocks;
  const int own = (run.draws[index].vocab + sample_block - 1) / sample_block;
  float peak = -INFINITY;
  for (int i = static_cast<int>(threadIdx.x); i < own; i += kept_threads) peak = maxima[i] > peak ? maxima[i] : peak;
  return max_of_block(peak);
}

// What sample_rows has drawn the row's own choice from; a greedy row's law is that choice, in `chosen`.
__device__ inline Residual law_of(const SampleRun& run, int index, int blocks, const int32_t* chosen, double* values) {
  const DrawRow& row = run.draws[index];
  Residual law = {values, nullptr, row.vocab, 0};
  const int thread = static_cast<int>(threadIdx.x);
  if ((row.flags & draw_random) == 0) {
    law.ids = chosen;
    law.count = 1;
    if (thread == 0) values[0] = 1;
  } else if (row.room < 0) {
    const float* x = run.logits + static_cast<int64_t>(index) * run.stride;
    const float peak = peak_of(run, index, blocks);
    for (int i = thread; i < row.vocab; i += kept_threads)
      values[i] = static_cast<double>(weight_of(x[i], peak, row.scale));
  } else {
    const int64_t begin = static_cast<int64_t>(row.room) * run.vocab;
    law.ids = run.room.ids + begin;
    law.count = run.room.counts[row.room];
    for (int i = thread; i < law.count; i += kept_threads) values[i] = static_cast<double>(run.room.weights[begin + i]);
  }
  __syncthreads();
  law.total = sum_of_list(law.count, [&](int i) { return values[i]; });
  return law;
}

// norm(max(scale · law − other / rest, 0)), where the tokens `gone` have nothing in `other`; where nothing would be
// left, the law stays as it is.
__device__ inline void subtract(Residual& law, const DraftLaw& other, const int32_t* gone, int gone_count, double rest,
                                double scale) {
  const auto left_of = [&](int i) {
    const int32_t token = law.token(i);
    double q = other.probability(token);
    for (int k = 0; k < gone_count && q > 0; ++k)
      if (gone[k] == token) q = 0;
    const double left = scale * (law.values[i] / law.total) - q / rest;
    return left > 0 ? left : 0.0;
  };
  const double total = sum_of_list(law.count, left_of);
  if (total <= 0) return;
  for (int i = static_cast<int>(threadIdx.x); i < law.count; i += kept_threads) law.values[i] = left_of(i);
  __syncthreads();
  law.total = total;
}

// As divergence() of cpp/decode/verify/residual.h.
__device__ inline double divergence(const Residual& law, const DraftLaw& other, int measure) {
  const auto share_of = [&](int i) { return law.values[i] > 0 ? other.probability(law.token(i)) : 0.0; };
  const double rest = 1 - sum_of_list(law.count, share_of);  // what `other` has and `law` does not
  const double sum = sum_of_list(law.count, [&](int i) {
    const double p = law.values[i] / law.total;
    if (p <= 0) return 0.0;
    const double q = share_of(i);
    if (measure == 0) return q > 0 ? p * log(p / q) : static_cast<double>(INFINITY);
    const double back = q > 0 ? q * log(measure == 1 ? q / p : 2 * q / (p + q)) : 0.0;
    return measure == 1 ? back : 0.5 * (p * log(2 * p / (p + q)) + back);
  });
  if (measure == 1) return rest > 1e-6 ? static_cast<double>(INFINITY) : sum;
  return measure == 2 && rest > 0 ? sum + 0.5 * rest * log(2.0) : sum;
}

__device__ inline int32_t draw_from(const Residual& law, double uniform) {
  double total = 0;
  const Found found = find_in_list(
      law.count, uniform, [&](int i) { return law.values[i]; }, total);
  return law.token(found.place);
}

}  // namespace vivace::cuda

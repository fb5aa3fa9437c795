// A block of threads per walk; see verify.h. Sums have an order that depends on the length of their list alone.
#include "cuda/decode/verify.h"

#include <cmath>

#include "cuda/core/launch.h"
#include "cuda/core/random.h"
#include "cuda/core/reduce.h"
#include "cuda/core/shared.h"
#include "cuda/decode/kept.h"
#include "cuda/decode/plain_logit.h"
#include "cuda/decode/weights.h"

namespace vivace::cuda {
namespace {

// As lane_of() of cpp/decode/verify/verify.h.
constexpr uint64_t lane_accept = 2, lane_residual = 3;
__device__ inline double uniform_of(const DrawRow& row, uint64_t cycle, uint64_t lane, int number) {
  return philox_uniform(row.seed, row.index, cycle << 20 | lane << 16 | (static_cast<uint64_t>(number) & 0xFFFF));
}

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
  const int32_t* ids;
  const float* weights;
  int count;
  double total;

  __device__ double probability(int32_t token) const {
    const int place = place_of(ids, count, token);
    return place < 0 ? 0.0 : static_cast<double>(weights[place]) / total;
  }
};

// The target's law, of which a draft's is taken away step by step: Residual of cpp/decode/verify/residual.h.
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

// What sample_rows has drawn the row's own choice from; a greedy row's law is that choice.
__device__ Residual law_of(const SampleRun& run, int index, int blocks, double* values) {
  const DrawRow& row = run.draws[index];
  Residual law = {values, nullptr, row.vocab, 0};
  const int thread = static_cast<int>(threadIdx.x);
  if ((row.flags & draw_random) == 0) {
    law.ids = &run.choices[index].token;
    law.count = 1;
    if (thread == 0) values[0] = 1;
  } else if (row.room < 0) {
    const float* x = run.logits + static_cast<int64_t>(index) * run.stride;
    const float* maxima = run.room.maxima + static_cast<int64_t>(index) * blocks;
    float peak = -INFINITY;
    for (int i = thread; i < (row.vocab + sample_block - 1) / sample_block; i += kept_threads)
      peak = maxima[i] > peak ? maxima[i] : peak;
    peak = max_of_block(peak);
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

// norm(max(law − other / rest, 0)), where the tokens `gone` have nothing in `other`; where nothing would be left, the
// law stays as it is.
__device__ void subtract(Residual& law, const DraftLaw& other, const int32_t* gone, int gone_count, double rest) {
  const auto left_of = [&](int i) {
    const int32_t token = law.token(i);
    double q = other.probability(token);
    for (int k = 0; k < gone_count && q > 0; ++k)
      if (gone[k] == token) q = 0;
    const double left = law.values[i] / law.total - q / rest;
    return left > 0 ? left : 0.0;
  };
  const double total = sum_of_list(law.count, left_of);
  if (total <= 0) return;
  for (int i = static_cast<int>(threadIdx.x); i < law.count; i += kept_threads) law.values[i] = left_of(i);
  __syncthreads();
  law.total = total;
}

// by_ratio() of cpp/decode/verify/verify.cpp, which says whose methods these are.
__device__ int32_t choose_by_ratio(const VerifyWalk& walk, const DrawRow& row, Residual& left, const DraftLaw& q,
                                   const int32_t* drawn, int drawn_count) {
  for (int trial = 0; trial < drawn_count; ++trial) {
    const int gone = walk.replacement != 0 ? 0 : trial;
    double rest = 1;
    for (int k = 0; k < gone; ++k) rest -= q.probability(drawn[k]);
    if (rest <= 0) break;  // the draft's law has nothing else
    const int32_t token = drawn[trial];
    const double u = uniform_of(row, walk.cycle, lane_accept, trial);
    if (u * q.probability(token) < left.probability(token) * rest) return token;
    __syncthreads();  // everybody has read what is changed now
    subtract(left, q, drawn, gone, rest);
  }
  double total = 0;
  const Found found = find_in_list(
      left.count, uniform_of(row, walk.cycle, lane_residual, 0), [&](int i) { return left.values[i]; }, total);
  return left.token(found.place);
}

__global__ void verify_ratio(SampleRun run, VerifyLists lists, int blocks, double* residuals) {
  const VerifyWalk walk = lists.walks[blockIdx.x];
  const VerifyNode* nodes = lists.nodes + walk.node_begin;
  double* values = residuals + static_cast<int64_t>(blockIdx.x) * run.vocab;
  const int thread = static_cast<int>(threadIdx.x);
  for (int at = 0; at < walk.rows;) {
    const int index = walk.output + at;
    const VerifyNode node = nodes[at];
    const DrawRow& row = run.draws[index];
    GreedyChoice choice = run.choices[index];
    if (choice.error == 0 && node.law_count > 0 && node.drawn_count > 0) {
      const float* x = run.logits + static_cast<int64_t>(index) * run.stride;
      Residual left = law_of(run, index, blocks, values);
      const DraftLaw q = {lists.ids + node.law_begin, lists.weights + node.law_begin, node.law_count, node.total};
      const int32_t token = choose_by_ratio(walk, row, left, q, lists.drawn + node.drawn_begin, node.drawn_count);
      // The sum under all logprobs of a row is known by that of its own choice.
      const float own = plain_logit(x, row, run.lists, choice.token);
      const float logit = plain_logit(x, row, run.lists, token);
      if (token != choice.token) choice.logprob = choice.logprob + (logit - own);
      choice.token = token;
      __syncthreads();  // a greedy row's law is where the choice goes
      if (thread == 0) run.choices[index] = choice;
    }
    uint64_t next = static_cast<uint64_t>(walk.rows);
    if (choice.error == 0)
      for (int i = at + 1 + thread; i < walk.rows; i += kept_threads)
        if (nodes[i].parent == at && nodes[i].token == choice.token && static_cast<uint64_t>(i) < next)
          next = static_cast<uint64_t>(i);
    const int to = static_cast<int>(least_of_block(next));
    for (int i = at + 1 + thread; i < to; i += kept_threads) run.choices[walk.output + i] = {-1, 0, 0};
    __syncthreads();
    at = to;
  }
}

}  // namespace

void verify_walks(const SampleRun& sample, const VerifyLists& lists, int walks, double* residuals,
                  cudaStream_t stream) {
  launch<verify_ratio>(Launch{dim3(static_cast<unsigned>(walks)), dim3(kept_threads), 0, stream}, sample, lists,
                       sample_blocks_of(sample.vocab), residuals);
}

}  // namespace vivace::cuda

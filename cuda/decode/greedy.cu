// Greedy choices in two passes (slices, then a warp per row) and the walk through drafted rows; see greedy.h.
#include "cuda/decode/greedy.h"

#include <cmath>

#include "cuda/core/launch.h"
#include "cuda/core/shared.h"

namespace vivace::cuda {
namespace {

constexpr int slice_threads = 256;

// Symmetric, so that both lanes of a shuffle get the same bits.
__device__ inline GreedyPart merge(const GreedyPart a, const GreedyPart b) {
  const int32_t error = a.error == 0 ? b.error : b.error == 0 ? a.error : a.error < b.error ? a.error : b.error;
  if (a.token < 0) return {b.peak, b.token, b.total, error};
  if (b.token < 0) return {a.peak, a.token, a.total, error};
  const bool first = a.peak > b.peak || (a.peak == b.peak && a.token < b.token);
  const GreedyPart high = first ? a : b;
  const GreedyPart low = first ? b : a;
  return {high.peak, high.token, high.total + low.total * expf(low.peak - high.peak), error};
}

__device__ inline GreedyPart merge_warp(GreedyPart part) {
  for (int step = 16; step > 0; step /= 2) {
    GreedyPart other;
    other.peak = __shfl_xor_sync(0xffffffffu, part.peak, step);
    other.token = __shfl_xor_sync(0xffffffffu, part.token, step);
    other.total = __shfl_xor_sync(0xffffffffu, part.total, step);
    other.error = __shfl_xor_sync(0xffffffffu, part.error, step);
    part = merge(part, other);
  }
  return part;
}

__global__ void greedy_slices(const float* logits, int64_t stride, int vocab, GreedyPart* parts, const DrawRow* draws,
                              int32_t wanted) {
  SHARED(float, peaks, slice_threads / 32);
  SHARED(int32_t, tokens, slice_threads / 32);
  SHARED(float, totals, slice_threads / 32);
  SHARED(int32_t, errors, slice_threads / 32);
  const float* row = logits + static_cast<int64_t>(blockIdx.y) * stride;
  const int thread = static_cast<int>(threadIdx.x), begin = static_cast<int>(blockIdx.x) * greedy_slice;
  GreedyPart part{-INFINITY, -1, 0, 0};
  if (draws != nullptr) {
    if ((draws[blockIdx.y].flags & wanted) == 0) return;
    vocab = draws[blockIdx.y].vocab;
  }
  for (int i = thread; i < greedy_slice; i += slice_threads) {
    if (begin + i >= vocab) break;
    const float logit = row[begin + i];
    if (logit != logit)
      part = merge(part, {-INFINITY, -1, 0, 1});
    else if (logit == INFINITY)
      part = merge(part, {-INFINITY, -1, 0, 2});
    else if (logit != -INFINITY)
      part = merge(part, {logit, begin + i, 1, 0});
  }
  part = merge_warp(part);
  if (thread % 32 == 0) {
    peaks[thread / 32] = part.peak;
    tokens[thread / 32] = part.token;
    totals[thread / 32] = part.total;
    errors[thread / 32] = part.error;
  }
  __syncthreads();
  if (thread != 0) return;
  for (int warp = 1; warp < slice_threads / 32; ++warp)
    part = merge(part, {peaks[warp], tokens[warp], totals[warp], errors[warp]});
  parts[static_cast<int64_t>(blockIdx.y) * gridDim.x + blockIdx.x] = part;
}

__global__ void greedy_rows(const GreedyPart* parts, int count, GreedyChoice* choices, const DrawRow* draws,
                            int32_t wanted) {
  if (draws != nullptr && (draws[blockIdx.x].flags & wanted) == 0) {
    if (threadIdx.x == 0) choices[blockIdx.x] = {-1, 0, 0};
    return;
  }
  const GreedyPart* row = parts + static_cast<int64_t>(blockIdx.x) * count;
  GreedyPart part{-INFINITY, -1, 0, 0};
  for (int i = static_cast<int>(threadIdx.x); i < count; i += 32) part = merge(part, row[i]);
  part = merge_warp(part);
  if (threadIdx.x != 0) return;
  const int32_t error = part.error != 0 ? part.error : part.token < 0 ? 3 : 0;
  choices[blockIdx.x] = error != 0 ? GreedyChoice{-1, 0, error} : GreedyChoice{part.token, -logf(part.total), 0};
}

__global__ void greedy_walk(const GreedyChoice* choices, const int32_t* tokens, const int32_t* parents,
                            const int32_t* begins, int32_t* accepted, int32_t* counts, GreedyChoice* next) {
  const int lane = static_cast<int>(threadIdx.x), begin = begins[blockIdx.x];
  const int rows = begins[blockIdx.x + 1] - begin;
  int at = 0, count = 0;
  while (rows > 0) {
    const int32_t wanted = choices[begin + at].token;
    int found = rows;
    for (int base = at + 1; base < rows && found == rows; base += 32) {  // parents come before their children
      const int place = base + lane;
      const bool match = place < rows && wanted >= 0 && parents[begin + place] == at && tokens[begin + place] == wanted;
      int first = match ? place : rows;
      for (int step = 16; step > 0; step /= 2) {
        const int other = __shfl_xor_sync(0xffffffffu, first, step);
        first = other < first ? other : first;
      }
      found = first;
    }
    if (found == rows) break;
    if (lane == 0) accepted[begin + count] = found;
    ++count;
    at = found;
  }
  for (int i = count + lane; i < rows; i += 32) accepted[begin + i] = -1;
  if (lane != 0) return;
  counts[blockIdx.x] = count;
  next[blockIdx.x] = rows > 0 ? choices[begin + at] : GreedyChoice{-1, 0, 3};
}

}  // namespace

void choose_greedy(const float* logits, int64_t stride, int rows, int vocab, GreedyPart* parts, GreedyChoice* choices,
                   cudaStream_t stream, const DrawRow* draws, int32_t wanted) {
  if (rows == 0) return;
  const int count = greedy_parts_of(vocab);
  const dim3 grid(static_cast<unsigned>(count), static_cast<unsigned>(rows));
  launch<greedy_slices>(Launch{grid, dim3(slice_threads), 0, stream}, logits, stride, vocab, parts, draws, wanted);
  launch<greedy_rows>(Launch{dim3(static_cast<unsigned>(rows)), dim3(32), 0, stream},
                      static_cast<const GreedyPart*>(parts), count, choices, draws, wanted);
}

void verify_greedy(const GreedyChoice* choices, const int32_t* tokens, const int32_t* parents, const int32_t* begins,
                   int sequences, int32_t* accepted, int32_t* counts, GreedyChoice* next, cudaStream_t stream) {
  if (sequences == 0) return;
  launch<greedy_walk>(Launch{dim3(static_cast<unsigned>(sequences)), dim3(32), 0, stream}, choices, tokens, parents,
                      begins, accepted, counts, next);
}

}  // namespace vivace::cuda

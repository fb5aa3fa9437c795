// Merges the states of a row's chunks: o = Σ 2^(m_c − m) · o_c, l = Σ 2^(m_c − m) · l_c, y = o / l.
#pragma once
#include "cuda/core/reduce.h"
#include "cuda/core/unroll.h"
#include "cuda/ops/attention/decode/call.h"
#include "cuda/ops/attention/decode/sinks.h"

namespace vivace::cuda {

inline constexpr int merge_warps = 8;

// Chunks [first, end) of a query vector, of which its row has states from `state` on, and so many sinks; a block. Each
// warp has every eighth sink and chunk; merged are sinks and chunks in the order of warps, then of numbers: it follows
// from the row's slots.
template <bool with_sinks = false>
__device__ inline void merge_vector(const DecodeCall& call, int64_t vector, int state, int first, int end,
                                    int sinks = 0) {
  SHARED(float, sums, merge_warps * 256);
  SHARED(float, totals, merge_warps);
  const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32, dim = call.kv.value_dim;
  const int floats = state_floats(dim);
  const float* states = call.states + (static_cast<int64_t>(state) * call.heads + vector % call.heads) * floats;
  const int64_t stride = static_cast<int64_t>(call.heads) * floats;
  const int chunks = end - first;
  WarpState before;
  if (with_sinks && sinks > 0) before = attend_sinks<merge_warps>(call, vector, sinks);
  float top = before.top;
  for (int c = thread; c < chunks; c += 32 * merge_warps) top = fmaxf(top, states[c * stride + dim]);
  top = max_of_block(top);
  if (top == -INFINITY) top = 0.0f;
  float sum[merge_dims] = {}, total = 0;
  if (with_sinks && sinks > 0) {
    const float weight = exp2f(before.top - top);
    total = weight * before.total;
    UNROLL
    for (int i = 0; i < merge_dims; ++i) sum[i] = weight * before.sum[i];
  }
  for (int c = warp; c < chunks; c += merge_warps) {
    const float* own = states + c * stride;
    const float weight = exp2f(own[dim] - top);
    total = fmaf(weight, own[dim + 1], total);
    UNROLL
    for (int i = 0; i < merge_dims; ++i)
      if (lane + 32 * i < dim) sum[i] = fmaf(weight, own[lane + 32 * i], sum[i]);
  }
  UNROLL
  for (int i = 0; i < merge_dims; ++i)
    if (lane + 32 * i < dim) sums[warp * 256 + lane + 32 * i] = sum[i];
  if (lane == 0) totals[warp] = total;
  __syncthreads();
  total = 0;
  for (int w = 0; w < merge_warps; ++w) total += static_cast<float>(totals[w]);
  for (int i = thread; i < dim; i += 32 * merge_warps) {
    float all = 0;
    for (int w = 0; w < merge_warps; ++w) all += static_cast<float>(sums[w * 256 + i]);
    call.y[vector * dim + i] = all * (1.0f / total);
  }
}

}  // namespace vivace::cuda

// Merges the states of a row's chunks: o = Σ 2^(m_c − m) · o_c, l = Σ 2^(m_c − m) · l_c, y = o / l.
#include "cuda/core/launch.h"
#include "cuda/core/reduce.h"
#include "cuda/core/unroll.h"
#include "cuda/ops/attention/decode/call.h"
#include "cuda/ops/attention/pages.h"

namespace vivace::cuda {
namespace {

constexpr int warps = 8, lane_dims = 8;  // a lane has dims l, l + 32 … of a vector: 256 at most

// One block per row and query head; each warp has every eighth chunk. Merged are chunks in the order of warps, then of
// numbers: it follows from the row's slots.
__global__ void __launch_bounds__(32 * warps) merge_chunks(DecodeCall call) {
  SHARED(float, sums, warps * 256);
  SHARED(float, totals, warps);
  const int64_t vector = blockIdx.x, row = vector / call.heads;
  const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32, dim = call.kv.value_dim;
  const int state = call.batch.states[row];
  if (state == in_run) return;
  const VisibleSlots seen = visible_slots(call.batch, row, call.window);
  if (seen.begin == seen.end)
    for (int i = thread; i < dim; i += 32 * warps) call.y[vector * dim + i] = 0.0f;
  if (seen.begin == seen.end || state == one_chunk) return;
  const int size = chunk_of(seen.end), end = (seen.end + size - 1) / size, first = seen.begin / size;
  const int floats = state_floats(dim);
  const float* states = call.states + (static_cast<int64_t>(state) * call.heads + vector % call.heads) * floats;
  const int64_t stride = static_cast<int64_t>(call.heads) * floats;
  float top = -INFINITY;
  for (int c = first + thread; c < end; c += 32 * warps) top = fmaxf(top, states[c * stride + dim]);
  top = max_of_block(top);
  if (top == -INFINITY) top = 0.0f;
  float sum[lane_dims] = {}, total = 0;
  for (int c = first + warp; c < end; c += warps) {
    const float* own = states + c * stride;
    const float weight = exp2f(own[dim] - top);
    total = fmaf(weight, own[dim + 1], total);
    UNROLL
    for (int i = 0; i < lane_dims; ++i)
      if (lane + 32 * i < dim) sum[i] = fmaf(weight, own[lane + 32 * i], sum[i]);
  }
  UNROLL
  for (int i = 0; i < lane_dims; ++i)
    if (lane + 32 * i < dim) sums[warp * 256 + lane + 32 * i] = sum[i];
  if (lane == 0) totals[warp] = total;
  __syncthreads();
  total = 0;
  for (int w = 0; w < warps; ++w) total += static_cast<float>(totals[w]);
  for (int i = thread; i < dim; i += 32 * warps) {
    float all = 0;
    for (int w = 0; w < warps; ++w) all += static_cast<float>(sums[w * 256 + i]);
    call.y[vector * dim + i] = all * (1.0f / total);
  }
}

}  // namespace

void merge_states(const DeviceRun& run, const DecodeCall& call) {
  launch<merge_chunks>(
      Launch{dim3(static_cast<unsigned>(run.inputs[0].rows * call.heads)), dim3(32 * warps), 0, run.stream}, call);
}

}  // namespace vivace::cuda

// Rows of several chunks, and zeros for rows that see nothing.
#include "cuda/core/launch.h"
#include "cuda/ops/attention/decode/merge.h"
#include "cuda/ops/attention/pages.h"

namespace vivace::cuda {
namespace {

// One block per row and query head.
__global__ void __launch_bounds__(32 * merge_warps) merge_chunks(DecodeCall call) {
  const int64_t vector = blockIdx.x, row = vector / call.heads;
  const int thread = static_cast<int>(threadIdx.x), dim = call.kv.value_dim;
  const int state = call.batch.states[row];
  if (state == in_run) return;
  const VisibleSlots seen = visible_slots(call.batch, row, call.window);
  if (seen.begin == seen.end)
    for (int i = thread; i < dim; i += 32 * merge_warps) call.y[vector * dim + i] = 0.0f;
  if (seen.begin == seen.end || state == one_chunk) return;
  const int size = chunk_of(seen.end);
  merge_vector(call, vector, state, seen.begin / size, (seen.end + size - 1) / size);
}

}  // namespace

void merge_states(const DeviceRun& run, const DecodeCall& call) {
  const auto blocks = static_cast<unsigned>(run.inputs[0].rows * call.heads);
  launch<merge_chunks>(Launch{dim3(blocks), dim3(32 * merge_warps), 0, run.stream}, call);
}

}  // namespace vivace::cuda

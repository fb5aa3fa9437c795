// Rows of several chunks, and zeros for rows that see nothing.
#include "cuda/core/launch.h"
#include "cuda/ops/attention/decode/merge.h"
#include "cuda/ops/attention/sparse/choice.h"

namespace vivace::cuda {
namespace {

// One block per row and query head.
template <bool with_sinks>
__global__ void __launch_bounds__(32 * merge_warps) merge_chunks(DecodeCall call) {
  const int64_t vector = blockIdx.x, row = vector / call.heads;
  const int thread = static_cast<int>(threadIdx.x), dim = call.kv.value_dim;
  const int state = call.batch.states[row];
  if (state == in_run) return;
  const VisibleSlots seen = visible_slots(call.batch, row, call.pattern.window);
  if (seen.begin == seen.end)
    for (int i = thread; i < dim; i += 32 * merge_warps) call.y[vector * dim + i] = 0.0f;
  if (seen.begin == seen.end || state == one_chunk) return;
  if (call.choosing && choice_of(call.batch, call.kv.labels, row, seen) > 0) return;
  const Pattern& pattern = call.pattern;
  const int size = chunk_of(pattern, seen.end), head = static_cast<int>(vector % call.heads) / call.group;
  int end = seen.end;
  if (has_blocks(pattern, head, call.kv.kv_heads))
    end = BlockOrder(pattern, head, (seen.end - 1) / pattern.block).count(seen.end);
  merge_vector<with_sinks>(call, vector, state, seen.begin / size, (end + size - 1) / size, far_sinks(pattern, seen));
}

}  // namespace

void merge_states(const DeviceRun& run, const DecodeCall& call) {
  const auto blocks = static_cast<unsigned>(run.inputs[0].rows * call.heads);
  const Launch how = {dim3(blocks), dim3(32 * merge_warps), 0, run.stream};
  if (call.pattern.sinks > 0)
    launch<merge_chunks<true>>(how, call);
  else
    launch<merge_chunks<false>>(how, call);
}

}  // namespace vivace::cuda

// Attention over chosen cells: the kernel for the types of pages, then rows of several chunks.
#include "cuda/core/launch.h"
#include "cuda/ops/attention/decode/merge.h"
#include "cuda/ops/attention/sparse/choice.h"
#include "cuda/ops/attention/sparse/sparse.h"

namespace vivace::cuda {
namespace {

// A block per row that chooses and query head.
__global__ void __launch_bounds__(32 * merge_warps, 3) merge_chosen(DecodeCall call, int window) {
  const int count = call.batch.sizes->policy.choosing * call.heads;
  for (int index = static_cast<int>(blockIdx.x); index < count; index += static_cast<int>(gridDim.x)) {
    const ChoosingRow& own = choosing_row(call.batch, index / call.heads);
    const VisibleSlots seen = visible_slots(call.batch, own.row, window);
    const int wanted = choice_of(call.batch, call.kv.labels, own.row, seen), size = chunk_of(wanted);
    const int state = call.batch.states[own.row];
    if (wanted == 0 || state == one_chunk) continue;
    merge_vector(call, own.row * int64_t{call.heads} + index % call.heads, state, 0, (wanted + size - 1) / size);
    __syncthreads();
  }
}

}  // namespace

void gather_attention(const DeviceRun& run, DecodeCall call, const SparseCall& sparse) {
  call.batch.states = run.batch.chosen_states;
  call.pattern = {};  // chosen cells have no window
  const DType keys = run.kv.key_dtype, values = run.kv.value_dtype;
  if (keys == DType::F16 && values == DType::F16) gather_f16(run, call, sparse);
  if (keys == DType::Q8_0 && values == DType::Q8_0) gather_q8_0(run, call, sparse);
  if (keys == DType::Q4_0 && values == DType::Q4_0) gather_q4_0(run, call, sparse);
  if (keys == DType::F32 && values == DType::F32) gather_f32(run, call, sparse);
  if (keys != values) gather_mixed(run, call, sparse);
  launch<merge_chosen>(
      Launch{dim3(static_cast<unsigned>(run.device->multiprocessors) * 4), dim3(32 * merge_warps), 0, run.stream}, call,
      sparse.window);
}

}  // namespace vivace::cuda

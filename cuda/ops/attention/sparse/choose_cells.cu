// Rows choose the cells with the largest scores, of equal ones the first, in ascending order.
#include "cuda/core/launch.h"
#include "cuda/ops/attention/attention.h"
#include "cuda/ops/attention/sparse/choice.h"
#include "cuda/ops/attention/sparse/largest.h"
#include "cuda/ops/attention/sparse/sparse.h"
#include "cuda/ops/elementwise.h"

namespace vivace::cuda {

void scan_all_labels(const DeviceRun& run, const SparseCall& call);  // scan_labels.cu

namespace {

constexpr int threads = 512;

// A block per row that chooses and list.
__global__ void __launch_bounds__(threads) take_cells(SparseCall call) {
  const int count = call.batch.sizes->policy.choosing * call.lists;
  float* const memory = policy_memory(call.batch, call.states);
  for (int index = static_cast<int>(blockIdx.x); index < count; index += static_cast<int>(gridDim.x)) {
    const ChoosingRow& own = choosing_row(call.batch, index / call.lists);
    const int64_t list = index % call.lists;
    const VisibleSlots seen = visible_slots(call.batch, own.row, call.window);
    const int wanted = choice_of(call.batch, call.kv.labels, own.row, seen);
    auto* out = reinterpret_cast<int32_t*>(memory + own.cells) + list * own.wanted;
    take_largest<threads>(
        memory + own.scores + list * own.slots + seen.begin, seen.end - seen.begin, wanted,
        [&](int n, int place) { out[n] = cell_of_slot(call.batch, own.row, seen, seen.begin + place); });
    __syncthreads();
  }
}

}  // namespace

bool layer_chooses(const DeviceRun& run) {
  const DeviceLabels& labels = run.kv.labels;
  return labels.channels > 0 && run.batch.choosing && labels.offsets[static_cast<int>(run.attributes[0])] >= 0;
}

SparseCall sparse_call(const DeviceRun& run) {
  const double* a = run.attributes;
  const DeviceLabels& labels = run.kv.labels;
  SparseCall call = {};
  call.q = values_of<const float>(run.inputs[0]);
  call.states = reinterpret_cast<float*>(run.states);
  call.batch = run.batch;
  call.kv = run.kv;
  call.layer = static_cast<int>(a[0]);
  call.heads = static_cast<int>(a[1]);
  call.group = call.heads / run.kv.kv_heads;
  call.window = attention_pattern(a, run.kv).window;
  call.lists = labels.grouped ? run.kv.kv_heads : call.heads;
  call.labels = labels.offsets[call.layer];
  call.channels = labels.table + int64_t{call.layer} * labels.sets * labels.channels;
  return call;
}

void choose_cells(const DeviceRun& run, const SparseCall& call) {
  scan_all_labels(run, call);
  launch<take_cells>(Launch{dim3(static_cast<unsigned>(run.device->multiprocessors) * 2), dim3(threads), 0, run.stream},
                     call);
}

}  // namespace vivace::cuda

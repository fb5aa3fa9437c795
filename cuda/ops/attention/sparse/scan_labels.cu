// Scans labels: the scores of all cells that a row sees, where its query heads choose for themselves; else how far the
// score of a cell lies below the largest one of the query head to which it matters most. For that labels are read
// twice, since they take less than the scores of all heads would.
#include "cuda/core/launch.h"
#include "cuda/core/reduce.h"
#include "cuda/ops/attention/sparse/scan_labels.h"

namespace vivace::cuda {
namespace {

enum class Scan { scores, tops, joined };

// The row's own cell, the last ones before it and the first ones come before all others.
__device__ bool is_forced(const DeviceLabels& labels, const VisibleSlots& seen, int slot) {
  return slot >= seen.end - 1 - labels.recent || slot < labels.sinks;
}

// Slots [begin, end) of a row in one KV head, a part of scan_slots.
template <int bits, Scan scan>
__device__ void scan_part(const SparseCall& call, const ChoosingRow& own, const VisibleSlots& seen, int kv_head,
                          int part) {
  const LabelQueries queries(call);
  const DeviceLabels& labels = call.kv.labels;
  const int begin = max(part * scan_slots, seen.begin), end = min((part + 1) * scan_slots, seen.end);
  const int sets = labels.sets / call.kv.kv_heads, per_set = call.group / sets;
  const int thread = static_cast<int>(threadIdx.x), parts = own.slots / scan_slots;
  float* const memory = policy_memory(call.batch, call.states);
  float* const tops = memory + own.tops;
  for (int set = 0; set < sets; ++set)
    for (int first = set * per_set; first < (set + 1) * per_set; first += scan_queries) {
      const int count = min((set + 1) * per_set - first, scan_queries);
      float most[scan_queries];
      UNROLL
      for (int n = 0; n < scan_queries; ++n) most[n] = -INFINITY;
      if constexpr (scan == Scan::joined)
        for (int n = 0; n < count; ++n) {
          // The largest of all parts; each thread asks for itself, as there are few.
          const float* own_tops = tops + static_cast<int64_t>(kv_head * call.group + first + n) * parts;
          float top = -INFINITY;
          for (int p = seen.begin / scan_slots; p * scan_slots < seen.end; ++p) top = fmaxf(top, own_tops[p]);
          UNROLL
          for (int k = 0; k < scan_queries; ++k) most[k] = k == n ? top : most[k];
        }
      for (int slot = begin + thread; slot < end; slot += scan_threads) {
        const int cell = cell_of_slot(call.batch, own.row, seen, slot);
        const std::byte* page = page_of(call.batch, call.kv, own.row, cell);
        float scores[scan_queries];
        score_label<bits>(queries, call.kv, page + call.labels + (kv_head * sets + set) * labels.bytes,
                          cell % call.kv.page_size, first, count, scores);
        if constexpr (scan == Scan::joined) {
          float* out = memory + own.scores + int64_t{kv_head} * own.slots + slot;
          float joined = first == 0 ? -INFINITY : *out;
          UNROLL
          for (int n = 0; n < scan_queries; ++n)
            if (n < count)
              joined = fmaxf(joined, __fmul_rn(__fsub_rn(scores[n], most[n]), queries.scale_of(first + n)));
          *out = is_forced(labels, seen, slot) ? INFINITY : joined;
        } else {
          UNROLL
          for (int n = 0; n < scan_queries; ++n) {
            most[n] = fmaxf(most[n], scores[n]);
            if (scan == Scan::scores && n < count)
              memory[own.scores + int64_t{kv_head * call.group + first + n} * own.slots + slot] =
                  is_forced(labels, seen, slot) ? INFINITY : scores[n];
          }
        }
      }
      if constexpr (scan == Scan::tops) {
        UNROLL
        for (int n = 0; n < scan_queries; ++n) {
          const float top = max_of_block(most[n]);
          if (thread == 0 && n < count)
            tops[static_cast<int64_t>(kv_head * call.group + first + n) * parts + part] = top;
        }
      }
    }
}

// Blocks stay and take one part after the other: how many there are is read from the run.
template <int bits, Scan scan>
__global__ void __launch_bounds__(scan_threads, scan_blocks) scan_labels(SparseCall call) {
  const PolicySizes& sizes = call.batch.sizes->policy;
  const int count = sizes.choosing * call.kv.kv_heads * sizes.parts;
  for (int index = static_cast<int>(blockIdx.x); index < count; index += static_cast<int>(gridDim.x)) {
    const int part = index % sizes.parts, kv_head = index / sizes.parts % call.kv.kv_heads;
    const ChoosingRow& own = choosing_row(call.batch, index / sizes.parts / call.kv.kv_heads);
    const VisibleSlots seen = visible_slots(call.batch, own.row, call.window);
    const bool empty = part * scan_slots >= seen.end || (part + 1) * scan_slots <= seen.begin;
    if (empty || choice_of(call.batch, call.kv.labels, own.row, seen) == 0) continue;
    __syncthreads();  // the last part's queries are still read
    LabelQueries(call).load(call, own.row, kv_head);
    __syncthreads();
    scan_part<bits, scan>(call, own, seen, kv_head, part);
  }
}

template <int bits>
void scan(const DeviceRun& run, const SparseCall& call) {
  const size_t shared = LabelQueries(call).bytes();
  const Launch how = {dim3(static_cast<unsigned>(run.device->multiprocessors) * scan_blocks), dim3(scan_threads),
                      shared, run.stream};
  if (!call.kv.labels.grouped) return launch<scan_labels<bits, Scan::scores>>(how, call);
  launch<scan_labels<bits, Scan::tops>>(how, call);
  launch<scan_labels<bits, Scan::joined>>(how, call);
}

}  // namespace

void scan_all_labels(const DeviceRun& run, const SparseCall& call) {
  switch (call.kv.labels.bits) {
    case 2:
      return scan<2>(run, call);
    case 4:
      return scan<4>(run, call);
    case 8:
      return scan<8>(run, call);
    default:
      return scan<16>(run, call);
  }
}

}  // namespace vivace::cuda

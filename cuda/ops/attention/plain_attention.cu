// attention, one block per row and query head: the kernel that the faster ones are compared with. Slots, of which
// sinks that the window has left come first, are taken in chunks of 64, each with one thread per score, under an online
// softmax.
#include "cuda/core/launch.h"
#include "cuda/core/reduce.h"
#include "cuda/ops/attention/attention.h"
#include "cuda/ops/attention/sparse/choice.h"
#include "cuda/ops/attention/sparse/sparse.h"
#include "cuda/ops/elementwise.h"
#include "cuda/quant/dequantise.h"

namespace vivace::cuda {
namespace {

constexpr int chunk = 64;  // slots, and threads

struct AttentionCall {
  int layer, heads;
  float scale, softcap;
  Pattern pattern;
  bool choosing;  // some rows of this layer choose what they attend to
  int lists;
  float* states;
};

// Slots of a row, or the cells that it has chosen.
struct PlainSlots {
  VisibleSlots seen;
  const int32_t* cells;  // null: none is chosen

  __device__ PlainSlots(const DeviceBatch& batch, const DeviceKv& kv, const AttentionCall& call, int64_t row, int head)
      : seen(visible_slots(batch, row, call.pattern.window)), cells(nullptr) {
    if (!call.choosing) return;
    const int wanted = choice_of(batch, kv.labels, row, seen);
    if (wanted == 0) return;
    const ChoosingRow& own = choosing_row(batch, index_of(batch, row));
    cells = reinterpret_cast<const int32_t*>(policy_memory(batch, call.states) + own.cells) +
            int64_t{head / (call.heads / call.lists)} * own.wanted;
    seen = {0, 0, wanted};
  }
  __device__ int cell(const DeviceBatch& batch, int64_t row, int slot) const {
    return cells != nullptr ? cells[slot] : cell_of_slot(batch, row, seen, slot);
  }
};

__global__ void attend(const float* q, float* y, DeviceBatch batch, DeviceKv kv, AttentionCall call) {
  SHARED(float, weights, chunk);
  SHARED(int, cells, chunk);
  const auto sums = dynamic_shared<float>(0, static_cast<size_t>(kv.value_dim));
  const auto query =
      dynamic_shared<float>(static_cast<size_t>(kv.value_dim) * sizeof(float), static_cast<size_t>(kv.key_dim));
  const int64_t row = blockIdx.x / static_cast<unsigned>(call.heads);
  const int head = static_cast<int>(blockIdx.x % static_cast<unsigned>(call.heads));
  const int kv_head = head / (call.heads / kv.kv_heads), thread = static_cast<int>(threadIdx.x);
  const float* own_query = q + static_cast<int64_t>(blockIdx.x) * kv.key_dim;
  const Pattern& pattern = call.pattern;
  const PlainSlots slots(batch, kv, call, row, head);
  const VisibleSlots& seen = slots.seen;
  const bool blocks = has_blocks(pattern, kv_head, kv.kv_heads) && seen.end > 0;
  const auto order = [&] { return BlockOrder(pattern, kv_head, (seen.end - 1) / pattern.block); };
  const int sinks = far_sinks(pattern, seen), end_of_own = blocks ? order().count(seen.end) : seen.end;
  const SinkTurn turn(batch, kv, pattern, row);
  for (int i = thread; i < kv.value_dim; i += chunk) sums[i] = 0.0f;
  float top = -INFINITY, total = 0;
  // Sinks first, if the window has left some.
  for (int far = sinks > 0 ? 1 : 0; far >= 0; --far) {
    const int pairs = far != 0 ? turn.pairs : 0;
    for (int i = thread; i < kv.key_dim; i += chunk)
      query[i] = turned_value(turn.query, pairs, i, [&](int d) { return own_query[d]; });
    __syncthreads();
    const int begin = far != 0 ? 0 : seen.begin, last = far != 0 ? sinks : end_of_own;
    for (int from = begin; from < last; from += chunk) {
      const int slot = from + thread, count = last - from < chunk ? last - from : chunk;
      float score = -INFINITY;
      if (thread < count) {
        const int cell = far != 0 ? slot : slots.cell(batch, row, blocks ? order().own_slot(slot) : slot);
        cells[thread] = cell;
        const auto* key = reinterpret_cast<const uint8_t*>(key_row(batch, kv, row, call.layer, kv_head, cell));
        float dot = 0;
        const auto key_value = [&](int i) { return weight_value(kv.key_dtype, key, i); };
        const bool turned = far != 0 && turn.keys != nullptr;
        for (int i = 0; i < kv.key_dim; ++i)
          dot = fmaf(query[i], turned ? turned_value(turn.key(cell), turn.pairs, i, key_value) : key_value(i), dot);
        score = call.scale * dot;
        if (call.softcap > 0) score = call.softcap * tanhf(score / call.softcap);
      }
      // A NaN does not win the maximum, but it stays in the sum.
      const float highest = max_of_block(score), next = fmaxf(top, highest);
      const float keep = top == -INFINITY ? 0.0f : expf(top - next);
      const float weight = thread < count ? expf(score - next) : 0.0f;
      weights[thread] = weight;
      total = total * keep + sum_of_block(weight);  // all threads have written their weights after it
      top = next;
      for (int i = thread; i < kv.value_dim; i += chunk) {
        float sum = static_cast<float>(sums[i]) * keep;
        for (int s = 0; s < count; ++s) {
          const auto* value =
              reinterpret_cast<const uint8_t*>(value_row(batch, kv, row, call.layer, kv_head, cells[s]));
          sum = fmaf(weights[s], weight_value(kv.value_dtype, value, i), sum);
        }
        sums[i] = sum;
      }
      __syncthreads();
    }
  }
  for (int i = thread; i < kv.value_dim; i += chunk)
    y[static_cast<int64_t>(blockIdx.x) * kv.value_dim + i] = seen.begin < seen.end ? sums[i] / total : 0.0f;
}

}  // namespace

void plain_attention(const DeviceRun& run) {
  const Tensor &q = run.inputs[0], &y = run.outputs[0];
  const double* a = run.attributes;
  const AttentionCall call = {static_cast<int>(a[0]),
                              static_cast<int>(a[1]),
                              static_cast<float>(a[3]),
                              static_cast<float>(a[4]),
                              attention_pattern(a, run.kv),
                              layer_chooses(run),
                              run.kv.labels.grouped ? run.kv.kv_heads : static_cast<int>(a[1]),
                              reinterpret_cast<float*>(run.states)};
  launch<attend>(Launch{dim3(static_cast<unsigned>(q.rows * call.heads)), dim3(chunk),
                        static_cast<size_t>(run.kv.value_dim + run.kv.key_dim) * sizeof(float), run.stream},
                 values_of<const float>(q), values_of<float>(y), run.batch, run.kv, call);
}

}  // namespace vivace::cuda

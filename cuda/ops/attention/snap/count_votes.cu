// Votes of a prompt's last rows: the softmax sums of every row over spans of cells, then, once these are merged, the
// votes cell by cell. Keys are read twice; scores are never stored but those of a tile. The order of all sums follows
// from the prompt alone.
#include "cuda/core/launch.h"
#include "cuda/ops/attention/snap/score_tile.h"
#include "cuda/ops/elementwise.h"

namespace vivace::cuda {
namespace {

constexpr int threads_per_query = snap_threads / tile_queries;
constexpr int snap_blocks = 4;  // of a multiprocessor, at least: registers for what a thread sums

// A block per prompt, KV head and span. Blocks stay: how many prompts and spans there are is read from the run.
__global__ void __launch_bounds__(snap_threads, snap_blocks) sum_spans(SnapCall call) {
  SHARED(float, scores, tile_queries* score_stride);
  const PolicySizes& sizes = call.batch.sizes->policy;
  const int spans = (sizes.most_cells + snap_span - 1) / snap_span, heads = call.kv.kv_heads;
  const int thread = static_cast<int>(threadIdx.x), own_query = thread / threads_per_query;
  for (int64_t index = blockIdx.x; index < int64_t{sizes.prompts} * heads * spans; index += gridDim.x) {
    const int span = static_cast<int>(index % spans);
    const PromptHead prompt(call, static_cast<int>(index / spans / heads), static_cast<int>(index / spans % heads));
    if (span >= prompt.own.spans) continue;
    const int end = min((span + 1) * snap_span, prompt.own.cells);
    for (int first = 0; first < prompt.queries(); first += tile_queries) {
      float top = -INFINITY, total = 0.0f;
      for (int cell = span * snap_span; cell < end; cell += tile_cells) {
        score_tile(prompt, first, cell, end, scores);
        float own[tile_cells / threads_per_query], largest = top;
        UNROLL
        for (int i = 0; i < tile_cells / threads_per_query; ++i) {
          own[i] = scores[own_query * score_stride + thread % threads_per_query + threads_per_query * i];
          largest = fmaxf(largest, own[i]);
        }
        for (int step = 1; step < threads_per_query; step *= 2)
          largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, step));
        if (largest > -INFINITY) {
          total *= expf(top - largest);
          UNROLL
          for (int i = 0; i < tile_cells / threads_per_query; ++i) total += expf(own[i] - largest);
          top = largest;
        }
      }
      for (int step = 1; step < threads_per_query; step *= 2) total += __shfl_xor_sync(0xffffffffu, total, step);
      if (first + own_query < prompt.queries() && thread % threads_per_query == 0) {
        float* out = prompt.sums(span, first + own_query);
        out[0] = top;
        out[1] = total;
      }
      __syncthreads();
    }
  }
}

// A thread per query vector.
__global__ void merge_spans(SnapCall call) {
  const PolicySizes& sizes = call.batch.sizes->policy;
  const int heads = call.kv.kv_heads;
  for_each_value(int64_t{sizes.prompts} * heads * sizes.most_queries, [&](int64_t i) {
    const int query = static_cast<int>(i % sizes.most_queries);
    const PromptHead prompt(call, static_cast<int>(i / sizes.most_queries / heads),
                            static_cast<int>(i / sizes.most_queries % heads));
    if (query >= prompt.queries()) return;
    float top = -INFINITY, total = 0.0f;
    for (int span = 0; span < prompt.own.spans; ++span) top = fmaxf(top, prompt.sums(span, query)[0]);
    for (int span = 0; span < prompt.own.spans; ++span) {
      const float* own = prompt.sums(span, query);
      if (own[1] > 0.0f) total += own[1] * expf(own[0] - top);
    }
    float* all = prompt.sums(0, query);
    all[0] = top;
    all[1] = 1.0f / total;
  });
}

// A block per prompt, KV head and tile of candidates.
__global__ void __launch_bounds__(snap_threads, snap_blocks) sum_votes(SnapCall call) {
  SHARED(float, scores, tile_queries* score_stride);
  const auto votes = dynamic_shared<float>(0, static_cast<size_t>(call.group * tile_cells));  // [group][cell]
  const PolicySizes& sizes = call.batch.sizes->policy;
  const int tiles = (sizes.most_cells + tile_cells - 1) / tile_cells, heads = call.kv.kv_heads;
  const int thread = static_cast<int>(threadIdx.x), cell = thread % tile_cells;
  for (int64_t index = blockIdx.x; index < int64_t{sizes.prompts} * heads * tiles; index += gridDim.x) {
    const int from = static_cast<int>(index % tiles) * tile_cells;
    const PromptHead prompt(call, static_cast<int>(index / tiles / heads), static_cast<int>(index / tiles % heads));
    if (from >= prompt.own.prefix) continue;
    __syncthreads();  // the last tile's votes are still read
    for (int i = thread; i < call.group * tile_cells; i += snap_threads) votes[i] = 0.0f;
    for (int first = 0; first < prompt.queries(); first += tile_queries) {
      score_tile(prompt, first, from, prompt.own.prefix, scores);
      // Query heads of even and odd numbers, each by a half of the threads.
      const int count = min(prompt.queries() - first, tile_queries);
      for (int i = 0; i < count; ++i) {
        const int head = (first + i) % call.group;
        if (head % 2 != thread / tile_cells) continue;
        const float* whole = prompt.sums(0, first + i);
        votes[head * tile_cells + cell] += expf(scores[i * score_stride + cell] - whole[0]) * whole[1];
      }
    }
    __syncthreads();
    if (thread >= tile_cells || from + cell >= prompt.own.prefix) continue;
    float sum = votes[cell];
    for (int head = 1; head < call.group; ++head) {
      const float other = votes[head * tile_cells + cell];
      sum = prompt.own.aggregation == 1 ? fmaxf(sum, other) : sum + other;
    }
    prompt.votes()[from + cell] = prompt.own.aggregation == 0 ? sum / static_cast<float>(call.group) : sum;
  }
}

}  // namespace

void count_votes(const DeviceRun& run, const SnapCall& call) {
  const unsigned blocks = static_cast<unsigned>(run.device->multiprocessors) * 8;
  launch<sum_spans>(Launch{dim3(blocks), dim3(snap_threads), 0, run.stream}, call);
  launch<merge_spans>(Launch{dim3(blocks), dim3(elementwise_block), 0, run.stream}, call);
  const auto shared = static_cast<size_t>(call.group * tile_cells) * sizeof(float);
  launch<sum_votes>(Launch{dim3(blocks), dim3(snap_threads), shared, run.stream}, call);
}

}  // namespace vivace::cuda

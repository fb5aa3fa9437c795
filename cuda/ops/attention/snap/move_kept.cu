// Votes are pooled over neighbours, the cells with most of them stay, with the prompt's last ones, and move to pages of
// their own in ascending order.
#include "cuda/core/launch.h"
#include "cuda/ops/attention/attention.h"
#include "cuda/ops/attention/snap/snap.h"
#include "cuda/ops/attention/sparse/largest.h"
#include "cuda/ops/elementwise.h"

namespace vivace::cuda {
namespace {

constexpr int threads = 512, pooling_average = 2;  // SnapPooling of cpp/caches/cache_policy.h

// A thread per candidate.
__global__ void pool_votes(SnapCall call) {
  const PolicySizes& sizes = call.batch.sizes->policy;
  const int heads = call.kv.kv_heads;
  for_each_value(int64_t{sizes.prompts} * heads * sizes.most_cells, [&](int64_t i) {
    const int j = static_cast<int>(i % sizes.most_cells);
    const PromptHead prompt(call, static_cast<int>(i / sizes.most_cells / heads),
                            static_cast<int>(i / sizes.most_cells % heads));
    const int count = prompt.own.prefix, half = prompt.own.pooling == 0 ? 0 : prompt.own.kernel / 2;
    if (j >= count) return;
    const float* votes = prompt.votes();
    const int begin = max(j - half, 0), end = min(j + half + 1, count);
    float result = votes[begin];
    for (int k = begin + 1; k < end; ++k)
      result = prompt.own.pooling == pooling_average ? result + votes[k] : fmaxf(result, votes[k]);
    if (prompt.own.pooling == pooling_average) result = result / static_cast<float>(prompt.own.kernel);
    prompt.pooled()[j] = j < prompt.own.keep_first ? INFINITY : result;
  });
}

// A block per prompt and KV head. Who sees no more than the last cells needs no votes.
__global__ void __launch_bounds__(threads) keep_cells(SnapCall call) {
  const int heads = call.kv.kv_heads, thread = static_cast<int>(threadIdx.x);
  for (int64_t index = blockIdx.x; index < int64_t{call.batch.sizes->policy.prompts} * heads; index += gridDim.x) {
    const PromptHead prompt(call, static_cast<int>(index / heads), static_cast<int>(index % heads));
    int32_t* chosen = prompt.chosen();
    const int last = prompt.own.cells - prompt.own.prefix;
    const int most = call.window > 0 ? 0 : prompt.own.kept - last, left = prompt.own.kept - most;
    take_largest<threads>(prompt.pooled(), prompt.own.prefix, most, [&](int n, int place) { chosen[n] = place; });
    for (int k = thread; k < left; k += threads) chosen[most + k] = prompt.own.cells - left + k;
    __syncthreads();
  }
}

// Rows have an even number of bytes at even addresses.
__device__ void copy_row(std::byte* to, const std::byte* from, int64_t bytes) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  const bool wide =
      ((reinterpret_cast<uintptr_t>(to) | reinterpret_cast<uintptr_t>(from) | static_cast<uintptr_t>(bytes)) & 15) == 0;
  if (wide)
    for (int64_t i = lane; i < bytes / 16; i += 32)
      reinterpret_cast<uint4*>(to)[i] = reinterpret_cast<const uint4*>(from)[i];
  else
    for (int64_t i = lane; i < bytes / 2; i += 32)
      reinterpret_cast<uint16_t*>(to)[i] = reinterpret_cast<const uint16_t*>(from)[i];
}

// A warp per prompt, KV head and cell that stays.
__global__ void move_cells(SnapCall call) {
  const PolicySizes& sizes = call.batch.sizes->policy;
  const DeviceKv& kv = call.kv;
  const int heads = kv.kv_heads;
  const int64_t count = int64_t{sizes.prompts} * heads * sizes.most_kept,
                warps = int64_t{gridDim.x} * (blockDim.x / 32);
  for (int64_t i = int64_t{blockIdx.x} * (blockDim.x / 32) + threadIdx.x / 32; i < count; i += warps) {
    const int to = static_cast<int>(i % sizes.most_kept);
    const PromptHead prompt(call, static_cast<int>(i / sizes.most_kept / heads),
                            static_cast<int>(i / sizes.most_kept % heads));
    if (to >= prompt.own.kept) continue;
    const int cell = prompt.chosen()[to], at = cell % kv.page_size, new_at = to % kv.page_size;
    const int64_t row = prompt.row_of(0);
    const std::byte* page = page_of(call.batch, kv, row, cell);
    std::byte* const* pages = reinterpret_cast<std::byte* const*>(policy_bytes(call.batch) + prompt.own.pages);
    std::byte* new_page = pages[to / kv.page_size];
    // Pages are divided alike.
    const std::byte* key = key_row(call.batch, kv, row, call.layer, prompt.head, cell);
    const std::byte* value = value_row(call.batch, kv, row, call.layer, prompt.head, cell);
    copy_row(new_page + (key - page) + (new_at - at) * kv.key_row, key, kv.key_row);
    copy_row(new_page + (value - page) + (new_at - at) * kv.value_row, value, kv.value_row);
  }
}

}  // namespace

void move_kept(const DeviceRun& run, const SnapCall& call) {
  const unsigned blocks = static_cast<unsigned>(run.device->multiprocessors);
  if (call.window == 0) launch<pool_votes>(Launch{dim3(8 * blocks), dim3(elementwise_block), 0, run.stream}, call);
  launch<keep_cells>(Launch{dim3(2 * blocks), dim3(threads), 0, run.stream}, call);
  launch<move_cells>(Launch{dim3(8 * blocks), dim3(256), 0, run.stream}, call);
}

void compress_prompts(const DeviceRun& run) {
  const double* a = run.attributes;
  SnapCall call = {};
  call.q = values_of<const float>(run.inputs[0]);
  call.states = reinterpret_cast<float*>(run.states);
  call.batch = run.batch;
  call.kv = run.kv;
  call.layer = static_cast<int>(a[0]);
  call.heads = static_cast<int>(a[1]);
  call.group = call.heads / run.kv.kv_heads;
  call.scale = static_cast<float>(a[3]);
  call.softcap = static_cast<float>(a[4]);
  call.window = attention_pattern(a, run.kv).window;
  if (call.window == 0) count_votes(run, call);
  move_kept(run, call);
}

}  // namespace vivace::cuda

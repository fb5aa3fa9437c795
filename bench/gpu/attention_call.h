// A call of attention as benches make it: sequences of so many cells, of which the last rows are computed, under a
// policy or not; or the compression of prompts alone.
#pragma once
#include <cuda_fp16.h>

#include <vector>

#include "bench/gpu/measure.h"
#include "core/dtype.h"
#include "cuda/caches/policy_rows.h"
#include "cuda/core/launch.h"
#include "cuda/core/memory.h"
#include "cuda/ops/attention/attention.h"
#include "cuda/ops/attention/decode/call.h"
#include "cuda/ops/attention/snap/snap.h"

namespace vivace::cuda {

void attention(const DeviceRun& run);

inline constexpr int bench_dim = 128;
inline int bench_heads() {
  return sized(32, 4);
}

template <class T>
struct OnCard {
  DeviceBuffer buffer;
  explicit OnCard(const std::vector<T>& values) {
    buffer.reserve(static_cast<int64_t>(std::max<size_t>(1, values.size()) * sizeof(T)));
    check(cudaMemcpy(buffer.data(), values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice), "copy");
  }
  T* get() const { return reinterpret_cast<T*>(buffer.data()); }
};

// The first card.
inline DeviceProperties bench_device() {
  cudaDeviceProp found;
  check(cudaGetDeviceProperties(&found, 0), "cudaGetDeviceProperties");
  DeviceProperties device;
  device.multiprocessors = found.multiProcessorCount;
  device.shared_bytes = static_cast<int>(found.sharedMemPerBlockOptin);
  return device;
}

// Bytes per second of a copy of its memory; printed.
inline double copy_rate(const DeviceProperties& device) {
  DeviceBuffer arena;
  arena.reserve(sized(int64_t{1} << 30, int64_t{4} << 20));
  const double rate = copy_rate(arena.data(), arena.size(), device.multiprocessors);
  std::printf("copy %.0f GB/s\n", rate / 1e9);
  return rate;
}

struct AttentionShape {
  DType dtype = DType::F16;
  int sequences = 1, cells = 0, rows = 1, kv_heads = sized(4, 1), page_size = 32;
  Pattern pattern = {};
  DeviceLabels labels = {};  // with which every row chooses its cells; places and tables are made here
  int kept = 0;              // of the cells of a prompt, for which its `rows` last ones vote
};

// Numbers between −1 and 1 that differ from place to place: where all keys were equal, nothing could be chosen.
template <class T>
__global__ void fill_unequal(T* to, int64_t count) {
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += step) {
    uint32_t bits = static_cast<uint32_t>(i) * 2654435761u;
    bits = (bits ^ bits >> 15) * 2246822519u;
    const float value = static_cast<float>(bits >> 8) * (2.0f / 16777216.0f) - 1.0f;
    if constexpr (sizeof(T) == 2)
      to[i] = __float2half_rn(value);
    else
      to[i] = value;
  }
}
template <class T>
void fill(const DeviceProperties& device, DeviceBuffer& buffer) {
  launch<fill_unequal<T>>(Launch{dim3(static_cast<unsigned>(device.multiprocessors * 8)), dim3(256)},
                          reinterpret_cast<T*>(buffer.data()), buffer.size() / static_cast<int64_t>(sizeof(T)));
}

// Seconds of one call of attention; with `kept`, of one compression of all prompts.
inline double time_shape(const DeviceProperties& device, const AttentionShape& shape) {
  constexpr int dim = bench_dim;
  const int heads = bench_heads();
  const int sequences = shape.sequences, cells = shape.cells, rows = shape.rows, page_size = shape.page_size;
  const Pattern& pattern = shape.pattern;
  DeviceKv kv;
  kv.layers = 1, kv.kv_heads = shape.kv_heads, kv.key_dim = kv.value_dim = dim, kv.page_size = page_size;
  kv.key_dtype = kv.value_dtype = shape.dtype;
  kv.key_row = kv.value_row = row_bytes(shape.dtype, dim);
  kv.value_offset = int64_t{shape.kv_heads} * page_size * kv.key_row;
  kv.layer = 2 * kv.value_offset;
  kv.patterns = &pattern;
  kv.angles = 2 * pattern.turned;
  kv.labels = shape.labels;
  std::vector<int32_t> channels;
  for (int i = 0; i < kv.labels.sets * kv.labels.channels; ++i) channels.push_back(i % kv.labels.channels);
  const OnCard<int32_t> on_channels(channels);
  kv.labels.offsets = &kv.layer;
  kv.labels.table = on_channels.get();
  const int64_t page_bytes = kv.layer + kv.labels.sets * kv.labels.bytes;
  const int count = sequences * rows, pages = (cells + page_size - 1) / page_size;
  const int kept_pages = (shape.kept + page_size - 1) / page_size;
  DeviceBuffer cache, q, y, states;
  cache.reserve(int64_t{sequences} * (pages + kept_pages) * page_bytes);
  check(cudaMemset(cache.data(), 0, static_cast<size_t>(cache.size())), "cudaMemset");
  if (shape.dtype == DType::F16) fill<__half>(device, cache);
  q.reserve(int64_t{count} * heads * dim * 4);
  y.reserve(q.size());
  fill<float>(device, q);

  std::vector<int32_t> sequence, position, first, visible, outputs, zeros(static_cast<size_t>(count));
  std::vector<std::byte*> addresses, new_pages;
  for (int s = 0; s < sequences; ++s) {
    for (int r = 0; r < rows; ++r) {
      outputs.push_back(static_cast<int32_t>(outputs.size()));
      sequence.push_back(s);
      position.push_back(cells - rows + r);
      first.push_back(cells - rows);
      visible.push_back(cells - rows + r + 1);
    }
    // In an order that is not that of addresses.
    for (int p = 0; p < pages; ++p)
      addresses.push_back(cache.data() + (int64_t{s} * pages + (p * int64_t{7919}) % pages) * page_bytes);
    for (int p = 0; p < kept_pages; ++p)
      new_pages.push_back(cache.data() + (int64_t{sequences} * pages + int64_t{s} * kept_pages + p) * page_bytes);
  }
  VivaceDeviceCache divided = {};
  divided.kv_heads = kv.kv_heads;
  divided.page_size = page_size;
  VivaceDeviceBatch host = {};
  host.cache = &divided;
  host.sequences = sequence.data();
  host.first_cells = first.data();
  host.visible = visible.data();
  host.output_rows = outputs.data();
  host.output_count = count;
  std::vector<VivaceDevicePrompt> prompts;
  for (int s = 0; s < sequences && shape.kept > 0; ++s) {
    VivaceDevicePrompt prompt = {};
    prompt.sequence = s;
    prompt.cells = cells;
    prompt.kept = shape.kept;
    prompt.prefix = cells - rows;
    prompt.voters = rows;
    prompt.spans = (cells + snap_span - 1) / snap_span;
    prompt.group = heads / kv.kv_heads;
    prompt.kernel = 7;
    prompt.pooling = 1;  // the largest of neighbours
    prompt.rows = outputs.data() + s * rows;
    prompt.pages = reinterpret_cast<void* const*>(new_pages.data() + s * kept_pages);
    prompts.push_back(prompt);
  }
  host.prompts = prompts.data();
  host.prompt_count = static_cast<int32_t>(prompts.size());
  std::vector<RowUnit> units(static_cast<size_t>(2 * count + 1));
  std::vector<RowRun> runs(static_cast<size_t>(count / many_rows + 1));
  std::vector<int32_t> row_states(static_cast<size_t>(count)), chosen_states(static_cast<size_t>(count));
  const RowPlanSizes plan = plan_rows(host, count, pattern, {units.data(), runs.data(), row_states.data()});
  VivaceDeviceRun described = {};
  described.batch = &host;
  PolicyRows policy;
  policy.describe(described, kv.labels, count, heads);
  const int64_t state_values = int64_t{heads} * state_floats(dim);
  const int64_t tables = static_cast<int64_t>(addresses.size() * sizeof(std::byte*));
  BatchSizes host_sizes = {count, 0, 0, pages, plan.units, plan.items, plan.runs, {}};
  const int64_t floats = (plan.states + policy.states()) * state_values;
  host_sizes.policy = policy.placed(tables, floats, plan.states, chosen_states.data());
  states.reserve((host_sizes.policy.memory + policy.floats() + 4) * 4);
  DeviceBuffer on_pages;
  on_pages.reserve(tables + static_cast<int64_t>(policy.bytes().size()));
  const auto copy_in = [&](std::byte* to, const void* from, size_t bytes) {
    if (bytes > 0) check(cudaMemcpy(to, from, bytes, cudaMemcpyHostToDevice), "copy");
  };
  copy_in(on_pages.data(), addresses.data(), static_cast<size_t>(tables));
  copy_in(on_pages.data() + tables, policy.bytes().data(), policy.bytes().size());

  // Angles of nothing: what is turned stays, and costs as much.
  DeviceBuffer angles;
  angles.reserve(std::max<int64_t>(1, int64_t{std::max(count, pattern.sinks)} * kv.angles * 4));
  check(cudaMemset(angles.data(), 0, static_cast<size_t>(angles.size())), "cudaMemset");
  if (kv.angles > 0) kv.sink_angles = reinterpret_cast<const float*>(angles.data());
  const OnCard<BatchSizes> sizes({host_sizes});
  const OnCard<int32_t> on_sequence(sequence), on_position(position), on_first(first), on_visible(visible),
      on_zeros(zeros), on_states(row_states), on_chosen_states(chosen_states);
  const OnCard<RowUnit> on_units(units);
  const OnCard<RowRun> on_runs(runs);
  const double attributes[6] = {0, static_cast<double>(heads), dim, 0.088, 0, 0};
  DeviceRun run;
  run.inputs[0] = {DType::F32, count, heads * dim, heads * dim * 4, q.data()};
  run.outputs[0] = {DType::F32, count, heads * dim, heads * dim * 4, y.data()};
  run.attributes = attributes;
  run.batch.sizes = sizes.get();
  run.batch.sequences = on_sequence.get();
  run.batch.positions = on_position.get();
  run.batch.cells = on_position.get();
  run.batch.first_cells = on_first.get();
  run.batch.visible = on_visible.get();
  run.batch.added_offsets = on_zeros.get();
  run.batch.added_positions = on_position.get();
  run.batch.pages = reinterpret_cast<std::byte* const*>(on_pages.data());
  run.batch.units = on_units.get();
  run.batch.runs = on_runs.get();
  run.batch.states = on_states.get();
  run.batch.chosen_states = on_chosen_states.get();
  run.batch.kind = plan.runs > 0 ? RowsKind::many : plan.several ? RowsKind::several : RowsKind::alone;
  run.batch.choosing = policy.choosing();
  run.batch.angles = reinterpret_cast<const float*>(angles.data());
  run.kv = kv;
  run.states = states.data();
  run.device = &device;
  return seconds_of(rows > 1 ? 2 : sized(10, 1), [&](int) { shape.kept > 0 ? compress_prompts(run) : attention(run); });
}

}  // namespace vivace::cuda

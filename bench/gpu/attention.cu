// Times attention's kernels on a card: decoding next to what a copy of memory reaches, prompts in TFLOP/s.
// scripts/gpu/bench.mjs builds and runs it; it needs nothing but the binary.
// A line per shape: 32 heads on 4 KV heads (groups of 8) of 128, sequences, cells, type, microseconds, reached, share.
// Then cache policies at the set-ups of the papers, in the shape of Llama 2 7B: what their layers cost next to full
// ones.
#include "bench/gpu/measure.h"
#include "core/dtype.h"
#include "cuda/core/launch.h"
#include "cuda/core/memory.h"
#include "cuda/ops/attention/attention.h"
#include "cuda/ops/attention/decode/call.h"

namespace vivace::cuda {

void attention(const DeviceRun& run);

namespace {

constexpr int heads = 32, dim = 128, page_size = 32;

template <class T>
struct OnCard {
  DeviceBuffer buffer;
  explicit OnCard(const std::vector<T>& values) {
    buffer.reserve(static_cast<int64_t>(std::max<size_t>(1, values.size()) * sizeof(T)));
    check(cudaMemcpy(buffer.data(), values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice), "copy");
  }
  T* get() const { return reinterpret_cast<T*>(buffer.data()); }
};

// Every sequence has `cells` cells; the last `rows` of them are computed.
struct AttentionShape {
  DType dtype = DType::F16;
  int sequences = 1, cells = 0, rows = 1, kv_heads = 4;
  Pattern pattern = {};
};

// Seconds of one call.
double time_shape(const DeviceProperties& device, const AttentionShape& shape) {
  const auto& [dtype, sequences, cells, rows, kv_heads, pattern] = shape;
  DeviceKv kv;
  kv.layers = 1, kv.kv_heads = kv_heads, kv.key_dim = kv.value_dim = dim, kv.page_size = page_size;
  kv.key_dtype = kv.value_dtype = dtype;
  kv.key_row = kv.value_row = row_bytes(dtype, dim);
  kv.value_offset = int64_t{kv_heads} * page_size * kv.key_row;
  kv.layer = 2 * kv.value_offset;
  kv.patterns = &pattern;
  kv.angles = 2 * pattern.turned;
  const int count = sequences * rows, pages = cells / page_size;
  DeviceBuffer cache, q, y, states;
  cache.reserve(int64_t{sequences} * pages * kv.layer);
  check(cudaMemset(cache.data(), 0, static_cast<size_t>(cache.size())), "cudaMemset");
  q.reserve(int64_t{count} * heads * dim * 4);
  y.reserve(q.size());
  check(cudaMemset(q.data(), 0, static_cast<size_t>(q.size())), "cudaMemset");

  std::vector<int32_t> sequence, position, first, visible, zeros(static_cast<size_t>(count));
  std::vector<std::byte*> addresses;
  for (int s = 0; s < sequences; ++s) {
    for (int r = 0; r < rows; ++r) {
      sequence.push_back(s);
      position.push_back(cells - rows + r);
      first.push_back(cells - rows);
      visible.push_back(cells - rows + r + 1);
    }
    // In an order that is not that of addresses.
    for (int p = 0; p < pages; ++p)
      addresses.push_back(cache.data() + (int64_t{s} * pages + (p * int64_t{7919}) % pages) * kv.layer);
  }
  VivaceDeviceBatch host = {};
  host.sequences = sequence.data();
  host.first_cells = first.data();
  host.visible = visible.data();
  std::vector<RowUnit> units(static_cast<size_t>(2 * count + 1));
  std::vector<RowRun> runs(static_cast<size_t>(count / many_rows + 1));
  std::vector<int32_t> row_states(static_cast<size_t>(count));
  const RowPlanSizes plan = plan_rows(host, count, pattern, {units.data(), runs.data(), row_states.data()});
  states.reserve(std::max<int64_t>(1, plan.states * heads * state_floats(dim) * 4));

  // Angles of nothing: what is turned stays, and costs as much.
  DeviceBuffer angles;
  angles.reserve(std::max<int64_t>(1, int64_t{std::max(count, pattern.sinks)} * kv.angles * 4));
  check(cudaMemset(angles.data(), 0, static_cast<size_t>(angles.size())), "cudaMemset");
  if (kv.angles > 0) kv.sink_angles = reinterpret_cast<const float*>(angles.data());
  const OnCard<BatchSizes> sizes({{count, 0, 0, pages, plan.units, plan.items, plan.runs, {}}});
  const OnCard<int32_t> on_sequence(sequence), on_position(position), on_first(first), on_visible(visible),
      on_zeros(zeros), on_states(row_states);
  const OnCard<std::byte*> on_pages(addresses);
  const OnCard<RowUnit> on_units(units);
  const OnCard<RowRun> on_runs(runs);
  const double attributes[6] = {0, heads, dim, 0.088, 0, 0};
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
  run.batch.pages = on_pages.get();
  run.batch.units = on_units.get();
  run.batch.runs = on_runs.get();
  run.batch.states = on_states.get();
  run.batch.kind = plan.runs > 0 ? RowsKind::many : plan.several ? RowsKind::several : RowsKind::alone;
  run.batch.angles = reinterpret_cast<const float*>(angles.data());
  run.kv = kv;
  run.states = states.data();
  run.device = &device;
  return seconds_of(rows > 1 ? 2 : sized(10, 1), [&](int) { attention(run); });
}

// How much faster a token of Llama 2 7B comes than with all layers full: 32 layers, `full` of them full, weights of F16
// read once. Weights are as fast as a copy; attention is measured.
void compare(const DeviceProperties& device, double limit, const char* what, int sequences, int cells, int full,
             const Pattern& pattern, double bar) {
  constexpr double weights = 13.2e9;
  const AttentionShape dense = {DType::F16, sequences, cells, 1, sized(32, 4)};
  AttentionShape sparse = dense;
  sparse.pattern = pattern;
  const double all = time_shape(device, dense), some = time_shape(device, sparse), other = weights / limit;
  const std::string where = std::string(what) + ", " + std::to_string(sequences) + " of " + std::to_string(cells);
  std::printf("%s: layers %10.2f us, full %10.2f us\n", where.c_str(), some * 1e6, all * 1e6);
  print_figure(where + ": attention of a layer, times as fast", all / some, "");
  const double before = other + 32 * all, after = other + full * all + (32 - full) * some;
  print_bar(where + ": decoding, times as fast as full", 1 / after, 1 / before, "tokens/s", before / after, bar, true);
}

// A prompt's last 512 rows.
void compare_prompts(const DeviceProperties& device, const char* what, int cells, const Pattern& pattern) {
  const AttentionShape dense = {DType::F16, 1, cells, sized(512, 64), sized(32, 4)};
  AttentionShape sparse = dense;
  sparse.pattern = pattern;
  print_figure(std::string(what) + ": 512 rows behind " + std::to_string(cells) + ", times as fast",
               time_shape(device, dense) / time_shape(device, sparse), "");
}

void run_policies(const DeviceProperties& device, double limit) {
  Pattern lambda = {}, window = {}, blocks = {};
  lambda.sinks = 10;
  lambda.window = sized(4096, 64);
  lambda.turned = 64;
  window.sinks = sized(64, 8);
  window.window = sized(2048, 64);
  blocks.block = sized(64, 16);
  blocks.local = sized(16, 1);
  blocks.stride = sized(16, 4);
  blocks.head_step = blocks.always_first = 1;
  const int far = sized(32768, 256), farther = sized(131072, 256);
  // The paper's 2.7 is of a larger part of attention than one sequence has here: bandwidth allows 1.9 and 4.4.
  compare(device, limit, "LM-Infinite, 10 + 4096", 1, far, 0, lambda, 1.7);
  compare(device, limit, "LM-Infinite, 10 + 4096", sized(6, 2), far, 0, lambda, 2.7);
  compare_prompts(device, "LM-Infinite, 10 + 4096", far, lambda);
  compare(device, limit, "LongGen, 64 + 2048", 1, farther, 11, window, 1.41);
  compare(device, limit, "LongGen, blocks of 64, stride 16", 1, farther, 11, blocks, 1.41);
  compare_prompts(device, "LongGen, 64 + 2048", farther, window);
  compare_prompts(device, "LongGen, blocks of 64, stride 16", farther, blocks);
}

void run() {
  cudaDeviceProp found;
  check(cudaGetDeviceProperties(&found, 0), "cudaGetDeviceProperties");
  DeviceProperties device;
  device.multiprocessors = found.multiProcessorCount;
  device.shared_bytes = static_cast<int>(found.sharedMemPerBlockOptin);
  double limit = 0;
  {
    DeviceBuffer arena;
    arena.reserve(sized(int64_t{1} << 30, int64_t{4} << 20));
    limit = copy_rate(arena.data(), arena.size(), found.multiProcessorCount);
  }
  std::printf("%s: copy %.0f GB/s\n", found.name, limit / 1e9);
  const std::vector<int> lengths = tiny ? std::vector<int>{64} : std::vector<int>{1024, 4096, 16384, 65536};
  const std::vector<int> counts = tiny ? std::vector<int>{1, 2} : std::vector<int>{1, 4, 16, 64};
  for (const DType dtype : {DType::F16, DType::Q8_0})
    for (const int sequences : counts)
      for (const int cells : lengths) {
        const AttentionShape shape = {dtype, sequences, cells};
        const double bytes = 2.0 * sequences * cells * shape.kv_heads * static_cast<double>(row_bytes(dtype, dim));
        const double seconds = time_shape(device, shape);
        std::printf("decode %3d x %6d  %-5s %10.2f us\n", sequences, cells, find_dtype(dtype)->name, seconds * 1e6);
        // What fits the second-level cache is read from there; the bar is about memory.
        const bool cached = bytes < 2.0 * found.l2CacheSize;
        const std::string what = "attention, " + std::to_string(sequences) + " of " + std::to_string(cells) + ", " +
                                 find_dtype(dtype)->name + (cached ? " (cached)" : "") +
                                 ": share of a copy's bandwidth";
        print_bar(what, bytes / seconds / 1e9, limit / 1e9, "GB/s", bytes / seconds / limit, 0.8, true);
      }
  for (const DType dtype : {DType::F16, DType::Q8_0}) {
    const int rows = sized(8192, 64);
    const double operations = 4.0 * heads * dim * (static_cast<double>(rows) * (rows + 1) / 2);
    const double seconds = time_shape(device, {dtype, 1, rows, rows});
    std::printf("prompt %d rows  %-5s %10.2f us\n", rows, find_dtype(dtype)->name, seconds * 1e6);
    print_figure(std::string("causal attention ") + find_dtype(dtype)->name, operations / seconds / 1e12, "TFLOP/s");
  }
  run_policies(device, limit);
}

}  // namespace
}  // namespace vivace::cuda

int main(int count, char** words) {
  return vivace::cuda::run_bench(count, words, [](bool) { vivace::cuda::run(); });
}

// Times attention's kernels on a card: decoding next to what a copy of memory reaches, prompts in TFLOP/s.
// scripts/gpu/bench.mjs builds and runs it; it needs nothing but the binary.
// A line per shape: 32 heads on 4 KV heads (groups of 8) of 128, sequences, cells, type, microseconds, reached, share.
#include "bench/gpu/measure.h"
#include "core/dtype.h"
#include "cuda/core/launch.h"
#include "cuda/core/memory.h"
#include "cuda/ops/attention/attention.h"
#include "cuda/ops/attention/decode/call.h"

namespace vivace::cuda {

void attention(const DeviceRun& run);

namespace {

constexpr int heads = 32, kv_heads = 4, dim = 128, page_size = 32;

template <class T>
struct OnCard {
  DeviceBuffer buffer;
  explicit OnCard(const std::vector<T>& values) {
    buffer.reserve(static_cast<int64_t>(std::max<size_t>(1, values.size()) * sizeof(T)));
    check(cudaMemcpy(buffer.data(), values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice), "copy");
  }
  T* get() const { return reinterpret_cast<T*>(buffer.data()); }
};

// Every sequence has `cells` cells; the last `rows` of them are computed. Seconds of one call.
double time_shape(const DeviceProperties& device, DType dtype, int sequences, int cells, int rows) {
  DeviceKv kv;
  kv.layers = 1, kv.kv_heads = kv_heads, kv.key_dim = kv.value_dim = dim, kv.page_size = page_size;
  kv.key_dtype = kv.value_dtype = dtype;
  kv.key_row = kv.value_row = row_bytes(dtype, dim);
  kv.value_offset = int64_t{kv_heads} * page_size * kv.key_row;
  kv.layer = 2 * kv.value_offset;
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
  const RowPlanSizes plan = plan_rows(host, count, {units.data(), runs.data(), row_states.data()});
  states.reserve(std::max<int64_t>(1, plan.states * heads * state_floats(dim) * 4));

  const OnCard<BatchSizes> sizes({{count, 0, 0, pages, plan.units, plan.items, plan.runs}});
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
  run.kv = kv;
  run.states = states.data();
  run.device = &device;
  return seconds_of(rows > 1 ? 2 : sized(10, 1), [&](int) { attention(run); });
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
        const double bytes = 2.0 * sequences * cells * kv_heads * static_cast<double>(row_bytes(dtype, dim));
        const double seconds = time_shape(device, dtype, sequences, cells, 1);
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
    const double seconds = time_shape(device, dtype, 1, rows, rows);
    std::printf("prompt %d rows  %-5s %10.2f us\n", rows, find_dtype(dtype)->name, seconds * 1e6);
    print_figure(std::string("causal attention ") + find_dtype(dtype)->name, operations / seconds / 1e12, "TFLOP/s");
  }
}

}  // namespace
}  // namespace vivace::cuda

int main(int count, char** words) {
  return vivace::cuda::run_bench(count, words, [](bool) { vivace::cuda::run(); });
}

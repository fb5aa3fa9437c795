// Times attention's kernels on a card: decoding next to what a copy of memory reaches, prompts in TFLOP/s.
// scripts/gpu/bench.mjs builds and runs it; it needs nothing but the binary.
// A line per shape: 32 heads on 4 KV heads (groups of 8) of 128, sequences, cells, type, microseconds, reached, share.
#include "bench/gpu/attention_call.h"

namespace vivace::cuda {
namespace {

void run() {
  cudaDeviceProp found;
  check(cudaGetDeviceProperties(&found, 0), "cudaGetDeviceProperties");
  const DeviceProperties device = bench_device();
  const double limit = copy_rate(device);
  const std::vector<int> lengths = tiny ? std::vector<int>{64} : std::vector<int>{1024, 4096, 16384, 65536};
  const std::vector<int> counts = tiny ? std::vector<int>{1, 2} : std::vector<int>{1, 4, 16, 64};
  for (const DType dtype : {DType::F16, DType::Q8_0})
    for (const int sequences : counts)
      for (const int cells : lengths) {
        const AttentionShape shape = {dtype, sequences, cells};
        const double bytes =
            2.0 * sequences * cells * shape.kv_heads * static_cast<double>(row_bytes(dtype, bench_dim));
        const double seconds = time_shape(device, shape);
        std::printf("decode %3d x %6d  %-5s %10.2f us\n", sequences, cells, find_dtype(dtype)->name, seconds * 1e6);
        // What fits the second-level cache is read from there; the bar is about memory.
        const bool cached = bytes < 2.0 * found.l2CacheSize;
        const double bar = int64_t{sequences} * cells >= 65536 ? 0.85 : 0.8;
        const std::string what = "attention, " + std::to_string(sequences) + " of " + std::to_string(cells) + ", " +
                                 find_dtype(dtype)->name + (cached ? " (cached)" : "") +
                                 ": share of a copy's bandwidth";
        print_bar(what, bytes / seconds / 1e9, limit / 1e9, "GB/s", bytes / seconds / limit, bar, true);
      }
  for (const DType dtype : {DType::F16, DType::Q8_0}) {
    const int rows = sized(8192, 64);
    const double operations = 4.0 * bench_heads() * bench_dim * (static_cast<double>(rows) * (rows + 1) / 2);
    const double seconds = time_shape(device, {dtype, 1, rows, rows});
    std::printf("prompt %d rows  %-5s %10.2f us\n", rows, find_dtype(dtype)->name, seconds * 1e6);
    print_figure(std::string("causal attention ") + find_dtype(dtype)->name, operations / seconds / 1e12, "TFLOP/s");
  }
  // What pages cost: sixteen cells wherever they lie, next to one piece of memory. And what fewer bits win.
  const int cells = sized(65536, 64), heads = sized(4, 1);
  const AttentionShape pages = {DType::F16, 1, cells, 1, heads, 16}, piece = {DType::F16, 1, cells, 1, heads, cells};
  const double paged = time_shape(device, pages), whole = time_shape(device, piece);
  print_bar("attention, pages of 16: time of one piece of memory", paged * 1e6, whole * 1e6, "us", paged / whole, 1.03,
            false);
  const AttentionShape halves = {DType::F16, sized(4, 1), cells}, codes = {DType::Q8_0, sized(4, 1), cells};
  print_speedup(
      "attention, Q8_0 next to F16", time_shape(device, halves) / time_shape(device, codes),
      static_cast<double>(row_bytes(DType::F16, bench_dim)) / static_cast<double>(row_bytes(DType::Q8_0, bench_dim)),
      1.7);
}

}  // namespace
}  // namespace vivace::cuda

int main(int count, char** words) {
  return vivace::cuda::run_bench(count, words, [](bool) { vivace::cuda::run(); });
}

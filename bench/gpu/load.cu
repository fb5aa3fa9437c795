// Times moving weights to a card (cuda/program/upload.h) from ordinary memory, next to one copy from pinned memory,
// which is the most that the link gives. scripts/gpu/bench.mjs builds and runs it.
#include <chrono>

#include "bench/gpu/measure.h"
#include "cuda/program/upload.h"

namespace vivace::cuda {
namespace {

void run() {
  const int64_t bytes = sized(int64_t{4} << 30, int64_t{20} << 20);
  const int64_t pinned_bytes = sized(int64_t{256} << 20, int64_t{1} << 20);
  DeviceBuffer card;
  card.reserve(bytes);
  PinnedBuffer pinned;
  pinned.reserve(pinned_bytes);
  std::memset(pinned.data(), 1, static_cast<size_t>(pinned_bytes));
  const double link = static_cast<double>(pinned_bytes) / seconds_of(4, [&](int) {
                        check(cudaMemcpyAsync(card.data(), pinned.data(), static_cast<size_t>(pinned_bytes),
                                              cudaMemcpyHostToDevice, nullptr),
                              "cudaMemcpyAsync");
                      });
  std::vector<std::byte> weights(static_cast<size_t>(bytes), std::byte{1});
  // Streams of its own: the clock is the host's.
  std::vector<double> rates;
  for (int turn = 0; turn < sized(5, 1); ++turn) {
    const auto begin = std::chrono::steady_clock::now();
    Upload upload;
    for (int64_t at = 0; at < bytes; at += Upload::piece)
      upload.copy(card.data() + at, weights.data() + at, std::min(Upload::piece, bytes - at));
    upload.wait();
    rates.push_back(static_cast<double>(bytes) /
                    std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  }
  std::sort(rates.begin(), rates.end());
  const double reached = rates[rates.size() / 2];
  print_bar("loading: share of a copy from pinned memory", reached / 1e9, link / 1e9, "GB/s", reached / link, 0.8,
            true);
}

}  // namespace
}  // namespace vivace::cuda

int main(int count, char** words) {
  return vivace::cuda::run_bench(count, words, [](bool) { vivace::cuda::run(); });
}

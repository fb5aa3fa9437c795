#include "core/bandwidth.h"

#include <chrono>
#include <cstring>
#include <vector>

#include "core/arena.h"
#include "core/thread_pool.h"

namespace vivace {

double memory_bandwidth(int threads, int64_t bytes) {
  using Clock = std::chrono::steady_clock;
  bytes = bytes / 4096 * 4096;
  Arena arena;
  std::byte* data = arena.reserve(bytes);
  std::shared_ptr<ThreadPool> pool = ThreadPool::shared(threads);
  std::vector<uint64_t> sums(static_cast<size_t>(threads) * 8);
  double best = 0;
  pool->run(threads, [&](Team& team) {
    int64_t begin, end;
    team.range(bytes, 4096, begin, end);
    std::memset(data + begin, 1, static_cast<size_t>(end - begin));
  });
  for (int pass = 0; pass < 5; ++pass) {
    const auto start = Clock::now();
    pool->run(threads, [&](Team& team) {
      int64_t begin, end;
      team.range(bytes, 4096, begin, end);
      // Eight independent sums over whole lines: enough loads in flight, and the compiler vectorises them.
      uint64_t sum[8] = {};
      const uint64_t* words = reinterpret_cast<const uint64_t*>(data + begin);
      const int64_t count = (end - begin) / 8;
      for (int64_t i = 0; i < count; i += 8)
        for (int k = 0; k < 8; ++k) sum[k] += words[i + k];
      for (int k = 0; k < 8; ++k) sums[static_cast<size_t>(team.thread()) * 8 + static_cast<size_t>(k)] += sum[k];
    });
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    if (static_cast<double>(bytes) / seconds > best) best = static_cast<double>(bytes) / seconds;
  }
  uint64_t total = 0;
  for (uint64_t sum : sums) total += sum;
  return total == 0 ? 0 : best;  // uses the sums, so that no read is optimised away
}

}  // namespace vivace

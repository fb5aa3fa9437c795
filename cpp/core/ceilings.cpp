#include "core/ceilings.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <vector>

#include "core/memory/arena.h"
#include "core/thread_pool.h"

namespace vivace {
namespace {

const CeilingLoops& loops_of(Isa isa) {
  switch (isa) {
#if defined(VIVACE_HAS_AVX512)
    case Isa::avx512:
      return avx512::ceiling_loops;
#endif
#if defined(VIVACE_HAS_AVX2)
    case Isa::avx2:
      return avx2::ceiling_loops;
#endif
#if defined(VIVACE_HAS_I8MM)
    case Isa::i8mm:
      return i8mm::ceiling_loops;
#endif
#if defined(VIVACE_HAS_NEON)
    case Isa::neon:
      return neon::ceiling_loops;
#endif
    default:
      return baseline::ceiling_loops;
  }
}

// The best of `passes` runs of `body` on the team, in units of what body returns (per member) per second.
template <class Body>
double best_rate(ThreadPool& pool, int threads, int passes, Body&& body) {
  using Clock = std::chrono::steady_clock;
  double best = 0;
  for (int pass = 0; pass < passes; ++pass) {
    std::vector<double> work(static_cast<size_t>(threads) * 8);
    const auto start = Clock::now();
    pool.run(threads, [&](Team& team) { work[static_cast<size_t>(team.thread()) * 8] = body(team); });
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    double total = 0;
    for (double part : work) total += part;
    best = std::max(best, total / seconds);
  }
  return best;
}

// One after the other, as in decoding, so that the members are awake.
double empty_region(ThreadPool& pool, int threads) {
  using Clock = std::chrono::steady_clock;
  std::vector<double> seconds(1001);
  const std::function<void(Team&)> nothing = [](Team&) {};
  for (double& each : seconds) {
    const auto start = Clock::now();
    pool.run(threads, nothing);
    each = std::chrono::duration<double>(Clock::now() - start).count();
  }
  std::nth_element(seconds.begin(), seconds.begin() + 500, seconds.end());
  return seconds[500];
}

}  // namespace

Ceilings measure_ceilings(int threads, int64_t bytes, Isa isa) {
  const CeilingLoops& loops = loops_of(isa);
  const std::shared_ptr<ThreadPool> pool = ThreadPool::shared(threads);
  bytes = std::max<int64_t>(bytes / 4096, threads) * 4096;
  Arena arena;
  const std::byte* data = arena.reserve(bytes);
  // Results end up here, so that no loop can be left out.
  std::atomic<uint64_t> sink{0};
  const auto share = [&](Team& team, int64_t& begin, int64_t& end) { team.range(bytes, 4096, begin, end); };
  pool->run(threads, [&](Team& team) {
    int64_t begin, end;
    share(team, begin, end);
    std::memset(const_cast<std::byte*>(data) + begin, 1, static_cast<size_t>(end - begin));
  });
  Ceilings ceilings{};
  ceilings.bytes_per_second = best_rate(*pool, threads, 5, [&](Team& team) {
    int64_t begin, end;
    share(team, begin, end);
    sink += loops.read(reinterpret_cast<const uint8_t*>(data) + begin, end - begin);
    return static_cast<double>(end - begin);
  });
  const int64_t rounds = 400000;
  ceilings.float_operations = best_rate(*pool, threads, 5, [&](Team&) {
    int64_t operations;
    sink += static_cast<uint64_t>(loops.float_multiply_add(rounds, operations));
    return static_cast<double>(operations);
  });
  ceilings.int8_operations = best_rate(*pool, threads, 5, [&](Team&) {
    int64_t operations;
    sink += static_cast<uint32_t>(loops.int8_multiply_add(rounds, operations));
    return static_cast<double>(operations);
  });
  ceilings.region_seconds = empty_region(*pool, threads);
  return ceilings;
}

}  // namespace vivace

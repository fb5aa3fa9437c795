#include "core/thread_pool.h"

#include <algorithm>
#include <chrono>

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif

namespace vivace {
namespace {

constexpr auto awake_after_run = std::chrono::microseconds(200);

// One polite turn of a spin loop.
inline void relax() {
#if defined(__x86_64__) || defined(_M_X64)
  _mm_pause();
#elif defined(__aarch64__) && !defined(_MSC_VER)
  asm volatile("yield");
#endif
}

// Waits until `value` is no longer `old`: spins for about 30 us, then sleeps, because on a busy machine the thread that
// is waited for may need this core. Whoever changes the value calls notify_all.
template <class T>
void wait_while(const std::atomic<T>& value, T old) {
  for (int turn = 0; turn < 3000; ++turn) {
    if (value.load(std::memory_order_acquire) != old) return;
    relax();
  }
  value.wait(old, std::memory_order_acquire);
}

}  // namespace

void Team::barrier() {
  if (threads_ == 1) return;
  share_ = 0;
  const int phase = state_.phase_.load(std::memory_order_relaxed);
  if (state_.arrived_.fetch_add(1, std::memory_order_acq_rel) == threads_ - 1) {
    state_.arrived_.store(0, std::memory_order_relaxed);
    for (std::atomic<int64_t>& next : state_.next_) next.store(0, std::memory_order_relaxed);
    state_.phase_.store(phase + 1, std::memory_order_release);
    state_.phase_.notify_all();
    return;
  }
  wait_while(state_.phase_, phase);
}

int64_t Team::next(int64_t chunk) {
  return state_.next_[share_].fetch_add(chunk, std::memory_order_relaxed);
}

// A part is half of an even share of what is left.
bool Team::next_part(int64_t count, int64_t least, int64_t& begin, int64_t& end) {
  std::atomic<int64_t>& next = state_.next_[share_];
  begin = next.load(std::memory_order_relaxed);
  do {
    if (begin >= count) return false;
    const int64_t part = std::max(least, (count - begin) / (2 * threads_));
    end = std::min(count, begin + part);
  } while (!next.compare_exchange_weak(begin, end, std::memory_order_relaxed));
  return true;
}

std::shared_ptr<ThreadPool> ThreadPool::shared(int threads) {
  static std::mutex mutex;
  static std::weak_ptr<ThreadPool> current;
  std::lock_guard lock(mutex);
  std::shared_ptr<ThreadPool> pool = current.lock();
  if (!pool || pool->size() < threads) {
    // A larger pool replaces the smaller one, which lives until its owners are gone.
    pool = std::make_shared<ThreadPool>(threads);
    current = pool;
  }
  return pool;
}

ThreadPool::ThreadPool(int threads) {
  for (int member = 1; member < threads; ++member) workers_.emplace_back([this, member] { work(member); });
}

ThreadPool::~ThreadPool() {
  call(everyone);
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::call(uint64_t threads) {
  const uint64_t runs = call_.load(std::memory_order_relaxed) / call_unit + 1;
  call_.store(runs * call_unit + threads, std::memory_order_release);
  call_.notify_all();  // looks first whether anybody sleeps
}

void ThreadPool::run(int threads, const std::function<void(Team&)>& task, const std::function<void()>& waits) {
  std::unique_lock turn(callers_, std::try_to_lock);
  if (!turn.owns_lock()) {
    if (waits) waits();
    turn.lock();
  }
  if (threads > size()) threads = size();
  TeamState state;
  if (threads > 1) {
    job_ = {&task, &state, threads};
    pending_.store(threads - 1, std::memory_order_relaxed);
    call(static_cast<uint64_t>(threads));
  }
  Team team(0, threads, state);
  task(team);
  if (threads > 1)
    for (int left = pending_.load(std::memory_order_acquire); left != 0;
         left = pending_.load(std::memory_order_acquire))
      wait_while(pending_, left);
}

void ThreadPool::work(int member) {
  uint64_t seen = 0;
  while (true) {
    seen = next_call(seen);
    const uint64_t threads = seen % call_unit;
    if (threads == everyone) return;
    // A member of the team is waited for, so the job cannot change under it; others have nothing to read.
    if (static_cast<uint64_t>(member) >= threads) continue;
    Team team(member, job_.threads, *job_.state);
    (*job_.task)(team);
    // The last one's news is all that the caller wants to be woken for.
    if (pending_.fetch_sub(1, std::memory_order_acq_rel) == 1) pending_.notify_all();
  }
}

// Stays awake for a moment after a run, because the next round usually follows at once and waking a thread takes 50 us;
// then sleeps, so that an idle process costs nothing.
uint64_t ThreadPool::next_call(uint64_t seen) const {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point end = Clock::now() + awake_after_run;
  do {
    for (int turn = 0; turn < 64; ++turn) {
      const uint64_t call = call_.load(std::memory_order_acquire);
      if (call != seen) return call;
      relax();
    }
  } while (Clock::now() < end);
  call_.wait(seen, std::memory_order_acquire);
  return call_.load(std::memory_order_acquire);
}

}  // namespace vivace

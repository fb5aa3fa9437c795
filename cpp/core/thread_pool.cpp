#include "core/thread_pool.h"

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif

namespace vivace {
namespace {

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
  const int phase = state_.phase_.load(std::memory_order_relaxed);
  if (state_.arrived_.fetch_add(1, std::memory_order_acq_rel) == threads_ - 1) {
    state_.arrived_.store(0, std::memory_order_relaxed);
    state_.next_.store(0, std::memory_order_relaxed);
    state_.phase_.store(phase + 1, std::memory_order_release);
    state_.phase_.notify_all();
    return;
  }
  wait_while(state_.phase_, phase);
}

int64_t Team::next(int64_t chunk) {
  return state_.next_.fetch_add(chunk, std::memory_order_relaxed);
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
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
    generation_.fetch_add(1, std::memory_order_release);
  }
  wake_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::run(int threads, const std::function<void(Team&)>& task) {
  std::lock_guard turn(callers_);
  if (threads > size()) threads = size();
  TeamState state;
  if (threads > 1) {
    {
      std::lock_guard lock(mutex_);
      job_ = {&task, &state, threads};
      pending_.store(static_cast<int>(workers_.size()), std::memory_order_relaxed);
      generation_.fetch_add(1, std::memory_order_release);
    }
    wake_.notify_all();
  }
  Team team(0, threads, state);
  task(team);
  // Workers outside this team report as well, so that none can read a later job's data too early.
  if (threads > 1)
    for (int left = pending_.load(std::memory_order_acquire); left != 0;
         left = pending_.load(std::memory_order_acquire))
      wait_while(pending_, left);
}

void ThreadPool::work(int member) {
  uint64_t seen = 0;
  while (true) {
    // Stay awake for a moment after a run: the next round usually follows at once.
    for (int turn = 0; turn < 20000 && generation_.load(std::memory_order_acquire) == seen; ++turn) relax();
    Job job;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] { return generation_.load(std::memory_order_relaxed) != seen; });
      seen = generation_.load(std::memory_order_relaxed);
      if (stop_) return;
      job = job_;
    }
    if (member < job.threads) {
      Team team(member, job.threads, *job.state);
      (*job.task)(team);
    }
    pending_.fetch_sub(1, std::memory_order_release);
    pending_.notify_all();
  }
}

}  // namespace vivace

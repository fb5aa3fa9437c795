// The process's only thread pool. A run hands the same function to every member of a team; between ops the members
// meet at a barrier that spins briefly (0.3 us) before it sleeps, because a decode step has 100-200 barriers.
#pragma once
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace vivace {

// What one member knows of its team. Work shares must not depend on timing where sums are formed: the result of an op
// is the same for every team size.
class Team {
 public:
  Team(int thread, int threads, class TeamState& state) : thread_(thread), threads_(threads), state_(state) {}
  int thread() const { return thread_; }
  int threads() const { return threads_; }
  // Returns when all members have arrived.
  void barrier();
  // Hands out [0, count) in order, a chunk at a time, to whoever asks first. All members must call it with the same
  // arguments, at most `shares` times between two barriers. Body: void(int64_t begin, int64_t end).
  static constexpr int shares = 4;
  template <class Body>
  void share(int64_t count, int64_t chunk, Body&& body) {
    if (threads_ == 1) {
      if (count > 0) body(int64_t{0}, count);
      return;
    }
    for (int64_t begin = next(chunk); begin < count; begin = next(chunk))
      body(begin, begin + chunk < count ? begin + chunk : count);
    ++share_;
  }
  // The same in parts that get smaller towards the end, so that members end together though some began late or were
  // held up; `least`: of a part, but for the last one.
  template <class Body>
  void share_out(int64_t count, int64_t least, Body&& body) {
    if (threads_ == 1) {
      if (count > 0) body(int64_t{0}, count);
      return;
    }
    int64_t begin, end;
    while (next_part(count, least, begin, end)) body(begin, end);
    ++share_;
  }
  // The static share of [0, count) in units of `unit`: cheaper than share() for even work.
  void range(int64_t count, int64_t unit, int64_t& begin, int64_t& end) const {
    const int64_t units = (count + unit - 1) / unit;
    begin = units * thread_ / threads_ * unit;
    end = units * (thread_ + 1) / threads_ * unit;
    if (begin > count) begin = count;
    if (end > count) end = count;
  }

 private:
  int64_t next(int64_t chunk);
  bool next_part(int64_t count, int64_t least, int64_t& begin, int64_t& end);
  int thread_;
  int threads_;
  int share_ = 0;  // shares since the last barrier
  TeamState& state_;
};

class TeamState {
  friend class Team;
  alignas(64) std::atomic<int> arrived_{0};
  alignas(64) std::atomic<int> phase_{0};
  alignas(64) std::atomic<int64_t> next_[Team::shares] = {};
};

class ThreadPool {
 public:
  // The pool shared by everything in this process, with at least `threads` members; it ends with its last owner.
  static std::shared_ptr<ThreadPool> shared(int threads);
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return static_cast<int>(workers_.size()) + 1; }
  // Calls task(team) on `threads` (<= size) members, the caller among them; returns when all are done. Runs of
  // different callers take turns; `waits`, unless empty, is called when another one's run comes first. Tasks must not
  // throw.
  void run(int threads, const std::function<void(Team&)>& task, const std::function<void()>& waits = {});

 private:
  struct Job {
    const std::function<void(Team&)>* task;
    TeamState* state;
    int threads;
  };
  static constexpr uint64_t call_unit = 512;  // a call is the number of runs so far · 512 + the threads that it wants
  static constexpr uint64_t everyone = 511;   // the pool ends
  void call(uint64_t threads);
  void work(int member);
  uint64_t next_call(uint64_t seen) const;
  std::mutex callers_;  // one run at a time
  Job job_{};           // written before the call, read by the team's members
  alignas(64) std::atomic<uint64_t> call_{0};
  alignas(64) std::atomic<int> pending_{0};
  std::vector<std::thread> workers_;
};

}  // namespace vivace

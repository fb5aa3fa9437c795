// A mutex that is taken in the order in which threads asked for it: who takes it again and again lets others in
// between.
#pragma once
#include <condition_variable>
#include <cstdint>
#include <mutex>

namespace vivace {

class FairMutex {
 public:
  void lock() {
    std::unique_lock guard(mutex_);
    const uint64_t ticket = next_++;
    turned_.wait(guard, [&] { return serving_ == ticket; });
  }
  bool try_lock() {
    std::lock_guard guard(mutex_);
    if (serving_ != next_) return false;
    ++next_;
    return true;
  }
  void unlock() {
    {
      std::lock_guard guard(mutex_);
      ++serving_;
      if (serving_ == next_) return;
    }
    turned_.notify_all();
  }
  // For its holder: somebody else waits for it.
  bool wanted() {
    std::lock_guard guard(mutex_);
    return next_ - serving_ > 1;
  }

 private:
  std::mutex mutex_;
  std::condition_variable turned_;
  uint64_t next_ = 0, serving_ = 0;
};

}  // namespace vivace

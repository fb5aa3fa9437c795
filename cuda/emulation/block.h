// A block of an emulated kernel: its threads as fibers of one operating-system thread, barriers, exchange within warps,
// shared memory, and what is checked of them. Mistakes are reports of the launch, as CUDA's own errors are.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "cuda/emulation/fiber.h"
#include "cuda/emulation/shared_memory.h"

namespace vivace::emulation {

struct Index {
  unsigned x = 0, y = 0, z = 0;
};
struct Extent {
  unsigned x = 1, y = 1, z = 1;
};

class Block;

// What lanes of a warp meet for. Only sync_lanes orders their accesses to memory.
enum ExchangeKind { sync_lanes, shuffle, vote, reduce_lanes, match_lanes, matrices, matrices_seen };

// One exchange between lanes of a warp that is under way or being read.
struct Exchange {
  unsigned mask = 0, arrived = 0, unread = 0;
  int kind = 0;
  uint64_t values[32] = {};
  bool complete = false, used = false;
};

// A copy into shared memory that was asked for and is not waited for yet.
struct PendingCopy {
  SharedPlace to;
  const void* from;  // null: zeros
};

struct Thread {
  enum class State { ready, barrier, exchange, done };
  Fiber fiber;
  Index index;
  unsigned rank = 0;  // in its block
  State state = State::ready;
  Exchange* exchange = nullptr;
  WarpOrder order;
  int barrier_value = 0;
  std::vector<std::vector<PendingCopy>> copies;  // groups in the order of their commits; the last one is open
  Block* block = nullptr;
  int lane() const { return static_cast<int>(rank % 32); }
};

// What runs on this operating-system thread; null outside of kernels.
extern thread_local Thread* this_thread __attribute__((tls_model("initial-exec")));

// The kernel and its sizes; the same for all blocks.
struct LaunchInfo {
  const char* name = "";
  Extent grid, block;
  size_t dynamic_bytes = 0;
  void (*body)(void*) = nullptr;  // calls the kernel with its arguments
  void* arguments = nullptr;
};

class Block {
 public:
  Block() = default;
  // Runs one block; false when a mistake was found, which error() then tells.
  bool run(const LaunchInfo& launch, Index index);
  const std::string& error() const { return error_; }

  const LaunchInfo& launch() const { return *launch_; }
  Index index() const { return index_; }

  // Called by threads. Each waits until all threads of the block are there; gives the sum of all values.
  int barrier(int value);
  // Waits for the lanes of the mask, all with the same kind; then values[lane] can be read until release().
  Exchange& exchange(unsigned mask, int kind, uint64_t value);
  void release(Exchange& exchange);

  // Shared memory of the block: the same bytes for every thread. `key` tells arrays apart; null: the dynamic ones.
  std::byte* shared(const void* key, size_t bytes, size_t alignment);
  size_t dynamic_bytes() const { return launch_->dynamic_bytes; }
  void check_read(const SharedPlace& place);
  void check_write(const SharedPlace& place, const void* value);
  void check_change(const SharedPlace& place);
  void begin_copy(const PendingCopy& copy);
  void end_copy(const PendingCopy& copy);

  // Ends this block with a report; does not return.
  [[noreturn]] void fail(const std::string& what);

 private:
  void start(Index index);
  bool release_barrier();
  std::string waiting() const;
  void order_lanes(size_t warp, unsigned mask);
  static void enter(void* thread);

  const LaunchInfo* launch_ = nullptr;
  Index index_;
  std::vector<Thread> threads_;
  std::vector<Exchange> exchanges_;  // 8 per warp
  SharedMemory memory_;
  int barrier_sum_ = 0;
  std::string error_;
};

}  // namespace vivace::emulation

// The shared memory of an emulated block and what is known of each byte: whether it was written, whether a copy is on
// its way there, and who wrote and read it last, so that accesses that no barrier orders are found in whatever order
// the fibers ran.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace vivace::emulation {

// When a thread did something: between which barriers of its block (an epoch), and after how many __syncwarp.
struct Moment {
  uint64_t epoch : 33, thread : 10, clock : 20, atomic : 1;
};

// What a thread knows of its warp: lane l's accesses up to clock seen[l] came before what this thread does now.
struct WarpOrder {
  uint32_t clock = 1;
  uint32_t seen[32] = {};
};

// A view of an array or of a part of it, and the place in it that is meant.
struct SharedPlace {
  const std::byte* begin;  // of the view
  std::byte* at;
  size_t bytes, size;  // of the access, of the view
};

class SharedMemory {
 public:
  // What a block of compute capability 9.0 may have.
  static constexpr size_t limit = 227 * 1024;

  // For a new block: nothing is written.
  void start(size_t dynamic_bytes);
  // After a barrier of the whole block.
  void next_epoch() { ++epoch_; }

  // The dynamic bytes, and the array of a key; null when there is no room left.
  std::byte* dynamic() { return memory_.data(); }
  std::byte* array(const void* key, size_t bytes, size_t alignment);

  // Each gives what is wrong, or nothing. `order` and `thread` are the caller's; `value` is what will be written.
  std::string read(const SharedPlace& place, unsigned thread, const WarpOrder& order);
  std::string write(const SharedPlace& place, unsigned thread, const WarpOrder& order, const void* value);
  // A change that others make meanwhile, in the same way, do not disturb.
  std::string change(const SharedPlace& place, unsigned thread, const WarpOrder& order);
  // An asynchronous copy may write from when it is asked for until it is waited for.
  std::string begin_copy(const SharedPlace& place, unsigned thread, const WarpOrder& order);
  void end_copy(const SharedPlace& place, unsigned thread, const WarpOrder& order, const void* value);

 private:
  struct Array {
    const void* key;
    size_t offset;
  };
  // The last write and the last two reads by different threads, by different warps where there were such.
  struct Cell {
    Moment write, read, other_read;
  };
  enum State : uint8_t { unwritten, written, in_flight };

  std::string misplaced(const SharedPlace& place, const char* what) const;
  std::string unreadable(const SharedPlace& place, size_t from) const;
  bool all_are(State state, size_t from, size_t bytes) const;
  bool any_is(State state, size_t from, size_t bytes) const;
  Moment now(unsigned thread, const WarpOrder& order) const { return {epoch_, thread, order.clock, 0}; }
  bool ordered(Moment before, unsigned thread, const WarpOrder& order) const;
  // Calls visit(cell, offset, bytes) for words, or for bytes where a word's bytes were accessed one by one; stops at
  // the first that gives false.
  template <class Visit>
  void each_cell(size_t from, size_t bytes, Visit&& visit);
  // The other thread of a race, or -1.
  int other_writer(size_t from, size_t bytes, unsigned thread, const WarpOrder& order, const void* value);
  int other_reader(size_t from, size_t bytes, unsigned thread, const WarpOrder& order);

  std::vector<std::byte> memory_ = std::vector<std::byte>(limit + 16);
  std::vector<State> states_ = std::vector<State>(limit + 16);
  std::vector<bool> split_ = std::vector<bool>(limit / 4 + 4);
  std::vector<Cell> cells_ = std::vector<Cell>(limit + 16);
  std::vector<Array> arrays_;
  size_t used_ = limit;
  uint64_t epoch_ = 0;
};

}  // namespace vivace::emulation

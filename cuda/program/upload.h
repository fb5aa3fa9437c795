// Moves bytes of the host to the card as fast as the link goes: several threads copy a piece into pinned memory while
// the card fetches the ones before, and what a kernel makes of a piece overlaps with the copy of the next.
#pragma once
#include <functional>

#include "core/thread_pool.h"
#include "cuda/core/memory.h"
#include "cuda/core/stream.h"

namespace vivace::cuda {

class Upload {
 public:
  // One thread fills pinned memory with about 10 GB/s, a link carries up to 50.
  static constexpr int most_threads = 8;
  static constexpr int64_t piece = int64_t{8} << 20;  // of what is moved at a time

  Upload();
  ~Upload();
  // `bytes` from host memory to the card's.
  void copy(std::byte* to, const std::byte* from, int64_t bytes);
  // The same into memory of its own, from where `place(stored, stream)` brings them to theirs.
  void copy_by_way(const std::byte* from, int64_t bytes,
                   const std::function<void(const std::byte* stored, cudaStream_t stream)>& place);
  // Until everything has arrived.
  void wait();
  int64_t sent() const;

 private:
  // In turns; each has a stream, so that a piece waits for none but the one that had its buffers before.
  struct Slot {
    PinnedBuffer pinned;
    DeviceBuffer stored;
    Stream stream;
    Event ready;
  };
  static constexpr int slot_count = 4;
  Slot& fill(const std::byte* from, int64_t bytes);

  Slot slots_[slot_count];
  int turn_ = 0;
  ThreadPool threads_;
};

}  // namespace vivace::cuda

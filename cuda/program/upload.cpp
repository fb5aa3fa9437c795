#include "cuda/program/upload.h"

#include <algorithm>
#include <cstring>
#include <thread>

namespace vivace::cuda {

Upload::Upload() : threads_(std::clamp(static_cast<int>(std::thread::hardware_concurrency()), 1, most_threads)) {}

Upload::~Upload() {
  for (Slot& slot : slots_) cudaStreamSynchronize(slot.stream.get());  // copies may be under way after an error
}

Upload::Slot& Upload::fill(const std::byte* from, int64_t bytes) {
  Slot& slot = slots_[turn_];
  turn_ = (turn_ + 1) % slot_count;
  slot.ready.wait();
  slot.pinned.reserve(std::max(piece, bytes));
  constexpr int64_t chunk = int64_t{256} << 10;
  threads_.run(threads_.size(), [&](Team& team) {
    team.share(bytes, chunk, [&](int64_t begin, int64_t end) {
      std::memcpy(slot.pinned.data() + begin, from + begin, static_cast<size_t>(end - begin));
    });
  });
  return slot;
}

void Upload::copy(std::byte* to, const std::byte* from, int64_t bytes) {
  Slot& slot = fill(from, bytes);
  slot.stream.copy_to_device(to, slot.pinned.data(), bytes);
  slot.ready.record(slot.stream);
}

void Upload::copy_by_way(const std::byte* from, int64_t bytes,
                         const std::function<void(const std::byte* stored, cudaStream_t stream)>& place) {
  Slot& slot = fill(from, bytes);
  slot.stored.reserve(std::max(piece, bytes));
  slot.stream.copy_to_device(slot.stored.data(), slot.pinned.data(), bytes);
  place(slot.stored.data(), slot.stream.get());
  slot.ready.record(slot.stream);
}

void Upload::wait() {
  for (Slot& slot : slots_) slot.stream.wait();
}

int64_t Upload::sent() const {
  int64_t bytes = 0;
  for (const Slot& slot : slots_) bytes += slot.stream.sent();
  return bytes;
}

}  // namespace vivace::cuda

// Pages of a KV cache in the card's memory, taken in slabs, and the moves of their bytes. Moves have a stream of their
// own and are over when they return: rounds in flight only touch pages of other cells.
#pragma once
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "cuda/core/memory.h"
#include "cuda/core/stream.h"
#include "device/table.h"

namespace vivace::cuda {

class PagePool {
 public:
  PagePool(int device, int64_t page_bytes);

  // Null: the card has no memory left.
  std::byte* map();
  void unmap(std::byte* page);
  void copy(const VivaceDeviceStrip* strips, int64_t count);
  void read(const VivaceDeviceStrip* strips, int64_t count);
  void write(const VivaceDeviceStrip* strips, int64_t count);

 private:
  struct Slab {
    DeviceBuffer memory;
    std::vector<std::byte*> free;
    int64_t used = 0;
  };
  std::unique_ptr<Slab> new_slab() const;
  enum class Move { copy, read, write };
  void move(Move how, const VivaceDeviceStrip* strips, int64_t count);

  int device_;
  int64_t page_bytes_, slab_pages_;
  std::vector<std::unique_ptr<Slab>> slabs_;
  std::mutex moving_;  // runs that go on move cells, too
  Stream stream_;
  PinnedBuffer host_;  // strips, then their bytes
  DeviceBuffer card_;
};

}  // namespace vivace::cuda

#include "core/memory/arena.h"

#include <string>

#include "core/error.h"
#include "core/memory/system.h"

namespace vivace {

Arena::~Arena() {
  release();
}

void Arena::release() {
  unmap_memory(data_, size_);
  data_ = nullptr;
  size_ = 0;
}

std::byte* Arena::reserve(int64_t bytes) {
  if (bytes <= size_) return data_;
  release();
  data_ = map_memory(bytes);
  if (data_ == nullptr)
    throw Error("OUT_OF_MEMORY", "The system has no " + std::to_string(bytes) + " bytes for activations",
                "Use fewer rows per run, or close other programs.");
  size_ = bytes;
  return data_;
}

}  // namespace vivace

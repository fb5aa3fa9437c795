// One block of memory that only grows between runs and goes back to the system when it is freed.
#pragma once
#include <cstddef>
#include <cstdint>

namespace vivace {

class Arena {
 public:
  Arena() = default;
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  // At least `bytes` of memory, page-aligned; the old contents are lost when it grows. Throws OUT_OF_MEMORY.
  std::byte* reserve(int64_t bytes);
  // Gives everything back.
  void release();
  std::byte* data() const { return data_; }
  int64_t size() const { return size_; }

 private:
  std::byte* data_ = nullptr;
  int64_t size_ = 0;
};

}  // namespace vivace

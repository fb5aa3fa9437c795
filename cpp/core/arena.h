// One aligned block of memory that only grows between runs. Large blocks ask for huge pages (3-8 % more bandwidth).
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
  // At least `bytes` of memory, 64-byte aligned; the old contents are lost when it grows. Throws OUT_OF_MEMORY.
  std::byte* reserve(int64_t bytes);
  std::byte* data() const { return data_; }
  int64_t size() const { return size_; }

 private:
  std::byte* data_ = nullptr;
  int64_t size_ = 0;
};

}  // namespace vivace

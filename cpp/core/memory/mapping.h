// A read-only memory mapping of a whole file, or memory of its own. Weights are used where they lie.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

namespace vivace {

class Mapping {
 public:
  // UTF-8 path. Throws FILE_NOT_FOUND or FILE_UNREADABLE.
  explicit Mapping(const std::string& path);
  // Zeroed memory without a file, for weights that are made while loading. Throws OUT_OF_MEMORY.
  explicit Mapping(int64_t bytes);
  ~Mapping();
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  const std::byte* data() const { return data_; }
  int64_t size() const { return size_; }
  // Null for files.
  std::byte* writable() const { return memory_; }
  // Tells the system that the range will be read soon, in order.
  void will_need(int64_t offset, int64_t bytes) const;

 private:
  const std::byte* data_ = nullptr;
  std::byte* memory_ = nullptr;
  int64_t size_ = 0;
  void* handle_ = nullptr;  // Windows only
};

}  // namespace vivace

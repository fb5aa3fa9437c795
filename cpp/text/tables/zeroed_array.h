// A table that begins as zero bytes, on cache lines. The system hands such memory out page by page when it is first
// touched, so that building a tokenizer does not write its empty tables.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <type_traits>

namespace vivace {

template <class T>
class ZeroedArray {
  static_assert(std::is_trivially_copyable_v<T> && alignof(T) <= 64, "zero bytes must be a value");

 public:
  explicit ZeroedArray(size_t count) : memory_(std::calloc(count + 64 / sizeof(T) + 1, sizeof(T))) {
    if (memory_ == nullptr) throw std::bad_alloc();
    data_ = reinterpret_cast<T*>((reinterpret_cast<uintptr_t>(memory_.get()) + 63) & ~static_cast<uintptr_t>(63));
  }
  T& operator[](size_t i) { return data_[i]; }
  const T& operator[](size_t i) const { return data_[i]; }

 private:
  struct Free {
    void operator()(void* memory) const { std::free(memory); }
  };
  std::unique_ptr<void, Free> memory_;
  T* data_;
};

}  // namespace vivace

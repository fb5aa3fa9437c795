// A table that begins as zero bytes, on cache lines. The system hands such memory out page by page when it is first
// touched, so that building a tokenizer does not write its empty tables; large ones in pages of 2 MB, because 2000
// small ones take 2.5 ms to be handed out.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <type_traits>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace vivace {

template <class T>
class ZeroedArray {
  static_assert(std::is_trivially_copyable_v<T> && alignof(T) <= 64, "zero bytes must be a value");

 public:
  explicit ZeroedArray(size_t count) {
    const size_t bytes = count * sizeof(T);
    if (bytes >= huge && take_huge(bytes)) return;
    memory_.reset(std::calloc(bytes + 64, 1));
    if (memory_ == nullptr) throw std::bad_alloc();
    data_ = aligned(memory_.get(), 64);
  }
  T& operator[](size_t i) { return data_[i]; }
  const T& operator[](size_t i) const { return data_[i]; }

 private:
  static constexpr size_t huge = size_t{2} << 20;

  struct Free {
    size_t mapped = 0;
    void operator()(void* memory) const {
#if defined(__linux__)
      if (mapped > 0) {
        munmap(memory, mapped);
        return;
      }
#endif
      std::free(memory);
    }
  };

  static T* aligned(void* memory, size_t to) {
    return reinterpret_cast<T*>((reinterpret_cast<uintptr_t>(memory) + to - 1) & ~static_cast<uintptr_t>(to - 1));
  }

  bool take_huge(size_t bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    const size_t mapped = bytes + huge;
    void* memory = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return false;
    memory_ = {memory, Free{mapped}};
    data_ = aligned(memory, huge);
    madvise(data_, bytes, MADV_HUGEPAGE);
    return true;
#else
    static_cast<void>(bytes);
    return false;
#endif
  }

  std::unique_ptr<void, Free> memory_;
  T* data_ = nullptr;
};

}  // namespace vivace

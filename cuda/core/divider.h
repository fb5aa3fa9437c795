// Arrays that lie one after the other in a block of memory.
#pragma once
#include <cstddef>
#include <cstdint>

namespace vivace::cuda {

// Takes them out of it; with null it only counts bytes. Each begins at a multiple of 256 bytes.
class Divider {
 public:
  explicit Divider(std::byte* base) : base_(base) {}
  template <class T>
  T* take(int64_t count) {
    T* place = base_ == nullptr ? nullptr : reinterpret_cast<T*>(base_ + used_);
    used_ += (count * static_cast<int64_t>(sizeof(T)) + 255) / 256 * 256;
    return place;
  }
  int64_t used() const { return used_; }

 private:
  std::byte* base_;
  int64_t used_ = 0;
};

}  // namespace vivace::cuda

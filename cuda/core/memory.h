// Owned memory of the card, and of the host where the card can copy from and to it by itself.
#pragma once
#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <utility>

#include "cuda/core/error.h"

namespace vivace::cuda {

[[noreturn]] inline void throw_out_of_memory(int64_t bytes, const char* where) {
  cudaGetLastError();
  size_t free = 0, all = 0;
  cudaMemGetInfo(&free, &all);
  throw Error("OUT_OF_MEMORY",
              "There are no " + mebibytes(bytes) + " left " + where + "; " + mebibytes(static_cast<int64_t>(free)) +
                  " of the card's " + mebibytes(static_cast<int64_t>(all)) + " are free",
              "Use weights of fewer bits, a shorter context, fewer sessions, or close other programs on the card.");
}

struct OnDevice {
  static constexpr const char* name = "on the graphics card";
  static cudaError_t take(void** data, size_t bytes) { return cudaMalloc(data, bytes); }
  static void give(void* data) { cudaFree(data); }
};
struct OnHost {
  static constexpr const char* name = "in pinned memory of the host";
  static cudaError_t take(void** data, size_t bytes) { return cudaMallocHost(data, bytes); }
  static void give(void* data) { cudaFreeHost(data); }
};

template <class Place>
class Buffer {
 public:
  Buffer() = default;
  ~Buffer() { release(); }
  Buffer(Buffer&& other) noexcept : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  Buffer& operator=(Buffer&&) = delete;

  // At least so many bytes; what was there is lost when it grows. Throws OUT_OF_MEMORY with figures.
  void reserve(int64_t bytes) {
    if (bytes <= size_) return;
    release();
    void* data = nullptr;
    const cudaError_t error = Place::take(&data, static_cast<size_t>(bytes));
    if (error == cudaErrorMemoryAllocation) throw_out_of_memory(bytes, Place::name);
    check(error, "allocation");
    data_ = static_cast<std::byte*>(data);
    size_ = bytes;
  }
  void release() {
    if (data_ != nullptr) Place::give(data_);
    data_ = nullptr;
    size_ = 0;
  }
  std::byte* data() const { return data_; }
  int64_t size() const { return size_; }

 private:
  std::byte* data_ = nullptr;
  int64_t size_ = 0;
};

using DeviceBuffer = Buffer<OnDevice>;
using PinnedBuffer = Buffer<OnHost>;

}  // namespace vivace::cuda

// Shared memory. SHARED(float, sums, 32); inside a kernel declares an array of the block; dynamic_shared<float>(offset,
// count) takes one out of the bytes that the launch gave. Under nvcc these are plain arrays; under emulation each
// access is checked: its place, its alignment, and that something was written there.
#pragma once
#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace vivace::cuda {

#if defined(__CUDACC__)

template <class T>
using Shared = T*;

#define SHARED(T, name, count) __shared__ T name[count]

template <class T>
__device__ inline T* dynamic_shared(size_t offset, size_t) {
  extern __shared__ uint4 vivace_dynamic_shared[];
  return reinterpret_cast<T*>(reinterpret_cast<unsigned char*>(vivace_dynamic_shared) + offset);
}

// A vector of 4, 8 or 16 bytes from an index on, of shared or global memory.
template <class V, class T>
__device__ inline V load_as(const T* array, size_t index) {
  return *reinterpret_cast<const V*>(array + index);
}
template <class V, class T>
__device__ inline void store_as(T* array, size_t index, V value) {
  *reinterpret_cast<V*>(array + index) = value;
}

// Several threads may add to the same place of shared memory.
__device__ inline void add_shared(int* array, int index, int value) {
  atomicAdd(array + index, value);
}

#else

// A pointer into an array of a block.
template <class T>
class Shared {
 public:
  class Place {
   public:
    Place(const Shared& array, std::ptrdiff_t index) : array_(array), index_(index) {}
    operator T() const { return array_.template read<T>(index_); }
    const Place& operator=(T value) const {
      array_.template write<T>(index_, value);
      return *this;
    }
    const Place& operator=(const Place& other) const { return *this = static_cast<T>(other); }
    template <class U>
    const Place& operator+=(U value) const {
      return *this = static_cast<T>(static_cast<T>(*this) + value);
    }
    template <class U>
    const Place& operator-=(U value) const {
      return *this = static_cast<T>(static_cast<T>(*this) - value);
    }
    template <class U>
    const Place& operator*=(U value) const {
      return *this = static_cast<T>(static_cast<T>(*this) * value);
    }

   private:
    Shared array_;
    std::ptrdiff_t index_;
  };

  Shared(std::byte* begin, size_t bytes) : begin_(begin), at_(begin), bytes_(bytes) {}
  Place operator[](std::ptrdiff_t index) const { return {*this, index}; }
  Place operator*() const { return {*this, 0}; }
  Shared operator+(std::ptrdiff_t count) const {
    Shared moved = *this;
    moved.at_ += count * static_cast<std::ptrdiff_t>(sizeof(T));
    return moved;
  }

  template <class V>
  V read(std::ptrdiff_t index) const {
    const emulation::SharedPlace place = place_of(index, sizeof(V));
    emulation::this_thread->block->check_read(place);
    V value;
    std::memcpy(&value, place.at, sizeof(V));
    return value;
  }
  template <class V>
  void write(std::ptrdiff_t index, const V& value) const {
    const emulation::SharedPlace place = place_of(index, sizeof(V));
    emulation::this_thread->block->check_write(place, &value);
    std::memcpy(place.at, &value, sizeof(V));
  }
  // The threads of a block take turns.
  void add(std::ptrdiff_t index, T value) const {
    const emulation::SharedPlace place = place_of(index, sizeof(T));
    emulation::this_thread->block->check_change(place);
    T old;
    std::memcpy(&old, place.at, sizeof(T));
    old += value;
    std::memcpy(place.at, &old, sizeof(T));
  }
  emulation::SharedPlace place_of(std::ptrdiff_t index, size_t bytes) const {
    return {begin_, at_ + index * static_cast<std::ptrdiff_t>(sizeof(T)), bytes, bytes_};
  }

 private:
  std::byte* begin_;
  std::byte* at_;
  size_t bytes_;
};

inline void add_shared(const Shared<int>& array, int index, int value) {
  array.add(index, value);
}

#define SHARED(T, name, count)                                                                 \
  static const char vivace_key_##name = 0;                                                     \
  const ::vivace::cuda::Shared<T> name(                                                        \
      ::vivace::emulation::this_thread->block->shared(&vivace_key_##name, sizeof(T) * (count), \
                                                      alignof(T) < 16 ? 16 : alignof(T)),      \
      sizeof(T) * (count))

template <class T>
inline Shared<T> dynamic_shared(size_t offset, size_t count) {
  emulation::Block& block = *emulation::this_thread->block;
  if (offset + count * sizeof(T) > block.dynamic_bytes())
    block.fail("an array of " + std::to_string(count * sizeof(T)) + " bytes at " + std::to_string(offset) + " of " +
               std::to_string(block.dynamic_bytes()) + " bytes of dynamic shared memory");
  return {block.shared(nullptr, 0, 16) + offset, count * sizeof(T)};
}

// Global memory.
template <class V, class T>
inline V load_as(const T* array, size_t index) {
  const T* place = array + index;
  if (reinterpret_cast<uintptr_t>(place) % sizeof(V) != 0)
    emulation::this_thread->block->fail("a read of " + std::to_string(sizeof(V)) +
                                        " bytes of global memory: misaligned");
  V value;
  std::memcpy(&value, place, sizeof(V));
  return value;
}
template <class V, class T>
inline void store_as(T* array, size_t index, V value) {
  T* place = array + index;
  if (reinterpret_cast<uintptr_t>(place) % sizeof(V) != 0)
    emulation::this_thread->block->fail("a write of " + std::to_string(sizeof(V)) +
                                        " bytes of global memory: misaligned");
  std::memcpy(place, &value, sizeof(V));
}
template <class V, class T>
inline V load_as(const Shared<T>& array, size_t index) {
  return array.template read<V>(static_cast<std::ptrdiff_t>(index));
}
template <class V, class T>
inline void store_as(const Shared<T>& array, size_t index, V value) {
  array.template write<V>(static_cast<std::ptrdiff_t>(index), value);
}

#endif

}  // namespace vivace::cuda

// Copies that go on while a thread computes: cp.async from global to shared memory (PTX ISA, "cp.async"), and ldmatrix
// and movmatrix, by which a warp reads and turns 8 × 8 matrices of 16-bit numbers as mma wants them.
//
// Under emulation a copy happens when it is waited for, at the latest moment that the manual allows: a wait that is
// missing shows as a read of a place to which a copy is under way.
#pragma once
#include "cuda/core/shared.h"

namespace vivace::cuda {

#if defined(__CUDACC__)

__device__ inline unsigned shared_address(const void* place) {
  return static_cast<unsigned>(__cvta_generic_to_shared(place));
}

// 4, 8 or 16 aligned bytes; zeros, and nothing is read, when `there` is false.
template <int bytes, class T>
__device__ inline void copy_async(T* array, size_t index, const void* from, bool there = true) {
  static_assert(bytes == 4 || bytes == 8 || bytes == 16);
  const int size = there ? bytes : 0;
  if constexpr (bytes == 16)
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(array + index)), "l"(from),
                 "r"(size)
                 : "memory");
  else
    asm volatile("cp.async.ca.shared.global [%0], [%1], %3, %2;" ::"r"(shared_address(array + index)), "l"(from),
                 "r"(size), "n"(bytes)
                 : "memory");
}
// Ends a group of copies.
__device__ inline void commit_copies() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
// Waits until at most `pending` of this thread's groups are under way; others' copies need a barrier besides.
template <int pending>
__device__ inline void wait_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
}

// Lane l gives the place of row l % 8 of matrix l / 8: 8 numbers of 16 bits, 16 aligned bytes. In out[m] it gets the
// two numbers 2 · (l % 4) and one more of row l / 4 of matrix m.
template <class T>
__device__ inline void load_matrices(uint32_t (&out)[4], const T* array, size_t index) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(shared_address(array + index))
               : "memory");
}
template <class T>
__device__ inline void load_matrices(uint32_t (&out)[2], const T* array, size_t index) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
               : "=r"(out[0]), "=r"(out[1])
               : "r"(shared_address(array + index))
               : "memory");
}
// The same of the transposed matrices: numbers of column l / 4, rows 2 · (l % 4) and one more.
template <class T>
__device__ inline void load_transposed(uint32_t (&out)[4], const T* array, size_t index) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(shared_address(array + index))
               : "memory");
}
template <class T>
__device__ inline void load_transposed(uint32_t (&out)[2], const T* array, size_t index) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
               : "=r"(out[0]), "=r"(out[1])
               : "r"(shared_address(array + index))
               : "memory");
}

// Of an 8 × 8 matrix of 16-bit numbers, of which every lane has two neighbours (row l / 4, columns 2 · (l % 4) and one
// more), the transposed one ("movmatrix").
__device__ inline uint32_t transposed_matrix(uint32_t pair) {
  uint32_t result;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(result) : "r"(pair));
  return result;
}

#else

template <int bytes, class T>
inline void copy_async(const Shared<T>& array, size_t index, const void* from, bool there = true) {
  static_assert(bytes == 4 || bytes == 8 || bytes == 16);
  emulation::Thread& thread = *emulation::this_thread;
  if (there && reinterpret_cast<uintptr_t>(from) % bytes != 0)
    thread.block->fail("an asynchronous copy of " + std::to_string(bytes) + " bytes: its source is misaligned");
  if (thread.copies.empty()) thread.copies.emplace_back();
  const emulation::PendingCopy copy{array.place_of(static_cast<std::ptrdiff_t>(index), bytes), there ? from : nullptr};
  thread.block->begin_copy(copy);
  thread.copies.back().push_back(copy);
}
inline void commit_copies() {
  emulation::Thread& thread = *emulation::this_thread;
  if (thread.copies.empty()) thread.copies.emplace_back();
  thread.copies.emplace_back();
}
template <int pending>
inline void wait_copies() {
  emulation::Thread& thread = *emulation::this_thread;
  // The last one is open: it has not been committed.
  while (thread.copies.size() > pending + 1) {
    for (const emulation::PendingCopy& copy : thread.copies.front()) thread.block->end_copy(copy);
    thread.copies.erase(thread.copies.begin());
  }
}

namespace emulated {

// What lanes show each other stays where it is until all have looked.
template <class T, class Look>
inline void show(const T& mine, Look&& look) {
  emulation::Block& block = *emulation::this_thread->block;
  emulation::Exchange& all =
      block.exchange(0xffffffffu, emulation::matrices, emulation::to_bits(reinterpret_cast<uintptr_t>(&mine)));
  if (all.mask != 0xffffffffu) block.fail("a warp of fewer than 32 lanes multiplies matrices");
  look([&](int lane) -> const T& { return *reinterpret_cast<const T*>(static_cast<uintptr_t>(all.values[lane])); });
  block.release(all);
  // Not __syncwarp: reading matrices orders nothing else.
  emulation::fold_lanes(0xffffffffu, emulation::matrices_seen, 0, 0, [](int a, int, int) { return a; });
}

template <int count, bool transposed, class T>
inline void load(uint32_t (&out)[count], const Shared<T>& array, size_t index) {
  const int lane = emulation::this_thread->lane();
  struct alignas(16) Row {
    uint16_t values[8];
  } mine = {};
  if (lane < 8 * count) mine = load_as<Row>(array, index);
  show(mine, [&](auto&& of) {
    for (int m = 0; m < count; ++m) {
      const auto number = [&](int i) -> uint32_t {
        const int along = 2 * (lane % 4) + i, across = lane / 4;
        return transposed ? of(8 * m + along).values[across] : of(8 * m + across).values[along];
      };
      out[m] = number(0) | number(1) << 16;
    }
  });
}

}  // namespace emulated

template <int count, class T>
inline void load_matrices(uint32_t (&out)[count], const Shared<T>& array, size_t index) {
  emulated::load<count, false>(out, array, index);
}
template <int count, class T>
inline void load_transposed(uint32_t (&out)[count], const Shared<T>& array, size_t index) {
  emulated::load<count, true>(out, array, index);
}
inline uint32_t transposed_matrix(uint32_t pair) {
  const int lane = emulation::this_thread->lane(), row = lane / 4, column = 2 * (lane % 4);
  uint32_t result = 0;
  emulated::show(pair, [&](auto&& of) {
    for (int i = 0; i < 2; ++i) result |= (of((column + i) * 4 + row / 2) >> (16 * (row % 2)) & 0xffffu) << (16 * i);
  });
  return result;
}

#endif

}  // namespace vivace::cuda

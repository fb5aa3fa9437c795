// What rows see under a layer's pattern (caches/cache_policy.h), and the order in which kernels take it; the same on
// the host, which plans, and on the card.
//
// A row's own slots are the cells that it would see without a pattern, in order; its last one is its own. Of a window
// they keep their numbers. Blocks that are seen lie one behind the other: the strided ones, then those nearby.
#pragma once
#include "device/table.h"

#if defined(__CUDACC__)
#define VIVACE_BOTH_SIDES __host__ __device__
#else
#define VIVACE_BOTH_SIDES
#endif

namespace vivace::cuda {

using Pattern = VivaceDevicePattern;

VIVACE_BOTH_SIDES inline bool has_blocks(const Pattern& pattern, int head, int kv_heads) {
  return pattern.block > 0 && head < kv_heads - pattern.dense_heads;
}

// Blocks that a row in block `own` sees in one KV head.
struct BlockOrder {
  int block, stride;
  int first;         // of the strided ones
  int near;          // the first of those nearby
  int far;           // how many come before them
  bool begins_at_0;  // block 0 is one of them, and is not strided

  VIVACE_BOTH_SIDES BlockOrder(const Pattern& pattern, int head, int own)
      : block(pattern.block), stride(pattern.stride) {
    first = (stride - (pattern.head_offset + head * pattern.head_step) % stride) % stride;
    near = own - pattern.local + 1 > 0 ? own - pattern.local + 1 : 0;
    begins_at_0 = pattern.always_first != 0 && first != 0 && near > 0;
    far = (near > first ? (near - first + stride - 1) / stride : 0) + (begins_at_0 ? 1 : 0);
  }
  VIVACE_BOTH_SIDES bool is_far(int number) const { return number % stride == first || (begins_at_0 && number == 0); }
  // Of `slots` own ones, so many are seen; the last one is in block `own`.
  VIVACE_BOTH_SIDES int count(int slots) const { return slots - (near - far) * block; }
  // The own slot of the n-th that is seen.
  VIVACE_BOTH_SIDES int own_slot(int n) const {
    const int number = n / block;
    int wanted = near + number - far;
    if (number < far)
      wanted = begins_at_0 ? (number == 0 ? 0 : first + (number - 1) * stride) : first + number * stride;
    return wanted * block + n % block;
  }
};

// The end of what is seen, in the order above: at least that of every KV head.
VIVACE_BOTH_SIDES inline int most_slots(const Pattern& pattern, int slots) {
  if (pattern.block == 0 || pattern.dense_heads > 0 || slots == 0) return slots;
  const int near = (slots - 1) / pattern.block - pattern.local + 1;
  if (near <= 0) return slots;
  const int far = (near + pattern.stride - 1) / pattern.stride + (pattern.always_first != 0 ? 1 : 0);
  return far < near ? slots - (near - far) * pattern.block : slots;
}

// The first slot of a row's window.
VIVACE_BOTH_SIDES inline int first_slot(const Pattern& pattern, int slots) {
  return pattern.window > 0 && slots > pattern.window ? slots - pattern.window : 0;
}

// Slots per chunk of a row: about 32 chunks, of 128 to 512 slots.
VIVACE_BOTH_SIDES inline int chunk_of(int slots) {
  return slots <= 4096 ? 128 : slots <= 8192 ? 256 : 512;
}
VIVACE_BOTH_SIDES inline int chunk_of(const Pattern& pattern, int slots) {
  return chunk_of(most_slots(pattern, slots) - first_slot(pattern, slots));
}

}  // namespace vivace::cuda

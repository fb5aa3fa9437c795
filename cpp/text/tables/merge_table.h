// The merges of a BPE vocabulary: a hash of pairs, (left id, right id) → (rank, merged id). Of equal pairs the first
// counts.
#pragma once
#include <cstdint>

#include "text/tables/byte_index.h"
#include "text/tables/zeroed_array.h"

namespace vivace {

class MergeTable {
 public:
  struct Slot {
    int32_t left_and_1;  // 0: empty
    int32_t right;
    uint32_t rank;
    int32_t merged;
  };

  // Open addressing, load at most 5/8: 128 Ki slots of 16 bytes for 80 000 merges.
  void reserve(size_t count) {
    size_t capacity = 16;
    while (5 * capacity < 8 * count) capacity *= 2;
    slots_ = ZeroedArray<Slot>(capacity);
    mask_ = capacity - 1;
  }

  void prefetch(int32_t left, int32_t right) const { vivace::prefetch(&slots_[place_of(left, right)]); }

  void add(const Slot& entry) {
    size_t place = place_of(entry.left_and_1 - 1, entry.right);
    for (; slots_[place].left_and_1 != 0; place = (place + 1) & mask_)
      if (slots_[place].left_and_1 == entry.left_and_1 && slots_[place].right == entry.right) return;
    slots_[place] = entry;
  }

  // Null where the pair does not merge. Symbols below 0 merge with nothing.
  const Slot* find(int32_t left, int32_t right) const {
    if (left < 0 || right < 0) return nullptr;
    for (size_t place = place_of(left, right);; place = (place + 1) & mask_) {
      const Slot& slot = slots_[place];
      if (slot.left_and_1 == left + 1 && slot.right == right) return &slot;
      if (slot.left_and_1 == 0) return nullptr;
    }
  }

 private:
  size_t place_of(int32_t left, int32_t right) const {
    const uint64_t key = static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
    uint64_t mixed = key * 0x9E3779B97F4A7C15ull;
    mixed ^= mixed >> 32;
    return (mixed * 0xD6E8FEB86659FD93ull >> 32) & mask_;
  }

  ZeroedArray<Slot> slots_{1};
  size_t mask_ = 0;
};

}  // namespace vivace

// Finds a byte string among those of an arena; of equal strings the first wins. Open addressing, load at most 1/2.
#pragma once
#include <cstdint>
#include <cstring>

#include "text/tables/vocabulary.h"
#include "text/tables/zeroed_array.h"

namespace vivace {

inline uint64_t load_8(const uint8_t* at) {
  uint64_t value;
  std::memcpy(&value, at, 8);
  return value;
}

inline uint64_t mix_64(uint64_t value) {
  value *= 0x9E3779B97F4A7C15ull;
  value ^= value >> 32;
  value *= 0xD6E8FEB86659FD93ull;
  return value ^ value >> 32;
}

// 8 bytes at a time. Reads no byte outside.
inline uint64_t hash_bytes(const uint8_t* at, size_t length) {
  uint64_t hash = length;
  for (; length >= 8; at += 8, length -= 8) hash = (hash ^ load_8(at)) * 0x9E3779B97F4A7C15ull ^ hash >> 29;
  if (length >= 4) {
    uint32_t first, last;
    std::memcpy(&first, at, 4);
    std::memcpy(&last, at + length - 4, 4);
    hash ^= first | static_cast<uint64_t>(last) << 32;
  } else if (length > 0) {
    hash ^= at[0] | static_cast<uint32_t>(at[length >> 1]) << 8 | static_cast<uint32_t>(at[length - 1]) << 16;
  }
  return mix_64(hash);
}

// memcmp() without the call: most strings here are a few bytes long.
inline bool equal_bytes(const uint8_t* a, const uint8_t* b, size_t length) {
  if (length >= 8) {
    for (size_t i = 0; i + 8 < length; i += 8)
      if (load_8(a + i) != load_8(b + i)) return false;
    return load_8(a + length - 8) == load_8(b + length - 8);
  }
  if (length >= 4) {
    uint32_t first[2], last[2];
    std::memcpy(&first[0], a, 4);
    std::memcpy(&first[1], b, 4);
    std::memcpy(&last[0], a + length - 4, 4);
    std::memcpy(&last[1], b + length - 4, 4);
    return first[0] == first[1] && last[0] == last[1];
  }
  for (size_t i = 0; i < length; ++i)
    if (a[i] != b[i]) return false;
  return true;
}

inline void prefetch(const void* at) {
#if defined(__GNUC__)
  __builtin_prefetch(at);
#else
  static_cast<void>(at);
#endif
}

class ByteIndex {
 public:
  // The arena must outlive the index. Strings for which `include` is false are left out, and empty ones.
  template <class Include>
  void build(const StringArena& strings, const Include& include) {
    strings_ = strings;
    size_t capacity = 16;
    while (capacity < 2 * static_cast<size_t>(strings.count)) capacity *= 2;
    slots_ = ZeroedArray<Slot>(capacity);
    mask_ = capacity - 1;
    constexpr uint32_t block = 16;  // slots come from memory while the next hashes are computed
    uint64_t hashes[block];
    for (uint32_t from = 0; from < strings.count; from += block) {
      const uint32_t count = strings.count - from < block ? strings.count - from : block;
      for (uint32_t i = 0; i < count; ++i) {
        hashes[i] = hash_bytes(strings.begin(from + i), strings.length(from + i));
        prefetch(hashes[i]);
      }
      for (uint32_t i = 0; i < count; ++i)
        if (strings.length(from + i) > 0 && include(from + i)) add(from + i, hashes[i]);
    }
  }

  void prefetch(uint64_t hash) const { vivace::prefetch(&slots_[hash & mask_]); }

  // What find() will read when the slot is there, and when the offset is.
  void prefetch_offset(uint64_t hash) const {
    const Slot& slot = slots_[hash & mask_];
    if (slot.entry != 0) vivace::prefetch(&strings_.offsets[slot.entry - 1]);
  }
  void prefetch_string(uint64_t hash) const {
    const Slot& slot = slots_[hash & mask_];
    if (slot.entry != 0) vivace::prefetch(strings_.begin(slot.entry - 1));
  }

  // The number of the string, or -1.
  int32_t find(const uint8_t* at, size_t length, uint64_t hash) const {
    const uint32_t tag = static_cast<uint32_t>(hash >> 32);
    for (size_t place = hash & mask_;; place = (place + 1) & mask_) {
      const Slot& slot = slots_[place];
      if (slot.entry == 0) return -1;
      if (slot.tag == tag && same(slot.entry - 1, at, length)) return static_cast<int32_t>(slot.entry - 1);
    }
  }
  int32_t find(const uint8_t* at, size_t length) const { return find(at, length, hash_bytes(at, length)); }

  uint32_t longest() const { return longest_; }

 private:
  struct Slot {
    uint32_t tag, entry;  // upper half of the hash; number of the string + 1, 0: empty
  };

  void add(uint32_t i, uint64_t hash) {
    const uint32_t tag = static_cast<uint32_t>(hash >> 32);
    size_t place = hash & mask_;
    for (; slots_[place].entry != 0; place = (place + 1) & mask_)
      if (slots_[place].tag == tag && same(slots_[place].entry - 1, strings_.begin(i), strings_.length(i))) return;
    slots_[place] = {tag, i + 1};
    if (strings_.length(i) > longest_) longest_ = strings_.length(i);
  }

  bool same(uint32_t i, const uint8_t* at, size_t length) const {
    return strings_.length(i) == length && equal_bytes(strings_.begin(i), at, length);
  }

  StringArena strings_;
  ZeroedArray<Slot> slots_{1};
  size_t mask_ = 0;
  uint32_t longest_ = 0;
};

}  // namespace vivace

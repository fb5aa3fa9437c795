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

// A string as the index compares it: up to 12 bytes as they are, of longer ones 96 bits of hashes.
struct ByteKey {
  static constexpr uint32_t whole = 12;  // bytes that a key holds
  uint64_t low = 0;
  uint32_t high = 0;
  uint32_t size = 0;  // the length, of longer strings 13

  bool is_whole() const { return size <= whole; }
  uint64_t hash() const {
    return mix_64(low ^
                  (static_cast<uint64_t>(high) << 32 | static_cast<uint64_t>(size) << 28) * 0xA24BAED4963EE407ull);
  }
};

inline ByteKey long_key(const uint8_t* at, size_t length) {
  const uint64_t hash = hash_bytes(at, length);
  return {hash, static_cast<uint32_t>(mix_64(hash ^ load_8(at + length - 8))), ByteKey::whole + 1};
}

// Of a string behind whose begin 16 bytes may be read: no branch depends on a short one's length.
inline ByteKey open_key(const uint8_t* at, size_t length) {
  if (length > ByteKey::whole) return long_key(at, length);
  uint32_t high;
  std::memcpy(&high, at + 8, 4);
  const auto size = static_cast<uint32_t>(length);
  const uint64_t all = ~uint64_t{0};
  const uint64_t low_mask = size >= 8 ? all : ~(all << (8 * size & 63));
  const uint64_t high_mask = size > 8 ? ~(all << (8 * (size - 8) & 63)) : 0;
  return {load_8(at) & low_mask, high & static_cast<uint32_t>(high_mask), size};
}

// Reads no byte outside.
inline ByteKey key_of_bytes(const uint8_t* at, size_t length) {
  if (length > ByteKey::whole) return long_key(at, length);
  const auto size = static_cast<uint32_t>(length);
  if (size >= 4) {
    uint32_t first, last;  // they overlap; what both hold is shifted out of the last
    std::memcpy(&first, at, 4);
    std::memcpy(&last, at + size - 4, 4);
    if (size >= 8) return {load_8(at), static_cast<uint32_t>(uint64_t{last} >> 8 * (12 - size)), size};
    return {first | uint64_t{last} >> 8 * (8 - size) << 32, 0, size};
  }
  uint64_t low = 0;
  if (size > 0) {
    low = at[0];
    low |= uint64_t{at[size >> 1]} << 8 * (size >> 1) | uint64_t{at[size - 1]} << 8 * (size - 1);
  }
  return {low, 0, size};
}

// The key of two strings side by side, which together are whole.
inline ByteKey join_keys(const ByteKey& left, const ByteKey& right) {
  const uint32_t size = left.size + right.size, bits = 8 * left.size;
  if (left.size == 0) return right;
  if (bits >= 64) return {left.low, left.high | static_cast<uint32_t>(right.low << (bits - 64)), size};
  const uint64_t above = right.low >> (64 - bits) | static_cast<uint64_t>(right.high) << bits;
  return {left.low | right.low << bits, static_cast<uint32_t>(above), size};
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
    // The last strings, behind which 16 bytes may not be read.
    uint32_t open = strings.count;
    while (open > 0 && strings.offsets[strings.count] - strings.offsets[open - 1] < 16) --open;
    constexpr uint32_t block = 16;  // slots come from memory while the next keys are computed
    ByteKey keys[block];
    for (uint32_t from = 0; from < strings.count; from += block) {
      const uint32_t count = strings.count - from < block ? strings.count - from : block;
      for (uint32_t i = 0; i < count; ++i) {
        const uint8_t* at = strings.begin(from + i);
        const uint32_t length = strings.length(from + i);
        keys[i] = from + i < open ? open_key(at, length) : key_of_bytes(at, length);
        prefetch(keys[i]);
      }
      for (uint32_t i = 0; i < count; ++i)
        if (strings.length(from + i) > 0 && include(from + i)) add(from + i, keys[i]);
    }
  }

  void prefetch(const ByteKey& key) const { vivace::prefetch(&slots_[key.hash() & mask_]); }

  // The number of the string, or -1.
  int32_t find(const uint8_t* at, size_t length, const ByteKey& key) const {
    for (size_t place = key.hash() & mask_;; place = (place + 1) & mask_) {
      const Slot& slot = slots_[place];
      if (slot.entry == 0) return -1;
      if (slot.low == key.low && slot.high == key.high && (slot.entry & 15) == key.size &&
          (key.is_whole() || same(slot.number(), at, length)))
        return static_cast<int32_t>(slot.number());
    }
  }
  int32_t find(const uint8_t* at, size_t length) const { return find(at, length, key_of_bytes(at, length)); }

  uint32_t longest() const { return longest_; }

 private:
  struct Slot {
    uint64_t low;
    uint32_t high;
    uint32_t entry;  // the size of the key, and above these four bits the number of the string + 1; 0: empty
    uint32_t number() const { return (entry >> 4) - 1; }
  };

  void add(uint32_t i, const ByteKey& key) {
    size_t place = key.hash() & mask_;
    for (; slots_[place].entry != 0; place = (place + 1) & mask_) {
      const Slot& slot = slots_[place];
      if (slot.low == key.low && slot.high == key.high && (slot.entry & 15) == key.size &&
          (key.is_whole() || same(slot.number(), strings_.begin(i), strings_.length(i))))
        return;
    }
    slots_[place] = {key.low, key.high, (i + 1) << 4 | key.size};
    if (strings_.length(i) > longest_) longest_ = strings_.length(i);
  }

  bool same(uint32_t number, const uint8_t* at, size_t length) const {
    return strings_.length(number) == length && equal_bytes(strings_.begin(number), at, length);
  }

  StringArena strings_;
  ZeroedArray<Slot> slots_{1};
  size_t mask_ = 0;
  uint32_t longest_ = 0;
};

}  // namespace vivace

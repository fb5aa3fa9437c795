// Tokens of pieces that were met before: most words of a text. Newer pieces displace older ones.
//
// Pieces of up to 15 bytes with up to 4 tokens, nearly all of English, take half a cache line each, two ways to a line;
// longer ones, up to 64 bytes and 12 tokens, have a table of their own.
#pragma once
#include <bit>
#include <cstdint>
#include <cstring>

#include "text/tables/byte_index.h"
#include "text/tables/zeroed_array.h"

namespace vivace {

static_assert(std::endian::native == std::endian::little, "keys are cut by masks that mean little-endian loads");

class PieceCache {
 public:
  static constexpr uint32_t short_bytes = 15, short_tokens = 4, long_bytes = 64, long_tokens = 12;

  struct Key {
    uint64_t low = 0, high = 0;  // the bytes; the length in the highest byte
    uint64_t hash = 0;
  };

  // Of a piece of up to 15 bytes; `readable`: how many bytes may be read from `at` on.
  static Key key_of(const uint8_t* at, uint32_t length, size_t readable) {
    uint8_t copy[16] = {};
    if (readable < 16) {
      std::memcpy(copy, at, length);
      at = copy;
    }
    Key key;
    const uint64_t low = load_8(at), high = load_8(at + 8);
    key.low = length >= 8 ? low : low & ((1ull << 8 * length) - 1);
    key.high = length > 8 ? high & ((1ull << 8 * (length - 8)) - 1) : 0;
    key.high |= static_cast<uint64_t>(length) << 56;
    key.hash = mix_64(key.low ^ std::rotl(key.high, 23) * 0xA24BAED4963EE407ull);
    return key;
  }

  void prefetch(const Key& key) const { vivace::prefetch(&short_[key.hash & (short_sets - 1)]); }

  // Writes four integers to `out`, of which the returned number counts; -1: not known.
  int find_short(const Key& key, int32_t* out) const {
    const ShortSet& set = short_[key.hash & (short_sets - 1)];
    for (const Short& entry : set.ways) {
      if (entry.low != key.low || ((entry.high ^ key.high) & ~count_bits) != 0) continue;
      std::memcpy(out, entry.tokens, sizeof entry.tokens);
      return static_cast<int>((entry.high & count_bits) >> 60);
    }
    return -1;
  }

  void add_short(const Key& key, const int32_t* tokens, uint32_t count) {
    if (count > short_tokens) return;
    ShortSet& set = short_[key.hash & (short_sets - 1)];
    set.ways[1] = set.ways[0];
    set.ways[0].low = key.low;
    set.ways[0].high = key.high | static_cast<uint64_t>(count) << 60;
    std::memcpy(set.ways[0].tokens, tokens, count * sizeof(int32_t));
  }

  // The tokens of a piece of 16 to 64 bytes, or null.
  const int32_t* find_long(const uint8_t* at, uint32_t length, uint64_t hash, uint32_t& count) const {
    const Long& entry = long_[hash & (long_entries - 1)];
    if (entry.hash != hash || entry.length != length || std::memcmp(entry.key, at, length) != 0) return nullptr;
    count = entry.count;
    return entry.tokens;
  }

  void add_long(const uint8_t* at, uint32_t length, uint64_t hash, const int32_t* tokens, uint32_t count) {
    if (count > long_tokens) return;
    Long& entry = long_[hash & (long_entries - 1)];
    entry.hash = hash;
    entry.length = static_cast<uint8_t>(length);
    entry.count = static_cast<uint8_t>(count);
    std::memcpy(entry.key, at, length);
    std::memcpy(entry.tokens, tokens, count * sizeof(int32_t));
  }

 private:
  static constexpr size_t short_sets = 1 << 15, long_entries = 1 << 12;  // 2 MB and 512 KB
  static constexpr uint64_t count_bits = 0x7ull << 60;

  struct Short {
    uint64_t low, high;  // high: bytes 8 to 14, then length (4 bits) and number of tokens (3 bits); 0: empty
    int32_t tokens[short_tokens];
  };
  struct alignas(64) ShortSet {
    Short ways[2];
  };
  struct alignas(64) Long {
    uint64_t hash;
    uint8_t length, count;  // length 0: empty
    uint8_t key[long_bytes];
    int32_t tokens[long_tokens];
  };

  ZeroedArray<ShortSet> short_{short_sets};
  ZeroedArray<Long> long_{long_entries};
};

}  // namespace vivace

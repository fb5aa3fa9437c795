// SentencePiece's precompiled normaliser: a double-array trie from byte sequences to replacement strings.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace vivace {

// Layout: u32 size of the trie in bytes, the trie's u32 units, then the replacements, each ended by a zero byte. A unit
// holds in bits 0-7 the byte that leads to it, in bit 8 whether a value hangs below, in bits 10-30 the distance to its
// children (in steps of 256 if bit 9 is set); a value unit has bit 31 set and the place of the replacement below it.
class CharacterMap {
 public:
  // Throws FORMAT_INVALID where the sizes do not fit.
  CharacterMap(const uint8_t* blob, size_t size);

  // The longest sequence at the begin of a text that the map replaces, 0: none, and what by. Throws FORMAT_INVALID
  // where the trie or the replacement runs out of the map.
  uint32_t longest(const uint8_t* at, size_t left, const uint8_t*& replacement, uint32_t& length) const;

 private:
  uint32_t unit(uint32_t index) const;
  std::vector<uint32_t> units_;
  std::vector<uint8_t> replacements_;
};

}  // namespace vivace

#include "text/encode/character_map.h"

#include <cstring>

#include "core/error.h"

namespace vivace {
namespace {

[[noreturn]] void damaged() {
  throw Error("FORMAT_INVALID", "The precompiled character map of the tokenizer is damaged");
}

uint32_t children_of(uint32_t unit) {
  return (unit >> 10) << ((unit & 0x200) >> 6);
}

}  // namespace

CharacterMap::CharacterMap(const uint8_t* blob, size_t size) {
  uint32_t trie = 0;
  if (size >= 4) std::memcpy(&trie, blob, 4);
  if (trie == 0 || trie % 4 != 0 || trie > size - 4) damaged();
  units_.resize(trie / 4);
  std::memcpy(units_.data(), blob + 4, trie);
  replacements_.assign(blob + 4 + trie, blob + size);
}

uint32_t CharacterMap::longest(const uint8_t* at, size_t left, const uint8_t*& replacement, uint32_t& length) const {
  uint32_t found = 0, place = 0;
  uint32_t node = children_of(unit(0));
  for (size_t i = 0; i < left && at[i] != 0; ++i) {
    node ^= at[i];
    const uint32_t entry = unit(node);
    if ((entry & 0x800000FF) != at[i]) break;
    node ^= children_of(entry);
    if ((entry & 0x100) == 0) continue;
    found = static_cast<uint32_t>(i + 1);
    place = unit(node) & 0x7FFFFFFF;
  }
  if (found == 0) return 0;
  if (place >= replacements_.size()) damaged();
  const void* end = std::memchr(replacements_.data() + place, 0, replacements_.size() - place);
  if (end == nullptr) damaged();
  replacement = replacements_.data() + place;
  length = static_cast<uint32_t>(static_cast<const uint8_t*>(end) - replacement);
  return found;
}

uint32_t CharacterMap::unit(uint32_t index) const {
  if (index >= units_.size()) damaged();
  return units_[index];
}

}  // namespace vivace

// Finds a few texts among the tokens of a vocabulary by one pass over their lengths and first bytes, without an index.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>

#include "text/tables/vocabulary.h"

namespace vivace {

// found[i] receives the number of the first string that equals wanted string i, or -1. With `types` only those count
// that are not of type normal. Empty strings and those of more than 255 bytes are not found.
inline void find_few(const StringArena& strings, const StringArena& wanted, const TokenType* types, int32_t* found) {
  bool lengths[256] = {}, firsts[256] = {};
  for (uint32_t i = 0; i < wanted.count; ++i) {
    found[i] = -1;
    const uint32_t length = wanted.length(i);
    if (length == 0 || length > 255) continue;
    lengths[length] = true;
    firsts[*wanted.begin(i)] = true;
  }
  for (uint32_t id = 0; id < strings.count; ++id) {
    if (types != nullptr && types[id] == TokenType::normal) continue;
    const uint32_t length = strings.length(id);
    if (length > 255 || !lengths[length] || !firsts[*strings.begin(id)]) continue;
    for (uint32_t i = 0; i < wanted.count; ++i)
      if (found[i] < 0 && wanted.length(i) == length && std::memcmp(wanted.begin(i), strings.begin(id), length) == 0)
        found[i] = static_cast<int32_t>(id);
  }
}

}  // namespace vivace

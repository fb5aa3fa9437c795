// Tokens to the bytes that they stand for.
#pragma once
#include <cstddef>
#include <cstdint>

#include "text/tables/string_list.h"
#include "text/tables/vocabulary.h"

namespace vivace {

// The pieces that have been met so far, in one arena.
struct PieceArena {
  const uint8_t* bytes;
  size_t size;
  const int32_t* places;  // [2 · count] begin, or -1 where the token has not been met, and end
  size_t count;
  const TokenType* types;  // [count] control and unknown tokens are left out; null: none is
};

struct JoinProgress {
  size_t token = 0;  // the next one
  size_t end = 0;    // bytes written
};

// Goes on from `at` until all tokens are done, or one is none of the vocabulary, has not been met or does not fit.
inline JoinProgress join_pieces(const PieceArena& pieces, const int32_t* tokens, size_t count, uint8_t* out,
                                size_t room, JoinProgress at) {
  if (at.end > room) return at;
  uint8_t* to = out + at.end;
  const uint8_t* to_end = out + room;
  size_t i = at.token;
  for (; i < count; ++i) {
    const auto id = static_cast<uint32_t>(tokens[i]);
    if (id >= pieces.count) break;
    if (pieces.types != nullptr && (pieces.types[id] == TokenType::control || pieces.types[id] == TokenType::unknown))
      continue;
    const int64_t begin = pieces.places[2 * size_t{id}], end = pieces.places[2 * size_t{id} + 1];
    if (begin < 0 || end < begin || static_cast<size_t>(end) > pieces.size || end - begin > to_end - to) break;
    to = copy_string(to, to_end, pieces.bytes + begin, pieces.bytes + pieces.size, static_cast<size_t>(end - begin));
  }
  return {i, static_cast<size_t>(to - out)};
}

}  // namespace vivace

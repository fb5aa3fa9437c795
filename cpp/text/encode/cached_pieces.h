// Pieces to tokens through the cache: keys are computed and their slots fetched some pieces ahead.
#pragma once
#include <algorithm>

#include "text/encode/engine.h"
#include "text/tables/piece_cache.h"

namespace vivace {

// Piece i ends at ends[i] and begins where the one before it ends, the first at `begin`. `encode(at, length, offset)`
// appends the tokens of a piece that begins at `offset` of the text. Ends of tokens are not cached.
template <class Encode>
void encode_pieces(PieceCache& cache, const TextSpan& text, uint32_t begin, const std::vector<uint32_t>& ends,
                   TokenSink& out, const Encode& encode) {
  if (out.with_ends) {
    for (const uint32_t end : ends) {
      encode(text.bytes + begin, end - begin, begin);
      begin = end;
    }
    return;
  }
  constexpr size_t block = 32;
  PieceCache::Key keys[block];
  for (size_t from = 0; from < ends.size(); from += block) {
    const size_t count = std::min(block, ends.size() - from);
    uint32_t at = begin;
    for (size_t i = 0; i < count; ++i) {
      const uint32_t end = ends[from + i], length = end - at;
      if (length <= PieceCache::short_bytes) {
        keys[i] = PieceCache::key_of(text.bytes + at, length, text.readable - at);
        cache.prefetch(keys[i]);
      }
      at = end;
    }
    for (size_t i = 0; i < count; ++i) {
      const uint32_t end = ends[from + i], length = end - begin;
      const uint8_t* piece = text.bytes + begin;
      const uint32_t before = out.size();
      if (length <= PieceCache::short_bytes) {
        const int known = cache.find_short(keys[i], out.room(PieceCache::short_tokens));
        if (known >= 0) {
          out.advance(static_cast<uint32_t>(known));
        } else {
          encode(piece, length, begin);
          cache.add_short(keys[i], out.tokens() + before, out.size() - before);
        }
      } else if (length <= PieceCache::long_bytes) {
        const uint64_t hash = hash_bytes(piece, length);
        uint32_t tokens = 0;
        if (const int32_t* known = cache.find_long(piece, length, hash, tokens)) {
          std::copy(known, known + tokens, out.room(tokens));
          out.advance(tokens);
        } else {
          encode(piece, length, begin);
          cache.add_long(piece, length, hash, out.tokens() + before, out.size() - before);
        }
      } else {
        encode(piece, length, begin);
      }
      begin = end;
    }
  }
}

}  // namespace vivace

// Where SentencePiece text may be cut without changing its tokens, and the byte tokens of such vocabularies.
#pragma once
#include <cstdint>
#include <vector>

#include "text/encode/engine.h"

namespace vivace {

inline constexpr uint8_t word_mark[3] = {0xE2, 0x96, 0x81};  // U+2581 stands for a space

inline bool is_mark(const uint8_t* at, size_t left) {
  return left >= 3 && at[0] == word_mark[0] && at[1] == word_mark[1] && at[2] == word_mark[2];
}

// Appends the ends of runs of U+2581 with the word behind them. Where no token has a mark behind another character, no
// merge crosses the front of such a run: words are independent and can be cached, which makes English several times
// faster.
void split_at_marks(const uint8_t* text, uint32_t size, std::vector<uint32_t>& ends);

// Is there a token in which U+2581 follows something else than U+2581.
bool joins_words(const Vocabulary& vocabulary);

// The tokens "<0x00>" to "<0xFF>", or -1. [256]
void find_byte_tokens(const Vocabulary& vocabulary, int32_t* tokens);

}  // namespace vivace

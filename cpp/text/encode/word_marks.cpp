#include "text/encode/word_marks.h"

#include <algorithm>

namespace vivace {

void split_at_marks(const uint8_t* text, uint32_t size, std::vector<uint32_t>& ends) {
  uint32_t at = 0;
  while (at < size) {
    while (is_mark(text + at, size - at)) at += 3;
    while (at < size && !is_mark(text + at, size - at)) ++at;
    ends.push_back(at);
  }
}

bool joins_words(const Vocabulary& vocabulary) {
  const StringArena tokens = vocabulary.arena();
  for (uint32_t id = 0; id < tokens.count; ++id) {
    if (!vocabulary.has(id, TokenType::normal) && !vocabulary.has(id, TokenType::user_defined) &&
        !vocabulary.has(id, TokenType::unused))
      continue;
    const uint8_t* at = tokens.begin(id);
    const uint32_t length = tokens.length(id);
    bool in_word = false;
    for (uint32_t i = 0; i < length; ++i) {
      if (!is_mark(at + i, length - i)) {
        in_word = true;
      } else if (in_word) {
        return true;
      } else {
        i += 2;
      }
    }
  }
  return false;
}

void find_byte_tokens(const Vocabulary& vocabulary, int32_t* tokens) {
  std::fill(tokens, tokens + 256, -1);
  const StringArena arena = vocabulary.arena();
  for (uint32_t id = 0; id < arena.count; ++id) {
    const uint8_t* at = arena.begin(id);
    if (arena.length(id) != 6 || at[0] != '<' || at[1] != '0' || at[2] != 'x' || at[5] != '>') continue;
    const auto digit = [](uint8_t c) {
      return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
    };
    const int high = digit(at[3]), low = digit(at[4]);
    if (high >= 0 && low >= 0 && tokens[16 * high + low] < 0) tokens[16 * high + low] = static_cast<int32_t>(id);
  }
}

}  // namespace vivace

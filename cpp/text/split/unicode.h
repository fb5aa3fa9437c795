// What a character is: its code, its length in UTF-8 and its classes, by a two-level table.
#pragma once
#include <cstdint>

#include "text/split/unicode_runs.h"

namespace vivace {

// 256 characters a block; equal blocks are stored once (about 70 KB in all).
struct UnicodeTable {
  static constexpr uint32_t block_count = 0x110000 / 256;
  uint16_t ascii[128];
  uint8_t block_of[block_count];
  uint16_t classes[256 * 256];  // [blocks, 256]
};
extern UnicodeTable unicode_table;

// Fills the table once; before the first look at a character.
void load_unicode();

struct Character {
  uint32_t code = 0;
  uint16_t classes = 0;  // 0: behind the end
  uint16_t length = 0;
};

Character read_long_character(const uint8_t* at, const uint8_t* end);

// The character at a place. The text is UTF-8; bytes that are not read as characters of one byte without classes.
inline Character read_character(const uint8_t* at, const uint8_t* end) {
  if (at >= end) return {};
  if (*at < 0x80) return {*at, unicode_table.ascii[*at], 1};
  return read_long_character(at, end);
}

}  // namespace vivace

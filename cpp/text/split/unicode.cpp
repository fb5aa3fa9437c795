#include "text/split/unicode.h"

#include <cstring>
#include <mutex>

namespace vivace {

UnicodeTable unicode_table;

namespace {

void fill() {
  uint16_t block[256];
  uint32_t blocks = 0, code = 0;
  for (const uint32_t run : unicode_runs) {
    const uint16_t classes = unicode_kinds[run & 63];
    for (uint32_t left = run >> 6; left > 0; --left, ++code) {
      if (code < 128) unicode_table.ascii[code] = classes;
      block[code & 255] = classes;
      if ((code & 255) != 255) continue;
      uint32_t same = 0;
      while (same < blocks && std::memcmp(unicode_table.classes + 256 * same, block, sizeof block) != 0) ++same;
      if (same == blocks) std::memcpy(unicode_table.classes + 256 * blocks++, block, sizeof block);
      unicode_table.block_of[code >> 8] = static_cast<uint8_t>(same);
    }
  }
}

}  // namespace

void load_unicode() {
  static std::once_flag once;
  std::call_once(once, fill);
}

Character read_long_character(const uint8_t* at, const uint8_t* end) {
  const uint8_t first = at[0];
  const int length = first < 0xC2 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : first < 0xF5 ? 4 : 1;
  if (length == 1 || end - at < length) return {first, any_class, 1};
  uint32_t code = first & (0x7Fu >> length);
  for (int i = 1; i < length; ++i) {
    if ((at[i] & 0xC0) != 0x80) return {first, any_class, 1};
    code = code << 6 | (at[i] & 0x3F);
  }
  if (code >= 0x110000) return {first, any_class, 1};
  const uint32_t block = unicode_table.block_of[code >> 8];
  return {code, unicode_table.classes[256 * block + (code & 255)], static_cast<uint16_t>(length)};
}

}  // namespace vivace

// The printable alphabet in which byte-level vocabularies spell bytes (GPT-2): 33-126, 161-172 and 174-255 stand for
// themselves, the other 68 bytes, in increasing order, for U+0100, U+0101, …
#pragma once
#include <array>
#include <cstdint>
#include <string>

namespace vivace {

struct ByteAlphabet {
  std::array<uint16_t, 256> code{};   // byte → character
  std::array<int16_t, 0x144> byte{};  // character → byte, or -1

  constexpr ByteAlphabet() {
    for (auto& entry : byte) entry = -1;
    uint16_t next = 0x100;
    for (int i = 0; i < 256; ++i) {
      const bool printable = (i >= 33 && i <= 126) || (i >= 161 && i <= 172) || i >= 174;
      code[i] = printable ? static_cast<uint16_t>(i) : next++;
      byte[code[i]] = static_cast<int16_t>(i);
    }
  }
};
inline constexpr ByteAlphabet byte_alphabet;

// Writes a byte's character in UTF-8; returns the new end.
inline uint8_t* spell_byte(uint8_t byte, uint8_t* out) {
  const uint16_t code = byte_alphabet.code[byte];
  if (code < 0x80) {
    *out++ = static_cast<uint8_t>(code);
  } else {
    *out++ = static_cast<uint8_t>(0xC0 | code >> 6);
    *out++ = static_cast<uint8_t>(0x80 | (code & 0x3F));
  }
  return out;
}

// The bytes that a text in the alphabet stands for; none where a character is not of the alphabet.
inline std::string read_spelled(const uint8_t* at, uint32_t length) {
  std::string bytes;
  for (uint32_t i = 0; i < length; ++i) {
    uint32_t code = at[i];
    if (code >= 0x80) {
      if (code < 0xC2 || code > 0xC5 || i + 1 >= length) return {};
      code = (code & 0x1F) << 6 | (at[++i] & 0x3Fu);
    }
    if (code >= byte_alphabet.byte.size() || byte_alphabet.byte[code] < 0) return {};
    bytes += static_cast<char>(byte_alphabet.byte[code]);
  }
  return bytes;
}

}  // namespace vivace

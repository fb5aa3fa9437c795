// The tokens of a vocabulary: their texts in one arena, and their types.
#pragma once
#include <cstdint>
#include <vector>

#include "text/tables/string_list.h"

namespace vivace {

// Strings one after the other in one arena; string i is bytes[offsets[i], offsets[i + 1]).
struct StringArena {
  const uint8_t* bytes = nullptr;
  const uint32_t* offsets = nullptr;  // [count + 1], not falling
  uint32_t count = 0;
  const uint8_t* begin(uint32_t i) const { return bytes + offsets[i]; }
  uint32_t length(uint32_t i) const { return offsets[i + 1] - offsets[i]; }
};

// The types of GGUF.
enum class TokenType : int32_t { normal = 1, unknown = 2, control = 3, user_defined = 4, unused = 5, byte = 6 };

// A copy of the tokens: JavaScript may do with its memory what it likes.
struct Vocabulary {
  std::vector<uint8_t> bytes;
  std::vector<uint32_t> offsets;
  std::vector<TokenType> types;

  StringArena arena() const { return {bytes.data(), offsets.data(), size()}; }
  uint32_t size() const { return static_cast<uint32_t>(types.size()); }
  bool has(int64_t id, TokenType type) const { return types[static_cast<size_t>(id)] == type; }
  // Control tokens never come out of plain text, even if merges or the whole-piece rule would spell one.
  bool is_text(int64_t id) const {
    return !has(id, TokenType::control) && !has(id, TokenType::unknown) && !has(id, TokenType::byte);
  }
};

}  // namespace vivace

// BPE on token ids: byte-level (symbols are bytes, which the vocabulary spells in GPT-2's alphabet) or on characters
// (Llama 2 in a tokenizer.json).
#pragma once
#include <memory>

#include "text/encode/engine.h"
#include "text/split/pre_split.h"

namespace vivace {

// "left", separator, "right" in the order of their ranks.
struct MergeTexts {
  const uint8_t* bytes = nullptr;
  size_t size = 0;
  uint32_t count = 0;
  const uint32_t* offsets = nullptr;  // [count + 1] as in a StringArena; null: the bytes are a StringList
};

struct BytePairOptions {
  MergeTexts merges;        // read by make_byte_pair only
  uint8_t separator = ' ';  // looked for after the first byte
  bool alphabet = true;
  const SplitRule* rule = nullptr;  // null: the text is one piece, or is cut where no merge can cross
  bool ignore_merges = false;       // a piece that is a token as a whole is taken as it is
  bool byte_fallback = false;       // characters without a token become byte tokens; without these the unknown token
  int32_t unknown = -1;
  bool fuse_unknown = false;  // neighbouring unknown characters become one unknown token
};

// Throws FORMAT_INVALID for a StringList that is not as long as `count` says.
std::unique_ptr<TokenizerEngine> make_byte_pair(Vocabulary vocabulary, const BytePairOptions& options);

}  // namespace vivace

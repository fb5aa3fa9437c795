// BPE on token ids: byte-level (symbols are bytes, which the vocabulary spells in GPT-2's alphabet) or on characters
// (Llama 2 in a tokenizer.json).
#pragma once
#include <memory>

#include "text/encode/engine.h"
#include "text/split/pre_split.h"

namespace vivace {

struct BytePairOptions {
  StringArena merges;       // "left", separator, "right"; read by make_byte_pair only
  uint8_t separator = ' ';  // looked for after the first byte
  bool alphabet = true;
  const SplitRule* rule = nullptr;  // null: the text is one piece, or is cut where no merge can cross
  bool ignore_merges = false;       // a piece that is a token as a whole is taken as it is
  bool byte_fallback = false;       // characters without a token become byte tokens; without these the unknown token
  int32_t unknown = -1;
  bool fuse_unknown = false;  // neighbouring unknown characters become one unknown token
};

std::unique_ptr<TokenizerEngine> make_byte_pair(Vocabulary vocabulary, const BytePairOptions& options);

}  // namespace vivace

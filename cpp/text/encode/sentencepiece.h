// SentencePiece BPE as in GGUF's "llama" model: neighbours merge in the order of the merged token's score.
#pragma once
#include <memory>

#include "text/encode/engine.h"

namespace vivace {

struct SentencePieceOptions {
  std::vector<float> scores;  // one per token; empty: all equal
  int32_t unknown = -1;       // for characters without byte tokens
  bool space_prefix = false;  // a space goes before a text that begins the input or follows a special token
};

std::unique_ptr<TokenizerEngine> make_sentencepiece(Vocabulary vocabulary, const SentencePieceOptions& options);

}  // namespace vivace

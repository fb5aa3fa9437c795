// Unigram ("t5"): the segmentation with the greatest sum of scores, by Viterbi over a trie of the tokens' bytes.
#pragma once
#include <memory>

#include "text/encode/engine.h"

namespace vivace {

struct UnigramOptions {
  std::vector<double> scores;    // one per token
  bool single_precision = true;  // the scores are float32 (GGUF), so the score of unknown characters is too
  int32_t unknown = -1;
  bool byte_fallback = false;          // unknown characters become byte tokens, where the vocabulary has all they need
  std::vector<uint8_t> character_map;  // empty: none
  bool space_prefix = false;           // one more mark before the first word
  bool remove_extra_spaces = false;    // every word gets one mark in front; the spaces themselves go
};

// Throws FORMAT_INVALID for a damaged character map.
std::unique_ptr<TokenizerEngine> make_unigram(Vocabulary vocabulary, const UnigramOptions& options);

}  // namespace vivace

#include "text/encode/unigram.h"

#include <algorithm>
#include <limits>
#include <optional>

#include "text/encode/character_map.h"
#include "text/encode/marked_text.h"
#include "text/encode/word_marks.h"
#include "text/tables/byte_trie.h"

namespace vivace {
namespace {

constexpr double unknown_penalty = 10;
constexpr double nothing = -std::numeric_limits<double>::infinity();

class Unigram final : public TokenizerEngine {
 public:
  Unigram(Vocabulary vocabulary, const UnigramOptions& options)
      : vocabulary_(std::move(vocabulary)), scores_(options.scores), options_(options) {
    double lowest = std::numeric_limits<double>::infinity();
    for (uint32_t id = 0; id < vocabulary_.size(); ++id) {
      if (vocabulary_.has(id, TokenType::normal) && scores_[id] < lowest) lowest = scores_[id];
      if (vocabulary_.has(id, TokenType::user_defined)) scores_[id] = 0;
    }
    trie_.build(vocabulary_.arena(), [&](uint32_t id) {
      return vocabulary_.has(id, TokenType::normal) || vocabulary_.has(id, TokenType::user_defined) ||
             vocabulary_.has(id, TokenType::unused);
    });
    unknown_score_ = lowest - unknown_penalty;
    if (options_.single_precision) unknown_score_ = static_cast<float>(unknown_score_);
    if (!options_.character_map.empty()) map_.emplace(options_.character_map.data(), options_.character_map.size());
    if (options_.byte_fallback) find_byte_tokens(vocabulary_, byte_tokens_);
  }

  void encode(TextSpan text, TextPlace place, uint32_t offset, TokenSink& out) override {
    if (text.size == 0) return;
    const uint32_t before = out.size();
    if (place.whole) {
      segment(text.bytes, text.size, out);
      out.map_ends(before, [&](uint32_t end) { return offset + end; });
    } else {
      marked_.clear(out.with_ends);
      normalize(text);
      const TextSpan marked = marked_.finish(text.size);
      segment(marked.bytes, marked.size, out);
      out.map_ends(before, [&](uint32_t end) { return offset + marked_.source(end); });
      marked_.shrink();
    }
    out.extend(before, offset + text.size);
    if (steps_.capacity() > kept) steps_ = {};
  }

 private:
  static constexpr size_t kept = 1 << 16;

  // The best way to a place in the text: its score, where its last token begins, and the token (-1: unknown).
  struct Step {
    double score = nothing;
    uint32_t from = 0;
    int32_t token = -1;
  };

  // Mapped characters, with marks for spaces.
  void normalize(const TextSpan& text) {
    in_word_ = false;
    any_word_ = false;
    for (uint32_t i = 0; i < text.size;) {
      const uint8_t* replacement = nullptr;
      uint32_t length = 0;
      const uint32_t replaced = map_ ? map_->longest(text.bytes + i, text.size - i, replacement, length) : 0;
      if (replaced > 0) {
        for (uint32_t j = 0; j < length; ++j) place(replacement[j], i);
        i += replaced;
        continue;
      }
      const uint32_t begin = i;
      do place(text.bytes[i++], begin);
      while (i < text.size && (text.bytes[i] & 0xC0) == 0x80);
    }
  }

  void place(uint8_t byte, uint32_t source) {
    if (byte == ' ') {
      if (!options_.remove_extra_spaces) marked_.mark(source);
      in_word_ = false;
      return;
    }
    if (!in_word_ && (options_.remove_extra_spaces || (!any_word_ && options_.space_prefix))) marked_.mark(source);
    in_word_ = true;
    any_word_ = true;
    marked_.byte(byte, source);
  }

  void segment(const uint8_t* text, uint32_t size, TokenSink& out) {
    steps_.assign(size + 1, Step{});
    steps_[0].score = 0;
    for (uint32_t at = 0; at < size;) {
      const uint32_t width = character_width(text[at], size - at);
      const double score = steps_[at].score;
      bool single = false;
      const ByteTrie::Node* node = &trie_.root();
      for (uint32_t end = at; end < size;) {
        node = trie_.child(*node, text[end++]);
        if (node == nullptr) break;
        if (node->value < 0) continue;
        if (end - at == width) single = true;
        reach(end, at, score + scores_[static_cast<size_t>(node->value)], node->value);
      }
      if (!single) reach(at + width, at, score + unknown_score_, -1);
      at += width;
    }
    trace(text, size, out);
  }

  void reach(uint32_t end, uint32_t from, double score, int32_t token) {
    if (score > steps_[end].score) steps_[end] = {score, from, token};
  }

  // Neighbouring unknown characters become one unknown token. A place that no score reaches (scores that are no
  // numbers) counts as unknown too, from the begin of the text on.
  void trace(const uint8_t* text, uint32_t size, TokenSink& out) {
    path_.clear();
    for (uint32_t end = size; end > 0;) {
      uint32_t at = steps_[end].from;
      if (steps_[end].token < 0)
        while (at > 0 && steps_[at].token < 0) at = steps_[at].from;
      path_.push_back(end);
      end = at;
    }
    uint32_t start = 0;
    for (size_t i = path_.size(); i-- > 0; start = path_[i]) {
      const uint32_t end = path_[i];
      if (steps_[end].token >= 0) {
        out.push(steps_[end].token, end);
      } else if (options_.byte_fallback &&
                 std::all_of(text + start, text + end, [&](uint8_t byte) { return byte_tokens_[byte] >= 0; })) {
        for (uint32_t j = start; j < end; ++j) out.push(byte_tokens_[text[j]], j + 1);
      } else if (options_.unknown >= 0) {
        out.push(options_.unknown, end);
      }
    }
    if (path_.capacity() > kept) path_ = {};
  }

  const Vocabulary vocabulary_;
  std::vector<double> scores_;
  const UnigramOptions options_;
  ByteTrie trie_;
  double unknown_score_ = 0;
  std::optional<CharacterMap> map_;
  int32_t byte_tokens_[256];
  MarkedText marked_;
  bool in_word_ = false, any_word_ = false;  // while normalising
  std::vector<Step> steps_;                  // [size + 1]
  std::vector<uint32_t> path_;               // ends of tokens, last first
};

}  // namespace

std::unique_ptr<TokenizerEngine> make_unigram(Vocabulary vocabulary, const UnigramOptions& options) {
  return std::make_unique<Unigram>(std::move(vocabulary), options);
}

}  // namespace vivace

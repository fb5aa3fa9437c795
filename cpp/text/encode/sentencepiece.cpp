#include "text/encode/sentencepiece.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "text/encode/cached_pieces.h"
#include "text/encode/marked_text.h"
#include "text/encode/pair_merger.h"
#include "text/encode/word_marks.h"
#include "text/tables/byte_index.h"

namespace vivace {
namespace {

// Rank of each token's score, best first; equal scores share it, and no score (NaN) is the best.
std::vector<uint32_t> rank_scores(const std::vector<float>& scores, uint32_t size) {
  std::vector<uint32_t> ranks(size, 0);
  if (scores.empty()) return ranks;
  std::vector<uint32_t> order(size);
  std::iota(order.begin(), order.end(), 0u);
  const auto before = [&](float a, float b) { return std::isnan(a) ? !std::isnan(b) : a > b; };
  std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return before(scores[a], scores[b]); });
  for (uint32_t i = 1; i < size; ++i)
    ranks[order[i]] = ranks[order[i - 1]] + (before(scores[order[i - 1]], scores[order[i]]) ? 1 : 0);
  return ranks;
}

class SentencePiece final : public TokenizerEngine {
 public:
  SentencePiece(Vocabulary vocabulary, const SentencePieceOptions& options)
      : vocabulary_(std::move(vocabulary)),
        words_(!joins_words(vocabulary_)),
        space_prefix_(options.space_prefix),
        ranks_(rank_scores(options.scores, vocabulary_.size())) {
    // Control, unknown and byte tokens are left out, as in SentencePiece itself: the text "</s>" of a user must not
    // merge into the token, and its score 0 would even win over all others.
    index_.build(vocabulary_.arena(), [&](uint32_t id) { return vocabulary_.is_text(id); });
    find_byte_tokens(vocabulary_, byte_tokens_);
    ByteIndex all;
    all.build(vocabulary_.arena(), [](uint32_t) { return true; });
    for (int byte = 0; byte < 256; ++byte) {
      const auto text = static_cast<uint8_t>(byte);
      if (byte_tokens_[byte] < 0 && byte < 0x80) byte_tokens_[byte] = all.find(&text, 1);
      if (byte_tokens_[byte] < 0) byte_tokens_[byte] = options.unknown;
    }
  }

  void encode(TextSpan text, TextPlace place, uint32_t offset, TokenSink& out) override {
    if (text.size == 0) return;
    marked_.clear(out.with_ends);
    if (space_prefix_ && place.after_special) marked_.mark(0);
    for (uint32_t i = 0; i < text.size; ++i) {
      if (text.bytes[i] == ' ') {
        marked_.mark(i);
      } else {
        marked_.byte(text.bytes[i], i);
      }
    }
    const TextSpan marked = marked_.finish(text.size);
    ends_.clear();
    if (words_) {
      split_at_marks(marked.bytes, marked.size, ends_);
    } else {
      ends_.push_back(marked.size);
    }
    const uint32_t before = out.size();
    encode_pieces(cache_, marked, 0, ends_, out,
                  [&](const uint8_t* at, uint32_t length, uint32_t begin) { encode_piece(at, length, begin, out); });
    out.map_ends(before, [&](uint32_t end) { return offset + marked_.source(end); });
    out.extend(before, offset + text.size);
    marked_.shrink();
    if (ends_.capacity() > kept) ends_ = {};
  }

 private:
  static constexpr size_t kept = 1 << 18;

  void encode_piece(const uint8_t* at, uint32_t length, uint32_t offset, TokenSink& out) {
    merger_.nodes.clear();
    for (uint32_t i = 0; i < length;) {
      const uint32_t end = i + character_width(at[i], length - i);
      merger_.nodes.push_back({index_.find(at + i, end - i), i, end, 0, 0, 0, 0});
      i = end;
    }
    merger_.run([&](const MergeNode& left, const MergeNode& right, uint32_t& rank, int32_t& merged) {
      const uint32_t joined = right.end - left.start;
      if (joined > index_.longest()) return;
      merged = index_.find(at + left.start, joined);
      if (merged >= 0) rank = ranks_[static_cast<size_t>(merged)];
    });
    for (int32_t i = 0; i >= 0; i = merger_.nodes[i].next) {
      const MergeNode& node = merger_.nodes[i];
      if (node.symbol >= 0) {
        out.push(node.symbol, offset + node.end);
        continue;
      }
      for (uint32_t j = node.start; j < node.end; ++j)
        if (byte_tokens_[at[j]] >= 0) out.push(byte_tokens_[at[j]], offset + j + 1);
    }
    merger_.shrink();
  }

  const Vocabulary vocabulary_;
  const bool words_;  // no token crosses the front of a word
  const bool space_prefix_;
  const std::vector<uint32_t> ranks_;
  ByteIndex index_;
  int32_t byte_tokens_[256];
  PairMerger merger_;
  PieceCache cache_;
  MarkedText marked_;
  std::vector<uint32_t> ends_;
};

}  // namespace

std::unique_ptr<TokenizerEngine> make_sentencepiece(Vocabulary vocabulary, const SentencePieceOptions& options) {
  return std::make_unique<SentencePiece>(std::move(vocabulary), options);
}

}  // namespace vivace

// Suffix drafts: what followed the text's last tokens most often, in the text itself and in finished outputs of others.
//
// count(w) is how often the sequence w, of at most `depth` tokens, stands in the text (or in all outputs of the cache).
// For L = 1, 2 … while the last L tokens w were there before: at most floor(L · factor + offset + 1e-6) tokens are
// drafted; from w on, the probability of a node is its parent's times count(node) / count(parent), and ends below
// min_prob.
//   chain: always the child of highest count (of equals the smallest token)
//   tree:  the nodes of highest probability (of equals the one that was seen first)
// Of all L, and of text and cache, the draft with the highest sum of probabilities is taken; of equals the text's, then
// the one of the longest L.
//
// The text's counts are those of a trie of all sequences of exactly `depth` tokens, and of the last `depth` - 1
// positions, whose sequences are not complete yet and are looked through instead. So a token costs one insertion, and a
// token taken back one removal. Memory: about 100 bytes per token of text at most.
#pragma once
#include "decode/draft/drafter.h"
#include "decode/draft/suffix/suffix_cache.h"

namespace vivace {

struct SuffixOptions {
  int depth = 64;  // 2 to SuffixTrie::most_depth
  double factor = 1, offset = 0;
  double min_prob = 0.1;
  std::shared_ptr<const SuffixCache> cache;  // may be missing
};

class SuffixDrafter final : public Drafter {
 public:
  explicit SuffixDrafter(const SuffixOptions& options) : options_(options), trie_(SuffixTrie::Removal::newest_first) {}
  void accept(const int32_t* tokens, int64_t count) override;
  void truncate(int64_t length) override;
  void draft(int max_tokens, int max_nodes, Draft& out) override;
  std::unique_ptr<Drafter> fork() const override;
  int64_t bytes() const override;

 private:
  // A sequence of tokens: where it is in a trie, and where it ends in the text though the trie does not know of it.
  struct Spot {
    SuffixTrie::Place place;
    size_t begin = 0, end = 0;  // of ends_
    uint32_t count = 0;
  };
  struct Node {
    Spot spot;
    int32_t token;
    int parent, depth;
    double prob;
  };
  // What one call of draft() is after.
  struct Search {
    const SuffixTrie* trie;
    int max_tokens, max_nodes;
    bool tail;  // the text's last positions count, too
    double best;
  };

  const int32_t* last(int length) const { return text_.data() + text_.size() - length; }
  void measure_repeats(int depth);
  Spot start(const Search& search, int length, SuffixTrie::Place place);
  void next(const Search& search, const Spot& spot, size_t most, uint32_t least);
  Spot step(const Search& search, const Spot& spot, int32_t token);
  double chain(const Search& search, Spot spot, int budget);
  double tree(const Search& search, const Spot& spot, int budget);
  void search(Search& search, int depth, Draft& out);

  SuffixOptions options_;
  std::vector<int32_t> text_;
  SuffixTrie trie_;
  // Of the call in progress.
  std::vector<int> repeats_;  // [k]: tokens before the last k that equal the text's last ones
  std::vector<int32_t> ends_;
  std::vector<SuffixTrie::Place> places_;
  std::vector<SuffixTrie::Next> next_, tally_;
  std::vector<Node> open_;
  Draft draft_;
};

}  // namespace vivace

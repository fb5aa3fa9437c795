// Lookahead drafts: guesses that the verifying program improves in its own rounds, and the n-grams that come out of
// them.
//
// A window of `window` columns and n − 1 levels lies behind the text; its rows are the draft's probe, a tree: level 0
// is a chain behind the root, and a column goes on from its place in it through the levels. Each round gives what the
// program finds most probable after the last level: with it a column is an n-gram for the pool, keyed by its token of
// level 0. Then levels move up, and columns by what was kept. In the first n − 2 rounds levels are only filled. A draft
// is the pool's n-grams of the text's last token.
//
// Scores: (h + 1) / (t + 2) to the power of the depth, where first candidates were right about h of t tokens; each
// further candidate has half of it. O(window · n) per round.
//
// Method: lookahead decoding (Fu et al. 2024, arXiv 2402.02057). Columns that come in at the end begin with the pool's
// guesses; a text's own n-grams and scores are ours.
#pragma once
#include <unordered_map>

#include "decode/draft/drafter.h"

namespace vivace {

struct LookaheadOptions {
  int n = 5;           // tokens of an n-gram, its key included, 2 to 16
  int window = 7;      // 1 to 64
  int candidates = 7;  // n-grams per key that are kept and drafted, the last ones used; 1 to 64
  bool seed = true;    // the text itself gives n-grams, too
};

class LookaheadDrafter final : public Drafter {
 public:
  explicit LookaheadDrafter(const LookaheadOptions& options) : options_(options) {}
  void accept(const int32_t* tokens, int64_t count) override;
  void draft(int max_tokens, int max_nodes, Draft& out) override;
  const Probe* probe() const override { return probe_.tokens.empty() ? nullptr : &probe_; }
  int64_t probe_rows() const override { return int64_t{options_.n - 1} * options_.window; }
  void probed(const int32_t* tokens, int64_t count) override { found_.assign(tokens, tokens + count); }
  int64_t bytes() const override;
  // The window is one text's: throw INTERNAL.
  void truncate(int64_t length) override;
  std::unique_ptr<Drafter> fork() const override;

 private:
  using Gram = std::vector<int32_t>;  // without its key
  void add(int32_t key, Gram gram);
  const std::vector<Gram>* of(int32_t key) const;
  void learn(const int32_t* kept, int64_t count);
  void advance(int64_t by);
  void show_window();

  LookaheadOptions options_;
  std::unordered_map<int32_t, std::vector<Gram>> pool_;  // the one used last first
  int64_t length_ = 0;                                   // of the text
  std::vector<int32_t> tail_;                            // its last tokens, as many as are looked at
  std::vector<std::vector<int32_t>> levels_;             // [level][column]
  std::vector<int32_t> found_;                           // after the last level, per column
  Gram first_;                                           // the first candidate of the last draft
  int64_t hits_ = 0, tries_ = 0;
  Probe probe_;
};

}  // namespace vivace

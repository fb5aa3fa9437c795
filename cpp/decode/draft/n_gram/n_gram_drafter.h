// n-gram drafts (prompt lookup): what followed the text's last n tokens earlier in the text.
//
// For n from max_n down to min_n an earlier occurrence of the last n tokens is looked up; the first n that has one
// gives the draft, a copy of what followed. A copy that reaches the end of the text goes on with its own tokens, so
// that a repeated pattern is drafted whole. In a tree, further occurrences are branches. Scores: a match may be longer
// than n, and grows with each token that is right; a token's is the product of the odds of matches that long, which are
// learned of this text. Memory: 4 bytes per token, and per n 4 bytes and up to 24 for its table.
#pragma once
#include "decode/draft/candidate_tree.h"
#include "decode/draft/n_gram/n_gram_index.h"

namespace vivace {

struct NGramOptions {
  int min_n = 1, max_n = 3;  // 1 to NGramIndex::most
  bool latest = true;        // otherwise the earliest occurrence
  int branches = 8;          // of a tree, at most
};

class NGramDrafter final : public Drafter {
 public:
  explicit NGramDrafter(const NGramOptions& options);
  void accept(const int32_t* tokens, int64_t count) override;
  void truncate(int64_t length) override;
  void draft(int max_tokens, int max_nodes, Draft& out) override;
  std::unique_ptr<Drafter> fork() const override { return std::make_unique<NGramDrafter>(*this); }
  int64_t bytes() const override;

 private:
  // Counts, or with -1 takes back, what each place of a match said about the text's last token.
  void judge(int sign);

  NGramOptions options_;
  NGramIndex index_;
  std::vector<int32_t> text_;
  MatchOdds odds_;
  std::vector<int32_t> used_, chain_;
  CandidateTree tree_;
};

}  // namespace vivace

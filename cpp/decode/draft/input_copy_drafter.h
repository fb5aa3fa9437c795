// Input-guided drafts (aggressive decoding) for outputs that are nearly a copy of an input: a correction, an edit.
//
// Before the first token of output the draft is the input from its begin. Afterwards the place in the input is found
// anew for each output by its last tokens: with g from min_gram to max_gram, the last g tokens of the output are looked
// up in the input. In one place: the draft is what follows there. In several: g grows. Where no g finds a single one,
// the copy stays where it would be by now, if at least min_gram tokens match there. Else there is no draft, or with
// branches > 1 a tree of so many of them, those nearest to where the last certain place would be by now (among the last
// 256 occurrences). Scores: the product of the odds of matches as long as the one at the place and the tokens behind
// it, which are learned of certain places in this output; of several places each has its share. Memory: 4 bytes per
// token of input and output, and per g 4 bytes and up to 24 for each token of input.
#pragma once
#include <optional>

#include "decode/draft/candidate_tree.h"
#include "decode/draft/n_gram/n_gram_index.h"

namespace vivace {

struct InputCopyOptions {
  int min_gram = 1, max_gram = 3;  // 1 to NGramIndex::most
  int branches = 1;
  int first_draft = 16;  // tokens at most while the copy has not been borne out; behind n tokens that were right 2 n
  std::optional<std::vector<int32_t>> input;  // otherwise the prompt
};

// The prompt is what the first accept() gives, or the first one after a truncate() that cut into the prompt.
class InputCopyDrafter final : public Drafter {
 public:
  explicit InputCopyDrafter(InputCopyOptions options);
  void accept(const int32_t* tokens, int64_t count) override;
  void truncate(int64_t length) override;
  void draft(int max_tokens, int max_nodes, Draft& out) override;
  std::unique_ptr<Drafter> fork() const override { return std::make_unique<InputCopyDrafter>(*this); }
  int64_t bytes() const override;

 private:
  // A place in the input: what followed it comes next. `certain` when it was the only one.
  struct Place {
    int32_t next = 0;
    bool certain = false;
  };
  void set_input(std::vector<int32_t> input);
  Place follow() const;
  Place place() const { return output_.empty() ? Place{0, true} : places_.back(); }
  // Tokens at the end of `length` tokens of output that are those before a place of the input.
  int64_t matched(int64_t length, int64_t next) const {
    return MatchOdds::length(output_, length - 1, input_, next - 1);
  }
  void judge(int sign);
  void find_candidates(int branches);

  InputCopyOptions options_;
  std::vector<int32_t> input_, prompt_, output_;
  bool prompt_known_ = false;
  NGramIndex index_;           // of the input
  std::vector<Place> places_;  // after each token of output; uncertain ones: the last certain one, moved on
  MatchOdds odds_;
  std::vector<int32_t> candidates_;
  CandidateTree tree_;
};

}  // namespace vivace

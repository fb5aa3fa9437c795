// Which tokens of a draft the target keeps, and the one that it says next. Rows are a tree: 0 is the last token of the
// text, the root, and every other row's parent comes before it. The rules are those of lib/decode/speculation/rules.ts,
// where each has its source and its proof; there they are the oracle of the tests.
#pragma once
#include <cstdint>
#include <vector>

#include "decode/sample.h"
#include "decode/verify/proposal.h"

namespace vivace {

enum class VerifyRule : int32_t {
  match,       // a token is drawn as without a draft; a child that is this token stays
  ratio,       // drawn children stay with probability p / q; else the residual is drawn from
  block,       // a drawn chain, judged as a whole
  typical,     // lossy: children stay that are probable enough for the law's entropy
  relaxed,     // lossy: children stay that are among the most probable and near to the first
  divergence,  // lossy: drawn children stay where the two laws are near to each other; elsewhere as `ratio`
};

struct VerifyOptions {
  VerifyRule rule = VerifyRule::match;
  double first = 0;   // typical: epsilon; relaxed: how many of the most probable; divergence: less than this is near
  double second = 0;  // typical: delta; relaxed: how much less probable than the first; divergence: a Measure
};

// The draft is in the run twice: after it the model is asked to check it, and reads it again. What it says then is
// mixed into what it said at first, logit by logit.
struct Reflection {
  double alpha = 0;      // weight of the second reading; 0: it is not looked at
  bool corrects = true;  // what follows a refused token comes from the mixture, too, and not from the first reading
  std::vector<int32_t> rows;  // second reading i is output `output + rows() + i` of the run and belongs to this row
};

// A linear head on the last hidden state of a drafted token's own row says whether the token is right; tokens that the
// rule refuses stay if it says so.
struct Judge {
  const float* weights = nullptr;  // [width], null: no judge
  int64_t width = 0;
  float bias = 0;
  double bound = 0;               // scores above it are right; infinite: none, or all
  std::vector<int32_t> guarded;   // [rows], not 0: only the rule may keep the row
  int32_t longest = 0;            // so many such tokens in a row at most; 0: any number
  const float* hidden = nullptr;  // [rows, width], the walk's rows; known when they have been computed
  int32_t value = -1;             // or, on a device, these rows of this value of its program
  int64_t first_row = 0;
};

// One sequence's draft among the outputs of a run.
struct Walk {
  Sampler* sampler = nullptr;
  int64_t output = 0;            // of the root; the draft's rows follow
  std::vector<int32_t> tokens;   // [rows]
  std::vector<int32_t> parents;  // [rows] as places in this list, -1 for the root
  VerifyOptions options;
  const Proposal* proposal = nullptr;
  Reflection reflection;
  Judge judge;
  std::vector<std::vector<uint32_t>> masks;  // [rows]: which tokens may follow, as for Sampler::limit_to; empty: any
  uint64_t cycle = 1;                        // of the sequence's drafts, above 0: no random number is used twice
  std::vector<int32_t> kept;                 // result: the rows that stay, ascending; the root always does
  std::vector<int32_t> judged;               // result: those of them that only the judge kept
  std::vector<int32_t>
      changed;  // result: visited rows whose most probable token is another one after the second reading

  int64_t rows() const { return static_cast<int64_t>(tokens.size()); }
  // Outputs that belong to it: its rows, and those of the second reading.
  int64_t outputs() const { return rows() + static_cast<int64_t>(reflection.rows.size()); }
  int depth() const;  // of the deepest row, the root's being 0
  bool has_children(int32_t row) const;
  int32_t child(int32_t row, int32_t token) const;  // -1: none
  // What the sampler is asked next is about this row; false: nothing is any more.
  void limit(int32_t row, bool on = true) const;
};

// Whether the draft is a chain that was drawn, every token of it: what `block` wants; others it takes as `ratio`.
bool is_drawn_chain(const Walk& walk);

// Random numbers of one cycle: what for, and which of them.
enum class Lane : uint64_t { draft = 1, accept = 2, residual = 3, block = 4 };
inline uint64_t lane_of(uint64_t cycle, Lane lane, uint64_t number) {
  return cycle << 20 | static_cast<uint64_t>(lane) << 16 | (number & 0xFFFF);
}

// `logits`: the walk's outputs, [outputs, vocab], as before when it returns. `results` and `top`, the same rows: at
// every row that was visited the token that follows it and what its sampler reports; -1 elsewhere. The sampler has
// accepted the tokens. An error ends the walk; what was kept before it stays.
void verify(Walk& walk, float* logits, int64_t vocab, SampleResult* results, std::vector<TokenLogprob>* top);

}  // namespace vivace

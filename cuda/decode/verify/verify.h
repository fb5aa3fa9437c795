// Verification of drafts on the card by the rules of cpp/decode/verify: which drafted tokens stay, and what follows
// them. Random numbers are the host's, so that but for rounding at borders the tokens are the same.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/decode/sample.h"
#include "cuda/decode/verify/laws.h"

namespace vivace::cuda {

// Numbers of VerifyRule in cpp/decode/verify/verify.h; by `match` only drafts that are read twice or judged are walks.
constexpr int32_t rule_ratio = 1, rule_block = 2, rule_typical = 3, rule_relaxed = 4, rule_divergence = 5;

// Of GreedyChoice, as VivaceDeviceMark.
constexpr int32_t mark_judged = 1, mark_changed = 2;

// A row of a walk, and the law that its children were drawn from.
struct VerifyNode {
  CardLaw law;                       // none: nothing was drawn, and by `ratio` the row's own choice counts
  int32_t parent, token;             // the place in the walk, -1 for the root; the token that the row has read
  int32_t drawn_begin, drawn_count;  // places in VerifyLists
  int32_t mix = -1;                  // the row's place in SampleRun::mixes, −1: it was read once
};

// What a judge reads of a row: the score is the sum of the products, and the bias.
struct JudgeRow {
  const float* hidden;   // [width], null: no judge
  const float* weights;  // [width]
  int32_t width;
  float bias;
  int32_t guarded;  // not 0: only the rule may keep the row
};

// The best way down from a row of a greedy tree with a judge (judged.h).
struct JudgedPath {
  int32_t run;     // how many rows up to this one only the judge kept, one after the other; −1: no path comes here
  int32_t child;   // −1: none stays
  int32_t length;  // rows below
  int32_t plain;   // those of them that the model says itself
  double doubt;    // sum of min(score, 0) over them
};

// One sequence's draft: outputs [output, output + rows), the root first, every parent before its children.
struct VerifyWalk {
  uint64_t cycle;
  double first, second;  // of the rules `typical`, `relaxed` and `divergence`
  int32_t output, rows, node_begin;
  int32_t replacement;   // whether a node's children were drawn with replacement
  int32_t rule;          // `block`: a chain, every token of it drawn
  int32_t corrects = 1;  // what follows a refused token comes from the mixture, too, and not from the first reading
  int32_t judged = 0;    // there is a judge
  int32_t longest = 0;   // so many rows in a row that only the judge keeps; 0: any number
  double bound = 0;      // scores above it are right
};

struct VerifyLists {
  const VerifyWalk* walks = nullptr;
  const VerifyNode* nodes = nullptr;  // of all walks
  const int32_t* drawn = nullptr;     // in the order of drawing
  const JudgeRow* judged = nullptr;   // by node, null: there are no judges
  float* scores = nullptr;            // by node, made here
  JudgedPath* paths = nullptr;        // the same
  int node_count = 0;
};

// After choose_tokens(sample), which has drawn every row as if the text had come there: leaves in sample.choices, at
// the rows of each walk that the text comes to, the token that follows and its logprob; at the walk's other rows token
// -1 without an error. An error ends a walk; by `block` an error at any row is the root's. `blocks`: some walk is by
// `block`; `others`: some is not. `residuals`: room for walks · sample.vocab. Rows that were read twice are judged by
// their mixture; log-probabilities are those of the first reading.
void verify_walks(const SampleRun& sample, const VerifyLists& lists, int walks, bool blocks, bool others,
                  double* residuals, cudaStream_t stream);
// The part of it that judges want.
void score_rows(const VerifyLists& lists, cudaStream_t stream);

}  // namespace vivace::cuda

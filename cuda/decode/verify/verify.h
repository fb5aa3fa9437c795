// Verification of drafts on the card by the rules of cpp/decode/verify: which drafted tokens stay, and what follows
// them. Random numbers are the host's, so that but for rounding at borders the tokens are the same.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/decode/sample.h"
#include "cuda/decode/verify/laws.h"

namespace vivace::cuda {

// Numbers of VerifyRule in cpp/decode/verify/verify.h; drafts by `match` are no walks.
constexpr int32_t rule_ratio = 1, rule_block = 2, rule_typical = 3, rule_relaxed = 4;

// A row of a walk, and the law that its children were drawn from.
struct VerifyNode {
  CardLaw law;                       // none: nothing was drawn, and by `ratio` the row's own choice counts
  int32_t parent, token;             // the place in the walk, -1 for the root; the token that the row has read
  int32_t drawn_begin, drawn_count;  // places in VerifyLists
};

// One sequence's draft: outputs [output, output + rows), the root first, every parent before its children.
struct VerifyWalk {
  uint64_t cycle;
  double first, second;  // of the rules `typical` and `relaxed`
  int32_t output, rows, node_begin;
  int32_t replacement;  // whether a node's children were drawn with replacement
  int32_t rule;         // `block`: a chain, every token of it drawn
};

struct VerifyLists {
  const VerifyWalk* walks = nullptr;
  const VerifyNode* nodes = nullptr;  // of all walks
  const int32_t* drawn = nullptr;     // in the order of drawing
};

// After choose_tokens(sample), which has drawn every row as if the text had come there: leaves in sample.choices, at
// the rows of each walk that the text comes to, the token that follows and its logprob; at the walk's other rows token
// -1 without an error. An error ends a walk; by `block` an error at any row is the root's. `blocks`: some walk is by
// `block`; `others`: some is not. `residuals`: room for walks · sample.vocab.
void verify_walks(const SampleRun& sample, const VerifyLists& lists, int walks, bool blocks, bool others,
                  double* residuals, cudaStream_t stream);

}  // namespace vivace::cuda

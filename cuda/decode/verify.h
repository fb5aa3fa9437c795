// Verification of drafts on the card by the rule `ratio` of cpp/decode/verify: drafted tokens that were drawn from a
// law stay with probability p / q, else the residual is drawn from. Random numbers are the host's, so that but for
// rounding at borders the tokens are the same.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/decode/sample.h"

namespace vivace::cuda {

// A row of a walk, and the law that its children were drawn from.
struct VerifyNode {
  double total;                  // of the law's weights
  int32_t parent, token;         // the place in the walk, -1 for the root; the token that the row has read
  int32_t law_begin, law_count;  // places in VerifyLists; 0: nothing was drawn, and the row's own choice counts
  int32_t drawn_begin, drawn_count;
};

// One sequence's draft: outputs [output, output + rows), the root first, every parent before its children.
struct VerifyWalk {
  uint64_t cycle;
  int32_t output, rows, node_begin;
  int32_t replacement;  // whether a node's children were drawn with replacement
};

struct VerifyLists {
  const VerifyWalk* walks = nullptr;
  const VerifyNode* nodes = nullptr;  // of all walks
  const int32_t* ids = nullptr;       // of all laws, each ascending
  const float* weights = nullptr;
  const int32_t* drawn = nullptr;  // in the order of drawing
};

// After choose_tokens(sample), which has drawn every row as if the text had come there: leaves in sample.choices, at
// the rows of each walk that the text comes to, the token that follows and its logprob; at the walk's other rows token
// -1 without an error. An error ends a walk. `residuals`: room for walks · sample.vocab.
void verify_walks(const SampleRun& sample, const VerifyLists& lists, int walks, double* residuals, cudaStream_t stream);

}  // namespace vivace::cuda

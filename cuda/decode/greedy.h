// Greedy decoding on the card: the choice of each row of logits, and which drafted rows of a chain or tree it accepts.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/decode/draw_row.h"

namespace vivace::cuda {

constexpr int greedy_slice = 1024;  // logits per block: 125 blocks for one row of 128k

struct GreedyPart {  // what a block found in its slice
  float peak;        // -inf: nothing
  int32_t token;     // of the peak, the lowest of equals; -1: nothing
  float total;       // sum of exp(logit - peak)
  int32_t error;     // SampleError of cpp/decode/sample.h: 1 NaN, 2 +infinity
};

struct GreedyChoice {
  int32_t token;      // -1 where error is not 0
  float logprob;      // natural, under softmax of the row
  int32_t error;      // SampleError: 0 none, 1 not_a_number, 2 infinite, 3 nothing_left
  int32_t marks = 0;  // VivaceDeviceMark, where drafts are verified
};

constexpr int greedy_parts_of(int vocab) {
  return (vocab + greedy_slice - 1) / greedy_slice;
}

// choices[row] for logits[row * stride, row * stride + vocab); parts: room for rows * greedy_parts_of(vocab). vocab >
// 0. With `draws` [rows] each row has its own vocabulary, of at most `vocab` tokens, and rows without one of the flags
// `wanted` get token -1 without an error.
void choose_greedy(const float* logits, int64_t stride, int rows, int vocab, GreedyPart* parts, GreedyChoice* choices,
                   cudaStream_t stream, const DrawRow* draws = nullptr, int32_t wanted = 0);

// Rows [begins[s], begins[s + 1]) are sequence s's: the first is its last accepted token, the others are drafts;
// parents[row], counted from the sequence's first row, is less than the row's own place (a chain: place - 1). A draft
// is accepted if its parent is and it is the parent's choice; of equal siblings the first counts. accepted[begins[s] +
// i]: place of the i-th accepted draft, -1 beyond counts[s]; next[s]: the choice after the last one.
void verify_greedy(const GreedyChoice* choices, const int32_t* tokens, const int32_t* parents, const int32_t* begins,
                   int sequences, int32_t* accepted, int32_t* counts, GreedyChoice* next, cudaStream_t stream);

}  // namespace vivace::cuda

// Drawing tokens at random on the card: bias, penalties, temperature, truncation, draw, by the definition of
// cpp/decode/sample.h and with the same random number, so that but for rounding at borders it is the same token.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/decode/draw_row.h"
#include "cuda/decode/greedy.h"
#include "cuda/decode/select_sizes.h"

namespace vivace::cuda {

constexpr int sample_block = 64;  // as on the host: sums go through blocks of it

constexpr int sample_blocks_of(int vocab) {
  return (vocab + sample_block - 1) / sample_block;
}

// Memory of the kernels, per row of the run or, where it says so, per row that truncates.
struct SampleRoom {
  GreedyPart* parts = nullptr;    // [rows, greedy_parts_of(vocab)]
  GreedyChoice* again = nullptr;  // [rows] peaks of adjusted rows
  double* totals = nullptr;       // [rows] log Σ e^logit of adjusted rows before that
  float* maxima = nullptr;        // [rows, sample_blocks_of(vocab)]
  float* sums = nullptr;          // the same
  float* weights = nullptr;       // [truncating rows, vocab]
  float* scores = nullptr;        // the same
  int32_t* ids = nullptr;         // the same
  int32_t* counts = nullptr;      // [truncating rows] how long the lists are: what a row is drawn from stays there
  unsigned long long* words = nullptr;      // [truncating rows, select_words]
  unsigned long long* top_words = nullptr;  // [rows that want the most probable tokens, select_words]
  unsigned long long* top_keys = nullptr;   // [most probable tokens of all rows]
};

struct TopToken {
  int32_t token;
  float logprob;  // natural, under softmax of the row
};

struct SampleRun {
  float* logits = nullptr;  // [rows, stride]; adjusted rows keep their changes
  int64_t stride = 0;
  int rows = 0, vocab = 0;
  const DrawRow* draws = nullptr;  // [rows]
  DrawLists lists;
  bool adjusts = false, draws_random = false, reports = false, keeps = false,
       branches = false;  // whether some row does
  SampleRoom room;
  GreedyChoice* choices = nullptr;  // [rows]
  TopToken* tops = nullptr;         // of the rows that want them, most probable first
};

// The parts of it that are seldom wanted: the most probable tokens, before bias and penalties; laws that are kept.
void find_tops(const SampleRun& run, cudaStream_t stream);
void keep_drawn_laws(const SampleRun& run, cudaStream_t stream);
// Children of rows, drawn without replacement from the laws that were kept.
void draw_row_children(const SampleRun& run, cudaStream_t stream);

// The next round's tokens: row i has read output i's; -1 where there was an error.
void feed_tokens(const GreedyChoice* choices, int rows, int32_t* tokens, cudaStream_t stream);

// Greedy rows as well; token -1 without an error for rows that are not drawn here.
void choose_tokens(const SampleRun& run, cudaStream_t stream);

}  // namespace vivace::cuda

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

// A row that was read a second time: (1 − alpha) · first + alpha · mean of the others, logit by logit. It goes where
// the first of the others was, which is drawn from.
struct MixRow {
  int32_t first;         // output of the row's own logits
  int32_t begin, count;  // outputs of the others, in MixLists
  float alpha, rest;     // rest = 1 − alpha; 0: the row's own logits do not matter
};

struct MixLists {
  const MixRow* rows = nullptr;
  const int32_t* readings = nullptr;
  int32_t* changed = nullptr;  // [count] 1: the mixture has another favourite than the row
  int count = 0;
};

struct SampleRun {
  float* logits = nullptr;  // [rows, stride]; adjusted rows keep their changes
  int64_t stride = 0;
  int rows = 0, vocab = 0;
  const DrawRow* draws = nullptr;  // [rows]
  DrawLists lists;
  bool adjusts = false, draws_random = false, reports = false, keeps = false, branches = false, limits = false,
       ranks = false;  // whether some row does
  MixLists mixes;
  SampleRoom room;
  GreedyChoice* choices = nullptr;  // [rows]
  TopToken* tops = nullptr;         // of the rows that want them, most probable first
};

// The parts of it that are seldom wanted: mixtures of logits, and what they change; the most probable tokens of rows
// that are `ranked` or of those that are not; bans; laws that are kept.
void mix_readings(const SampleRun& run, cudaStream_t stream);
void note_changes(const SampleRun& run, cudaStream_t stream);
void find_tops(const SampleRun& run, bool ranked, cudaStream_t stream);
void limit_tokens(const SampleRun& run, cudaStream_t stream);
void keep_drawn_laws(const SampleRun& run, cudaStream_t stream);
// Children of rows, drawn without replacement from the laws that were kept.
void draw_row_children(const SampleRun& run, cudaStream_t stream);

// The next round's tokens: row i has read output i's; -1 where there was an error.
void feed_tokens(const GreedyChoice* choices, int rows, int32_t* tokens, cudaStream_t stream);

// Greedy rows as well; token -1 without an error for rows that are not drawn here.
void choose_tokens(const SampleRun& run, cudaStream_t stream);

}  // namespace vivace::cuda

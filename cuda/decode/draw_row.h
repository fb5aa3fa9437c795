// What kernels know of an output whose token is drawn: the options of cpp/decode/sample.h, ready for use.
#pragma once
#include <cstdint>

#include "cuda/decode/verify/laws.h"

namespace vivace::cuda {

constexpr int32_t draw_here = 1;      // the card draws
constexpr int32_t draw_adjusted = 2;  // bias or penalties change logits first
constexpr int32_t draw_random = 4;    // not greedy
constexpr int32_t draw_limited = 8;   // some tokens are banned; with draw_adjusted
constexpr int32_t draw_ranked = 16;   // the most probable tokens after bias, penalties and bans are wanted

struct DrawRow {
  int32_t flags;
  int32_t vocab;  // tokens at or beyond it are never drawn
  float scale;    // 1 / temperature
  float repetition;
  double presence, frequency;
  double top_p, min_p, typical_p;  // 1, 0, 1: off
  uint64_t seed, index, lane;      // of the random number
  int32_t top_k;                   // 0: off
  int32_t room;                    // among the rows that have room for lists, −1: truncates nothing
  int32_t bias_begin, bias_count;  // places in DrawLists
  int32_t seen_begin, seen_count;
  int32_t allowed_begin;         // the first of the words that say what is allowed
  int32_t top_begin, top_count;  // how many of the most probable tokens are wanted, and their place among all of them
  int32_t top_room;              // among the rows that want some
  CardLaw law;                   // where to keep what the token is drawn from
  int32_t children;              // how many tokens are drawn from that without replacement; they are at top_begin
};

// The lists of all rows, one after the other.
struct DrawLists {
  const int32_t* bias_tokens = nullptr;
  const float* biases = nullptr;
  const int32_t* seen = nullptr;    // tokens that penalties touch
  const uint32_t* times = nullptr;  // how often each was generated
  float* old_biased = nullptr;      // the logits that were there
  float* old_seen = nullptr;
  const uint32_t* allowed = nullptr;  // token t of a limited row may be drawn: bit t % 32 of its word t / 32
};

}  // namespace vivace::cuda

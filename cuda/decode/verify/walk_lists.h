// What kernels are told of a run's walks, in the memory that goes to the card with it.
#pragma once
#include <cstdint>
#include <functional>

#include "cuda/core/divider.h"
#include "cuda/decode/sample.h"
#include "cuda/decode/verify/verify.h"
#include "device/table.h"

namespace vivace::cuda {

// How long the lists are.
struct WalkCounts {
  explicit WalkCounts(const VivaceDeviceRun& run);
  int64_t walks = 0, nodes = 0, weights = 0, drawn = 0, mixes = 0, readings = 0;
  int64_t heads = 0;   // weights of judges
  int64_t judged = 0;  // nodes, where some walk has a judge
  int64_t blocks = 0;  // walks by `block`
};

// Their places, here or on the card.
struct WalkPlaces {
  WalkPlaces(Divider& divider, const WalkCounts& counts);
  VerifyWalk* walks;
  VerifyNode* nodes;
  LawHead* law_heads;
  int32_t* law_ids;
  float* law_weights;
  int32_t* drawn;
  MixRow* mixes;
  int32_t* readings;
  float* heads;
  JudgeRow* judged;
};

// Fills the places here; addresses in it are those on the card. `hidden_of`: a row of a value of the program there.
void fill_walks(const VivaceDeviceRun& run, const WalkPlaces& here, const WalkPlaces& card,
                const std::function<const float*(int32_t value, int32_t row)>& hidden_of);

// What kernels get: the places on the card, and memory for what they make.
VerifyLists lists_of(const WalkPlaces& card, const WalkCounts& counts, Divider& room);
MixLists mixes_of(const WalkPlaces& card, const WalkCounts& counts, Divider& room);

}  // namespace vivace::cuda

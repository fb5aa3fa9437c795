// The laws that a draft's tokens were drawn from, in the card's memory: sent from the host, or kept there by the model
// that drew them until another model on the same card verifies the draft.
#pragma once
#include <cstdint>

namespace vivace::cuda {

struct LawHead {
  double total;   // of the weights
  int32_t count;  // 0: nothing was drawn
  int32_t dense;  // 1: token i has weights[i], and there are no ids
};

// Addresses on the card.
struct CardLaw {
  LawHead* head = nullptr;  // null: no law
  int32_t* ids = nullptr;   // [count] ascending
  float* weights = nullptr;
};

}  // namespace vivace::cuda

// What a drafter drew its tokens from, for verifiers that weigh the draft's law against the target's. Made by one
// model's run and read by another's; a draft without it is verified by matching.
#pragma once
#include <cstdint>
#include <vector>

#include "decode/law.h"

namespace vivace {

struct Proposal {
  struct Node {
    StoredLaw law;               // empty: the node's children were chosen, not drawn
    std::vector<int32_t> drawn;  // from it, in this order; with replacement a token may come twice
  };
  std::vector<Node> nodes;  // 0: the root, then the draft's rows
  bool replacement = false;
};

}  // namespace vivace

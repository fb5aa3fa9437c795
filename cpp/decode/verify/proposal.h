// What a drafter drew its tokens from, for verifiers that weigh the draft's law against the target's. Made by one
// model's run and read by another's; a draft without it is verified by matching.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "decode/law.h"

namespace vivace {

// Laws in a device's memory, by node: what one program there has drawn from, and another one there verifies.
class LawsElsewhere {
 public:
  virtual ~LawsElsewhere() = default;
  virtual StoredLaw read(int node) = 0;
};

struct Proposal {
  struct Node {
    StoredLaw law;               // empty: the node's children were chosen, not drawn
    std::vector<int32_t> drawn;  // from it, in this order; with replacement a token may come twice
    bool elsewhere = false;      // the law is in `laws`
    bool has_law() const { return elsewhere || !law.empty(); }
  };
  std::vector<Node> nodes;  // 0: the root, then the draft's rows
  bool replacement = false;
  const void* place = nullptr;  // Runner::place of the program that verifies it; null: the host's
  std::shared_ptr<LawsElsewhere> laws;

  // Brings laws that are elsewhere to the host.
  void bring() {
    for (size_t i = 0; i < nodes.size(); ++i) nodes[i] = {law_of(i), std::move(nodes[i].drawn), false};
  }
  // Wherever it is.
  StoredLaw law_of(size_t node) const {
    return nodes[node].elsewhere ? laws->read(static_cast<int>(node)) : nodes[node].law;
  }
};

}  // namespace vivace

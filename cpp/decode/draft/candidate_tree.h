// Candidate continuations merged into a tree by their common beginnings; its most probable part becomes a draft.
#pragma once
#include <cstdint>
#include <vector>

#include "decode/draft/drafter.h"

namespace vivace {

class CandidateTree {
 public:
  void clear() { nodes_.assign(1, Node{}); }
  // The node of `token` under `parent` (0: the root), which is made when there is none. `weight` is added to its score;
  // sums of weights must not grow along a path.
  int add(int parent, int32_t token, double weight);
  // The nodes of highest score (of equals the one that was made first): max_nodes of them, or where that is at most
  // max_tokens the best child of the best child …
  void emit(int max_tokens, int max_nodes, Draft& out) const;

 private:
  struct Node {
    int32_t token = 0;
    int first_child = -1;   // the one made last
    int next_sibling = -1;  // the one made before
    double score = 0;
  };
  bool better(int a, int b) const {
    const double difference = nodes_[static_cast<size_t>(a)].score - nodes_[static_cast<size_t>(b)].score;
    return difference != 0 ? difference > 0 : a < b;
  }
  std::vector<Node> nodes_{1};
};

}  // namespace vivace

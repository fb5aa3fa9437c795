#include "decode/draft/candidate_tree.h"

#include <queue>
#include <utility>

namespace vivace {

int CandidateTree::add(int parent, int32_t token, double weight) {
  int child = nodes_[static_cast<size_t>(parent)].first_child;
  // Whoever adds in sorted order finds the child at once: it is the one made last.
  while (child >= 0 && nodes_[static_cast<size_t>(child)].token != token)
    child = nodes_[static_cast<size_t>(child)].next_sibling;
  if (child < 0) {
    child = static_cast<int>(nodes_.size());
    Node node;
    node.token = token;
    node.next_sibling = std::exchange(nodes_[static_cast<size_t>(parent)].first_child, child);
    nodes_.push_back(node);
  }
  nodes_[static_cast<size_t>(child)].score += weight;
  return child;
}

void CandidateTree::emit(int max_tokens, int max_nodes, Draft& out) const {
  out.clear();
  if (max_nodes <= max_tokens) {
    for (int node = 0; out.size() < max_nodes;) {
      int best = -1;
      for (int child = nodes_[static_cast<size_t>(node)].first_child; child >= 0;
           child = nodes_[static_cast<size_t>(child)].next_sibling)
        if (best < 0 || better(child, best)) best = child;
      if (best < 0) break;
      const Node& chosen = nodes_[static_cast<size_t>(best)];
      out.add(chosen.token, out.size() - 1, chosen.score);
      node = best;
    }
    return;
  }
  using Entry = std::pair<int, int>;  // a node, and its parent in the draft
  const auto worse = [this](const Entry& a, const Entry& b) { return better(b.first, a.first); };
  std::priority_queue<Entry, std::vector<Entry>, decltype(worse)> open(worse);
  const auto push_children = [&](int node, int parent) {
    for (int child = nodes_[static_cast<size_t>(node)].first_child; child >= 0;
         child = nodes_[static_cast<size_t>(child)].next_sibling)
      open.emplace(child, parent);
  };
  push_children(0, -1);
  while (!open.empty() && out.size() < max_nodes) {
    const auto [node, parent] = open.top();
    open.pop();
    const Node& chosen = nodes_[static_cast<size_t>(node)];
    push_children(node, out.add(chosen.token, parent, chosen.score));
  }
}

}  // namespace vivace

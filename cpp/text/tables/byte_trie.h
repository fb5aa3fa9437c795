// A trie of byte strings: the children of a node lie side by side, in order.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <vector>

#include "text/tables/vocabulary.h"

namespace vivace {

class ByteTrie {
 public:
  struct Node {
    uint32_t first_child = 0;
    uint16_t children = 0;
    uint8_t byte = 0;
    int32_t value = -1;  // the number of the string that ends here; of equal strings the first
  };

  const Node& root() const { return nodes_[0]; }

  const Node* child(const Node& node, uint8_t byte) const {
    const Node* first = nodes_.data() + node.first_child;
    const Node* last = first + node.children;
    if (node.children > 8) {
      first = std::lower_bound(first, last, byte, [](const Node& a, uint8_t b) { return a.byte < b; });
    } else {
      while (first < last && first->byte < byte) ++first;
    }
    return first < last && first->byte == byte ? first : nullptr;
  }

  // Of the strings for which `include` is true; empty ones have no place.
  template <class Include>
  void build(const StringArena& strings, const Include& include) {
    std::vector<uint32_t> order;
    for (uint32_t i = 0; i < strings.count; ++i)
      if (strings.length(i) > 0 && include(i)) order.push_back(i);
    std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
      const uint32_t length = std::min(strings.length(a), strings.length(b));
      const int difference = std::memcmp(strings.begin(a), strings.begin(b), length);
      if (difference != 0) return difference < 0;
      return strings.length(a) != strings.length(b) ? strings.length(a) < strings.length(b) : a < b;
    });
    // Level by level: a node and the sorted strings that go through it.
    struct Range {
      uint32_t node, from, until;
    };
    nodes_.assign(1, Node{});
    std::vector<Range> level{{0, 0, static_cast<uint32_t>(order.size())}}, next;
    for (uint32_t depth = 0; !level.empty(); ++depth, level.swap(next)) {
      next.clear();
      for (const Range& range : level) {
        uint32_t at = range.from;
        while (at < range.until && strings.length(order[at]) == depth) ++at;  // these end at the node
        if (at > range.from) nodes_[range.node].value = static_cast<int32_t>(order[range.from]);
        nodes_[range.node].first_child = static_cast<uint32_t>(nodes_.size());
        while (at < range.until) {
          const uint8_t byte = strings.begin(order[at])[depth];
          const uint32_t from = at;
          while (at < range.until && strings.begin(order[at])[depth] == byte) ++at;
          next.push_back({static_cast<uint32_t>(nodes_.size()), from, at});
          nodes_.push_back({0, 0, byte, -1});
          ++nodes_[range.node].children;
        }
      }
    }
  }

 private:
  std::vector<Node> nodes_ = std::vector<Node>(1);
};

}  // namespace vivace

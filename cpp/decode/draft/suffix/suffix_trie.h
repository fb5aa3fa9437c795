// Counts of all sequences of tokens up to a length: a trie of suffixes whose unary paths are one edge.
//
// A suffix is a range of one of the texts that the owner keeps; the trie holds no tokens, a node refers to a suffix
// that passes it. Every node except the root counts the suffixes that pass it, and exists because it has several
// children, or because suffixes end there: the shape is a function of the suffixes alone. At most two nodes per suffix,
// about 100 bytes together with their places in the tables. insert and remove take O(nodes on the path · log siblings)
// and a comparison of the path's tokens.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace vivace {

class SuffixTrie {
 public:
  static constexpr uint32_t none = UINT32_MAX;
  static constexpr uint32_t root = 0;
  static constexpr int most_depth = 256;

  // Which suffixes may be removed while others stay: only those inserted last, or only those inserted first. Nodes
  // refer to suffixes that stay longest.
  enum class Removal { newest_first, oldest_first };
  explicit SuffixTrie(Removal removal);

  // Where text `text` lies; to be told again when it moved.
  void set_text(uint32_t text, const int32_t* tokens);
  // length 1 to most_depth
  void insert(uint32_t text, uint32_t start, int length);
  void remove(uint32_t text, uint32_t start, int length);

  // A sequence of tokens: the place at `depth` on the edge that ends in `node`.
  struct Place {
    uint32_t node = none;
    int depth = 0;
    bool exists() const { return node != none; }
  };
  struct Next {
    int32_t token;
    uint32_t count;
  };
  Place find(const int32_t* tokens, int length) const;
  Place child(Place place, int32_t token) const;
  uint32_t count(Place place) const { return place.exists() ? nodes_[place.node].count : 0; }
  // Appends what follows the place, by falling count, then by token: `most` of them, none with a count below `least`.
  void children(Place place, size_t most, uint32_t least, std::vector<Next>& out) const;

  int64_t nodes() const { return static_cast<int64_t>(nodes_.size() - free_nodes_.size()); }
  int64_t bytes() const;

 private:
  struct Node {
    uint32_t text, start;  // the path is the first `depth` tokens there
    uint32_t parent;       // of a free node: nothing
    uint32_t count;        // of suffixes that pass
    uint32_t heap_place;   // in the parent's heap
    uint32_t heap;         // of children, none without
    int32_t token;         // the first of the edge
    int32_t depth;         // of the edge's end
  };
  struct Slot {
    uint32_t hash = 0, child = none;
  };

  const int32_t* path(const Node& node) const { return texts_[node.text] + node.start; }
  uint32_t child_of(uint32_t parent, int32_t token) const;
  size_t slot_of(uint32_t parent, int32_t token, uint32_t hash) const;
  uint32_t new_node(const Node& node);
  void add_leaf(uint32_t parent, uint32_t text, uint32_t start, int length, int32_t token);
  uint32_t split(uint32_t node, int depth);
  void drop_leaf(uint32_t node);
  void merge(uint32_t node);
  void table_set(uint32_t parent, int32_t token, uint32_t child);
  void table_erase(uint32_t parent, int32_t token);
  // Does child a stand above child b in their parent's heap: more suffixes, or as many and a smaller token.
  bool above(uint32_t a, uint32_t b) const;
  void heap_push(uint32_t parent, uint32_t child);
  void heap_erase(uint32_t parent, uint32_t child);
  void rise(std::vector<uint32_t>& heap, size_t at);
  void sink(std::vector<uint32_t>& heap, size_t at);
  std::vector<uint32_t>& heap_of(uint32_t parent) { return heaps_[nodes_[parent].heap]; }

  Removal removal_;
  std::vector<const int32_t*> texts_;
  std::vector<Node> nodes_;
  std::vector<uint32_t> free_nodes_;
  std::vector<std::vector<uint32_t>> heaps_;
  std::vector<uint32_t> free_heaps_;
  std::vector<Slot> slots_;
  size_t used_slots_ = 0;
};

}  // namespace vivace

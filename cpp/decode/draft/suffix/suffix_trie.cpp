#include "decode/draft/suffix/suffix_trie.h"

#include <algorithm>
#include <array>
#include <utility>

namespace vivace {
namespace {

uint32_t hash_of(uint32_t parent, int32_t token) {
  uint64_t hash = ((static_cast<uint64_t>(parent) << 32) | static_cast<uint32_t>(token)) * 0x9E3779B97F4A7C15ULL;
  hash = (hash ^ (hash >> 32)) * 0xD6E8FEB86659FD93ULL;
  return static_cast<uint32_t>(hash >> 32);
}

}  // namespace

SuffixTrie::SuffixTrie(Removal removal) : removal_(removal), slots_(16) {
  nodes_.push_back({0, 0, none, 0, 0, none, 0, 0});
}

void SuffixTrie::set_text(uint32_t text, const int32_t* tokens) {
  if (text >= texts_.size()) texts_.resize(text + 1);
  texts_[text] = tokens;
}

// --- children by token: one hash table for all nodes ---

size_t SuffixTrie::slot_of(uint32_t parent, int32_t token, uint32_t hash) const {
  const size_t mask = slots_.size() - 1;
  for (size_t at = hash & mask;; at = (at + 1) & mask) {
    const Slot& slot = slots_[at];
    if (slot.child == none) return at;
    if (slot.hash != hash) continue;
    const Node& child = nodes_[slot.child];
    if (child.parent == parent && child.token == token) return at;
  }
}

uint32_t SuffixTrie::child_of(uint32_t parent, int32_t token) const {
  return slots_[slot_of(parent, token, hash_of(parent, token))].child;
}

// The child must know its parent and token already; an entry of the same parent and token is replaced.
void SuffixTrie::table_set(uint32_t parent, int32_t token, uint32_t child) {
  const uint32_t hash = hash_of(parent, token);
  size_t at = slot_of(parent, token, hash);
  if (slots_[at].child == none && 5 * (++used_slots_) > 3 * slots_.size()) {
    std::vector<Slot> old(2 * slots_.size());
    old.swap(slots_);
    const size_t mask = slots_.size() - 1;
    for (const Slot& slot : old) {
      if (slot.child == none) continue;
      size_t to = slot.hash & mask;
      while (slots_[to].child != none) to = (to + 1) & mask;
      slots_[to] = slot;
    }
    at = slot_of(parent, token, hash);
  }
  slots_[at] = {hash, child};
}

void SuffixTrie::table_erase(uint32_t parent, int32_t token) {
  const size_t mask = slots_.size() - 1;
  size_t gap = slot_of(parent, token, hash_of(parent, token));
  // Moves later entries back into the gap, so that no search ends too early.
  for (size_t at = (gap + 1) & mask; slots_[at].child != none; at = (at + 1) & mask) {
    const size_t home = slots_[at].hash & mask;
    if (((at - home) & mask) < ((at - gap) & mask)) continue;
    slots_[gap] = slots_[at];
    gap = at;
  }
  slots_[gap].child = none;
  --used_slots_;
}

// --- children by count: a heap per node ---

bool SuffixTrie::above(uint32_t a, uint32_t b) const {
  const Node &first = nodes_[a], &second = nodes_[b];
  return first.count != second.count ? first.count > second.count : first.token < second.token;
}

void SuffixTrie::rise(std::vector<uint32_t>& heap, size_t at) {
  const uint32_t child = heap[at];
  for (; at > 0 && above(child, heap[(at - 1) / 2]); at = (at - 1) / 2) {
    heap[at] = heap[(at - 1) / 2];
    nodes_[heap[at]].heap_place = static_cast<uint32_t>(at);
  }
  heap[at] = child;
  nodes_[child].heap_place = static_cast<uint32_t>(at);
}

void SuffixTrie::sink(std::vector<uint32_t>& heap, size_t at) {
  const uint32_t child = heap[at];
  for (;;) {
    size_t below = 2 * at + 1;
    if (below >= heap.size()) break;
    if (below + 1 < heap.size() && above(heap[below + 1], heap[below])) ++below;
    if (!above(heap[below], child)) break;
    heap[at] = heap[below];
    nodes_[heap[at]].heap_place = static_cast<uint32_t>(at);
    at = below;
  }
  heap[at] = child;
  nodes_[child].heap_place = static_cast<uint32_t>(at);
}

void SuffixTrie::heap_push(uint32_t parent, uint32_t child) {
  if (nodes_[parent].heap == none) {
    if (free_heaps_.empty()) {
      free_heaps_.push_back(static_cast<uint32_t>(heaps_.size()));
      heaps_.emplace_back();
    }
    nodes_[parent].heap = free_heaps_.back();
    free_heaps_.pop_back();
  }
  std::vector<uint32_t>& heap = heap_of(parent);
  heap.push_back(child);
  rise(heap, heap.size() - 1);
}

void SuffixTrie::heap_erase(uint32_t parent, uint32_t child) {
  std::vector<uint32_t>& heap = heap_of(parent);
  const size_t at = nodes_[child].heap_place;
  const uint32_t moved = heap.back();
  heap.pop_back();
  if (moved != child) {
    heap[at] = moved;
    nodes_[moved].heap_place = static_cast<uint32_t>(at);
    rise(heap, at);
    sink(heap, nodes_[moved].heap_place);
  }
  if (!heap.empty()) return;
  std::vector<uint32_t>().swap(heap);
  free_heaps_.push_back(std::exchange(nodes_[parent].heap, none));
}

// --- the trie ---

uint32_t SuffixTrie::new_node(const Node& node) {
  if (free_nodes_.empty()) {
    nodes_.push_back(node);
    return static_cast<uint32_t>(nodes_.size() - 1);
  }
  const uint32_t id = free_nodes_.back();
  free_nodes_.pop_back();
  nodes_[id] = node;
  return id;
}

void SuffixTrie::add_leaf(uint32_t parent, uint32_t text, uint32_t start, int length, int32_t token) {
  const uint32_t leaf = new_node({text, start, parent, 1, 0, none, token, length});
  table_set(parent, token, leaf);
  heap_push(parent, leaf);
}

// A new node at `depth` on the edge that ends in `node`.
uint32_t SuffixTrie::split(uint32_t node, int depth) {
  const Node below = nodes_[node];
  const uint32_t middle =
      new_node({below.text, below.start, below.parent, below.count, below.heap_place, none, below.token, depth});
  table_set(below.parent, below.token, middle);
  heap_of(below.parent)[below.heap_place] = middle;
  nodes_[node].parent = middle;
  nodes_[node].token = path(below)[depth];
  table_set(middle, nodes_[node].token, node);
  heap_push(middle, node);
  return middle;
}

void SuffixTrie::insert(uint32_t text, uint32_t start, int length) {
  const int32_t* tokens = texts_[text] + start;
  ++nodes_[root].count;
  for (uint32_t node = root;;) {
    const int depth = nodes_[node].depth;
    if (depth == length) return;
    uint32_t child = child_of(node, tokens[depth]);
    if (child == none) return add_leaf(node, text, start, length, tokens[depth]);
    const int end = std::min(nodes_[child].depth, length);
    const int32_t* label = path(nodes_[child]);
    const int common = static_cast<int>(std::mismatch(tokens + depth, tokens + end, label + depth).first - tokens);
    if (common < nodes_[child].depth) child = split(child, common);
    ++nodes_[child].count;
    rise(heap_of(node), nodes_[child].heap_place);
    if (removal_ == Removal::oldest_first) {
      nodes_[child].text = text;
      nodes_[child].start = start;
    }
    node = child;
  }
}

void SuffixTrie::drop_leaf(uint32_t node) {
  const uint32_t parent = nodes_[node].parent;
  table_erase(parent, nodes_[node].token);
  heap_erase(parent, node);
  free_nodes_.push_back(node);
}

// Makes one edge of the one that ends in `node` and the only one that begins there.
void SuffixTrie::merge(uint32_t node) {
  const uint32_t child = heap_of(node).front();
  table_erase(node, nodes_[child].token);
  heap_erase(node, child);
  const Node upper = nodes_[node];
  table_set(upper.parent, upper.token, child);
  nodes_[child].parent = upper.parent;
  nodes_[child].token = upper.token;
  nodes_[child].heap_place = upper.heap_place;
  heap_of(upper.parent)[upper.heap_place] = child;
  free_nodes_.push_back(node);
}

void SuffixTrie::remove(uint32_t text, uint32_t start, int length) {
  const int32_t* tokens = texts_[text] + start;
  std::array<uint32_t, most_depth> passed;
  size_t count = 0;
  --nodes_[root].count;
  for (uint32_t node = root; nodes_[node].depth < length;) {
    const uint32_t parent = node;
    node = child_of(parent, tokens[nodes_[parent].depth]);
    --nodes_[node].count;
    sink(heap_of(parent), nodes_[node].heap_place);
    passed[count++] = node;
  }
  while (count-- > 0) {
    const Node& node = nodes_[passed[count]];
    if (node.count == 0) {
      drop_leaf(passed[count]);
    } else if (node.heap != none && heaps_[node.heap].size() == 1 &&
               nodes_[heaps_[node.heap].front()].count == node.count) {
      merge(passed[count]);
    }
  }
}

SuffixTrie::Place SuffixTrie::find(const int32_t* tokens, int length) const {
  uint32_t node = root;
  while (nodes_[node].depth < length) {
    const int depth = nodes_[node].depth;
    node = child_of(node, tokens[depth]);
    if (node == none) return {};
    const int end = std::min(nodes_[node].depth, length);
    if (!std::equal(tokens + depth, tokens + end, path(nodes_[node]) + depth)) return {};
  }
  return {node, length};
}

SuffixTrie::Place SuffixTrie::child(Place place, int32_t token) const {
  if (!place.exists()) return {};
  const Node& node = nodes_[place.node];
  if (place.depth < node.depth) return path(node)[place.depth] == token ? Place{place.node, place.depth + 1} : Place{};
  const uint32_t below = child_of(place.node, token);
  return below == none ? Place{} : Place{below, place.depth + 1};
}

void SuffixTrie::children(Place place, size_t most, uint32_t least, std::vector<Next>& out) const {
  if (!place.exists() || most == 0) return;
  const Node& node = nodes_[place.node];
  if (place.depth < node.depth) {
    if (node.count >= least) out.push_back({path(node)[place.depth], node.count});
    return;
  }
  if (node.heap == none) return;
  const std::vector<uint32_t>& heap = heaps_[node.heap];
  if (most == 1) {
    const Node& best = nodes_[heap[0]];
    if (best.count >= least) out.push_back({best.token, best.count});
    return;
  }
  // The frontier of the heap's part that was taken; its best is next.
  std::vector<uint32_t> open{0};
  const auto worse = [&](uint32_t a, uint32_t b) { return above(heap[b], heap[a]); };
  for (size_t taken = 0; taken < most && !open.empty(); ++taken) {
    std::pop_heap(open.begin(), open.end(), worse);
    const uint32_t at = open.back();
    open.pop_back();
    const Node& best = nodes_[heap[at]];
    if (best.count < least) return;
    out.push_back({best.token, best.count});
    if (taken + 1 == most) return;
    for (uint32_t below = 2 * at + 1; below <= 2 * at + 2 && below < heap.size(); ++below) {
      open.push_back(below);
      std::push_heap(open.begin(), open.end(), worse);
    }
  }
}

int64_t SuffixTrie::bytes() const {
  size_t sum = nodes_.capacity() * sizeof(Node) + slots_.capacity() * sizeof(Slot) +
               heaps_.capacity() * sizeof(heaps_[0]) + texts_.capacity() * sizeof(texts_[0]) +
               (free_nodes_.capacity() + free_heaps_.capacity()) * sizeof(uint32_t);
  for (const std::vector<uint32_t>& heap : heaps_) sum += heap.capacity() * sizeof(uint32_t);
  return static_cast<int64_t>(sum);
}

}  // namespace vivace

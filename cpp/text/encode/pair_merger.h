// The merging loop of BPE and of SentencePiece: always the neighbouring pair of lowest rank, of equals the leftmost.
#pragma once
#include <algorithm>
#include <cstdint>
#include <functional>
#include <vector>

namespace vivace {

// A symbol in a doubly linked list: what stands there, from which byte of the piece to which.
struct MergeNode {
  int32_t symbol;
  uint32_t start, end;
  int32_t next, previous;
  uint32_t rank;   // of the pair with the next symbol; no_rank: it does not merge
  int32_t merged;  // what that pair becomes
};

constexpr uint32_t no_rank = 0xFFFFFFFFu;

class PairMerger {
 public:
  std::vector<MergeNode> nodes;

  // Merges `nodes`, whose symbol, start and end are set, until nothing merges. Survivors: node 0 and what follows it by
  // `next`. `rule(left, right, rank, merged)` says whether two neighbours merge. n² for few symbols, n log n for many.
  template <class Rule>
  void run(const Rule& rule) {
    const auto count = static_cast<int32_t>(nodes.size());
    for (int32_t i = 0; i < count; ++i) {
      nodes[i].next = i + 1 < count ? i + 1 : -1;
      nodes[i].previous = i - 1;
    }
    for (int32_t i = 0; i < count; ++i) consider(i, rule);
    if (count <= few) {
      run_few(rule);
    } else {
      run_many(rule);
    }
  }

  // One long piece must not hold its memory for ever.
  void shrink() {
    if (nodes.capacity() <= kept) return;
    nodes = {};
    heap_ = {};
  }

 private:
  static constexpr int32_t few = 40;
  static constexpr size_t kept = 1 << 16;

  template <class Rule>
  void run_few(const Rule& rule) {
    for (;;) {
      int32_t best = -1;
      uint32_t lowest = no_rank;
      for (int32_t i = 0; i >= 0; i = nodes[i].next) {
        if (nodes[i].rank < lowest) {
          lowest = nodes[i].rank;
          best = i;
        }
      }
      if (best < 0) return;
      merge(best, rule);
    }
  }

  template <class Rule>
  void run_many(const Rule& rule) {
    heap_.clear();
    for (size_t i = 0; i < nodes.size(); ++i)
      if (nodes[i].rank != no_rank) heap_.push_back(key_of(static_cast<int32_t>(i)));
    std::make_heap(heap_.begin(), heap_.end(), std::greater<>());
    while (!heap_.empty()) {
      const uint64_t key = heap_.front();
      std::pop_heap(heap_.begin(), heap_.end(), std::greater<>());
      heap_.pop_back();
      const auto left = static_cast<int32_t>(key & 0xFFFFFFFFu);
      if (nodes[left].rank != key >> 32) continue;  // the pair has changed since
      merge(left, rule);
      if (nodes[left].rank != no_rank) push(left);
      const int32_t before = nodes[left].previous;
      if (before >= 0 && nodes[before].rank != no_rank) push(before);
    }
  }

  template <class Rule>
  void merge(int32_t left, const Rule& rule) {
    MergeNode& node = nodes[left];
    MergeNode& gone = nodes[node.next];
    node.symbol = node.merged;
    node.end = gone.end;
    node.next = gone.next;
    if (node.next >= 0) nodes[node.next].previous = left;
    gone.rank = no_rank;
    if (node.previous >= 0) consider(node.previous, rule);
    consider(left, rule);
  }

  template <class Rule>
  void consider(int32_t left, const Rule& rule) {
    MergeNode& node = nodes[left];
    node.rank = no_rank;
    if (node.next >= 0) rule(node, nodes[node.next], node.rank, node.merged);
  }

  uint64_t key_of(int32_t left) const {
    return static_cast<uint64_t>(nodes[left].rank) << 32 | static_cast<uint32_t>(left);
  }
  void push(int32_t left) {
    heap_.push_back(key_of(left));
    std::push_heap(heap_.begin(), heap_.end(), std::greater<>());
  }

  std::vector<uint64_t> heap_;
};

}  // namespace vivace

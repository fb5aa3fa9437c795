// Finished outputs of all requests, with the counts of what they hold, for suffix drafts: the oldest ones make room.
#pragma once
#include <algorithm>
#include <deque>
#include <mutex>

#include "decode/draft/suffix/suffix_trie.h"

namespace vivace {

// Drafters share it; its members may be called by several threads.
class SuffixCache {
 public:
  SuffixCache(int depth, int64_t max_requests, int64_t max_tokens)
      : depth_(depth), max_requests_(max_requests), max_tokens_(max_tokens), trie_(SuffixTrie::Removal::oldest_first) {}
  // Of an output longer than max_tokens the last max_tokens. When memory runs out, the cache is empty afterwards.
  void add(const int32_t* tokens, int64_t count);
  void clear();

  struct Sizes {
    int64_t requests, tokens, nodes, bytes;
  };
  Sizes sizes() const;
  // Holds others off while the trie is read.
  std::unique_lock<std::mutex> lock() const { return std::unique_lock<std::mutex>(mutex_); }
  const SuffixTrie& trie() const { return trie_; }
  int depth() const { return depth_; }

 private:
  void insert(const int32_t* tokens, int64_t count);
  void evict();
  int length(const std::vector<int32_t>& text, size_t start) const {
    return static_cast<int>(std::min<size_t>(static_cast<size_t>(depth_), text.size() - start));
  }

  int depth_;
  int64_t max_requests_, max_tokens_, tokens_ = 0;
  mutable std::mutex mutex_;
  SuffixTrie trie_;
  std::vector<std::vector<int32_t>> texts_;
  std::vector<uint32_t> free_;
  std::deque<uint32_t> order_;  // of texts, the oldest first
};

}  // namespace vivace

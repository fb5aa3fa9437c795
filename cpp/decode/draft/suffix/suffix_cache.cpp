#include "decode/draft/suffix/suffix_cache.h"

namespace vivace {

void SuffixCache::clear() {
  const auto held = lock();
  trie_ = SuffixTrie(SuffixTrie::Removal::oldest_first);
  texts_.clear();
  free_.clear();
  order_.clear();
  tokens_ = 0;
}

void SuffixCache::evict() {
  const uint32_t oldest = order_.front();
  std::vector<int32_t>& text = texts_[oldest];
  for (size_t start = 0; start < text.size(); ++start)
    trie_.remove(oldest, static_cast<uint32_t>(start), length(text, start));
  tokens_ -= static_cast<int64_t>(text.size());
  std::vector<int32_t>().swap(text);
  order_.pop_front();
  free_.push_back(oldest);
}

void SuffixCache::insert(const int32_t* tokens, int64_t count) {
  const auto held = lock();
  const int64_t kept = std::min(count, max_tokens_);
  if (kept == 0) return;
  while (!order_.empty() && (static_cast<int64_t>(order_.size()) >= max_requests_ || tokens_ + kept > max_tokens_))
    evict();
  if (free_.empty()) {
    free_.push_back(static_cast<uint32_t>(texts_.size()));
    texts_.emplace_back();
  }
  const uint32_t id = free_.back();
  free_.pop_back();
  std::vector<int32_t>& text = texts_[id];
  text.assign(tokens + count - kept, tokens + count);
  order_.push_back(id);
  tokens_ += kept;
  trie_.set_text(id, text.data());
  for (size_t start = 0; start < text.size(); ++start)
    trie_.insert(id, static_cast<uint32_t>(start), length(text, start));
}

void SuffixCache::add(const int32_t* tokens, int64_t count) {
  try {
    insert(tokens, count);
  } catch (...) {
    clear();
    throw;
  }
}

SuffixCache::Sizes SuffixCache::sizes() const {
  const auto held = lock();
  int64_t bytes = trie_.bytes() + static_cast<int64_t>(texts_.capacity() * sizeof(texts_[0]));
  for (const std::vector<int32_t>& text : texts_) bytes += static_cast<int64_t>(text.capacity() * sizeof(int32_t));
  return {static_cast<int64_t>(order_.size()), tokens_, trie_.nodes(), bytes};
}

}  // namespace vivace

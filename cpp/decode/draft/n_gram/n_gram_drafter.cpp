#include "decode/draft/n_gram/n_gram_drafter.h"

#include <algorithm>

namespace vivace {

NGramDrafter::NGramDrafter(const NGramOptions& options)
    : options_(options), index_(options.min_n, options.max_n, options.latest) {}

void NGramDrafter::judge(int sign) {
  const int64_t last = static_cast<int64_t>(text_.size()) - 1;
  if (last < 1) return;
  int32_t known = -1;
  for (int n = options_.max_n; n >= options_.min_n; --n) {
    const int32_t match = index_.before(n, last - 1);
    if (match < 0 || match == known) continue;
    known = match;
    const int64_t length = MatchOdds::length(text_, last - 1, text_, match);
    odds_.judge(length, text_[static_cast<size_t>(match) + 1] == text_.back(), sign);
  }
}

void NGramDrafter::accept(const int32_t* tokens, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    append_text(text_, tokens + i, 1);
    judge(1);
    index_.push(text_);
  }
}

void NGramDrafter::truncate(int64_t length) {
  while (static_cast<int64_t>(text_.size()) > length) {
    index_.pop(text_);
    judge(-1);
    text_.pop_back();
  }
}

void NGramDrafter::draft(int max_tokens, int max_nodes, Draft& out) {
  constexpr int most_looked_at = 64;  // of occurrences that turn out to be known already
  const bool tree = max_nodes > max_tokens;
  const int branches = tree ? options_.branches : 1;
  const int length = std::min(max_tokens, max_nodes);
  tree_.clear();
  used_.clear();
  double left = 1;  // probability that none so far is right
  const int64_t end = static_cast<int64_t>(text_.size()) - 1;
  int looked_at = 0;
  for (int n = options_.max_n; end >= 0 && n >= options_.min_n; --n) {
    for (int32_t match = index_.before(n, end); match >= 0; match = index_.before(n, match)) {
      if (static_cast<int>(used_.size()) == branches || ++looked_at > most_looked_at) break;
      if (std::find(used_.begin(), used_.end(), match) != used_.end()) continue;
      used_.push_back(match);
      const int64_t matched = MatchOdds::length(text_, end, text_, match);
      double weight = left * odds_.of(matched);
      left -= weight;
      chain_.clear();
      for (int depth = 0, node = 0; depth < length; ++depth, weight *= odds_.of(matched + depth)) {
        const size_t source = static_cast<size_t>(match) + 1 + static_cast<size_t>(depth);
        const int32_t token = source < text_.size() ? text_[source] : chain_[source - text_.size()];
        chain_.push_back(token);
        node = tree_.add(node, token, weight);
      }
    }
  }
  tree_.emit(max_tokens, max_nodes, out);
}

int64_t NGramDrafter::bytes() const {
  return index_.bytes() + static_cast<int64_t>(text_.capacity() * sizeof(int32_t));
}

}  // namespace vivace

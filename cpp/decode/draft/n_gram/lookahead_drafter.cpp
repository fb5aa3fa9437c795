#include "decode/draft/n_gram/lookahead_drafter.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/error.h"

namespace vivace {

void LookaheadDrafter::add(int32_t key, Gram gram) {
  std::vector<Gram>& known = pool_[key];
  const auto same = std::find(known.begin(), known.end(), gram);
  if (same != known.end()) {
    std::rotate(known.begin(), same, same + 1);
    return;
  }
  known.insert(known.begin(), std::move(gram));
  if (static_cast<int>(known.size()) > options_.candidates) known.pop_back();
}

const std::vector<LookaheadDrafter::Gram>* LookaheadDrafter::of(int32_t key) const {
  const auto found = pool_.find(key);
  return found == pool_.end() ? nullptr : &found->second;
}

void LookaheadDrafter::accept(const int32_t* tokens, int64_t count) {
  if (count > max_text - length_)
    throw Error("CONTEXT_FULL", "A drafter's text has at most " + std::to_string(max_text) + " tokens");
  if (length_ > 0) {
    learn(tokens, count);
    advance(count);
  }
  const size_t n = static_cast<size_t>(options_.n);
  for (int64_t i = 0; i < count; ++i) {
    tail_.push_back(tokens[i]);
    if (options_.seed && tail_.size() >= n) add(tail_[tail_.size() - n], {tail_.end() - options_.n + 1, tail_.end()});
  }
  length_ += count;
  const size_t wanted = std::max(n - 1, static_cast<size_t>(options_.window));
  if (tail_.size() > wanted) tail_.erase(tail_.begin(), tail_.end() - static_cast<ptrdiff_t>(wanted));
}

void LookaheadDrafter::draft(int max_tokens, int max_nodes, Draft& out) {
  out.clear();
  probe_ = {};
  if (length_ == 0 || max_tokens < 1) return;
  show_window();
  first_.clear();
  const std::vector<Gram>* const grams = of(tail_.back());
  if (grams == nullptr) return;
  const auto longest = [max_tokens](const Gram& gram) {
    return gram.begin() + std::min<ptrdiff_t>(max_tokens, static_cast<ptrdiff_t>(gram.size()));
  };
  first_.assign(grams->front().begin(), longest(grams->front()));
  const double sure = static_cast<double>(hits_ + 1) / static_cast<double>(tries_ + 2);
  const bool chain = max_nodes <= max_tokens;
  for (size_t place = 0; place < (chain ? 1 : grams->size()); ++place) {
    const Gram& gram = (*grams)[place];
    int at = -1, depth = 0;
    for (auto token = gram.begin(); token != longest(gram); ++token) {
      ++depth;
      int next = 0;
      while (next < out.size() &&
             (out.tokens[static_cast<size_t>(next)] != *token || out.parents[static_cast<size_t>(next)] != at))
        ++next;
      if (next == out.size()) {
        if (next == max_nodes) break;
        out.add(*token, at, std::pow(sure, depth) * std::pow(0.5, static_cast<double>(place)));
      }
      at = next;
    }
  }
}

void LookaheadDrafter::show_window() {
  const auto window = static_cast<size_t>(options_.window);
  // Guesses to begin with: the text's last tokens, again; the first one stands for those before it.
  if (levels_.empty()) {
    std::vector<int32_t> begin(window, tail_.front());
    const size_t known = std::min(window, tail_.size());
    std::copy(tail_.end() - static_cast<ptrdiff_t>(known), tail_.end(), begin.end() - static_cast<ptrdiff_t>(known));
    levels_.push_back(std::move(begin));
  }
  for (size_t level = 0; level < levels_.size(); ++level)
    for (size_t column = 0; column < window; ++column) {
      const auto row = static_cast<int32_t>(level * window + column);
      probe_.tokens.push_back(levels_[level][column]);
      probe_.parents.push_back(level == 0 ? row - 1 : row - options_.window);
    }
  probe_.outputs = options_.window;
}

// The window after a round in which the text became longer by so many tokens.
void LookaheadDrafter::advance(int64_t by) {
  const auto window = static_cast<size_t>(options_.window);
  const std::vector<int32_t> found = std::exchange(found_, {});
  int64_t moved = by;  // of the columns
  const bool sound = std::all_of(found.begin(), found.end(), [](int32_t token) { return token >= 0; });
  if (found.size() == window && sound && !levels_.empty()) {
    levels_.push_back(found);
    if (static_cast<int>(levels_.size()) == options_.n) {
      for (size_t column = 0; column < window; ++column) {
        Gram gram;
        for (size_t level = 1; level < levels_.size(); ++level) gram.push_back(levels_[level][column]);
        add(levels_[0][column], std::move(gram));
      }
      levels_.erase(levels_.begin());  // which moves every column by one place
      --moved;
    }
  }
  if (levels_.empty()) return;
  // A column that comes in goes on from the last one, by what the pool knows.
  for (int64_t step = 0; step < moved; ++step) {
    int32_t token = levels_[0].back();
    for (std::vector<int32_t>& columns : levels_) {
      columns.erase(columns.begin());
      if (const std::vector<Gram>* const known = of(token)) token = known->front().front();
      columns.push_back(token);
    }
  }
}

void LookaheadDrafter::learn(const int32_t* kept, int64_t count) {
  for (size_t i = 0; i < first_.size(); ++i) {
    ++tries_;
    if (static_cast<int64_t>(i) >= count || first_[i] != kept[i]) break;
    ++hits_;
  }
  first_.clear();
}

int64_t LookaheadDrafter::bytes() const {
  const int64_t gram = static_cast<int64_t>(sizeof(Gram)) + 4 * (options_.n - 1);
  int64_t all = 0;
  for (const auto& [key, grams] : pool_) all += 32 + static_cast<int64_t>(grams.size()) * gram;
  return all;
}

void LookaheadDrafter::truncate(int64_t length) {
  if (length < length_) throw Error("INTERNAL", "A text that lookahead has heard stays");
}

std::unique_ptr<Drafter> LookaheadDrafter::fork() const {
  throw Error("INTERNAL", "Lookahead drafts one text");
}

}  // namespace vivace

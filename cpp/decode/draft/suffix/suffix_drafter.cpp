#include "decode/draft/suffix/suffix_drafter.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace vivace {

void SuffixDrafter::accept(const int32_t* tokens, int64_t count) {
  const size_t before = text_.size(), depth = static_cast<size_t>(options_.depth);
  append_text(text_, tokens, count);
  trie_.set_text(0, text_.data());
  for (size_t length = std::max(before + 1, depth); length <= text_.size(); ++length)
    trie_.insert(0, static_cast<uint32_t>(length - depth), options_.depth);
}

void SuffixDrafter::truncate(int64_t length) {
  const size_t depth = static_cast<size_t>(options_.depth);
  while (static_cast<int64_t>(text_.size()) > length) {
    if (text_.size() >= depth) trie_.remove(0, static_cast<uint32_t>(text_.size() - depth), options_.depth);
    text_.pop_back();
  }
}

std::unique_ptr<Drafter> SuffixDrafter::fork() const {
  auto copy = std::make_unique<SuffixDrafter>(*this);
  copy->trie_.set_text(0, copy->text_.data());
  return copy;
}

int64_t SuffixDrafter::bytes() const {
  return trie_.bytes() + static_cast<int64_t>(text_.capacity() * sizeof(int32_t));
}

// repeats_[k] for k < depth: the z-function of the text's last tokens, read backwards.
void SuffixDrafter::measure_repeats(int depth) {
  const int size = static_cast<int>(std::min<size_t>(text_.size(), 2 * static_cast<size_t>(depth)));
  const auto back = [&](int i) { return text_[text_.size() - 1 - static_cast<size_t>(i)]; };
  repeats_.assign(static_cast<size_t>(size), size);
  int begin = 0, end = 0;  // the range reaching farthest that equals a beginning
  for (int k = 1; k < size; ++k) {
    int equal = k < end ? std::min(end - k, repeats_[static_cast<size_t>(k - begin)]) : 0;
    while (k + equal < size && back(equal) == back(k + equal)) ++equal;
    repeats_[static_cast<size_t>(k)] = equal;
    if (k + equal > end) {
      begin = k;
      end = k + equal;
    }
  }
}

// The text's last `length` tokens. Those of their occurrences that the trie does not know begin in the last depth - 1
// positions of the text.
SuffixDrafter::Spot SuffixDrafter::start(const Search& search, int length, SuffixTrie::Place place) {
  ends_.clear();
  if (search.tail) {
    const int size = static_cast<int>(text_.size());
    for (int k = 0; k < options_.depth - length && k + length <= size; ++k)
      if (repeats_[static_cast<size_t>(k)] >= length) ends_.push_back(size - k);
  }
  return {place, 0, ends_.size(), search.trie->count(place) + static_cast<uint32_t>(ends_.size())};
}

// Fills next_ with what follows, by falling count, then by token: `most` of them, none with a count below `least`.
void SuffixDrafter::next(const Search& search, const Spot& spot, size_t most, uint32_t least) {
  next_.clear();
  tally_.clear();
  search.trie->children(spot.place, most, least, next_);
  // Where a text repeats itself, all say the same.
  uint32_t same = 0;
  for (size_t i = spot.begin; i < spot.end; ++i) {
    if (static_cast<size_t>(ends_[i]) >= text_.size()) continue;
    const int32_t token = text_[static_cast<size_t>(ends_[i])];
    if (!next_.empty() && token == next_[0].token) {
      ++same;
      continue;
    }
    const auto known = std::find_if(tally_.begin(), tally_.end(), [&](const auto& one) { return one.token == token; });
    if (known == tally_.end())
      tally_.push_back({token, 1});
    else
      ++known->count;
  }
  if (same > 0) next_[0].count += same;  // the first one stays it
  if (tally_.empty()) return;
  const size_t from_trie = next_.size();
  for (const SuffixTrie::Next& one : tally_) {
    const auto end = next_.begin() + static_cast<std::ptrdiff_t>(from_trie);
    const auto known = std::find_if(next_.begin(), end, [&](const auto& other) { return other.token == one.token; });
    if (known != end)
      known->count += one.count;
    else
      next_.push_back({one.token, one.count + search.trie->count(search.trie->child(spot.place, one.token))});
  }
  std::sort(next_.begin(), next_.end(),
            [](const auto& a, const auto& b) { return a.count != b.count ? a.count > b.count : a.token < b.token; });
  if (next_.size() > most) next_.resize(most);
  while (!next_.empty() && next_.back().count < least) next_.pop_back();
}

SuffixDrafter::Spot SuffixDrafter::step(const Search& search, const Spot& spot, int32_t token) {
  Spot result;
  result.place = search.trie->child(spot.place, token);
  result.begin = ends_.size();
  for (size_t i = spot.begin; i < spot.end; ++i) {
    const size_t end = static_cast<size_t>(ends_[i]);
    if (end < text_.size() && text_[end] == token) ends_.push_back(ends_[i] + 1);
  }
  result.end = ends_.size();
  result.count = search.trie->count(result.place) + static_cast<uint32_t>(result.end - result.begin);
  return result;
}

double SuffixDrafter::chain(const Search& search, Spot spot, int budget) {
  double prob = 1, sum = 0;
  while (draft_.size() < budget) {
    next(search, spot, 1, 1);
    if (next_.empty()) break;
    prob = prob * next_[0].count / spot.count;
    if (prob < options_.min_prob) break;
    spot = step(search, spot, next_[0].token);
    draft_.add(next_[0].token, draft_.size() - 1, prob);
    sum += prob;
  }
  return sum;
}

double SuffixDrafter::tree(const Search& search, const Spot& root, int budget) {
  const auto worse = [](const std::pair<double, int>& a, const std::pair<double, int>& b) {
    return a.first != b.first ? a.first < b.first : a.second > b.second;
  };
  std::vector<std::pair<double, int>> queue;
  double sum = 0;
  open_.clear();
  const auto expand = [&](const Spot& spot, int parent, int depth, double prob) {
    if (depth == search.max_tokens || draft_.size() == budget) return;
    const double least = std::floor(options_.min_prob * spot.count / prob);
    next(search, spot, static_cast<size_t>(budget - draft_.size()), static_cast<uint32_t>(std::max(1.0, least)));
    for (const SuffixTrie::Next& one : next_) {
      const double own = prob * one.count / spot.count;
      if (own < options_.min_prob) continue;
      queue.emplace_back(own, static_cast<int>(open_.size()));
      std::push_heap(queue.begin(), queue.end(), worse);
      open_.push_back({spot, one.token, parent, depth + 1, own});
    }
  };
  expand(root, -1, 0, 1);
  while (!queue.empty() && draft_.size() < budget) {
    std::pop_heap(queue.begin(), queue.end(), worse);
    const Node node = open_[static_cast<size_t>(queue.back().second)];
    queue.pop_back();
    const int own = draft_.add(node.token, node.parent, node.prob);
    sum += node.prob;
    expand(step(search, node.spot, node.token), own, node.depth, node.prob);
  }
  return sum;
}

// Leaves a better draft than the one of score `search.best` in `out`, if there is one.
void SuffixDrafter::search(Search& search, int depth, Draft& out) {
  const int longest = static_cast<int>(std::min<size_t>(static_cast<size_t>(depth), text_.size()));
  places_.assign(1, {});
  for (int length = 1; length <= longest; ++length) {
    const SuffixTrie::Place place = search.trie->find(last(length), length);
    // The text's last tokens alone are no occurrence that anything follows.
    if (!place.exists() && (!search.tail || start(search, length, place).count < 2)) break;
    places_.push_back(place);
  }
  const bool is_tree = search.max_nodes > search.max_tokens;
  const int most = is_tree ? search.max_nodes : std::min(search.max_tokens, search.max_nodes);
  // A score is at most the budget, which falls with the length.
  for (int length = static_cast<int>(places_.size()) - 1; length > 0; --length) {
    const double allowed = std::floor(length * options_.factor + options_.offset + 1e-6);
    const int budget = static_cast<int>(std::clamp(allowed, 0.0, static_cast<double>(most)));
    if (budget <= search.best) return;
    draft_.clear();
    const Spot spot = start(search, length, places_[static_cast<size_t>(length)]);
    const double score = is_tree ? tree(search, spot, budget) : chain(search, spot, budget);
    if (score <= search.best) continue;
    search.best = score;
    std::swap(out, draft_);
  }
}

void SuffixDrafter::draft(int max_tokens, int max_nodes, Draft& out) {
  out.clear();
  if (text_.empty()) return;
  measure_repeats(options_.depth);
  Search local{&trie_, max_tokens, max_nodes, true, 0};
  search(local, options_.depth, out);
  if (!options_.cache) return;
  const auto held = options_.cache->lock();
  Search global{&options_.cache->trie(), max_tokens, max_nodes, false, local.best};
  search(global, options_.cache->depth(), out);
}

}  // namespace vivace

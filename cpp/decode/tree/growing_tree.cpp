#include "decode/tree/growing_tree.h"

#include <algorithm>
#include <cmath>

#include "decode/verify/verify.h"

namespace vivace {

GrowingTree::GrowingTree(TreeShape shape, Sampler* sampler, Proposal* proposal, uint64_t cycle)
    : shape_(std::move(shape)), sampler_(sampler), proposal_(proposal), cycle_(cycle) {
  if (proposal_ != nullptr) {
    proposal_->nodes.clear();
    proposal_->replacement = false;
  }
  if (!fixed()) return;
  places_.resize(shape_.parents.size() + 1);
  for (size_t place = 0; place < shape_.parents.size(); ++place)
    places_[static_cast<size_t>(shape_.parents[place] + 1)].push_back(static_cast<int32_t>(place));
}

bool GrowingTree::better(int32_t a, int32_t b) const {
  const double first = nodes_[static_cast<size_t>(a)].score, second = nodes_[static_cast<size_t>(b)].score;
  return first != second ? first > second : a < b;
}

void GrowingTree::add(int32_t node, size_t ordinal, int32_t token, double logprob) {
  Node child{token, node, 1, -1, -1, 0};
  if (node >= 0) {
    const Node& parent = nodes_[static_cast<size_t>(node)];
    child.depth = parent.depth + 1;
    child.score = parent.score;
  }
  child.score += std::min(logprob, 0.0);  // never above its parent, whatever rounding does
  if (fixed()) {
    const int32_t place = node < 0 ? -1 : nodes_[static_cast<size_t>(node)].place;
    child.place = places_[static_cast<size_t>(place + 1)][ordinal];
    if (!shape_.scores.empty())
      child.score = std::log(static_cast<double>(shape_.scores[static_cast<size_t>(child.place)]));
  }
  nodes_.push_back(child);
}

// One after the other from what is left of the law: as an exponential race would, with one random number per child.
void GrowingTree::draw(size_t count, std::vector<int32_t>& drawn) {
  const Law& law = law_;
  std::vector<int64_t> taken;  // places, ascending
  double total = law.total;
  while (drawn.size() < count) {
    const double target = sampler_->uniform(lane_of(cycle_, Lane::draft, draws_ + drawn.size())) * total;
    double sum = 0;
    int64_t last = -1;
    size_t passed = 0;
    for (int64_t place = 0; place < law.count; ++place) {
      if (passed < taken.size() && taken[passed] == place) {
        ++passed;
        continue;
      }
      if (law.weights[place] <= 0) continue;
      last = place;
      sum += law.weights[place];
      if (sum > target) break;
    }
    if (last < 0) return;  // nothing else has any weight
    drawn.push_back(law.token(last));
    taken.insert(std::lower_bound(taken.begin(), taken.end(), last), last);
    total -= law.weights[last];
  }
}

size_t GrowingTree::children_of(int32_t node) const {
  if (!fixed()) return static_cast<size_t>(shape_.top_k);
  return places_[static_cast<size_t>((node < 0 ? -1 : nodes_[static_cast<size_t>(node)].place) + 1)].size();
}

std::vector<int32_t> GrowingTree::path_to(int32_t node) const {
  std::vector<int32_t> path;
  for (int32_t at = node; at >= 0; at = nodes_[static_cast<size_t>(at)].parent)
    path.push_back(nodes_[static_cast<size_t>(at)].token);
  std::reverse(path.begin(), path.end());
  return path;
}

SampleError GrowingTree::know(float* logits, int64_t vocab, size_t ranks) {
  if (proposal_ != nullptr) return sampler_->law(logits, vocab, law_);
  return sampler_->rank(logits, vocab, static_cast<int64_t>(ranks), best_);
}

void GrowingTree::bear(int32_t node, size_t count) {
  if (proposal_ == nullptr) {
    for (size_t i = 0; i < std::min(count, best_.size()); ++i) add(node, i, best_[i].token, best_[i].logprob);
    return;
  }
  std::vector<int32_t> drawn;
  draw(count, drawn);
  for (size_t i = 0; i < drawn.size(); ++i) add(node, i, drawn[i], std::log(law_.probability(drawn[i])));
  const size_t row = static_cast<size_t>(node + 1);
  if (proposal_->nodes.size() <= row) proposal_->nodes.resize(row + 1);
  proposal_->nodes[row] = {StoredLaw(law_), std::move(drawn)};
}

void GrowingTree::expand(int32_t node, float* logits, int64_t vocab, size_t ranks) {
  const size_t count = children_of(node);
  if (count == 0) return;
  const std::vector<int32_t> path = path_to(node);
  sampler_->accept(path.data(), static_cast<int64_t>(path.size()));
  if (ranks > 0) row_error_ = know(logits, vocab, ranks);
  if (row_error_ == SampleError::none) bear(node, count);
  draws_ += count;
  sampler_->retract(path.data(), static_cast<int64_t>(path.size()));
  if (node < 0) error_ = row_error_;
}

std::vector<GrowingTree::Wanted> GrowingTree::wanted() const {
  std::vector<Wanted> result;
  uint64_t number = draws_;
  for (const int32_t node : level_) {
    const size_t count = children_of(node);
    result.push_back({node, static_cast<int32_t>(count), path_to(node), lane_of(cycle_, Lane::draft, number)});
    number += count;
  }
  return result;
}

void GrowingTree::take(const std::vector<std::vector<TokenLogprob>>& children, const std::vector<SampleError>& errors) {
  const size_t first_new = nodes_.size();
  for (size_t i = 0; i < level_.size(); ++i) {
    const int32_t node = level_[i];
    draws_ += children_of(node);
    if (node < 0) error_ = errors[i];
    if (errors[i] != SampleError::none) continue;
    std::vector<int32_t> drawn;
    for (const auto& [token, logprob] : children[i]) {
      add(node, drawn.size(), token, logprob);
      drawn.push_back(token);
    }
    if (proposal_ == nullptr) continue;
    const size_t row = static_cast<size_t>(node + 1);
    if (proposal_->nodes.size() <= row) proposal_->nodes.resize(row + 1);
    proposal_->nodes[row] = {StoredLaw(), std::move(drawn), true};
  }
  next_level(first_new);
}

void GrowingTree::take(float* logits, int64_t vocab) {
  const size_t first_new = nodes_.size();
  for (size_t i = 0; i < level_.size(); ++i)
    expand(level_[i], logits + static_cast<int64_t>(i) * vocab, vocab, children_of(level_[i]));
  next_level(first_new);
}

void GrowingTree::take_all(float* logits, int64_t vocab, int64_t levels) {
  const bool same = !sampler_->depends_on_text();
  for (int64_t depth = 0; depth < levels && !level_.empty(); ++depth) {
    const size_t first_new = nodes_.size();
    size_t most = 0;
    for (const int32_t node : level_) most = std::max(most, children_of(node));
    for (size_t i = 0; i < level_.size(); ++i)
      expand(level_[i], logits + depth * vocab, vocab, i > 0 && same ? 0 : most);
    next_level(first_new);
  }
  stop();
}

void GrowingTree::next_level(size_t first_new) {
  level_.clear();
  for (size_t node = first_new; node < nodes_.size(); ++node) {
    const Node& own = nodes_[node];
    const bool wanted = fixed() ? !places_[static_cast<size_t>(own.place + 1)].empty() : own.depth < shape_.depth;
    if (wanted) level_.push_back(static_cast<int32_t>(node));
  }
  if (!fixed()) {
    // A node that is not among the best of all so far has no child in the draft either: its children are no better and
    // come later.
    if (!level_.empty()) {
      const std::vector<int32_t> best = best_nodes();
      std::erase_if(level_, [&](int32_t node) { return !std::binary_search(best.begin(), best.end(), node); });
    }
    const auto order = [this](int32_t a, int32_t b) { return better(a, b); };
    std::sort(level_.begin(), level_.end(), order);
    if (level_.size() > static_cast<size_t>(shape_.width)) level_.resize(static_cast<size_t>(shape_.width));
    std::sort(level_.begin(), level_.end());
    double sum = 0;
    for (const int32_t node : level_) sum += std::exp(nodes_[static_cast<size_t>(node)].score);
    if (sum < shape_.least) level_.clear();
  }
  for (const int32_t node : level_) {
    nodes_[static_cast<size_t>(node)].row = static_cast<int32_t>(rows_.size());
    rows_.push_back(node);
  }
}

void GrowingTree::stop() {
  for (const int32_t node : level_)
    if (node >= 0) nodes_[static_cast<size_t>(node)].row = -1;
  rows_.resize(rows_.size() - (level_ == std::vector<int32_t>{-1} ? 0 : level_.size()));
  level_.clear();
}

// The most probable paths, ascending by index.
std::vector<int32_t> GrowingTree::best_nodes() const {
  std::vector<int32_t> order(nodes_.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int32_t>(i);
  const size_t kept = fixed() ? order.size() : std::min(order.size(), static_cast<size_t>(shape_.nodes));
  const auto middle = order.begin() + static_cast<int64_t>(kept);
  if (middle != order.end())
    std::nth_element(order.begin(), middle, order.end(), [this](int32_t a, int32_t b) { return better(a, b); });
  order.resize(kept);
  std::sort(order.begin(), order.end());
  return order;
}

void GrowingTree::finish(Draft& out, std::vector<int32_t>& rows) const {
  out.clear();
  rows.clear();
  std::vector<int32_t> place(nodes_.size(), -1);
  for (const int32_t index : best_nodes()) {
    const Node& node = nodes_[static_cast<size_t>(index)];
    // Scores never grow along a path, and of equals the earlier node is kept: a parent is there when its child is.
    const int32_t parent = node.parent < 0 ? -1 : place[static_cast<size_t>(node.parent)];
    place[static_cast<size_t>(index)] = out.add(node.token, parent, std::exp(node.score));
    rows.push_back(node.row);
  }
}

}  // namespace vivace

#include "experts/activation_paths.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace vivace {

void ActivationPaths::begin() {
  if (std::all_of(current_.begin(), current_.end(), [](float uses) { return uses == 0; })) return;
  if (stored_.size() == stored_most) stored_.erase(stored_.begin());
  stored_.push_back(std::move(current_));
  current_.assign(size(), 0);
}

void ActivationPaths::observe(int layer, const std::vector<int32_t>& counts) {
  float* const uses = current_.data() + static_cast<size_t>(layer) * static_cast<size_t>(experts_);
  for (int e = 0; e < experts_; ++e) uses[e] += static_cast<float>(counts[static_cast<size_t>(e)]);
}

// The cosine of both, 0 where one is empty.
double ActivationPaths::similarity(const std::vector<float>& other) const {
  double dot = 0, own = 0, its = 0;
  for (size_t i = 0; i < current_.size(); ++i) {
    dot += static_cast<double>(current_[i]) * static_cast<double>(other[i]);
    own += static_cast<double>(current_[i]) * static_cast<double>(current_[i]);
    its += static_cast<double>(other[i]) * static_cast<double>(other[i]);
  }
  return own == 0 || its == 0 ? 0 : dot / std::sqrt(own * its);
}

std::vector<int32_t> ActivationPaths::predict(int layer, int most) const {
  const std::vector<float>* like = &current_;
  double closest = -1;
  for (const std::vector<float>& other : stored_) {
    const double near = similarity(other);
    if (near > closest) {
      closest = near;
      like = &other;
    }
  }
  const float* const uses = like->data() + static_cast<size_t>(layer) * static_cast<size_t>(experts_);
  std::vector<int> order(static_cast<size_t>(experts_));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return uses[a] > uses[b]; });
  std::vector<int32_t> counts(static_cast<size_t>(experts_), 0);
  for (int i = 0; i < std::min(most, experts_); ++i) {
    const int e = order[static_cast<size_t>(i)];
    counts[static_cast<size_t>(e)] = static_cast<int32_t>(std::min(uses[e], 1e9f));
  }
  return counts;
}

}  // namespace vivace

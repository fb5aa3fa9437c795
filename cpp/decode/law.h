// A distribution over tokens: what a row of logits becomes after bias, penalties, temperature and truncation.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

namespace vivace {

// A view: valid until its owner's next call. Weights are not normalised, and none is negative.
struct Law {
  const int32_t* ids = nullptr;  // ascending; null: token i has weights[i]
  const float* weights = nullptr;
  int64_t count = 0;
  double total = 0;  // of all weights, above 0

  int32_t token(int64_t place) const { return ids == nullptr ? static_cast<int32_t>(place) : ids[place]; }
  double probability(int32_t token) const {
    int64_t place = token;
    if (ids != nullptr) {
      place = std::lower_bound(ids, ids + count, token) - ids;
      if (place == count || ids[place] != token) return 0;
    }
    return place >= 0 && place < count ? weights[place] / total : 0;
  }
};

// One that is kept: of many tokens only those that have any weight.
class StoredLaw {
 public:
  StoredLaw() = default;
  explicit StoredLaw(const Law& law) : total_(law.total) {
    for (int64_t place = 0; place < law.count; ++place) {
      if (law.weights[place] <= 0) continue;
      ids_.push_back(law.token(place));
      weights_.push_back(law.weights[place]);
    }
  }
  StoredLaw(std::vector<int32_t> ids, std::vector<float> weights) : ids_(std::move(ids)), weights_(std::move(weights)) {
    for (const float weight : weights_) total_ += weight;
  }
  bool empty() const { return ids_.empty(); }
  Law view() const { return {ids_.data(), weights_.data(), static_cast<int64_t>(ids_.size()), total_}; }

 private:
  std::vector<int32_t> ids_;
  std::vector<float> weights_;
  double total_ = 0;
};

}  // namespace vivace

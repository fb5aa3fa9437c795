#include "decode/draft/datastore/datastore_drafter.h"

#include <algorithm>

namespace vivace {

// A sequence occurs wherever one occurs that ends with it, so the longest can be searched for by halving.
Datastore::Range DatastoreDrafter::longest(int& span) const {
  const auto find = [&](int length) { return options_.datastore->find(text_.data() + text_.size() - length, length); };
  int most = static_cast<int>(std::min<size_t>(text_.size(), static_cast<size_t>(options_.max_span)));
  Datastore::Range best;
  span = 0;
  for (int least = options_.min_span; least <= most;) {
    const int middle = least + (most - least) / 2;
    const Datastore::Range range = find(middle);
    if (range.size() > 0) {
      best = range;
      span = middle;
      least = middle + 1;
    } else {
      most = middle - 1;
    }
  }
  return best;
}

void DatastoreDrafter::draft(int max_tokens, int max_nodes, Draft& out) {
  tree_.clear();
  int span;
  const Datastore::Range range = longest(span);
  const int64_t samples = std::min<int64_t>(range.size(), options_.samples);
  const int length = std::min(max_tokens, max_nodes);
  for (int64_t sample = 0; sample < samples; ++sample) {
    // The middles of equal parts.
    const int64_t place = range.begin + (2 * sample + 1) * range.size() / (2 * samples);
    int node = 0;
    for (int depth = 0; depth < length; ++depth) {
      const int32_t token = options_.datastore->token(place, span + depth);
      if (token < 0) break;
      node = tree_.add(node, token, 1.0);
    }
  }
  tree_.emit(max_tokens, max_nodes, out);
  for (float& score : out.scores) score /= static_cast<float>(samples);
}

}  // namespace vivace

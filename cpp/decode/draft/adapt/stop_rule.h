// Where a draft ends: a small head guesses from a drafted token's probability, its path's and its depth whether it will
// be kept, and the draft ends behind the token with which a refusal has become likely. As
// lib/decode/speculation/adapt/stop-rule.ts says it, which also learns.
#pragma once
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <vector>

namespace vivace {

// One draft so far.
struct StopPath {
  double logprob = 0;  // of the path
  double kept = 1;     // probability that all of it is kept, says the head
  int depth = 0;
};

struct StopRule {
  static constexpr size_t width = 4;
  static constexpr size_t size = 1 + width * width + 2 * width + 1;
  // The threshold, W [width, width], b, v and c of f = sigmoid(v . (x + silu(W x + b)) + c); empty: no rule.
  std::vector<double> values;

  bool given() const { return values.size() == size; }

  // The next token of a draft; true: the draft ends behind it.
  bool ends(StopPath& path, double logprob) const {
    path.logprob += logprob;
    const std::array<double, width> x = {std::max(logprob, -12.0) / 4, std::exp(logprob),
                                         std::max(path.logprob, -24.0) / 8, path.depth++ / 8.0};
    const double* w = values.data() + 1;
    const double* b = w + width * width;
    const double* v = b + width;
    double sum = v[width];
    for (size_t i = 0; i < width; ++i) {
      double z = b[i];
      for (size_t j = 0; j < width; ++j) z += w[i * width + j] * x[j];
      sum += v[i] * (x[i] + z / (1 + std::exp(-z)));
    }
    path.kept /= 1 + std::exp(-sum);
    return 1 - path.kept > values[0];
  }
};

}  // namespace vivace

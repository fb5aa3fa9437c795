#include "decode/verify/residual.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace vivace {
namespace {

// Calls body(place in law, other's probability of that token) for every token of `law`, both read in ascending order.
template <class Body>
void merge(const Law& law, const Law& other, Body&& body) {
  int64_t at = 0;
  for (int64_t place = 0; place < law.count; ++place) {
    const int32_t token = law.token(place);
    while (at < other.count && other.token(at) < token) ++at;
    const bool same = at < other.count && other.token(at) == token;
    body(place, same ? other.weights[at] / other.total : 0.0);
  }
}

}  // namespace

double Residual::probability(int32_t token) const {
  if (values_.empty()) return law_.probability(token);
  int64_t place = token;
  if (law_.ids != nullptr) {
    place = std::lower_bound(law_.ids, law_.ids + law_.count, token) - law_.ids;
    if (place == law_.count || law_.ids[place] != token) return 0;
  }
  return place >= 0 && place < law_.count ? values_[static_cast<size_t>(place)] / total_ : 0;
}

void Residual::subtract(const Law& other, const std::vector<int32_t>& without, double scale) {
  double rest = 1;
  for (const int32_t token : without) rest -= other.probability(token);
  if (rest <= 0) return;
  const auto is_gone = [&](int32_t token) { return std::find(without.begin(), without.end(), token) != without.end(); };
  const bool first = values_.empty();
  std::vector<double> left(static_cast<size_t>(law_.count));
  double total = 0;
  merge(law_, other, [&](int64_t place, double q) {
    const auto i = static_cast<size_t>(place);
    if (q > 0 && !without.empty() && is_gone(law_.token(place))) q = 0;
    const double p = first ? law_.weights[place] / law_.total : values_[i] / total_;
    left[i] = std::max(scale * p - q / rest, 0.0);
    total += left[i];
  });
  if (total <= 0) return;
  values_ = std::move(left);
  total_ = total;
}

int32_t Residual::draw(double uniform) const {
  const bool first = values_.empty();
  const double target = uniform * (first ? law_.total : total_);
  double sum = 0;
  int64_t last = 0;
  for (int64_t place = 0; place < law_.count; ++place) {
    const double value = first ? law_.weights[place] : values_[static_cast<size_t>(place)];
    if (value <= 0) continue;
    last = place;
    sum += value;
    if (sum > target) break;
  }
  return law_.token(last);
}

double excess(const Law& law, const Law& other, double scale) {
  double sum = 0;
  merge(law, other, [&](int64_t place, double q) { sum += std::max(scale * law.weights[place] / law.total - q, 0.0); });
  return sum;
}

double divergence(const Law& law, const Law& other, Measure measure) {
  constexpr double rounding = 1e-6;  // of normalised weights' sum
  constexpr double infinite = std::numeric_limits<double>::infinity();
  double sum = 0, shared = 0;
  bool missing = false;
  merge(law, other, [&](int64_t place, double q) {
    const double p = law.weights[place] / law.total;
    if (p <= 0) return;
    shared += q;
    if (measure == Measure::of_law) {
      missing = missing || q <= 0;
      if (q > 0) sum += p * std::log(p / q);
    } else if (measure == Measure::of_other) {
      if (q > 0) sum += q * std::log(q / p);
    } else {
      sum += 0.5 * (p * std::log(2 * p / (p + q)) + (q > 0 ? q * std::log(2 * q / (p + q)) : 0));
    }
  });
  const double rest = std::max(0.0, 1 - shared);  // what `other` has and `law` does not
  if (measure == Measure::of_law) return missing ? infinite : sum;
  if (measure == Measure::of_other) return rest > rounding ? infinite : sum;
  return sum + 0.5 * rest * std::log(2.0);
}

}  // namespace vivace

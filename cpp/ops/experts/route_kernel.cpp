// Body of route, compiled once per instruction-set level; VIVACE_ISA is the level's namespace.
#include <cmath>
#include <cstring>

#include "ops/experts/route.h"
#include "ops/norm/sums.h"

namespace vivace::VIVACE_ISA {
namespace {

// A NaN is worse than every number; equal ones are not better.
inline bool better(float a, float b) {
  return a > b || (std::isnan(b) && !std::isnan(a));
}

// The place of the best value that is not taken, and takes it. At least one must be left.
inline int take_best(const float* values, bool* taken, int count) {
  int best = -1;
  for (int i = 0; i < count; ++i)
    if (!taken[i] && (best < 0 || better(values[i], values[best]))) best = i;
  taken[best] = true;
  return best;
}

void softmax_of(const float* logits, int64_t count, float* scores) {
  F32 largest = set1(logits[0]);
  for_lanes(count,
            [&](int64_t i, int n) { largest = max(largest, first_lanes(load_some(logits + i, n), n, logits[0])); });
  const F32 top = set1(max_of(largest));
  const float total = sum_over(count, [&](int64_t i, int n) {
    const F32 power = exp(load_some(logits + i, n) - top);
    store_some(scores + i, power, n);
    return first_lanes(power, n, 0.0f);
  });
  const F32 inverse = set1(1.0f / total);
  for_lanes(count, [&](int64_t i, int n) { store_some(scores + i, load_some(scores + i, n) * inverse, n); });
}

void sigmoid_of(const float* logits, int64_t count, float* scores) {
  for_lanes(count, [&](int64_t i, int n) {
    store_some(scores + i, set1(1.0f) / (set1(1.0f) + exp(-load_some(logits + i, n))), n);
  });
}

// Takes all experts of groups that are not among the best.
void close_groups(const float* values, int experts, int groups, int used, bool best_two, bool* taken) {
  float worth[most_experts];
  bool open[most_experts] = {};
  const int size = experts / groups;
  for (int g = 0; g < groups; ++g) {
    bool seen[most_experts] = {};
    const float* its = values + g * size;
    worth[g] = its[take_best(its, seen, size)];
    if (best_two && size > 1) worth[g] += its[take_best(its, seen, size)];
  }
  for (int i = 0; i < used; ++i) take_best(worth, open, groups);
  for (int e = 0; e < experts; ++e) taken[e] = !open[e / size];
}

}  // namespace

void route(const OpRun& run, Team& team) {
  const Tensor &logits = run.inputs[0], &bias = run.inputs[1], &ids = run.outputs[0], &weights = run.outputs[1];
  const int experts = static_cast<int>(logits.columns), used = static_cast<int>(ids.columns);
  const bool sigmoid = run.attributes[1] == 1, normalise = run.attributes[2] == 1, best_two = run.attributes[6] == 1;
  const auto scale = static_cast<float>(run.attributes[3]);
  const int groups = static_cast<int>(run.attributes[4]), groups_used = static_cast<int>(run.attributes[5]);
  float scores[most_experts], biased[most_experts];
  bool taken[most_experts];
  int64_t begin, end;
  team.range(logits.rows, 1, begin, end);
  for (int64_t row = begin; row < end; ++row) {
    const float* in = logits.row<const float>(row);
    if (sigmoid)
      sigmoid_of(in, experts, scores);
    else
      softmax_of(in, experts, scores);
    const float* compared = in;
    if (bias.data != nullptr) {
      for (int e = 0; e < experts; ++e) biased[e] = scores[e] + bias.row<const float>(0)[e];
      compared = biased;
    } else if (groups > 1 && best_two) {
      compared = scores;
    }
    std::memset(taken, 0, static_cast<size_t>(experts));
    if (groups_used < groups) close_groups(compared, experts, groups, groups_used, best_two, taken);
    int32_t* chosen = ids.row<int32_t>(row);
    float* counts = weights.row<float>(row);
    float total = 0;
    for (int slot = 0; slot < used; ++slot) {
      const int expert = take_best(compared, taken, experts);
      chosen[slot] = expert;
      counts[slot] = scores[expert];
      total += scores[expert];
    }
    for (int slot = 0; slot < used; ++slot) {
      if (normalise) counts[slot] /= total + 1e-20f;
      counts[slot] *= scale;
    }
  }
}

}  // namespace vivace::VIVACE_ISA

// route: see cpp/ops/experts/route.h. A warp per row: the best of what is left, so many times.
#include "ops/experts/route.h"

#include "cuda/core/shared.h"
#include "cuda/ops/elementwise.h"

namespace vivace::cuda {
namespace {

struct RouteRule {
  int experts, used;
  bool sigmoid, normalise;
  float scale;
  int groups, groups_used;
  bool best_two;  // a group is worth its best two
};

// A NaN is worse than every number; of equal ones the lower place is better. So every row has one order, whatever its
// numbers are, and lanes may compare theirs in any turn.
struct Candidate {
  float value;
  int place;  // -1: none

  __device__ bool better_than(const Candidate& other) const {
    if (place < 0 || other.place < 0) return place > other.place;
    const bool strange = value != value, other_strange = other.value != other.value;
    if (strange != other_strange) return other_strange;
    return strange || value == other.value ? place < other.place : value > other.value;
  }
};

// The best of what is not taken; all lanes get it, and it is taken.
__device__ inline Candidate take_best(const Shared<float>& values, const Shared<int>& taken, int count) {
  const int lane = static_cast<int>(threadIdx.x);
  Candidate best{0, -1};
  for (int i = lane; i < count; i += 32) {
    const Candidate one{values[i], taken[i] != 0 ? -1 : i};
    if (one.better_than(best)) best = one;
  }
  for (int step = 16; step > 0; step /= 2) {
    const Candidate other{__shfl_xor_sync(0xffffffffu, best.value, step),
                          __shfl_xor_sync(0xffffffffu, best.place, step)};
    if (other.better_than(best)) best = other;
  }
  if (best.place >= 0 && lane == best.place % 32) taken[best.place] = 1;  // nobody else reads it
  return best;
}

// Takes all experts of groups that are not among the best. `worth` and `open`: for every group.
__device__ inline void close_groups(const RouteRule& rule, const Shared<float>& compared, const Shared<float>& worth,
                                    const Shared<int>& open, const Shared<int>& taken) {
  const int lane = static_cast<int>(threadIdx.x), size = rule.experts / rule.groups;
  for (int group = lane; group < rule.groups; group += 32) {
    Candidate best{0, -1}, second{0, -1};
    for (int i = group * size; i < (group + 1) * size; ++i) {
      const Candidate one{compared[i], i};
      if (one.better_than(best)) {
        second = best;
        best = one;
      } else if (one.better_than(second)) {
        second = one;
      }
    }
    worth[group] = rule.best_two && size > 1 ? best.value + second.value : best.value;
    open[group] = 0;
  }
  __syncwarp();
  for (int i = 0; i < rule.groups_used; ++i) take_best(worth, open, rule.groups);
  __syncwarp();
  for (int i = lane; i < rule.experts; i += 32) taken[i] = 1 - open[i / size];
  __syncwarp();
}

// Shared memory: for every expert score, what is compared and whether it is taken; the same of groups; what was chosen.
constexpr size_t route_bytes(int experts, int groups, int used) {
  return sizeof(float) * static_cast<size_t>(3 * experts + 2 * groups + used);
}

__global__ void __launch_bounds__(32, 1)
    choose_experts(const float* logits, const float* bias, int32_t* ids, float* weights, RouteRule rule) {
  const int lane = static_cast<int>(threadIdx.x), experts = rule.experts;
  const auto floats = [&](int at, int count) {
    return dynamic_shared<float>(sizeof(float) * static_cast<size_t>(at), static_cast<size_t>(count));
  };
  const auto ints = [&](int at, int count) {
    return dynamic_shared<int>(sizeof(float) * static_cast<size_t>(at), static_cast<size_t>(count));
  };
  const auto scores = floats(0, experts), compared = floats(experts, experts);
  const auto taken = ints(2 * experts, experts);
  const float* in = logits + static_cast<int64_t>(blockIdx.x) * experts;

  if (rule.sigmoid) {
    for (int i = lane; i < experts; i += 32) scores[i] = 1.0f / (1.0f + expf(-in[i]));
  } else {
    float top = in[0], total = 0;
    for (int i = lane; i < experts; i += 32) top = in[i] > top ? in[i] : top;
    for (int step = 16; step > 0; step /= 2) {
      const float other = __shfl_xor_sync(0xffffffffu, top, step);
      top = other > top ? other : top;
    }
    for (int i = lane; i < experts; i += 32) {
      const float power = expf(in[i] - top);
      scores[i] = power;
      total += power;
    }
    for (int step = 16; step > 0; step /= 2) total += __shfl_xor_sync(0xffffffffu, total, step);
    const float inverse = 1.0f / total;
    for (int i = lane; i < experts; i += 32) scores[i] *= inverse;
  }
  // Scores can be equal by rounding where logits are not, so logits are compared where nothing is added to a score.
  const bool by_score = bias == nullptr && rule.groups > 1 && rule.best_two;
  for (int i = lane; i < experts; i += 32) {
    compared[i] = bias != nullptr ? scores[i] + bias[i] : by_score ? static_cast<float>(scores[i]) : in[i];
    taken[i] = 0;
  }
  __syncwarp();
  if (rule.groups_used < rule.groups)
    close_groups(rule, compared, floats(3 * experts, rule.groups), ints(3 * experts + rule.groups, rule.groups), taken);

  const auto chosen = ints(3 * experts + 2 * rule.groups, rule.used);
  float total = 0;
  for (int slot = 0; slot < rule.used; ++slot) {
    const Candidate best = take_best(compared, taken, experts);
    total += scores[best.place];
    if (lane == 0) chosen[slot] = best.place;
  }
  __syncwarp();
  for (int slot = lane; slot < rule.used; slot += 32) {
    const int64_t at = static_cast<int64_t>(blockIdx.x) * rule.used + slot;
    const float score = scores[chosen[slot]];
    ids[at] = chosen[slot];
    weights[at] = (rule.normalise ? score / (total + 1e-20f) : score) * rule.scale;
  }
}

}  // namespace

void route(const DeviceRun& run) {
  const Tensor &logits = run.inputs[0], &ids = run.outputs[0];
  const double* a = run.attributes;
  RouteRule rule;
  rule.experts = static_cast<int>(logits.columns);
  rule.used = static_cast<int>(ids.columns);
  rule.sigmoid = a[1] == 1;
  rule.normalise = a[2] == 1;
  rule.scale = static_cast<float>(a[3]);
  rule.groups = static_cast<int>(a[4]);
  rule.groups_used = static_cast<int>(a[5]);
  rule.best_two = a[6] == 1;
  launch<choose_experts>(Launch{dim3(static_cast<unsigned>(logits.rows)), dim3(32),
                                route_bytes(rule.experts, rule.groups, rule.used), run.stream},
                         values_of<const float>(logits), values_of<const float>(run.inputs[1]), values_of<int32_t>(ids),
                         values_of<float>(run.outputs[1]), rule);
}

}  // namespace vivace::cuda

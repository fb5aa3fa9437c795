// Body of layer_norm, compiled once per instruction-set level; VIVACE_ISA is the level's namespace.
#include "ops/norm/layer_norm.h"

#include "ops/norm/sums.h"

namespace vivace::VIVACE_ISA {

void layer_norm(const OpRun& run, Team& team) {
  const Tensor &x = run.inputs[0], &weight = run.inputs[1], &bias = run.inputs[2], &y = run.outputs[0];
  const int64_t width = weight.columns, groups = x.columns / width;
  const float* w = weight.row<const float>(0);
  const float* b = bias.data == nullptr ? nullptr : bias.row<const float>(0);
  const float epsilon = static_cast<float>(run.attributes[0]);
  int64_t begin, end;
  team.range(x.rows * groups, 1, begin, end);
  for (int64_t group = begin; group < end; ++group) {
    const int64_t row = group / groups, from = group % groups * width;
    const float* in = x.row<const float>(row) + from;
    float* out = y.row<float>(row) + from;
    const float total = sum_over(width, [&](int64_t i, int n) { return load_some(in + i, n); });
    const F32 mean = set1(total / static_cast<float>(width));
    const float squares = sum_over(width, [&](int64_t i, int n) {
      const F32 v = first_lanes(load_some(in + i, n) - mean, n, 0.0f);
      return v * v;
    });
    const F32 inverse = set1(1.0f) / sqrt(set1(squares / static_cast<float>(width) + epsilon));
    for_lanes(width, [&](int64_t i, int n) {
      const F32 scaled = (load_some(in + i, n) - mean) * inverse * load_some(w + i, n);
      store_some(out + i, b == nullptr ? scaled : scaled + load_some(b + i, n), n);
    });
  }
}

}  // namespace vivace::VIVACE_ISA

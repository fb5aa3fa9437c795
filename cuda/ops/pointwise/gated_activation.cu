// gated_activation: see cpp/ops/pointwise/gated_activation.h.
#include "cuda/ops/elementwise.h"
#include "cuda/ops/pointwise/gates.h"

namespace vivace::cuda {
namespace {

template <bool gelu>
__global__ void gate_values(const float* gate, const float* up, float* y, int64_t count) {
  for_each_value(count, [&](int64_t i) { y[i] = activate<gelu>(gate[i]) * up[i]; });
}

}  // namespace

void gated_activation(const DeviceRun& run) {
  const Tensor &gate = run.inputs[0], &up = run.inputs[1], &y = run.outputs[0];
  const int64_t count = y.rows * y.columns;
  const auto start = [&]<bool gelu>() {
    launch<gate_values<gelu>>(elementwise(count, run), values_of<const float>(gate), values_of<const float>(up),
                              values_of<float>(y), count);
  };
  if (run.attributes[0] == 0)
    start.template operator()<false>();
  else
    start.template operator()<true>();
}

}  // namespace vivace::cuda

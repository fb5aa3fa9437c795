// soft_cap: see cpp/ops/pointwise/soft_cap.h.
#include "cuda/ops/elementwise.h"

namespace vivace::cuda {
namespace {

__global__ void soft_cap_values(const float* x, float* y, int64_t count, float cap) {
  for_each_value(count, [&](int64_t i) { y[i] = cap * tanhf(x[i] / cap); });
}

}  // namespace

void soft_cap(const DeviceRun& run) {
  const Tensor &x = run.inputs[0], &y = run.outputs[0];
  const int64_t count = y.rows * y.columns;
  launch<soft_cap_values>(elementwise(count, run), values_of<const float>(x), values_of<float>(y), count,
                          static_cast<float>(run.attributes[0]));
}

}  // namespace vivace::cuda

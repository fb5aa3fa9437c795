// scale: see cpp/ops/pointwise/scale.h.
#include "cuda/ops/elementwise.h"

namespace vivace::cuda {
namespace {

__global__ void scale_values(const float* x, float* y, int64_t count, float factor) {
  for_each_value(count, [&](int64_t i) { y[i] = factor * x[i]; });
}

}  // namespace

void scale(const DeviceRun& run) {
  const Tensor &x = run.inputs[0], &y = run.outputs[0];
  const int64_t count = y.rows * y.columns;
  launch<scale_values>(elementwise(count, run), values_of<const float>(x), values_of<float>(y), count,
                       static_cast<float>(run.attributes[0]));
}

}  // namespace vivace::cuda

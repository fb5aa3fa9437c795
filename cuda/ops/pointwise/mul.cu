// mul: see cpp/ops/pointwise/mul.h.
#include "cuda/ops/elementwise.h"

namespace vivace::cuda {
namespace {

// b repeats after `period` values.
__global__ void mul_values(const float* a, const float* b, float* y, int64_t count, int64_t period) {
  for_each_value(count, [&](int64_t i) { y[i] = a[i] * b[i % period]; });
}

}  // namespace

void mul(const DeviceRun& run) {
  const Tensor &a = run.inputs[0], &b = run.inputs[1], &y = run.outputs[0];
  const int64_t count = y.rows * y.columns;
  launch<mul_values>(elementwise(count, run), values_of<const float>(a), values_of<const float>(b), values_of<float>(y),
                     count, b.rows * b.columns);
}

}  // namespace vivace::cuda

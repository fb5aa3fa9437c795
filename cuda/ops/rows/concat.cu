// concat: see cpp/ops/rows/concat.h.
#include "cuda/ops/elementwise.h"

namespace vivace::cuda {
namespace {

__global__ void concat_columns(const float* a, const float* b, float* y, int64_t count, int64_t a_columns,
                               int64_t columns) {
  for_each_value(count, [&](int64_t i) {
    const int64_t row = i / columns, column = i % columns;
    y[i] = column < a_columns ? a[row * a_columns + column] : b[row * (columns - a_columns) + column - a_columns];
  });
}

}  // namespace

void concat(const DeviceRun& run) {
  const Tensor &a = run.inputs[0], &b = run.inputs[1], &y = run.outputs[0];
  const int64_t count = y.rows * y.columns;
  launch<concat_columns>(elementwise(count, run), values_of<const float>(a), values_of<const float>(b),
                         values_of<float>(y), count, a.columns, y.columns);
}

}  // namespace vivace::cuda

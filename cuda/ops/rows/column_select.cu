// column_select: see cpp/ops/rows/column_select.h.
#include "cuda/ops/elementwise.h"

namespace vivace::cuda {
namespace {

__global__ void select_columns(const float* x, const int32_t* indices, float* y, int64_t count, int64_t columns,
                               int64_t x_columns) {
  for_each_value(count, [&](int64_t i) { y[i] = x[i / columns * x_columns + indices[i % columns]]; });
}

}  // namespace

void column_select(const DeviceRun& run) {
  const Tensor &x = run.inputs[0], &indices = run.inputs[1], &y = run.outputs[0];
  const int64_t count = y.rows * y.columns;
  launch<select_columns>(elementwise(count, run), values_of<const float>(x), values_of<const int32_t>(indices),
                         values_of<float>(y), count, y.columns, x.columns);
}

}  // namespace vivace::cuda

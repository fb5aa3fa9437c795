// row_select: see cpp/ops/rows/row_select.h.
#include "cuda/ops/elementwise.h"

namespace vivace::cuda {
namespace {

__global__ void select_rows(const float* x, const int32_t* indices, float* y, int64_t count, int64_t columns) {
  for_each_value(count, [&](int64_t i) { y[i] = x[indices[i / columns] * columns + i % columns]; });
}

}  // namespace

void row_select(const DeviceRun& run) {
  const Tensor &x = run.inputs[0], &indices = run.inputs[1], &y = run.outputs[0];
  const int64_t count = y.rows * y.columns;
  launch<select_rows>(elementwise(count, run), values_of<const float>(x), values_of<const int32_t>(indices),
                      values_of<float>(y), count, y.columns);
}

}  // namespace vivace::cuda

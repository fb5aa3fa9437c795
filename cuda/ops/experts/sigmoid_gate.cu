// sigmoid_gate: see cpp/ops/experts/sigmoid_gate.h.
#include "ops/experts/sigmoid_gate.h"

#include "cuda/ops/elementwise.h"

namespace vivace::cuda {
namespace {

__global__ void gate_by_sigmoid(const float* x, const float* gate, float* y, int64_t count, int64_t columns) {
  for_each_value(count, [&](int64_t i) { y[i] = x[i] / (1.0f + expf(-gate[i / columns])); });
}

}  // namespace

void sigmoid_gate(const DeviceRun& run) {
  const Tensor &x = run.inputs[0], &y = run.outputs[0];
  const int64_t count = y.rows * y.columns;
  launch<gate_by_sigmoid>(elementwise(count, run), values_of<const float>(x), values_of<const float>(run.inputs[1]),
                          values_of<float>(y), count, y.columns);
}

}  // namespace vivace::cuda

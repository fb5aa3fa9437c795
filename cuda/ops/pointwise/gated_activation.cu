// gated_activation: see cpp/ops/pointwise/gated_activation.h.
#include "cuda/ops/elementwise.h"

namespace vivace::cuda {
namespace {

__global__ void gate_silu(const float* gate, const float* up, float* y, int64_t count) {
  for_each_value(count, [&](int64_t i) { y[i] = gate[i] / (1.0f + expf(-gate[i])) * up[i]; });
}

__global__ void gate_gelu_tanh(const float* gate, const float* up, float* y, int64_t count) {
  for_each_value(count, [&](int64_t i) {
    const float x = gate[i];
    const float inner = fmaf(x * x, x * 0.044715f, x) * 0.797884561f;  // √(2/π)
    y[i] = 0.5f * x * (1.0f + tanhf(inner)) * up[i];
  });
}

}  // namespace

void gated_activation(const DeviceRun& run) {
  const Tensor &gate = run.inputs[0], &up = run.inputs[1], &y = run.outputs[0];
  const int64_t count = y.rows * y.columns;
  const auto start = [&]<auto kernel>() {
    launch<kernel>(elementwise(count, run), values_of<const float>(gate), values_of<const float>(up),
                   values_of<float>(y), count);
  };
  if (run.attributes[0] == 0)
    start.template operator()<gate_silu>();
  else
    start.template operator()<gate_gelu_tanh>();
}

}  // namespace vivace::cuda

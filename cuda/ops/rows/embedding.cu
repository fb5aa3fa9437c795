// embedding: see cpp/ops/rows/embedding.h.
#include "cuda/ops/elementwise.h"
#include "cuda/quant/dequantise.h"

namespace vivace::cuda {
namespace {

__global__ void look_up(DType dtype, const uint8_t* weight, int64_t vocab, int64_t stride, const int32_t* tokens,
                        float* y, int64_t count, int64_t columns, float factor) {
  for_each_value(count, [&](int64_t i) {
    const int64_t token = tokens[i / columns];
    y[i] = token < 0 || token >= vocab ? 0.0f : factor * weight_value(dtype, weight + token * stride, i % columns);
  });
}

}  // namespace

void embedding(const DeviceRun& run) {
  const Tensor &weight = run.inputs[0], &tokens = run.inputs[1], &y = run.outputs[0];
  const int64_t count = y.rows * y.columns;
  launch<look_up>(elementwise(count, run), weight.dtype, values_of<const uint8_t>(weight), weight.rows, weight.stride,
                  values_of<const int32_t>(tokens), values_of<float>(y), count, y.columns,
                  static_cast<float>(run.attributes[0]));
}

}  // namespace vivace::cuda

// linear for every type of weights, one thread per output: the kernel that the faster ones are compared with.
#include "cuda/ops/elementwise.h"
#include "cuda/ops/linear/linear.h"
#include "cuda/quant/dequantise.h"
#include "ops/linear/a8.h"

namespace vivace::cuda {
namespace {

struct Epilogue {
  const float* bias;      // [1, out] or null
  const float* residual;  // [rows, out] or null

  __device__ float finish(float sum, int64_t i, int64_t out) const {
    if (bias != nullptr) sum += bias[i % out];
    if (residual != nullptr) sum += residual[i];
    return sum;
  }
};

// Sums of 32 columns are added to the row's sum: less is rounded away than by one long sum.
__global__ void multiply_any_floats(DType dtype, const uint8_t* weight, int64_t stride, const float* x, float* y,
                                    int64_t count, int64_t out, int64_t columns, Epilogue epilogue) {
  for_each_value(count, [&](int64_t i) {
    const uint8_t* row = weight + i % out * stride;
    const float* in = x + i / out * columns;
    float sum = 0;
    for (int64_t from = 0; from < columns; from += 32) {
      const int64_t end = from + 32 < columns ? from + 32 : columns;
      float part = 0;
      for (int64_t k = from; k < end; ++k) part = fmaf(weight_value(dtype, row, k), in[k], part);
      sum += part;
    }
    y[i] = epilogue.finish(sum, i, out);
  });
}

// x is A8_TOKEN: a scale and a sum, then from byte 64 on the codes.
__global__ void multiply_tokens(DType dtype, const uint8_t* weight, int64_t stride, const uint8_t* x, float* y,
                                int64_t count, int64_t out, int64_t columns, Epilogue epilogue) {
  for_each_value(count, [&](int64_t i) {
    const uint8_t* row = weight + i % out * stride;
    const uint8_t* token = x + i / out * (columns + 64);
    int32_t sum = 0;
    for (int64_t k = 0; k < columns; ++k) sum += token_code(dtype, row, k) * signed_byte(token[64 + k]);
    const float shifted = load_float(row + 4) * static_cast<float>(static_cast<int32_t>(load_u32(token + 4)));
    y[i] = epilogue.finish(load_float(token) * fmaf(load_float(row), static_cast<float>(sum), -shifted), i, out);
  });
}

}  // namespace

void plain_linear(const DeviceRun& run) {
  const Tensor &x = run.inputs[0], &weight = run.inputs[1], &y = run.outputs[0];
  const Epilogue epilogue = {values_of<const float>(run.inputs[2]), values_of<const float>(run.inputs[3])};
  const int64_t count = y.rows * y.columns;
  const auto* w = values_of<const uint8_t>(weight);
  if (x.dtype == DType::F32)
    launch<multiply_any_floats>(elementwise(count, run), weight.dtype, w, weight.stride, values_of<const float>(x),
                                values_of<float>(y), count, y.columns, x.columns, epilogue);
  else
    launch<multiply_tokens>(elementwise(count, run), weight.dtype, w, weight.stride, values_of<const uint8_t>(x),
                            values_of<float>(y), count, y.columns, x.columns, epilogue);
}

}  // namespace vivace::cuda

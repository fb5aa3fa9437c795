// rms_norm_quantize: see cpp/ops/fused/rms_norm_quantize.h; the bits of rms_norm and
// quantize_rows or quantize_tokens.
#include "cuda/core/launch.h"
#include "cuda/ops/elementwise.h"
#include "cuda/ops/norm/rms.h"
#include "cuda/quant/a8.h"
#include "cuda/quant/a8_token.h"

namespace vivace::cuda {
namespace {

// One block of threads per row; its warps take blocks of 32 values in turns.
__global__ void normalise_and_quantize(const float* x, const float* weight, A8Block* y, int64_t width, float epsilon) {
  const float* in = x + static_cast<int64_t>(blockIdx.x) * width;
  A8Block* out = y + static_cast<int64_t>(blockIdx.x) * (width / 32);
  const float inverse = inverse_rms(in, width, epsilon);
  for (int64_t i = threadIdx.x; i < width; i += blockDim.x) quantize_block(in[i] * inverse * weight[i], out + i / 32);
}

__global__ void normalise_and_quantize_token(const float* x, const float* weight, uint8_t* y, int64_t width,
                                             float epsilon) {
  const float* in = x + static_cast<int64_t>(blockIdx.x) * width;
  const float inverse = inverse_rms(in, width, epsilon);
  quantize_token(y + static_cast<int64_t>(blockIdx.x) * (width + token_header), width,
                 [&](int64_t i) { return in[i] * inverse * weight[i]; });
}

}  // namespace

void rms_norm_quantize(const DeviceRun& run) {
  const Tensor &x = run.inputs[0], &weight = run.inputs[1], &y = run.outputs[0];
  const Launch how{dim3(static_cast<unsigned>(x.rows)), dim3(rms_threads), 0, run.stream};
  const auto epsilon = static_cast<float>(run.attributes[0]);
  if (y.dtype == DType::A8_TOKEN)
    launch<normalise_and_quantize_token>(how, values_of<const float>(x), values_of<const float>(weight),
                                         values_of<uint8_t>(y), x.columns, epsilon);
  else
    launch<normalise_and_quantize>(how, values_of<const float>(x), values_of<const float>(weight),
                                   values_of<A8Block>(y), x.columns, epsilon);
}

}  // namespace vivace::cuda

// rms_norm_quantize: see cpp/ops/fused/rms_norm_quantize.h; the bits of rms_norm and quantize_rows.
#include "cuda/core/launch.h"
#include "cuda/ops/elementwise.h"
#include "cuda/ops/norm/rms.h"
#include "cuda/quant/a8.h"

namespace vivace::cuda {
namespace {

// One block of threads per row; its warps take blocks of 32 values in turns.
__global__ void normalise_and_quantize(const float* x, const float* weight, A8Block* y, int64_t width, float epsilon) {
  const float* in = x + static_cast<int64_t>(blockIdx.x) * width;
  A8Block* out = y + static_cast<int64_t>(blockIdx.x) * (width / 32);
  const float inverse = inverse_rms(in, width, epsilon);
  for (int64_t i = threadIdx.x; i < width; i += blockDim.x) quantize_block(in[i] * inverse * weight[i], out + i / 32);
}

}  // namespace

void rms_norm_quantize(const DeviceRun& run) {
  const Tensor &x = run.inputs[0], &weight = run.inputs[1], &y = run.outputs[0];
  launch<normalise_and_quantize>(Launch{dim3(static_cast<unsigned>(x.rows)), dim3(rms_threads), 0, run.stream},
                                 values_of<const float>(x), values_of<const float>(weight), values_of<A8Block>(y),
                                 x.columns, static_cast<float>(run.attributes[0]));
}

}  // namespace vivace::cuda

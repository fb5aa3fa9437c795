// rms_norm: see cpp/ops/norm/rms_norm.h.
#include "cuda/core/launch.h"
#include "cuda/ops/elementwise.h"
#include "cuda/ops/norm/rms.h"

namespace vivace::cuda {
namespace {

// One block per group.
__global__ void normalise_rms(const float* x, const float* weight, float* y, int64_t width, float epsilon) {
  const float* in = x + static_cast<int64_t>(blockIdx.x) * width;
  float* out = y + static_cast<int64_t>(blockIdx.x) * width;
  const float inverse = inverse_rms(in, width, epsilon);
  for (int64_t i = threadIdx.x; i < width; i += blockDim.x) out[i] = in[i] * inverse * weight[i];
}

}  // namespace

void rms_norm(const DeviceRun& run) {
  const Tensor &x = run.inputs[0], &weight = run.inputs[1], &y = run.outputs[0];
  const unsigned groups = static_cast<unsigned>(x.rows * x.columns / weight.columns);
  launch<normalise_rms>(Launch{dim3(groups), dim3(rms_threads), 0, run.stream}, values_of<const float>(x),
                        values_of<const float>(weight), values_of<float>(y), weight.columns,
                        static_cast<float>(run.attributes[0]));
}

}  // namespace vivace::cuda

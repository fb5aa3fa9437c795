// softmax: see cpp/ops/norm/softmax.h.
#include "cuda/core/launch.h"
#include "cuda/core/reduce.h"
#include "cuda/ops/elementwise.h"

namespace vivace::cuda {
namespace {

constexpr unsigned threads = 256;

// One block per row. A NaN does not win the maximum, but it stays in the sum.
__global__ void normalise_exponents(const float* x, float* y, int64_t columns) {
  const float* in = x + static_cast<int64_t>(blockIdx.x) * columns;
  float* out = y + static_cast<int64_t>(blockIdx.x) * columns;
  float top = -INFINITY;
  for (int64_t i = threadIdx.x; i < columns; i += blockDim.x) top = fmaxf(top, in[i]);
  top = max_of_block(top);
  float sum = 0;
  for (int64_t i = threadIdx.x; i < columns; i += blockDim.x) sum += expf(in[i] - top);
  const float total = sum_of_block(sum);
  for (int64_t i = threadIdx.x; i < columns; i += blockDim.x) out[i] = expf(in[i] - top) / total;
}

}  // namespace

void softmax(const DeviceRun& run) {
  const Tensor &x = run.inputs[0], &y = run.outputs[0];
  launch<normalise_exponents>(Launch{dim3(static_cast<unsigned>(x.rows)), dim3(threads), 0, run.stream},
                              values_of<const float>(x), values_of<float>(y), x.columns);
}

}  // namespace vivace::cuda

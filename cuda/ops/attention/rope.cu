// rope: see cpp/ops/attention/rope.h.
#include "cuda/core/launch.h"
#include "cuda/core/shared.h"
#include "cuda/ops/elementwise.h"

namespace vivace::cuda {
namespace {

constexpr unsigned threads = 64;

// One block per row and head. The head is read before it is written: y may be x.
__global__ void rotate(const float* x, const float* table, float* y, int heads, int width, int d, int adjacent) {
  const auto head = dynamic_shared<float>(0, static_cast<size_t>(width));
  const int64_t at = static_cast<int64_t>(blockIdx.x) * width;
  const float* angles = table + static_cast<int64_t>(blockIdx.x / static_cast<unsigned>(heads)) * d;
  const int half = d / 2, first = static_cast<int>(threadIdx.x), step = static_cast<int>(blockDim.x);
  for (int i = first; i < width; i += step) head[i] = x[at + i];
  __syncthreads();
  for (int j = first; j < half; j += step) {
    const float a = head[adjacent != 0 ? 2 * j : j], b = head[adjacent != 0 ? 2 * j + 1 : j + half];
    const float cosine = angles[j], sine = angles[half + j];
    y[at + j] = a * cosine - b * sine;
    y[at + j + half] = b * cosine + a * sine;
  }
  for (int i = d + first; i < width; i += step) y[at + i] = head[i];
}

}  // namespace

void rope(const DeviceRun& run) {
  const Tensor &x = run.inputs[0], &table = run.inputs[1], &y = run.outputs[0];
  const int heads = static_cast<int>(run.attributes[0]), width = static_cast<int>(x.columns / heads);
  launch<rotate>(Launch{dim3(static_cast<unsigned>(x.rows * heads)), dim3(threads),
                        static_cast<size_t>(width) * sizeof(float), run.stream},
                 values_of<const float>(x), values_of<const float>(table), values_of<float>(y), heads, width,
                 static_cast<int>(table.columns), run.attributes[1] == 0 ? 1 : 0);
}

}  // namespace vivace::cuda

// See copy_strips.h.
#include "cuda/caches/copy_strips.h"

#include "cuda/core/launch.h"

namespace vivace::cuda {
namespace {

// One warp per strip: rows of a head are 34 to 1024 bytes.
__global__ void move_strips(const VivaceDeviceStrip* strips) {
  const VivaceDeviceStrip strip = strips[blockIdx.x];
  auto* to = static_cast<uint8_t*>(strip.to);
  const auto* from = static_cast<const uint8_t*>(strip.from);
  for (int64_t i = threadIdx.x; i < strip.bytes; i += blockDim.x) to[i] = from[i];
}

}  // namespace

void copy_strips(const VivaceDeviceStrip* strips, int64_t count, cudaStream_t stream) {
  launch<move_strips>(Launch{dim3(static_cast<unsigned>(count)), dim3(32), 0, stream}, strips);
}

}  // namespace vivace::cuda

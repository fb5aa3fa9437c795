// Activations of gates; cpp/ops/pointwise/gated_activation.h has their formulas.
#pragma once
#include <cuda_runtime.h>

namespace vivace::cuda {

template <bool gelu>
__device__ inline float activate(float x) {
  if constexpr (gelu) {
    const float inner = fmaf(x * x, x * 0.044715f, x) * 0.797884561f;  // √(2/π)
    return 0.5f * x * (1.0f + tanhf(inner));
  } else {
    return x / (1.0f + expf(-x));
  }
}

}  // namespace vivace::cuda

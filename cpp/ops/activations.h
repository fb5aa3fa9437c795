// Activations of vectors, for files compiled per level; cpp/ops/pointwise/gated_activation.h has their formulas.
#pragma once
#include "core/simd.h"

namespace vivace::VIVACE_ISA {

inline F32 silu(F32 x) {
  return x / (set1(1.0f) + exp(-x));
}

inline F32 gelu_tanh(F32 x) {
  const F32 inner = fma(x * x, x * set1(0.044715f), x) * set1(0.797884561f);
  return set1(0.5f) * x * (set1(1.0f) + tanh(inner));
}

}  // namespace vivace::VIVACE_ISA

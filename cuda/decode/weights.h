// Weights of tokens: e^((logit − peak) · scale) with the bits of cpp/decode/sample_kernel.cpp.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>

namespace vivace::cuda {

// exp(x) for x <= 0, within 2 ulp; 0 below -87. No product is fused with a sum.
__device__ inline float exponential(float x) {
  const float clamped = x > -87.0f ? x : -87.0f;
  const float shifted = __fadd_rn(__fmul_rn(clamped, 1.44269504f), 12582912.0f);  // rounds in the low bits
  const float whole = __fsub_rn(shifted, 12582912.0f);
  const float r = __fadd_rn(__fsub_rn(clamped, __fmul_rn(whole, 0.693359375f)), __fmul_rn(whole, 2.12194440e-4f));
  float p = 1.9875691500e-4f;
  p = __fadd_rn(__fmul_rn(p, r), 1.3981999507e-3f);
  p = __fadd_rn(__fmul_rn(p, r), 8.3334519073e-3f);
  p = __fadd_rn(__fmul_rn(p, r), 4.1665795894e-2f);
  p = __fadd_rn(__fmul_rn(p, r), 1.6666665459e-1f);
  p = __fadd_rn(__fmul_rn(p, r), 5.0000001201e-1f);
  p = __fadd_rn(__fadd_rn(__fmul_rn(__fmul_rn(p, r), r), r), 1.0f);
  const uint32_t exponent = __float_as_uint(shifted) << 23;
  return x > -87.0f ? __uint_as_float(__float_as_uint(p) + exponent) : 0.0f;
}

__device__ inline float weight_of(float logit, float peak, float scale) {
  return exponential(__fmul_rn(__fsub_rn(logit, peak), scale));
}

}  // namespace vivace::cuda

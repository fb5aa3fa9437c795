// Arithmetic on pairs of 16-bit floats in a word.
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

namespace vivace::cuda {

#if defined(__CUDACC__)

__device__ inline uint32_t pack_f16(float low, float high) {
  uint32_t result;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(result) : "f"(high), "f"(low));
  return result;
}
__device__ inline uint32_t pack_bf16(float low, float high) {
  uint32_t result;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(result) : "f"(high), "f"(low));
  return result;
}
// a - b for pairs of bfloat16, rounded once.
__device__ inline uint32_t subtract_bf16(uint32_t a, uint32_t b) {
  uint32_t result;
  asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(result) : "r"(b), "r"(0xbf80bf80u), "r"(a));  // b · -1 + a
  return result;
}

#else

inline uint32_t pack_f16(float low, float high) {
  return __float2half_rn(low).bits | static_cast<uint32_t>(__float2half_rn(high).bits) << 16;
}
inline uint32_t pack_bf16(float low, float high) {
  return __float2bfloat16_rn(low).bits | static_cast<uint32_t>(__float2bfloat16_rn(high).bits) << 16;
}
inline uint32_t subtract_bf16(uint32_t a, uint32_t b) {
  const auto difference = [&](int shift) {
    const float value = __uint_as_float(a >> shift << 16) - __uint_as_float(b >> shift << 16);
    return static_cast<uint32_t>(__float2bfloat16_rn(value).bits) << shift;
  };
  return difference(0) | difference(16);
}

#endif

}  // namespace vivace::cuda

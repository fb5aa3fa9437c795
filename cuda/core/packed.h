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
// (word & mask) | bits, one instruction: bits of codes become numbers of 16 bits.
__device__ inline uint32_t mask_or(uint32_t word, uint32_t mask, uint32_t bits) {
  uint32_t result;
  asm("lop3.b32 %0, %1, %2, %3, 0xea;" : "=r"(result) : "r"(word), "r"(mask), "r"(bits));
  return result;
}
// a + b and a · b + c for pairs of f16, rounded once.
__device__ inline uint32_t add_f16(uint32_t a, uint32_t b) {
  uint32_t result;
  asm("add.rn.f16x2 %0, %1, %2;" : "=r"(result) : "r"(a), "r"(b));
  return result;
}
__device__ inline uint32_t fma_f16(uint32_t a, uint32_t b, uint32_t c) {
  uint32_t result;
  asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(result) : "r"(a), "r"(b), "r"(c));
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
inline uint32_t mask_or(uint32_t word, uint32_t mask, uint32_t bits) {
  return (word & mask) | bits;
}
inline uint32_t add_f16(uint32_t a, uint32_t b) {
  const auto sum = [&](int shift) {
    const auto part = [&](uint32_t word) { return __ushort_as_half(static_cast<unsigned short>(word >> shift)); };
    return static_cast<uint32_t>(__hadd(part(a), part(b)).bits) << shift;
  };
  return sum(0) | sum(16);
}
inline uint32_t fma_f16(uint32_t a, uint32_t b, uint32_t c) {
  const auto sum = [&](int shift) {
    const auto part = [&](uint32_t word) { return __ushort_as_half(static_cast<unsigned short>(word >> shift)); };
    return static_cast<uint32_t>(__hfma(part(a), part(b), part(c)).bits) << shift;
  };
  return sum(0) | sum(16);
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

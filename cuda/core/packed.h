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

// The upper 16 bits of two floats, the first one in the lower half: bfloat16, cut off.
__device__ inline uint32_t upper_halves(float low, float high) {
  return __byte_perm(__float_as_uint(low), __float_as_uint(high), 0x7632);
}
// A float is exactly the sum of three bfloat16 of 8 bits each (while none is too small to be one).
__device__ inline void split_bf16(float low, float high, uint32_t (&parts)[3]) {
  for (uint32_t& part : parts) {
    part = upper_halves(low, high);
    low -= __uint_as_float(part << 16);
    high -= __uint_as_float(part & 0xffff0000u);
  }
}
// A float as the sum of two halves: 22 bits of it, where it is neither beyond their range nor small.
__device__ inline void split_f16(float low, float high, uint32_t (&parts)[2]) {
  parts[0] = pack_f16(low, high);
  const auto half_of = [](uint32_t bits) { return __half2float(__ushort_as_half(static_cast<unsigned short>(bits))); };
  parts[1] = pack_f16(low - half_of(parts[0] & 0xffffu), high - half_of(parts[0] >> 16));
}

}  // namespace vivace::cuda

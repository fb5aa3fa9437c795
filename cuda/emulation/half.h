// __half and __nv_bfloat16 with the conversions and the arithmetic that kernels use; every operation rounds once.
#pragma once
#include <cstdint>

#include "core/simd/half.h"
#include "cuda/emulation/device.h"

struct __half {
  uint16_t bits;
};
struct alignas(4) __half2 {
  __half x, y;
};
using half = __half;
using half2 = __half2;

inline float __half2float(__half a) {
  return vivace::f32_from_f16(a.bits);
}
inline __half __float2half_rn(float a) {
  return {vivace::f16_from_f32(a)};
}
inline __half __float2half(float a) {
  return __float2half_rn(a);
}
inline unsigned short __half_as_ushort(__half a) {
  return a.bits;
}
inline __half __ushort_as_half(unsigned short bits) {
  return {bits};
}
inline __half2 __floats2half2_rn(float a, float b) {
  return {__float2half_rn(a), __float2half_rn(b)};
}
inline __half2 __halves2half2(__half a, __half b) {
  return {a, b};
}
inline __half2 __half2half2(__half a) {
  return {a, a};
}
inline float2 __half22float2(__half2 a) {
  return {__half2float(a.x), __half2float(a.y)};
}
inline __half __low2half(__half2 a) {
  return a.x;
}
inline __half __high2half(__half2 a) {
  return a.y;
}
inline float __low2float(__half2 a) {
  return __half2float(a.x);
}
inline float __high2float(__half2 a) {
  return __half2float(a.y);
}
inline __half __hadd(__half a, __half b) {
  return __float2half_rn(__half2float(a) + __half2float(b));
}
inline __half __hsub(__half a, __half b) {
  return __float2half_rn(__half2float(a) - __half2float(b));
}
inline __half __hmul(__half a, __half b) {
  return __float2half_rn(__half2float(a) * __half2float(b));
}
// One rounding: what is not exact on the way gets an odd last bit, which is no tie (Boldo and Melquiond 2008). In 64
// bits the product is exact, and the sum wherever it is near a tie of halves: less than 53 bits lie between its ends.
inline __half __hfma(__half a, __half b, __half c) {
  const double sum = static_cast<double>(__half2float(a)) * static_cast<double>(__half2float(b)) +
                     static_cast<double>(__half2float(c));
  float narrow = static_cast<float>(sum);
  if (std::isfinite(narrow) && static_cast<double>(narrow) != sum) {
    if (std::abs(static_cast<double>(narrow)) > std::abs(sum)) narrow = std::nextafter(narrow, 0.0f);
    narrow = __uint_as_float(__float_as_uint(narrow) | 1);
  }
  return __float2half_rn(narrow);
}
inline __half2 __hadd2(__half2 a, __half2 b) {
  return {__hadd(a.x, b.x), __hadd(a.y, b.y)};
}
inline __half2 __hsub2(__half2 a, __half2 b) {
  return {__hsub(a.x, b.x), __hsub(a.y, b.y)};
}
inline __half2 __hmul2(__half2 a, __half2 b) {
  return {__hmul(a.x, b.x), __hmul(a.y, b.y)};
}
inline __half2 __hfma2(__half2 a, __half2 b, __half2 c) {
  return {__hfma(a.x, b.x, c.x), __hfma(a.y, b.y, c.y)};
}

struct __nv_bfloat16 {
  uint16_t bits;
};
struct alignas(4) __nv_bfloat162 {
  __nv_bfloat16 x, y;
};
inline float __bfloat162float(__nv_bfloat16 a) {
  return __uint_as_float(static_cast<unsigned>(a.bits) << 16);
}
inline __nv_bfloat16 __float2bfloat16_rn(float a) {
  const unsigned bits = __float_as_uint(a);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return {static_cast<uint16_t>(bits >> 16 | 64)};
  return {static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1)) >> 16)};
}
inline __nv_bfloat16 __float2bfloat16(float a) {
  return __float2bfloat16_rn(a);
}
inline __nv_bfloat162 __floats2bfloat162_rn(float a, float b) {
  return {__float2bfloat16_rn(a), __float2bfloat16_rn(b)};
}
inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 a) {
  return a.bits;
}
inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short bits) {
  return {bits};
}

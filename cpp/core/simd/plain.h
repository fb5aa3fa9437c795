// F32 as 4 lanes of plain C++, for processors without a vector body of their own.
#pragma once
#include <cstdint>
#include <cstring>

#include "core/simd/half.h"

namespace vivace::VIVACE_ISA {

struct F32 {
  static constexpr int lanes = 4;
  float v[4];
};

namespace simd_detail {
template <class Function>
inline F32 each(Function&& function) {
  return {{function(0), function(1), function(2), function(3)}};
}
}  // namespace simd_detail

inline F32 set1(float x) {
  return {{x, x, x, x}};
}
inline F32 zero() {
  return set1(0.0f);
}
inline F32 load_partial(const float* p, int count) {
  F32 a = zero();
  for (int i = 0; i < count; ++i) a.v[i] = p[i];
  return a;
}
inline F32 load(const float* p) {
  return load_partial(p, 4);
}
inline void store_partial(float* p, F32 a, int count) {
  for (int i = 0; i < count; ++i) p[i] = a.v[i];
}
inline void store(float* p, F32 a) {
  store_partial(p, a, 4);
}
inline F32 load_f16_partial(const uint16_t* p, int count) {
  F32 a = zero();
  for (int i = 0; i < count; ++i) a.v[i] = f32_from_f16(p[i]);
  return a;
}
inline F32 load_f16(const uint16_t* p) {
  return load_f16_partial(p, 4);
}
inline void store_f16_partial(uint16_t* p, F32 a, int count) {
  for (int i = 0; i < count; ++i) p[i] = f16_from_f32(a.v[i]);
}
inline void store_f16(uint16_t* p, F32 a) {
  store_f16_partial(p, a, 4);
}
inline F32 set1_f16(uint16_t half) {
  return set1(f32_from_f16(half));
}
inline F32 load_bf16(const uint16_t* p) {
  return simd_detail::each([&](int i) { return f32_from_bits(static_cast<uint32_t>(p[i]) << 16); });
}
inline F32 load_i8(const int8_t* p) {
  return simd_detail::each([&](int i) { return static_cast<float>(p[i]); });
}

// Codes of four bits, less 8: those in the low or in the high halves of F32::lanes bytes.
inline F32 load_low_codes(const void* p) {
  return simd_detail::each([&](int i) { return static_cast<float>((static_cast<const uint8_t*>(p)[i] & 15) - 8); });
}
inline F32 load_high_codes(const void* p) {
  return simd_detail::each([&](int i) { return static_cast<float>((static_cast<const uint8_t*>(p)[i] >> 4) - 8); });
}

inline F32 operator+(F32 a, F32 b) {
  return simd_detail::each([&](int i) { return a.v[i] + b.v[i]; });
}
inline F32 operator-(F32 a, F32 b) {
  return simd_detail::each([&](int i) { return a.v[i] - b.v[i]; });
}
inline F32 operator*(F32 a, F32 b) {
  return simd_detail::each([&](int i) { return a.v[i] * b.v[i]; });
}
inline F32 operator/(F32 a, F32 b) {
  return simd_detail::each([&](int i) { return a.v[i] / b.v[i]; });
}
inline F32 fma(F32 a, F32 b, F32 c) {
  return a * b + c;
}
inline F32 min(F32 a, F32 b) {
  return simd_detail::each([&](int i) { return a.v[i] < b.v[i] ? a.v[i] : b.v[i]; });
}
inline F32 max(F32 a, F32 b) {
  return simd_detail::each([&](int i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; });
}
inline F32 abs(F32 a) {
  return simd_detail::each([&](int i) { return f32_from_bits(bits_from_f32(a.v[i]) & 0x7fffffff); });
}
inline F32 sqrt(F32 a) {
  return simd_detail::each([&](int i) { return __builtin_sqrtf(a.v[i]); });
}
// Nearest even for |a| < 2^22, which is all that exp asks for.
inline F32 round(F32 a) {
  return simd_detail::each([&](int i) {
    volatile float shifted = a.v[i] + 12582912.0f;
    return shifted - 12582912.0f;
  });
}
inline F32 select_less(F32 a, F32 b, F32 yes, F32 no) {
  return simd_detail::each([&](int i) { return a.v[i] < b.v[i] ? yes.v[i] : no.v[i]; });
}
// a · 2^n for whole |n| ≤ 250, in two factors so that results may be subnormal.
inline F32 scale_by_power(F32 a, F32 n) {
  return simd_detail::each([&](int i) {
    if (!(n.v[i] == n.v[i])) return n.v[i];
    const int whole = static_cast<int>(n.v[i]), low = whole >> 1, high = whole - low;
    return a.v[i] * f32_from_bits(static_cast<uint32_t>(low + 127) << 23) *
           f32_from_bits(static_cast<uint32_t>(high + 127) << 23);
  });
}

inline float sum(F32 a) {
  return (a.v[0] + a.v[1]) + (a.v[2] + a.v[3]);
}
inline void sum4(float* out, F32 a, F32 b, F32 c, F32 d) {
  out[0] = sum(a);
  out[1] = sum(b);
  out[2] = sum(c);
  out[3] = sum(d);
}
inline void sum_lanes(float* out, int64_t, const F32* a) {
  sum4(out, a[0], a[1], a[2], a[3]);
}
inline float max_of(F32 a) {
  const F32 b = {{a.v[2], a.v[3], a.v[2], a.v[3]}};
  const F32 m = max(a, b);
  return m.v[0] > m.v[1] ? m.v[0] : m.v[1];
}

}  // namespace vivace::VIVACE_ISA

// F32 as 4 lanes of SSE4.1 (x86-64-v2); fma is a product and a sum, each rounded.
#pragma once
#include <smmintrin.h>

#include <cstdint>
#include <cstring>

#include "core/simd/half.h"

namespace vivace::VIVACE_ISA {

struct F32 {
  static constexpr int lanes = 4;
  __m128 v;
};

inline F32 set1(float x) {
  return {_mm_set1_ps(x)};
}
inline F32 zero() {
  return {_mm_setzero_ps()};
}
inline F32 load(const float* p) {
  return {_mm_loadu_ps(p)};
}
inline F32 load_partial(const float* p, int count) {
  float values[4] = {};
  for (int i = 0; i < count; ++i) values[i] = p[i];
  return load(values);
}
inline void store(float* p, F32 a) {
  _mm_storeu_ps(p, a.v);
}
inline void store_partial(float* p, F32 a, int count) {
  float values[4];
  store(values, a);
  for (int i = 0; i < count; ++i) p[i] = values[i];
}
inline F32 load_f16(const uint16_t* p) {
  const __m128i half = _mm_cvtepu16_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
  const __m128i sign = _mm_slli_epi32(_mm_and_si128(half, _mm_set1_epi32(0x8000)), 16);
  const __m128i rest = _mm_slli_epi32(_mm_and_si128(half, _mm_set1_epi32(0x7fff)), 13);
  const __m128i special = _mm_cmpgt_epi32(rest, _mm_set1_epi32(0x0f7fffff));  // infinity, NaN
  const __m128 finite = _mm_mul_ps(_mm_castsi128_ps(rest), _mm_set1_ps(0x1p112f));
  const __m128i all = _mm_or_si128(rest, _mm_set1_epi32(0x70000000));
  const __m128i value = _mm_blendv_epi8(_mm_castps_si128(finite), all, special);
  return {_mm_castsi128_ps(_mm_or_si128(value, sign))};
}
inline F32 load_f16_partial(const uint16_t* p, int count) {
  uint16_t halves[4] = {};
  for (int i = 0; i < count; ++i) halves[i] = p[i];
  return load_f16(halves);
}
inline void store_f16_partial(uint16_t* p, F32 a, int count) {
  float values[4];
  store(values, a);
  for (int i = 0; i < count; ++i) p[i] = f16_from_f32(values[i]);
}
inline void store_f16(uint16_t* p, F32 a) {
  store_f16_partial(p, a, 4);
}
inline F32 set1_f16(uint16_t half) {
  return {_mm_set1_ps(f32_from_f16(half))};
}
inline F32 load_bf16(const uint16_t* p) {
  const __m128i wide = _mm_cvtepu16_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
  return {_mm_castsi128_ps(_mm_slli_epi32(wide, 16))};
}
inline F32 load_i8(const int8_t* p) {
  int32_t bytes;
  std::memcpy(&bytes, p, 4);
  return {_mm_cvtepi32_ps(_mm_cvtepi8_epi32(_mm_cvtsi32_si128(bytes)))};
}

// Codes of four bits, less 8: those in the low or in the high halves of F32::lanes bytes.
namespace simd_detail {
inline __m128i wide_bytes(const void* p) {
  int32_t bytes;
  std::memcpy(&bytes, p, 4);
  return _mm_cvtepu8_epi32(_mm_cvtsi32_si128(bytes));
}
inline F32 centred(__m128i codes) {
  return {_mm_sub_ps(_mm_cvtepi32_ps(codes), _mm_set1_ps(8.0f))};
}
}  // namespace simd_detail
inline F32 load_low_codes(const void* p) {
  return simd_detail::centred(_mm_and_si128(simd_detail::wide_bytes(p), _mm_set1_epi32(15)));
}
inline F32 load_high_codes(const void* p) {
  return simd_detail::centred(_mm_srli_epi32(simd_detail::wide_bytes(p), 4));
}

inline F32 operator+(F32 a, F32 b) {
  return {_mm_add_ps(a.v, b.v)};
}
inline F32 operator-(F32 a, F32 b) {
  return {_mm_sub_ps(a.v, b.v)};
}
inline F32 operator*(F32 a, F32 b) {
  return {_mm_mul_ps(a.v, b.v)};
}
inline F32 operator/(F32 a, F32 b) {
  return {_mm_div_ps(a.v, b.v)};
}
inline F32 fma(F32 a, F32 b, F32 c) {
  return {_mm_add_ps(_mm_mul_ps(a.v, b.v), c.v)};
}
inline F32 min(F32 a, F32 b) {
  return {_mm_min_ps(a.v, b.v)};
}
inline F32 max(F32 a, F32 b) {
  return {_mm_max_ps(a.v, b.v)};
}
inline F32 abs(F32 a) {
  return {_mm_andnot_ps(_mm_set1_ps(-0.0f), a.v)};
}
inline F32 sqrt(F32 a) {
  return {_mm_sqrt_ps(a.v)};
}
inline F32 round(F32 a) {
  return {_mm_round_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
inline F32 select_less(F32 a, F32 b, F32 yes, F32 no) {
  return {_mm_blendv_ps(no.v, yes.v, _mm_cmplt_ps(a.v, b.v))};
}
// a · 2^n for whole |n| ≤ 250, in two factors so that results may be subnormal.
inline F32 scale_by_power(F32 a, F32 n) {
  const __m128i whole = _mm_cvtps_epi32(n.v);
  const __m128i low = _mm_srai_epi32(whole, 1), high = _mm_sub_epi32(whole, low);
  const __m128i bias = _mm_set1_epi32(127);
  const __m128 first = _mm_castsi128_ps(_mm_slli_epi32(_mm_add_epi32(low, bias), 23));
  const __m128 second = _mm_castsi128_ps(_mm_slli_epi32(_mm_add_epi32(high, bias), 23));
  return {_mm_mul_ps(_mm_mul_ps(a.v, first), second)};
}

inline float sum(F32 a) {
  const __m128 pairs = _mm_hadd_ps(a.v, a.v);
  return _mm_cvtss_f32(_mm_add_ss(pairs, _mm_movehdup_ps(pairs)));
}
inline void sum4(float* out, F32 a, F32 b, F32 c, F32 d) {
  _mm_storeu_ps(out, _mm_hadd_ps(_mm_hadd_ps(a.v, b.v), _mm_hadd_ps(c.v, d.v)));
}
inline void sum_lanes(float* out, int64_t, const F32* a) {
  sum4(out, a[0], a[1], a[2], a[3]);
}
inline float max_of(F32 a) {
  const __m128 m = _mm_max_ps(a.v, _mm_movehl_ps(a.v, a.v));
  return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
}

}  // namespace vivace::VIVACE_ISA

// F32 as 16 lanes of AVX-512 (F, BW, DQ, VL).
#pragma once
#include <immintrin.h>

#include <cstdint>

namespace vivace::VIVACE_ISA {

struct F32 {
  static constexpr int lanes = 16;
  __m512 v;
};

namespace simd_detail {
inline __mmask16 first(int count) {
  return static_cast<__mmask16>((1u << count) - 1);
}
inline __m128 quarter(F32 a) {
  const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));
  return _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
}
}  // namespace simd_detail

inline F32 set1(float x) {
  return {_mm512_set1_ps(x)};
}
inline F32 zero() {
  return {_mm512_setzero_ps()};
}
inline F32 load(const float* p) {
  return {_mm512_loadu_ps(p)};
}
inline F32 load_partial(const float* p, int count) {
  return {_mm512_maskz_loadu_ps(simd_detail::first(count), p)};
}
inline void store(float* p, F32 a) {
  _mm512_storeu_ps(p, a.v);
}
inline void store_partial(float* p, F32 a, int count) {
  _mm512_mask_storeu_ps(p, simd_detail::first(count), a.v);
}
inline F32 load_f16(const uint16_t* p) {
  return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
}
inline F32 load_f16_partial(const uint16_t* p, int count) {
  return {_mm512_cvtph_ps(_mm256_maskz_loadu_epi16(simd_detail::first(count), p))};
}
inline void store_f16(uint16_t* p, F32 a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT));
}
inline void store_f16_partial(uint16_t* p, F32 a, int count) {
  _mm256_mask_storeu_epi16(p, simd_detail::first(count), _mm512_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT));
}
inline F32 set1_f16(uint16_t half) {
  return {_mm512_cvtph_ps(_mm256_set1_epi16(static_cast<short>(half)))};
}
inline F32 load_bf16(const uint16_t* p) {
  const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(wide, 16))};
}
inline F32 load_i8(const int8_t* p) {
  return {_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))))};
}

inline F32 operator+(F32 a, F32 b) {
  return {_mm512_add_ps(a.v, b.v)};
}
inline F32 operator-(F32 a, F32 b) {
  return {_mm512_sub_ps(a.v, b.v)};
}
inline F32 operator*(F32 a, F32 b) {
  return {_mm512_mul_ps(a.v, b.v)};
}
inline F32 operator/(F32 a, F32 b) {
  return {_mm512_div_ps(a.v, b.v)};
}
inline F32 fma(F32 a, F32 b, F32 c) {
  return {_mm512_fmadd_ps(a.v, b.v, c.v)};
}
inline F32 min(F32 a, F32 b) {
  return {_mm512_min_ps(a.v, b.v)};
}
inline F32 max(F32 a, F32 b) {
  return {_mm512_max_ps(a.v, b.v)};
}
inline F32 abs(F32 a) {
  return {_mm512_abs_ps(a.v)};
}
inline F32 sqrt(F32 a) {
  return {_mm512_sqrt_ps(a.v)};
}
inline F32 round(F32 a) {
  return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT)};
}
inline F32 select_less(F32 a, F32 b, F32 yes, F32 no) {
  return {_mm512_mask_blend_ps(_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ), no.v, yes.v)};
}
inline F32 scale_by_power(F32 a, F32 n) {
  return {_mm512_scalef_ps(a.v, n.v)};
}

inline float sum(F32 a) {
  const __m128 quarter = simd_detail::quarter(a);
  const __m128 pairs = _mm_hadd_ps(quarter, quarter);
  return _mm_cvtss_f32(_mm_add_ss(pairs, _mm_movehdup_ps(pairs)));
}
inline void sum4(float* out, F32 a, F32 b, F32 c, F32 d) {
  using simd_detail::quarter;
  _mm_storeu_ps(out, _mm_hadd_ps(_mm_hadd_ps(quarter(a), quarter(b)), _mm_hadd_ps(quarter(c), quarter(d))));
}
// Sums of 16 vectors, four at out, four at out + stride …; the order of every sum is that of sum().
inline void sum_lanes(float* out, int64_t stride, const F32* a) {
  __m512 half[8], quarter[4], pair[2];
  for (int i = 0; i < 8; ++i) {
    const __m512 low = _mm512_shuffle_f32x4(a[2 * i].v, a[2 * i + 1].v, 0x44);
    half[i] = _mm512_add_ps(low, _mm512_shuffle_f32x4(a[2 * i].v, a[2 * i + 1].v, 0xee));
  }
  for (int i = 0; i < 4; ++i) {
    const __m512 even = _mm512_shuffle_f32x4(half[2 * i], half[2 * i + 1], 0x88);
    quarter[i] = _mm512_add_ps(even, _mm512_shuffle_f32x4(half[2 * i], half[2 * i + 1], 0xdd));
  }
  // Four lanes each of vectors 4i … 4i + 3; a 4 × 4 transposition that adds as it goes.
  for (int i = 0; i < 2; ++i) {
    const __m512 even = _mm512_shuffle_ps(quarter[2 * i], quarter[2 * i + 1], 0x88);
    pair[i] = _mm512_add_ps(even, _mm512_shuffle_ps(quarter[2 * i], quarter[2 * i + 1], 0xdd));
  }
  const __m512 even = _mm512_shuffle_ps(pair[0], pair[1], 0x88);
  const __m512 all = _mm512_add_ps(even, _mm512_shuffle_ps(pair[0], pair[1], 0xdd));
  // Lane 4q + i is the sum of vector 4i + q.
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  const __m512 sorted = _mm512_permutexvar_ps(order, all);
  _mm_storeu_ps(out, _mm512_castps512_ps128(sorted));
  _mm_storeu_ps(out + stride, _mm512_extractf32x4_ps(sorted, 1));
  _mm_storeu_ps(out + 2 * stride, _mm512_extractf32x4_ps(sorted, 2));
  _mm_storeu_ps(out + 3 * stride, _mm512_extractf32x4_ps(sorted, 3));
}
inline float max_of(F32 a) {
  return _mm512_reduce_max_ps(a.v);
}

}  // namespace vivace::VIVACE_ISA

// F32 as 8 lanes of AVX2 with FMA and F16C.
#pragma once
#include <immintrin.h>

#include <cstdint>
#include <cstring>

namespace vivace::VIVACE_ISA {

struct F32 {
  static constexpr int lanes = 8;
  __m256 v;
};

namespace simd_detail {
alignas(32) inline constexpr int32_t mask_table[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};
inline __m256i first(int count) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(mask_table + 8 - count));
}
inline __m128 quarter(F32 a) {
  return _mm_add_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
}
}  // namespace simd_detail

inline F32 set1(float x) {
  return {_mm256_set1_ps(x)};
}
inline F32 zero() {
  return {_mm256_setzero_ps()};
}
inline F32 load(const float* p) {
  return {_mm256_loadu_ps(p)};
}
inline F32 load_partial(const float* p, int count) {
  return {_mm256_maskload_ps(p, simd_detail::first(count))};
}
inline void store(float* p, F32 a) {
  _mm256_storeu_ps(p, a.v);
}
inline void store_partial(float* p, F32 a, int count) {
  _mm256_maskstore_ps(p, simd_detail::first(count), a.v);
}
inline F32 load_f16(const uint16_t* p) {
  return {_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
}
inline F32 load_f16_partial(const uint16_t* p, int count) {
  uint16_t halves[8] = {};
  std::memcpy(halves, p, 2 * static_cast<size_t>(count));
  return load_f16(halves);
}
inline void store_f16(uint16_t* p, F32 a) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT));
}
inline void store_f16_partial(uint16_t* p, F32 a, int count) {
  uint16_t halves[8];
  store_f16(halves, a);
  std::memcpy(p, halves, 2 * static_cast<size_t>(count));
}
inline F32 set1_f16(uint16_t half) {
  return {_mm256_cvtph_ps(_mm_set1_epi16(static_cast<short>(half)))};
}
inline F32 load_bf16(const uint16_t* p) {
  const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  return {_mm256_castsi256_ps(_mm256_slli_epi32(wide, 16))};
}
inline F32 load_i8(const int8_t* p) {
  return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))))};
}

// Codes of four bits, less 8: those in the low or in the high halves of F32::lanes bytes.
namespace simd_detail {
inline __m256i wide_bytes(const void* p) {
  return _mm256_cvtepu8_epi32(_mm_loadl_epi64(static_cast<const __m128i*>(p)));
}
inline F32 centred(__m256i codes) {
  return {_mm256_sub_ps(_mm256_cvtepi32_ps(codes), _mm256_set1_ps(8.0f))};
}
}  // namespace simd_detail
inline F32 load_low_codes(const void* p) {
  return simd_detail::centred(_mm256_and_si256(simd_detail::wide_bytes(p), _mm256_set1_epi32(15)));
}
inline F32 load_high_codes(const void* p) {
  return simd_detail::centred(_mm256_srli_epi32(simd_detail::wide_bytes(p), 4));
}

inline F32 operator+(F32 a, F32 b) {
  return {_mm256_add_ps(a.v, b.v)};
}
inline F32 operator-(F32 a, F32 b) {
  return {_mm256_sub_ps(a.v, b.v)};
}
inline F32 operator*(F32 a, F32 b) {
  return {_mm256_mul_ps(a.v, b.v)};
}
inline F32 operator/(F32 a, F32 b) {
  return {_mm256_div_ps(a.v, b.v)};
}
inline F32 fma(F32 a, F32 b, F32 c) {
  return {_mm256_fmadd_ps(a.v, b.v, c.v)};
}
inline F32 min(F32 a, F32 b) {
  return {_mm256_min_ps(a.v, b.v)};
}
inline F32 max(F32 a, F32 b) {
  return {_mm256_max_ps(a.v, b.v)};
}
inline F32 abs(F32 a) {
  return {_mm256_andnot_ps(_mm256_set1_ps(-0.0f), a.v)};
}
inline F32 sqrt(F32 a) {
  return {_mm256_sqrt_ps(a.v)};
}
inline F32 round(F32 a) {
  return {_mm256_round_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
inline F32 select_less(F32 a, F32 b, F32 yes, F32 no) {
  return {_mm256_blendv_ps(no.v, yes.v, _mm256_cmp_ps(a.v, b.v, _CMP_LT_OQ))};
}
// a · 2^n for whole |n| ≤ 250, in two factors so that results may be subnormal.
inline F32 scale_by_power(F32 a, F32 n) {
  const __m256i whole = _mm256_cvtps_epi32(n.v);
  const __m256i low = _mm256_srai_epi32(whole, 1), high = _mm256_sub_epi32(whole, low);
  const __m256i bias = _mm256_set1_epi32(127);
  const __m256 first = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(low, bias), 23));
  const __m256 second = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(high, bias), 23));
  return {_mm256_mul_ps(_mm256_mul_ps(a.v, first), second)};
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
// Sums of 8 vectors, four at out and four at out + stride; the order of every sum is that of sum().
VIVACE_ALWAYS_INLINE void sum_lanes(float* out, int64_t stride, const F32* a) {
  const auto half = [](F32 x, F32 y) {
    return _mm256_add_ps(_mm256_blend_ps(x.v, y.v, 0xf0), _mm256_permute2f128_ps(x.v, y.v, 0x21));
  };
  const auto pair = [](__m256 x, __m256 y) {
    return _mm256_add_ps(_mm256_shuffle_ps(x, y, 0x88), _mm256_shuffle_ps(x, y, 0xdd));
  };
  const __m256 x = pair(half(a[0], a[4]), half(a[1], a[5])), y = pair(half(a[2], a[6]), half(a[3], a[7]));
  const __m256 all = pair(x, y);
  _mm_storeu_ps(out, _mm256_castps256_ps128(all));
  _mm_storeu_ps(out + stride, _mm256_extractf128_ps(all, 1));
}
inline float max_of(F32 a) {
  __m128 m = _mm_max_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
  m = _mm_max_ps(m, _mm_movehl_ps(m, m));
  return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
}

}  // namespace vivace::VIVACE_ISA

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

// Codes of four bits, less 8: those in the low or in the high halves of F32::lanes bytes. Looking up ignores all but
// four bits of an index.
namespace simd_detail {
inline __m512 centred_codes() {
  return _mm512_set_ps(7, 6, 5, 4, 3, 2, 1, 0, -1, -2, -3, -4, -5, -6, -7, -8);
}
inline __m512i wide_bytes(const void* p) {
  return _mm512_cvtepu8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p)));
}
}  // namespace simd_detail
inline F32 load_low_codes(const void* p) {
  return {_mm512_permutexvar_ps(simd_detail::wide_bytes(p), simd_detail::centred_codes())};
}
inline F32 load_high_codes(const void* p) {
  return {_mm512_permutexvar_ps(_mm512_srli_epi32(simd_detail::wide_bytes(p), 4), simd_detail::centred_codes())};
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
// Sums of 16 vectors, four at out, four at out + stride …; the order of every sum is that of sum(). Where two vectors
// become one, a blend takes the place of one of two shuffles, which have fewer ports.
VIVACE_ALWAYS_INLINE void sum_lanes(float* out, int64_t stride, const F32* a) {
  const auto half = [](F32 x, F32 y) {
    return _mm512_add_ps(_mm512_mask_blend_ps(0xff00, x.v, y.v), _mm512_shuffle_f32x4(x.v, y.v, 0x4e));
  };
  const auto quarter = [](__m512 x, __m512 y) {
    const __m512 crossed = _mm512_mask_blend_ps(0xf0f0, y, x);
    return _mm512_add_ps(_mm512_mask_blend_ps(0xf0f0, x, y), _mm512_shuffle_f32x4(crossed, crossed, 0xb1));
  };
  const auto pair = [](__m512 x, __m512 y) {
    const __m512 crossed = _mm512_mask_blend_ps(0xaaaa, y, x);
    return _mm512_add_ps(_mm512_mask_blend_ps(0xaaaa, x, y), _mm512_permute_ps(crossed, 0xb1));
  };
  // Blocks of four lanes belong to vectors i, i + 4, i + 8, i + 12.
  const __m512 q0 = quarter(half(a[0], a[8]), half(a[4], a[12])), q1 = quarter(half(a[1], a[9]), half(a[5], a[13]));
  const __m512 q2 = quarter(half(a[2], a[10]), half(a[6], a[14])), q3 = quarter(half(a[3], a[11]), half(a[7], a[15]));
  const __m512 x = pair(q0, q1), y = pair(q2, q3);
  const __m512 all = _mm512_add_ps(_mm512_mask_blend_ps(0xcccc, x, y), _mm512_shuffle_ps(x, y, 0x4e));
  _mm_storeu_ps(out, _mm512_castps512_ps128(all));
  _mm_storeu_ps(out + stride, _mm512_extractf32x4_ps(all, 1));
  _mm_storeu_ps(out + 2 * stride, _mm512_extractf32x4_ps(all, 2));
  _mm_storeu_ps(out + 3 * stride, _mm512_extractf32x4_ps(all, 3));
}
#define VIVACE_TRANSPOSE
// rows[w], lane r = what was rows[r], lane w.
VIVACE_ALWAYS_INLINE void transpose(F32 (&rows)[16]) {
  __m512 a[4][4];  // [four rows, w]: lanes w, w + 4, w + 8, w + 12 of four rows
  for (int i = 0; i < 4; ++i) {
    const __m512 low01 = _mm512_unpacklo_ps(rows[4 * i].v, rows[4 * i + 1].v);
    const __m512 high01 = _mm512_unpackhi_ps(rows[4 * i].v, rows[4 * i + 1].v);
    const __m512 low23 = _mm512_unpacklo_ps(rows[4 * i + 2].v, rows[4 * i + 3].v);
    const __m512 high23 = _mm512_unpackhi_ps(rows[4 * i + 2].v, rows[4 * i + 3].v);
    a[i][0] = _mm512_shuffle_ps(low01, low23, 0x44);
    a[i][1] = _mm512_shuffle_ps(low01, low23, 0xee);
    a[i][2] = _mm512_shuffle_ps(high01, high23, 0x44);
    a[i][3] = _mm512_shuffle_ps(high01, high23, 0xee);
  }
  for (int w = 0; w < 4; ++w) {
    const __m512 even0 = _mm512_shuffle_f32x4(a[0][w], a[1][w], 0x88);
    const __m512 odd0 = _mm512_shuffle_f32x4(a[0][w], a[1][w], 0xdd);
    const __m512 even1 = _mm512_shuffle_f32x4(a[2][w], a[3][w], 0x88);
    const __m512 odd1 = _mm512_shuffle_f32x4(a[2][w], a[3][w], 0xdd);
    rows[w].v = _mm512_shuffle_f32x4(even0, even1, 0x88);
    rows[w + 4].v = _mm512_shuffle_f32x4(odd0, odd1, 0x88);
    rows[w + 8].v = _mm512_shuffle_f32x4(even0, even1, 0xdd);
    rows[w + 12].v = _mm512_shuffle_f32x4(odd0, odd1, 0xdd);
  }
}
inline float max_of(F32 a) {
  return _mm512_reduce_max_ps(a.v);
}

}  // namespace vivace::VIVACE_ISA

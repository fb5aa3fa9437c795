// Bytes along a row: dot products of 8-bit numbers, and codes of four bits as bytes or as floats.
//
// Codes and activations lie in the order of columns. Sums are exact in 32 bits. Where the processor multiplies unsigned
// by signed bytes only, signed codes are fed plus `signed_bias` (core/simd/codes.h).
#pragma once
#include "core/simd/codes.h"

namespace vivace::VIVACE_ISA {

// What a word of quant/row_scaled.h says of unsigned codes: the high 24 bits of a scale, and a zero point; value =
// scale · code + min, exactly.
inline float level_scale(uint32_t word) {
  return f32_from_bits(word & 0xffffff00u);
}
inline float level_min(uint32_t word) {
  return -level_scale(word) * static_cast<float>(word & 255);
}

#if defined(__AVX512VNNI__)

inline constexpr int byte_lanes = 64;
struct Bytes {
  __m512i v;
};
inline Bytes load_bytes(const void* p) {
  return {_mm512_loadu_si512(p)};
}
inline void store_bytes(void* p, Bytes a) {
  _mm512_storeu_si512(p, a.v);
}
// byte_lanes codes out of half as many bytes.
inline Bytes load_nibbles(const void* p) {
  const __m512i pairs = _mm512_cvtepu8_epi16(_mm256_loadu_si256(static_cast<const __m256i*>(p)));
  return {_mm512_and_si512(_mm512_or_si512(pairs, _mm512_slli_epi16(pairs, 4)), _mm512_set1_epi8(15))};
}
// scale · code + zero modulo 256; scale · code fits a byte.
inline Bytes scale_bytes(Bytes codes, int scale, int zero) {
  const __m512i product = _mm512_mullo_epi16(codes.v, _mm512_set1_epi16(static_cast<short>(scale)));
  return {_mm512_add_epi8(product, _mm512_set1_epi8(static_cast<char>(zero)))};
}
inline Bytes biased(Bytes codes) {
  return {_mm512_xor_si512(codes.v, _mm512_set1_epi8(static_cast<char>(0x80)))};
}

using Sums = Ints;
inline Sums load_sums(const Sums* p) {
  return load_ints(p);
}
inline void save_sums(Sums* p, Sums sums) {
  store_ints(p, sums);
}
inline Sums no_sums() {
  return {_mm512_setzero_si512()};
}
// Adds products of signed codes (`is_signed`, biased) or of codes below 16.
template <bool is_signed>
inline Sums add_products(Sums sums, Bytes codes, Bytes activations) {
  return {_mm512_dpbusd_epi32(sums.v, codes.v, activations.v)};
}
namespace simd_detail {
inline __m128i quarter(Sums a) {
  const __m256i half = _mm256_add_epi32(_mm512_castsi512_si256(a.v), _mm512_extracti64x4_epi64(a.v, 1));
  return _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
}
}  // namespace simd_detail

// scale · (code - zero) of F32::lanes four-bit codes, from a word of quant/row_scaled.h. A table of 16 floats fills a
// register, and looking up ignores all but four bits of an index. Two words of eight codes each are read into
// alternating lanes, which needs no shuffle: values come as columns 0, 8, 1, 9 …, and what meets them must be brought
// into that order.
class Levels {
 public:
  void set(uint32_t word) {
    const __m512i codes = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    const __m512i all = _mm512_set1_epi32(static_cast<int32_t>(word)), low = _mm512_set1_epi32(255);
    const __m512 scale = _mm512_castsi512_ps(_mm512_andnot_si512(low, all));
    table_ = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_sub_epi32(codes, _mm512_and_si512(low, all))), scale);
  }
  F32 at(const uint8_t* p) const {
    const __m512i places = _mm512_set_epi32(28, 28, 24, 24, 20, 20, 16, 16, 12, 12, 8, 8, 4, 4, 0, 0);
    int64_t words;
    std::memcpy(&words, p, 8);
    return {_mm512_permutexvar_ps(_mm512_srlv_epi32(_mm512_set1_epi64(words), places), table_)};
  }
  static F32 order(F32 columns) {
    return {_mm512_permutexvar_ps(_mm512_set_epi32(15, 7, 14, 6, 13, 5, 12, 4, 11, 3, 10, 2, 9, 1, 8, 0), columns.v)};
  }
  static F32 columns(F32 ordered) {
    return {_mm512_permutexvar_ps(_mm512_set_epi32(15, 13, 11, 9, 7, 5, 3, 1, 14, 12, 10, 8, 6, 4, 2, 0), ordered.v)};
  }

 private:
  __m512 table_;
};

#elif defined(__AVX2__)

inline constexpr int byte_lanes = 32;
struct Bytes {
  __m256i v;
};
inline Bytes load_bytes(const void* p) {
  return {_mm256_loadu_si256(static_cast<const __m256i*>(p))};
}
inline void store_bytes(void* p, Bytes a) {
  _mm256_storeu_si256(static_cast<__m256i*>(p), a.v);
}
inline Bytes load_nibbles(const void* p) {
  const __m256i pairs = _mm256_cvtepu8_epi16(_mm_loadu_si128(static_cast<const __m128i*>(p)));
  return {_mm256_and_si256(_mm256_or_si256(pairs, _mm256_slli_epi16(pairs, 4)), _mm256_set1_epi8(15))};
}
inline Bytes scale_bytes(Bytes codes, int scale, int zero) {
  const __m256i product = _mm256_mullo_epi16(codes.v, _mm256_set1_epi16(static_cast<short>(scale)));
  return {_mm256_add_epi8(product, _mm256_set1_epi8(static_cast<char>(zero)))};
}
inline Bytes biased(Bytes codes) {
  return codes;
}

using Sums = Ints;
inline Sums load_sums(const Sums* p) {
  return load_ints(p);
}
inline void save_sums(Sums* p, Sums sums) {
  store_ints(p, sums);
}
inline Sums no_sums() {
  return {_mm256_setzero_si256()};
}
template <bool is_signed>
inline Sums add_products(Sums sums, Bytes codes, Bytes activations) {
  __m256i a = activations.v, c = codes.v;
  if constexpr (is_signed) {
    // |c| · (a with the sign of c): at most 128 · 127 · 2, which fits 16 bits.
    a = _mm256_sign_epi8(a, c);
    c = _mm256_abs_epi8(c);
  }
  return {_mm256_add_epi32(sums.v, _mm256_madd_epi16(_mm256_maddubs_epi16(c, a), _mm256_set1_epi16(1)))};
}
namespace simd_detail {
inline __m128i quarter(Sums a) {
  return _mm_add_epi32(_mm256_castsi256_si128(a.v), _mm256_extracti128_si256(a.v, 1));
}
}  // namespace simd_detail

class Levels {
 public:
  void set(uint32_t word) {
    scale_ = set1(level_scale(word));
    min_ = set1(level_min(word));
  }
  F32 at(const uint8_t* p) const {
    const __m256i places = _mm256_set_epi32(28, 24, 20, 16, 12, 8, 4, 0);
    const __m256i codes = _mm256_srlv_epi32(_mm256_set1_epi32(four(reinterpret_cast<const int8_t*>(p))), places);
    return fma({_mm256_cvtepi32_ps(_mm256_and_si256(codes, _mm256_set1_epi32(15)))}, scale_, min_);
  }
  static F32 order(F32 columns) { return columns; }
  static F32 columns(F32 ordered) { return ordered; }

 private:
  F32 scale_, min_;
};

#elif defined(__x86_64__) || defined(_M_X64)

inline constexpr int byte_lanes = 16;
struct Bytes {
  __m128i v;
};
inline Bytes load_bytes(const void* p) {
  return {_mm_loadu_si128(static_cast<const __m128i*>(p))};
}
inline void store_bytes(void* p, Bytes a) {
  _mm_storeu_si128(static_cast<__m128i*>(p), a.v);
}
inline Bytes load_nibbles(const void* p) {
  const __m128i pairs = _mm_cvtepu8_epi16(_mm_loadl_epi64(static_cast<const __m128i*>(p)));
  return {_mm_and_si128(_mm_or_si128(pairs, _mm_slli_epi16(pairs, 4)), _mm_set1_epi8(15))};
}
inline Bytes scale_bytes(Bytes codes, int scale, int zero) {
  const __m128i product = _mm_mullo_epi16(codes.v, _mm_set1_epi16(static_cast<short>(scale)));
  return {_mm_add_epi8(product, _mm_set1_epi8(static_cast<char>(zero)))};
}
inline Bytes biased(Bytes codes) {
  return codes;
}

using Sums = Ints;
inline Sums load_sums(const Sums* p) {
  return load_ints(p);
}
inline void save_sums(Sums* p, Sums sums) {
  store_ints(p, sums);
}
inline Sums no_sums() {
  return {_mm_setzero_si128()};
}
template <bool is_signed>
inline Sums add_products(Sums sums, Bytes codes, Bytes activations) {
  __m128i a = activations.v, c = codes.v;
  if constexpr (is_signed) {
    a = _mm_sign_epi8(a, c);
    c = _mm_abs_epi8(c);
  }
  return {_mm_add_epi32(sums.v, _mm_madd_epi16(_mm_maddubs_epi16(c, a), _mm_set1_epi16(1)))};
}
namespace simd_detail {
inline __m128i quarter(Sums a) {
  return a.v;
}
}  // namespace simd_detail

class Levels {
 public:
  void set(uint32_t word) {
    // Codes are left where they are in their word, so that later ones are too large by powers of 16.
    scale_ = {_mm_mul_ps(_mm_set1_ps(level_scale(word)), _mm_set_ps(0x1p-12f, 0x1p-8f, 0x1p-4f, 1.0f))};
    min_ = set1(level_min(word));
  }
  F32 at(const uint8_t* p) const {
    const __m128i word = _mm_set1_epi32(p[0] | p[1] << 8);
    return fma({_mm_cvtepi32_ps(_mm_and_si128(word, _mm_set_epi32(0xf000, 0xf00, 0xf0, 0xf)))}, scale_, min_);
  }
  static F32 order(F32 columns) { return columns; }
  static F32 columns(F32 ordered) { return ordered; }

 private:
  F32 scale_, min_;
};

#elif defined(__aarch64__) || defined(_M_ARM64)

inline constexpr int byte_lanes = 16;
struct Bytes {
  int8x16_t v;
};
inline Bytes load_bytes(const void* p) {
  return {vld1q_s8(static_cast<const int8_t*>(p))};
}
inline void store_bytes(void* p, Bytes a) {
  vst1q_s8(static_cast<int8_t*>(p), a.v);
}
inline Bytes load_nibbles(const void* p) {
  const uint8x8_t pairs = vld1_u8(static_cast<const uint8_t*>(p));
  const uint8x8_t low = vand_u8(pairs, vdup_n_u8(15)), high = vshr_n_u8(pairs, 4);
  return {vreinterpretq_s8_u8(vcombine_u8(vzip1_u8(low, high), vzip2_u8(low, high)))};
}
inline Bytes scale_bytes(Bytes codes, int scale, int zero) {
  return {vmlaq_s8(vdupq_n_s8(static_cast<int8_t>(zero)), codes.v, vdupq_n_s8(static_cast<int8_t>(scale)))};
}
inline Bytes biased(Bytes codes) {
  return codes;
}

using Sums = Ints;
inline Sums load_sums(const Sums* p) {
  return load_ints(p);
}
inline void save_sums(Sums* p, Sums sums) {
  store_ints(p, sums);
}
inline Sums no_sums() {
  return {vdupq_n_s32(0)};
}
template <bool is_signed>
inline Sums add_products(Sums sums, Bytes codes, Bytes activations) {
#if defined(__ARM_FEATURE_DOTPROD)
  return {vdotq_s32(sums.v, codes.v, activations.v)};
#else
  const int16x8_t first = vmull_s8(vget_low_s8(codes.v), vget_low_s8(activations.v));
  const int16x8_t second = vmull_s8(vget_high_s8(codes.v), vget_high_s8(activations.v));
  return {vpadalq_s16(vpadalq_s16(sums.v, first), second)};
#endif
}

class Levels {
 public:
  void set(uint32_t word) {
    scale_ = set1(level_scale(word));
    min_ = set1(level_min(word));
  }
  F32 at(const uint8_t* p) const {
    const int32_t places[4] = {0, -4, -8, -12};
    const uint32x4_t word = vdupq_n_u32(static_cast<uint32_t>(p[0] | p[1] << 8));
    return fma({vcvtq_f32_u32(vandq_u32(vshlq_u32(word, vld1q_s32(places)), vdupq_n_u32(15)))}, scale_, min_);
  }
  static F32 order(F32 columns) { return columns; }
  static F32 columns(F32 ordered) { return ordered; }

 private:
  F32 scale_, min_;
};

#else

inline constexpr int byte_lanes = 16;
struct Bytes {
  int8_t v[16];
};
inline Bytes load_bytes(const void* p) {
  Bytes a;
  std::memcpy(a.v, p, 16);
  return a;
}
inline void store_bytes(void* p, Bytes a) {
  std::memcpy(p, a.v, 16);
}
inline Bytes load_nibbles(const void* p) {
  const auto* pairs = static_cast<const uint8_t*>(p);
  Bytes a;
  for (int i = 0; i < 16; ++i) a.v[i] = static_cast<int8_t>(pairs[i / 2] >> (4 * (i % 2)) & 15);
  return a;
}
inline Bytes scale_bytes(Bytes codes, int scale, int zero) {
  for (int8_t& code : codes.v) code = static_cast<int8_t>(code * scale + zero);
  return codes;
}
inline Bytes biased(Bytes codes) {
  return codes;
}

struct Sums {
  int32_t v[1];
};
inline Sums no_sums() {
  return {{0}};
}
inline Sums load_sums(const Sums* p) {
  return *p;
}
inline void save_sums(Sums* p, Sums sums) {
  *p = sums;
}
template <bool is_signed>
inline Sums add_products(Sums sums, Bytes codes, Bytes activations) {
  for (int i = 0; i < 16; ++i) sums.v[0] += codes.v[i] * activations.v[i];
  return sums;
}

class Levels {
 public:
  void set(uint32_t word) {
    scale_ = level_scale(word);
    min_ = level_min(word);
  }
  F32 at(const uint8_t* p) const {
    F32 values;
    for (int i = 0; i < F32::lanes; ++i)
      values.v[i] = scale_ * static_cast<float>(p[i / 2] >> (4 * (i % 2)) & 15) + min_;
    return values;
  }
  static F32 order(F32 columns) { return columns; }
  static F32 columns(F32 ordered) { return ordered; }

 private:
  float scale_, min_;
};

#endif

// out[i] = the sum over all lanes of the i-th argument.
inline void totals4(int32_t* out, Sums a, Sums b, Sums c, Sums d) {
#if defined(__x86_64__) || defined(_M_X64)
  using simd_detail::quarter;
  const __m128i pairs[2] = {_mm_hadd_epi32(quarter(a), quarter(b)), _mm_hadd_epi32(quarter(c), quarter(d))};
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm_hadd_epi32(pairs[0], pairs[1]));
#elif defined(__aarch64__) || defined(_M_ARM64)
  vst1q_s32(out, vpaddq_s32(vpaddq_s32(a.v, b.v), vpaddq_s32(c.v, d.v)));
#else
  out[0] = a.v[0];
  out[1] = b.v[0];
  out[2] = c.v[0];
  out[3] = d.v[0];
#endif
}

}  // namespace vivace::VIVACE_ISA

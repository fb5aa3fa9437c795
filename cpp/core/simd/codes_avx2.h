// Codes on AVX2: 8 rows side by side; products of unsigned and signed bytes are added in pairs to 16 bits.
#pragma once
#include <immintrin.h>

#include "core/simd/bytes_avx2.h"

namespace vivace::VIVACE_ISA {

struct Ints {
  __m256i v;
};

inline constexpr int dot_rows = 4;  // rows of activations that the registers hold sums for
inline constexpr int signed_bias = 0;

inline Ints load_ints(const void* p) {
  return {_mm256_loadu_si256(static_cast<const __m256i*>(p))};
}
inline void store_ints(void* p, Ints a) {
  _mm256_storeu_si256(static_cast<__m256i*>(p), a.v);
}
inline Ints operator+(Ints a, Ints b) {
  return {_mm256_add_epi32(a.v, b.v)};
}
inline F32 to_f32(Ints a) {
  return {_mm256_cvtepi32_ps(a.v)};
}
// pair[0] · first + pair[1] · second, in every lane.
inline Ints weigh_pair(const int16_t* pair, int first, int second) {
  int32_t word;
  std::memcpy(&word, pair, 4);
  return {_mm256_madd_epi16(_mm256_set1_epi32(word), _mm256_set1_epi32((first & 0xffff) | second << 16))};
}

// out[w] = word w of every row.
inline void transpose(const Bytes* rows, Ints* out) {
  __m256i b[8], c[8];
  for (int i = 0; i < 8; i += 2) {
    b[i] = _mm256_unpacklo_epi32(rows[i].v, rows[i + 1].v);
    b[i + 1] = _mm256_unpackhi_epi32(rows[i].v, rows[i + 1].v);
  }
  for (int i = 0; i < 8; i += 4) {
    c[i] = _mm256_unpacklo_epi64(b[i], b[i + 2]);
    c[i + 1] = _mm256_unpackhi_epi64(b[i], b[i + 2]);
    c[i + 2] = _mm256_unpacklo_epi64(b[i + 1], b[i + 3]);
    c[i + 3] = _mm256_unpackhi_epi64(b[i + 1], b[i + 3]);
  }
  for (int i = 0; i < 4; ++i) {
    out[i] = {_mm256_permute2x128_si256(c[i], c[i + 4], 0x20)};
    out[i + 4] = {_mm256_permute2x128_si256(c[i], c[i + 4], 0x31)};
  }
}

// Σ codes · activations over `steps` words.
template <int highest, int steps>
struct Dot {
  // Two products of at most highest · 127 per step: small codes stay in 16 bits to the end.
  static constexpr bool narrow = highest * 254 * steps <= 32767;
  __m256i sum;
  void start() { sum = _mm256_setzero_si256(); }
  void step(Ints codes, const int8_t* activations) {
    __m256i a = _mm256_set1_epi32(four(activations)), c = codes.v;
    if constexpr (highest == signed_codes) {
      // |c| · (sign of c · a): at most 128 · 127 · 2, which fits.
      a = _mm256_sign_epi8(a, c);
      c = _mm256_abs_epi8(c);
    }
    const __m256i pairs = _mm256_maddubs_epi16(c, a);
    if constexpr (narrow)
      sum = _mm256_add_epi16(sum, pairs);
    else
      sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }
  Ints finish() const {
    if constexpr (narrow) return {_mm256_madd_epi16(sum, _mm256_set1_epi16(1))};
    return {sum};
  }
};

}  // namespace vivace::VIVACE_ISA

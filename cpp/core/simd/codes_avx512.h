// Codes on AVX-512 with VNNI: 16 rows side by side, one instruction for 64 products.
#pragma once
#include <immintrin.h>

#include "core/simd/bytes_avx2.h"

namespace vivace::VIVACE_ISA {

struct Ints {
  __m512i v;
};

inline constexpr int dot_rows = 8;  // rows of activations that the registers hold sums for
inline constexpr int signed_bias = 128;

inline Ints load_ints(const void* p) {
  return {_mm512_loadu_si512(p)};
}
inline void store_ints(void* p, Ints a) {
  _mm512_storeu_si512(p, a.v);
}
inline Ints operator+(Ints a, Ints b) {
  return {_mm512_add_epi32(a.v, b.v)};
}
inline F32 to_f32(Ints a) {
  return {_mm512_cvtepi32_ps(a.v)};
}
// pair[0] · first + pair[1] · second, in every lane.
inline Ints weigh_pair(const int16_t* pair, int first, int second) {
  int32_t word;
  std::memcpy(&word, pair, 4);
  return {_mm512_madd_epi16(_mm512_set1_epi32(word), _mm512_set1_epi32((first & 0xffff) | second << 16))};
}

// out[w] = word w of every row.
inline void transpose(const Bytes* rows, Ints* out) {
  __m512i a[8], b[8], c[8];
  for (int i = 0; i < 8; ++i) a[i] = _mm512_inserti64x4(_mm512_castsi256_si512(rows[i].v), rows[i + 8].v, 1);
  for (int i = 0; i < 8; i += 2) {
    b[i] = _mm512_unpacklo_epi32(a[i], a[i + 1]);
    b[i + 1] = _mm512_unpackhi_epi32(a[i], a[i + 1]);
  }
  for (int i = 0; i < 8; i += 4) {
    c[i] = _mm512_unpacklo_epi64(b[i], b[i + 2]);
    c[i + 1] = _mm512_unpackhi_epi64(b[i], b[i + 2]);
    c[i + 2] = _mm512_unpacklo_epi64(b[i + 1], b[i + 3]);
    c[i + 3] = _mm512_unpackhi_epi64(b[i + 1], b[i + 3]);
  }
  const __m512i low = _mm512_setr_epi64(0, 1, 8, 9, 4, 5, 12, 13);
  const __m512i high = _mm512_setr_epi64(2, 3, 10, 11, 6, 7, 14, 15);
  for (int i = 0; i < 4; ++i) {
    out[i] = {_mm512_permutex2var_epi64(c[i], low, c[i + 4])};
    out[i + 4] = {_mm512_permutex2var_epi64(c[i], high, c[i + 4])};
  }
}

// start + Σ codes · activations over `steps` words.
template <int highest, int steps>
struct Dot {
  __m512i sum;
  void start() { sum = _mm512_setzero_si512(); }
  void step(Ints codes, const int8_t* activations) {
    sum = _mm512_dpbusd_epi32(sum, codes.v, _mm512_set1_epi32(four(activations)));
  }
  Ints finish() const { return {sum}; }
};

}  // namespace vivace::VIVACE_ISA

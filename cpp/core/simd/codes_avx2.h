// Codes on AVX2: 8 rows side by side; products of unsigned and signed bytes are added in pairs to 16 bits.
#pragma once
#include <immintrin.h>

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
inline Ints splat(int32_t word) {
  return {_mm256_set1_epi32(word)};
}
inline Ints operator+(Ints a, Ints b) {
  return {_mm256_add_epi32(a.v, b.v)};
}
inline Ints operator&(Ints a, Ints b) {
  return {_mm256_and_si256(a.v, b.v)};
}
inline Ints operator|(Ints a, Ints b) {
  return {_mm256_or_si256(a.v, b.v)};
}
inline Ints operator^(Ints a, Ints b) {
  return {_mm256_xor_si256(a.v, b.v)};
}
inline Ints operator<<(Ints a, int n) {
  return {_mm256_slli_epi32(a.v, n)};
}
inline Ints operator>>(Ints a, int n) {
  return {_mm256_srli_epi32(a.v, n)};
}
inline Ints shift_signed(Ints a, int n) {
  return {_mm256_srai_epi32(a.v, n)};
}
// table[byte] for every byte in [0, 16).
inline Ints look_up(const int8_t* table, Ints indices) {
  const __m128i levels = _mm_loadu_si128(reinterpret_cast<const __m128i*>(table));
  return {_mm256_shuffle_epi8(_mm256_broadcastsi128_si256(levels), indices.v)};
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

// out[w] = word w of the 16 bytes at `offset` in every row.
inline void side_by_side(Rows rows, int64_t offset, Ints* out) {
  const auto part = [&](int row) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows[row] + offset)); };
  __m256i a[4];
  for (int i = 0; i < 4; ++i) a[i] = _mm256_inserti128_si256(_mm256_castsi128_si256(part(i)), part(i + 4), 1);
  const __m256i b0 = _mm256_unpacklo_epi32(a[0], a[1]), b1 = _mm256_unpackhi_epi32(a[0], a[1]);
  const __m256i b2 = _mm256_unpacklo_epi32(a[2], a[3]), b3 = _mm256_unpackhi_epi32(a[2], a[3]);
  out[0] = {_mm256_unpacklo_epi64(b0, b2)};
  out[1] = {_mm256_unpackhi_epi64(b0, b2)};
  out[2] = {_mm256_unpacklo_epi64(b1, b3)};
  out[3] = {_mm256_unpackhi_epi64(b1, b3)};
}

inline constexpr int long_bytes = 32;

// out[w] = word w of the 32 bytes at `offset` in every row.
VIVACE_APART inline void long_side_by_side(Rows rows, int64_t offset, Ints* out) {
  const auto row = [&](int i) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(rows[i] + offset)); };
  __m256i a[2][4];  // [four rows, w]: words w and w + 4 of four rows
  for (int i = 0; i < 2; ++i) {
    const __m256i row0 = row(4 * i), row1 = row(4 * i + 1), row2 = row(4 * i + 2), row3 = row(4 * i + 3);
    const __m256i b0 = _mm256_unpacklo_epi32(row0, row1), b1 = _mm256_unpackhi_epi32(row0, row1);
    const __m256i b2 = _mm256_unpacklo_epi32(row2, row3), b3 = _mm256_unpackhi_epi32(row2, row3);
    a[i][0] = _mm256_unpacklo_epi64(b0, b2);
    a[i][1] = _mm256_unpackhi_epi64(b0, b2);
    a[i][2] = _mm256_unpacklo_epi64(b1, b3);
    a[i][3] = _mm256_unpackhi_epi64(b1, b3);
  }
  for (int w = 0; w < 4; ++w) {
    out[w] = {_mm256_permute2x128_si256(a[0][w], a[1][w], 0x20)};
    out[w + 4] = {_mm256_permute2x128_si256(a[0][w], a[1][w], 0x31)};
  }
}

// The 16-bit floats in the low halves.
inline F32 low_halves(Ints a) {
  const __m256i low = _mm256_and_si256(a.v, _mm256_set1_epi32(0xffff));
  const __m128i halves = _mm_packus_epi32(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1));
  return {_mm256_cvtph_ps(halves)};
}

// first + Σ codes · activations over `steps` words.
template <int highest, int steps>
struct Dot {
  // Two products of at most highest · 127 per step: small codes stay in 16 bits to the end.
  static constexpr bool narrow = highest * 254 * steps <= 32767;
  __m256i sum;
  Ints first;
  void start(Ints value) {
    first = value;
    sum = narrow ? _mm256_setzero_si256() : value.v;
  }
  void step(Ints codes, const int8_t* activations) {
    __m256i a = _mm256_set1_epi32(four(activations)), c = codes.v;
    if constexpr (highest == signed_codes) {
      // |c| · (a with the sign of c): at most 128 · 127 · 2, which fits.
      a = _mm256_sign_epi8(a, c);
      c = _mm256_abs_epi8(c);
    }
    const __m256i pairs = _mm256_maddubs_epi16(c, a);
    if constexpr (narrow)
      sum = _mm256_add_epi16(sum, pairs);
    else
      sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
#if defined(__GNUC__)
    // Else GCC forms all products first and adds them as a tree, for which there are not enough registers.
    __asm__("" : "+x"(sum));
#endif
  }
  Ints finish() const {
    if constexpr (narrow)
      return first + Ints{_mm256_madd_epi16(sum, _mm256_set1_epi16(1))};
    else
      return {sum};
  }
};

}  // namespace vivace::VIVACE_ISA

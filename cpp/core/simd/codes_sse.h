// Codes on SSE4.1: 4 rows side by side, otherwise as on AVX2.
#pragma once
#include <smmintrin.h>

namespace vivace::VIVACE_ISA {

struct Ints {
  __m128i v;
};

inline constexpr int dot_rows = 4;  // rows of activations that the registers hold sums for
inline constexpr int signed_bias = 0;

inline Ints load_ints(const void* p) {
  return {_mm_loadu_si128(static_cast<const __m128i*>(p))};
}
inline void store_ints(void* p, Ints a) {
  _mm_storeu_si128(static_cast<__m128i*>(p), a.v);
}
inline Ints splat(int32_t word) {
  return {_mm_set1_epi32(word)};
}
inline Ints operator+(Ints a, Ints b) {
  return {_mm_add_epi32(a.v, b.v)};
}
inline Ints operator&(Ints a, Ints b) {
  return {_mm_and_si128(a.v, b.v)};
}
inline Ints operator|(Ints a, Ints b) {
  return {_mm_or_si128(a.v, b.v)};
}
inline Ints operator^(Ints a, Ints b) {
  return {_mm_xor_si128(a.v, b.v)};
}
inline Ints operator<<(Ints a, int n) {
  return {_mm_sll_epi32(a.v, _mm_cvtsi32_si128(n))};
}
inline Ints operator>>(Ints a, int n) {
  return {_mm_srl_epi32(a.v, _mm_cvtsi32_si128(n))};
}
inline Ints shift_signed(Ints a, int n) {
  return {_mm_sra_epi32(a.v, _mm_cvtsi32_si128(n))};
}
// table[byte] for every byte in [0, 16).
inline Ints look_up(const int8_t* table, Ints indices) {
  return {_mm_shuffle_epi8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table)), indices.v)};
}
inline F32 to_f32(Ints a) {
  return {_mm_cvtepi32_ps(a.v)};
}
// pair[0] · first + pair[1] · second, in every lane.
inline Ints weigh_pair(const int16_t* pair, int first, int second) {
  int32_t word;
  std::memcpy(&word, pair, 4);
  return {_mm_madd_epi16(_mm_set1_epi32(word), _mm_set1_epi32((first & 0xffff) | second << 16))};
}

// out[w] = word w of the 16 bytes at `offset` in every row.
inline void side_by_side(Rows rows, int64_t offset, Ints* out) {
  __m128i a[4];
  for (int i = 0; i < 4; ++i) a[i] = _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows[i] + offset));
  const __m128i b0 = _mm_unpacklo_epi32(a[0], a[1]), b1 = _mm_unpackhi_epi32(a[0], a[1]);
  const __m128i b2 = _mm_unpacklo_epi32(a[2], a[3]), b3 = _mm_unpackhi_epi32(a[2], a[3]);
  out[0] = {_mm_unpacklo_epi64(b0, b2)};
  out[1] = {_mm_unpackhi_epi64(b0, b2)};
  out[2] = {_mm_unpacklo_epi64(b1, b3)};
  out[3] = {_mm_unpackhi_epi64(b1, b3)};
}

inline constexpr int long_bytes = 16;
inline void long_side_by_side(Rows rows, int64_t offset, Ints* out) {
  side_by_side(rows, offset, out);
}

// The 16-bit floats in the low halves.
inline F32 low_halves(Ints a) {
  uint16_t halves[2 * F32::lanes];
  std::memcpy(halves, &a, sizeof(halves));
  for (int i = 0; i < F32::lanes; ++i) halves[i] = halves[2 * i];
  return load_f16(halves);
}

// first + Σ codes · activations over `steps` words.
template <int highest, int steps>
struct Dot {
  // Two products of at most highest · 127 per step: small codes stay in 16 bits to the end.
  static constexpr bool narrow = highest * 254 * steps <= 32767;
  __m128i sum;
  Ints first;
  void start(Ints value) {
    first = value;
    sum = narrow ? _mm_setzero_si128() : value.v;
  }
  void step(Ints codes, const int8_t* activations) {
    __m128i a = _mm_set1_epi32(four(activations)), c = codes.v;
    if constexpr (highest == signed_codes) {
      // |c| · (a with the sign of c): at most 128 · 127 · 2, which fits.
      a = _mm_sign_epi8(a, c);
      c = _mm_abs_epi8(c);
    }
    const __m128i pairs = _mm_maddubs_epi16(c, a);
    if constexpr (narrow)
      sum = _mm_add_epi16(sum, pairs);
    else
      sum = _mm_add_epi32(sum, _mm_madd_epi16(pairs, _mm_set1_epi16(1)));
  }
  Ints finish() const {
    if constexpr (narrow)
      return first + Ints{_mm_madd_epi16(sum, _mm_set1_epi16(1))};
    else
      return {sum};
  }
};

}  // namespace vivace::VIVACE_ISA

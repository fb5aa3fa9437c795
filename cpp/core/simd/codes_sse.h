// Codes on SSE4.1: 4 rows side by side, Bytes in two registers; otherwise as on AVX2.
#pragma once
#include <smmintrin.h>

namespace vivace::VIVACE_ISA {

struct Bytes {
  __m128i low, high;
};
struct Ints {
  __m128i v;
};

inline constexpr int dot_rows = 4;  // rows of activations that the registers hold sums for
inline constexpr int signed_bias = 0;

inline Bytes splat_byte(int value) {
  const __m128i all = _mm_set1_epi8(static_cast<char>(value));
  return {all, all};
}
inline Bytes operator&(Bytes a, Bytes b) {
  return {_mm_and_si128(a.low, b.low), _mm_and_si128(a.high, b.high)};
}
inline Bytes operator|(Bytes a, Bytes b) {
  return {_mm_or_si128(a.low, b.low), _mm_or_si128(a.high, b.high)};
}
inline Bytes operator^(Bytes a, Bytes b) {
  return {_mm_xor_si128(a.low, b.low), _mm_xor_si128(a.high, b.high)};
}
inline Bytes load_bytes(const void* p) {
  const auto* source = static_cast<const __m128i*>(p);
  return {_mm_loadu_si128(source), _mm_loadu_si128(source + 1)};
}
// In units of 16 bits: bits cross from byte to byte and must be masked.
inline Bytes shift_right(Bytes a, int n) {
  const __m128i count = _mm_cvtsi32_si128(n);
  return {_mm_srl_epi16(a.low, count), _mm_srl_epi16(a.high, count)};
}
inline Bytes shift_left(Bytes a, int n) {
  const __m128i count = _mm_cvtsi32_si128(n);
  return {_mm_sll_epi16(a.low, count), _mm_sll_epi16(a.high, count)};
}
// 16 low nibbles, then 16 high ones.
inline Bytes load_nibbles(const void* p) {
  const __m128i both = _mm_loadu_si128(static_cast<const __m128i*>(p)), mask = _mm_set1_epi8(15);
  return {_mm_and_si128(both, mask), _mm_and_si128(_mm_srli_epi16(both, 4), mask)};
}
// Byte i is `value` where bit i of four bytes is set, else 0.
inline Bytes spread_bits(const void* p, int value) {
  int32_t word;
  std::memcpy(&word, p, 4);
  const __m128i all = _mm_set1_epi32(word), bit = _mm_set1_epi64x(static_cast<long long>(0x8040201008040201));
  const auto spread = [&](long long first, long long second) {
    const __m128i bytes = _mm_and_si128(_mm_shuffle_epi8(all, _mm_set_epi64x(second, first)), bit);
    return _mm_and_si128(_mm_cmpeq_epi8(bytes, bit), _mm_set1_epi8(static_cast<char>(value)));
  };
  return {spread(0, 0x0101010101010101), spread(0x0202020202020202, 0x0303030303030303)};
}
inline Bytes look_up(const int8_t* table, Bytes indices) {
  const __m128i levels = _mm_loadu_si128(reinterpret_cast<const __m128i*>(table));
  return {_mm_shuffle_epi8(levels, indices.low), _mm_shuffle_epi8(levels, indices.high)};
}
// Eight bytes as eight words.
inline Bytes widen(const int8_t* p) {
  return {_mm_cvtepi8_epi32(_mm_cvtsi32_si128(four(p))), _mm_cvtepi8_epi32(_mm_cvtsi32_si128(four(p + 4)))};
}
inline void prefetch(const void* p) {
  _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0);
}

inline Ints load_ints(const void* p) {
  return {_mm_loadu_si128(static_cast<const __m128i*>(p))};
}
inline void store_ints(void* p, Ints a) {
  _mm_storeu_si128(static_cast<__m128i*>(p), a.v);
}
inline Ints operator+(Ints a, Ints b) {
  return {_mm_add_epi32(a.v, b.v)};
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

namespace simd_detail {
inline void transpose_words(__m128i a, __m128i b, __m128i c, __m128i d, Ints* out) {
  const __m128i ab = _mm_unpacklo_epi32(a, b), cd = _mm_unpacklo_epi32(c, d);
  const __m128i ab_high = _mm_unpackhi_epi32(a, b), cd_high = _mm_unpackhi_epi32(c, d);
  out[0] = {_mm_unpacklo_epi64(ab, cd)};
  out[1] = {_mm_unpackhi_epi64(ab, cd)};
  out[2] = {_mm_unpacklo_epi64(ab_high, cd_high)};
  out[3] = {_mm_unpackhi_epi64(ab_high, cd_high)};
}
}  // namespace simd_detail

// out[w] = word w of every row.
inline void transpose(const Bytes* rows, Ints* out) {
  simd_detail::transpose_words(rows[0].low, rows[1].low, rows[2].low, rows[3].low, out);
  simd_detail::transpose_words(rows[0].high, rows[1].high, rows[2].high, rows[3].high, out + 4);
}

// Σ codes · activations over `steps` words.
template <int highest, int steps>
struct Dot {
  // Two products of at most highest · 127 per step: small codes stay in 16 bits to the end.
  static constexpr bool narrow = highest * 254 * steps <= 32767;
  __m128i sum;
  void start() { sum = _mm_setzero_si128(); }
  void step(Ints codes, const int8_t* activations) {
    __m128i a = _mm_set1_epi32(four(activations)), c = codes.v;
    if constexpr (highest == signed_codes) {
      // |c| · (sign of c · a): at most 128 · 127 · 2, which fits.
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
    if constexpr (narrow) return {_mm_madd_epi16(sum, _mm_set1_epi16(1))};
    return {sum};
  }
};

}  // namespace vivace::VIVACE_ISA

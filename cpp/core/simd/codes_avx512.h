// Codes on AVX-512 with VNNI: 16 rows side by side, one instruction for 64 products.
#pragma once
#include <immintrin.h>

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
inline Ints splat(int32_t word) {
  return {_mm512_set1_epi32(word)};
}
inline Ints operator+(Ints a, Ints b) {
  return {_mm512_add_epi32(a.v, b.v)};
}
inline Ints operator&(Ints a, Ints b) {
  return {_mm512_and_si512(a.v, b.v)};
}
inline Ints operator|(Ints a, Ints b) {
  return {_mm512_or_si512(a.v, b.v)};
}
inline Ints operator^(Ints a, Ints b) {
  return {_mm512_xor_si512(a.v, b.v)};
}
inline Ints operator<<(Ints a, int n) {
  return {_mm512_slli_epi32(a.v, static_cast<unsigned>(n))};
}
inline Ints operator>>(Ints a, int n) {
  return {_mm512_srli_epi32(a.v, static_cast<unsigned>(n))};
}
inline Ints shift_signed(Ints a, int n) {
  return {_mm512_srai_epi32(a.v, static_cast<unsigned>(n))};
}
// table[byte] for every byte in [0, 16).
inline Ints look_up(const int8_t* table, Ints indices) {
  const __m128i levels = _mm_loadu_si128(reinterpret_cast<const __m128i*>(table));
  return {_mm512_shuffle_epi8(_mm512_broadcast_i32x4(levels), indices.v)};
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

// out[w] = word w of the 16 bytes at `offset` in every row.
template <class AnyRows>
inline void side_by_side(AnyRows rows, int64_t offset, Ints* out) {
  const auto part = [&](int row) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows[row] + offset)); };
  __m512i a[4];
  for (int i = 0; i < 4; ++i) {
    a[i] = _mm512_castsi128_si512(part(i));
    a[i] = _mm512_inserti32x4(a[i], part(i + 4), 1);
    a[i] = _mm512_inserti32x4(a[i], part(i + 8), 2);
    a[i] = _mm512_inserti32x4(a[i], part(i + 12), 3);
  }
  const __m512i b0 = _mm512_unpacklo_epi32(a[0], a[1]), b1 = _mm512_unpackhi_epi32(a[0], a[1]);
  const __m512i b2 = _mm512_unpacklo_epi32(a[2], a[3]), b3 = _mm512_unpackhi_epi32(a[2], a[3]);
  out[0] = {_mm512_unpacklo_epi64(b0, b2)};
  out[1] = {_mm512_unpackhi_epi64(b0, b2)};
  out[2] = {_mm512_unpacklo_epi64(b1, b3)};
  out[3] = {_mm512_unpackhi_epi64(b1, b3)};
}

inline constexpr int long_bytes = 64;

// out[w] = word w of the 64 bytes at `offset` in every row: a quarter of the loads, and fewer shuffles.
VIVACE_APART inline void long_side_by_side(Rows rows, int64_t offset, Ints* out) {
  const auto row = [&](int i) {
    __m512i bytes = _mm512_loadu_si512(rows[i] + offset);
#if defined(__GNUC__)
    // GCC would load it again for every use, and nearly every load crosses a cache line.
    __asm__("" : "+v"(bytes));
#endif
    return bytes;
  };
  __m512i a[4][4];  // [four rows, w]: words w, w + 4, w + 8, w + 12 of four rows
  for (int i = 0; i < 4; ++i) {
    const __m512i row0 = row(4 * i), row1 = row(4 * i + 1), row2 = row(4 * i + 2), row3 = row(4 * i + 3);
    const __m512i b0 = _mm512_unpacklo_epi32(row0, row1), b1 = _mm512_unpackhi_epi32(row0, row1);
    const __m512i b2 = _mm512_unpacklo_epi32(row2, row3), b3 = _mm512_unpackhi_epi32(row2, row3);
    a[i][0] = _mm512_unpacklo_epi64(b0, b2);
    a[i][1] = _mm512_unpackhi_epi64(b0, b2);
    a[i][2] = _mm512_unpacklo_epi64(b1, b3);
    a[i][3] = _mm512_unpackhi_epi64(b1, b3);
  }
  for (int w = 0; w < 4; ++w) {
    const __m512i even0 = _mm512_shuffle_i32x4(a[0][w], a[1][w], 0x88),
                  odd0 = _mm512_shuffle_i32x4(a[0][w], a[1][w], 0xdd);
    const __m512i even1 = _mm512_shuffle_i32x4(a[2][w], a[3][w], 0x88),
                  odd1 = _mm512_shuffle_i32x4(a[2][w], a[3][w], 0xdd);
    out[w] = {_mm512_shuffle_i32x4(even0, even1, 0x88)};
    out[w + 4] = {_mm512_shuffle_i32x4(odd0, odd1, 0x88)};
    out[w + 8] = {_mm512_shuffle_i32x4(even0, even1, 0xdd)};
    out[w + 12] = {_mm512_shuffle_i32x4(odd0, odd1, 0xdd)};
  }
}

// The 16-bit floats in the low halves.
inline F32 low_halves(Ints a) {
  return {_mm512_cvtph_ps(_mm512_cvtepi32_epi16(a.v))};
}

// first + Σ codes · activations over `steps` words.
template <int highest, int steps>
struct Dot {
  __m512i sum;
  void start(Ints first) { sum = first.v; }
  void step(Ints codes, const int8_t* activations) {
    sum = _mm512_dpbusd_epi32(sum, codes.v, _mm512_set1_epi32(four(activations)));
  }
  Ints finish() const { return {sum}; }
};

}  // namespace vivace::VIVACE_ISA

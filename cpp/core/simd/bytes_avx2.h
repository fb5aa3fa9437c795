// Bytes in one AVX2 register, for the levels that have it.
#pragma once
#include <immintrin.h>

#include <cstdint>
#include <cstring>

namespace vivace::VIVACE_ISA {

struct Bytes {
  __m256i v;
};

inline Bytes splat_byte(int value) {
  return {_mm256_set1_epi8(static_cast<char>(value))};
}
inline Bytes operator&(Bytes a, Bytes b) {
  return {_mm256_and_si256(a.v, b.v)};
}
inline Bytes operator|(Bytes a, Bytes b) {
  return {_mm256_or_si256(a.v, b.v)};
}
inline Bytes operator^(Bytes a, Bytes b) {
  return {_mm256_xor_si256(a.v, b.v)};
}
inline Bytes load_bytes(const void* p) {
  return {_mm256_loadu_si256(static_cast<const __m256i*>(p))};
}
// In units of 16 bits: bits cross from byte to byte and must be masked.
inline Bytes shift_right(Bytes a, int n) {
  return {_mm256_srl_epi16(a.v, _mm_cvtsi32_si128(n))};
}
inline Bytes shift_left(Bytes a, int n) {
  return {_mm256_sll_epi16(a.v, _mm_cvtsi32_si128(n))};
}
// 16 low nibbles, then 16 high ones.
inline Bytes load_nibbles(const void* p) {
  const __m128i low = _mm_loadu_si128(static_cast<const __m128i*>(p));
  const __m256i both = _mm256_inserti128_si256(_mm256_castsi128_si256(low), _mm_srli_epi16(low, 4), 1);
  return {_mm256_and_si256(both, _mm256_set1_epi8(15))};
}
// Byte i is `value` where bit i of four bytes is set, else 0.
inline Bytes spread_bits(const void* p, int value) {
  int32_t word;
  std::memcpy(&word, p, 4);
  const __m256i source = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
  const __m256i bit = _mm256_set1_epi64x(static_cast<long long>(0x8040201008040201));
  const __m256i bytes = _mm256_and_si256(_mm256_shuffle_epi8(_mm256_set1_epi32(word), source), bit);
  return {_mm256_and_si256(_mm256_cmpeq_epi8(bytes, bit), _mm256_set1_epi8(static_cast<char>(value)))};
}
inline Bytes look_up(const int8_t* table, Bytes indices) {
  const __m128i levels = _mm_loadu_si128(reinterpret_cast<const __m128i*>(table));
  return {_mm256_shuffle_epi8(_mm256_broadcastsi128_si256(levels), indices.v)};
}
// Eight bytes as eight words.
inline Bytes widen(const int8_t* p) {
  return {_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)))};
}
inline void prefetch(const void* p) {
  _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0);
}

}  // namespace vivace::VIVACE_ISA

// Codes in plain C++, for processors without a vector body of their own.
#pragma once
#include <cstdint>
#include <cstring>

namespace vivace::VIVACE_ISA {

struct Bytes {
  uint8_t v[32];
};
struct Ints {
  int32_t v[F32::lanes];
};

inline constexpr int dot_rows = 4;  // rows of activations that the registers hold sums for
inline constexpr int signed_bias = 0;

namespace simd_detail {
template <class Function>
inline Bytes each_byte(Function&& function) {
  Bytes a;
  for (int i = 0; i < 32; ++i) a.v[i] = static_cast<uint8_t>(function(i));
  return a;
}
}  // namespace simd_detail

inline Bytes splat_byte(int value) {
  return simd_detail::each_byte([&](int) { return value; });
}
inline Bytes operator&(Bytes a, Bytes b) {
  return simd_detail::each_byte([&](int i) { return a.v[i] & b.v[i]; });
}
inline Bytes operator|(Bytes a, Bytes b) {
  return simd_detail::each_byte([&](int i) { return a.v[i] | b.v[i]; });
}
inline Bytes operator^(Bytes a, Bytes b) {
  return simd_detail::each_byte([&](int i) { return a.v[i] ^ b.v[i]; });
}
inline Bytes load_bytes(const void* p) {
  Bytes a;
  std::memcpy(a.v, p, 32);
  return a;
}
inline Bytes shift_right(Bytes a, int n) {
  return simd_detail::each_byte([&](int i) { return a.v[i] >> n; });
}
inline Bytes shift_left(Bytes a, int n) {
  return simd_detail::each_byte([&](int i) { return a.v[i] << n; });
}
// 16 low nibbles, then 16 high ones.
inline Bytes load_nibbles(const void* p) {
  const auto* source = static_cast<const uint8_t*>(p);
  return simd_detail::each_byte([&](int i) { return i < 16 ? source[i] & 15 : source[i - 16] >> 4; });
}
// Byte i is `value` where bit i of four bytes is set, else 0.
inline Bytes spread_bits(const void* p, int value) {
  const auto* source = static_cast<const uint8_t*>(p);
  return simd_detail::each_byte([&](int i) { return (source[i / 8] >> i % 8 & 1) * value; });
}
inline Bytes look_up(const int8_t* table, Bytes indices) {
  return simd_detail::each_byte([&](int i) { return table[indices.v[i] & 15]; });
}
// Eight bytes as eight words.
inline Bytes widen(const int8_t* p) {
  Bytes a;
  for (int i = 0; i < 8; ++i) {
    const int32_t word = p[i];
    std::memcpy(a.v + 4 * i, &word, 4);
  }
  return a;
}
inline void prefetch(const void*) {}

inline Ints load_ints(const void* p) {
  Ints a;
  std::memcpy(a.v, p, sizeof(a.v));
  return a;
}
inline void store_ints(void* p, Ints a) {
  std::memcpy(p, a.v, sizeof(a.v));
}
inline Ints operator+(Ints a, Ints b) {
  for (int i = 0; i < F32::lanes; ++i) a.v[i] += b.v[i];
  return a;
}
inline F32 to_f32(Ints a) {
  F32 result;
  for (int i = 0; i < F32::lanes; ++i) result.v[i] = static_cast<float>(a.v[i]);
  return result;
}
// pair[0] · first + pair[1] · second, in every lane.
inline Ints weigh_pair(const int16_t* pair, int first, int second) {
  Ints a;
  for (int32_t& lane : a.v) lane = pair[0] * first + pair[1] * second;
  return a;
}

// out[w] = word w of every row.
inline void transpose(const Bytes* rows, Ints* out) {
  for (int w = 0; w < 8; ++w)
    for (int row = 0; row < F32::lanes; ++row) std::memcpy(&out[w].v[row], rows[row].v + 4 * w, 4);
}

// Σ codes · activations over `steps` words.
template <int highest, int steps>
struct Dot {
  Ints sum;
  void start() { sum = {}; }
  void step(Ints codes, const int8_t* activations) {
    int8_t c[4 * F32::lanes];
    std::memcpy(c, codes.v, sizeof(c));
    for (int i = 0; i < 4 * F32::lanes; ++i) sum.v[i / 4] += c[i] * activations[i % 4];
  }
  Ints finish() const { return sum; }
};

}  // namespace vivace::VIVACE_ISA

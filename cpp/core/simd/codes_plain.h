// Codes in plain C++, for processors without a vector body of their own.
#pragma once

namespace vivace::VIVACE_ISA {

struct Ints {
  int32_t v[F32::lanes];
};

inline constexpr int dot_rows = 4;
inline constexpr int signed_bias = 0;

namespace simd_detail {
template <class Function>
inline Ints each_word(Function&& function) {
  Ints a;
  for (int i = 0; i < F32::lanes; ++i) a.v[i] = static_cast<int32_t>(function(i));
  return a;
}
inline uint32_t bits(Ints a, int i) {
  return static_cast<uint32_t>(a.v[i]);
}
}  // namespace simd_detail

inline Ints load_ints(const void* p) {
  Ints a;
  std::memcpy(a.v, p, sizeof(a.v));
  return a;
}
inline void store_ints(void* p, Ints a) {
  std::memcpy(p, a.v, sizeof(a.v));
}
inline Ints splat(int32_t word) {
  return simd_detail::each_word([&](int) { return word; });
}
inline Ints operator+(Ints a, Ints b) {
  return simd_detail::each_word([&](int i) { return a.v[i] + b.v[i]; });
}
inline Ints operator&(Ints a, Ints b) {
  return simd_detail::each_word([&](int i) { return a.v[i] & b.v[i]; });
}
inline Ints operator|(Ints a, Ints b) {
  return simd_detail::each_word([&](int i) { return a.v[i] | b.v[i]; });
}
inline Ints operator^(Ints a, Ints b) {
  return simd_detail::each_word([&](int i) { return a.v[i] ^ b.v[i]; });
}
inline Ints operator<<(Ints a, int n) {
  return simd_detail::each_word([&](int i) { return simd_detail::bits(a, i) << n; });
}
inline Ints operator>>(Ints a, int n) {
  return simd_detail::each_word([&](int i) { return simd_detail::bits(a, i) >> n; });
}
inline Ints shift_signed(Ints a, int n) {
  return simd_detail::each_word([&](int i) { return a.v[i] >> n; });
}
// table[byte] for every byte in [0, 16).
inline Ints look_up(const int8_t* table, Ints indices) {
  uint8_t bytes[4 * F32::lanes];
  std::memcpy(bytes, indices.v, sizeof(bytes));
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(table[byte & 15]);
  return load_ints(bytes);
}
inline F32 to_f32(Ints a) {
  F32 result;
  for (int i = 0; i < F32::lanes; ++i) result.v[i] = static_cast<float>(a.v[i]);
  return result;
}
// pair[0] · first + pair[1] · second, in every lane.
inline Ints weigh_pair(const int16_t* pair, int first, int second) {
  return splat(pair[0] * first + pair[1] * second);
}

// out[w] = word w of the 16 bytes at `offset` in every row.
inline void side_by_side(Rows rows, int64_t offset, Ints* out) {
  for (int w = 0; w < 4; ++w)
    for (int row = 0; row < F32::lanes; ++row) std::memcpy(&out[w].v[row], rows[row] + offset + 4 * w, 4);
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
  Ints sum;
  void start(Ints first) { sum = first; }
  void step(Ints codes, const int8_t* activations) {
    int8_t bytes[4 * F32::lanes];
    store_ints(bytes, codes);
    for (int i = 0; i < 4 * F32::lanes; ++i) sum.v[i / 4] += bytes[i] * activations[i % 4];
  }
  Ints finish() const { return sum; }
};

}  // namespace vivace::VIVACE_ISA

// Codes on AArch64 NEON: 4 rows side by side, signed products; with the dot product instruction where compiled for it.
#pragma once
#include <arm_neon.h>

namespace vivace::VIVACE_ISA {

struct Ints {
  int32x4_t v;
};

inline constexpr int dot_rows = 8;  // rows of activations that the registers hold sums for
inline constexpr int signed_bias = 0;

inline Ints load_ints(const void* p) {
  return {vreinterpretq_s32_u8(vld1q_u8(static_cast<const uint8_t*>(p)))};
}
inline void store_ints(void* p, Ints a) {
  vst1q_u8(static_cast<uint8_t*>(p), vreinterpretq_u8_s32(a.v));
}
inline Ints splat(int32_t word) {
  return {vdupq_n_s32(word)};
}
inline Ints operator+(Ints a, Ints b) {
  return {vaddq_s32(a.v, b.v)};
}
inline Ints operator&(Ints a, Ints b) {
  return {vandq_s32(a.v, b.v)};
}
inline Ints operator|(Ints a, Ints b) {
  return {vorrq_s32(a.v, b.v)};
}
inline Ints operator^(Ints a, Ints b) {
  return {veorq_s32(a.v, b.v)};
}
inline Ints operator<<(Ints a, int n) {
  return {vshlq_s32(a.v, vdupq_n_s32(n))};
}
inline Ints operator>>(Ints a, int n) {
  return {vreinterpretq_s32_u32(vshlq_u32(vreinterpretq_u32_s32(a.v), vdupq_n_s32(-n)))};
}
inline Ints shift_signed(Ints a, int n) {
  return {vshlq_s32(a.v, vdupq_n_s32(-n))};
}
// table[byte] for every byte in [0, 16).
inline Ints look_up(const int8_t* table, Ints indices) {
  return {vreinterpretq_s32_s8(vqtbl1q_s8(vld1q_s8(table), vreinterpretq_u8_s32(indices.v)))};
}
inline F32 to_f32(Ints a) {
  return {vcvtq_f32_s32(a.v)};
}
// pair[0] · first + pair[1] · second, in every lane.
inline Ints weigh_pair(const int16_t* pair, int first, int second) {
  return {vdupq_n_s32(pair[0] * first + pair[1] * second)};
}

// out[w] = word w of the 16 bytes at `offset` in every row.
template <class AnyRows>
inline void side_by_side(AnyRows rows, int64_t offset, Ints* out) {
  int32x4_t a[4];
  for (int i = 0; i < 4; ++i) a[i] = load_ints(rows[i] + offset).v;
  const int64x2_t b0 = vreinterpretq_s64_s32(vzip1q_s32(a[0], a[1])),
                  b1 = vreinterpretq_s64_s32(vzip2q_s32(a[0], a[1]));
  const int64x2_t b2 = vreinterpretq_s64_s32(vzip1q_s32(a[2], a[3])),
                  b3 = vreinterpretq_s64_s32(vzip2q_s32(a[2], a[3]));
  out[0] = {vreinterpretq_s32_s64(vzip1q_s64(b0, b2))};
  out[1] = {vreinterpretq_s32_s64(vzip2q_s64(b0, b2))};
  out[2] = {vreinterpretq_s32_s64(vzip1q_s64(b1, b3))};
  out[3] = {vreinterpretq_s32_s64(vzip2q_s64(b1, b3))};
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
  int32x4_t sum;
  void start(Ints first) { sum = first.v; }
  void step(Ints codes, const int8_t* activations) {
    const int8x16_t a = vreinterpretq_s8_s32(vdupq_n_s32(four(activations))), c = vreinterpretq_s8_s32(codes.v);
#if defined(__ARM_FEATURE_DOTPROD)
    sum = vdotq_s32(sum, c, a);
#else
    const int32x4_t first = vpaddlq_s16(vmull_s8(vget_low_s8(c), vget_low_s8(a)));
    const int32x4_t second = vpaddlq_s16(vmull_s8(vget_high_s8(c), vget_high_s8(a)));
    sum = vaddq_s32(sum, vpaddq_s32(first, second));
#endif
  }
  Ints finish() const {
    return {sum};
  }
};

}  // namespace vivace::VIVACE_ISA

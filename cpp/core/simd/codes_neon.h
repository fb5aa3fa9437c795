// Codes on AArch64 NEON: 4 rows side by side, signed products; with the dot product instruction where compiled for it.
#pragma once
#include <arm_neon.h>

namespace vivace::VIVACE_ISA {

struct Bytes {
  uint8x16_t low, high;
};
struct Ints {
  int32x4_t v;
};

inline constexpr int dot_rows = 8;  // rows of activations that the registers hold sums for
inline constexpr int signed_bias = 0;

inline Bytes splat_byte(int value) {
  const uint8x16_t all = vdupq_n_u8(static_cast<uint8_t>(value));
  return {all, all};
}
inline Bytes operator&(Bytes a, Bytes b) {
  return {vandq_u8(a.low, b.low), vandq_u8(a.high, b.high)};
}
inline Bytes operator|(Bytes a, Bytes b) {
  return {vorrq_u8(a.low, b.low), vorrq_u8(a.high, b.high)};
}
inline Bytes operator^(Bytes a, Bytes b) {
  return {veorq_u8(a.low, b.low), veorq_u8(a.high, b.high)};
}
inline Bytes load_bytes(const void* p) {
  const auto* source = static_cast<const uint8_t*>(p);
  return {vld1q_u8(source), vld1q_u8(source + 16)};
}
inline Bytes shift_left(Bytes a, int n) {
  const int8x16_t count = vdupq_n_s8(static_cast<int8_t>(n));
  return {vshlq_u8(a.low, count), vshlq_u8(a.high, count)};
}
inline Bytes shift_right(Bytes a, int n) {
  return shift_left(a, -n);
}
// 16 low nibbles, then 16 high ones.
inline Bytes load_nibbles(const void* p) {
  const uint8x16_t both = vld1q_u8(static_cast<const uint8_t*>(p));
  return {vandq_u8(both, vdupq_n_u8(15)), vshrq_n_u8(both, 4)};
}
// Byte i is `value` where bit i of four bytes is set, else 0.
inline Bytes spread_bits(const void* p, int value) {
  static constexpr uint8_t bits[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
  const auto* source = static_cast<const uint8_t*>(p);
  const uint8x16_t bit = vld1q_u8(bits), all = vdupq_n_u8(static_cast<uint8_t>(value));
  const uint8x16_t first = vcombine_u8(vdup_n_u8(source[0]), vdup_n_u8(source[1]));
  const uint8x16_t second = vcombine_u8(vdup_n_u8(source[2]), vdup_n_u8(source[3]));
  return {vandq_u8(vtstq_u8(first, bit), all), vandq_u8(vtstq_u8(second, bit), all)};
}
inline Bytes look_up(const int8_t* table, Bytes indices) {
  const uint8x16_t levels = vreinterpretq_u8_s8(vld1q_s8(table));
  return {vqtbl1q_u8(levels, indices.low), vqtbl1q_u8(levels, indices.high)};
}
// Eight bytes as eight words.
inline Bytes widen(const int8_t* p) {
  const int16x8_t halves = vmovl_s8(vld1_s8(p));
  return {vreinterpretq_u8_s32(vmovl_s16(vget_low_s16(halves))),
          vreinterpretq_u8_s32(vmovl_s16(vget_high_s16(halves)))};
}
inline void prefetch(const void* p) {
#if defined(__GNUC__)
  __builtin_prefetch(p);
#else
  __prefetch(p);
#endif
}

inline Ints load_ints(const void* p) {
  return {vld1q_s32(static_cast<const int32_t*>(p))};
}
inline void store_ints(void* p, Ints a) {
  vst1q_s32(static_cast<int32_t*>(p), a.v);
}
inline Ints operator+(Ints a, Ints b) {
  return {vaddq_s32(a.v, b.v)};
}
inline F32 to_f32(Ints a) {
  return {vcvtq_f32_s32(a.v)};
}
// pair[0] · first + pair[1] · second, in every lane.
inline Ints weigh_pair(const int16_t* pair, int first, int second) {
  return {vdupq_n_s32(pair[0] * first + pair[1] * second)};
}

namespace simd_detail {
inline void transpose_words(uint8x16_t a, uint8x16_t b, uint8x16_t c, uint8x16_t d, Ints* out) {
  const auto words = [](uint8x16_t v) { return vreinterpretq_s32_u8(v); };
  const auto pairs = [](int32x4_t v) { return vreinterpretq_s64_s32(v); };
  const int64x2_t ab = pairs(vzip1q_s32(words(a), words(b))), cd = pairs(vzip1q_s32(words(c), words(d)));
  const int64x2_t ab_high = pairs(vzip2q_s32(words(a), words(b))), cd_high = pairs(vzip2q_s32(words(c), words(d)));
  out[0] = {vreinterpretq_s32_s64(vzip1q_s64(ab, cd))};
  out[1] = {vreinterpretq_s32_s64(vzip2q_s64(ab, cd))};
  out[2] = {vreinterpretq_s32_s64(vzip1q_s64(ab_high, cd_high))};
  out[3] = {vreinterpretq_s32_s64(vzip2q_s64(ab_high, cd_high))};
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
  int32x4_t sum;
  void start() { sum = vdupq_n_s32(0); }
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

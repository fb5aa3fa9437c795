// F32 as 4 lanes of AArch64 NEON; nothing here needs more than ARMv8.0.
#pragma once
#include <arm_neon.h>

#include <cstdint>
#include <cstring>

namespace vivace::VIVACE_ISA {

struct F32 {
  static constexpr int lanes = 4;
  float32x4_t v;
};

inline F32 set1(float x) {
  return {vdupq_n_f32(x)};
}
inline F32 zero() {
  return {vdupq_n_f32(0.0f)};
}
inline F32 load(const float* p) {
  return {vld1q_f32(p)};
}
inline F32 load_partial(const float* p, int count) {
  float values[4] = {};
  for (int i = 0; i < count; ++i) values[i] = p[i];
  return load(values);
}
inline void store(float* p, F32 a) {
  vst1q_f32(p, a.v);
}
inline void store_partial(float* p, F32 a, int count) {
  float values[4];
  store(values, a);
  for (int i = 0; i < count; ++i) p[i] = values[i];
}
inline F32 load_f16(const uint16_t* p) {
  return {vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)))};
}
inline F32 load_f16_partial(const uint16_t* p, int count) {
  uint16_t halves[4] = {};
  for (int i = 0; i < count; ++i) halves[i] = p[i];
  return load_f16(halves);
}
inline void store_f16(uint16_t* p, F32 a) {
  vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32(a.v)));
}
inline void store_f16_partial(uint16_t* p, F32 a, int count) {
  uint16_t halves[4];
  store_f16(halves, a);
  for (int i = 0; i < count; ++i) p[i] = halves[i];
}
inline F32 set1_f16(uint16_t half) {
  return {vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(half)))};
}
inline F32 load_bf16(const uint16_t* p) {
  return {vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p), 16))};
}
inline F32 load_i8(const int8_t* p) {
  uint32_t bytes;
  std::memcpy(&bytes, p, 4);
  const int8x8_t narrow = vreinterpret_s8_u32(vdup_n_u32(bytes));
  return {vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(narrow))))};
}

// Codes of four bits, less 8: those in the low or in the high halves of F32::lanes bytes.
namespace simd_detail {
inline uint32x4_t wide_bytes(const void* p) {
  uint32_t bytes;
  std::memcpy(&bytes, p, 4);
  return vmovl_u16(vget_low_u16(vmovl_u8(vreinterpret_u8_u32(vdup_n_u32(bytes)))));
}
inline F32 centred(uint32x4_t codes) {
  return {vsubq_f32(vcvtq_f32_u32(codes), vdupq_n_f32(8.0f))};
}
}  // namespace simd_detail
inline F32 load_low_codes(const void* p) {
  return simd_detail::centred(vandq_u32(simd_detail::wide_bytes(p), vdupq_n_u32(15)));
}
inline F32 load_high_codes(const void* p) {
  return simd_detail::centred(vshrq_n_u32(simd_detail::wide_bytes(p), 4));
}

inline F32 operator+(F32 a, F32 b) {
  return {vaddq_f32(a.v, b.v)};
}
inline F32 operator-(F32 a, F32 b) {
  return {vsubq_f32(a.v, b.v)};
}
inline F32 operator*(F32 a, F32 b) {
  return {vmulq_f32(a.v, b.v)};
}
inline F32 operator/(F32 a, F32 b) {
  return {vdivq_f32(a.v, b.v)};
}
inline F32 fma(F32 a, F32 b, F32 c) {
  return {vfmaq_f32(c.v, a.v, b.v)};
}
inline F32 min(F32 a, F32 b) {
  return {vminq_f32(a.v, b.v)};
}
inline F32 max(F32 a, F32 b) {
  return {vmaxq_f32(a.v, b.v)};
}
inline F32 abs(F32 a) {
  return {vabsq_f32(a.v)};
}
inline F32 sqrt(F32 a) {
  return {vsqrtq_f32(a.v)};
}
inline F32 round(F32 a) {
  return {vrndnq_f32(a.v)};
}
inline F32 select_less(F32 a, F32 b, F32 yes, F32 no) {
  return {vbslq_f32(vcltq_f32(a.v, b.v), yes.v, no.v)};
}
// a · 2^n for whole |n| ≤ 250, in two factors so that results may be subnormal.
inline F32 scale_by_power(F32 a, F32 n) {
  const int32x4_t whole = vcvtq_s32_f32(n.v);
  const int32x4_t low = vshrq_n_s32(whole, 1), high = vsubq_s32(whole, low);
  const int32x4_t bias = vdupq_n_s32(127);
  const float32x4_t first = vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(low, bias), 23));
  const float32x4_t second = vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(high, bias), 23));
  return {vmulq_f32(vmulq_f32(a.v, first), second)};
}

inline float sum(F32 a) {
  return vaddvq_f32(a.v);
}
inline void sum4(float* out, F32 a, F32 b, F32 c, F32 d) {
  vst1q_f32(out, vpaddq_f32(vpaddq_f32(a.v, b.v), vpaddq_f32(c.v, d.v)));
}
inline void sum_lanes(float* out, int64_t, const F32* a) {
  sum4(out, a[0], a[1], a[2], a[3]);
}
inline float max_of(F32 a) {
  return vmaxvq_f32(a.v);
}

}  // namespace vivace::VIVACE_ISA

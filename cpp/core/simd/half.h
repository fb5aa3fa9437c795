// Half precision without hardware: one value at a time, rounding to nearest even. For plain files and kernels alike:
// internal linkage keeps the linker from mixing the levels' copies.
#pragma once
#include <cstdint>
#include <cstring>

namespace vivace {

static inline float f32_from_bits(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

static inline uint32_t bits_from_f32(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  return bits;
}

static inline float f32_from_f16(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16;
  const uint32_t rest = static_cast<uint32_t>(half & 0x7fff) << 13;
  if (rest >= 0x0f800000) return f32_from_bits(sign | 0x70000000 | rest);  // infinity, NaN
  // The exponents' biases differ by 112; the product is exact and makes subnormal halves normal.
  return f32_from_bits(sign | bits_from_f32(f32_from_bits(rest) * 0x1p112f));
}

static inline uint16_t f16_from_f32(float value) {
  const uint32_t bits = bits_from_f32(value);
  const uint32_t rest = bits & 0x7fffffff;
  const uint16_t sign = static_cast<uint16_t>((bits >> 16) & 0x8000);
  uint32_t half;
  if (rest > 0x7f800000)
    half = 0x7e00 | ((rest >> 13) & 0x1ff);  // NaN
  else if (rest >= 0x477ff000)
    half = 0x7c00;  // at least 65520: infinity
  else if (rest < 0x38800000)
    half = bits_from_f32(f32_from_bits(rest) + 0.5f) - 0x3f000000;  // subnormal: the sum's last bit is 2^-24
  else
    half = (rest + 0xc8000fff + ((rest >> 13) & 1)) >> 13;
  return static_cast<uint16_t>(sign | half);
}

static inline float f32_from_bf16(uint16_t value) {
  return f32_from_bits(static_cast<uint32_t>(value) << 16);
}

static inline uint16_t bf16_from_f32(float value) {
  const uint32_t bits = bits_from_f32(value);
  if ((bits & 0x7fffffff) > 0x7f800000) return static_cast<uint16_t>((bits >> 16) | 0x40);  // NaN stays one
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

}  // namespace vivace

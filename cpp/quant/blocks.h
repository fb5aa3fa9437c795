// The stored blocks of every quantised format, byte for byte as in GGUF; lib/program/reference/dequantise.ts says the
// same in formulas. Blocks are made of bytes, so that they may lie at any address of a mapped file.
#pragma once
#include <cstdint>

#include "core/simd/half.h"

namespace vivace {

// A 16-bit float in a block, little-endian.
struct StoredHalf {
  uint8_t low, high;
  uint16_t bits() const { return static_cast<uint16_t>(low | high << 8); }
  float value() const { return f32_from_f16(bits()); }
  void set(float value) {
    const uint16_t bits = f16_from_f32(value);
    low = static_cast<uint8_t>(bits);
    high = static_cast<uint8_t>(bits >> 8);
  }
};

// 32 values: code i is the low nibble of qs[i], code 16 + i the high one; bit i of qh is code i's fifth bit.
struct BlockQ4_0 {
  StoredHalf d;
  uint8_t qs[16];  // d · (q - 8)
};
struct BlockQ4_1 {
  StoredHalf d, m;
  uint8_t qs[16];  // d · q + m
};
struct BlockQ5_0 {
  StoredHalf d;
  uint8_t qh[4];
  uint8_t qs[16];  // d · (q - 16)
};
struct BlockQ5_1 {
  StoredHalf d, m;
  uint8_t qh[4];
  uint8_t qs[16];  // d · q + m
};
struct BlockQ8_0 {
  StoredHalf d;
  int8_t qs[32];  // d · q
};
struct BlockIQ4_NL {
  StoredHalf d;
  uint8_t qs[16];  // d · iq4_levels[q]
};

// 256 values with small integer scales of 16 or 32 values each under one or two 16-bit floats.
struct BlockQ2_K {
  uint8_t sc[16];      // per 16 values: scale | minimum << 4
  uint8_t qs[64];      // two bits: value 128t + 32v + l is bits 2v of qs[32t + l]
  StoredHalf d, dmin;  // d · scale · q - dmin · minimum
};
struct BlockQ3_K {
  uint8_t hmask[32];  // third bit: value 32j + l is bit j of hmask[l]
  uint8_t qs[64];     // two low bits, as in Q2_K
  uint8_t sc[12];     // per 16 values six bits: low nibbles in 8 bytes as in Q4_0, high bits four to a byte in the rest
  StoredHalf d;       // d · (scale - 32) · (q - 4)
};
struct BlockQ4_K {
  StoredHalf d, dmin;
  uint8_t sc[12];   // per 32 values six bits of scale and minimum, see unpack_scales
  uint8_t qs[128];  // value 64t + l is the low nibble of qs[32t + l], 64t + 32 + l the high one
};
struct BlockQ5_K {
  StoredHalf d, dmin;
  uint8_t sc[12];
  uint8_t qh[32];  // fifth bit: value 32j + l is bit j of qh[l]
  uint8_t qs[128];
};
struct BlockQ6_K {
  uint8_t ql[128];  // value 128t + 32v + l: nibble v/2 of ql[64t + 32(v%2) + l]
  uint8_t qh[64];   // and bits 2v of qh[32t + l]
  int8_t sc[16];    // per 16 values
  StoredHalf d;     // d · scale · (q - 32)
};
struct BlockIQ4_XS {
  StoredHalf d;
  uint8_t sc_high[2];  // per 32 values two high bits of the scale
  uint8_t sc_low[4];   // and four low ones
  uint8_t qs[128];     // 32 values to 16 bytes, as in IQ4_NL; d · (scale - 32) · iq4_levels[q]
};

static_assert(sizeof(BlockQ4_0) == 18 && sizeof(BlockQ4_1) == 20 && sizeof(BlockQ5_0) == 22);
static_assert(sizeof(BlockQ5_1) == 24 && sizeof(BlockQ8_0) == 34 && sizeof(BlockIQ4_NL) == 18);
static_assert(sizeof(BlockQ2_K) == 84 && sizeof(BlockQ3_K) == 110 && sizeof(BlockQ4_K) == 144);
static_assert(sizeof(BlockQ5_K) == 176 && sizeof(BlockQ6_K) == 210 && sizeof(BlockIQ4_XS) == 136);

// The codebook of IQ4_NL and IQ4_XS: denser around zero, as weights are.
alignas(16) inline constexpr int8_t iq4_levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                                      1,    13,   25,  38,  53,  69,  89,  113};

}  // namespace vivace

// The integer half of the vector vocabulary: codes of quantised weights, and their dot products with A8 activations.
//
// Ints is F32::lanes words of 32 bits. A word holds four neighbouring codes of one weight row, so a vector of words is
// four codes each of F32::lanes rows side by side, and their dot products with four activations are one vector of sums.
// Bits are taken apart after rows have been laid side by side, when one instruction serves all of them.
//
// Codes are whole numbers in [0, highest], highest ≤ 63, or signed 8-bit ones (highest = signed_codes). Activations are
// in [-127, 127]. Sums are exact. Where the processor multiplies unsigned by signed bytes only, signed codes are stored
// plus `signed_bias`.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "core/simd.h"

// For functions of many addresses, which a compiler that saw their callers would keep in registers that it does not
// have.
#if defined(_MSC_VER)
#define VIVACE_APART __declspec(noinline)
#else
#define VIVACE_APART __attribute__((noinline))
#endif

// Unrolls the loop that follows, of at most eight turns. Left to itself, a compiler may keep a loop of eight dot
// products, which costs a fifth of their speed.
#if defined(__clang__)
#define VIVACE_UNROLL _Pragma("unroll")
#elif defined(__GNUC__)
#define VIVACE_UNROLL _Pragma("GCC unroll 8")
#else
#define VIVACE_UNROLL
#endif

namespace vivace::VIVACE_ISA {

inline constexpr int signed_codes = 255;

// The bytes of F32::lanes rows.
struct Rows {
  const std::byte* data;
  int64_t stride;
  const std::byte* operator[](int row) const { return data + row * stride; }
};

// Four activations as one word.
inline int32_t four(const int8_t* activations) {
  int32_t word;
  std::memcpy(&word, activations, 4);
  return word;
}

}  // namespace vivace::VIVACE_ISA

#if defined(__AVX512VNNI__)
#include "core/simd/codes_avx512.h"
#elif defined(__AVX2__)
#include "core/simd/codes_avx2.h"
#elif defined(__x86_64__) || defined(_M_X64)
#include "core/simd/codes_sse.h"
#elif defined(__aarch64__) || defined(_M_ARM64)
#include "core/simd/codes_neon.h"
#else
#include "core/simd/codes_plain.h"
#endif

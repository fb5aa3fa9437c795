// One vector vocabulary for kernels: F32, a vector of `lanes` floats, with loads from every narrow type.
//
// Only for files that are compiled per instruction-set level: everything lives in the level's own namespace, so the
// linker can never hand an AVX-512 copy of an inline function to a baseline kernel. For the same reason kernel files
// use no inline functions or containers of the standard library.
//
// Sums across lanes have one order (halves are added until four lanes remain, then (0 + 1) + (2 + 3)), so a
// horizontal sum gives the same bits alone or four at a time. Partial loads fill with zeros.
#pragma once
#include <cstdint>
#include <cstring>

#include "core/simd/half.h"

// For functions that take arrays of vectors: called, they would keep the arrays from becoming registers.
#if defined(_MSC_VER)
#define VIVACE_ALWAYS_INLINE __forceinline
#else
#define VIVACE_ALWAYS_INLINE inline __attribute__((always_inline))
#endif

// For functions whose every call has to be inlined, lambdas included: a compiler that finds a file large enough stops
// doing so by itself.
#if defined(_MSC_VER)
#define VIVACE_FLATTEN
#else
#define VIVACE_FLATTEN __attribute__((flatten))
#endif

#if defined(__AVX512F__)
#include "core/simd/avx512.h"
#elif defined(__AVX2__)
#include "core/simd/avx2.h"
#elif defined(__x86_64__) || defined(_M_X64)
#include "core/simd/sse.h"
#elif defined(__aarch64__) || defined(_M_ARM64)
#include "core/simd/neon.h"
#else
#include "core/simd/plain.h"
#endif

namespace vivace::VIVACE_ISA {

inline F32 operator-(F32 a) {
  return set1(-1.0f) * a;
}
inline F32& operator+=(F32& a, F32 b) {
  return a = a + b;
}
inline F32& operator*=(F32& a, F32 b) {
  return a = a * b;
}

// Calls step(i, count) for i = 0, lanes, 2·lanes … < n; count is `lanes` except perhaps in the last call.
template <class Step>
inline void for_lanes(int64_t n, Step&& step) {
  int64_t i = 0;
  for (; i + F32::lanes <= n; i += F32::lanes) step(i, F32::lanes);
  if (i < n) step(i, static_cast<int>(n - i));
}

// The first `count` (≤ lanes) floats.
inline F32 load_some(const float* p, int count) {
  return count == F32::lanes ? load(p) : load_partial(p, count);
}
inline F32 load_f16_some(const uint16_t* p, int count) {
  return count == F32::lanes ? load_f16(p) : load_f16_partial(p, count);
}
inline void store_some(float* p, F32 v, int count) {
  if (count == F32::lanes)
    store(p, v);
  else
    store_partial(p, v, count);
}

// Asks for the cache line at p; it will be read soon. Always inline: GCC takes a function that only asks for one that
// does nothing, and leaves calls of it out.
VIVACE_ALWAYS_INLINE void prefetch(const void* p) {
#if defined(_M_X64)
  _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0);
#elif defined(__GNUC__) || defined(__clang__)
  __builtin_prefetch(p, 0, 3);
#else
  (void)p;
#endif
}

// e^x with relative error below 1.3e-7, gradual underflow to 0, overflow to infinity; NaN stays NaN.
// e^x = 2^n · e^r, n = round(x / ln 2), |r| ≤ ln 2 / 2; minimax polynomial of degree 6 (own fit, error 3e-9).
inline F32 exp(F32 x) {
  x = min(set1(89.0f), max(set1(-104.0f), x));  // in this order a NaN passes through on every processor
  const F32 n = round(x * set1(1.44269504f));
  F32 r = fma(n, set1(-0.693359375f), x);
  r = fma(n, set1(2.12194440e-4f), r);
  F32 q = set1(0.0013814467f);
  q = fma(q, r, set1(0.00836878084f));
  q = fma(q, r, set1(0.0416683927f));
  q = fma(q, r, set1(0.166665196f));
  q = fma(q, r, set1(0.49999994f));
  return scale_by_power(fma(q, r * r, r) + set1(1.0f), n);
}

// tanh with relative error below 3e-7: an odd polynomial (own fit, error 4e-9) near zero, else 1 − 2 / (e^2x + 1).
inline F32 tanh(F32 x) {
  const F32 z = x * x;
  F32 q = set1(-0.00571704470f);
  q = fma(q, z, set1(0.0206505863f));
  q = fma(q, z, set1(-0.0537434965f));
  q = fma(q, z, set1(0.133314908f));
  q = fma(q, z, set1(-0.333332837f));
  const F32 small = fma(q * z, x, x);
  const F32 large = set1(1.0f) - set1(2.0f) / (exp(x + x) + set1(1.0f));
  return select_less(z, set1(0.390625f), small, large);
}

}  // namespace vivace::VIVACE_ISA

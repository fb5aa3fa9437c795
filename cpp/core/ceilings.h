// What this machine can do at most, measured: the limits that benches divide by.
#pragma once
#include <cstdint>

#include "core/isa.h"

namespace vivace {

struct Ceilings {
  double bytes_per_second;  // reading a block of memory once
  double float_operations;  // f32 multiply-adds, two operations each, per second
  double int8_operations;   // 8-bit multiply-adds into 32 bits, two operations each, per second
  double region_seconds;    // from the start of a parallel region that does nothing to its end, median
};

// Measured by `threads` threads together at one level, reading `bytes` bytes; best of several passes. About 0.3 s.
Ceilings measure_ceilings(int threads, int64_t bytes, Isa isa);

// The loops, one body per level (ceilings_kernel.cpp). Each returns something that depends on all its work.
struct CeilingLoops {
  uint64_t (*read)(const std::uint8_t* data, int64_t bytes);
  float (*float_multiply_add)(int64_t rounds, int64_t& operations);
  int32_t (*int8_multiply_add)(int64_t rounds, int64_t& operations);
};

}  // namespace vivace

#define VIVACE_DECLARE_CEILINGS(level)     \
  namespace vivace::level {                \
  extern const CeilingLoops ceiling_loops; \
  }
VIVACE_DECLARE_CEILINGS(baseline)
#if defined(VIVACE_HAS_AVX2)
VIVACE_DECLARE_CEILINGS(avx2)
#endif
#if defined(VIVACE_HAS_AVX512)
VIVACE_DECLARE_CEILINGS(avx512)
#endif
#if defined(VIVACE_HAS_NEON)
VIVACE_DECLARE_CEILINGS(neon)
#endif
#if defined(VIVACE_HAS_I8MM)
VIVACE_DECLARE_CEILINGS(i8mm)
#endif

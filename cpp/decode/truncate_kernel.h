// The passes of truncated sampling over a whole vocabulary (weights of 0: tokens out of the running), one body per
// instruction-set level. Sums go through blocks of 64 in a fixed order, so all levels give the same bits.
#pragma once
#include <bit>
#include <cstdint>

namespace vivace {

// Floats as integers in the same order; -0 counts as 0.
inline int32_t float_order(float value) {
  const auto bits = std::bit_cast<int32_t>(value + 0.0f);
  return bits ^ (bits >> 31 & 0x7FFFFFFF);
}

// A stretch of scores in equal steps of their bits: bucket (float_order(score) - least) >> shift.
struct Buckets {
  static constexpr int count = 1024;
  static constexpr int lanes = 4;            // sums side by side, so that neighbours of one bucket do not wait
  static constexpr int stride = count + 64;  // masses of a lane; [count] takes what has no weight
  static constexpr int masses = lanes * stride;
  int32_t least = 0;
  int shift = 0;

  static Buckets between(int32_t least, int32_t greatest) {
    const uint32_t width = static_cast<uint32_t>(greatest) - static_cast<uint32_t>(least);
    const auto bits = static_cast<int>(std::bit_width(width));
    return {least, bits > 10 ? bits - 10 : 0};
  }
  int of(int32_t order) const {
    return static_cast<int>((static_cast<uint32_t>(order) - static_cast<uint32_t>(least)) >> shift);
  }
};

struct Extent {
  int32_t least = INT32_MAX, greatest = INT32_MIN;  // least > greatest: no token has weight
};

struct TruncateKernel {
  // The orders of the scores of tokens that have weight.
  Extent (*extent)(const float* scores, const float* weights, int64_t count);
  // Adds weights to the masses of their scores' buckets; all scores of tokens that have weight must have one.
  void (*tally)(const float* scores, const float* weights, int64_t count, Buckets buckets, double* masses);
  // Ascending ids of the tokens that have weight and a score in that bucket; returns their number. One more is written.
  int64_t (*collect)(const float* scores, const float* weights, int64_t count, Buckets buckets, int bucket,
                     int32_t* ids);
  // Leaves weight to tokens with a greater score, and with that score up to `last`. Sums as weigh(), in float64.
  double (*mask)(const float* scores, float* weights, int64_t count, float score, int64_t last, double* sums);
  // scores[i] = log(total / weights[i]), 0 where there is no weight; returns the sum of weight · score.
  double (*surprise)(const float* weights, int64_t count, double log_total, float* scores);
  // scores[i] = -|scores[i] - centre|
  void (*nearness)(float* scores, int64_t count, float centre);
};

const TruncateKernel& truncate_kernel();

namespace baseline {
extern const TruncateKernel truncate_kernel;
}
namespace avx2 {
extern const TruncateKernel truncate_kernel;
}
namespace avx512 {
extern const TruncateKernel truncate_kernel;
}
namespace neon {
extern const TruncateKernel truncate_kernel;
}
namespace i8mm {
extern const TruncateKernel truncate_kernel;
}

}  // namespace vivace

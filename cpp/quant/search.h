// Least-squares searches: the scale (and minimum) that brings a few values closest to their codes, by weighted error.
// Each tries inverse scales in steps of 0.1 code around the obvious one, and solves for the scale after rounding.
#pragma once
#include <cstdint>

namespace vivace {

inline constexpr int longest_search = 32;  // values per call

// Rounds to the nearest whole number, halves to even.
int nearest(float x);
int clamp_code(int code, int lowest, int highest);

// values ≈ scale · q with q in [-limit, limit); returns the scale, which is negative when that uses the range better.
float fit_scale(const float* values, const float* weights, int count, int limit);

struct ScaleMin {
  float scale;  // ≥ 0
  float min;    // ≥ 0: what is subtracted
};
// values ≈ scale · q - min with q in [0, highest]; tries inverse scales (first + 0.1 i + highest) / range, i ≤ steps.
ScaleMin fit_scale_min(const float* values, const float* weights, int count, int highest, float first, int steps);

// values ≈ scale · levels[q] for 16 ascending levels, the lowest of them the largest in size.
float fit_levels(const float* values, const float* weights, int count, const int8_t* levels);
int nearest_level(float x, const int8_t* levels);

// √(mean of squares)
float root_mean_square(const float* values, int count);

}  // namespace vivace

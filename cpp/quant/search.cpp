#include "quant/search.h"

#include <algorithm>
#include <cmath>

namespace vivace {
namespace {

float extreme(const float* values, int count) {
  float found = 0;
  for (int i = 0; i < count; ++i)
    if (std::fabs(values[i]) > std::fabs(found)) found = values[i];
  return found;
}

constexpr float smallest_range = 1e-15f;  // below it a block counts as zero

// The best scale for given codes is Σwxq / Σwq²; it removes (Σwxq)² / Σwq² of the error Σwx².
struct ScaleFit {
  float xq = 0, qq = 0;
  void add(float weight, float x, float q) {
    xq += weight * x * q;
    qq += weight * q * q;
  }
  float removed() const { return qq > 0 ? xq * xq / qq : 0; }
  float scale() const { return qq > 0 ? xq / qq : 0; }
};

}  // namespace

int nearest(float x) {
  return static_cast<int>(std::lrint(x));
}

int clamp_code(int code, int lowest, int highest) {
  return std::clamp(code, lowest, highest);
}

float root_mean_square(const float* values, int count) {
  float sum = 0;
  for (int i = 0; i < count; ++i) sum += values[i] * values[i];
  return std::sqrt(sum / static_cast<float>(count));
}

float fit_scale(const float* values, const float* weights, int count, int limit) {
  const float top = extreme(values, count);
  if (std::fabs(top) < smallest_range) return 0;
  float best = 0, scale = 0;
  for (int step = -9; step <= 9; ++step) {
    const float inverse = -(static_cast<float>(limit) + 0.1f * static_cast<float>(step)) / top;
    ScaleFit fit;
    for (int i = 0; i < count; ++i) {
      const int q = clamp_code(nearest(inverse * values[i]), -limit, limit - 1);
      fit.add(weights[i], values[i], static_cast<float>(q));
    }
    if (fit.removed() > best) {
      best = fit.removed();
      scale = fit.scale();
    }
  }
  return scale;
}

ScaleMin fit_scale_min(const float* values, const float* weights, int count, int highest, float first, int steps) {
  const float low = std::min(0.0f, *std::min_element(values, values + count));
  const float range = *std::max_element(values, values + count) - low;
  if (range < smallest_range) return {0, -low};
  float codes[longest_search];
  const auto round_codes = [&](float inverse) {
    for (int i = 0; i < count; ++i)
      codes[i] = static_cast<float>(clamp_code(nearest(inverse * (values[i] - low)), 0, highest));
  };
  const auto error = [&](float scale, float min) {
    float sum = 0;
    for (int i = 0; i < count; ++i) {
      const float difference = scale * codes[i] - min - values[i];
      sum += weights[i] * difference * difference;
    }
    return sum;
  };

  const float top = static_cast<float>(highest);
  ScaleMin best = {range / top, -low};
  round_codes(top / range);
  float least = error(best.scale, best.min);
  for (int step = 0; step <= steps; ++step) {
    round_codes((first + 0.1f * static_cast<float>(step) + top) / range);
    // Normal equations of Σ w (scale · q - min - x)².
    float w = 0, wx = 0, wq = 0, wqq = 0, wxq = 0;
    for (int i = 0; i < count; ++i) {
      w += weights[i];
      wx += weights[i] * values[i];
      wq += weights[i] * codes[i];
      wqq += weights[i] * codes[i] * codes[i];
      wxq += weights[i] * values[i] * codes[i];
    }
    const float determinant = w * wqq - wq * wq;
    if (!(determinant > 0)) continue;
    ScaleMin fit = {(w * wxq - wx * wq) / determinant, (wq * wxq - wqq * wx) / determinant};
    if (fit.min < 0) fit = {wxq / wqq, 0};
    const float found = error(fit.scale, fit.min);
    if (fit.scale > 0 && found < least) {
      least = found;
      best = fit;
    }
  }
  return best;
}

int nearest_level(float x, const int8_t* levels) {
  int q = 0;
  for (int step = 8; step > 0; step /= 2)  // halving: compares with the middle between two levels
    if (2 * x >= static_cast<float>(levels[q + step - 1] + levels[q + step])) q += step;
  return q;
}

float fit_levels(const float* values, const float* weights, int count, const int8_t* levels) {
  const float top = extreme(values, count);
  if (std::fabs(top) < smallest_range) return 0;
  float best = 0, scale = 0;
  // The largest value near the lowest level, then near the highest.
  for (const float end : {static_cast<float>(levels[0]), static_cast<float>(levels[15])}) {
    for (int step = -7; step <= 7; ++step) {
      const float inverse = (end + static_cast<float>(step)) / top;
      ScaleFit fit;
      for (int i = 0; i < count; ++i)
        fit.add(weights[i], values[i], static_cast<float>(levels[nearest_level(inverse * values[i], levels)]));
      if (fit.removed() > best) {
        best = fit.removed();
        scale = fit.scale();
      }
    }
  }
  return scale;
}

}  // namespace vivace

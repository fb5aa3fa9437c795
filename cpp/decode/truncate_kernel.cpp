// Compiled once per instruction-set level; VIVACE_ISA is the level's namespace. Written so that compilers vectorise it:
// loops go over whole blocks, the last block is padded with tokens that have no weight.
#include "decode/truncate_kernel.h"

#include <bit>
#include <cstring>

#include "decode/block_ends.h"
#include "decode/sample_kernel.h"

namespace vivace::VIVACE_ISA {
namespace {

constexpr int size = static_cast<int>(sample_block);

// float_order(), which belongs to no level.
inline int32_t order_of(float value) {
  const auto bits = std::bit_cast<int32_t>(value + 0.0f);
  return bits ^ (bits >> 31 & 0x7FFFFFFF);
}

// Calls body(block, scores, weights, length) for each block.
template <class Body>
inline void each_block(const float* scores, const float* weights, int64_t count, const Body& body) {
  float padded_scores[size], padded_weights[size];
  for (int64_t block = 0; block * size < count; ++block) {
    const float *s = scores + block * size, *w = weights + block * size;
    const int64_t left = count - block * size;
    if (left < size) {
      std::memset(padded_scores, 0, sizeof padded_scores);
      std::memset(padded_weights, 0, sizeof padded_weights);
      std::memcpy(padded_scores, s, static_cast<size_t>(left) * sizeof(float));
      std::memcpy(padded_weights, w, static_cast<size_t>(left) * sizeof(float));
      s = padded_scores;
      w = padded_weights;
    }
    body(block, s, w, left < size ? left : int64_t{size});
  }
}

inline double sum_of(const double* x) {
  double half[32];
  for (int i = 0; i < 32; ++i) half[i] = x[i] + x[i + 32];
  for (int i = 0; i < 16; ++i) half[i] += half[i + 16];
  return sum_end(half);
}

Extent extent(const float* scores, const float* weights, int64_t count) {
  int32_t least[size], greatest[size];
  for (int i = 0; i < size; ++i) {
    least[i] = INT32_MAX;
    greatest[i] = INT32_MIN;
  }
  each_block(scores, weights, count, [&](int64_t, const float* s, const float* w, int64_t) {
    for (int i = 0; i < size; ++i) {
      const int32_t order = order_of(s[i]);
      const int32_t low = w[i] > 0 ? order : INT32_MAX, high = w[i] > 0 ? order : INT32_MIN;
      least[i] = low < least[i] ? low : least[i];
      greatest[i] = high > greatest[i] ? high : greatest[i];
    }
  });
  Extent all;
  for (int i = 0; i < size; ++i) {
    all.least = least[i] < all.least ? least[i] : all.least;
    all.greatest = greatest[i] > all.greatest ? greatest[i] : all.greatest;
  }
  return all;
}

inline void buckets_of(const float* s, const float* w, Buckets buckets, int32_t* out) {
  const auto least = static_cast<uint32_t>(buckets.least);
  for (int i = 0; i < size; ++i) {
    const auto bucket = static_cast<int32_t>((static_cast<uint32_t>(order_of(s[i])) - least) >> buckets.shift);
    out[i] = w[i] > 0 ? bucket : Buckets::count;
  }
}

void tally(const float* scores, const float* weights, int64_t count, Buckets buckets, double* masses) {
  each_block(scores, weights, count, [&](int64_t, const float* s, const float* w, int64_t) {
    int32_t places[size];
    double mass[size];
    buckets_of(s, w, buckets, places);
    for (int i = 0; i < size; ++i) mass[i] = w[i];
    for (int i = 0; i < size; i += Buckets::lanes)
      for (int lane = 0; lane < Buckets::lanes; ++lane)
        masses[lane * Buckets::stride + places[i + lane]] += mass[i + lane];
  });
}

int64_t collect(const float* scores, const float* weights, int64_t count, Buckets buckets, int bucket, int32_t* ids) {
  int64_t found = 0;
  each_block(scores, weights, count, [&](int64_t block, const float* s, const float* w, int64_t length) {
    int32_t places[size], any = 0;
    buckets_of(s, w, buckets, places);
    for (int i = 0; i < size; ++i) any |= places[i] == bucket;
    if (any == 0) return;
    for (int64_t i = 0; i < length; ++i) {
      ids[found] = static_cast<int32_t>(block * size + i);
      found += places[i] == bucket;
    }
  });
  return found;
}

double mask(const float* scores, float* weights, int64_t count, float score, int64_t last, double* sums) {
  double total = 0;
  each_block(scores, weights, count, [&](int64_t block, const float* s, const float* w, int64_t length) {
    float kept[size];
    double wide[size];
    const int64_t from = block * size;
    const auto equals = static_cast<int32_t>(last < from ? 0 : last - from >= size ? size : last - from + 1);
    for (int32_t i = 0; i < size; ++i) kept[i] = (s[i] > score) | ((s[i] == score) & (i < equals)) ? w[i] : 0.0f;
    std::memcpy(weights + from, kept, static_cast<size_t>(length) * sizeof(float));
    for (int i = 0; i < size; ++i) wide[i] = kept[i];
    sums[block] = sum_of(wide);
    total += sums[block];
  });
  return total;
}

// log(w) of a normal number w > 0, within 2 ulp: 2 atanh((m - 1) / (m + 1)) with m in [√½, √2), as a series.
inline void logarithms(const float* w, double* out) {
  int32_t exponent[size];
  float mantissa[size];
  for (int i = 0; i < size; ++i) {
    const auto bits = std::bit_cast<int32_t>(w[i] > 0 ? w[i] : 1.0f);
    exponent[i] = (bits - 0x3F3504F3) >> 23;
    mantissa[i] = std::bit_cast<float>(bits - static_cast<int32_t>(static_cast<uint32_t>(exponent[i]) << 23));
  }
  for (int i = 0; i < size; ++i) {
    const double f = static_cast<double>(mantissa[i]) - 1.0, s = f / (f + 2.0), q = s * s;
    double p = 1.0 / 23;
    p = p * q + 1.0 / 21;
    p = p * q + 1.0 / 19;
    p = p * q + 1.0 / 17;
    p = p * q + 1.0 / 15;
    p = p * q + 1.0 / 13;
    p = p * q + 1.0 / 11;
    p = p * q + 1.0 / 9;
    p = p * q + 1.0 / 7;
    p = p * q + 1.0 / 5;
    p = p * q + 1.0 / 3;
    const double e = exponent[i];
    // ln 2 in two parts, of which the first times an exponent is exact.
    out[i] = e * 6.93147180369123816490e-01 + (2.0 * s + (2.0 * s * q * p + e * 1.90821492927058770002e-10));
  }
}

double surprise(const float* weights, int64_t count, double log_total, float* scores) {
  double total = 0;
  each_block(weights, weights, count, [&](int64_t block, const float*, const float* w, int64_t length) {
    double wide[size];
    float out[size];
    logarithms(w, wide);
    for (int i = 0; i < size; ++i) {
      const double value = w[i] > 0 ? log_total - wide[i] : 0.0;
      out[i] = static_cast<float>(value);
      wide[i] = value * w[i];
    }
    std::memcpy(scores + block * size, out, static_cast<size_t>(length) * sizeof(float));
    total += sum_of(wide);
  });
  return total;
}

void nearness(float* scores, int64_t count, float centre) {
  for (int64_t i = 0; i < count; ++i) {
    const float distance = scores[i] - centre;
    scores[i] = distance > 0 ? -distance : distance;
  }
}

}  // namespace

extern const TruncateKernel truncate_kernel;
const TruncateKernel truncate_kernel = {extent, tally, collect, mask, surprise, nearness};

}  // namespace vivace::VIVACE_ISA

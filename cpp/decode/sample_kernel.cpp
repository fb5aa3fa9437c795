// Compiled once per instruction-set level; VIVACE_ISA is the level's namespace. Written so that compilers vectorise it:
// every inner loop is elementwise over a whole block, and blocks are reduced by halving.
#include "decode/sample_kernel.h"

#include <bit>
#include <cstdint>
#include <cstring>
#include <limits>

#include "decode/block_ends.h"

namespace vivace::VIVACE_ISA {
namespace {

constexpr float minus_infinity = -std::numeric_limits<float>::infinity();

// exp(x) for x <= 0, within 2 ulp; 0 below -87 (so that no denormals appear).
inline float exponential(float x) {
  const float clamped = x > -87.0f ? x : -87.0f;              // also turns NaN into -87
  const float shifted = clamped * 1.44269504f + 12582912.0f;  // 1.5 · 2^23: rounds to an integer in the low bits
  const float whole = shifted - 12582912.0f;
  const float r = (clamped - whole * 0.693359375f) + whole * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = (p * r) * r + r + 1.0f;
  const int32_t exponent = std::bit_cast<int32_t>(shifted) << 23;  // modulo 2^32: the magic constant falls out
  const float scaled = std::bit_cast<float>(std::bit_cast<int32_t>(p) + exponent);
  return x > -87.0f ? scaled : 0.0f;
}

// The values of block `block`, padded with -inf at the end of the row.
inline const float* block_of(const float* values, int64_t count, int64_t block, float* padded) {
  const int64_t begin = block * sample_block;
  if (count - begin >= sample_block) return values + begin;
  for (int64_t i = 0; i < sample_block; ++i) padded[i] = minus_infinity;
  std::memcpy(padded, values + begin, static_cast<size_t>(count - begin) * sizeof(float));
  return padded;
}

float block_max(const float* x) {
  float half[32];
  for (int i = 0; i < 32; ++i) half[i] = x[i] > x[i + 32] ? x[i] : x[i + 32];
  for (int i = 0; i < 16; ++i) half[i] = half[i] > half[i + 16] ? half[i] : half[i + 16];
  for (int i = 0; i < 8; ++i) half[i] = half[i] > half[i + 8] ? half[i] : half[i + 8];
  for (int i = 0; i < 4; ++i) half[i] = half[i] > half[i + 4] ? half[i] : half[i + 4];
  const float a = half[0] > half[2] ? half[0] : half[2];
  const float b = half[1] > half[3] ? half[1] : half[3];
  return a > b ? a : b;
}

float block_sum(const float* x) {
  float half[32];
  for (int i = 0; i < 32; ++i) half[i] = x[i] + x[i + 32];
  for (int i = 0; i < 16; ++i) half[i] += half[i + 16];
  return sum_end(half);
}

Peak peak(const float* values, int64_t count, float* maxima) {
  Peak best{minus_infinity, -1, false};
  int64_t best_block = -1;
  int32_t nans[sample_block] = {};
  float padded[sample_block];
  for (int64_t block = 0; block * sample_block < count; ++block) {
    const float* x = block_of(values, count, block, padded);
    for (int i = 0; i < sample_block; ++i) nans[i] |= x[i] != x[i];
    const float largest = block_max(x);
    maxima[block] = largest;
    if (largest > best.value) {
      best.value = largest;
      best_block = block;
    }
  }
  for (int i = 0; i < sample_block; ++i) best.nan |= nans[i] != 0;
  if (best.nan || best_block < 0) return best;
  best.index = best_block * sample_block;
  while (values[best.index] != best.value) ++best.index;
  return best;
}

double weigh(const float* values, int64_t count, float peak, float scale, float* weights, double* sums) {
  double total = 0;
  float padded[sample_block], out[sample_block];
  for (int64_t block = 0; block * sample_block < count; ++block) {
    const float* x = block_of(values, count, block, padded);
    for (int i = 0; i < sample_block; ++i) out[i] = exponential((x[i] - peak) * scale);
    const int64_t begin = block * sample_block, left = count - begin;
    if (weights != nullptr) {
      std::memcpy(weights + begin, out, static_cast<size_t>(left < sample_block ? left : sample_block) * sizeof(float));
    }
    const double sum = block_sum(out);
    if (sums != nullptr) sums[block] = sum;
    total += sum;
  }
  return total;
}

// Integers in the order of floats, and back. (Functions of headers belong to no level.)
int32_t order_of(float value) {
  const auto bits = std::bit_cast<int32_t>(value);
  return bits ^ (bits >> 31 & 0x7FFFFFFF);
}
float value_of(int32_t order) {
  return std::bit_cast<float>(order ^ (order >> 31 & 0x7FFFFFFF));
}

int64_t count_reaching(const float* values, int64_t count, float least) {
  int32_t reaching = 0;
  for (int64_t i = 0; i < count; ++i) reaching += values[i] >= least;
  return reaching;
}

// Halves the range until hardly anything lies between its ends.
float bound(const float* values, int64_t count, int64_t wanted) {
  constexpr int64_t fine = 1 << 16;  // of the order: 1/128 of a value
  if (wanted > count) return minus_infinity;
  int64_t low = order_of(minus_infinity), high = order_of(-minus_infinity);
  while (high - low > fine) {
    const int64_t middle = low + (high - low) / 2;
    const int64_t reaching = count_reaching(values, count, value_of(static_cast<int32_t>(middle)));
    if (reaching >= wanted) low = middle;
    if (reaching < wanted) high = middle;
    if (reaching == wanted) break;
  }
  return value_of(static_cast<int32_t>(low));
}

// Bit i: values[i] >= least.
uint64_t bits_reaching(const float* values, float least) {
  constexpr uint64_t spread = 0x0102040810204080;  // brings the lowest bits of 8 bytes together, in the highest byte
  uint8_t reaching[sample_block];
  for (int i = 0; i < sample_block; ++i) reaching[i] = values[i] >= least;
  uint64_t bits = 0;
  for (int i = 0; i < 8; ++i) {
    uint64_t bytes = 0;
    for (int k = 7; k >= 0; --k) bytes = bytes << 8 | reaching[8 * i + k];
    bits |= (bytes * spread >> 56) << (8 * i);
  }
  return bits;
}

int64_t reach(const float* values, int64_t count, const float* maxima, float least, int32_t* indices) {
  int64_t found = 0;
  float padded[sample_block];
  for (int64_t block = 0; block * sample_block < count; ++block) {
    if (maxima[block] < least) continue;
    uint64_t bits = bits_reaching(block_of(values, count, block, padded), least);
    const int64_t left = count - block * sample_block;
    if (left < sample_block) bits &= (uint64_t{1} << left) - 1;  // -inf reaches -inf
    for (; bits != 0; bits &= bits - 1)
      indices[found++] = static_cast<int32_t>(block * sample_block + std::countr_zero(bits));
  }
  return found;
}

}  // namespace

extern const SampleKernel sample_kernel;
const SampleKernel sample_kernel = {peak, weigh, bound, reach};

}  // namespace vivace::VIVACE_ISA
